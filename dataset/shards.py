"""A board and options ▶ a data folder: shards, `tags.csv`, `quarantine.csv`, `manifest.json`.

A run that stops anywhere can be run again, and ends with the files that an undisturbed run writes:

1. The manifest, with `complete: false`, holds the options before the first shard is written.
2. A shard is written under a `.partial` name. When whole, its summary (what was written, what was not and why) is saved
   next to it, then the shard takes its name. A shard that has its name is never written again. Of a remote board, the
   selection is saved before, and each picture as soon as it is there.
3. When all shards are there, their summaries become `tags.csv` and `quarantine.csv`, the manifest says
   `complete: true`, and the summaries go.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from command import InputError, import_quietly, say
from dataset import records, saved_selection
from dataset.boards import Board
from dataset.forecast import announce
from dataset.pictures import Reader, Spool
from dataset.selection import Entry, Options, Selection, select

POSTS_PER_SHARD = 1024
MIN_SHARDS = 4  # of a split, where it has that many posts: reading interleaves shards
SPOOL = ".spool"


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


def build(open_board: Callable[[], Board], options: Options, folder: Path, dry_run: bool = False) -> dict | None:
    """Build a data folder, or go on with one.

    Args:
        open_board: opens the board; called only where there is something to do.
        options: what to choose and how to store it.
        folder: where to write; made if missing.
        dry_run: say what would be done, and do nothing.

    Returns:
        The manifest of the complete folder, None for a dry run.

    Raises:
        InputError: the folder holds something else, the board has nothing usable, or a file cannot be written.
        OSError: likewise.
    """
    if (begun := _begun(folder, options)) and begun["complete"]:
        _remove_leftovers(folder)
        say(f"{folder} is already complete; delete it or give another --out to build it again")
        return begun
    board = open_board()
    if begun and (folder / saved_selection.NAME).exists():
        selection, manifest = saved_selection.read_selection(folder), begun
    else:
        say(f"reading the annotations of {board.name}")
        selection = select(board, options)
        manifest = _manifest(board, options, selection)
    if begun and begun["selection"] != selection.digest:
        raise InputError(f"{folder} was begun with other posts or tags than the board has now: delete it, or give --out")
    shards = plan_shards(folder, selection)
    announce(board, selection, len(shards), options)
    if dry_run:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    if board.remote:
        saved_selection.write_selection(folder, selection)
    records.write_json(folder / "manifest.json", manifest)
    _remove_partials(folder)
    _write_missing(board, shards, len(selection.tags), options.size, Spool(folder / SPOOL))
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


def _write_missing(board: Board, shards: list[Shard], num_tags: int, size: int, spool: Spool) -> None:
    """Write the shards that are not there yet, with a bounded number of pictures in memory."""
    from tqdm import tqdm

    import_quietly("tensorflow")  # takes seconds: before the progress bar, not inside it
    total = sum(len(shard.entries) for shard in shards)
    done = sum(len(shard.entries) for shard in shards if shard.path.exists())
    with (
        Reader(board, size, spool) as reader,
        tqdm(total=total, initial=done, unit=" images", desc="images", dynamic_ncols=True) as progress,
    ):
        for shard in shards:
            if not shard.path.exists():
                _write_shard(shard, reader, num_tags, progress.update)
                spool.drop(entry.post for entry in shard.entries)


def _write_shard(shard: Shard, reader: Reader, num_tags: int, advance: Callable[[], object]) -> None:
    """Write one shard and its summary; neither appears under its name before it is whole."""
    import tensorflow as tf

    positives, missing, failed = [0] * num_tags, {"quarantined": [], "gone": []}, None
    pictures = reader.read(entry.post for entry in shard.entries)
    try:
        with tf.io.TFRecordWriter(str(shard.partial)) as writer:
            for entry, picture in zip(shard.entries, pictures, strict=True):
                if picture.reason:
                    failed = entry.post
                    missing["gone" if picture.gone else "quarantined"].append((entry.post.id, picture.reason))
                else:
                    post = entry.post
                    writer.write(records.encode(picture.image, entry.tags, post.id, picture.md5, post.group))
                    for tag in entry.tags:
                        positives[tag] += 1
                advance()
        if failed:
            reader.confirm(failed)
        records.write_json(shard.summary, missing | {"positives": positives})
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
    missing = [*board.rejected]
    counts = {
        split: {"selected": len(entries), "written": len(entries), "quarantined": 0, "gone": 0}
        for split, entries in selection.entries.items()
    }
    for shard in shards:
        summary = records.read_json(shard.summary)
        for kind in ("quarantined", "gone"):
            missing += summary[kind]
            counts[shard.split][kind] += len(summary[kind])
            counts[shard.split]["written"] -= len(summary[kind])
        positives[shard.split] = [a + b for a, b in zip(positives[shard.split], summary["positives"], strict=True)]
    _write_quarantine(folder / "quarantine.csv", missing)
    if not counts["train"]["written"]:
        [(reason, number)] = Counter(reason for _, reason in missing).most_common(1)
        raise InputError(f"no training image could be read; {number:,} times: {reason} (see {folder}/quarantine.csv)")
    tags = [
        records.Tag(*facts)
        for facts in zip(selection.tag_ids, selection.tags, selection.categories, positives["train"], strict=True)
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
    Spool(folder / SPOOL).remove()
    (folder / saved_selection.NAME).unlink(missing_ok=True)
    for split in records.SPLITS:
        for path in folder.glob(f"{split}-?????-of-?????.json"):
            path.unlink()
