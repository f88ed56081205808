"""Reading data folders back, for tests."""

import csv
from dataclasses import dataclass
from pathlib import Path

from dataset import records


@dataclass(frozen=True)
class Record:
    """A record as tests compare it."""

    id: str
    md5: str
    image: bytes
    tags: frozenset[str]


def read_split(folder: Path, split: str) -> list[Record]:
    """All records of a split, in order."""
    import tensorflow as tf

    names = [tag.name for tag in records.read_tags(folder / "tags.csv")]
    shards = [str(path) for path in records.shard_paths(folder, split)]
    stored = tf.constant([*tf.data.TFRecordDataset(shards).as_numpy_iterator()], tf.string)
    decoded = records.decode_batch(stored, len(names))
    found = []
    for post_id, md5, image, labels in zip(*(decoded[key].numpy() for key in ("id", "md5", "image", "labels")), strict=True):
        tags = frozenset(name for name, label in zip(names, labels, strict=True) if label)
        found.append(Record(post_id.decode(), md5.decode(), image, tags))
    return found


def read_quarantine(folder: Path) -> dict[str, str]:
    """Post id ▶ reason."""
    with (folder / "quarantine.csv").open(newline="", encoding="utf-8") as file:
        return {row["id"]: row["reason"] for row in csv.DictReader(file)}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder but hidden ones, which are its lock and what eval.py keeps, by name."""
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith((".lock", ".cache"))
    }
