"""Label noise made to order: what a board's taggers forget and mistake, in a known amount."""

from pathlib import Path

import numpy as np

from benchmarks.trials import HOME
from dataset import records
from dataset.relabel import made_already, relabel, source_of


def noisy(data: Path, share: float, seed: int) -> Path:
    """A data folder, or for any share of wrong training labels a copy under runs/bench/; see `noisy_copy`."""
    if not share:
        return data
    HOME.mkdir(parents=True, exist_ok=True)
    copy = HOME / f"{data.resolve().name}-noise-{share:g}-{seed}"
    noisy_copy(data, copy, share, seed)
    return copy


def noisy_copy(data: Path, out: Path, share: float, seed: int) -> None:
    """Copy a data folder, with wrong labels on its training pictures; validation and test stay as they are.

    A share of the (picture, tag) pairs is dropped, drawn at random from all of them. The tag of each goes to another
    picture, drawn from those that did not have it, so that a tag stays as frequent; one that nearly every picture has runs
    out of those and becomes rarer.

    Args:
        data: folder made by download.py.
        out: folder to make; one that the same call made is kept.
        share: of the training labels that are dropped, and of those that are wrong afterwards, 0 to 1.
        seed: the same one draws the same pairs.

    Raises:
        InputError: `out` is something else.
    """
    facts = {"from": source_of(data), "noise": share, "seed": seed}
    if made_already(out, facts):
        return
    tags = len(records.read_tags(data / "tags.csv"))
    before = [record.tags for record in records.read(data, "train")]
    had = np.zeros((len(before), tags), bool)
    for picture, of_picture in enumerate(before):
        had[picture, of_picture] = True
    has = with_noise(had, share, np.random.default_rng(seed))
    relabel(data, out, [dict.fromkeys(np.flatnonzero(row).tolist(), 1.0) for row in has], facts)


def with_noise(had: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Labels, bool (pictures, tags), with a share of the positives moved to pictures without; see `noisy_copy`."""
    has = had.copy()
    pictures, tags = np.nonzero(had)
    dropped = random.choice(len(pictures), round(share * len(pictures)), replace=False)
    has[pictures[dropped], tags[dropped]] = False
    for tag, number in enumerate(np.bincount(tags[dropped], minlength=had.shape[1])):
        without = np.flatnonzero(~had[:, tag])
        has[random.choice(without, min(number, len(without)), replace=False), tag] = True
    return has
