"""Bring a complete data folder up to date with its sources, without reading again the pictures that are in it.

The folder is built anew beside the old one, and takes its place when it is complete. It is the same as one that is made at
once from all that is there now. Pictures come from the old records, unless their files have changed.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from common import files
from common.errors import InputError, say
from common.files import only_writer
from common.progress import progress
from dataset import corrections, images, implications, records
from dataset.boards.board import Board
from dataset.boards.picture_source import is_newer, md5
from dataset.build.build import build
from dataset.build.changes import changes
from dataset.build.fetch_pictures import Picture, Spool
from dataset.build.selection import Options, Selection, select
from dataset.build.shards import numbered_entries
from dataset.near_duplicates import thumbnail

# What download.py, train.py and eval.py write into a data folder.
OWN = re.compile(
    r"(train|val|test)-\d{5}-of-\d{5}\.tfrecord|manifest\.json|(tags|quarantine|implications)\.csv"
    r"|\.(cache|lock|spool)|\.partial-.*"
)


def recorded_options(folder: Path) -> Options:
    """Return the options of a complete data folder.

    Raises:
        InputError: it is missing or unfinished, or a part of one.
    """
    if folder.is_symlink():
        raise InputError(f"--add: {folder} is a link: give the folder that it leads to, --out {folder.resolve()}")
    restore(folder)
    if not (folder / "manifest.json").is_file():
        raise InputError(f"--add: {folder} is no data folder: make it without --add first")
    manifest = files.read_json(folder / "manifest.json")
    options = manifest.get("options")
    if not manifest.get("complete") or not isinstance(options, dict):
        raise InputError(f"--add: {folder} is not complete: run its command without --add first")
    if "relabelled" in manifest:
        raise InputError(f"--add: {folder} was made by clean.py: add to the folder that it was made from, and clean again")
    return Options(**options)


def add(open_board: Callable[[], Board], options: Options, folder: Path, dry_run: bool = False) -> dict | None:
    """Bring a complete data folder up to date.

    Args:
        open_board: opens the board with all its sources.
        options: those of the folder, perhaps with more folders of images.
        folder: the data folder.
        dry_run: print what would change, and write nothing.

    Returns:
        The manifest of the new folder; None if nothing has changed, and for a dry run.

    Raises:
        InputError: as `build`.
        OSError: a file cannot be written.
    """
    manifest = files.read_json(folder / "manifest.json")
    board = open_board()
    say(f"reading the annotations of {board.name}")
    selection = select(board, options)
    changed = changes(selection, folder, manifest)
    if manifest.get("corrections", "") != _digest_of_corrections(folder):
        changed = f"{changed}, new corrections" if changed else "new corrections"
    if not changed:
        say(f"{folder} has all pictures that its options choose: nothing to add")
        return None
    say(f"{folder}: {changed}")
    if dry_run:
        return None
    with only_writer(folder.parent, f".lock-{folder.name}"):
        work = _work_folder(folder)
        _bring_corrections(folder, work)
        _check_work(work, options, selection)
        _reuse(folder, manifest, selection, Spool(work / ".spool"))
        result = build(lambda: board, options, work)
        _keep_edited_rules(folder, work)
        _replace(folder, work)
        corrections.table_path(work).unlink(missing_ok=True)
    return result


def _keep_edited_rules(folder: Path, work: Path) -> None:
    """Copy the rules about tags if a person has edited them: they are newer than the manifest, which is written last."""
    path = folder / implications.FILE
    if path.exists() and path.stat().st_mtime > (folder / "manifest.json").stat().st_mtime:
        implications.read(folder, records.read_tags(work / "tags.csv"))  # raises if a tag is gone
        shutil.copyfile(path, work / implications.FILE)
        os.utime(work / implications.FILE)  # newer than the manifest there as well
        say(f"{path} was edited and is kept; delete it before --add to have it made anew")


def restore(folder: Path) -> None:
    """Bring a folder under its name if `add` was interrupted while it replaced it."""
    old, work = _old_folder(folder), _work_folder(folder)
    if old.exists() and not folder.exists():
        work.rename(folder) if (work / "manifest.json").exists() else old.rename(folder)
    if old.exists():
        _empty(old, folder)


def _bring_corrections(folder: Path, work: Path) -> None:
    """Copy people's corrections to where `build` looks for them."""
    path = corrections.table_path(folder)
    corrections.table_path(work).unlink(missing_ok=True)
    if path.exists():
        shutil.copyfile(path, corrections.table_path(work))


def _digest_of_corrections(folder: Path) -> str:
    """Return a hash of people's corrections of a data folder, empty if there is no table."""
    path = corrections.table_path(folder)
    return corrections.digest_of(corrections.read_table(path)) if path.exists() else ""


def _check_work(work: Path, options: Options, selection: Selection) -> None:
    """Remove what an interrupted call has left if the sources have changed since."""
    if not (work / "manifest.json").exists():
        return
    begun = files.read_json(work / "manifest.json")
    corrected = _digest_of_corrections(work)
    facts = (begun.get("selection"), begun.get("options"), begun.get("corrections", corrected))
    if facts != (selection.digest, asdict(options), corrected):
        shutil.rmtree(work)


def _reuse(folder: Path, manifest: dict, selection: Selection, spool: Spool) -> None:
    """Put the pictures of a data folder into the spool of the new one."""
    if manifest.get("decode_version", 1) != images.DECODE_VERSION:
        say("pictures are decoded otherwise since this folder was made: all are read again")
        return
    made = (folder / "manifest.json").stat().st_mtime
    number_of = {entry.post.id: (number, entry.post) for number, entry in numbered_entries(selection)}
    reused = 0
    with progress(total=len(number_of), unit="images", description="images there", leave=False) as bar:
        for split in records.SPLITS:
            for path in records.shard_paths(folder, split):
                for record in records.read_shard(path):
                    number, post = number_of.get(record.id, (-1, None))
                    if post is None or (post.md5 and post.md5 != record.md5):
                        continue
                    if is_newer(post.source, made) and md5(post.source) != record.md5:
                        continue
                    if spool.find(number, post) is None:
                        spool.save(number, Picture(record.id, record.md5, thumbnail(record.image)), record.image)
                    reused += 1
                    bar.update()
    say(f"{reused:,} of {len(number_of):,} pictures are in {folder} already, and are not read again")


def _replace(folder: Path, work: Path) -> None:
    folder.rename(_old_folder(folder))
    work.rename(folder)
    _empty(_old_folder(folder), folder)


def _empty(old: Path, folder: Path) -> None:
    """Delete what download.py wrote into the old folder, and move all else into the new one: it is the user's.

    Args:
        old: the folder that was replaced.
        folder: the new one under its name.

    Raises:
        InputError: something of the user's cannot be moved; it stays where it is.
    """
    for path in sorted(old.iterdir()):
        if OWN.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif (folder / path.name).exists():
            raise InputError(f"{path} is not of download.py, and {folder} has another {path.name}: move it elsewhere")
        else:
            path.rename(folder / path.name)
    old.rmdir()


def _work_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.adding")


def _old_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")
