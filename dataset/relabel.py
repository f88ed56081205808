"""Copies of a data folder with other labels for the training pictures.

The pictures, their order and their shards stay the same, so that runs on both folders differ only by the labels, and by how
often a picture is stored. The validation and test splits are the same files: their labels never change. Only pictures that
must not be used any more are left out of them.
"""

import hashlib
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from common import files
from common.errors import InputError
from common.files import only_writer
from common.progress import progress
from dataset import implications, records


def data_fingerprint(data: Path) -> dict:
    """Return what identifies a data folder: its path and the MD5 of its manifest.

    Raises:
        InputError: the folder is not a complete data folder.
    """
    if not files.read_json(data / "manifest.json").get("complete"):
        raise InputError(f"{data} is unfinished: run its download.py command again")
    return {"data": str(data.resolve()), "manifest": hashlib.md5((data / "manifest.json").read_bytes()).hexdigest()}


def check_output_folder(out: Path, facts: dict) -> bool:
    """Return whether `relabel` has already made a folder with these facts.

    Args:
        out: the folder.
        facts: entries that its manifest must hold under `relabelled`, perhaps beside others.

    Raises:
        InputError: the path exists and is something else.
    """
    if not out.exists():
        return False
    if not (out / "manifest.json").is_file():
        raise InputError(f"{out} exists and is not a data folder: give another name for the new folder")
    recorded = files.read_json(out / "manifest.json").get("relabelled") or {}
    differing = ", ".join(f"{name} is {recorded.get(name)!r}" for name in facts if recorded.get(name) != facts[name])
    if differing:
        raise InputError(f"{out} holds other data ({differing}): give another name for the new folder, or delete this one")
    return True


def made_from(data: Path) -> tuple[Path, dict] | None:
    """Return the data folder that another was made from, and the facts of its manifest; None for a download.

    The path is relative if it is in the working folder.

    Raises:
        InputError: there is no data folder.
    """
    facts = files.read_json(data / "manifest.json").get("relabelled")
    if not facts:
        return None
    path = Path(facts["from"]["data"])
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path, facts


def relabel(
    data: Path,
    out: Path,
    labels: Sequence[dict[int, float]],
    facts: dict,
    copies: Sequence[int] | None = None,
    left_out: Collection[str] = (),
) -> None:
    """Write a copy of a data folder with other training labels, unless a folder with these facts exists already.

    Args:
        data: folder made by download.py.
        out: the new folder; it appears under this name when complete.
        labels: for each training picture, in the order of `records.read`: tag index ▶ label, over 0 and at most 1.
        facts: how the labels were made, for the manifest, under `relabelled`.
        copies: how often each training picture is stored, an epoch draws it as often; None: once.
        left_out: ids of the pictures, of all splits, that the new folder does not get.

    Raises:
        InputError: `out` is something else, the number of labels differs from the number of pictures, or no training
            picture is left.
    """
    if check_output_folder(out, facts):
        return
    manifest, tags = files.read_json(data / "manifest.json"), records.read_tags(data / "tags.csv")
    images = manifest["splits"]["train"]["written"]
    if len(labels) != images:
        raise InputError(f"{data} has {images:,} training pictures. Received: labels for {len(labels):,}")
    left_out = set(left_out)
    with only_writer(out.parent, f".lock-{out.name}"), files.atomic_folder(out) as partial:
        for split in ("val", "test"):
            counts_of_split = manifest["splits"][split]
            for path in records.shard_paths(data, split):
                removed = copy_without(path, partial / path.name, left_out)
                counts_of_split["written"] -= len(removed)
                counts_of_split["labels"] -= sum(len(record.labels) for record in removed)
        shutil.copyfile(data / "quarantine.csv", partial / "quarantine.csv")
        if (data / implications.FILE).exists():
            shutil.copyfile(data / implications.FILE, partial / implications.FILE)
        remaining, kept = zip(labels, copies or [1] * images, strict=True), []
        for path in progress(records.shard_paths(data, "train"), unit="shards", description=out.name, leave=False):
            with records.writer(partial / path.name) as write:
                for record in records.read_shard(path):
                    picture_labels, number = next(remaining)
                    if record.id in left_out:
                        continue
                    kept.append((picture_labels, number))
                    for _ in range(number):
                        write(replace(record, labels=picture_labels))
        if not kept:
            raise InputError(f"{data}: no training picture would be left: all of them are left out")
        sums = np.zeros(len(tags))
        for picture_labels, number in kept:
            sums[list(picture_labels)] += number * np.array([*picture_labels.values()])
        counts = map(round, sums)  # training takes the frequencies of tags from them
        records.write_tags(partial / "tags.csv", [replace(tag, count=n) for tag, n in zip(tags, counts, strict=True)])
        stored = sum(number * len(picture_labels) for picture_labels, number in kept)
        manifest["splits"]["train"] |= {"labels": stored, "written": sum(number for _, number in kept)}
        files.write_json(partial / "manifest.json", manifest | {"relabelled": facts})


def copy_without(path: Path, target: Path, left_out: set[str]) -> list[records.Record]:
    """Copy a shard without some pictures, and return these."""
    removed = list(records.read_shard(path, left_out)) if left_out else []
    if not removed:
        link_or_copy(path, target)
        return []
    with records.writer(target) as write:
        for record in records.read_shard(path):
            if record.id not in left_out:
                write(record)
    return removed


def link_or_copy(path: Path, target: Path) -> None:
    """Make a hard link to a file, or a copy if the file system does not support links."""
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copyfile(path, target)
