"""Counts by score level of all pairs of image and tag together, for all images and for every bootstrap resample.

Exact up to 16.8 million pairs. Beyond that, a histogram of half a million score levels, each 0.02 % of its score wide. A
resample needs a histogram of every image, and therefore has 256 levels only: enough for how a figure varies, not for its
value.
"""

from collections.abc import Callable, Iterator

import numpy as np

from common.mapped_arrays import read_rows

EXACT_PAIRS = 2**24
DROPPED_BITS = 11  # of a float32 score; the other bits are a level of the histogram
COARSE_LEVELS = 256
BLOCK_PAIRS = 2**21
COLUMN_PAIRS = 2**24

ReadRows = Callable[[slice], tuple[np.ndarray, np.ndarray]]  # slice of images ▶ bool and float (images, tags)


def counts_by_score_level(shape: tuple[int, int], read: ReadRows, weights: np.ndarray) -> tuple[tuple, tuple]:
    """Return the positives and negatives of all pairs by score level, see `evaluation.metrics.metrics`.

    Args:
        shape: numbers of images and tags.
        read: returns labels and scores, 0 to 1, of a slice of the images; called twice for each slice.
        weights: float32 (images, columns).

    Returns:
        Fine levels of all images, two float64 (score_levels,), and coarse ones of each resample, two float64 (score_levels,
        columns).
    """
    images, tags = shape
    row_blocks = list(blocks(images, tags))
    if images * tags <= EXACT_PAIRS:
        keys = np.concatenate([_ordered_bits(read(rows)[1]) for rows in row_blocks])
        distinct, level = np.unique(keys, return_inverse=True)
        level, num_levels = level.reshape(shape), len(distinct)

        def level_of(rows: slice, scores: np.ndarray) -> np.ndarray:
            return level[rows]

    else:
        num_levels = (0x3F800000 >> DROPPED_BITS) + 1  # up to the bits of 1.0

        def level_of(rows: slice, scores: np.ndarray) -> np.ndarray:
            return _ordered_bits(scores) >> DROPPED_BITS

    positives, total = np.zeros(num_levels), np.zeros(num_levels)
    for rows in row_blocks:
        truth, scores = read(rows)
        levels = level_of(rows, scores)
        positives += np.bincount(levels[truth], minlength=num_levels)
        total += np.bincount(levels.ravel(), minlength=num_levels)
    negatives = total - positives
    # All coarse levels hold about the same share of the positives and of the negatives.
    rank = np.cumsum(positives) / max(positives.sum(), 1) + np.cumsum(negatives) / max(negatives.sum(), 1)
    coarse = np.minimum(rank / rank[-1] * COARSE_LEVELS, COARSE_LEVELS - 1).astype(np.int32)
    sums = np.zeros((2, COARSE_LEVELS, weights.shape[1]))
    for rows in row_blocks:
        truth, scores = read(rows)
        levels = coarse[level_of(rows, scores)] + COARSE_LEVELS * np.arange(len(truth), dtype=np.int32)[:, None]
        for index, chosen in enumerate((levels[truth], levels.ravel())):
            by_image = np.bincount(chosen, minlength=COARSE_LEVELS * len(truth)).reshape(-1, COARSE_LEVELS)
            sums[index] += by_image.T.astype(np.float32) @ weights[rows]
    occupied = total > 0
    return (positives[occupied], negatives[occupied]), (sums[0], sums[1] - sums[0])


def _ordered_bits(scores: np.ndarray) -> np.ndarray:
    """Return the bits of scores as float32, uint32: in the scores' order, as none is negative. Adding 0 turns -0 into 0."""
    return (scores.astype(np.float32) + np.float32(0)).view(np.uint32)


def bias_corrected(resampled: np.ndarray, exact: np.ndarray | float) -> np.ndarray:
    """Return coarse resamples, shifted by the error of the coarse figure of all images."""
    return resampled - resampled[0] + exact


def columns(array: np.ndarray, tags: slice) -> np.ndarray:
    """Return some tags of all images, contiguous: (images, tags) ▶ (some tags, images)."""
    values = np.empty((tags.stop - tags.start, len(array)), array.dtype)
    for rows in blocks(*array.shape):
        (part,) = read_rows(rows, array)
        values[:, rows] = part[:, tags].T
    return values


def column_blocks(images: int, tags: int) -> Iterator[slice]:
    """Yield slices of the tags for `columns`. They are larger than `blocks`, because each is gathered from all rows."""
    yield from blocks(tags, images, COLUMN_PAIRS)


def blocks(length: int, width: int, pairs: int = BLOCK_PAIRS) -> Iterator[slice]:
    """Yield slices of the rows (or columns) of an array, of about so many pairs, small beside the whole."""
    step = max(1, pairs // width)
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))
