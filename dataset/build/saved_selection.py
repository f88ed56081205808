"""The files that hold the selection and the outcome until a data folder is complete, so that a run can continue.

The export of a remote board changes every day. A download that was interrupted continues with the posts that it began with,
and does not read the export again. When all pictures are fetched, their splits are saved as well.
"""

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from common.errors import InputError
from common.files import atomic_path
from dataset.boards.board import Post
from dataset.build.selection import Entry, Selection
from dataset.records import SPLITS

FIELDS = ("tags", "tag_ids", "categories", "implied", "num_posts", "digest", "sample", "num_tagged")


@dataclass(frozen=True)
class Outcome:
    """The split and the picture of each selected post, in the order of the sample.

    Attributes:
        splits: split of each post.
        md5s: MD5 of each original file; empty if there is no picture.
        missing: (id, reason, whether the board has no file any more) of each post without a picture.
        alike: `pictures`: number of near-duplicates of pictures in other groups; `moved`: number of posts whose split
            changed.
    """

    splits: list[str]
    md5s: list[str]
    missing: list[tuple[str, str, bool]]
    alike: dict[str, int]


def write_selection(path: Path, selection: Selection) -> None:
    """Write a selection: a line of its other fields, then a line for each post."""

    def lines() -> Iterator:
        yield {name: getattr(selection, name) for name in FIELDS}
        for split, entries in selection.entries.items():
            for entry in entries:
                yield [split, asdict(replace(entry.post, tags=())), entry.tags]

    _write(path, lines())


def read_selection(path: Path) -> Selection:
    """Read the file of `write_selection`; posts come without the names of their tags.

    Raises:
        InputError: the file is damaged.
    """
    with _reading(path) as lines:
        values = next(lines)
        entries: dict[str, list[Entry]] = {split: [] for split in SPLITS}
        for split, post, tags in lines:
            if "words" in post:  # the name of the field in earlier versions
                post["caption"] = post.pop("words")
            entries[split].append(Entry(Post(**post), tags))
        return Selection(entries=entries, **values)


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write the outcome of the posts."""
    _write(path, [asdict(outcome)])


def read_outcome(path: Path) -> Outcome:
    """Read the file of `write_outcome`.

    Raises:
        InputError: the file is damaged.
    """
    with _reading(path) as lines:
        return Outcome(**next(lines))


def _write(path: Path, lines: Iterable) -> None:
    """Write compressed lines of JSON."""
    with atomic_path(path) as partial, gzip.open(partial, "wt", encoding="utf-8", compresslevel=3) as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Iterator]:
    """Yield the objects of compressed lines of JSON."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield map(json.loads, file)
    except (EOFError, gzip.BadGzipFile, zlib.error, StopIteration, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error!r}): delete {path.parent}, or give another --out") from None
