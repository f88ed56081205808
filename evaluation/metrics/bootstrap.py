"""The bootstrap over groups: how much a figure would vary with other test pictures of the same kind.

Variants of one picture are not independent evidence. Therefore whole groups are drawn, with replacement, as often as there
are groups; an image counts as often as its group was drawn (Efron & Tibshirani, An Introduction to the Bootstrap, 1993; of
clusters: Field & Welsh, J. R. Statist. Soc. B 69, 2007). One vector holds the figure of all images, first, and its values
in the resamples.
"""

import numpy as np

from evaluation.metrics.micro_counts import column_blocks, columns

RESAMPLES = 1000
MAX_WEIGHTED_PAIRS = 10**9  # pairs of image and tag times resamples: bounds the time
MIN_RESAMPLES = 100
MIN_GROUPS = 5
COVERAGE_PERCENT = 95


def group_weights(groups: np.ndarray, num_tags: int, seed: int = 0) -> np.ndarray:
    """Return how often each image counts in each resample.

    Args:
        groups: the group of each image, any values that can be compared, (images,).
        num_tags: number of tags. With the number of images it decides how many resamples are drawn: 100 to 1,000.
        seed: the same groups and seed give the same resamples, so that two runs are compared on the same pictures.

    Returns:
        float32 (images, 1 + resamples). The first column is 1 and stands for all images.
    """
    _, number = np.unique(groups, return_inverse=True)
    total = number.max() + 1
    resamples = int(np.clip(MAX_WEIGHTED_PAIRS // (len(groups) * num_tags), MIN_RESAMPLES, RESAMPLES))
    draws = np.random.default_rng(seed).integers(total, size=(resamples, total))
    weights = np.ones((len(groups), 1 + resamples), np.float32)
    for column, drawn in enumerate(draws, start=1):
        weights[:, column] = np.bincount(drawn, minlength=total)[number]
    return weights


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of the middle 95 % of the resamples, shifted so that their mean is the figure of all images.

    A resample contains some pictures twice, and not all tags. This biases all resamples equally, mostly upwards.

    Args:
        values: (1 + resamples,), the figure of all images first.

    Returns:
        NaN where the figure itself is NaN, or every resample is.
    """
    resamples = values[1:][~np.isnan(values[1:])]
    if not len(resamples) or np.isnan(values[0]):
        return float("nan"), float("nan")
    tail = (100 - COVERAGE_PERCENT) / 2
    low, high = np.percentile(resamples, [tail, 100 - tail]) - resamples.mean() + values[0]
    return float(low), float(high)


def tag_intervals(values: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the interval of each tag; NaN where fewer than five groups have it, too few to draw from.

    Args:
        values: (tags, 1 + resamples).
        labels: bool (images, tags).
        groups: (images,).

    Returns:
        float64 (tags, 2).
    """
    enough: list[bool] = []
    for tags in column_blocks(*labels.shape):
        enough += [len(set(groups[column])) >= MIN_GROUPS for column in columns(labels, tags)]
    return np.array([interval(row) if known else (np.nan, np.nan) for row, known in zip(values, enough, strict=True)])
