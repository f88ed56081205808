"""The board `gallery-dl`: pictures that gallery-dl fetched, with its metadata beside them.

The metadata of `a.jpg` are read from the first of `a.jpg.json`, `a.json`, a line of a `.jsonl` file in its folder or in one
above it, `a.jpg.txt` and `a.txt` (one tag on each line).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from common.errors import say, short
from common.files import decode_text
from common.progress import progress
from dataset.boards.annotation import Annotation, from_tags, in_one_line, naming, spelled
from dataset.boards.collection import Collection
from dataset.boards.post_json import read_post
from dataset.tag_text import usable

# Where the metadata of a picture are.
JSON_SUFFIXES = (".json", ".JSON")
JSON, LINES, TEXT = "a JSON file beside it", "a .jsonl file", "a text file beside it"


class GalleryDlBoard(Collection):
    """Pictures with the metadata that gallery-dl wrote; see `Board` for the interface."""

    name = "gallery-dl"

    def where_tags_are(self) -> str:
        return f"{self._folders} has tags in a file that gallery-dl wrote beside it (--write-metadata)"

    def annotations(self) -> Iterator[Annotation]:
        images, rejected, others = self._folders.find()
        self.rejected += rejected
        lines = _Lines(self._folders.folders, self.rejected)
        read: dict[str, Annotation] = {}
        kinds, sidecars = Counter[str](), set[str]()  # several pictures may share a sidecar
        for name, source in progress(images.items(), description="metadata", unit="files", leave=False):
            read[name] = Annotation(id=name, source=source)
            try:
                read[name] = replace(_metadata(Path(source), lines, kinds, sidecars), id=name, source=source)
            except ValueError as error:
                self.rejected.append((name, f"metadata cannot be used: {in_one_line(error)}"))
            except OSError as error:
                self.rejected.append((name, f"metadata cannot be read: {error.strerror}"))
        for kind, number in kinds.most_common():
            say(f"{number:,} of {len(images):,} pictures have their metadata in {kind}")
        if alone := others[".json"] - len(sidecars):
            say(f"{alone:,} JSON files belong to no picture that can be read")
        lines.report()
        yield from spelled(list(read.values()), self._reader)


def _metadata(picture: Path, lines: "_Lines", kinds: Counter[str], sidecars: set[str]) -> Annotation:
    """Return what is known about a picture, empty if nothing is.

    Args:
        picture: its file.
        lines: the lines of `.jsonl` files.
        kinds: counts where the metadata are.
        sidecars: gets the JSON file, if there is one.

    Raises:
        OSError: a file cannot be read.
        ValueError: it is damaged, or it is not clear which one is the picture's; the message names it.
    """
    if sidecar := _beside(picture, JSON_SUFFIXES):
        kinds[JSON] += 1
        sidecars.add(str(sidecar))
        with naming(sidecar.name):
            post = read_post(json.loads(decode_text(sidecar.read_bytes())))
        if post.tags or not (text := _beside(picture, (".txt",))):
            return post
        kinds[TEXT] += 1
        tags = _tags_in(text)
        return replace(post, tags=tags.tags, categories=tags.categories)
    if line := lines.find(picture):
        kinds[LINES] += 1
        with naming(line.file):
            return read_post(line.post)
    if text := _beside(picture, (".txt",)):
        kinds[TEXT] += 1
        return _tags_in(text)
    return Annotation()


def _tags_in(text: Path) -> Annotation:
    """Return the tags of a text file."""
    with naming(text.name):
        return from_tags(usable(decode_text(text.read_bytes()).splitlines(), "tags"))


def _beside(picture: Path, suffixes: Iterable[str]) -> Path | None:
    """Return a picture's file with one of some suffixes, after its name or instead of its own suffix, or None."""
    for suffix in suffixes:
        for path in (picture.with_name(f"{picture.name}{suffix}"), picture.with_suffix(suffix)):
            if path.is_file():
                return path
    return None


@dataclass(frozen=True, slots=True)
class Line:
    """The object in a line of a `.jsonl` file, and the file and the line, for messages."""

    post: dict
    file: str


class _Lines:
    """The lines of `.jsonl` files, found by the names that gallery-dl gives to pictures by default.

    gallery-dl adds a line each time it fetches a post: the last one in a file counts.

    Args:
        folders: searched with their subfolders.
        rejected: gets the lines that cannot be used, as in `Board`.
    """

    def __init__(self, folders: Sequence[Path], rejected: list[tuple[str, str]]):
        self._lines: dict[tuple[str, str], list[Line]] = defaultdict(list)
        self._unused: dict[int, Line] = {}  # those that no picture has, by their identity
        self._rejected = rejected
        self._earlier = self._number = 0
        for folder in folders:
            for path in sorted(folder.rglob("*.jsonl")):
                self._read(path)

    def find(self, picture: Path) -> Line | None:
        """Return the line for a picture, or None.

        Raises:
            ValueError: several lines could be its own.
        """
        if not self._lines:
            return None
        for folder in picture.parents:
            for name in (picture.name, picture.stem):
                lines = self._lines.get((str(folder), name), [])
                if any(line.post != lines[0].post for line in lines):
                    several = ", ".join(line.file for line in lines[:3])
                    raise ValueError(f"{len(lines)} lines of .jsonl files could be its own: {several}")
                for line in lines:
                    self._unused.pop(id(line), None)
                if lines:
                    return lines[0]
        return None

    def report(self) -> None:
        """Say which lines were not used."""
        if self._earlier:
            say(f"{self._earlier:,} lines of .jsonl files are not used: a later line is about the same post")
        if self._unused:
            first = next(iter(self._unused.values())).file
            number = f"{len(self._unused):,} of {self._number:,}"
            say(f"{number} lines of .jsonl files belong to no picture that can be read, such as {first}")

    def _read(self, path: Path) -> None:
        try:
            # Bytes that are not UTF-8 spoil their line alone.
            texts = decode_text(path.read_bytes(), "surrogateescape").split("\n")
        except OSError as error:
            say(f"{path} is not used, because it cannot be read: {error.strerror}")
            return
        except UnicodeDecodeError:
            say(f"{path} is not used: expected text in UTF-8: save it as such, or delete it")
            return
        last: dict[tuple[str, ...], Line] = {}  # by the names of the post's picture, if it has an id
        bad = []
        for number, text in enumerate(texts, 1):
            if not text.strip():
                continue
            line = f"{path.name}, line {number:,}"
            try:
                if not isinstance(post := json.loads(text), dict):
                    raise ValueError(f"expected an object with the keys of a post. Received: {short(post)}")
            except (ValueError, RecursionError) as error:
                bad.append(f"line {number:,}: {in_one_line(error)}")
                self._rejected.append((line, f"line of a .jsonl file cannot be used: {in_one_line(error)}"))
                continue
            same = tuple(_default_names(post)) if post.get("id") else (line,)
            self._earlier += same in last
            last[same] = Line(post, line)
        if bad:
            say(f"{path}: lines that are not used: {len(bad):,} of {len(texts):,}, such as {bad[0]}")
        self._number += len(last)
        for found in last.values():
            self._unused[id(found)] = found
            for name in _default_names(found.post):
                self._lines[str(path.parent), name].append(found)


def _default_names(post: dict) -> Iterator[str]:
    """Yield the file names that gallery-dl gives to a post's picture by default, the most exact first."""
    for key in ("_path", "path", "_filename"):
        if isinstance(post.get(key), str):
            yield PurePosixPath(post[key].replace("\\", "/")).name
    category, number, name = (str(post.get(key, "")) for key in ("category", "id", "filename"))
    md5, version = str(post.get("md5") or post.get("checksumMD5") or ""), str(post.get("version", ""))
    with_board = (f"{category}_{number}_{name}", f"{category}_{number}_{md5}")
    stems = dict.fromkeys((*with_board, f"{number}_{version}_{md5}", name, md5, number))
    yield from (stem for stem in stems if stem.strip("_"))
