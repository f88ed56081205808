"""A board and options ▶ a data folder: shards, `tags.csv`, `quarantine.csv`, `manifest.json`.

A run that stops anywhere can be run again, and ends with the files that an undisturbed run writes:

1. The manifest, with `complete: false`, holds the options before anything else is written. Of a remote board, the selection
   is saved before that.
2. Each picture is kept in a file of its own as soon as it is there. When all are, those that look alike are brought to one
   side of the split, and what became of every post is saved, for the rest of the run and in `quarantine.csv`: nothing after
   that depends on the board.
3. A shard is written under a `.partial` name and takes its own when whole. One that has its name is never written again.
4. `tags.csv` is written, the manifest says `complete: true`, and what only an unfinished folder needs goes.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from command import InputError, only_writer, say
from dataset import parts, records
from dataset.boards import Board
from dataset.duplicates import alike, joined_splits
from dataset.forecast import announce
from dataset.parts import WHOLE, Part
from dataset.pictures import Fetcher, Picture, Spool
from dataset.saved_selection import Outcome, read_outcome, read_selection, write_outcome, write_selection
from dataset.selection import Options, Selection, select
from dataset.shards import Shard, numbered, plan_shards, shard_number, write_missing


def build(
    open_board: Callable[[], Board], options: Options, folder: Path, dry_run: bool = False, part: Part = WHOLE
) -> dict | None:
    """Build a data folder, or go on with one.

    Args:
        open_board: opens the board; called only where there is something to do.
        options: what to choose and how to store it.
        folder: where to write; made if missing.
        dry_run: say what would be done, and do nothing.
        part: the share of the sample to make.

    Returns:
        The manifest of the complete folder or part, None for a dry run.

    Raises:
        InputError: the folder holds something else, the board has nothing usable, or a file cannot be written.
        OSError: likewise.
    """
    if done := _already_made(folder, options, part):
        return done
    begun = _begun(folder / part.name("manifest.json"), options)
    board = open_board()
    saved = folder / part.name("selection.gz")
    if begun and saved.exists():
        selection, manifest = read_selection(saved), begun
    else:
        say(f"reading the annotations of {board.name}")
        selection = select(board, options)
        if part != WHOLE:
            selection = selection.part(part.index, part.count)
        manifest = _manifest(board, options, selection, part)
    if begun and begun["selection"] != selection.digest:
        raise InputError(f"{folder} was begun with other posts or tags than the board has now: delete it, or give --out")
    announce(board, selection, sum(shard_number(selection, split, part) for split in selection.entries), options)
    if dry_run:
        return None
    with only_writer(folder, part.name(".lock")):
        if board.remote:
            write_selection(saved, selection)
        records.write_json(folder / part.name("manifest.json"), manifest)
        spool = Spool(folder / f".{part.name('spool')}")
        outcome = _outcome(board, selection, options.size, spool, folder / part.name("outcome.gz"))
        rows = [*(board.rejected if part.index == 1 else ()), *((name, reason) for name, reason, _ in outcome.missing)]
        records.write_quarantine(folder / part.name("quarantine.csv"), rows)
        shards = plan_shards(folder, selection, outcome, options.seed, part)
        if part == WHOLE and not any(shard.entries for shard in shards if shard.split == "train"):
            _remove_leftovers(folder, part)  # another try, with other pictures, may go better
            raise InputError(_nothing_to_train_on(folder, rows))
        write_missing(shards, outcome, spool)
        manifest = _finish(folder, selection, outcome, shards, manifest, part)
        _remove_leftovers(folder, part)
    return _joined(folder, part) or manifest


def _already_made(folder: Path, options: Options, part: Part) -> dict | None:
    """The manifest of what is complete already, whole or part."""
    whole = _begun(folder / "manifest.json", options)
    made = parts.parts_in(folder) if folder.is_dir() else []
    if whole and whole["complete"]:
        for split in records.SPLITS:
            records.shard_paths(folder, split)  # none is missing
        _remove_leftovers(folder, part)
        parts.remove_tables(folder)
        say(f"{folder} is already complete; delete it or give another --out to build it again")
        return whole
    if part == WHOLE and made:
        _begun(folder / made[0].name("manifest.json"), options)
        if joined := _joined(folder, made[0]):
            return joined
        lacking = ", ".join(f"{each.index}/{each.count}" for each in made[0].of_same() if each not in made)
        raise InputError(
            f"{folder} holds parts of a sample and lacks {lacking}: bring their files here, or make them (--part)"
        )
    if part in made and _begun(folder / part.name("manifest.json"), options):
        say(f"part {part.index}/{part.count} is already complete in {folder}")
        return _joined(folder, part) or records.read_json(folder / part.name("manifest.json"))
    if part != WHOLE and (others := [each for each in made if each.count != part.count]):
        raise InputError(f"{folder} holds a part of {others[0].count}, not of {part.count}: give another --out")
    if whole and part != WHOLE:
        raise InputError(f"{folder} was begun without --part: delete it, or give another --out")
    if not any(folder.glob("manifest*.json")) and any(folder.glob("*.tfrecord")):
        raise InputError(f"{folder} holds shards but no manifest.json: delete it, or give another --out")
    return None


def _joined(folder: Path, part: Part) -> dict | None:
    """The manifest of the whole where all parts are in the folder."""
    if part == WHOLE or not set(part.of_same()) <= set(parts.parts_in(folder)):
        return None
    say(f"all {part.count} parts are in {folder}: they are one now")
    return parts.join(folder, part)


def _begun(path: Path, options: Options) -> dict | None:
    """The manifest that an earlier run wrote with the same options; None where there is none."""
    if not path.exists():
        return None
    manifest = records.read_json(path)
    recorded, wanted = manifest.get("options"), asdict(options)
    if not isinstance(recorded, dict) or not {"complete", "selection"} <= manifest.keys():
        raise InputError(f"{path} is not a manifest of download.py: delete {path.parent}, or give another --out")
    recorded, wanted = ({**of, **(of.get("filters") or {}), "filters": None} for of in (recorded, wanted))
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


def _manifest(board: Board, options: Options, selection: Selection, part: Part) -> dict:
    """The manifest as a run begins: everything but what only the pictures can tell."""
    manifest = {
        "complete": False,
        "options": asdict(options),
        "attribution": board.attribution,
        "tags": len(selection.tags),
        "posts": selection.num_posts,
        "skipped": board.skipped,
        "rejected": len(board.rejected) if part.index == 1 else 0,
        "selection": selection.digest,
        "splits": {split: {"selected": len(entries)} for split, entries in selection.entries.items()},
    }
    return manifest if part == WHOLE else manifest | {"part": f"{part.index}/{part.count}"}


def _outcome(board: Board, selection: Selection, size: int, spool: Spool, path: Path) -> Outcome:
    """Bring all pictures into the spool; what became of each post."""
    from tqdm import tqdm

    if path.exists():
        return read_outcome(path)
    posts = [entry.post for _, entry in numbered(selection)]
    with tqdm(total=len(posts), unit=" images", desc="images", dynamic_ncols=True) as progress:
        pictures = Fetcher(board, posts, size, spool).fetch(progress.update)
    splits = [split for split, entries in selection.entries.items() for _ in entries]
    outcome = _judged([post.group for post in posts], splits, pictures)
    write_outcome(path, outcome)
    return outcome


def _judged(groups: list[str], splits: list[str], pictures: list[Picture]) -> Outcome:
    there = [number for number, picture in enumerate(pictures) if not picture.reason]
    pairs = alike([bytes.fromhex(pictures[number].thumbnail) for number in there])
    pairs = [(there[one], there[two]) for one, two in pairs]
    across = [(one, two) for one, two in pairs if groups[one] != groups[two]]
    joined = joined_splits(groups, splits, across)
    moved = sum(before != after for before, after in zip(splits, joined, strict=True))
    return Outcome(
        splits=joined,
        md5s=[picture.md5 for picture in pictures],
        missing=[(picture.id, picture.reason, picture.gone) for picture in pictures if picture.reason],
        alike={"pictures": len({number for pair in across for number in pair}), "moved": moved},
    )


def _nothing_to_train_on(folder: Path, rows: list[tuple[str, str]]) -> str:
    """Why no training picture is left, for people."""
    if not rows:
        return f"{folder}: every picture for training looks like a held-out one: give smaller --val and --test"
    [(reason, number)] = Counter(reason for _, reason in rows).most_common(1)
    return f"no training image could be read; {number:,} times: {reason} (see {folder}/quarantine.csv)"


def _finish(folder: Path, selection: Selection, outcome: Outcome, shards: list[Shard], manifest: dict, part: Part) -> dict:
    """Write the folder's tags and its complete manifest."""
    missing = {post_id: "gone" if gone else "quarantined" for post_id, _, gone in outcome.missing}
    names = ("selected", "written", "quarantined", "gone", "labels", "shards")
    counts = {split: dict.fromkeys(names, 0) for split in records.SPLITS}
    positives = [0.0] * len(selection.tags)
    for number, entry in numbered(selection):
        split = outcome.splits[number]
        became = missing.get(entry.post.id, "written")
        counts[split]["selected"] += 1
        counts[split][became] += 1
        if became == "written":
            counts[split]["labels"] += len(entry.tags)
            for tag in entry.tags if split == "train" else ():
                positives[tag] += entry.labels[tag] if entry.labels else 1
    for shard in shards:
        counts[shard.split]["shards"] += 1
    implied = map(tuple, selection.implied)
    facts = zip(selection.tag_ids, selection.tags, selection.categories, map(round, positives), implied, strict=True)
    records.write_tags(folder / part.name("tags.csv"), [records.Tag(*of_tag) for of_tag in facts])
    manifest = manifest | {"complete": True, "splits": counts, "alike": outcome.alike}
    records.write_json(folder / part.name("manifest.json"), manifest)
    return manifest


def _remove_leftovers(folder: Path, part: Part) -> None:
    """Remove what only an unfinished folder needs."""
    Spool(folder / f".{part.name('spool')}").remove()
    for name in ("selection.gz", "outcome.gz", "selection.partial", "outcome.partial"):
        (folder / part.name(name)).unlink(missing_ok=True)
