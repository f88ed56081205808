"""Rules that compute soft labels from people's labels and the predictions of networks.

In all functions, `observed` holds people's labels, bool (pictures, tags), and `probability` the predictions, float32
(pictures, tags). The soft labels are float32 (pictures, tags), from 0 to 1.
"""

from dataclasses import dataclass

import numpy as np

RULES = ("posterior", "halved")
CONFIDENT = 0.75  # probability from which the published rule adds a tag
BINS = 20  # bins of equal weight in which mistakes are counted
MAX_RATE = 0.5  # largest estimated rate of mistakes: to a network that is never certain, all labels look like mistakes
MAX_PAIRS = 2 * 10**7  # pairs of picture and tag in the estimate
EPSILON = 1e-6


def halved(observed: np.ndarray, probability: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Apply the published rule of e6tag.

    A label whose probability is below its tag's threshold counts half. A tag without a label gets its probability as the
    label if that is at least `CONFIDENT`.

    Args:
        observed, probability: see the top of this file.
        thresholds: float32 (tags,).

    Returns:
        The soft labels.
    """
    labelled = np.where(probability >= thresholds, np.float32(1), np.float32(0.5))
    return np.where(observed, labelled, np.where(probability >= CONFIDENT, probability, np.float32(0)))


@dataclass(frozen=True)
class NoiseRates:
    """Estimated rates of mistakes in people's labels.

    Attributes:
        missing: share of the pictures' true tags that have no label.
        wrong: share of the labels whose tag is not true.
    """

    missing: float
    wrong: float


def estimate_noise_rates(observed: np.ndarray, probability: np.ndarray) -> NoiseRates:
    """Estimate the rates of mistakes from the predictions of which networks are most certain (Liu & Tao, arXiv 1411.7718).

    Where a network is certain of a tag, every absent label is missing; where it is certain that the tag is not there, every
    label is wrong. Less certain predictions only add correct absences or labels. So each rate is at most the share of
    absent labels, or of labels, in any bin of pairs: the estimate is the smallest share of `BINS` bins, and at most
    `MAX_RATE`. Pairs of all tags are pooled, because a single tag has too few.

    Args:
        observed, probability: see the top of this file; the networks must not have been trained on these labels.
    """
    step = -(-observed.size // MAX_PAIRS)
    observed, probability = observed[::step], probability[::step]
    frequency = observed.mean(axis=0, dtype=np.float64).clip(EPSILON, 1 - EPSILON)
    bins = _bins(probability, probability)
    missing = 1 - max(np.bincount(bins, observed.ravel()) / np.bincount(bins))
    by_chance = np.broadcast_to(frequency / (1 - frequency), observed.shape)  # wrong labels if all labels were wrong
    bins = _bins(-probability / frequency, by_chance)
    wrong = min(np.bincount(bins, observed.ravel()) / np.bincount(bins, by_chance.ravel()))
    return NoiseRates(float(np.clip(missing, 0, MAX_RATE)), float(np.clip(wrong, 0, MAX_RATE)))


def _bins(sort_key: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The bin of each pair, int (pairs,). All bins have the same weight; the first has the largest sort keys."""
    positions = np.argsort(-sort_key, axis=None, kind="stable")
    running = np.cumsum(weight.ravel()[positions], dtype=np.float64)
    bins = np.empty(len(positions), np.int64)
    bins[positions] = np.minimum(running / running[-1] * BINS, BINS - 1)
    return np.unique(bins, return_inverse=True)[1]  # renumbered without empty bins


def posterior(observed: np.ndarray, probability: np.ndarray, rates: NoiseRates) -> np.ndarray:
    """Compute the probability that a tag is true from the predictions and people's labels, by Bayes' rule.

    The prior is the prediction. People label a true tag with probability 1 - `rates.missing`. They label a false one with a
    probability proportional to the tag's frequency, such that `rates.wrong` of all labels are wrong. Predictions are not
    corrected for the mistakes that networks learn from people (Natarajan et al., NeurIPS 2013): that is right for a perfect
    network, but with real ones it made the labels worse.

    Args:
        observed, probability: see the top of this file; the networks must not have been trained on these labels.
        rates: rates of people's mistakes.

    Returns:
        The soft labels.
    """
    frequency = observed.mean(axis=0, dtype=np.float32).clip(EPSILON, 1 - EPSILON)
    true_frequency = np.clip(frequency * (1 - rates.wrong) / max(1 - rates.missing, EPSILON), EPSILON, 1 - EPSILON)
    true_rate = np.float32(1 - rates.missing)  # P(label | true tag)
    false_rate = np.minimum(rates.wrong * frequency / (1 - true_frequency), true_rate)  # P(label | false tag), (tags,)
    if_true = probability * np.where(observed, true_rate, 1 - true_rate)
    if_false = (1 - probability) * np.where(observed, false_rate, 1 - false_rate)
    # Without mistakes, both are 0 where network and label contradict each other with certainty: the label counts.
    return np.where(if_true + if_false > 0, if_true / np.maximum(if_true + if_false, 1e-30), observed)
