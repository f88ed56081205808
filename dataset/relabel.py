"""A data folder again, with other labels on its training pictures.

Pictures, their order and their division into shards stay, so that two runs differ by the labels alone. The validation and
test splits are the same files: their labels are never touched.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from command import InputError, only_writer
from dataset import records


def source_of(data: Path) -> dict:
    """What tells whether a folder was made from the same data: its path, and the MD5 of its manifest.

    Raises:
        InputError: it is no complete data folder.
    """
    if not records.read_json(data / "manifest.json").get("complete"):
        raise InputError(f"{data} is unfinished: run its download.py command again")
    return {"data": str(data.resolve()), "manifest": hashlib.md5((data / "manifest.json").read_bytes()).hexdigest()}


def made_already(out: Path, facts: dict) -> bool:
    """Whether `relabel` has made a folder with these facts, among others.

    Raises:
        InputError: there is something else.
    """
    if not out.exists():
        return False
    if not (out / "manifest.json").is_file():
        raise InputError(f"{out} is there and is no data folder: give another name for the folder to make")
    made = records.read_json(out / "manifest.json").get("relabelled") or {}
    differing = ", ".join(f"{name} is {made.get(name)!r}" for name in facts if made.get(name) != facts[name])
    if differing:
        raise InputError(f"{out} holds other data ({differing}): give another name for the folder to make, or delete it")
    return True


def relabel(data: Path, out: Path, labels: Sequence[Mapping[int, float]], facts: dict) -> None:
    """Write a data folder with other labels on its training pictures; it appears when whole, and one that is there is kept.

    Args:
        data: folder made by download.py.
        out: folder to make.
        labels: of each training picture, in the order of `records.read`: tag ▶ label, over 0 and at most 1.
        facts: what was done, for the manifest, under `relabelled`.

    Raises:
        InputError: `out` is something else, or there is another number of labels than of pictures.
    """
    from tqdm import tqdm

    if made_already(out, facts):
        return
    manifest, tags = records.read_json(data / "manifest.json"), records.read_tags(data / "tags.csv")
    images = manifest["splits"]["train"]["written"]
    if len(labels) != images:
        raise InputError(f"{data} has {images:,} training pictures, and there are labels for {len(labels):,}")
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with only_writer(partial):
        for split in ("val", "test"):
            for path in records.shard_paths(data, split):
                link(path, partial / path.name)
        shutil.copyfile(data / "quarantine.csv", partial / "quarantine.csv")
        of_pictures = iter(labels)
        for path in tqdm(records.shard_paths(data, "train"), unit=" shards", desc=out.name, leave=False, disable=None):
            with records.writer(partial / path.name) as write:
                for record in records.read_shard(path):
                    write(replace(record, labels=next(of_pictures)))
        sums = np.zeros(len(tags))
        for of_picture in labels:
            sums[list(of_picture)] += list(of_picture.values())
        counts = map(round, sums)  # what training takes the tags' frequencies from
        records.write_tags(partial / "tags.csv", [replace(tag, count=n) for tag, n in zip(tags, counts, strict=True)])
        manifest["splits"]["train"]["labels"] = sum(map(len, labels))
        records.write_json(partial / "manifest.json", manifest | {"relabelled": facts})
    partial.replace(out)


def link(path: Path, to: Path) -> None:
    """The same file under another name, or a copy where the file system has no such links."""
    try:
        os.link(path.resolve(), to)
    except OSError:
        shutil.copyfile(path, to)
