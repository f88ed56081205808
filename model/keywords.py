"""Tags as keywords in a picture's own metadata, where programs that sort photographs look for them.

They are XMP's `dc:subject`, an unordered list (ISO 16684-1, 8.3). exiv2 writes them; nothing else changes.
"""

import functools
import re

from command import InputError

SUBJECT = "Xmp.dc.subject"


@functools.cache
def exiv2():
    """exiv2, for Python.

    Raises:
        InputError: it is not installed.
    """
    try:
        import pyexiv2
    except (ImportError, OSError):
        raise InputError('--keywords needs exiv2: pip install "pyexiv2>=2.16"') from None
    pyexiv2.set_log_level(4)  # nothing: what is wrong is raised as well
    return pyexiv2


def read(data: bytes | None) -> list[str] | None:
    """A picture's keywords; None where it has none.

    Raises:
        ValueError: its metadata cannot be read.
    """
    if data is None:
        return None
    try:
        with exiv2().ImageData(data) as picture:
            found = picture.read_xmp().get(SUBJECT) or None
    except (RuntimeError, UnicodeDecodeError) as error:
        raise ValueError(f"left alone, for its metadata cannot be read ({error})") from None
    return found if found is None or isinstance(found, list) else [str(found)]


def content(tags: list[str], before: list[str] | None) -> list[str] | None:
    """Tags after those that are there before; None for no keywords."""
    there = before or []
    return there + [tag for tag in tags if tag not in there] or None


def changed(data: bytes, keywords: list[str] | None) -> bytes:
    """The bytes of the same picture with these keywords.

    exiv2 drops what it does not know, the fifth page of a TIFF or what follows a PNG, and writes anew what another program
    wrote. So the change is taken back at once, and made only where that gives the same bytes.

    Raises:
        ValueError: its format has no room for them, or more than they would change.
    """
    after = _with(data, keywords)
    if read(after) != keywords or _with(after, read(data)) != data:
        raise ValueError("left alone, for more than its keywords would change")
    return after


def _with(data: bytes, keywords: list[str] | None) -> bytes:
    try:
        with exiv2().ImageData(data) as picture:
            picture.modify_xmp({SUBJECT: keywords})
            packet = picture.read_raw_xmp()
            # exiv2 for Python writes every list as an ordered one.
            picture.modify_raw_xmp(re.sub("<dc:subject>.*?</dc:subject>", _unordered, packet, flags=re.DOTALL))
            if not picture.read_xmp():
                picture.clear_xmp()
            return picture.get_bytes()
    except RuntimeError as error:
        raise ValueError(f"left alone, for keywords cannot be written into it ({error})") from None


def _unordered(subject: re.Match) -> str:
    return subject[0].replace("rdf:Seq>", "rdf:Bag>")
