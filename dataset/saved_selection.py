"""What a data folder keeps of its choice until it is complete, so that a run that goes on does the same.

A remote board's export changes every day: a long download that was stopped goes on with the posts that it began with, and
does not read the export again. Once all pictures are there, which of them go where is kept as well.
"""

import contextlib
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from command import InputError
from dataset.boards import Post
from dataset.records import SPLITS
from dataset.selection import Entry, Selection

FACTS = ("tags", "tag_ids", "categories", "implied", "num_posts", "digest", "sample")


@dataclass(frozen=True)
class Outcome:
    """What became of the selected posts, in their order.

    Attributes:
        splits: the split of each.
        md5s: of each original file; empty where there is no picture.
        missing: (id, reason, whether it is gone) of each without a picture.
        alike: counts of pictures that look like another one of another group.
    """

    splits: list[str]
    md5s: list[str]
    missing: list[tuple[str, str, bool]]
    alike: dict[str, int]


def write_selection(path: Path, selection: Selection) -> None:
    """Write a selection, a line of facts and a line for each post."""

    def lines() -> Iterator:
        yield {name: getattr(selection, name) for name in FACTS}
        for split, entries in selection.entries.items():
            for entry in entries:
                yield [split, asdict(entry.post) | {"tags": ()}, entry.tags]

    _write(path, lines())


def read_selection(path: Path) -> Selection:
    """Read what `write_selection` wrote; posts come without the names of their tags.

    Raises:
        InputError: the file is damaged.
    """
    with _reading(path) as lines:
        facts = next(lines)
        entries: dict[str, list[Entry]] = {split: [] for split in SPLITS}
        for split, post, tags in lines:
            entries[split].append(Entry(Post(**post), tags))
        return Selection(entries=entries, **facts)


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Write what became of the posts."""
    _write(path, [asdict(outcome)])


def read_outcome(path: Path) -> Outcome:
    """Read what `write_outcome` wrote.

    Raises:
        InputError: the file is damaged.
    """
    with _reading(path) as lines:
        return Outcome(**next(lines))


def _write(path: Path, lines: Iterable) -> None:
    """Write JSON, a line each; the file appears under its name only when complete."""
    partial = path.with_suffix(".partial")
    with gzip.open(partial, "wt", encoding="utf-8", compresslevel=3) as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
    partial.replace(path)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Iterator]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield map(json.loads, file)
    except (EOFError, gzip.BadGzipFile, zlib.error, StopIteration, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error!r}): delete {path.parent}, or give another --out") from None
