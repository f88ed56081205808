"""Pictures that must not be used any more because of people's corrections; see `boards.visibility.is_restricted`.

All corrections of a picture count, also of tags that its data folder does not have. What is not known counts as not safe.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from common import files
from dataset import records
from dataset.boards.visibility import MILDEST, UNKNOWN_RATING, is_restricted, names_young, read_rating
from dataset.corrections import Decisions

REASON = "a correction names a young character in a picture that is not rated safe"
NAMESPACE = "rating:"


def matters(tag: str) -> bool:
    """Return whether a tag can make a picture restricted: it names a young character, a sexual picture or a rating."""
    return names_young(tag) or is_restricted(["young", tag], "") or tag.lower().startswith(NAMESPACE)


def becomes_restricted(decided: Mapping[str, bool], tags: Iterable[str], rating: str) -> bool:
    """Return whether people's decisions make a picture one that must not be used.

    Args:
        decided: tag ▶ whether the picture has it.
        tags: names of the tags that it had.
        rating: one of `records.RATINGS`, `UNKNOWN_RATING`, or empty if the whole collection has no ratings. A decision can
            make it another one, but not a milder one.
    """
    added = [tag for tag, has_tag in decided.items() if has_tag]
    if not any(map(matters, added)):
        return False
    stated = (read_rating(tag) for tag in added if tag.lower().startswith(NAMESPACE))
    rating = next((each for each in stated if each and each not in MILDEST), rating)
    return is_restricted([*added, *(tag for tag in tags if decided.get(tag, True))], rating)


def rating_among(rating: str, ratings: Collection[str]) -> str:
    """Return the rating of a picture: not known, if it has none and others of its collection have one."""
    return rating or (UNKNOWN_RATING if any(ratings) else "")


def restricted_ids(data: Path, decisions: Decisions) -> dict[str, str]:
    """Return the pictures of a data folder that must not be used with people's decisions: id ▶ split."""
    if not any(map(matters, decisions.added)):
        return {}
    names = [tag.name for tag in records.read_tags(data / "tags.csv")]
    otherwise, found = rating_without_tag(data), {}
    for split in records.SPLITS:
        for record in records.read(data, split):
            tags = [names[tag] for tag in record.tags]
            rating = next((read_rating(tag) for tag in tags if tag in records.RATING_TAGS), otherwise)
            if becomes_restricted(decisions.decided_about(record.id, record.md5), tags, rating):
                found[record.id] = split
    return found


def rating_without_tag(data: Path) -> str:
    """Return the rating of the pictures of a data folder that have none among their tags: that of all, or not known."""
    manifest = files.read_json(data / "manifest.json")
    filters = (manifest.get("options") or {}).get("filters") or {}
    ratings: list[str] = manifest.get("ratings") or filters.get("ratings") or []  # older folders lack the first
    return read_rating(ratings[0]) if len(ratings) == 1 else UNKNOWN_RATING
