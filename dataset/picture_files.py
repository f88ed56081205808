"""Which files are pictures: the same for every command, by their suffix, and by what this Pillow and its plug-ins read."""

import contextlib
import functools
import importlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from common.errors import say
from common.files import PARTIAL

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "PPM", "HEIF", "JXL")  # Pillow's names
MORE_SUFFIXES = {".apng": "PNG", ".mpo": "JPEG"}  # ▶ the format as which Pillow opens them
# Suffix ▶ the package that reads it.
PLUG_INS = dict.fromkeys((".heic", ".heif", ".hif"), "pillow-heif") | {".jxl": "pillow-jxl-plugin"}
COMPANIONS = {".txt", ".caption", ".json", ".jsonl", ".csv", ".xmp"}  # not pictures, but what is written beside them


@dataclass(frozen=True)
class PictureFiles:
    """The pictures of a folder and its subfolders.

    Attributes:
        folder: the folder.
        names: their paths relative to it, with slashes, sorted.
        passed_over: suffix ▶ number of files that are no pictures.
        unreadable: subfolders that cannot be read and links to nothing, each with the reason.
    """

    folder: Path
    names: list[str]
    passed_over: Counter[str]
    unreadable: list[str]

    def report(self) -> None:
        """Say what was passed over, but for files that accompany pictures, and what to install for it."""
        for line in self.unreadable:
            say(f"cannot be read: {line}")
        others = [(suffix, number) for suffix, number in self.passed_over.most_common() if suffix not in COMPANIONS]
        if others:
            counts = (f"{number:,} {suffix or 'without a suffix'}" for suffix, number in others)
            packages = sorted({PLUG_INS[suffix] for suffix, _ in others if suffix in PLUG_INS})
            install = f"; for more of them: pip install {' '.join(packages)}" if packages else ""
            say(f"no pictures in {self.folder}: {', '.join(counts)}{install}")


def find(folder: Path) -> PictureFiles:
    """Return the picture files in a folder and its subfolders.

    Hidden files and folders are left out. A link to a folder is followed unless it leads to a folder visited before.
    """
    names, passed_over, unreadable, visited = [], Counter[str](), [], set()

    def note(error: OSError) -> None:
        unreadable.append(f"{error.filename} ({error.strerror})")

    for parent, folders, files in os.walk(folder, onerror=note, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(parent, name)
            if name.startswith("."):
                continue
            if not path.is_file():
                unreadable.append(f"{path} (not a file, or a link to nothing)")
                continue
            if is_picture(path):
                names.append(path.relative_to(folder).as_posix())
            else:
                passed_over[path.suffix.lower()] += 1
    return PictureFiles(folder, sorted(names), passed_over, unreadable)


def is_picture(path: Path) -> bool:
    """Return whether a file's name is that of a picture that can be read. Unfinished files have none."""
    return path.suffix.lower() in suffixes() and not path.name.startswith(PARTIAL)


@functools.cache
def known_formats() -> tuple[str, ...]:
    """Return the formats that this Pillow reads, with the plug-ins that are installed."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_jxl")
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the suffixes of pictures that can be read, in small letters."""
    of_format = Image.registered_extensions() | MORE_SUFFIXES
    return frozenset(suffix for suffix, name in of_format.items() if name in known_formats())
