"""Ratings as boards write them, and the posts that are never used, whatever the options."""

from collections.abc import Iterable

from common.errors import InputError
from dataset.records import RATINGS

UNKNOWN_RATING = "unknown"  # a rating that cannot be read, or several of one picture
MILDEST = ("general", "safe")
# Words of boards ▶ rating. Danbooru's `s` is sensitive, and that of other boards is safe.
WORDS = {name: name for name in RATINGS} | {
    "g": "general",
    "s": "safe",
    "q": "questionable",
    "e": "explicit",
    "suggestive": "sensitive",
    "sketchy": "questionable",
    "unsafe": "explicit",
}
# Names of young characters: e621's tag, its aliases, and what other boards call them.
YOUNG = frozenset(
    ("young", "youngster", "child", "children", "kid", "kids", "toddler", "infant", "baby", "babies", "minor", "minors")
) | {"underage", "aged_down", "age_regression"}
# Names that boards give to such pictures only where they are sexual.
SEXUAL = frozenset(("cub", "loli", "lolicon", "shota", "shotacon", "straight_shota", "toddlercon", "toddlerkon", "foalcon"))


def read_rating(word: str, danbooru: bool = False) -> str:
    """Return the rating for a board's word or letter: one of `RATINGS`, empty for none, or `UNKNOWN_RATING`.

    Args:
        word: the word, perhaps with the namespace `rating:`.
        danbooru: whether the board has Danbooru's letters.
    """
    word = word.strip().lower().removeprefix("rating:").strip()
    if danbooru and word == "s":
        return "sensitive"
    return WORDS.get(word, UNKNOWN_RATING) if word else ""


def ratings_of(asked: Iterable[str], is_e621: bool) -> list[str]:
    """Return what `Filters.ratings` should be for ratings as the user writes them.

    Args:
        asked: names, or letters of boards: `s` is safe, and on Danbooru sensitive.
        is_e621: whether they are for the board e621, which has three letters.

    Raises:
        InputError: e621 has no such rating.
    """
    asked = set(asked)
    if is_e621:
        letters = {name[0] for name in asked}
        if not asked <= {"s", "q", "e", "safe", "questionable", "explicit"}:
            raise InputError(f"--ratings of e621 are s, q and e, received {' '.join(sorted(asked))}")
        return sorted(letters)
    names = {WORDS[name] for name in asked} | ({"sensitive"} if "s" in asked else set())
    return [name for name in RATINGS if name in names]


def is_restricted(tags: Iterable[str], rating: str) -> bool:
    """Return whether a post must not be used: its tags name a young character, and it is rated other than safe.

    e621 hides such posts from visitors without an account, Danbooru from those without a paid one. A post without a rating
    counts as safe unless its tags are those of sexual pictures.

    Args:
        tags: names of the post's tags, with spaces or underscores.
        rating: one of `RATINGS`, `UNKNOWN_RATING`, or empty if the collection has no ratings.
    """
    if rating in MILDEST:
        return False
    names = {tag.lower().replace(" ", "_") for tag in tags}
    return not names.isdisjoint(SEXUAL) or (bool(rating) and not names.isdisjoint(YOUNG))
