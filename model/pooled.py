"""Counts by score of all (image, tag) pairs at once, of all images and of every bootstrap resample.

Exact up to 16.8 million pairs; beyond that, a histogram of half a million levels, each 0.02 % of its score wide. Resamples
need a histogram of every image, and so have 256 levels: good enough for how a figure moves, not for where it is.
"""

from collections.abc import Callable, Iterator

import numpy as np

EXACT_PAIRS = 2**24
DROPPED_BITS = 11  # of a float32 score: what stays is a level of the histogram
COARSE_LEVELS = 256
BLOCK_PAIRS = 2**21

Rows = Callable[[slice], tuple[np.ndarray, np.ndarray]]  # of some images: bool and float (images, tags)


def by_level(shape: tuple[int, int], read: Rows, weights: np.ndarray) -> tuple[tuple, tuple]:
    """Positives and negatives by level of all pairs, see `model.metrics`.

    Args:
        shape: images and tags.
        read: labels and scores, 0 to 1, of a slice of the images; called twice for each.
        weights: float32 (images, columns).

    Returns:
        Fine levels of all images, two float64 (levels,), and coarse ones of each resample, two float64 (levels, columns).
    """
    images, tags = shape
    parts = list(blocks(images, tags))
    if images * tags <= EXACT_PAIRS:
        keys = np.concatenate([_ordered_bits(read(rows)[1]) for rows in parts])
        found, level = np.unique(keys, return_inverse=True)
        level, num_levels = level.reshape(shape), len(found)

        def level_of(rows: slice, scores: np.ndarray) -> np.ndarray:
            return level[rows]

    else:
        num_levels = (0x3F800000 >> DROPPED_BITS) + 1  # up to the bits of 1.0

        def level_of(rows: slice, scores: np.ndarray) -> np.ndarray:
            return _ordered_bits(scores) >> DROPPED_BITS

    positives, total = np.zeros(num_levels), np.zeros(num_levels)
    for rows in parts:
        truth, scores = read(rows)
        levels = level_of(rows, scores)
        positives += np.bincount(levels[truth], minlength=num_levels)
        total += np.bincount(levels.ravel(), minlength=num_levels)
    negatives = total - positives
    # Coarse levels hold about the same shares of the positives and of the negatives.
    rank = np.cumsum(positives) / max(positives.sum(), 1) + np.cumsum(negatives) / max(negatives.sum(), 1)
    coarse = np.minimum(rank / rank[-1] * COARSE_LEVELS, COARSE_LEVELS - 1).astype(np.int32)
    sums = np.zeros((2, COARSE_LEVELS, weights.shape[1]))
    for rows in parts:
        truth, scores = read(rows)
        levels = coarse[level_of(rows, scores)] + COARSE_LEVELS * np.arange(len(truth), dtype=np.int32)[:, None]
        for index, chosen in enumerate((levels[truth], levels.ravel())):
            of_image = np.bincount(chosen, minlength=COARSE_LEVELS * len(truth)).reshape(-1, COARSE_LEVELS)
            sums[index] += of_image.T.astype(np.float32) @ weights[rows]
    there = total > 0
    return (positives[there], negatives[there]), (sums[0], sums[1] - sums[0])


def _ordered_bits(scores: np.ndarray) -> np.ndarray:
    """The bits of scores as float32, uint32: in the order of the scores, as none is negative; adding 0 makes -0 0."""
    return (scores.astype(np.float32) + np.float32(0)).view(np.uint32)


def moved(resampled: np.ndarray, exact: float) -> np.ndarray:
    """Coarse resamples, moved by as much as the coarse figure of all images is off."""
    return resampled - resampled[0] + exact


def blocks(length: int, width: int) -> Iterator[slice]:
    """Slices of so many rows (or columns) that a block stays small beside the whole."""
    step = max(1, BLOCK_PAIRS // width)
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))
