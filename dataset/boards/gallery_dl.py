"""The board `gallery-dl`: pictures that gallery-dl fetched, with its metadata beside them.

The metadata of `a.jpg` are read from the first of `a.jpg.json`, `a.json`, a line of a `.jsonl` file in its folder or in one
above it, `a.jpg.txt` and `a.txt` (one tag on each line).
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from common.errors import InputError, say
from common.files import decode_text
from common.progress import progress
from dataset.boards.annotation import Annotation, from_tags, in_one_line, spelled
from dataset.boards.collection import Collection
from dataset.boards.post_json import read_post
from dataset.tag_text import usable


class GalleryDlBoard(Collection):
    """Pictures with the metadata that gallery-dl wrote; see `Board` for the interface."""

    name = "gallery-dl"

    def where_tags_are(self) -> str:
        return f"{self._folders} has tags in a file that gallery-dl wrote beside it (--write-metadata)"

    def annotations(self) -> Iterator[Annotation]:
        images, rejected, others = self._folders.find()
        self.rejected += rejected
        lines = _Lines(self._folders.folders)
        read: dict[str, Annotation] = {}
        json_files, kinds = 0, Counter[str]()
        post: dict | list[str] | None
        for name, source in progress(images.items(), description="metadata", unit="files", leave=False):
            path = Path(source)
            try:
                json_files += (sidecar := _json_beside(path)) is not None
                kind, post = ("a JSON file beside it", _load(sidecar)) if sidecar else ("a .jsonl file", lines.find(path))
                if post is None:
                    kind, post = "a text file beside it", _text_beside(path)
                read[name] = replace(_annotation(post), id=name, source=source)
                kinds[kind] += post is not None
            except (ValueError, RecursionError) as error:
                self.rejected.append((name, f"metadata cannot be used: {in_one_line(error)}"))
                read[name] = Annotation(id=name, source=source)
            except OSError as error:
                self.rejected.append((name, f"metadata cannot be read: {error.strerror}"))
                read[name] = Annotation(id=name, source=source)
        for kind, number in kinds.most_common():
            say(f"{number:,} of {len(images):,} pictures have their metadata in {kind}")
        if alone := others[".json"] - json_files:
            say(f"{alone:,} JSON files belong to no picture that can be read")
        lines.report()
        yield from spelled(list(read.values()), self._reader)


def _annotation(post: dict | list[str] | None) -> Annotation:
    """Return what metadata say: a JSON object, a list of tags from a text file, or None."""
    if post is None:
        return Annotation()
    if isinstance(post, list):
        return from_tags(post)
    return read_post(post)


def _json_beside(picture: Path) -> Path | None:
    """Return a picture's JSON file, or None."""
    for suffix in (".json", ".JSON"):
        for path in (picture.with_name(f"{picture.name}{suffix}"), picture.with_suffix(suffix)):
            if path.is_file():
                return path
    return None


def _load(sidecar: Path) -> dict:
    """Return the object in a JSON file."""
    data = sidecar.read_bytes()
    if not data.strip():
        raise ValueError(f"{sidecar.name}: expected an object. Received an empty file")
    post = json.loads(decode_text(data))
    if not isinstance(post, dict):
        raise ValueError(f"{sidecar.name}: expected an object. Received: {str(post)[:60]}")
    return post


def _text_beside(picture: Path) -> list[str] | None:
    """Return the tags in a picture's text file, or None."""
    for path in (picture.with_name(f"{picture.name}.txt"), picture.with_suffix(".txt")):
        if path.is_file():
            return usable(decode_text(path.read_bytes()).splitlines(), path.name)
    return None


class _Lines:
    """The lines of `.jsonl` files, found by the names that gallery-dl gives to pictures by default.

    Args:
        folders: searched with their subfolders.
    """

    def __init__(self, folders: Sequence[Path]):
        self._posts: dict[tuple[str, str], list[dict]] = defaultdict(list)
        self._used: set[int] = set()
        self._number = 0
        for folder in folders:
            for path in sorted(folder.rglob("*.jsonl")):
                self._read(path)

    def find(self, picture: Path) -> dict | None:
        """Return the object for a picture, or None.

        Raises:
            ValueError: several objects could be its own.
        """
        if not self._posts:
            return None
        for folder in picture.parents:
            for name in (picture.name, picture.stem):
                posts = self._posts.get((str(folder), name), [])
                distinct = {json.dumps(post, sort_keys=True, default=str): post for post in posts}
                if len(distinct) > 1:
                    raise ValueError(f"{len(distinct)} different lines of .jsonl files in {folder} could be its own")
                if distinct:
                    self._used.add(id(posts[0]))
                    return posts[0]
        return None

    def report(self) -> None:
        """Say how many lines belong to no picture."""
        if unused := self._number - len(self._used):
            say(f"{unused:,} of {self._number:,} lines of .jsonl files belong to no picture that can be read")

    def _read(self, path: Path) -> None:
        try:
            text = decode_text(path.read_bytes())
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not UTF-8 (byte {error.start:,}): save it as UTF-8, or delete it") from None
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                post = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}, line {number:,}, is not JSON: {error}: mend or delete this line") from None
            if isinstance(post, dict):
                self._number += 1
                for name in _default_names(post):
                    self._posts[str(path.parent), name].append(post)


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
