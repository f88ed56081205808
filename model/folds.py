"""What networks that have not seen a training picture's labels say of it.

A network has learned the labels it was trained on, the wrong ones too. So the training split is divided into folds, a
network is trained on all but one of them, as the run was, and asked about that one. Each training is a run of train.py in
its own folder, and goes on when it was stopped.
"""

import hashlib
import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from command import InputError, program, say
from dataset import records
from dataset.relabel import link, source_of
from model import scoring
from model.applications import IMAGENET
from model.config import as_options
from model.predict import Tagger
from model.runs import Run


def out_of_fold(run: Run, data: Path, ids: list[str], number: int, options: list[str]) -> np.ndarray:
    """The probability of each training label, from a network that was trained without that picture.

    What is begun is kept in the run folder, under `folds/`.

    Args:
        run: its configuration is that of the networks.
        data: folder made by download.py, of the run's tags.
        ids: of its training pictures, in the order of `records.read`.
        number: folds; as many networks are trained.
        options: more of train.py's.

    Returns:
        float32 (training pictures, tags).

    Raises:
        InputError: there are too few pictures, or the folds that were begun are of other data.
    """
    home = run.folder / "folds"
    facts = {"from": source_of(data), "folds": number}
    if not home.exists():
        write_folds(data, home, number, facts)
    elif records.read_json(home / "folds.json")["made"] != facts:
        raise InputError(f"{home} holds folds of other data or of another number: delete it")
    folds = np.array([fold_of(post_id, number) for post_id in ids])
    probability = np.empty((len(folds), len(run.tags)), np.float32)
    for fold in range(number):
        folder, fold_data = home / f"run-{fold}", home / f"data-{fold}"
        if not (folder / "model.keras").exists():
            say(f"fold {fold + 1} of {number}: a network that has not seen {np.sum(folds == fold):,} of the pictures")
            own = replace(run.config, teacher="")  # which has seen them, as a run may have that the trunk was taken from
            if own.init != IMAGENET:
                own = replace(own, init="", freeze=False, unfreeze_after=0)
            settings = as_options(own)
            program("train.py", "--data", str(fold_data), "--run", str(folder), *settings, *options)
        tagger = Tagger.load(folder)
        said = scoring.score(tagger.network, fold_data, "val", run.config, tagger.temperature, show_progress=True)
        probability[folds == fold] = said.probability
    return probability


def write_folds(data: Path, home: Path, number: int, facts: dict) -> None:
    """Write a data folder for each fold, whose validation split it is; its training split links to the others.

    Args:
        data: as for `out_of_fold`.
        home: folder to make, which appears when whole: `data-0`, `data-1`, … and `folds.json`.
        number, facts: how many, and what `folds.json` is to say of them.

    Raises:
        InputError: a fold is empty.
    """
    from tqdm import tqdm

    partial = home.with_name(f"{home.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    folders = [partial / f"data-{fold}" for fold in range(number)]
    for folder in folders:
        folder.mkdir(parents=True)
    tags, manifest = records.read_tags(data / "tags.csv"), records.read_json(data / "manifest.json")
    positives = np.zeros((number, len(tags)), int)
    sizes = np.zeros(number, int)
    shards = records.shard_paths(data, "train")
    for index, path in enumerate(tqdm(shards, unit=" shards", desc="folds", leave=False, disable=None)):
        with ExitStack() as stack:
            name = f"val-{index:05}-of-{len(shards):05}.tfrecord"
            writers = [stack.enter_context(records.writer(folder / name)) for folder in folders]
            for record in records.read_shard(path):
                fold = fold_of(record.id, number)
                writers[fold](record)
                sizes[fold] += 1
                positives[fold, record.tags] += 1
    if not sizes.all():
        raise InputError(f"{data} has too few training pictures for {number} folds: {sizes.sum():,}")
    for fold, folder in enumerate(folders):
        others = [path for other in folders if other != folder for path in sorted(other.glob("val-*.tfrecord"))]
        for index, path in enumerate(others):
            link(path, folder / f"train-{index:05}-of-{len(others):05}.tfrecord")
        counts = positives.sum(axis=0) - positives[fold]
        records.write_tags(folder / "tags.csv", [replace(tag, count=int(n)) for tag, n in zip(tags, counts, strict=True)])
        written = {"train": int(sizes.sum() - sizes[fold]), "val": int(sizes[fold]), "test": 0}
        splits = {split: {"written": images} for split, images in written.items()}
        records.write_json(folder / "manifest.json", manifest | {"splits": splits})
    records.write_json(partial / "folds.json", {"made": facts})
    partial.replace(home)


def fold_of(post_id: str, number: int) -> int:
    """The fold of a picture.

    Its variants may be in others: people tag them one by one, so that they tell what it should have been given. With
    variants in one fold, the labels that came out were further from the truth.
    """
    return int(hashlib.md5(post_id.encode()).hexdigest(), 16) % number
