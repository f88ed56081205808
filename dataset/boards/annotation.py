"""What a collection says about one picture, and whether that picture is used."""

import contextlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
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
        unreadable: what is stated in a form that is not known: `rating`, `score` or `date`, and what there is instead.
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
    unreadable: tuple[tuple[str, str], ...] = ()


@contextlib.contextmanager
def naming(file: str) -> Iterator[None]:
    """Put a file's name before the messages of errors about its content inside the block. Raises ValueError for them."""
    try:
        yield
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: {in_one_line(error)}") from None


def in_one_line(error: Exception) -> str:
    """Return an error's message for the table of rejected pictures: one line of at most 200 printable characters."""
    message = str(error)
    if isinstance(error, UnicodeDecodeError):
        message = f"expected text in UTF-8. Received something else from byte {error.start:,} on"
    elif isinstance(error, UnicodeEncodeError):
        message = "expected a name in UTF-8"
    elif isinstance(error, json.JSONDecodeError):
        line = f"line {error.lineno:,}, " if "\n" in error.doc.strip() else ""
        received = f"something else in {line}column {error.colno:,}" if error.doc.strip() else "an empty file"
        message = f"expected JSON. Received {received}"
    elif isinstance(error, RecursionError):
        message = "expected an object with the keys of a post. Received brackets in brackets, too many of them"
    elif "set_int_max_str_digits" in message:
        message = "expected numbers of at most 4,300 digits"
    text = " ".join(message.split())[:200]
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def from_tags(tags: Iterable[str]) -> Annotation:
    """Return an annotation of tags alone. Namespaces such as `creator:` become categories, and ratings get their names."""
    pairs = [without_namespace(tag) for tag in tags]
    categories = {tag: category for category, tag in pairs if tag and category != "general"}
    return Annotation(tags=tuple(dict.fromkeys(tag for _, tag in pairs if tag)), categories=categories)


def spelled(annotations: Sequence[Annotation], reader: TagReader) -> Iterator[Annotation]:
    """Yield annotations with their tags in the usual spelling."""
    new_name = reader.spelling(Counter(tag for each in annotations for tag in each.tags))
    for each in annotations:
        tags = tuple(dict.fromkeys(name for tag in each.tags if (name := new_name[tag])))
        yield replace(each, tags=tags, categories={new_name[tag]: kind for tag, kind in each.categories.items()})


def reason_to_skip(picture: Annotation, filters: Filters, ratings: Collection[str], excluded: Collection[str]) -> str:
    """Return why a picture is not used; empty if it is.

    Args:
        picture: the picture.
        filters: the user's filters; their ratings and tags to exclude are the next two.
        ratings: names as in `records.RATINGS`; none: all.
        excluded: the tags that it must not have.
    """
    if ratings and picture.rating not in ratings:
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
    if any(tag in excluded for tag in (*picture.tags, *picture.other_names)):
        return EXCLUDED
    return TOO_FEW_TAGS if len(picture.tags) < filters.min_tags else ""
