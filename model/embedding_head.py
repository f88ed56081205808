"""A regularised logistic regression on embeddings, with what cross-validation expects of it on new pictures.

Targets lie between 0 and 1: 1 where a picture has a tag, or a picture's rank among others, for a fractional regression
(Papke & Wooldridge, J. Appl. Econometrics 11, 1996). How strongly it is regularised decides cross-validation, in which
pictures that look alike are never on both sides. What it says there of pictures that it has not seen gives the figures that
are expected of it, its calibration (Platt, 1999: a slope and an intercept) and its threshold.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from command import InputError
from dataset import duplicates
from dataset.boards.tag_table import ranks
from model import metrics, resampling
from model.calibration import as_probability

FOLDS = 5
INVERSE_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the regularisation, for standardised features
UNREGULARISED = 1e6


@dataclass(frozen=True)
class Examples:
    """Pictures as the trunk sees them.

    Attributes:
        names: what the user calls them.
        features: their embeddings, float32 (pictures, channels).
        thumbnails: of their pixels, see `dataset.duplicates`.
    """

    names: list[str]
    features: np.ndarray
    thumbnails: list[bytes]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, positions: list[int]) -> "Examples":
        """Some of them."""
        names, thumbnails = ([part[position] for position in positions] for part in (self.names, self.thumbnails))
        return Examples(names, self.features[positions], thumbnails)


@dataclass(frozen=True)
class Head:
    """An output, and what is expected of it on new pictures.

    Attributes:
        weights: of the embedding's channels, float32 (channels,), for a logit at temperature 1.
        bias: added to it.
        threshold: the probability from which the tag is given.
        expected: figures by name; those with an interval as [figure, low, high].
    """

    weights: np.ndarray
    bias: float
    threshold: float
    expected: dict


def fit_tag(positives: Examples, negatives: Examples, represented: int) -> Head:
    """An output for a tag, whose threshold has the best F1.

    Args:
        positives, negatives: pictures with and without the tag; of the latter, those that look like one of the former are
            left out.
        represented: how many pictures the negatives are a sample of; 0 if they are all.

    Returns:
        Expected are `auc_roc`, `average_precision`, and `precision` and `recall` at the threshold.

    Raises:
        InputError: too few of them differ.
    """
    number = len(positives)
    groups = _groups([*positives.thumbnails, *negatives.thumbnails])
    kept = np.r_[np.ones(number, bool), ~np.isin(groups[number:], groups[:number])]
    labels, groups = (np.arange(len(kept)) < number)[kept], groups[kept]
    without = "without the tag, and unlike any with it,"
    for what, of in (("with the tag", groups[labels]), (without, groups[~labels])):
        if len(np.unique(of)) < FOLDS:
            raise InputError(f"pictures {what} have to be {FOLDS} different ones at least. Received: {len(np.unique(of))}")
    weights = np.where(labels, 1.0, max(1.0, represented / np.sum(~labels)))
    features = np.concatenate([positives.features, negatives.features])[kept]
    row, bias, probability = _fit(features, labels.astype(float), groups, weights)
    order = np.argsort(probability)
    labels, drawn = labels[order, None], resampling.group_weights(groups[order], 1) * weights[order, None]
    of = drawn * labels, drawn * ~labels  # (pictures, 1 + resamples) each; every picture is a level of its own
    hits, said = (counts[:, 0] for counts in metrics.accepted_from(*of))
    best = int(np.argmax(metrics.f_beta(hits, said, hits[0])))
    expected = {
        "auc_roc": _with_interval(metrics.auc_roc(*of)),
        "average_precision": _with_interval(metrics.average_precision(*of)),
        "precision": float(hits[best] / said[best]),
        "recall": float(hits[best] / hits[0]),
    }
    return Head(row, bias, float(probability[order][best]), expected)


def fit_values(examples: Examples, values: np.ndarray) -> Head:
    """An output that says where a picture ranks by a number: the share of the examples that are below it, from 0 to 1.

    Args:
        values: of the examples, (pictures,).

    Returns:
        Expected are `spearman`, the correlation of ranks, and `rank_error`, the mean distance from the rank. The threshold
        is 0: it is said of every picture.

    Raises:
        InputError: too few of the pictures differ, or all values are the same.
    """
    groups = _groups(examples.thumbnails)
    if len(np.unique(groups)) < 2 * FOLDS or len(np.unique(values)) < 2:
        found = f"{len(np.unique(groups))} pictures and {len(np.unique(values))} values that differ"
        raise InputError(f"{2 * FOLDS} different pictures and two different values at least are needed. Received: {found}")
    rank = ranks(values)
    row, bias, predicted = _fit(examples.features, rank, groups, np.ones(len(rank)))
    expected = {
        "spearman": _with_interval(_correlation(ranks(predicted), rank, resampling.group_weights(groups, 1))),
        "rank_error": float(np.abs(predicted - rank).mean()),
    }
    return Head(row, bias, 0.0, expected)


def _fit(features, targets, groups, weights) -> tuple[np.ndarray, float, np.ndarray]:
    """The regression's weights (channels,) and bias, calibrated, and what it says out of fold (pictures,).

    Args:
        features: (pictures, channels).
        targets: 0 to 1, (pictures,).
        groups: pictures of one are in one fold, (pictures,).
        weights: how many pictures each stands for, (pictures,): they count for the calibration alone.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    features = (features - mean) / deviation
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, targets > 0.5, groups))
    logits, losses = {}, {}
    for strength in INVERSE_STRENGTHS:
        logits[strength] = np.empty(len(targets))
        for seen, held_out in folds:
            model = _regression(features[seen], targets[seen], strength)
            logits[strength][held_out] = model.decision_function(features[held_out])
        losses[strength] = np.mean(np.logaddexp(0, logits[strength]) - targets * logits[strength])
    best = min(losses, key=losses.get)
    # Weights for the pictures that others stand for correct how frequent the tag is, too.
    platt = _regression(logits[best][:, None], targets, UNREGULARISED, weights)
    model, slope = _regression(features, targets, best), float(platt.coef_[0, 0])
    row = slope * model.coef_[0] / deviation
    bias = slope * model.intercept_[0] + platt.intercept_[0] - row @ mean
    return row.astype(np.float32), float(bias), as_probability(platt.decision_function(logits[best][:, None]))


def _regression(features, targets, inverse_strength: float, weights=1.0) -> LogisticRegression:
    """Fitted to targets from 0 to 1: each picture counts as one that is and one that is not, by its target."""
    features, labels = np.concatenate([features, features]), np.repeat([True, False], len(targets))
    shares = np.concatenate([weights * targets, weights * (1 - targets)])
    counted = shares > 0
    model = LogisticRegression(C=inverse_strength, max_iter=1000)
    return model.fit(features[counted], labels[counted], shares[counted])


def _groups(thumbnails: list[bytes]) -> np.ndarray:
    """A number for each picture, the same for those that look alike: (pictures,)."""
    groups = np.arange(len(thumbnails))
    for one, two in duplicates.alike(thumbnails):
        groups[groups == groups[two]] = groups[one]
    return groups


def _correlation(one: np.ndarray, other: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Pearson's correlation of two (pictures,) in each resample of (pictures, 1 + resamples)."""
    sums = np.stack([np.ones(len(one)), one, other, one**2, other**2, one * other]) @ drawn  # (6, 1 + resamples)
    mean, other_mean, square, other_square, product = sums[1:] / sums[0]
    return (product - mean * other_mean) / np.sqrt((square - mean**2) * (other_square - other_mean**2))


def _with_interval(values: np.ndarray) -> list[float]:
    """A figure and its interval, at most 1."""
    low, high = resampling.interval(values)
    return [float(values[0]), low, min(high, 1.0)]
