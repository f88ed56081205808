"""Predictions for training pictures by networks that were not trained on their labels (cross-validation).

A network reproduces the labels that it was trained on, the wrong ones too. So the training split is divided into folds. For
each fold a network with the run's configuration is trained on the other folds, and predicts this one. Each training is a run
of train.py in its own folder, and can be interrupted and continued.
"""

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from common import files
from common.errors import InputError, say
from common.processes import run_script
from common.progress import progress
from dataset import implications, records
from dataset.relabel import data_fingerprint, link_or_copy
from evaluation import score
from inference.tagger import Tagger
from model.config import as_options
from model.pretrained import IMAGENET
from model.run_folder import Run


def out_of_fold(run: Run, data: Path, ids: list[str], num_folds: int, options: list[str]) -> np.ndarray:
    """Predict each training picture with a network that was trained without it.

    Networks and intermediate data are kept in the run folder, under `folds/`.

    Args:
        run: the run whose configuration the networks get.
        data: folder made by download.py, whose tags the run has.
        ids: ids of its training pictures, in the order of `records.read`.
        num_folds: number of folds and of networks to train.
        options: further options of train.py.

    Returns:
        The probabilities, float32 (training pictures, tags).

    Raises:
        InputError: there are too few pictures, or existing folds were made from other data.
    """
    home = run.folder / "folds"
    facts = {"from": data_fingerprint(data), "folds": num_folds}
    if not home.exists():
        write_folds(data, home, num_folds, facts)
    elif files.read_json(home / "folds.json")["made"] != facts:
        raise InputError(f"{home} holds folds of other data, or another number of folds: delete it")
    folds = np.array([fold_index(post_id, num_folds) for post_id in ids])
    probability = np.empty((len(folds), len(run.tags)), np.float32)
    for fold in range(num_folds):
        folder, fold_data = home / f"run-{fold}", home / f"data-{fold}"
        if not (folder / "model.keras").exists():
            say(f"fold {fold + 1} of {num_folds}: training a network without {np.sum(folds == fold):,} of the pictures")
            config = replace(run.config, teacher="")  # a teacher may have been trained on these labels
            if config.init != IMAGENET:  # so may the run that provides the initial weights
                config = replace(config, init="", freeze=False, unfreeze_after=0, frozen_stages=0)
            settings = as_options(config)
            run_script("train.py", "--data", str(fold_data), "--run", str(folder), "--no-onnx", *settings, *options)
        tagger = Tagger.open(folder)
        scores = score.score(tagger.network, fold_data, "val", run.config, tagger.temperatures)
        probability[folds == fold] = scores.probability
    return probability


def write_folds(data: Path, home: Path, num_folds: int, facts: dict) -> None:
    """Write a data folder for each fold: its validation split is the fold, its training split links to the other folds.

    Args:
        data: as for `out_of_fold`.
        home: folder to make, with `data-0`, `data-1`, … and `folds.json`; it appears when complete.
        num_folds: number of folds.
        facts: what the folds were made from, stored in `folds.json`.

    Raises:
        InputError: a fold is empty.
    """
    with files.atomic_folder(home) as partial:
        _write_folds(data, partial, num_folds)
        files.write_json(partial / "folds.json", {"made": facts})


def _write_folds(data: Path, home: Path, num_folds: int) -> None:
    folders = [home / f"data-{fold}" for fold in range(num_folds)]
    for folder in folders:
        folder.mkdir(parents=True)
    tags, manifest = records.read_tags(data / "tags.csv"), files.read_json(data / "manifest.json")
    positives = np.zeros((num_folds, len(tags)), int)
    sizes = np.zeros(num_folds, int)
    shards = records.shard_paths(data, "train")
    for index, path in enumerate(progress(shards, unit="shards", description="folds", leave=False)):
        with ExitStack() as stack:
            name = f"val-{index:05}-of-{len(shards):05}.tfrecord"
            writers = [stack.enter_context(records.writer(folder / name)) for folder in folders]
            for record in records.read_shard(path):
                fold = fold_index(record.id, num_folds)
                writers[fold](record)
                sizes[fold] += 1
                positives[fold, record.tags] += 1
    if not sizes.all():
        raise InputError(f"{data} has too few training pictures for {num_folds} folds: {sizes.sum():,}")
    for fold, folder in enumerate(folders):
        others = [path for other in folders if other != folder for path in sorted(other.glob("val-*.tfrecord"))]
        for index, path in enumerate(others):
            link_or_copy(path, folder / f"train-{index:05}-of-{len(others):05}.tfrecord")
        if (data / implications.FILE).exists():
            link_or_copy(data / implications.FILE, folder / implications.FILE)
        counts = positives.sum(axis=0) - positives[fold]
        records.write_tags(folder / "tags.csv", [replace(tag, count=int(n)) for tag, n in zip(tags, counts, strict=True)])
        written = {"train": int(sizes.sum() - sizes[fold]), "val": int(sizes[fold]), "test": 0}
        splits = {split: {"written": images} for split, images in written.items()}
        files.write_json(folder / "manifest.json", manifest | {"splits": splits})


def fold_index(post_id: str, num_folds: int) -> int:
    """Return the fold of a picture.

    Variants of a picture may be in different folds. People tag them separately, so the labels of one variant help to
    predict those of another; with all variants in one fold, the cleaned labels were worse.
    """
    return int(hashlib.md5(post_id.encode()).hexdigest(), 16) % num_folds
