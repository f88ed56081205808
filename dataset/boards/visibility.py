"""Ratings as boards write them, and the posts that are never used, whatever the options."""

import re
import unicodedata
from collections.abc import Collection

from common.errors import InputError
from dataset.records import RATINGS

UNKNOWN_RATING = "unknown"  # a rating that cannot be read, or several of one picture
MILDEST = ("general", "safe")
WORD = re.compile(r"[^\W\d_]+")
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
# Words in the names of tags for young characters, on e621 and on other boards; the second are used only where it is sexual.
SEXUAL = frozenset(("loli", "lolis", "lolicon", "shota", "shotas", "shotacon", "toddlercon", "toddlerkon", "foalcon"))
YOUNG = SEXUAL | {"young", "younger", "youngster", "child", "children", "toddler", "toddlers", "infant", "infants"}
YOUNG |= {"preteen", "underage", "cub", "cubs", "foal", "foals"}
# Names that mean something else as a part of others.
YOUNG_NAMES = frozenset(
    ("kid", "kids", "baby", "babies", "minor", "minors", "aged_down", "age_regression", "little_girl", "little_boy")
)


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


def ratings_of(asked: Collection[str], is_e621: bool) -> list[str]:
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


def is_restricted(tags: Collection[str], rating: str) -> bool:
    """Return whether a post must not be used: its tags name a young character, and it is rated other than safe.

    e621 hides such posts from visitors without an account, Danbooru from those without a paid one. A post without a rating
    counts as safe unless its tags are those of sexual pictures.

    Args:
        tags: names of the post's tags, in any spelling.
        rating: one of `RATINGS`, `UNKNOWN_RATING`, or empty if the collection has no ratings.
    """
    if rating in MILDEST:
        return False
    names = {re.sub(r"[\s-]+", "_", unicodedata.normalize("NFKC", tag).lower().rpartition(":")[2]) for tag in tags}
    # Whatever separates tags, here each word counts, also of texts that were taken for one tag.
    words = {word for tag in tags for word in WORD.findall(unicodedata.normalize("NFKC", tag).lower())}
    if not rating and not words.isdisjoint(("explicit", "questionable", "nsfw")):
        rating = UNKNOWN_RATING
    if not words.isdisjoint(SEXUAL):
        return True
    return bool(rating) and not (words.isdisjoint(YOUNG) and names.isdisjoint(YOUNG_NAMES))


def names_young(tag: str) -> bool:
    """Return whether a tag names a young character; see `is_restricted`."""
    return is_restricted([tag], UNKNOWN_RATING)
