"""The bootstrap over groups: how far a figure would move with other test pictures of the same kind.

Variants of one picture are no independent evidence, so whole groups are drawn, with replacement, as often as there are
groups; an image counts as often as its group was drawn (Efron & Tibshirani, An Introduction to the Bootstrap, 1993; of
clusters: Field & Welsh, J. R. Statist. Soc. B 69, 2007). A figure of all images and its values in the resamples are one
vector: the first is that of all images.
"""

import numpy as np

RESAMPLES = 1000
PAIRS_TO_RESAMPLE = 10**9  # weighted (image, tag) pairs that are worth waiting for
FEWEST_RESAMPLES = 100
FEWEST_GROUPS = 5
LEVEL = 95  # percent of the resamples that an interval covers


def group_weights(groups: np.ndarray, num_tags: int, seed: int = 0) -> np.ndarray:
    """How often each image counts in each resample.

    Args:
        groups: the group of each image, any values that can be compared, (images,).
        num_tags: decides, with the images, how many resamples there is time for: 100 to 1,000.
        seed: the same groups and seed give the same resamples, so that two runs are compared on the same pictures.

    Returns:
        float32 (images, 1 + resamples): the first column is 1, the resample of all images.
    """
    _, number = np.unique(groups, return_inverse=True)
    total = number.max() + 1
    resamples = int(np.clip(PAIRS_TO_RESAMPLE // (len(groups) * num_tags), FEWEST_RESAMPLES, RESAMPLES))
    draws = np.random.default_rng(seed).integers(total, size=(resamples, total))
    weights = np.ones((len(groups), 1 + resamples), np.float32)
    for column, drawn in enumerate(draws, start=1):
        weights[:, column] = np.bincount(drawn, minlength=total)[number]
    return weights


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of the resamples of (1 + resamples,), moved so that their mean is the figure of all images.

    A resample shows some pictures twice, and not all tags: its figures are off, mostly upwards, by the same as all others.

    Returns:
        NaN where the figure itself is, or no resample has one.
    """
    resamples = values[1:][~np.isnan(values[1:])]
    if not len(resamples) or np.isnan(values[0]):
        return float("nan"), float("nan")
    tail = (100 - LEVEL) / 2
    low, high = np.percentile(resamples, [tail, 100 - tail]) - resamples.mean() + values[0]
    return float(low), float(high)


def tag_intervals(values: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The interval of each tag, NaN where fewer than five groups have it: too few to draw from.

    Args:
        values: (tags, 1 + resamples).
        labels: bool (images, tags).
        groups: (images,).

    Returns:
        float64 (tags, 2).
    """
    enough = [len(set(groups[column])) >= FEWEST_GROUPS for column in labels.T]
    return np.array([interval(row) if known else (np.nan, np.nan) for row, known in zip(values, enough, strict=True)])
