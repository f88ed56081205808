"""Near-duplicate pictures in different splits of a data folder."""

import contextlib
import hashlib
from pathlib import Path

from common import files
from common.progress import progress
from dataset import near_duplicates, records

MIN_CORRELATION = 0.99  # download.py, which merges copies of a picture into a group, requires more

Place = tuple[str, int, str]  # split, position in the split, id


def leaks(data: Path, split: str) -> list[tuple[int, str, str]]:
    """Return the near-duplicates between a split and the others, see `evaluation.evaluate.Evaluation.leaks`."""
    found = []
    for pair in pairs_between_splits(data):
        for (own_split, position, _), (other_split, _, other_id) in (pair, pair[::-1]):
            if own_split == split:
                found.append((position, other_split, other_id))
    return found


def pairs_between_splits(data: Path) -> list[tuple[Place, Place]]:
    """Return the pairs of near-duplicates in different splits, the most similar first.

    All pictures are decoded for it, so the result is stored in the data folder's `.cache/`, for as long as its shards stay
    the same.
    """
    paths = [path for split in records.SPLITS for path in records.shard_paths(data, split)]
    key = (MIN_CORRELATION, [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths])
    stored = data / ".cache" / f"{hashlib.md5(repr(key).encode()).hexdigest()}.leaks.json"
    if stored.exists():
        return [(tuple(one), tuple(other)) for one, other in files.read_json(stored)["pairs"]]
    pairs = _find_pairs(data)
    with contextlib.suppress(OSError):  # a folder that cannot be written to is decoded each time
        stored.parent.mkdir(exist_ok=True)
        files.write_json(stored, {"pairs": pairs})
    return pairs


def _find_pairs(data: Path) -> list[tuple[Place, Place]]:
    places: list[Place] = []
    thumbnails = []
    for split in records.SPLITS:
        stored = records.read(data, split)
        bar = progress(stored, description=f"near-duplicates, {split}", unit="images", leave=False)
        for position, record in enumerate(bar):
            places.append((split, position, record.id))
            thumbnails.append(near_duplicates.thumbnail(record.image))
    pairs = near_duplicates.near_duplicate_pairs(thumbnails, MIN_CORRELATION)
    return [(places[one], places[other]) for one, other in pairs if places[one][0] != places[other][0]]
