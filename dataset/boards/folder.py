"""The board made of a user's own images: tags from a CSV, or from a .txt beside each image."""

import hashlib
import math
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from command import InputError
from dataset.boards import CATEGORIES, Post
from dataset.boards.catalogue import Catalogue, catalogue_of
from dataset.boards.tag_table import ranks, read_table, split_tags
from dataset.images import read_file

SUFFIXES = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif"))
HASHED_BYTES = 2**20  # read at a time


class FolderBoard:
    """Images in a folder and below it; see `Board` for the interface.

    A post's id is its path relative to the folder, with slashes.

    Args:
        folder: the images.
        table: a CSV with the columns id and tags; without it, tags are read from `a.txt` or `a.png.txt` beside `a.png`.
        numbers: columns of the table that hold a number for each image; it becomes a tag, whose label is the number's rank.

    Raises:
        InputError: there is no folder, or no table for the numbers.
    """

    name = "folder"
    remote = False
    attribution = ""

    def __init__(self, folder: Path | None, table: Path | None, numbers: Sequence[str] = ()):
        if folder is None:
            raise InputError("--board folder needs --images DIR, the folder of your images")
        if not folder.is_dir():
            raise InputError(f"--images {folder} is {'not a folder' if folder.exists() else 'missing'}")
        if numbers and table is None:
            raise InputError("--numbers needs --csv FILE, the table with those columns")
        self.skipped: dict[str, int] = {}
        self.rejected: list[tuple[str, str]] = []
        self._folder, self._table, self._numbers = folder, table, tuple(numbers)
        self._posts: list[Post] | None = None

    def posts(self) -> Iterator[Post]:
        if self._posts is None:
            self._posts = list(self._read())
        yield from self._posts

    def catalogue(self) -> Catalogue:
        return catalogue_of(self.posts())

    def image_bytes(self, post: Post, size: int) -> bytes:
        return read_file(post.source)

    def planned_bytes(self, post: Post, size: int) -> int:
        return 0

    def category(self, tag: str) -> int:
        return CATEGORIES["number" if tag in self._numbers else "general"]

    def tag_id(self, tag: str) -> int | None:
        return None

    def implied(self, tag: str) -> tuple[str, ...]:
        return ()

    def _read(self) -> Iterator[Post]:
        images = {}
        for relative in image_files(self._folder):
            try:
                relative.encode()
            except UnicodeEncodeError:  # the file system's bytes are no UTF-8, and a record's id must be
                self.rejected.append((ascii(relative), "the file's name is not UTF-8"))
            else:
                images[relative] = self._folder / relative
        if not images:
            raise InputError(f"{self._folder} holds no image: expected files named {' '.join(sorted(SUFFIXES))}")
        if self._table is None:
            tags, groups, labels = self._tags_beside(images), {}, {}
        else:
            tags, groups, labels = self._tags_from_table(self._table, images)
        rejected = {post_id for post_id, _ in self.rejected}
        without_tags = sum(not tags.get(relative) and relative not in rejected for relative in images)
        self.skipped = {"images without tags": without_tags} if without_tags else {}
        if not any(tags.values()):
            where = self._table or "a .txt file beside it"
            first = "; the first entry, {}: {}".format(*self.rejected[0]) if self.rejected else ""
            raise InputError(f"none of the {len(images):,} images of {self._folder} has tags in {where}{first}")
        md5s = self._without_copies(relative for relative in images if tags.get(relative))
        for relative, md5 in md5s.items():
            group = groups.get(relative) or relative
            source = str(images[relative])
            yield Post(relative, tags[relative], group, "s", md5, source, labels=labels.get(relative, {}))

    def _tags_beside(self, images: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Tags from the .txt file beside each image."""
        tags = {}
        for relative in images:
            path = self._folder / relative
            for beside in (path.with_name(f"{path.name}.txt"), path.with_suffix(".txt")):
                if beside.is_file():
                    try:
                        tags[relative] = split_tags(beside.read_text(encoding="utf-8-sig"))
                    except UnicodeDecodeError:
                        self.rejected.append((relative, f"tags are not UTF-8: {beside.name}"))
                    except OSError as error:
                        self.rejected.append((relative, f"tags cannot be read: {beside.name}, {error.strerror}"))
                    break
        return tags

    def _tags_from_table(
        self, table: Path, images: Iterable[str]
    ) -> tuple[dict[str, tuple[str, ...]], dict[str, str], dict]:
        """Tags, groups and ranks from the table; an image that several lines name has the tags of all."""
        finder = ImageFinder(self._folder, images)
        tags: dict[str, dict[str, None]] = defaultdict(dict)
        groups: dict[str, str] = {}
        values: dict[str, list[float]] = {}
        for row in read_table(table, lambda name: bool(finder.find(name)), self._numbers):
            found = finder.find(row.id) if row.id else []
            if (row.tags is None and not self._numbers) or not row.id:
                self.rejected.append((row.id or f"line {row.line}", f"too few columns: line {row.line} of the table"))
            elif not found:
                self.rejected.append((row.id, "no such file"))
            elif len(found) > 1:
                self.rejected.append((row.id, f"ambiguous: fits {len(found)} files, {', '.join(found[:3])}"))
            elif not all(map(is_number, row.numbers)):
                self.rejected.append((found[0], f"no number: {', '.join(row.numbers)}"))
            else:
                tags[found[0]].update(dict.fromkeys((*self._numbers, *(row.tags or ()))))
                values[found[0]] = [float(cell) for cell in row.numbers]
                if row.group:
                    groups.setdefault(found[0], row.group)
        labels: dict[str, dict[str, float]] = defaultdict(dict)
        for place, name in enumerate(self._numbers):
            if len({numbers[place] for numbers in values.values()}) == 1:
                raise InputError(f"{table} has the same {name} on every line: there is nothing to learn")
            column = ranks([numbers[place] for numbers in values.values()])
            for relative, rank in zip(values, column.tolist(), strict=True):
                labels[relative][name] = rank
        return {relative: tuple(names) for relative, names in tags.items()}, groups, labels

    def _without_copies(self, images: Iterable[str]) -> dict[str, str]:
        """Image ▶ MD5, empty where no other file is of its size; the later of two files with the same bytes goes."""
        from tqdm import tqdm

        sizes = {relative: _size(self._folder / relative) for relative in images}
        alike = Counter(sizes.values())
        kept: dict[str, str] = {}
        first_with: dict[str, str] = {}
        for relative, size in tqdm(sizes.items(), desc="copies", unit=" files", delay=2, dynamic_ncols=True):
            md5 = _md5(self._folder / relative) if size and alike[size] > 1 else ""
            original = first_with.setdefault(md5, relative) if md5 else relative
            if original == relative:
                kept[relative] = md5
            else:
                self.rejected.append((relative, f"copy: same bytes as {original}"))
        return kept


class ImageFinder:
    """Finds the images that an id means: a relative path or a file's name, with or without extension, or a path.

    Args:
        folder: the folder of the images.
        images: their paths relative to it.
    """

    def __init__(self, folder: Path, images: Iterable[str]):
        self._folder = folder
        # The most exact reading first. Names are compared composed: a Mac's disk and a user's table may differ in that.
        self._readings: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(4)]
        for relative in images:
            path = PurePosixPath(_composed(relative))
            for reading, key in zip(self._readings, (path, path.with_suffix(""), path.name, path.stem), strict=True):
                reading[str(key)].append(relative)

    def find(self, name: str) -> list[str]:
        """The images that the most exact reading of an id finds; none or several where it is wrong or ambiguous."""
        for spelling in dict.fromkeys((name, name.replace("\\", "/"))):
            key = str(PurePosixPath(_composed(spelling)))
            for candidate in (key, self._relative(key)):
                for reading in self._readings if candidate else ():
                    if candidate in reading:
                        return reading[candidate]
        return []

    def _relative(self, path: str) -> str:
        """A path from the working folder or the root, relative to the images; empty where it is not below them."""
        if "\0" in path:
            return ""
        given = Path(path)
        try:
            return (given.parent.resolve() / given.name).relative_to(self._folder.resolve()).as_posix()
        except ValueError:
            return ""


def image_files(folder: Path) -> list[str]:
    """Paths, relative to a folder and with slashes, of the images in it and below, sorted.

    Hidden files and folders are left out. A link to a folder is followed unless it leads to one already seen.
    """
    found, seen = [], set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        status = Path(parent).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            path = Path(parent, name)
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and path.is_file():
                found.append(path.relative_to(folder).as_posix())
    return sorted(found)


def is_number(cell: str) -> bool:
    """Whether a table's cell is a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # it is named in the quarantine when it is read for its pixels
        return 0


def _md5(path: Path) -> str:
    """MD5 of a file, in bounded memory; empty where it cannot be read."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while part := file.read(HASHED_BYTES):
                digest.update(part)
    except OSError:
        return ""
    return digest.hexdigest()
