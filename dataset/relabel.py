"""A data folder again, with other labels on its training pictures.

Pictures, their order and their division into shards stay, so that two runs differ by the labels alone. The validation and
test splits are the same files: their labels are never touched.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
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
    """Whether `relabel` has made a folder with these facts.

    Raises:
        InputError: there is something else.
    """
    if not out.exists():
        return False
    if records.read_json(out / "manifest.json").get("relabelled") != facts:
        raise InputError(f"{out} holds something else: expected nothing, or {facts}. Delete it, or give another folder")
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
            changed = (replace(record, labels=next(of_pictures)) for record in records.read_shard(path))
            write_shard(partial / path.name, changed)
        sums = np.zeros(len(tags))
        for of_picture in labels:
            sums[list(of_picture)] += list(of_picture.values())
        counts = map(round, sums)  # what training takes the tags' frequencies from
        records.write_tags(partial / "tags.csv", [replace(tag, count=n) for tag, n in zip(tags, counts, strict=True)])
        manifest["splits"]["train"]["labels"] = sum(map(len, labels))
        records.write_json(partial / "manifest.json", manifest | {"relabelled": facts})
    partial.replace(out)


def write_shard(path: Path, of_shard: Iterator[records.Record]) -> None:
    """Write a shard of records that were read.

    Raises:
        InputError: it cannot be written.
    """
    import tensorflow as tf

    try:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in of_shard:
                names = (record.id, record.md5, record.group)
                facts = {"weights": record.labels, "words": record.words}
                writer.write(records.encode(record.image, record.labels, *names, **facts))
    except tf.errors.OpError as error:
        raise InputError(f"cannot write {path}: {error.message}") from error


def link(path: Path, to: Path) -> None:
    """The same file under another name, or a copy where the file system has no such links."""
    try:
        os.link(path.resolve(), to)
    except OSError:
        shutil.copyfile(path, to)
