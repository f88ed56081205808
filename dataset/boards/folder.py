"""The board `folder`: a user's own images, with tags from a table or from a text file beside each image."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from common.errors import InputError, counted, say
from common.files import decode_text
from common.numbers import ranks
from dataset.boards.annotation import Annotation
from dataset.boards.collection import Collection
from dataset.boards.filters import Filters
from dataset.boards.image_finder import ImageFinder
from dataset.boards.tag_table import Columns, read_table
from dataset.boards.visibility import UNKNOWN_RATING, one_rating, read_rating
from dataset.tag_text import TEXT_SUFFIXES, TagReader, without_namespace

NOT_IN_TEXTS = re.compile(r"[\x00-\x08\x0e-\x1b\x7f\x80-\x84\x86-\x9f\ud800-\udfff]")  # that separate nothing


class FolderBoard(Collection):
    """The images in folders and their subfolders; see `Board` for the interface, and `PictureFolders` for the ids.

    Args:
        folders: folders of the images.
        table: a CSV or JSON file with ids and tags; without it, tags are read from the first of `paths_beside`.
        columns: the table's columns. Each column of numbers becomes a tag whose label is the rank of the number.
        reader: how tags are separated and spelled; None: as `TagReader` decides.
        strict, filters: see `Collection`.

    Raises:
        InputError: a folder is missing, or there are columns of numbers but no table.
    """

    name = "folder"

    def __init__(
        self,
        folders: Sequence[Path],
        table: Path | None,
        columns: Columns | None = None,
        reader: TagReader | None = None,
        strict: bool = False,
        filters: Filters | None = None,
    ):
        super().__init__(folders, reader, filters, strict)
        columns = columns or Columns()
        if table is None and (columns.numbers or columns.id or columns.tags):
            raise InputError("--numbers, --id-column and --tags-column need --csv FILE, the table with those columns")
        self._table, self._columns = table, columns
        self._numbers = tuple(columns.numbers)

    def where_tags_are(self) -> str:
        return f"{self._folders} has tags in {self._table or 'a text file beside it'}"

    def annotations(self) -> Iterator[Annotation]:
        images, rejected, _ = self._folders.find()
        self.rejected += rejected
        if self._table is None:
            tags, groups, labels, ratings = self._tags_beside(images), {}, {}, {}
        else:
            tags, groups, labels, ratings = self._tags_from_table(self._table, images)
        are_numbers = dict.fromkeys(self._numbers, "number")
        no_labels: dict[str, float] = {}  # one for all pictures
        for name, path in images.items():
            pairs = [("general", tag) if tag in are_numbers else without_namespace(tag) for tag in tags.pop(name, ())]
            yield Annotation(
                id=name,
                source=path,
                tags=tuple(dict.fromkeys(tag for _, tag in pairs if tag)),
                categories={tag: category for category, tag in pairs if tag and category != "general"} | are_numbers,
                rating=ratings.get(name, ""),
                group=groups.get(name, ""),
                labels=labels.get(name, no_labels),
            )

    def _tags_beside(self, images: dict[str, str]) -> dict[str, tuple[str, ...]]:
        """Tags from the text file beside each image."""
        texts: dict[str, tuple[str, str]] = {}
        unread = []
        for name, image in images.items():
            found = [path for path in paths_beside(Path(image)) if path.is_file()]
            unread += found[1:]
            for beside in found[:1]:
                try:
                    text = decode_text(beside.read_bytes())
                    if NOT_IN_TEXTS.search(text):
                        self.rejected.append((name, f"tags have control characters: {beside.name}: save it as UTF-8"))
                    else:
                        texts[name] = (f"{name.rpartition('/')[0]}/{beside.name}".lstrip("/"), text)
                except UnicodeDecodeError:
                    self.rejected.append((name, f"tags are not UTF-8: {beside.name}"))
                except OSError as error:
                    self.rejected.append((name, f"tags cannot be read: {beside.name}, {error.strerror}"))
        if unread:
            say(f"{len(unread):,} text files are not read, because their picture has another, such as {unread[0]}")
        return dict(zip(texts, self._tags_of(list(texts), list(texts.values())), strict=True))

    def _tags_of(self, names: Sequence[str], cells: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
        """Return the tags of each picture's cell; none, if it has something that cannot be a tag, and is rejected."""
        strange: list[tuple[int, str]] = []
        tags = self._reader.read(cells, strange)
        self.rejected += [(names[position], f"{cells[position][0]}: {reason}") for position, reason in strange]
        if strange:
            position, reason = strange[0]
            number = counted(len(strange), "text is", "texts are")
            say(f"{number} left out, such as {cells[position][0]}: {reason}")
        return tags

    def _tags_from_table(
        self, table: Path, images: Iterable[str]
    ) -> tuple[dict[str, tuple[str, ...]], dict[str, str], dict, dict[str, str]]:
        """Tags, groups, ranks and ratings from the table. An image that several lines name gets the tags of all of them."""
        finder = ImageFinder(self._folders.folders, images)
        cells: list[tuple[str, str]] = []
        groups: dict[str, str] = {}
        words: dict[str, set[str]] = defaultdict(set)  # those of its rating
        values: dict[str, list[float]] = {}
        for row in read_table(table, lambda name: bool(finder.find(name)), self._columns):
            matches = finder.find(row.id) if row.id else []
            if (row.tags is None and not self._numbers) or not row.id:
                self.rejected.append((row.id or f"line {row.line}", f"too few columns: line {row.line} of the table"))
            elif NOT_IN_TEXTS.search(f"{row.id}{row.tags}{row.group}"):
                self.rejected.append((ascii(row.id)[1:-1], "control characters, or halves of characters"))
            elif not matches:
                self.rejected.append((row.id, "no such file"))
            elif len(matches) > 1:
                self.rejected.append((row.id, f"ambiguous: fits {len(matches)} files, {', '.join(matches[:3])}"))
            elif not all(map(is_number, row.numbers)):
                self.rejected.append((matches[0], f"no number: {', '.join(row.numbers)}"))
            else:
                cells.append((matches[0], row.tags or ""))
                if self._numbers:
                    values[matches[0]] = [float(cell) for cell in row.numbers]
                if row.ratings:
                    words[matches[0]].update(map(str.lower, row.ratings))
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
        tags: dict[str, tuple[str, ...]] = {}
        for (relative, _), names in zip(cells, self._tags_of([name for name, _ in cells], cells), strict=True):
            tags[relative] = tuple(dict.fromkeys((*tags.get(relative, self._numbers), *names)))
        return tags, groups, labels, _ratings(table, words)


def _ratings(table: Path, words: dict[str, set[str]]) -> dict[str, str]:
    """Return the rating of each image that has one in a table; not known, if it is none or there are two.

    The letter `s` is *safe*, and *sensitive* in a table that has *general*, as on Danbooru.

    Args:
        table: its file, for the message.
        words: image ▶ what the table says about its rating.
    """
    is_danbooru = any({"g", "general"} & given for given in words.values())
    read = {name: {read_rating(word, is_danbooru) for word in given - {"nsfw"}} for name, given in words.items()}
    ratings = {name: one_rating(found, is_marked="nsfw" in words[name]) for name, found in read.items()}
    if unknown := [name for name, rating in ratings.items() if rating == UNKNOWN_RATING]:
        example = f"{unknown[0]}: {', '.join(sorted(words[unknown[0]]))}"
        say(f"{len(unknown):,} images have no single rating in {table}, and count as not rated, such as {example}")
    return ratings


def paths_beside(image: Path) -> list[Path]:
    """Return where the tags of an image may be, the first choice first."""
    return [path for suffix in TEXT_SUFFIXES for path in (image.with_name(image.name + suffix), image.with_suffix(suffix))]


def is_number(cell: str) -> bool:
    """Return whether a table's cell is a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
