"""Find the images of a folder that the ids in a user's table name."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from dataset.boards.picture_folders import PictureFolders

DRIVE = re.compile("[A-Za-z]:")


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
        # The most exact reading first. Names are compared in composed form (NFC): macOS stores decomposed names.
        self._readings: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(8)]
        for relative in images:
            path = PurePosixPath(_composed(relative))
            keys = [str(key) for key in (path, path.with_suffix(""), path.name, path.stem)]
            for reading, key in zip(self._readings, (*keys, *map(str.casefold, keys)), strict=True):
                reading[key].append(relative)

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
        for number, reading in enumerate(self._readings):
            if found := reading.get(key if number < 4 else key.casefold()):
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


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
