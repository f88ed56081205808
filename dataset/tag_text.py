"""Tags as people write them, in text files and in the cells of tables: how they are separated, and how they are spelled.

What separates tags is decided once for a folder or a table, from all of its cells: one cell alone can often be read in two
ways.
"""

import ast
import html
import itertools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from common.errors import InputError, say, short

TEXT_SUFFIXES = (".txt", ".caption")  # of files with a picture's tags, after its name or instead of its suffix
# Name ▶ what separates tags. Wherever commas, semicolons or pipes do, line breaks do as well.
SEPARATORS = {
    "list": "",  # a list or tuple in the notation of Python or JSON, with or without quotes
    "comma": r"[,，、،\r\n]",  # also the full-width, the ideographic and the Arabic comma
    # Where one follows a tag, or stands alone: `;)`, `;_;`, `:|` and `|_|` are tags.
    "semicolon": r"\s*(?<!_)[;；](?:\s+|$)|(?<=[^\s_])[;；]|\s[;；](?=[^\W\d_]{2})|[\r\n]",
    "pipe": r"\s+\|(?:\s+|$)|(?<=[^\W_])\||(?<=[^\s\w|:;=_])\|(?=[^\W_]|\s|$)|[\r\n]",
    "newline": r"[\r\n]",
    "space": r"\s",
}
IN_WORDS = {
    "list": "in lists",
    "comma": "separated by commas",
    "semicolon": "separated by semicolons",
    "pipe": "separated by pipes",
    "newline": "separated by line breaks",
    "space": "separated by spaces",
}
# Signs of a separator.
SIGNS = {
    "comma": re.compile(r"[,，、،]"),
    "semicolon": re.compile(r"[^\s_][;；](?:\s|$|[^\W_])|\s[;；][^\W\d_]{2}"),
    "pipe": re.compile(r"[^\W_][^\s\w|:;=]?[ \t]*\|[ \t]*[^\W_]|\S[ \t]+\|[ \t]+\S"),
    "newline": re.compile(r"\S[ \t]*[\r\n]+\s*\S"),
}
UNQUOTED_LIST = re.compile(r"\[[^\[\]'\"]*,[^\[\]'\"]*\]")
CELLS_FOR_A_SIGN = 10  # of several words without a sign, at most so many for each with one
WORDS_OF_A_TAG = 4  # lines of more words without an underscore are taken for several tags
EMOTICON = re.compile(r"[^\w]*\w?[^\w]*_[^\w]*\w?[^\w]*|\W+\w?\W*")  # o_o, >_<, :3, ;): few letters
LONGEST_EMOTICON = 12
# The last two join signs and letters outside ASCII, such as the people of an emoji, and are kept between them.
ZERO_WIDTH = re.compile(r"[\u200b\u2060\ufeff]|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])")
WEIGHT = r":\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)"
WEIGHTED = re.compile(rf"\((.+){WEIGHT}")  # kohya's (tag:1.2)
WEIGHTED_TAGS = re.compile(rf"(?<!\\)\(((?:[^()\\]|\\.)*[,，、](?:[^()\\]|\\.)*){WEIGHT}")  # (tag, another:1.2)
NEXT_TO_EACH_OTHER = re.compile(r"(['\"])\s+(['\"])")  # entries of an array as NumPy prints it
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[A-Za-z]\w{1,30});")  # as Gelbooru's API writes & and quotes
NOT_IN_TAGS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
# Namespace of hydrus or of a board ▶ category.
NAMESPACES = {name: name for name in ("artist", "character", "copyright", "general", "meta", "species")} | {
    "creator": "artist",
    "series": "copyright",
}


@dataclass(frozen=True)
class TagReader:
    """Reads the tags of a collection of cells.

    Attributes:
        separator: one of `SEPARATORS`; empty: decided from the cells.
        keep_case: leave capitals as they are.
    """

    separator: str = ""
    keep_case: bool = False

    def read(self, cells: Sequence[tuple[str, str]], rejected: list[tuple[int, str]] | None = None) -> list[tuple[str, ...]]:
        """Return the tags of each cell, in order and without repetition, and say what was decided.

        Args:
            cells: where each comes from, for messages, and its text.
            rejected: gets the position of each cell with something that cannot be a tag, and the reason; it has no tags.

        Raises:
            InputError: there is something that cannot be a tag, and no list for it, or it is in all cells with tags.
        """
        separator = self.separator or decide(text for _, text in cells)
        known: dict[str, str] = {}  # tags repeat: one text for each saves memory
        parts = [tuple(known.setdefault(part, part) for part in split(text, separator)) for _, text in cells]
        self._say_separator(cells, parts, separator)
        new_name = self.spelling(Counter(itertools.chain.from_iterable(parts)))
        tags = [tuple(dict.fromkeys(name for part in of_cell if (name := new_name[part]))) for of_cell in parts]
        reasons = _reasons(tags)
        if reasons and (rejected is None or len(reasons) == sum(map(bool, tags))):
            position, reason = next(iter(reasons.items()))
            raise InputError(f"{cells[position][0]}: {reason}")
        if rejected is not None:
            rejected += reasons.items()
        tags = [() if position in reasons else of_cell for position, of_cell in enumerate(tags)]
        _check_numbers(tags)
        return tags

    def spelling(self, counts: Mapping[str, int]) -> dict[str, str]:
        """Return each tag's usual spelling, empty if nothing is left of it, and say how many changed.

        Args:
            counts: tag ▶ how often it occurs. What most tags of several words have between them, all get.
        """
        spelled = {name: spell(name, self.keep_case) for name in counts}
        space = _most_common_space((spelled[name], count) for name, count in counts.items())
        new_name = {name: _with_space(each, space) for name, each in spelled.items()}
        changed = {name: each for name, each in new_name.items() if name != each}
        if changed:
            before, after = next(iter(changed.items()))
            number = sum(counts[name] for name in changed)
            say(f"{number:,} tags were spelled otherwise, such as {short(before)} for {short(after)}")
        return new_name

    def _say_separator(self, cells: Sequence[tuple[str, str]], parts: list[tuple[str, ...]], separator: str) -> None:
        examples = [text for (_, text), of_cell in zip(cells, parts, strict=True) if len(of_cell) > 1]
        if examples and not self.separator:
            say(f"tags are {IN_WORDS[separator]}, as in {short(examples[0])}; --separator changes that")
        others = [(where, text) for where, text in cells if _contradicts(text, separator)]
        if others:
            where, text = others[0]
            say(f"{len(others):,} of {len(cells):,} do not look like that, such as {where}: {short(text)}")


def decide(cells: Iterable[str], otherwise: str = "space") -> str:
    """Return what separates the tags of most cells, one of `SEPARATORS`.

    Cells without a sign count as well: a sign in a few of many cells of several words is taken for a part of a tag.

    Args:
        cells: the texts.
        otherwise: what is returned where every cell is one word.
    """
    votes, signs_of, lines, words = Counter[str](), Counter[str](), 0, []
    for cell in cells:
        text = cell.strip()
        signs = signs_in(text)
        votes.update(signs)
        signs_of.update({name: len(SIGNS[name].findall(text)) for name in ("semicolon", "pipe")})
        if not signs and len(text.split()) > 1:
            if any("_" in word and not is_emoticon(word) for word in text.split()):
                votes["space"] += 1
            lines += cell.endswith(("\n", "\r"))
            words.append(len(text.split()))
    # Among equals, the first, but of semicolons and pipes those that are more: some faces have one of them.
    best = max(SEPARATORS, key=lambda name: (votes[name], name == "list", name == "comma", signs_of[name]))
    if votes[best] * CELLS_FOR_A_SIGN >= max(1, len(words)):
        return best
    if not words:
        return otherwise
    one_tag_a_line = lines * 2 > len(words) and sum(words) <= WORDS_OF_A_TAG * len(words)
    return "newline" if one_tag_a_line else "space"


def signs_in(text: str) -> set[str]:
    """Return the separators of which a text has a sign."""
    return {"list"} if as_list(text) is not None else {name for name, sign in SIGNS.items() if sign.search(text)}


def split(cell: str, separator: str) -> list[str]:
    """Return the parts of a cell without white space around them."""
    text = cell.strip().strip("\ufeff")
    if separator == "list":
        parts = as_list(text)
        if parts is None:  # one tag, perhaps in brackets without quotes
            parts = [text[1:-1] if text.startswith("[") and text.endswith("]") else text]
        return [part.strip() for part in parts if part.strip()]
    if separator == "comma":
        text = WEIGHTED_TAGS.sub(r"\1", text)
    return [part.strip() for part in re.split(SEPARATORS[separator], text) if part.strip()]


def as_list(text: str) -> list[str] | None:
    """Return the texts of a list, tuple, set or dictionary in the notation of Python or JSON; None of any other text."""
    text = text.strip("\ufeff \t\r\n")
    if text[:1] + text[-1:] in ("''", '""') and "," in text:
        text = f"[{text}]"
    if text[:1] + text[-1:] not in ("[]", "()", "{}"):
        return None
    try:
        found = ast.literal_eval(with_commas(text))
        found = sorted(found, key=str) if isinstance(found, set) else found
        return [str(each) for each in found] if isinstance(found, (list, tuple, dict)) else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        is_plain = UNQUOTED_LIST.fullmatch(text)
        return [part.strip() for part in text[1:-1].split(",")] if is_plain else None


def with_commas(text: str) -> str:
    """Return a list with commas between its entries, where NumPy printed it without."""
    return text if re.search(r"['\"]\s*,", text) else NEXT_TO_EACH_OTHER.sub(r"\1, \2", text)


def unescaped(text: str) -> str:
    """Return a text with the signs that it has as entities of HTML."""
    return ENTITY.sub(lambda entity: html.unescape(entity[0]), text)


def is_emoticon(tag: str) -> bool:
    """Return whether a tag is a face made of signs."""
    return len(tag) <= LONGEST_EMOTICON and bool(EMOTICON.fullmatch(tag))


def spell(tag: str, keep_case: bool = False) -> str:
    """Return a tag in its usual spelling; emoticons stay as they are.

    Accents are composed (NFC), characters without width removed, white space becomes one space, weights of image generators'
    prompts and their escapes are undone, and capitals become small.
    """
    tag = " ".join(ZERO_WIDTH.sub("", unicodedata.normalize("NFC", tag)).split())
    while weighted := WEIGHTED.fullmatch(tag):
        tag = weighted[1].strip()
    if is_emoticon(tag):
        return tag
    tag = tag.replace("\\(", "(").replace("\\)", ")")
    return tag if keep_case else tag.lower()


def usable(tags: Iterable[str], where: str) -> list[str]:
    """Return tags without white space around them, and without empty ones.

    Args:
        tags: the tags.
        where: where they are, for the message.

    Raises:
        ValueError: one holds control characters, or a half of a character.
    """
    tags = [tag.strip() for tag in tags]
    if NOT_IN_TAGS.search("".join(tags)):
        strange = [tag for tag in tags if NOT_IN_TAGS.search(tag)]
        raise ValueError(f"{where}: expected tags without control characters. Received: {short(strange[0])}")
    return [sys.intern(tag) for tag in tags if tag]  # they repeat: one text for each saves memory


def without_namespace(tag: str) -> tuple[str, str]:
    """Return the category and the name of a tag such as `character:samus aran`; of others, `general` and the tag.

    The name is empty if there is only a namespace.
    """
    namespace, _, name = tag.partition(":")
    if namespace.strip().lower() == "rating":
        return "general", f"rating:{name.strip()}"
    category = NAMESPACES.get(namespace.strip().lower()) if ":" in tag else None
    return (category, name.strip()) if category else ("general", tag if tag.strip() != ":" else "")


def _most_common_space(tags: Iterable[tuple[str, int]]) -> str:
    """Return what most tags of several words have between them, a space or an underscore; empty if all have the same."""
    counts = Counter[str]()
    for tag, number in tags:
        if not is_emoticon(tag):
            counts.update({sign: number for sign in " _" if sign in tag})
    return max("_ ", key=lambda sign: counts[sign]) if len(counts) > 1 else ""


def _with_space(tag: str, space: str) -> str:
    return re.sub("[ _]+", space, tag) if space and not is_emoticon(tag) else tag


def _contradicts(cell: str, separator: str) -> bool:
    """Return whether a cell has no sign of the separator but one of another."""
    signs = signs_in(cell.strip())
    # Line breaks separate tags whatever else does.
    return separator not in signs and bool(signs if separator in ("newline", "list") else signs - {"newline"})


def _reasons(tags: list[tuple[str, ...]]) -> dict[int, str]:
    """Return why the tags of some cells cannot be tags: position ▶ the reason."""
    reasons = {}
    for position, names in enumerate(tags):
        for name in names:
            is_torn = (name.startswith("[") and "]" not in name) or (name.endswith("]") and "[" not in name)
            if any(unicodedata.category(character) == "Cc" for character in name):
                reasons.setdefault(position, f"{short(name)} cannot be a tag: control characters. Save the file as UTF-8")
            elif name.startswith(("['", '["')) or name.endswith(("']", '"]')) or (is_torn and not is_emoticon(name)):
                reason = f"{short(name)} cannot be a tag: is it a part of a list, unlike the others, or not complete?"
                reasons.setdefault(position, reason)
    return reasons


def _check_numbers(tags: list[tuple[str, ...]]) -> None:
    """Raise an InputError if all tags are numbers."""
    distinct = set().union(*tags)
    if distinct and all(re.fullmatch(r"[+-]?\d+([.,]\d+)?", name) for name in distinct):
        raise InputError(f"all tags are numbers, such as {min(distinct)}: are they in another column? Or see --numbers")
