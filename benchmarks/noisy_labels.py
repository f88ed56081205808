"""Training labels spoilt on purpose, by a known share.

Labels are *missing* where taggers forget tags, as on every board. They are *wrong* where taggers forget tags and give as
many by mistake.
"""

from pathlib import Path

import numpy as np

from benchmarks.trials import HOME
from common.errors import InputError
from dataset import records
from dataset.relabel import check_output_folder, data_fingerprint, relabel


def noisy_folder(data: Path, kind: str, share: float, seed: int) -> Path:
    """Return a copy of a data folder under runs/bench/ with spoilt training labels, or the folder itself if the share is 0;
    see `noisy_copy`."""
    if not share:
        return data
    HOME.mkdir(parents=True, exist_ok=True)
    copy = HOME / f"{data.resolve().name}-{kind}-{share:g}-{seed}"
    noisy_copy(data, copy, share, seed, kind)
    return copy


def noisy_copy(data: Path, out: Path, share: float, seed: int, kind: str = "wrong") -> None:
    """Copy a data folder and spoil a share of the training labels; validation and test labels stay correct.

    A share of all (picture, tag) pairs is drawn at random and dropped. If labels are to be wrong and not only missing, the
    tag of each goes to another picture, drawn from those that did not have it, so that each tag stays as frequent as it was.
    A tag that nearly every picture has runs out of such pictures and becomes rarer.

    Args:
        data: folder made by download.py.
        out: folder to make; one that the same call made is kept.
        share: share of the training labels that are dropped, and of those that are wrong afterwards, 0 to 1.
        seed: the same seed draws the same pairs.
        kind: `wrong`, or `missing`: no label is added for those that are dropped.

    Raises:
        InputError: the share is over 1, or `out` is something else.
    """
    if share > 1:
        raise InputError(f"the share of training labels that are {kind} has to be at most 1. Received: {share:g}")
    facts = {"from": data_fingerprint(data), kind: share, "seed": seed}
    if check_output_folder(out, facts):
        return
    num_tags = len(records.read_tags(data / "tags.csv"))
    tags_of_pictures = [record.tags for record in records.read(data, "train")]
    labels = np.zeros((len(tags_of_pictures), num_tags), bool)
    for picture, tags in enumerate(tags_of_pictures):
        labels[picture, tags] = True
    noisy = with_noise(labels, share, np.random.default_rng(seed), kind)
    relabel(data, out, [dict.fromkeys(np.flatnonzero(row).tolist(), 1.0) for row in noisy], facts)


def with_noise(labels: np.ndarray, share: float, random: np.random.Generator, kind: str = "wrong") -> np.ndarray:
    """Return labels, bool (pictures, tags), of which a share is wrong or missing; see `noisy_copy`."""
    noisy = labels.copy()
    pictures, tags = np.nonzero(labels)
    dropped = random.choice(len(pictures), round(share * len(pictures)), replace=False)
    noisy[pictures[dropped], tags[dropped]] = False
    if kind == "missing":
        return noisy
    for tag, number in enumerate(np.bincount(tags[dropped], minlength=labels.shape[1])):
        without = np.flatnonzero(~labels[:, tag])
        noisy[random.choice(without, min(number, len(without)), replace=False), tag] = True
    return noisy
