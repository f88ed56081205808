"""The board `folder`: a user's own images, with tags from a table or from a text file beside each image."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from common.errors import InputError, say
from common.files import decode_text
from common.numbers import ranks
from common.progress import progress
from dataset import picture_files, recovery
from dataset.boards.board import Post
from dataset.boards.catalogue import Catalogue, make_catalogue
from dataset.boards.image_finder import ImageFinder
from dataset.boards.tag_table import Columns, read_table
from dataset.images import read_file
from dataset.records import CATEGORIES, RATING_TAGS
from dataset.tag_text import TEXT_SUFFIXES, TagReader, without_namespace

READ_BYTES = 2**20


class FolderBoard:
    """The images in a folder and its subfolders; see `Board` for the interface.

    A post's id is its path relative to the folder, with slashes.

    Args:
        folder: folder of the images.
        table: a CSV or JSON file with ids and tags; without it, tags are read from the first of `paths_beside`.
        columns: the table's columns. Each column of numbers becomes a tag whose label is the rank of the number.
        reader: how tags are separated and spelled; None: as `TagReader` decides.
        strict: refuse images that are cut short, instead of using what is there of them.

    Raises:
        InputError: the folder is missing, or there are columns of numbers but no table.
    """

    name = "folder"
    remote = False
    attribution = ""

    def __init__(
        self,
        folder: Path | None,
        table: Path | None,
        columns: Columns | None = None,
        reader: TagReader | None = None,
        strict: bool = False,
    ):
        if folder is None:
            raise InputError("--board folder needs --images DIR, the folder of your images")
        if not folder.is_dir():
            raise InputError(f"--images {folder} is {'not a folder' if folder.exists() else 'missing'}")
        columns = columns or Columns()
        if table is None and (columns.numbers or columns.id or columns.tags):
            raise InputError("--numbers, --id-column and --tags-column need --csv FILE, the table with those columns")
        self.skipped: dict[str, int] = {}
        self.rejected: list[tuple[str, str]] = []
        self._folder, self._table, self._columns, self._reader = folder, table, columns, reader or TagReader()
        self._numbers = tuple(columns.numbers)
        self._categories: dict[str, str] = {}  # tag ▶ category, where that is not `general`
        self._strict = strict
        self._posts: list[Post] | None = None

    def posts(self) -> Iterator[Post]:
        if self._posts is None:
            self._posts = list(self._read())
        yield from self._posts

    def catalogue(self) -> Catalogue:
        return make_catalogue(self.posts())

    def image_bytes(self, post: Post, size: int) -> bytes:
        return recovery.read_whole(read_file(post.source), post.source, self._strict)

    def planned_bytes(self, post: Post, size: int) -> int:
        return 0

    def rate(self, post: Post) -> float:
        return 0.0

    def category(self, tag: str) -> int:
        return CATEGORIES["number" if tag in self._numbers else self._categories.get(tag, "general")]

    def tag_id(self, tag: str) -> int | None:
        return None

    def implied(self, tag: str) -> tuple[str, ...]:
        return ()

    def _read(self) -> Iterator[Post]:
        images, found = {}, picture_files.find(self._folder)
        found.report()
        for relative in found.names:
            try:
                relative.encode()
            except UnicodeEncodeError:  # the file system allows any bytes; a record's id must be UTF-8
                self.rejected.append((ascii(relative), "the file's name is not UTF-8"))
            else:
                images[relative] = self._folder / relative
        if not images:
            raise InputError(
                f"{self._folder} contains no images: expected files named {' '.join(sorted(picture_files.suffixes()))}"
            )
        if self._table is None:
            tags, groups, labels = self._tags_beside(images), {}, {}
        else:
            tags, groups, labels = self._tags_from_table(self._table, images)
        rejected = {post_id for post_id, _ in self.rejected}
        without_tags = sum(not tags.get(relative) and relative not in rejected for relative in images)
        self.skipped = {"images without tags": without_tags} if without_tags else {}
        if not any(tags.values()):
            where = self._table or "a text file beside it"
            first = "; the first entry, {}: {}".format(*self.rejected[0]) if self.rejected else ""
            raise InputError(f"none of the {len(images):,} images of {self._folder} has tags in {where}{first}")
        md5s = self._without_copies(tags, [relative for relative in images if tags.get(relative)])
        all_tags = {name for relative in md5s for name in tags[relative]}
        if others := sorted(name for name in all_tags if name.startswith("rating:") and name not in RATING_TAGS):
            say(f"warning: {', '.join(others[:5])} is no rating but a tag like others; ratings are {', '.join(RATING_TAGS)}")
        ratings = {relative: [name for name in tags[relative] if name in RATING_TAGS] for relative in md5s}
        if several := [relative for relative, names in ratings.items() if len(names) > 1]:
            say(f"{len(several):,} images have several ratings, and count as not rated, such as {several[0]}")
        for relative, md5 in md5s.items():
            rated = ratings[relative][0] if len(ratings[relative]) == 1 else ""
            yield Post(
                id=relative,
                tags=tuple(name for name in tags[relative] if name not in ratings[relative]),
                group=groups.get(relative) or relative,
                rating=rated.partition(":")[2],
                md5=md5,
                source=str(images[relative]),
                labels=labels.get(relative, {}),
            )

    def _tags_beside(self, images: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Tags from the text file beside each image."""
        texts: dict[str, tuple[str, str]] = {}
        unread = []
        for relative in images:
            found = [path for path in paths_beside(self._folder / relative) if path.is_file()]
            unread += found[1:]
            for beside in found[:1]:
                try:
                    texts[relative] = (str(beside.relative_to(self._folder)), decode_text(beside.read_bytes()))
                except UnicodeDecodeError:
                    self.rejected.append((relative, f"tags are not UTF-8: {beside.name}"))
                except OSError as error:
                    self.rejected.append((relative, f"tags cannot be read: {beside.name}, {error.strerror}"))
        if unread:
            say(f"{len(unread):,} text files are not read, because their picture has another, such as {unread[0]}")
        return dict(zip(texts, self._read_tags(list(texts.values())), strict=True))

    def _read_tags(self, cells: list[tuple[str, str]]) -> list[tuple[str, ...]]:
        """Read tags, and turn their namespaces into categories."""
        categories: dict[str, Counter[str]] = defaultdict(Counter)
        tags = []
        for names in self._reader.read(cells):
            pairs = [without_namespace(name) for name in names]
            for category, name in pairs:
                if category != "general":
                    categories[name][category] += 1
            tags.append(tuple(dict.fromkeys(name for _, name in pairs)))
        self._categories = {name: counts.most_common(1)[0][0] for name, counts in categories.items()}
        if self._categories:
            tag, category = next(iter(self._categories.items()))
            say(f"{len(self._categories):,} tags have a category, such as {tag}: {category}")
        return tags

    def _tags_from_table(
        self, table: Path, images: Iterable[str]
    ) -> tuple[dict[str, tuple[str, ...]], dict[str, str], dict]:
        """Tags, groups and ranks from the table. An image that several lines name gets the tags of all of them."""
        finder = ImageFinder(self._folder, images)
        cells: list[tuple[str, str]] = []
        groups: dict[str, str] = {}
        values: dict[str, list[float]] = {}
        for row in read_table(table, lambda name: bool(finder.find(name)), self._columns):
            matches = finder.find(row.id) if row.id else []
            if (row.tags is None and not self._numbers) or not row.id:
                self.rejected.append((row.id or f"line {row.line}", f"too few columns: line {row.line} of the table"))
            elif not matches:
                self.rejected.append((row.id, "no such file"))
            elif len(matches) > 1:
                self.rejected.append((row.id, f"ambiguous: fits {len(matches)} files, {', '.join(matches[:3])}"))
            elif not all(map(is_number, row.numbers)):
                self.rejected.append((matches[0], f"no number: {', '.join(row.numbers)}"))
            else:
                cells.append((matches[0], row.tags or ""))
                values[matches[0]] = [float(cell) for cell in row.numbers]
                if row.group:
                    groups.setdefault(matches[0], row.group)
        if finder.found_by_end:
            example = finder.found_by_end[0]
            say(f"{len(set(finder.found_by_end)):,} images were found by the end of their path, such as {example}")
        labels: dict[str, dict[str, float]] = defaultdict(dict)
        for position, name in enumerate(self._numbers):
            if len({numbers[position] for numbers in values.values()}) == 1:
                unused = f"; {len(self.rejected):,} lines are not used, such as {self.rejected[0]}" if self.rejected else ""
                raise InputError(f"{table} has the same {name} on every line: expected different numbers{unused}")
            column = ranks([numbers[position] for numbers in values.values()])
            for relative, rank in zip(values, column.tolist(), strict=True):
                labels[relative][name] = rank
        tags: dict[str, dict[str, None]] = defaultdict(lambda: dict.fromkeys(self._numbers))
        for (relative, _), names in zip(cells, self._read_tags(cells), strict=True):
            tags[relative].update(dict.fromkeys(names))
        return {relative: tuple(names) for relative, names in tags.items()}, groups, labels

    def _without_copies(self, tags: dict[str, tuple[str, ...]], images: Iterable[str]) -> dict[str, str]:
        """Image ▶ MD5, without the later of two files with the same bytes. MD5 is empty if no other file has its size.

        The first gets the tags of all.
        """
        sizes = {relative: _size(self._folder / relative) for relative in images}
        count_of_size = Counter(sizes.values())
        md5s: dict[str, str] = {}
        first_with: dict[str, str] = {}
        for relative, size in progress(sizes.items(), description="copies", unit="files", leave=False):
            md5 = md5_of(self._folder / relative) if size and count_of_size[size] > 1 else ""
            original = first_with.setdefault(md5, relative) if md5 else relative
            if original == relative:
                md5s[relative] = md5
            else:
                added = [name for name in tags[relative] if name not in tags[original]]
                tags[original] += tuple(added)
                gets = f", which gets its tags {', '.join(added)}" if added else ""
                self.rejected.append((relative, f"copy: same bytes as {original}{gets}"))
        return md5s


def paths_beside(image: Path) -> list[Path]:
    """Return where the tags of an image may be, the first choice first."""
    return [path for suffix in TEXT_SUFFIXES for path in (image.with_name(image.name + suffix), image.with_suffix(suffix))]


def is_number(cell: str) -> bool:
    """Return whether a table's cell is a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # reported in the quarantine when its pixels are read
        return 0


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, in bounded memory; empty if it cannot be read."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            while part := file.read(READ_BYTES):
                digest.update(part)
    except OSError:
        return ""
    return digest.hexdigest()
