"""What a collection says about one picture, and whether that picture is used."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from dataset.boards.filters import (
    EXCLUDED,
    HIDDEN,
    LOWER_SCORE,
    NOT_PUBLIC,
    OTHER_RATING,
    OUTSIDE_DATES,
    TOO_FEW_TAGS,
    Filters,
)
from dataset.boards.visibility import is_restricted
from dataset.tag_text import TagReader, without_namespace


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a collection says about one picture.

    Attributes:
        id, source: as in `Post`; empty until the picture is known.
        tags: names of its tags, ratings among them if the collection writes them so.
        categories: tag ▶ category, for tags that are not general.
        group: name of its group; empty: from `key`, `parent` and `pools`.
        rating: one of `records.RATINGS`, `UNKNOWN_RATING`, or empty if the collection has none.
        key, parent: names of its post and of the post of which it is a variant, such as `e621:12`.
        pools: names of the stories of which it is a page.
        score: its score; None if unknown.
        date: its day, such as 2020-12-31; empty if unknown.
        is_public: whether its board still shows it.
        labels: as in `Post`.
        other_names: further names of its tags, such as those before aliases: they count where posts are restricted.
    """

    id: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()
    categories: dict[str, str] = field(default_factory=dict)
    group: str = ""
    rating: str = ""
    key: str = ""
    parent: str = ""
    pools: tuple[str, ...] = ()
    score: int | None = None
    date: str = ""
    is_public: bool = True
    labels: dict[str, float] = field(default_factory=dict)
    other_names: tuple[str, ...] = ()


def in_one_line(error: Exception) -> str:
    """Return an error's message for the table of rejected pictures: one line of at most 200 printable characters."""
    text = " ".join(str(error).split())[:200]
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def from_tags(tags: Iterable[str]) -> Annotation:
    """Return an annotation of tags alone. Namespaces such as `creator:` become categories, and ratings get their names."""
    pairs = [without_namespace(tag) for tag in tags]
    categories = {tag: category for category, tag in pairs if category != "general"}
    return Annotation(tags=tuple(dict.fromkeys(tag for _, tag in pairs)), categories=categories)


def spelled(annotations: Sequence[Annotation], reader: TagReader) -> Iterator[Annotation]:
    """Yield annotations with their tags in the usual spelling."""
    new_name = reader.spelling(Counter(tag for each in annotations for tag in each.tags))
    for each in annotations:
        tags = tuple(dict.fromkeys(name for tag in each.tags if (name := new_name[tag])))
        yield replace(each, tags=tags, categories={new_name[tag]: kind for tag, kind in each.categories.items()})


def reason_to_skip(picture: Annotation, filters: Filters, excluded: set[str]) -> str:
    """Return why a picture is not used; empty if it is.

    Args:
        picture: the picture.
        filters: the user's filters. `ratings` are names as in `records.RATINGS`; none: all.
        excluded: the tags that it must not have.
    """
    if filters.ratings and picture.rating not in filters.ratings:
        return OTHER_RATING
    if not picture.is_public:
        return NOT_PUBLIC
    if (filters.after or filters.before) and not picture.date:
        return "no date"
    if (filters.after and picture.date < filters.after) or (filters.before and picture.date >= filters.before):
        return OUTSIDE_DATES
    if filters.min_score is not None and picture.score is None:
        return "no score"
    if filters.min_score is not None and picture.score is not None and picture.score < filters.min_score:
        return LOWER_SCORE
    if is_restricted((*picture.tags, *picture.other_names), picture.rating):
        return HIDDEN
    if not excluded.isdisjoint(picture.tags):
        return EXCLUDED
    return TOO_FEW_TAGS if len(picture.tags) < filters.min_tags else ""
