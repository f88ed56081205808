"""A selection kept in a data folder until it is complete.

A remote board's export changes every day: a long download that was stopped goes on with the posts that it began with, and
does not read the export again.
"""

import gzip
import json
import zlib
from dataclasses import asdict
from pathlib import Path

from command import InputError
from dataset.boards import Post
from dataset.records import SPLITS
from dataset.selection import Entry, Selection

NAME = "selection.jsonl.gz"


def write_selection(folder: Path, selection: Selection) -> None:
    """Write a selection, a line of facts and a line for each post; it appears under its name only when complete."""
    partial = (folder / NAME).with_suffix(".partial")
    facts = {name: getattr(selection, name) for name in ("tags", "tag_ids", "categories", "num_posts", "digest")}
    with gzip.open(partial, "wt", encoding="utf-8", compresslevel=3) as file:
        file.write(json.dumps(facts) + "\n")
        for split, entries in selection.entries.items():
            for entry in entries:
                file.write(json.dumps([split, asdict(entry.post) | {"tags": ()}, entry.tags]) + "\n")
    partial.replace(folder / NAME)


def read_selection(folder: Path) -> Selection:
    """Read what `write_selection` wrote; posts come without the names of their tags.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / NAME
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            facts = json.loads(next(file))
            entries: dict[str, list[Entry]] = {split: [] for split in SPLITS}
            for line in file:
                split, post, tags = json.loads(line)
                entries[split].append(Entry(Post(**post), tags))
        return Selection(entries=entries, **facts)
    except (EOFError, gzip.BadGzipFile, zlib.error, StopIteration, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error!r}): delete {folder}, or give another --out") from None
