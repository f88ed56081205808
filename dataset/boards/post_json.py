"""What boards say about a post in JSON, as gallery-dl and others write it beside pictures.

The keys decide how it is read: those of Danbooru, e621, Gelbooru, moebooru, Philomena (Derpibooru and others) and
szurubooru are known. gallery-dl adds `category`, the board's name, and for each of the board's categories a key `tags_…`.
"""

import datetime
import re
from collections.abc import Collection, Iterable, Iterator

from common.errors import short
from dataset.boards.annotation import Annotation
from dataset.boards.visibility import UNKNOWN_RATING, WORDS, one_rating, read_rating, says_yes
from dataset.records import CATEGORIES
from dataset.tag_text import NOT_IN_TAGS, unescaped, usable

DANBOORU = ("danbooru", "aibooru", "booruvar")  # boards whose rating `s` is sensitive
# Category of a board ▶ category here; those of the same name are left out.
OTHER_CATEGORIES = {
    "circle": "artist",
    "creator": "artist",
    "editor": "artist",
    "fandom": "copyright",
    "franchise": "copyright",
    "metadata": "meta",
    "oc": "character",
    "series": "copyright",
    "studio": "copyright",
}
CATEGORY_OF = {name: name for name in CATEGORIES if name not in ("number", "rating")} | OTHER_CATEGORIES
PREFIXES = ("artist", "editor", "oc")  # Philomena's, before the name of a tag
PHILOMENA_RATINGS = ("safe", "suggestive", "questionable", "explicit")
PER_CATEGORY = re.compile("tags_(?!string)(.+)|tag_string_(.+)")
DAY = re.compile(r"\d{4}-\d\d-\d\d")
UNIX_DATE = "%a %b %d %H:%M:%S %z %Y"  # Gelbooru's
DATE_KEYS = ("date", "created_at", "creationTime")
RATING_KEYS = ("rating", "safety", "rating_name", "maturity_rating", "content_rating", "purity")
# Of boards that only mark what is for adults, such as pixiv, DeviantArt, ArtStation, Fanbox, Misskey, Mastodon and Reddit.
ADULT_KEYS = frozenset(("x_restrict", "is_mature", "is_adult", "is_nsfw", "nsfw", "nsfwlevel", "over_18", "adult_content"))
ADULT_KEYS |= {"hide_as_adult", "hasadultcontent", "sensitive", "issensitive", "possibly_sensitive"}
MILD_MARKS = (("nsfwlevel", "1"), ("nsfwlevel", "pg"))  # Civitai's levels for all ages
HIDDEN_STATUSES = ("deleted", "pending", "banned", "hidden")


def read_post(post: object) -> Annotation:
    """Return what a JSON object says about its picture. Tags are in the board's spelling.

    Args:
        post: the object.

    Raises:
        ValueError: something that is used has another form than on the boards that are known; the message says which.
    """
    if not isinstance(post, dict):
        raise ValueError(f"expected an object with the keys of a post. Received: {short(post)}")
    is_philomena = "sha512_hash" in post or "hidden_from_users" in post
    tags, categories = _tags(post)
    if is_philomena:
        tags, categories, rating = _without_prefixes(tags)
    else:
        is_danbooru = "tag_string" in post or "is_banned" in post or _text(post, "category") in DANBOORU
        rating = _rating(post, is_danbooru)
    score, date = _score(post.get("score")), _date(post)
    board = _text(post, "category")
    related = post.get("relationships")
    parent = post.get("parent_id") or (related.get("parent_id") if isinstance(related, dict) else None)
    return Annotation(
        tags=tuple(tags),
        categories=categories,
        rating=rating,
        key=_key(board, post.get("id")),
        parent=_key(board, parent or post.get("duplicate_of")),
        other_names=tuple(_other_names(post)),
        pools=tuple(f"{board} {pool}" for pool in _pools(post)),
        score=score,
        date=date,
        is_public=_is_public(post),
        unreadable=tuple(_unreadable(post, rating, score, date)),
    )


def _rating(post: dict, is_danbooru: bool) -> str:
    """Return the rating of a post, from all keys in which boards state it; see `Annotation.rating`.

    It is not known where two keys contradict each other, where a post is marked as for adults without a rating, and where
    Danbooru, on which every post has one, states none.
    """
    words = {value.strip().lower() if isinstance(value, str) else "?" for value in _given(post, RATING_KEYS).values()}
    if not words and is_danbooru and "rating" in post:
        return UNKNOWN_RATING
    marks = {key.lower(): value for key, value in post.items() if key.lower() in ADULT_KEYS}
    is_marked = any(says_yes(value) for key, value in marks.items() if (key, str(value).lower()) not in MILD_MARKS)
    return one_rating({read_rating(word, is_danbooru) for word in words}, is_marked)


def _unreadable(post: dict, rating: str, score: int | None, date: str) -> Iterator[tuple[str, str]]:
    """Yield what a post states but in no form that is known; see `Annotation.unreadable`."""
    read = {"rating": rating if rating != UNKNOWN_RATING else "", "score": score is not None, "date": date}
    for kind, keys in (("rating", RATING_KEYS), ("score", ("score",)), ("date", DATE_KEYS)):
        if not read[kind] and (given := _given(post, keys)):
            yield kind, ", ".join(f"{key} {short(value)}" for key, value in given.items())


def _given(post: dict, keys: Collection[str]) -> dict[str, object]:
    """Return the values of a post under some keys, in any capitals, that are not empty."""
    return {key: value for key, value in post.items() if (key in keys or key.lower() in keys) and value not in (None, "")}


def _tags(post: dict) -> tuple[list[str], dict[str, str]]:
    """Return the tags of a post, and tag ▶ category for those that are not general."""
    by_category: list[tuple[str, list[str]]] = []
    tags: list[str] = []
    for key in ("tags", "tag_string"):
        found = post.get(key)
        if isinstance(found, dict):  # e621's and others' own answer: category ▶ tags
            by_category += [(category, _names(names, f"{key}.{category}")) for category, names in found.items()]
        elif isinstance(found, list) and found and all(isinstance(each, dict) for each in found):
            by_category += [_named(each) for each in found]
        elif found is not None and not tags:
            tags = _names(found, key)
    for key, found in post.items():
        matched = PER_CATEGORY.fullmatch(key) if found and key.startswith("tag") else None
        if matched and not (matched[2] and post.get(f"tags_{matched[2]}")):  # gallery-dl keeps both forms
            by_category.append((matched[1] or matched[2], _names(found, key)))
    categories = {}
    for name, names in by_category:
        category = CATEGORY_OF.get(name.lower().rpartition("_")[2], "general")
        categories |= {tag: category for tag in names if category != "general"}
    everything = dict.fromkeys((*tags, *(tag for _, names in by_category for tag in names)))
    return list(everything), categories


def _named(tag: dict) -> tuple[str, list[str]]:
    """Return category and name of a tag in the form of szurubooru: `names`, the first of which counts, or `name`."""
    names = tag.get("names") or tag.get("name")
    name = names[0] if isinstance(names, list) and names else names
    category = tag.get("category") or tag.get("type") or ""
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"tags: expected objects with names and category. Received: {short(tag)}")
    return str(category), _names([name], "tags")


def _other_names(post: dict) -> Iterator[str]:
    """Yield the further names of szurubooru's tags."""
    tags = post.get("tags")
    for tag in tags if isinstance(tags, list) else ():
        names = tag.get("names") if isinstance(tag, dict) else None
        yield from (name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def _names(found: object, key: str) -> list[str]:
    """Return the tags in a list, or in a text that separates them by commas or else by spaces."""
    if isinstance(found, str):
        found = unescaped(found)
        found = found.split(",") if ", " in found or " " not in found.strip() else found.split()
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError(f"{key}: expected a list of tags, or a text. Received: {short(found)}")
    return usable(map(unescaped, found), key)


def _without_prefixes(tags: Iterable[str]) -> tuple[list[str], dict[str, str], str]:
    """Return the names, categories and rating in Philomena's tags, such as `artist:somebody`, `oc:somebody` and `safe`."""
    names, categories, ratings = [], {}, []
    for tag in tags:
        prefix, _, name = tag.partition(":")
        if tag.lower() in PHILOMENA_RATINGS:
            ratings.append(WORDS[tag.lower()])
        elif prefix in PREFIXES and name.strip():
            names.append(name.strip())
            categories[name.strip()] = CATEGORY_OF[prefix]
        else:
            names.append(tag)
    # On these boards every picture has a rating.
    return names, categories, ratings[0] if len(ratings) == 1 else UNKNOWN_RATING


def _pools(post: dict) -> Iterator[str]:
    """Yield the ids of the pools that a post is in."""
    pools = post.get("pools") or []
    if not isinstance(pools, list):
        raise ValueError(f"pools: expected a list. Received: {short(pools)}")
    for pool in [*pools, post.get("pool")]:
        if isinstance(pool, dict) and pool.get("category") == "collection":  # Danbooru's, on a subject: not a story
            continue
        number = pool.get("id") if isinstance(pool, dict) else pool
        if isinstance(number, (int, str)) and number:
            yield _key("pool", number)


def _key(board: str, number: object) -> str:
    """Return the name of a post; empty if there is none. Boards write no parent as null, 0 or an empty text."""
    if number in (None, "", 0, "0", False):
        return ""
    if isinstance(number, bool) or not isinstance(number, (int, str)) or NOT_IN_TAGS.search(f"{board}{number}"):
        raise ValueError(f"expected the number of a post. Received: {short(number)}")
    return f"{board}:{number}"


def _score(score: object) -> int | None:
    if isinstance(score, dict):  # e621's: up, down and total
        score = score.get("total")
    if isinstance(score, bool) or not isinstance(score, (int, float, str)):
        return None
    try:
        return int(float(score))
    except (ValueError, OverflowError):
        return None


def _date(post: dict) -> str:
    """Return the day of a post, such as 2020-12-31; empty if unknown."""
    for key in DATE_KEYS:
        value = post.get(key)
        if isinstance(value, dict):  # Sankaku's: seconds in `s`
            value = value.get("s")
        try:
            if isinstance(value, str) and DAY.match(value):
                return datetime.date.fromisoformat(value[:10]).isoformat()
            if isinstance(value, str) and not value.isdecimal():
                return datetime.datetime.strptime(value, UNIX_DATE).astimezone(datetime.timezone.utc).date().isoformat()
            if isinstance(value, (int, float, str)) and not isinstance(value, bool):
                return datetime.datetime.fromtimestamp(float(value), datetime.timezone.utc).date().isoformat()
        except (ValueError, OverflowError, OSError):
            continue
    return ""


def _is_public(post: dict) -> bool:
    flags = post.get("flags") if isinstance(post.get("flags"), dict) else {}
    assert isinstance(flags, dict)
    hidden = (post.get(key) for key in ("is_deleted", "is_pending", "is_banned", "hidden_from_users"))
    states = (*hidden, flags.get("deleted"), flags.get("pending"))
    status = post.get("status")
    is_hidden = isinstance(status, str) and status.lower() in HIDDEN_STATUSES
    return not is_hidden and not any(state not in (None, False, 0, "", "0", "f", "false", "False") for state in states)


def _text(post: dict, key: str) -> str:
    """Return a text of a post; empty if it is missing or something else."""
    value = post.get(key)
    return value.strip() if isinstance(value, str) else ""
