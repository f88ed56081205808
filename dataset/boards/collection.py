"""Boards of pictures that are on this machine already, and what is done alike for all of them.

A reader of such a collection is a subclass of `Collection` that yields an `Annotation` for each picture. Here they get their
groups, lose copies and ratings among the tags, and pass the filters.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.errors import InputError, cut, say
from common.progress import progress
from dataset.boards import picture_source
from dataset.boards.annotation import Annotation, reason_to_skip
from dataset.boards.board import Post
from dataset.boards.catalogue import Catalogue, make_catalogue
from dataset.boards.filters import Filters
from dataset.boards.groups import group_names
from dataset.boards.local_board import LocalBoard
from dataset.boards.visibility import MILDEST, UNKNOWN_RATING, is_restricted, read_rating
from dataset.records import CATEGORIES, RATING_TAGS
from dataset.tag_text import TagReader

if TYPE_CHECKING:
    from dataset.boards.tag_rules import TagRules

WITHOUT_TAGS = "images without tags"


class Collection(LocalBoard):
    """A board of pictures that are annotated one by one; see `Board` for the interface.

    Args:
        folders, filters, strict: see `LocalBoard`.
        reader: how tags are separated and spelled; None: as `TagReader` decides.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        reader: TagReader | None = None,
        filters: Filters | None = None,
        strict: bool = False,
    ):
        super().__init__(folders, filters, strict)
        self._reader = reader or TagReader()
        self._categories: dict[str, str] = {}  # tag ▶ category, where that is not `general`
        self._posts: list[Post] = []
        self.restricted: dict[str, Annotation] = {}  # pictures that must not be used, see `is_restricted`
        self._artists: np.ndarray | None = None
        self._months: np.ndarray | None = None
        self._rules: TagRules | None = None
        self._is_mixed = False  # boards with Danbooru's ratings and others
        self._space = "_"  # between the words of a tag

    def annotations(self) -> Iterator[Annotation]:
        """Yield what is known about each picture; to be defined by a reader. Adds to `rejected`."""
        raise NotImplementedError

    def where_tags_are(self) -> str:
        """Return where tags were expected, for the message that there are none; to be defined by a reader."""
        raise NotImplementedError

    def posts(self) -> Iterator[Post]:
        self._read()
        yield from self._posts

    def catalogue(self) -> Catalogue:
        self._read()
        return replace(make_catalogue(self._posts), artists=self._artists, months=self._months)

    def category(self, tag: str) -> int:
        return CATEGORIES[self._categories.get(tag, "general")]

    def implied(self, tag: str) -> tuple[str, ...]:
        return tuple(self._spaced(name) for name in self._rules.implied(tag.replace(" ", "_"))) if self._rules else ()

    def read_rules(self, aliases: str | None, implications: str | None) -> None:
        """Read a board's tables of aliases and implications, which then hold for all tags. Raises InputError."""
        if aliases or implications:
            from dataset.boards.tag_rules import read_rules  # pyarrow takes time to import

            self._rules = read_rules(aliases, implications)

    def _read(self) -> None:
        """Read the collection, once."""
        if self._posts:
            return
        tagged = {each.id: each for each in self.annotations()}
        rejected, number = {post_id for post_id, _ in self.rejected}, len(tagged)
        if without := [name for name, each in tagged.items() if not each.tags and name not in rejected]:
            self.skipped[WITHOUT_TAGS] = len(without)
            say(f"{WITHOUT_TAGS}: {len(without):,} of {number:,}, which are left out, such as {without[0]}")
        _report_unreadable(tagged.values())
        untagged = {name: each for name, each in tagged.items() if not each.tags}
        tagged = self._expanded({name: each for name, each in tagged.items() if each.tags})
        if not tagged:
            first = "; the first entry, {}: {}".format(*self.rejected[0]) if self.rejected else ""
            raise InputError(f"none of the {number:,} images of {self.where_tags_are()}{first}")
        names, with_tags = group_names(tagged.values()), len(tagged)
        tagged, md5s = self._without_copies(self._with_ratings(tagged), untagged)
        ratings = Counter(each.rating for each in tagged.values())
        tagged = self._filtered(tagged)
        if not tagged:
            counts = ", ".join(f"{number:,} {reason}" for reason, number in self.skipped.items() if reason != WITHOUT_TAGS)
            found = ", ".join(f"{number:,} {rating or 'not rated'}" for rating, number in sorted(ratings.items()))
            there = f"; their ratings: {found}" if self._filters.ratings else ""
            raise InputError(f"no picture is left of the {with_tags:,} with tags: {counts}{there}")
        self._categories = _most_common_categories(tagged.values())
        for name, each in tagged.items():
            group = each.group or names.get(each.key) or name
            self._posts.append(Post(name, each.tags, group, each.rating, md5s[name], each.source, labels=each.labels))
        self._artists, self._months = self._artists_and_months(tagged.values())

    def _artists_and_months(self, annotations: Iterable[Annotation]) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return the number of each picture's artist and its month, see `Catalogue`."""
        numbers: dict[str, int] = {}
        artists, months = [], []
        for each in annotations:
            artist = next((tag for tag in each.tags if self._categories.get(tag) == "artist"), "")
            artists.append(numbers.setdefault(artist, len(numbers)) if artist else -1)
            months.append(int(each.date[:7].replace("-", "") or 0))
        return np.array(artists) if numbers else None, np.array(months) if any(months) else None

    def _expanded(self, images: dict[str, Annotation]) -> dict[str, Annotation]:
        """Replace tags by what they are aliases of, and add the tags that they imply."""
        rules = self._rules
        if rules is None:
            return images
        names = dict.fromkeys(tag for each in images.values() for tag in each.tags)
        self._space = " " if sum(" " in tag for tag in names) > sum("_" in tag for tag in names) else "_"
        keys = {tag: tag.replace(" ", "_") for tag in names}
        known = {tag: tuple(map(self._spaced, (rules.resolve(key), *rules.implied(key)))) for tag, key in keys.items()}
        known |= {tag: (tag,) for tag in names if tag.startswith("rating:")}  # no alias makes a picture safe
        changed = sum(tags != (tag,) for tag, tags in known.items())
        say(f"{changed:,} of {len(known):,} tags are aliases or imply others")
        for name, each in images.items():
            tags = tuple(dict.fromkeys(other for tag in each.tags for other in known[tag]))
            categories = {known[tag][0]: category for tag, category in each.categories.items() if tag in known}
            images[name] = replace(each, tags=tags, categories=categories, other_names=(*each.other_names, *each.tags))
        return images

    def _spaced(self, tag: str) -> str:
        return tag if self._space == "_" else tag.replace("_", " ")

    def _without_copies(
        self, images: dict[str, Annotation], untagged: dict[str, Annotation]
    ) -> tuple[dict[str, Annotation], dict[str, str]]:
        """Return the images without the later of two files with the same bytes, and the MD5s of files of equal size.

        The first gets the tags of all. Two ratings make it one whose rating is not known.

        Args:
            images: the images with tags.
            untagged: those without, whose ratings count for copies that have tags.
        """
        sizes = {name: picture_source.size(each.source) for name, each in images.items()}
        rated = {name: picture_source.size(each.source) for name, each in untagged.items() if each.rating}
        count_of_size = Counter([*sizes.values(), *rated.values()])
        md5s: dict[str, str] = {}
        first_with: dict[str, str] = {}
        kept: dict[str, Annotation] = {}
        for name, size in progress(sizes.items(), description="copies", unit="files", leave=False):
            md5 = picture_source.md5(images[name].source) if size and count_of_size[size] > 1 else ""
            original = first_with.setdefault(md5, name) if md5 else name
            if original == name:
                kept[name], md5s[name] = images[name], md5
                continue
            added = [tag for tag in images[name].tags if tag not in kept[original].tags]
            rating = _rating_of_copies(kept[original], images[name])
            others = (*kept[original].other_names, *images[name].other_names)
            tags = (*kept[original].tags, *added)
            kept[original] = replace(kept[original], tags=tags, rating=rating, other_names=others)
            gets = f", which gets its tags {', '.join(added)}" if added else ""
            differs = ", which counts as not rated: the two ratings differ" if rating == UNKNOWN_RATING else ""
            self.rejected.append((name, f"copy: same bytes as {original}{gets}{differs}"))
        for name, size in rated.items():
            original = first_with.get(picture_source.md5(untagged[name].source)) if count_of_size[size] > 1 else None
            if original:
                kept[original] = replace(kept[original], rating=_rating_of_copies(kept[original], untagged[name]))
        return kept, md5s

    def _with_ratings(self, images: dict[str, Annotation]) -> dict[str, Annotation]:
        """Take ratings out of the tags. Several of one picture, or one that is not a rating's name, are named."""
        several, others, result = [], set(), {}
        for name, each in images.items():
            named = {tag: _rating_of(tag) for tag in each.tags if tag.startswith("rating:")}
            others.update(tag for tag, rating in named.items() if rating == UNKNOWN_RATING)
            ratings = {rating for rating in (each.rating, *named.values()) if rating not in ("", UNKNOWN_RATING)}
            if len(ratings) > 1:
                several.append(name)
            is_known = len(ratings) == 1 and each.rating != UNKNOWN_RATING
            rating = ratings.pop() if is_known else UNKNOWN_RATING if each.rating or named else ""
            tags = tuple(tag for tag in each.tags if named.get(tag, UNKNOWN_RATING) == UNKNOWN_RATING)
            is_same = rating == each.rating and len(tags) == len(each.tags)
            result[name] = each if is_same else replace(each, tags=tags, rating=rating)
        if others:
            names = ", ".join(sorted(others)[:5])
            say(f"warning: {names} is no rating but a tag like others; ratings are {', '.join(RATING_TAGS)}")
        if several:
            say(f"{len(several):,} images have several ratings, and count as not rated, such as {several[0]}")
        self._is_mixed = set(MILDEST) <= {each.rating for each in result.values()}
        return _with_one_mildest_rating(result) if self._is_mixed else result

    def _filtered(self, images: dict[str, Annotation]) -> dict[str, Annotation]:
        """Return the images that pass the filters, and count the others in `skipped`."""
        known = {tag for each in images.values() for tag in (*each.tags, *each.other_names)}
        excluded = self._filters.names_to_exclude().among(known, "--exclude")
        if self._rules:
            excluded |= {self._spaced(self._rules.resolve(tag.replace(" ", "_"))) for tag in excluded}
        ratings = set(self._filters.ratings)
        if self._is_mixed and not ratings.isdisjoint(MILDEST):
            ratings |= set(MILDEST)
        reasons = {name: reason_to_skip(each, self._filters, ratings, excluded) for name, each in images.items()}
        self.skipped |= dict(sorted(Counter(filter(None, reasons.values())).items()))
        for name, each in images.items():
            if reasons[name] and is_restricted((*each.tags, *each.other_names), each.rating):
                self.restricted[name] = each
        return {name: each for name, each in images.items() if not reasons[name]}


def _report_unreadable(annotations: Iterable[Annotation]) -> None:
    """Say which ratings, scores and dates are in a form that is not known."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for each in annotations:
        for kind, received in each.unreadable:
            found[kind].append((each.id, received))
    for kind, of_kind in found.items():
        name, received = of_kind[0]
        counts_as = "neither rated nor safe" if kind == "rating" else f"having no {kind}"
        say(
            f"pictures whose {kind} cannot be read: {len(of_kind):,}, which count as {counts_as}, such as {name}: {received}"
        )


def _rating_of_copies(one: Annotation, other: Annotation) -> str:
    """Return the rating of two files with the same bytes: not known if both have one, and not the same."""
    ratings = {one.rating, other.rating} - {""}
    return ratings.pop() if len(ratings) == 1 else UNKNOWN_RATING if ratings else ""


def _rating_of(tag: str) -> str:
    """Return the rating that a tag names. `rating:s` does not say whether it means safe or, as on Danbooru, sensitive."""
    return UNKNOWN_RATING if tag.partition(":")[2].strip() == "s" else read_rating(tag) or UNKNOWN_RATING


def _with_one_mildest_rating(images: dict[str, Annotation]) -> dict[str, Annotation]:
    """Name the mildest rating alike, where boards with Danbooru's ratings and others are mixed."""
    say("rating:safe of some boards counts as rating:general, which others have: both are the mildest")
    return {name: replace(each, rating="general") if each.rating == "safe" else each for name, each in images.items()}


def _most_common_categories(annotations: Iterable[Annotation]) -> dict[str, str]:
    """Return tag ▶ the category that most pictures give it, for tags that are not general."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for each in annotations:
        for tag, category in each.categories.items():
            counts[tag][category] += 1
    categories = {tag: count.most_common(1)[0][0] for tag, count in counts.items()}
    if tags := [tag for tag, category in categories.items() if category != "number"]:
        say(f"{len(tags):,} tags have a category, such as {cut(tags[0])}: {categories[tags[0]]}")
    return categories
