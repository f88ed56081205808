"""Ratings as boards write them, and the posts that are never used, whatever the options."""

import re
import unicodedata
from collections.abc import Collection

from common.errors import InputError
from dataset.records import RATINGS

UNKNOWN_RATING = "unknown"  # a rating that cannot be read, or several of one picture
MILDEST = ("general", "safe")
WORD = re.compile(r"[^\W\d_]+")
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
BETWEEN_TAGS = re.compile(r"[,;|'\"\[\]{}\n]")  # in a text that was taken for one tag
# Words of boards ▶ rating. Danbooru's `s` is sensitive, and that of other boards is safe.
WORDS = {name: name for name in RATINGS} | {
    "g": "general",
    "s": "safe",
    "sfw": "safe",
    "q": "questionable",
    "e": "explicit",
    "suggestive": "sensitive",
    "sketchy": "questionable",
    "unsafe": "explicit",
}
# Words in the names of tags for young characters, on e621 and on other boards; the first are used only where it is sexual.
SEXUAL = frozenset(WORD.findall("loli lolis lolicon lolidom shota shotas shotacon shotadom toddlercon toddlerkon foalcon"))
YOUNG = SEXUAL | set(
    WORD.findall(
        "young younger youngest youngster younggirl youngboy child children toddler toddlers "
        "infant infants preteen preteens underage underaged tween tweens kindergarten kindergartner kindergartener "
        "cub cubs foal foals filly fillies"
    )
)
# Japanese has no spaces between words; カロリー, フロリダ and グロリア have nothing to do with it.
SEXUAL_JAPANESE = re.compile("(?<![カフグ])ロリ|ショタ")
YOUNG_JAPANESE = re.compile("幼女")
# Several words, wherever they are in a name.
YOUNG_PHRASES = re.compile(
    r"(?<![^\W_])(aged_down|age_regression|little_(girl|boy)s?|pre_teens?|elementary_school_students?|baby_pon(y|ies))(?![^\W_])"
)
# Names that mean something else as a part of others.
YOUNG_NAMES = frozenset(("kid", "kids", "baby", "babies", "minor", "minors", "colt", "colts"))
# What tags say where ratings stand among them without a namespace: words, and names.
NOT_SAFE = frozenset(
    WORD.findall("explicit questionable nsfw suggestive unsafe sensitive sketchy grimdark grotesque hentai porn")
)
NOT_SAFE_NAME = re.compile(r"r_?18g?|mature|adult|(adult|mature)_content")
# What says no in a key or column that marks what is for adults.
NO = ("", "false", "f", "no", "n", "none", "null", "[]", "sfw", "safe")


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


def one_rating(ratings: Collection[str], is_marked: bool = False) -> str:
    """Return the rating of a post from all that are stated: not known if there are several.

    Args:
        ratings: what `read_rating` returned.
        is_marked: whether the post is marked as for adults, which says nothing more if another rating than safe is stated.
    """
    ratings = set(ratings) - {""}
    if is_marked and ratings <= set(MILDEST):
        return UNKNOWN_RATING
    return ratings.pop() if len(ratings) == 1 else UNKNOWN_RATING if ratings else ""


def says_yes(value: object) -> bool:
    """Return whether a value marks its post as for adults; a number may be a probability."""
    text = str(value).strip().lower()
    try:
        return float(text) >= 0.5
    except ValueError:
        return text not in NO


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
    tags = [INVISIBLE.sub("", unicodedata.normalize("NFKC", tag)).lower() for tag in tags]
    # Whatever separates tags, here each word counts, also of texts that were taken for one tag.
    words = {word for tag in tags for word in WORD.findall(tag)}
    parts = {part.rpartition(":")[2].strip() for tag in tags for part in BETWEEN_TAGS.split(tag)}
    names = {re.sub(r"[\s_-]+", "_", part) for part in parts}
    if not rating and not (words.isdisjoint(NOT_SAFE) and not any(map(NOT_SAFE_NAME.fullmatch, names))):
        rating = UNKNOWN_RATING
    if not words.isdisjoint(SEXUAL) or any(map(SEXUAL_JAPANESE.search, names)):
        return True
    if not rating:
        return False
    without_brackets = {re.sub(r"_?\(.*", "", name) for name in names}  # kid_(character)
    is_named = not (words.isdisjoint(YOUNG) and without_brackets.isdisjoint(YOUNG_NAMES))
    return is_named or any(YOUNG_PHRASES.search(name) or YOUNG_JAPANESE.search(name) for name in names)


def names_young(tag: str) -> bool:
    """Return whether a tag names a young character; see `is_restricted`."""
    return is_restricted([tag], UNKNOWN_RATING)
