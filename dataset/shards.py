"""A board and options ▶ a data folder: shards, `tags.csv`, `quarantine.csv`, `manifest.json`.

A run that stops anywhere can be run again, and ends with the files that an undisturbed run writes:

1. The manifest, with `complete: false`, holds the options before the first shard is written.
2. A shard is written under a `.partial` name. When whole, its summary (what was written, what was not and why) is saved
   next to it, then the shard takes its name. A shard that has its name is never written again.
3. When all shards are there, their summaries become `tags.csv` and `quarantine.csv`, the manifest says
   `complete: true`, and the summaries go.
"""

import csv
import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from command import InputError, import_quietly, say
from dataset import images, records
from dataset.boards import Board
from dataset.selection import Entry, Options, Selection, select

POSTS_PER_SHARD = 1024
MIN_SHARDS = 4  # of a split, where it has that many posts: reading interleaves shards
MAX_THREADS = 8
IN_FLIGHT_PER_THREAD = 4


@dataclass(frozen=True)
class Shard:
    """A file to be written: its final path and the posts meant for it."""

    path: Path
    split: str
    entries: list[Entry]

    @property
    def partial(self) -> Path:
        return self.path.with_suffix(".tfrecord.partial")

    @property
    def summary(self) -> Path:
        return self.path.with_suffix(".json")


@dataclass(frozen=True)
class Picture:
    """A post's image as its record holds it, or the reason why there is none."""

    image: bytes
    md5: str
    reason: str = ""


def build(open_board: Callable[[], Board], options: Options, folder: Path) -> dict:
    """Build a data folder, or go on with one.

    Args:
        open_board: opens the board; called only where there is something to do.
        options: what to choose and how to store it.
        folder: where to write; made if missing.

    Returns:
        The manifest of the complete folder.

    Raises:
        InputError: the folder holds something else, the board has nothing usable, or a file cannot be written.
        OSError: likewise.
    """
    if (begun := _begun(folder, options)) and begun["complete"]:
        _remove_leftovers(folder)
        say(f"{folder} is already complete; delete it or give another --out to build it again")
        return begun
    board = open_board()
    say(f"reading the annotations of {board.name}")
    selection = select(board, options)
    manifest = _manifest(board, options, selection)
    if begun and begun["selection"] != selection.digest:
        raise InputError(f"{folder} was begun with other posts or tags than the board has now: delete it, or give --out")
    folder.mkdir(parents=True, exist_ok=True)
    records.write_json(folder / "manifest.json", manifest)
    _remove_partials(folder)
    shards = plan_shards(folder, selection)
    _announce(selection, len(shards), options)
    _write_missing(board, shards, len(selection.tags), options.size)
    return _finish(folder, board, selection, shards, manifest)


def plan_shards(folder: Path, selection: Selection) -> list[Shard]:
    """Divide every split's posts into shards of about equal size."""
    shards = []
    for split, entries in selection.entries.items():
        number = min(len(entries), max(MIN_SHARDS, -(-len(entries) // POSTS_PER_SHARD)))
        for index in range(number):
            first, end = (len(entries) * edge // number for edge in (index, index + 1))
            path = folder / f"{split}-{index:05}-of-{number:05}.tfrecord"
            shards.append(Shard(path, split, entries[first:end]))
    return shards


def _begun(folder: Path, options: Options) -> dict | None:
    """The manifest of a folder that an earlier run began with the same options; None for a new folder."""
    path = folder / "manifest.json"
    if not path.exists():
        if folder.is_dir() and any(folder.glob("*.tfrecord")):
            raise InputError(f"{folder} holds shards but no manifest.json: delete it, or give another --out")
        return None
    manifest = records.read_json(path)
    recorded, wanted = manifest.get("options"), asdict(options)
    if not isinstance(recorded, dict) or not {"complete", "selection"} <= manifest.keys():
        raise InputError(f"{path} is not a manifest of download.py: delete {folder}, or give another --out")
    differences = [
        f"{name} was {recorded.get(name)!r} and is now {wanted.get(name)!r}"
        for name in sorted(recorded.keys() | wanted.keys())
        if recorded.get(name) != wanted.get(name)
    ]
    if differences:
        raise InputError(
            f"{folder} was made with other options ({'; '.join(differences)}): give another --out, or delete it"
        )
    return manifest


def _manifest(board: Board, options: Options, selection: Selection) -> dict:
    """The manifest as a run begins: everything but what only the written shards can tell."""
    return {
        "complete": False,
        "options": asdict(options),
        "attribution": board.attribution,
        "tags": len(selection.tags),
        "posts": selection.num_posts,
        "skipped": board.skipped,
        "rejected": len(board.rejected),
        "selection": selection.digest,
        "splits": {split: {"selected": len(entries)} for split, entries in selection.entries.items()},
    }


def _announce(selection: Selection, num_shards: int, options: Options) -> None:
    parts = ", ".join(f"{len(entries):,} {split}" for split, entries in selection.entries.items())
    say(
        f"{selection.num_posts:,} posts; chosen: {parts}; {len(selection.tags):,} tags; "
        f"{num_shards} shards, short side at most {options.size} px"
    )


def _write_missing(board: Board, shards: list[Shard], num_tags: int, size: int) -> None:
    """Write the shards that are not there yet, with a bounded number of pictures in memory."""
    from tqdm import tqdm

    import_quietly("tensorflow")  # takes seconds: before the progress bar, not inside it
    total = sum(len(shard.entries) for shard in shards)
    done = sum(len(shard.entries) for shard in shards if shard.path.exists())
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(threads)
    try:
        with tqdm(total=total, initial=done, unit=" images", desc="images", dynamic_ncols=True) as progress:
            for shard in shards:
                if not shard.path.exists():
                    pictures = _in_order(
                        pool, lambda entry: _read(board, entry, size), shard.entries, threads * IN_FLIGHT_PER_THREAD
                    )
                    _write_shard(shard, pictures, num_tags, progress.update)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ThreadPoolExecutor, function: Callable, items: Iterable, in_flight: int) -> Iterator:
    """`map` over a pool, in order, that runs at most `in_flight` items ahead of its reader."""
    futures: deque = deque()
    for item in items:
        futures.append(pool.submit(function, item))
        if len(futures) >= in_flight:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _read(board: Board, entry: Entry, size: int) -> Picture:
    try:
        data = board.image_bytes(entry.post, size)
        md5 = entry.post.md5 or hashlib.md5(data, usedforsecurity=False).hexdigest()
        return Picture(images.normalise(data, size), md5)
    except images.ImageError as error:
        return Picture(b"", "", str(error))
    except MemoryError:
        return Picture(b"", "", "not enough memory to decode it")
    except OSError as error:
        return Picture(b"", "", f"cannot be read: {error.strerror or error}")


def _write_shard(shard: Shard, pictures: Iterable[Picture], num_tags: int, advance: Callable[[], object]) -> None:
    """Write one shard and its summary; neither appears under its name before it is whole."""
    import tensorflow as tf

    positives, quarantined = [0] * num_tags, []
    try:
        with tf.io.TFRecordWriter(str(shard.partial)) as writer:
            for entry, picture in zip(shard.entries, pictures, strict=True):
                if picture.reason:
                    quarantined.append((entry.post.id, picture.reason))
                else:
                    writer.write(records.encode(picture.image, entry.tags, entry.post.id, picture.md5))
                    for tag in entry.tags:
                        positives[tag] += 1
                advance()
        records.write_json(shard.summary, {"quarantined": quarantined, "positives": positives})
        shard.partial.replace(shard.path)
    except tf.errors.OpError as error:
        shard.partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {shard.path}: {error.message}") from error
    except BaseException:
        shard.partial.unlink(missing_ok=True)
        raise


def _finish(folder: Path, board: Board, selection: Selection, shards: list[Shard], manifest: dict) -> dict:
    """Turn the shards' summaries into the folder's tables and its complete manifest."""
    positives = {split: [0] * len(selection.tags) for split in records.SPLITS}
    quarantined = [*board.rejected]
    counts = {
        split: {"selected": len(entries), "written": len(entries), "quarantined": 0}
        for split, entries in selection.entries.items()
    }
    for shard in shards:
        summary = records.read_json(shard.summary)
        quarantined += summary["quarantined"]
        counts[shard.split]["quarantined"] += len(summary["quarantined"])
        counts[shard.split]["written"] -= len(summary["quarantined"])
        positives[shard.split] = [a + b for a, b in zip(positives[shard.split], summary["positives"], strict=True)]
    _write_quarantine(folder / "quarantine.csv", quarantined)
    if not counts["train"]["written"]:
        [(reason, number)] = Counter(reason for _, reason in quarantined).most_common(1)
        raise InputError(f"no training image could be read; {number:,} times: {reason} (see {folder}/quarantine.csv)")
    tags = [
        records.Tag(number, name, board.category(name), positives["train"][number])
        for number, name in enumerate(selection.tags)
    ]
    records.write_tags(folder / "tags.csv", tags)
    for split, split_counts in counts.items():
        split_counts["labels"] = sum(positives[split])
        split_counts["shards"] = sum(shard.split == split for shard in shards)
    manifest = manifest | {"complete": True, "splits": counts}
    records.write_json(folder / "manifest.json", manifest)
    _remove_leftovers(folder)
    return manifest


def _write_quarantine(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "reason"))
        writer.writerows(rows)
    partial.replace(path)


def _remove_partials(folder: Path) -> None:
    for split in records.SPLITS:
        for path in folder.glob(f"{split}-*.partial"):
            path.unlink()


def _remove_leftovers(folder: Path) -> None:
    """Remove what only an unfinished folder needs."""
    _remove_partials(folder)
    for split in records.SPLITS:
        for path in folder.glob(f"{split}-?????-of-?????.json"):
            path.unlink()
