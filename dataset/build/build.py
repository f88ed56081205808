"""Build a data folder from a board and options: shards, `tags.csv`, `quarantine.csv` and `manifest.json`.

An interrupted run can be started again, and writes the same files as an uninterrupted one:

1. For a remote board, the selection of posts is saved first. Then the manifest, with `complete: false`, records the options.
2. Each picture is saved in a file of its own when it arrives. After the last one, near-duplicates are put into one split,
   and the outcome of every post is saved, for the rest of the run and in `quarantine.csv`. Nothing later depends on the
   board. People's corrections (`dataset/corrections.py`) are applied.
3. Each shard is written under a temporary name and renamed when complete. A shard with its final name is not written again.
4. `tags.csv` is written, the manifest gets `complete: true`, and the temporary files are removed.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from common import files
from common.errors import InputError, say
from common.files import only_writer, partial_path
from common.progress import progress
from dataset import images, implications, records
from dataset.boards.board import Board
from dataset.build import parts
from dataset.build.changes import changes
from dataset.build.corrected_entries import check_unchanged, correct_entries, ratings_of
from dataset.build.fetch_pictures import Fetcher, Picture, Spool
from dataset.build.forecast import print_plan
from dataset.build.parts import WHOLE, Part
from dataset.build.saved_selection import Outcome, read_outcome, read_selection, write_outcome, write_selection
from dataset.build.selection import Options, Selection, select
from dataset.build.shards import Shard, count_of_shards, numbered_entries, plan_shards, write_missing
from dataset.near_duplicates import merge_splits, near_duplicate_pairs
from dataset.rule_proposals import TrainingLabels, propose


def build(
    open_board: Callable[[], Board], options: Options, folder: Path, dry_run: bool = False, part: Part = WHOLE
) -> dict | None:
    """Build a data folder, or continue an unfinished one.

    Args:
        open_board: opens the board; called only if the folder is not complete.
        options: what is selected and how it is stored.
        folder: the data folder; made if missing.
        dry_run: print the plan, and write nothing.
        part: the part of the sample to build.

    Returns:
        The manifest of the complete folder or part; None for a dry run.

    Raises:
        InputError: the folder was made with other options, the board has no usable posts, or a file cannot be written.
        OSError: a file cannot be written.
    """
    if complete := _complete_manifest(folder, options, part, open_board):
        return complete
    begun = _earlier_manifest(folder / part.name("manifest.json"), options)
    board = open_board()
    selection_path = folder / part.name("selection.gz")
    if begun and selection_path.exists():
        selection, manifest = read_selection(selection_path), begun
    else:
        say(f"reading the annotations of {board.name}")
        selection = select(board, options)
        if part != WHOLE:
            selection = selection.part(part.index, part.count)
        manifest = _initial_manifest(board, options, selection, part)
    if begun:  # some of its pictures are in the spool already
        manifest["decode_version"] = begun.get("decode_version", 1)
        manifest |= {"corrections": begun["corrections"]} if "corrections" in begun else {}
    if begun and begun["selection"] != selection.digest:
        raise InputError(f"{folder} was begun with other posts or tags than the board has now: delete it, or give --out")
    print_plan(board, selection, sum(count_of_shards(selection, split, part) for split in selection.entries), options)
    if dry_run:
        return None
    with only_writer(folder, part.name(".lock")):
        if board.remote:
            write_selection(selection_path, selection)
        files.write_json(folder / part.name("manifest.json"), manifest)
        spool = Spool(folder / f".{part.name('spool')}")
        outcome = _fetch_pictures(board, selection, options.size, spool, folder / part.name("outcome.gz"))
        selection, restricted = correct_entries(folder, selection, outcome)
        outcome = replace(outcome, missing=[*outcome.missing, *restricted])
        rows = [*(board.rejected if part.index == 1 else ()), *((name, reason) for name, reason, _ in outcome.missing)]
        records.write_quarantine(folder / part.name("quarantine.csv"), rows)
        shards = plan_shards(folder, selection, outcome, options.seed, part)
        manifest = check_unchanged(folder, manifest, begun, shards)
        files.write_json(folder / part.name("manifest.json"), manifest)
        if part == WHOLE and not any(shard.entries for shard in shards if shard.split == "train"):
            _remove_leftovers(folder, part)  # so that the next attempt fetches the pictures again
            raise InputError(_reason_for_empty_split(folder, rows))
        write_missing(shards, outcome, spool)
        manifest = _finish(folder, selection, outcome, shards, manifest, part)
        _remove_leftovers(folder, part)
    return _join_complete_parts(folder, part) or manifest


def _complete_manifest(folder: Path, options: Options, part: Part, open_board: Callable[[], Board]) -> dict | None:
    """Return the manifest of a complete folder or part, or None.

    Raises:
        InputError: the folder was made with other options, or from other files of the user.
    """
    whole = _earlier_manifest(folder / "manifest.json", options)
    complete_parts = parts.parts_in(folder) if folder.is_dir() else []
    if whole and whole["complete"]:
        for split in records.SPLITS:
            records.shard_paths(folder, split)  # raises if one is missing
        _remove_leftovers(folder, part)
        parts.remove_tables(folder)
        folders = options.image_folders
        is_there = folders and all(Path(path).exists() for path in (*folders, options.csv) if path)
        if is_there and (changed := changes(select(open_board(), options), folder, whole)):
            advice = f"--add --out {folder} brings it up to date"
            raise InputError(f"{' or '.join(map(str, folders))} has changed since {folder} was made: {changed}: {advice}")
        say(f"{folder} is already complete; delete it or give another --out to build it again")
        return whole
    if part == WHOLE and complete_parts:
        _earlier_manifest(folder / complete_parts[0].name("manifest.json"), options)
        if joined := _join_complete_parts(folder, complete_parts[0]):
            return joined
        missing = [each for each in complete_parts[0].all_parts() if each not in complete_parts]
        names = ", ".join(f"{each.index}/{each.count}" for each in missing)
        raise InputError(f"{folder} holds parts of a sample and lacks {names}: copy their files here, or make them (--part)")
    if part in complete_parts and _earlier_manifest(folder / part.name("manifest.json"), options):
        say(f"part {part.index}/{part.count} is already complete in {folder}")
        return _join_complete_parts(folder, part) or files.read_json(folder / part.name("manifest.json"))
    if part != WHOLE and (others := [each for each in complete_parts if each.count != part.count]):
        raise InputError(f"{folder} holds a part of {others[0].count}, not of {part.count}: give another --out")
    if whole and part != WHOLE:
        raise InputError(f"{folder} was begun without --part: delete it, or give another --out")
    if not any(folder.glob("manifest*.json")) and any(folder.glob("*.tfrecord")):
        raise InputError(f"{folder} holds shards but no manifest.json: delete it, or give another --out")
    return None


def _join_complete_parts(folder: Path, part: Part) -> dict | None:
    """Join the parts if all are in the folder. Return the manifest of the whole, or None."""
    if part == WHOLE or not set(part.all_parts()) <= set(parts.parts_in(folder)):
        return None
    say(f"all {part.count} parts are in {folder}: joined into one data folder")
    return parts.join(folder, part)


def _earlier_manifest(path: Path, options: Options) -> dict | None:
    """Return the manifest of an earlier run, or None, and check that its options are the same."""
    if not path.exists():
        return None
    manifest = files.read_json(path)
    recorded, wanted = manifest.get("options"), asdict(options)
    if not isinstance(recorded, dict) or not {"complete", "selection"} <= manifest.keys():
        raise InputError(f"{path} is not a manifest of download.py: delete {path.parent}, or give another --out")
    recorded, wanted = ({**each, **(each.get("filters") or {}), "filters": None} for each in (recorded, wanted))
    differences = [
        f"{name} was {recorded.get(name)!r} and is now {wanted.get(name)!r}"
        for name in sorted(recorded.keys() | wanted.keys())
        if recorded.get(name) != wanted.get(name)
    ]
    if differences:
        raise InputError(
            f"{path.parent} was made with other options ({'; '.join(differences)}): give another --out, or delete it"
        )
    return manifest


def _initial_manifest(board: Board, options: Options, selection: Selection, part: Part) -> dict:
    """Return the manifest at the start of a run: everything that is known before the pictures are read."""
    manifest = {
        "complete": False,
        "decode_version": images.DECODE_VERSION,
        "options": asdict(options),
        "attribution": board.attribution,
        "tags": len(selection.tags),
        "ratings": ratings_of(selection),
        "posts": selection.num_posts,
        "skipped": board.skipped,
        "rejected": len(board.rejected) if part.index == 1 else 0,
        "selection": selection.digest,
        "splits": {split: {"selected": len(entries)} for split, entries in selection.entries.items()},
    }
    return manifest if part == WHOLE else manifest | {"part": f"{part.index}/{part.count}"}


def _fetch_pictures(board: Board, selection: Selection, size: int, spool: Spool, path: Path) -> Outcome:
    """Bring all pictures into the spool, and return the outcome of each post."""
    if path.exists():
        return read_outcome(path)
    posts = [entry.post for _, entry in numbered_entries(selection)]
    with progress(total=len(posts), unit="images", description="images") as bar:
        pictures = Fetcher(board, posts, size, spool).fetch(bar.update)
    splits = [split for split, entries in selection.entries.items() for _ in entries]
    outcome = _resolve_outcome([post.group for post in posts], splits, pictures)
    write_outcome(path, outcome)
    return outcome


def _resolve_outcome(groups: list[str], splits: list[str], pictures: list[Picture]) -> Outcome:
    """Put groups that share near-duplicates into one split, and collect the posts without a picture."""
    readable = [number for number, picture in enumerate(pictures) if not picture.reason]
    pairs = near_duplicate_pairs([pictures[number].thumbnail for number in readable])
    pairs = [(readable[one], readable[two]) for one, two in pairs]
    pairs_across_groups = [(one, two) for one, two in pairs if groups[one] != groups[two]]
    merged = merge_splits(groups, splits, pairs_across_groups)
    moved = sum(before != after for before, after in zip(splits, merged, strict=True))
    return Outcome(
        splits=merged,
        md5s=[picture.md5 for picture in pictures],
        missing=[(picture.id, picture.reason, picture.gone) for picture in pictures if picture.reason],
        alike={"pictures": len({number for pair in pairs_across_groups for number in pair}), "moved": moved},
    )


def _reason_for_empty_split(folder: Path, rows: list[tuple[str, str]]) -> str:
    """Return the message that says why no training picture is left."""
    if not rows:
        return f"{folder}: every training picture is a near-duplicate of a held-out one: give smaller --val and --test"
    [(reason, number)] = Counter(reason for _, reason in rows).most_common(1)
    return f"no training image could be read; {number:,} times: {reason} (see {folder}/quarantine.csv)"


def _finish(folder: Path, selection: Selection, outcome: Outcome, shards: list[Shard], manifest: dict, part: Part) -> dict:
    """Write `tags.csv`, the complete manifest, and for the whole sample `implications.csv`."""
    missing = {post_id: "gone" if gone else "quarantined" for post_id, _, gone in outcome.missing}
    names = ("selected", "written", "quarantined", "gone", "labels", "shards")
    counts = {split: dict.fromkeys(names, 0) for split in records.SPLITS}
    positives = [0.0] * len(selection.tags)
    for number, entry in numbered_entries(selection):
        split = outcome.splits[number]
        status = missing.get(entry.post.id, "written")
        counts[split]["selected"] += 1
        counts[split][status] += 1
        if status == "written":
            counts[split]["labels"] += len(entry.tags)
            for tag in entry.tags if split == "train" else ():
                positives[tag] += entry.labels[tag] if entry.labels else 1
    for shard in shards:
        counts[shard.split]["shards"] += 1
    implied = map(tuple, selection.implied)
    rows = zip(selection.tag_ids, selection.tags, selection.categories, map(round, positives), implied, strict=True)
    tags = [records.Tag(*row) for row in rows]
    records.write_tags(folder / part.name("tags.csv"), tags)
    if part == WHOLE:
        labels = (
            (entry.post.group, [tag for tag in entry.tags if not entry.labels or entry.labels[tag] > 0.5])
            for number, entry in numbered_entries(selection)
            if outcome.splits[number] == "train" and entry.post.id not in missing
        )
        implications.write(folder, propose(tags, TrainingLabels(labels, len(tags))))
    manifest = manifest | {"complete": True, "splits": counts, "alike": outcome.alike}
    files.write_json(folder / part.name("manifest.json"), manifest)
    return manifest


def _remove_leftovers(folder: Path, part: Part) -> None:
    """Remove the files that only an unfinished folder needs."""
    Spool(folder / f".{part.name('spool')}").remove()
    for name in map(part.name, ("selection.gz", "outcome.gz")):
        (folder / name).unlink(missing_ok=True)
        partial_path(folder / name).unlink(missing_ok=True)
