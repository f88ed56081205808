"""Division of posts into shards, and writing of shards. A shard with its final name is complete and not written again."""

from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError
from common.files import atomic_write
from common.progress import progress
from dataset import records, tfrecord
from dataset.build.fetch_pictures import Spool
from dataset.build.parts import WHOLE, Part
from dataset.build.saved_selection import Outcome
from dataset.build.selection import Entry, Selection, shuffled_positions

POSTS_PER_SHARD = 1024
MIN_SHARDS = 4  # for each split with at least so many posts, because training interleaves shards


@dataclass(frozen=True)
class Shard:
    """A shard to be written.

    Attributes:
        path: its final path.
        split: its split.
        entries: its posts, each with its position in the sample.
    """

    path: Path
    split: str
    entries: list[tuple[int, Entry]]


def numbered_entries(selection: Selection) -> enumerate:
    """Return all entries with their positions in the sample."""
    return enumerate(entry for entries in selection.entries.values() for entry in entries)


def count_of_shards(selection: Selection, split: str, part: Part) -> int:
    """Return the number of shards that each part writes of a split; it does not depend on which pictures can be read."""
    share = -(-selection.sample[split] // part.count)
    return min(share, max(MIN_SHARDS, -(-share // POSTS_PER_SHARD)))


def plan_shards(folder: Path, selection: Selection, outcome: Outcome, seed: int, part: Part) -> list[Shard]:
    """Divide the posts of each split into shards of about equal size."""
    shards = []
    missing = {post_id for post_id, _, _ in outcome.missing}
    for split in records.SPLITS:
        entries = [
            (number, entry)
            for number, entry in numbered_entries(selection)
            if outcome.splits[number] == split and entry.post.id not in missing
        ]
        entries = [entries[position] for position in shuffled_positions((entry.post.id for _, entry in entries), seed)]
        count = count_of_shards(selection, split, part)
        if part == WHOLE:
            count = min(count, len(entries))
        for index in range(count):
            first, end = (len(entries) * edge // count for edge in (index, index + 1))
            position, total = (part.index - 1) * count + index, part.count * count
            shards.append(Shard(folder / f"{split}-{position:05}-of-{total:05}.tfrecord", split, entries[first:end]))
    return shards


def write_missing(shards: list[Shard], outcome: Outcome, spool: Spool) -> None:
    """Write the shards that do not exist yet, and remove their pictures from the spool."""
    for shard in progress(shards, unit="shards", description="shards"):
        if not shard.path.exists():
            _write_shard(shard, outcome, spool)
        spool.drop(number for number, _ in shard.entries)


def _write_shard(shard: Shard, outcome: Outcome, spool: Spool) -> None:
    """Write one shard."""
    try:
        with atomic_write(shard.path, "wb") as file:
            for number, entry in shard.entries:
                post = entry.post
                identity = (post.id, outcome.md5s[number], post.group)
                record = records.encode(spool.image(number), entry.tags, *identity, entry.labels, post.caption)
                tfrecord.write(file, record)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename} is missing: delete {shard.path.parent}, and run the command again") from None
