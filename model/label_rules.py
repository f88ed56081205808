"""Soft labels, from the labels that people gave and what networks say of the pictures.

In all of this, `given` is bool and `probability` float32, both (pictures, tags), and the labels that come out are float32 of
the same shape, 0 to 1.
"""

from dataclasses import dataclass

import numpy as np

RULES = ("posterior", "halved")
CONFIDENT = 0.75  # probability from which the published rule adds a tag
PARTS = 20  # of the pairs, of equal weight, in which mistakes are counted
MOST = 0.5  # share of mistakes that is believed: a network that is never sure makes all look like mistakes
MOST_PAIRS = 2 * 10**7  # of picture and tag, that are counted
FLOOR = 1e-6


def halved(given: np.ndarray, probability: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The published rule: a label below its tag's threshold counts half; a confident tag without label gets its probability.

    Args:
        given, probability: see the top of this file.
        thresholds: (tags,).
    """
    kept = np.where(probability >= thresholds, np.float32(1), np.float32(0.5))
    return np.where(given, kept, np.where(probability >= CONFIDENT, probability, np.float32(0)))


@dataclass(frozen=True)
class Mistakes:
    """How often people are taken to be wrong.

    Attributes:
        missing: share of the tags of pictures that were not given.
        wrong: share of the given tags that are not the picture's.
    """

    missing: float
    wrong: float


def mistakes(given: np.ndarray, probability: np.ndarray) -> Mistakes:
    """Estimate how often people are wrong, where a network is surest (Liu & Tao, arXiv 1411.7718).

    Where it is sure of a tag, all labels that lack are missing; where it is sure that a tag is not there, all labels are
    wrong. Both shares are therefore at most what they are in any part of the pairs: the smallest is taken, of twenty
    parts, and at most a half. Pairs of all tags are pooled, since a tag has too few.

    Args:
        given, probability: see the top of this file; the probability from networks that have not seen these labels.
    """
    step = -(-given.size // MOST_PAIRS)
    given, probability = given[::step], probability[::step]
    frequency = given.mean(axis=0, dtype=np.float64).clip(FLOOR, 1 - FLOOR)
    part = _parts(probability, probability)
    missing = 1 - max(np.bincount(part, given.ravel()) / np.bincount(part))
    by_chance = np.broadcast_to(frequency / (1 - frequency), given.shape)  # wrong labels, were all of a tag's wrong
    part = _parts(-probability / frequency, by_chance)
    wrong = min(np.bincount(part, given.ravel()) / np.bincount(part, by_chance.ravel()))
    return Mistakes(float(np.clip(missing, 0, MOST)), float(np.clip(wrong, 0, MOST)))


def _parts(order: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The number of the part that each pair is in, (pairs,): parts of equal weight, from the highest in order on."""
    positions = np.argsort(-order, axis=None, kind="stable")
    running = np.cumsum(weight.ravel()[positions], dtype=np.float64)
    part = np.empty(len(positions), np.int64)
    part[positions] = np.minimum(running / running[-1] * PARTS, PARTS - 1)
    return np.unique(part, return_inverse=True)[1]  # without those that no pair is in


def posterior(given: np.ndarray, probability: np.ndarray, rates: Mistakes) -> np.ndarray:
    """The probability that a tag is the picture's, after what networks and people say of it, by Bayes' rule.

    A tag of a picture is given but for the share that is missing; one that is not its own is given as often as makes the
    share that is wrong, in proportion to the tag's frequency. What the networks say is taken as the probability before one
    looks at the label, though they have learned people's mistakes too: a network that knew everything would have to be
    corrected for them (Natarajan et al., NeurIPS 2013), but real ones are further from the truth after it.

    Args:
        given, probability: see the top of this file; the probability from networks that have not seen these labels.
        rates: of people's mistakes.
    """
    frequency = given.mean(axis=0, dtype=np.float32).clip(FLOOR, 1 - FLOOR)
    true_frequency = np.clip(frequency * (1 - rates.wrong) / max(1 - rates.missing, FLOOR), FLOOR, 1 - FLOOR)
    named = np.float32(1 - rates.missing)  # how often a tag of the picture is given
    misnamed = np.minimum(rates.wrong * frequency / (1 - true_frequency), named)  # and one that is not its own; (tags,)
    if_true = probability * np.where(given, named, 1 - named)
    if_false = (1 - probability) * np.where(given, misnamed, 1 - misnamed)
    # Without mistakes both are 0 where network and label disagree entirely: the label counts.
    return np.where(if_true + if_false > 0, if_true / np.maximum(if_true + if_false, 1e-30), given)
