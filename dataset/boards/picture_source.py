"""The files of pictures on this machine: each by itself, or a part of a tar that is never unpacked.

A source is a path, or `PATH.tar#OFFSET+SIZE`.
"""

import hashlib
import re
from pathlib import Path

from dataset.images import read_file

PLACE = re.compile(r"(.*\.tar)#(\d+)\+(\d+)", re.DOTALL | re.IGNORECASE)
READ_BYTES = 2**20


def in_tar(tar: Path, offset: int, size: int) -> str:
    """Return the source of a file in a tar."""
    return f"{tar}#{offset}+{size}"


def file_of(source: str) -> Path:
    """Return the file on disk that holds a picture: itself, or the tar that it is in."""
    place = PLACE.fullmatch(source)
    return Path(place[1] if place else source)


def read(source: str) -> bytes:
    """Return the bytes of a picture's file. Raises an OSError if they cannot be read."""
    place = PLACE.fullmatch(source)
    return read_part(Path(place[1]), int(place[2]), int(place[3])) if place else read_file(source)


def read_part(path: Path, offset: int, size: int) -> bytes:
    """Return a part of a file. Raises an OSError if the file ends before it does."""
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise OSError(f"{path} ends {size - len(data):,} bytes too early")
    return data


def size(source: str) -> int:
    """Return the size of a picture's file in bytes; 0 if it cannot be read."""
    if place := PLACE.fullmatch(source):
        return int(place[3])
    try:
        return Path(source).stat().st_size
    except OSError:  # reported in the quarantine when its pixels are read
        return 0


def md5(source: str) -> str:
    """Return the MD5 of a picture's file, in bounded memory; empty if it cannot be read."""
    try:
        if PLACE.fullmatch(source):
            return hashlib.md5(read(source), usedforsecurity=False).hexdigest()
        digest = hashlib.md5(usedforsecurity=False)
        with Path(source).open("rb") as file:
            while part := file.read(READ_BYTES):
                digest.update(part)
        return digest.hexdigest()
    except OSError:
        return ""


def is_newer(source: str, seconds: float) -> bool:
    """Return whether a file on this machine was written or put there after a time; False for addresses and missing files.

    Copies keep the time of the last change, but not that of the file's entry (`st_ctime`), except on Windows.
    """
    try:
        status = file_of(source).stat()
        return max(status.st_mtime, status.st_ctime) > seconds
    except OSError:
        return False
