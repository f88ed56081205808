"""Tags in a text file beside a picture, as trainers of image generators read them."""

import codecs
import json
import os
import re
from pathlib import Path

from dataset.tag_text import as_list, decide, signs_in, spell, split, with_commas, without_namespace

# Separator, see `tag_text.SEPARATORS` ▶ how one is written in a text.
JOINTS = {
    "comma": r"[,，、،][ \t]*",
    "semicolon": r"[;；][ \t]*",
    "pipe": r"[ \t]*\|[ \t]*",
    "newline": r"\r?\n",
    "space": r"[ \t]",
}
USUAL_JOINTS = {"semicolon": "; ", "pipe": " | ", "space": " "}  # otherwise a comma and a space


def path_for(picture: Path, suffix: str = ".txt") -> Path:
    """Return the text file of a picture: `a.png.txt` if it exists, otherwise `a.txt`; or those with another suffix."""
    full = f"{picture}{suffix}"
    return Path(full) if os.path.isfile(full) else picture.with_suffix(suffix)  # noqa: PTH113 (Path's raises if too long)


def read(data: bytes | None) -> str | None:
    """Return the text of a sidecar file, or None if there is no file.

    Raises:
        ValueError: the content is neither UTF-8 nor UTF-16 with its mark.
    """
    try:
        return None if data is None else data.decode(_encoding(data))  # opening it as text would change its line ends
    except UnicodeDecodeError:
        raise ValueError("left alone because it is not UTF-8 text") from None


def has_tags(text: str) -> bool:
    """Return whether a text is more than separators and white space."""
    return bool(text.strip("\ufeff\u200b,，、،;；|[]\"' \t\r\n"))


def merge_tags(tags: list[str], before: str | None, otherwise: str = "comma") -> str:
    """Return a text with the tags of the text `before`, as it is, and after them those of `tags` that it lacks.

    A tag in another spelling is the same tag. The added ones are separated like the others of the text, which otherwise
    stays as it is, to the last byte; a new text has commas.

    Args:
        tags: the tags to add.
        before: the text, or None.
        otherwise: what separates its tags, where it has no sign of that itself.

    Raises:
        ValueError: the tags could not be read back.
    """
    text = before or ""
    end = "\r\n" if "\r\n" in text else "\n"
    if not has_tags(text):
        return ("\ufeff" if text.startswith("\ufeff") else "") + ", ".join(tags) + end
    added = _missing(tags, text, otherwise)
    if not added:
        return text
    separator, body = _separator(text, otherwise), text.rstrip()
    if separator == "list":
        candidates = [_list_like(body, [*(as_list(text) or []), *added])]
    else:
        if separator == "space":
            added = [tag.replace(" ", "_") for tag in added]
        joint, last = re.search(JOINTS[separator], body), re.search(f"{JOINTS[separator]}$", body)
        if last and split(body[: last.start()], separator) == split(body, separator):  # not the end of a face
            body = body[: last.start()]
        usual = end if separator == "newline" else USUAL_JOINTS.get(separator, ", ")
        # Some faces can be told from separators only where there is space around these.
        candidates = [each.join([body, *added]) for each in ((joint[0] if joint else usual), usual)]
    for merged in (candidate + text[len(body) :] for candidate in candidates):
        if not _missing(tags, merged, otherwise) and _keys(text, otherwise) <= _keys(merged, otherwise):
            return merged
    raise ValueError("left alone because its tags cannot be told from what separates them")


def _separator(text: str, otherwise: str) -> str:
    return decide([text], otherwise) if signs_in(text.strip()) or "_" in text else otherwise


def _keys(text: str, otherwise: str) -> set[str]:
    return {_key(tag) for tag in split(text, _separator(text, otherwise))}


def _missing(tags: list[str], text: str, otherwise: str) -> list[str]:
    """Return the tags that a text lacks. One with a separator in it is there if its parts are."""
    separator, known = _separator(text, otherwise), _keys(text, otherwise)
    return [tag for tag in tags if _key(tag) not in known and not {_key(part) for part in split(tag, separator)} <= known]


def replace_tags(data: bytes | None, text: str | None) -> bytes | None:
    """Return the content of a sidecar file with this text, in the encoding of the `data` that it had; None for no file."""
    if text is None:
        return None
    encoding = _encoding(data or b"")
    mark = "\ufeff" if encoding != "utf-8" and not text.startswith("\ufeff") else ""
    return f"{mark}{text}".encode(encoding)


def _encoding(data: bytes) -> str:
    """Return the encoding of a text, whose mark is a part of it."""
    marks = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
    return next((encoding for mark, encoding in marks.items() if data.startswith(mark)), "utf-8")


def _key(tag: str) -> str:
    """Return what spellings of a tag have in common."""
    return without_namespace(spell(tag))[1].replace("_", " ").lower()


def _list_like(body: str, items: list[str]) -> str:
    """Return a list in the notation of a text."""
    if body.endswith(")"):
        return repr(tuple(items))
    if with_commas(body) != body:
        return f"[{' '.join(map(repr, items))}]"
    if '"' in body:
        return json.dumps(items, ensure_ascii=False)
    return repr(items) if "'" in body or not body.strip("[] ") else f"[{', '.join(items)}]"
