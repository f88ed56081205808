"""Which post goes into which shard, and the writing of shards: each takes its name when whole and is never written again."""

from dataclasses import dataclass
from pathlib import Path

from command import InputError, import_quietly
from dataset import records
from dataset.parts import WHOLE, Part
from dataset.pictures import Spool
from dataset.saved_selection import Outcome
from dataset.selection import Entry, Selection, shuffled

POSTS_PER_SHARD = 1024
MIN_SHARDS = 4  # of a split, where it has that many posts: reading interleaves shards


@dataclass(frozen=True)
class Shard:
    """A file to be written: its final path and the posts meant for it, each with its position in the sample."""

    path: Path
    split: str
    entries: list[tuple[int, Entry]]

    @property
    def partial(self) -> Path:
        return self.path.with_suffix(".tfrecord.partial")


def numbered(selection: Selection) -> enumerate:
    """Every entry with its position in the sample."""
    return enumerate(entry for entries in selection.entries.values() for entry in entries)


def shard_number(selection: Selection, split: str, part: Part) -> int:
    """How many shards a part writes of a split: of every part as many, so that their names are known beforehand."""
    share = -(-selection.sample[split] // part.count)
    return min(share, max(MIN_SHARDS, -(-share // POSTS_PER_SHARD)))


def plan_shards(folder: Path, selection: Selection, outcome: Outcome, seed: int, part: Part) -> list[Shard]:
    """Divide every split's posts into shards of about equal size."""
    shards = []
    missing = {post_id for post_id, _, _ in outcome.missing}
    for split in records.SPLITS:
        entries = [
            (number, entry)
            for number, entry in numbered(selection)
            if outcome.splits[number] == split and entry.post.id not in missing
        ]
        entries = [entries[position] for position in shuffled((entry.post.id for _, entry in entries), seed)]
        number = shard_number(selection, split, part)
        if part == WHOLE:
            number = min(number, len(entries))
        for index in range(number):
            first, end = (len(entries) * edge // number for edge in (index, index + 1))
            position, total = (part.index - 1) * number + index, part.count * number
            shards.append(Shard(folder / f"{split}-{position:05}-of-{total:05}.tfrecord", split, entries[first:end]))
    return shards


def write_missing(shards: list[Shard], outcome: Outcome, spool: Spool) -> None:
    """Write the shards that are not there yet."""
    from tqdm import tqdm

    import_quietly("tensorflow")  # takes seconds: before the progress bar, not inside it
    for shard in tqdm(shards, unit=" shards", desc="shards", dynamic_ncols=True):
        shard.partial.unlink(missing_ok=True)
        if not shard.path.exists():
            _write_shard(shard, outcome, spool)
        spool.drop(number for number, _ in shard.entries)


def _write_shard(shard: Shard, outcome: Outcome, spool: Spool) -> None:
    """Write one shard, which does not appear under its name before it is whole."""
    import tensorflow as tf

    try:
        with tf.io.TFRecordWriter(str(shard.partial)) as writer:
            for number, entry in shard.entries:
                post = entry.post
                facts = (post.id, outcome.md5s[number], post.group)
                writer.write(records.encode(spool.image(number), entry.tags, *facts, entry.labels, post.words))
        shard.partial.replace(shard.path)
    except tf.errors.OpError as error:
        shard.partial.unlink(missing_ok=True)
        raise InputError(f"cannot write {shard.path}: {error.message}") from error
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} has gone: delete {shard.path.parent}, and run again") from None
    except BaseException:
        shard.partial.unlink(missing_ok=True)
        raise
