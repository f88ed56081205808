"""Which labels a person should decide next.

A pair of picture and tag is proposed first where the label is most probably wrong, by Bayes' rule from the label and the
network's probability, and where the tag gains most from it: it is ranked badly and has few labels. On each page of
fifty, a pair counts less the more often its tag is there already, and the more its picture resembles one with that tag.
"""

from dataclasses import dataclass

import numpy as np

from labels.label_rules import NoiseRates, estimate_noise_rates, posterior

PAGE = 50  # questions that are asked together
CANDIDATES_PER_QUESTION = 20  # of the best pairs of a page, from which different ones are chosen
# The run has seen the labels, and makes them look better than they are: the estimated rates are at least these.
LEAST_RATES = NoiseRates(missing=0.05, wrong=0.01)


@dataclass(frozen=True)
class Proposal:
    """A question to a person: does the picture have the tag?

    Attributes:
        picture: position of the picture in the training split.
        tag: index of the tag.
    """

    picture: int
    tag: int


def expected_gain(observed: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return what an answer about each pair is expected to be good for, float32 (pictures, tags).

    It is the probability that the answer changes the label, times the square root of the need of the tag.

    A tag without a label is missing with the predicted probability. Bayes' rule would make it less, because most people do
    not forget their tags; but the run was trained to predict that it is not there, and so predicts too little itself. On
    OpenMoji with 30 % of the labels hidden, nine of ten pairs with 0.3 to 0.5 were hidden labels. A label is wrong with the
    probability of Bayes' rule: low predictions of a rare tag are no sign of a wrong label.

    Args:
        observed: the labels, bool (pictures, tags).
        probability: the predictions, float32 (pictures, tags).
    """
    estimated = estimate_noise_rates(observed, probability)
    rates = NoiseRates(max(estimated.missing, LEAST_RATES.missing), max(estimated.wrong, LEAST_RATES.wrong))
    change = np.where(observed, 1 - posterior(observed, probability, rates), probability)
    return (change * np.sqrt(tag_need(observed, probability))).astype(np.float32)


def tag_need(observed: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return how much each tag needs labels, (tags,); the arguments are those of `expected_gain`.

    It is the share of its ranking that is wrong, 1 - average precision on the training pictures, divided by the square root
    of its number of labels.
    """
    average_precision = np.zeros(observed.shape[1])
    positions = np.arange(1, len(observed) + 1)
    for tag in range(observed.shape[1]):  # one by one: the ranks of all tags at once would not fit in memory
        ranked = observed[np.argsort(-probability[:, tag], kind="stable"), tag]
        average_precision[tag] = np.mean(np.cumsum(ranked)[ranked] / positions[ranked]) if ranked.any() else 0
    return (1.05 - average_precision) / np.sqrt(observed.sum(axis=0) + 1)


def propose(
    observed: np.ndarray, probability: np.ndarray, features: np.ndarray, askable: np.ndarray, number: int
) -> list[Proposal]:
    """Return the pairs that a person should decide next, the most useful page first.

    Args:
        observed, probability: as for `expected_gain`.
        features: embeddings of length 1, (pictures, channels).
        askable: which pairs may be proposed, bool (pictures, tags): not those that people have decided, nor numbers.
        number: largest number of proposals.
    """
    gain = np.where(askable, expected_gain(observed, probability), 0)
    proposals: list[Proposal] = []
    # Later pages take what earlier ones left, so that candidates for all of them are found at once.
    total = min(int(np.count_nonzero(gain)), number + CANDIDATES_PER_QUESTION * PAGE)
    lowest = np.partition(gain, gain.size - total, axis=None)[-total] if total else np.inf
    best = np.flatnonzero(gain >= lowest)
    remaining = best[np.lexsort((best, -gain.ravel()[best]))][:total]
    while len(proposals) < number and len(remaining):
        candidates = remaining[: CANDIDATES_PER_QUESTION * PAGE]
        pictures, tags = np.unravel_index(candidates, gain.shape)
        chosen = choose_different(gain.ravel()[candidates], tags, features[pictures], min(PAGE, number - len(proposals)))
        proposals += [Proposal(int(pictures[position]), int(tags[position])) for position in chosen]
        remaining = np.concatenate([np.delete(candidates, chosen), remaining[len(candidates) :]])
    return proposals


def choose_different(gain: np.ndarray, tags: np.ndarray, features: np.ndarray, number: int) -> list[int]:
    """Return the positions of the candidates with the largest gain, which falls with each similar one that is chosen.

    Args:
        gain: of each candidate, (candidates,).
        tags: index of its tag, (candidates,).
        features: embedding of its picture, of length 1, (candidates, channels).
        number: how many are chosen.
    """
    features = features.astype(np.float32)
    gain, similarity, times = gain.copy(), np.zeros(len(gain)), np.zeros(len(gain))
    chosen: list[int] = []
    for _ in range(min(number, len(gain))):
        position = int(np.argmax(gain * (1 - similarity) / (1 + times)))
        chosen.append(position)
        gain[position] = -1
        same = np.flatnonzero(tags == tags[position])
        times[same] += 1
        similarity[same] = np.maximum(similarity[same], np.clip(features[same] @ features[position], 0, 0.99))
    return chosen
