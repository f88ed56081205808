"""Elementary functions on NumPy arrays."""

from collections.abc import Sequence

import numpy as np


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities of logits.

    Unlike with TensorFlow's sigmoid, the bits of an element's result do not depend on the length of the array.
    """
    with np.errstate(over="ignore"):  # 1 / infinity is 0
        return 1 / (1 + np.exp(-logits))


def log_odds(probability: np.ndarray, floor: float = 1e-7) -> np.ndarray:
    """Return the logits of probabilities, in the same floating-point type.

    Args:
        probability: any shape.
        floor: smallest distance from 0 and from 1; closer values are clipped, so that every logit is finite.
    """
    inside = np.clip(probability, floor, 1 - floor)
    return np.log(inside) - np.log1p(-inside)


def ranks(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the share of values below each value, ties counted half: float64 (values,), between 0 and 1."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return ((np.cumsum(counts) - counts / 2) / len(values))[inverse]


def rescaled_variance(variance: np.ndarray, logit: np.ndarray, temperatures: np.ndarray) -> np.ndarray:
    """Return the variance of probabilities after their logits have been divided by temperatures.

    A small deviation of a probability p changes sigmoid(log-odds(p) / T) by its derivative times the deviation. No
    probability with the mean m has a larger variance than m (1 - m).

    Args:
        variance: at temperature 1, (batch, tags).
        logit: at temperature 1, (batch, tags).
        temperatures: (tags,).
    """
    before, after = (probability * (1 - probability) for probability in (sigmoid(logit), sigmoid(logit / temperatures)))
    slope = after / np.maximum(before, 1e-12) / temperatures
    return np.minimum(variance * slope**2, after)
