"""Find the images of a folder that the ids in a user's table name."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

DRIVE = re.compile("[A-Za-z]:")


class ImageFinder:
    """Finds images by an id: a path relative to the folder or a file name, with or without extension, or another path.

    Capitals and small letters are the same where no image has them as in the id. Of a path with a drive or a server, which
    another system wrote, the end counts: its last folders and the name.

    Args:
        folder: folder of the images.
        images: their paths relative to the folder.

    Attributes:
        found_by_end: ids that were found by the end of their path.
    """

    def __init__(self, folder: Path, images: Iterable[str]):
        self._folder = folder
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
        """A path from the working folder or the root, relative to the images' folder; empty if it is not inside it."""
        if "\0" in path:
            return ""
        absolute = Path(path)
        try:
            return (absolute.parent.resolve() / absolute.name).relative_to(self._folder.resolve()).as_posix()
        except ValueError:
            return ""


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
