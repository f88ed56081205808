"""Temperature and thresholds, fitted on the validation split alone.

Temperature (Guo et al., "On Calibration of Modern Neural Networks", arXiv 1706.04599): one number divides every logit, so
that probabilities are frequencies; it changes no order within an image or a tag.

Thresholds: each tag's own best one, drawn towards the one that is best for all tags at once, as log-odds, by

    (positives · own + strength · global) / (positives + strength),

because the own one of a tag with two positives is an accident. The strength is the one that decides best in cross-validation
over the groups of the validation split; an infinite one, which is the global threshold for every tag, is among them.
"""

from dataclasses import dataclass

import numpy as np

from command import InputError
from model import metrics

LOG_ODDS = np.linspace(-8, 8, 257)  # thresholds to choose from
STRENGTHS = (2.0, 8.0, 32.0, np.inf)
FOLDS = 5
TEMPERATURES = np.exp(np.linspace(-1.4, 1.4, 281))
TOWARDS_GLOBAL = 1e-6  # of thresholds that are equally good, the one next to the global one


@dataclass(frozen=True)
class Target:
    """What thresholds are for.

    Attributes:
        name: `f1` (as high as possible), `precision` or `recall` (no lower than the floor, the other as high as possible).
        floor: for the latter two.
    """

    name: str
    floor: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read `f1`, `precision=0.9` or `recall=0.8`.

        Raises:
            InputError: it is none of them.
        """
        name, _, floor = text.partition("=")
        try:
            if (name == "f1" and not floor) or (name in ("precision", "recall") and 0 < float(floor) <= 1):
                return cls(name, float(floor or 0))
        except ValueError:
            pass
        raise InputError(f"--target has to be f1, precision=0.9 or recall=0.8, or with another floor. Received: {text!r}")

    def __str__(self) -> str:
        return self.name if self.name == "f1" else f"{self.name}={self.floor:g}"

    def worth(self, hits: np.ndarray, said: np.ndarray, positives: np.ndarray) -> np.ndarray:
        """How well decisions serve this target, from counts; decisions that miss the floor come after all that reach it."""
        if self.name == "f1":
            return metrics.f_beta(hits, said, positives)
        held, other = metrics.precision(hits, said), metrics.recall(hits, positives)
        if self.name == "recall":
            held, other = other, held
        return np.where(held >= self.floor, other, held - 1)

    def worth_of_all(self, hits: np.ndarray, said: np.ndarray, positives: np.ndarray) -> np.ndarray:
        """The same of all tags together, (tags, …) ▶ (…): macro F1, or pooled precision and recall."""
        if self.name == "f1":
            counted = positives > 0
            return metrics.mean_over_tags(np.where(counted, self.worth(hits, said, positives), np.nan))
        return self.worth(hits.sum(axis=0), said.sum(axis=0), positives.sum(axis=0))


@dataclass(frozen=True)
class Calibration:
    """What was fitted.

    Attributes:
        temperature: divides logits.
        thresholds: the probability, at that temperature, from which a tag is given, float64 (tags,).
        global_threshold: the one that is best for all tags at once.
        strength: how many positives the global threshold counts as much as; infinite where it is every tag's.
        worth: strength ▶ macro F1 (for a floor: the other figure, or, if the floor is missed, by how much) in
            cross-validation.
        target: what the thresholds are for.
    """

    temperature: float
    thresholds: np.ndarray
    global_threshold: float
    strength: float
    worth: dict[float, float]
    target: Target

    def facts(self) -> dict:
        """All but the thresholds of the tags, for `calibration.json`."""
        return {
            "target": str(self.target),
            "temperature": self.temperature,
            "global_threshold": self.global_threshold,
            "strength": _text(self.strength),
            "cross_validated": {_text(strength): value for strength, value in self.worth.items()},
        }


def nothing_known(num_tags: int, target: Target) -> Calibration:
    """Where there is no validation split, or no positive in it: one half for all."""
    return Calibration(1.0, np.full(num_tags, 0.5), 0.5, np.inf, {}, target)


def fit(labels: np.ndarray, probability: np.ndarray, groups: np.ndarray, target: Target) -> Calibration:
    """Fit temperature and thresholds.

    Args:
        labels: bool (images, tags), of the validation split.
        probability: float (images, tags), at temperature 1.
        groups: (images,), variants of one picture.
        target: what the thresholds are for.
    """
    metrics.check(labels, probability)
    if not labels.any():
        return nothing_known(labels.shape[1], target)
    temperature = fit_temperature(labels, probability)
    _, number = np.unique(groups, return_inverse=True)
    folds = np.random.default_rng(0).permutation(number.max() + 1)[number] % FOLDS
    # What is accepted at each threshold, by fold: (folds, tags, thresholds).
    hits, said = _counts_by_fold(labels, log_odds(probability) / temperature, folds)
    worth = _cross_validate(hits, said, target)
    strength = max(worth, key=worth.get)  # of equals, the first and weakest
    chosen, best_of_all = _choose(hits.sum(axis=0), said.sum(axis=0), target)
    thresholds = as_probability(LOG_ODDS[chosen[strength]])
    return Calibration(temperature, thresholds, float(as_probability(LOG_ODDS[best_of_all])), strength, worth, target)


def fit_temperature(labels: np.ndarray, probability: np.ndarray) -> float:
    """The temperature, to 1 %, at which the labels are likeliest."""
    edges = np.linspace(-17, 17, 2**14)
    level = np.searchsorted(edges, log_odds(probability))
    total, positives = (np.bincount(part, minlength=len(edges) + 1) for part in (level.ravel(), level[labels]))
    centres = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    losses = [np.sum(total * np.logaddexp(0, centres / value) - positives * centres / value) for value in TEMPERATURES]
    return float(TEMPERATURES[np.argmin(losses)])


def log_odds(probability: np.ndarray) -> np.ndarray:
    """float32 log-odds, finite where the probability was rounded to 0 or 1."""
    clipped = np.clip(probability, 1e-7, 1 - 1e-7, dtype=np.float32)
    return np.log(clipped) - np.log1p(-clipped)


def as_probability(logits: np.ndarray) -> np.ndarray:
    """The sigmoid. NumPy's, unlike TensorFlow's, gives an element the same bits whatever the array's length."""
    with np.errstate(over="ignore"):  # 1 / infinity is 0
        return 1 / (1 + np.exp(-logits))


def _counts_by_fold(labels: np.ndarray, logits: np.ndarray, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    num_tags, levels = labels.shape[1], len(LOG_ODDS) + 1
    level = np.searchsorted(LOG_ODDS, logits, "right") + levels * np.arange(num_tags)
    counts = np.zeros((2, FOLDS, num_tags, levels), np.int32)
    for fold in range(FOLDS):
        rows = folds == fold
        for index, chosen in enumerate((level[rows][labels[rows]], level[rows].ravel())):
            counts[index, fold] = np.bincount(chosen, minlength=num_tags * levels).reshape(num_tags, levels)
    # From a level up; nothing but levels above a threshold's own number is accepted.
    return tuple(np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1])


def _choose(hits: np.ndarray, said: np.ndarray, target: Target) -> tuple[dict[float, np.ndarray], int]:
    """Positions in `LOG_ODDS` from counts (tags, thresholds + 1): strength ▶ one for each tag; and one for all."""
    positives = hits[:, :1]
    hits, said = hits[:, 1:], said[:, 1:]
    best_of_all = int(np.argmax(target.worth_of_all(hits, said, np.broadcast_to(positives, hits.shape))))
    distance = np.abs(np.arange(len(LOG_ODDS)) - best_of_all) * TOWARDS_GLOBAL
    own = np.argmax(target.worth(hits, said, positives) - distance, axis=1)
    trust = {strength: positives[:, 0] / (positives[:, 0] + strength) for strength in STRENGTHS}
    drawn = {strength: best_of_all + share * (own - best_of_all) for strength, share in trust.items()}
    return {strength: np.rint(position).astype(int) for strength, position in drawn.items()}, best_of_all


def _cross_validate(hits: np.ndarray, said: np.ndarray, target: Target) -> dict[float, float]:
    """Strength ▶ worth of the decisions about each fold, with thresholds chosen on the others."""
    tags = np.arange(hits.shape[1])
    outcomes = {strength: np.zeros((2, len(tags))) for strength in STRENGTHS}
    for fold in range(FOLDS):
        chosen, _ = _choose(hits.sum(axis=0) - hits[fold], said.sum(axis=0) - said[fold], target)
        for strength, positions in chosen.items():
            outcomes[strength] += hits[fold, tags, positions + 1], said[fold, tags, positions + 1]
    positives = hits[:, :, 0].sum(axis=0)
    return {strength: float(target.worth_of_all(*counts, positives)) for strength, counts in outcomes.items()}


def _text(strength: float) -> str:
    return f"{strength:g}"
