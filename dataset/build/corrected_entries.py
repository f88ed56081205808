"""People's corrections, applied to the posts of a data folder before its shards are written."""

from dataclasses import replace
from pathlib import Path

from common.errors import InputError, say
from dataset import corrections
from dataset.build.restricted import REASON, becomes_restricted, rating_among
from dataset.build.saved_selection import Outcome
from dataset.build.selection import Selection
from dataset.build.shards import Shard, numbered_entries


def correct_entries(folder: Path, selection: Selection, outcome: Outcome) -> tuple[Selection, list[tuple[str, str, bool]]]:
    """Apply what `NAME-corrections.csv` beside the folder says, and print how many labels it changes.

    Args:
        folder: the data folder.
        selection: the selected posts.
        outcome: of their pictures.

    Returns:
        The selection with the corrected tags, and in the form of `Outcome.missing` the posts that must not be used with
        them, see `becomes_restricted`.

    Raises:
        InputError: the table is damaged.
    """
    path = corrections.table_path(folder)
    if not (table := corrections.read_table(path)):
        return selection, []
    decisions, rows = corrections.Decisions(table), corrections.correctable(selection.tags, selection.categories)
    ratings = ratings_of(selection)
    restricted, missing = [], {post_id for post_id, _, _ in outcome.missing}
    corrected, applied = dict.fromkeys(selection.entries, 0), 0
    entries: dict[str, list] = {split: [] for split in selection.entries}
    sections = [split for split, members in selection.entries.items() for _ in members]
    for section, (number, entry) in zip(sections, numbered_entries(selection), strict=True):
        decided = decisions.decided_about(entry.post.id, outcome.md5s[number])
        labels = corrections.corrected_labels(entry.labels or dict.fromkeys(entry.tags, 1.0), decided, rows)
        applied += sum(tag in rows for tag in decided)
        corrected[outcome.splits[number]] += sum(
            (rows[tag] in labels) != (rows[tag] in entry.tags) for tag in decided if tag in rows
        )
        rating = rating_among(entry.post.rating, ratings)
        if entry.post.id not in missing and becomes_restricted(decided, entry.post.tags, rating):
            restricted.append((entry.post.id, REASON, False))
        entries[section].append(replace(entry, tags=list(labels), labels=labels if entry.labels else None))
    changed = ", ".join(f"{count:,} {split}" for split, count in corrected.items() if count) or "0"
    said = f"{applied:,} of {len(table):,} apply to the chosen posts; labels that they change: {changed}"
    say(f"corrections that people made: {said}")
    if restricted:
        say(f"{len(restricted):,} posts are left out, such as {restricted[0][0]}: {REASON}")
    return replace(selection, entries=entries), restricted


def ratings_of(selection: Selection) -> list[str]:
    """Return the different ratings of the selected posts; an empty one stands for posts without a rating."""
    return sorted({entry.post.rating for entries in selection.entries.values() for entry in entries})


def check_unchanged(folder: Path, manifest: dict, begun: dict | None, shards: list[Shard]) -> dict:
    """Return the manifest with the hash of the corrections, which must not change between the shards of a folder.

    Args:
        folder: the data folder.
        manifest: its manifest.
        begun: the manifest of an earlier call that was interrupted, or None.
        shards: the shards of the folder, some of which may be written.

    Raises:
        InputError: there are shards with other corrections.
    """
    path = corrections.table_path(folder)
    table = corrections.digest_of(corrections.read_table(path)) if path.exists() else ""
    if begun and begun.get("corrections", "") != table and any(shard.path.exists() for shard in shards):
        raise InputError(f"{path} has changed since {folder} was begun: delete {folder} to make it with these corrections")
    others = {name: fact for name, fact in manifest.items() if name != "corrections"}
    return others | ({"corrections": table} if table else {})
