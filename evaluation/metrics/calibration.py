"""Temperature and thresholds, fitted on the validation split alone.

Temperature (Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599): one number divides every logit, so
that probabilities match frequencies. It changes no order within an image or a tag.

Thresholds: the best threshold of a tag alone is shrunk, as log-odds, towards the best one for all tags together:

    (positives · own + shrinkage · global) / (positives + shrinkage),

because the best threshold of a tag with two positives depends on chance. Cross-validation over the groups of the validation
split selects the shrinkage. Infinite shrinkage, which is the global threshold for every tag, is among the candidates.
"""

from dataclasses import dataclass

import numpy as np

from common.errors import InputError
from common.mapped_arrays import read_rows
from common.numbers import log_odds, sigmoid
from evaluation.metrics import metrics
from evaluation.metrics.micro_counts import blocks, column_blocks, columns

CANDIDATE_LOGITS = np.linspace(-8, 8, 257)  # thresholds to choose from
CANDIDATE_SHRINKAGES = (2.0, 8.0, 32.0, np.inf)
CANDIDATE_TEMPERATURES = np.exp(np.linspace(-1.4, 1.4, 281))
FOLDS = 5
DISTANCE_PENALTY = 1e-6  # among equally good thresholds, prefers the one nearest to the global threshold


@dataclass(frozen=True)
class Target:
    """What the thresholds are chosen for.

    Attributes:
        name: `f1` (as high as possible), `precision` or `recall` (at least the floor, the other as high as possible).
        floor: the lowest precision or recall; 0 for `f1`.
    """

    name: str
    floor: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Parse `f1`, `precision=0.9` or `recall=0.8`.

        Raises:
            InputError: the text is something else.
        """
        name, _, floor = text.partition("=")
        try:
            if (name == "f1" and not floor) or (name in ("precision", "recall") and 0 < float(floor) <= 1):
                return cls(name, float(floor or 0))
        except ValueError:
            pass
        raise InputError(f"--target must be f1, precision=P or recall=R, with a number up to 1. Received: {text!r}")

    def __str__(self) -> str:
        return self.name if self.name == "f1" else f"{self.name}={self.floor:g}"

    def objective(self, true_positives: np.ndarray, predicted: np.ndarray, positives: np.ndarray) -> np.ndarray:
        """Return what the thresholds maximise, from counts. It is negative where the floor is missed."""
        if self.name == "f1":
            return metrics.f_beta(true_positives, predicted, positives)
        bounded, other = metrics.precision(true_positives, predicted), metrics.recall(true_positives, positives)
        if self.name == "recall":
            bounded, other = other, bounded
        return np.where(bounded >= self.floor, other, bounded - 1)

    def objective_over_tags(self, true_positives: np.ndarray, predicted: np.ndarray, positives: np.ndarray) -> np.ndarray:
        """Return the objective of all tags together, (tags, …) ▶ (…): macro F1, or from pooled precision and recall."""
        if self.name == "f1":
            counted = positives > 0
            return metrics.mean_over_tags(np.where(counted, self.objective(true_positives, predicted, positives), np.nan))
        return self.objective(true_positives.sum(axis=0), predicted.sum(axis=0), positives.sum(axis=0))


@dataclass(frozen=True)
class Calibration:
    """Temperature and thresholds, and how they were chosen.

    Attributes:
        temperature: divides logits.
        thresholds: the probability, at that temperature, from which a tag is predicted, float64 (tags,).
        global_threshold: the one threshold that is best for all tags together.
        shrinkage: the number of positives at which a tag's own threshold and the global one count equally; infinite: the
            global threshold for every tag.
        cross_validated: shrinkage ▶ objective in cross-validation: macro F1, or for a floor the other figure (where the
            floor is missed: the bounded figure minus 1, which is negative).
        target: what the thresholds are chosen for.
    """

    temperature: float
    thresholds: np.ndarray
    global_threshold: float
    shrinkage: float
    cross_validated: dict[float, float]
    target: Target

    def facts(self) -> dict:
        """Return all but the tags' thresholds, for `calibration.json`."""
        return {
            "target": str(self.target),
            "temperature": self.temperature,
            "global_threshold": self.global_threshold,
            "strength": _text(self.shrinkage),  # the key of earlier versions
            "cross_validated": {_text(shrinkage): value for shrinkage, value in self.cross_validated.items()},
        }


def default_calibration(num_tags: int, target: Target) -> Calibration:
    """Return a threshold of one half for every tag, for a run without a validation split or without a positive in it."""
    return Calibration(1.0, np.full(num_tags, 0.5), 0.5, np.inf, {}, target)


def fit(labels: np.ndarray, probability: np.ndarray, groups: np.ndarray, target: Target) -> Calibration:
    """Fit temperature and thresholds.

    Args:
        labels: bool (images, tags), of the validation split.
        probability: float (images, tags), at temperature 1.
        groups: (images,), variants of one picture.
        target: what the thresholds are chosen for.
    """
    metrics.check(labels, probability)
    if not any(read_rows(rows, labels)[0].any() for rows in blocks(*labels.shape)):
        return default_calibration(labels.shape[1], target)
    temperature = fit_temperature(labels, probability)
    _, number = np.unique(groups, return_inverse=True)
    folds = np.random.default_rng(0).permutation(number.max() + 1)[number] % FOLDS
    true_positives, predicted = _counts_by_fold(labels, probability, temperature, folds)
    cross_validated = _cross_validate(true_positives, predicted, target)
    shrinkage = max(cross_validated, key=cross_validated.__getitem__)  # among equals, the first and smallest
    chosen, best_for_all = _choose(true_positives.sum(axis=0), predicted.sum(axis=0), target)
    thresholds = sigmoid(CANDIDATE_LOGITS[chosen[shrinkage]])
    global_threshold = float(sigmoid(CANDIDATE_LOGITS[best_for_all]))
    return Calibration(temperature, thresholds, global_threshold, shrinkage, cross_validated, target)


def fit_temperature(labels: np.ndarray, probability: np.ndarray) -> float:
    """Return the temperature, to 1 %, with the highest likelihood of the labels."""
    edges = np.linspace(-17, 17, 2**14)
    total, positives = (np.zeros(len(edges) + 1, np.int64) for _ in range(2))
    for rows in blocks(*labels.shape):
        truth, scores = read_rows(rows, labels, probability)
        level = np.searchsorted(edges, log_odds(scores))
        total += np.bincount(level.ravel(), minlength=len(total))
        positives += np.bincount(level[truth], minlength=len(total))
    centres = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    losses = [
        np.sum(total * np.logaddexp(0, centres / value) - positives * centres / value) for value in CANDIDATE_TEMPERATURES
    ]
    return float(CANDIDATE_TEMPERATURES[np.argmin(losses)])


def _counts_by_fold(
    labels: np.ndarray, probability: np.ndarray, temperature: float, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return true positives and predicted, each int (folds, tags, thresholds + 1): without a threshold, then at each one."""
    num_tags, num_levels = labels.shape[1], len(CANDIDATE_LOGITS) + 1
    counts = np.zeros((2, FOLDS, num_tags, num_levels), np.int32)
    for tags in column_blocks(*labels.shape):
        truth, scores = columns(labels, tags), columns(probability, tags)  # (tags of the block, images)
        level = np.searchsorted(CANDIDATE_LOGITS, log_odds(scores) / temperature, "right")
        level += num_levels * np.arange(len(level))[:, None]
        for fold in range(FOLDS):
            of_fold = folds == fold
            for index, chosen in enumerate((level[:, of_fold][truth[:, of_fold]], level[:, of_fold].ravel())):
                sums = np.bincount(chosen, minlength=len(level) * num_levels)
                counts[index, fold, tags] = sums.reshape(len(level), num_levels)
    # Level n lies between the thresholds n - 1 and n: sums from level n up are what threshold n - 1 accepts.
    return tuple(np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1])


def _choose(true_positives: np.ndarray, predicted: np.ndarray, target: Target) -> tuple[dict[float, np.ndarray], int]:
    """Choose positions in `CANDIDATE_LOGITS` from counts (tags, thresholds + 1).

    Returns:
        Shrinkage ▶ a position for each tag, int (tags,), and the best position for all tags together.
    """
    positives = true_positives[:, :1]
    true_positives, predicted = true_positives[:, 1:], predicted[:, 1:]
    positives_of_all = np.broadcast_to(positives, true_positives.shape)
    best_for_all = int(np.argmax(target.objective_over_tags(true_positives, predicted, positives_of_all)))
    penalty = np.abs(np.arange(len(CANDIDATE_LOGITS)) - best_for_all) * DISTANCE_PENALTY
    own = np.argmax(target.objective(true_positives, predicted, positives) - penalty, axis=1)
    positions = {}
    for shrinkage in CANDIDATE_SHRINKAGES:
        weight = positives[:, 0] / (positives[:, 0] + shrinkage)
        positions[shrinkage] = np.rint(best_for_all + weight * (own - best_for_all)).astype(int)
    return positions, best_for_all


def _cross_validate(true_positives: np.ndarray, predicted: np.ndarray, target: Target) -> dict[float, float]:
    """Return, for each shrinkage, the objective of the decisions on each fold with thresholds chosen on the other folds."""
    tags = np.arange(true_positives.shape[1])
    sums = {shrinkage: np.zeros((2, len(tags))) for shrinkage in CANDIDATE_SHRINKAGES}
    for fold in range(FOLDS):
        others_true, others_predicted = (counts.sum(axis=0) - counts[fold] for counts in (true_positives, predicted))
        chosen, _ = _choose(others_true, others_predicted, target)
        for shrinkage, positions in chosen.items():
            sums[shrinkage] += true_positives[fold, tags, positions + 1], predicted[fold, tags, positions + 1]
    positives = true_positives[:, :, 0].sum(axis=0)
    return {
        shrinkage: float(target.objective_over_tags(accepted_with_tag, accepted, positives))
        for shrinkage, (accepted_with_tag, accepted) in sums.items()
    }


def _text(shrinkage: float) -> str:
    return f"{shrinkage:g}"
