"""Find the images of a folder that the ids in a user's table name."""

import re
import unicodedata
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from dataset.boards.picture_folders import PictureFolders

DRIVE = re.compile("[A-Za-z]:")
READINGS = 8  # of an id, see `_readings`


class ImageFinder:
    """Finds images by an id: a path relative to the folder or a file name, with or without extension, or another path.

    Capitals and small letters are the same where no image has them as in the id. Of a path with a drive or a server, which
    another system wrote, the end counts: its last folders and the name.

    Args:
        folders: folders of the images, see `PictureFolders`.
        images: their ids there.

    Attributes:
        found_by_end: ids that were found by the end of their path.
    """

    def __init__(self, folders: Sequence[Path], images: Iterable[str]):
        self._folders = PictureFolders(folders)
        self.found_by_end: list[str] = []
        self._images = list(images)
        # Hashes instead of texts: for eight readings of a hundred thousand images, these would take 200 MB.
        hashes = array("q", (hash(key) for image in self._images for key in _readings(image)))
        by_reading = np.array(hashes, np.int64).reshape(-1, READINGS).T  # (readings, images)
        self._order = [np.argsort(reading, kind="stable").astype(np.int32) for reading in by_reading]
        self._hashes = [reading[order] for reading, order in zip(by_reading, self._order, strict=True)]

    def find(self, name: str) -> list[str]:
        """Return the images that match the most exact reading of an id: none if it is wrong, several if it is ambiguous."""
        for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
            key = str(PurePosixPath(_composed(spelling)))
            for candidate in (key, self._relative(key)):
                if candidate and (found := self._matches(candidate)):
                    return found
            drive, *folders = key.split("/")
            is_elsewhere = DRIVE.fullmatch(drive) or name.startswith("\\\\")
            for first in range(len(folders)) if is_elsewhere else ():
                if found := self._matches("/".join(folders[first:])):
                    self.found_by_end.append(name)
                    return found
        return []

    def _matches(self, key: str) -> list[str]:
        for number, (hashes, order) in enumerate(zip(self._hashes, self._order, strict=True)):
            wanted = key if number < READINGS // 2 else key.casefold()
            first, end = (np.searchsorted(hashes, hash(wanted), side) for side in ("left", "right"))
            same_hash = (self._images[position] for position in order[first:end].tolist())
            if found := [image for image in same_hash if _readings(image)[number] == wanted]:
                return found
        return []

    def _relative(self, path: str) -> str:
        """The id for a path from the working folder or the root; empty if it is not inside an images' folder."""
        if "\0" in path:
            return ""
        absolute = Path(path)
        absolute = absolute.parent.resolve() / absolute.name
        for prefix, folder in zip(self._folders.prefixes, self._folders.folders, strict=True):
            if absolute.is_relative_to(folder.resolve()):
                return prefix + absolute.relative_to(folder.resolve()).as_posix()
        return ""


def _readings(image: str) -> list[str]:
    """Return what an id may be that means an image, the most exact first: its path and its name, each also without suffix,
    and the same without regard to capitals. In composed form (NFC), because macOS stores decomposed names."""
    path = PurePosixPath(_composed(image))
    keys = [str(key) for key in (path, path.with_suffix(""), path.name, path.stem)]
    return [*keys, *map(str.casefold, keys)]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
