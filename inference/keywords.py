"""Tags as keywords in the metadata of a picture, where photo managers read them.

Keywords are the XMP property `dc:subject`, an unordered list (ISO 16684-1, 8.3). exiv2 writes them; nothing else in the file
changes.
"""

import functools
import re

from common.errors import InputError

SUBJECT = "Xmp.dc.subject"


@functools.cache
def exiv2():
    """Return the module pyexiv2.

    Raises:
        InputError: it is not installed.
    """
    try:
        import pyexiv2
    except (ImportError, OSError):
        raise InputError('--keywords needs exiv2: pip install "pyexiv2>=2.16"') from None
    pyexiv2.set_log_level(4)  # log nothing: every problem is raised as an exception too
    return pyexiv2


def read(data: bytes | None) -> list[str] | None:
    """Return the keywords of an encoded picture, or None if it has none.

    Raises:
        ValueError: its metadata cannot be read.
    """
    if data is None:
        return None
    try:
        with exiv2().ImageData(data) as picture:
            subject = picture.read_xmp().get(SUBJECT) or None
    except (RuntimeError, UnicodeDecodeError) as error:
        raise ValueError(f"left alone because its metadata cannot be read ({error})") from None
    return subject if subject is None or isinstance(subject, list) else [str(subject)]


def merge_tags(tags: list[str], before: list[str] | None) -> list[str] | None:
    """Return the keywords `before` and those of `tags` that they lack; None for no keywords."""
    existing = before or []
    return existing + [tag for tag in tags if tag not in existing] or None


def replace_tags(data: bytes, keywords: list[str] | None) -> bytes:
    """Return the encoded picture with these keywords instead of its own.

    exiv2 drops what it does not know, such as the fifth page of a TIFF or bytes after a PNG, and rewrites metadata of other
    programs. The change is therefore made only if its reversal gives the same bytes again.

    Raises:
        ValueError: the format cannot hold keywords, or more than the keywords would change.
    """
    after = _set_keywords(data, keywords)
    if read(after) != keywords or _set_keywords(after, read(data)) != data:
        raise ValueError("left alone because more than its keywords would change")
    return after


def _set_keywords(data: bytes, keywords: list[str] | None) -> bytes:
    try:
        with exiv2().ImageData(data) as picture:
            picture.modify_xmp({SUBJECT: keywords})
            packet = picture.read_raw_xmp()
            # pyexiv2 writes every list as an ordered one.
            picture.modify_raw_xmp(re.sub("<dc:subject>.*?</dc:subject>", _as_unordered, packet, flags=re.DOTALL))
            if not picture.read_xmp():
                picture.clear_xmp()
            return picture.get_bytes()
    except RuntimeError as error:
        raise ValueError(f"left alone because keywords cannot be written into it ({error})") from None


def _as_unordered(subject: re.Match) -> str:
    return subject[0].replace("rdf:Seq>", "rdf:Bag>")
