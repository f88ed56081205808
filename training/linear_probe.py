"""A regularised logistic regression on embeddings, with its expected figures on new pictures from cross-validation.

Targets are between 0 and 1: 1 if a picture has a tag, or the rank of a picture among others, for a fractional regression
(Papke & Wooldridge, J. Appl. Econometrics 11, 1996). Cross-validation selects the regularisation, with near-duplicates
always in the same fold. Its out-of-fold predictions also give the expected figures, the calibration (a slope and an
intercept; Platt, 1999) and the threshold.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from common.errors import InputError
from common.numbers import ranks, sigmoid
from dataset import near_duplicates
from evaluation.metrics import bootstrap, metrics

FOLDS = 5
INVERSE_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C, for standardised features
UNREGULARISED = 1e6


@dataclass(frozen=True)
class Examples:
    """Pictures with their embeddings.

    Attributes:
        names: their names, for messages.
        features: their embeddings, float32 (pictures, channels).
        thumbnails: small versions that show near-duplicates, see `dataset.near_duplicates`.
    """

    names: list[str]
    features: np.ndarray
    thumbnails: list[bytes]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, positions: list[int]) -> "Examples":
        """Return the examples at some positions."""
        names = [self.names[position] for position in positions]
        return Examples(names, self.features[positions], [self.thumbnails[position] for position in positions])


@dataclass(frozen=True)
class Head:
    """A linear output on the embedding, with its expected figures on new pictures.

    Attributes:
        weights: weights of the embedding's channels, float32 (channels,), for a logit at temperature 1.
        bias: added to the logit.
        threshold: the lowest probability of the tag when predicted.
        expected: expected figures by name; those with an interval as [figure, low, high].
    """

    weights: np.ndarray
    bias: float
    threshold: float
    expected: dict


def fit_tag(positives: Examples, negatives: Examples, represented: int) -> Head:
    """Fit an output for a tag. Its threshold has the best F1.

    Args:
        positives: pictures with the tag.
        negatives: pictures without the tag; near-duplicates of positives are left out.
        represented: number of pictures of which the negatives are a sample; 0 if they are not a sample.

    Returns:
        The output. Its expected figures are `auc_roc`, `average_precision`, and `precision` and `recall` at the threshold.

    Raises:
        InputError: there are too few different pictures.
    """
    number = len(positives)
    groups = _near_duplicate_groups([*positives.thumbnails, *negatives.thumbnails])
    kept = np.r_[np.ones(number, bool), ~np.isin(groups[number:], groups[:number])]
    labels, groups = (np.arange(len(kept)) < number)[kept], groups[kept]
    sides = {"with the tag": groups[labels], "without the tag that resemble none with it": groups[~labels]}
    for side, members in sides.items():
        if (different := len(np.unique(members))) < FOLDS:
            raise InputError(f"at least {FOLDS} different pictures {side} are needed. Received: {different}")
    weights = np.where(labels, 1.0, max(1.0, represented / np.sum(~labels)))
    features = np.concatenate([positives.features, negatives.features])[kept]
    coefficients, bias, probability = _fit(features, labels.astype(float), groups, weights)
    order = np.argsort(probability)
    labels, drawn = labels[order, None], bootstrap.group_weights(groups[order], 1) * weights[order, None]
    # Positives and negatives at each score, (pictures, 1 + resamples); every picture counts as a score of its own.
    counts = drawn * labels, drawn * ~labels
    true_positives, predicted = (values[:, 0] for values in metrics.cumulative_counts(*counts))
    best = int(np.argmax(metrics.f_beta(true_positives, predicted, true_positives[0])))
    expected = {
        "auc_roc": _with_interval(metrics.auc_roc(*counts)),
        "average_precision": _with_interval(metrics.average_precision(*counts)),
        "precision": float(true_positives[best] / predicted[best]),
        "recall": float(true_positives[best] / true_positives[0]),
    }
    return Head(coefficients, bias, float(probability[order][best]), expected)


def fit_values(examples: Examples, values: np.ndarray) -> Head:
    """Fit an output for a number. It predicts the rank of a picture: the fraction of the examples with a lower number.

    Args:
        examples: the pictures.
        values: the number of each, (pictures,).

    Returns:
        The output. Its expected figures are `spearman`, the correlation of ranks, and `rank_error`, the mean distance from
        the rank. The threshold is 0: the number is predicted for every picture.

    Raises:
        InputError: there are too few different pictures, or all values are equal.
    """
    groups = _near_duplicate_groups(examples.thumbnails)
    if len(np.unique(groups)) < 2 * FOLDS or len(np.unique(values)) < 2:
        received = f"{len(np.unique(groups))} pictures and {len(np.unique(values))} values"
        raise InputError(f"at least {2 * FOLDS} different pictures and 2 different values are needed. Received: {received}")
    rank = ranks(values)
    coefficients, bias, predicted = _fit(examples.features, rank, groups, np.ones(len(rank)))
    expected = {
        "spearman": _with_interval(_correlation(ranks(predicted), rank, bootstrap.group_weights(groups, 1))),
        "rank_error": float(np.abs(predicted - rank).mean()),
    }
    return Head(coefficients, bias, 0.0, expected)


def _fit(features, targets, groups, weights) -> tuple[np.ndarray, float, np.ndarray]:
    """Fit a calibrated regression; return its coefficients (channels,), bias and out-of-fold predictions (pictures,).

    Args:
        features: (pictures, channels).
        targets: 0 to 1, (pictures,).
        groups: pictures of a group are in the same fold, (pictures,).
        weights: number of pictures that each represents, (pictures,); only the calibration uses them.
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    features = (features - mean) / deviation
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, targets > 0.5, groups))
    logits, losses = {}, {}
    for penalty in INVERSE_PENALTIES:
        logits[penalty] = np.empty(len(targets))
        for training, held_out in folds:
            model = _regression(features[training], targets[training], penalty)
            logits[penalty][held_out] = model.decision_function(features[held_out])
        losses[penalty] = np.mean(np.logaddexp(0, logits[penalty]) - targets * logits[penalty])
    best = min(losses, key=losses.__getitem__)
    # With these weights, the predicted frequency of the tag is that among all represented pictures.
    platt = _regression(logits[best][:, None], targets, UNREGULARISED, weights)
    model, slope = _regression(features, targets, best), float(platt.coef_[0, 0])
    coefficients = slope * model.coef_[0] / deviation
    bias = slope * model.intercept_[0] + platt.intercept_[0] - coefficients @ mean
    return coefficients.astype(np.float32), float(bias), sigmoid(platt.decision_function(logits[best][:, None]))


def _regression(features, targets, inverse_penalty: float, weights=1.0) -> LogisticRegression:
    """Fit targets from 0 to 1: each picture is a positive with its target as weight, and a negative with the rest."""
    features, labels = np.concatenate([features, features]), np.repeat([True, False], len(targets))
    weights = np.concatenate([weights * targets, weights * (1 - targets)])  # (2 · pictures,)
    counted = weights > 0
    model = LogisticRegression(C=inverse_penalty, max_iter=1000)
    return model.fit(features[counted], labels[counted], weights[counted])


def _near_duplicate_groups(thumbnails: list[bytes]) -> np.ndarray:
    """Return a number for each picture, (pictures,), which near-duplicates share."""
    groups = np.arange(len(thumbnails))
    for one, two in near_duplicates.near_duplicate_pairs(thumbnails):
        groups[groups == groups[two]] = groups[one]
    return groups


def _correlation(one: np.ndarray, other: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation of two vectors (pictures,) in each resample of (pictures, 1 + resamples)."""
    sums = np.stack([np.ones(len(one)), one, other, one**2, other**2, one * other]) @ drawn  # (6, 1 + resamples)
    mean, other_mean, square, other_square, product = sums[1:] / sums[0]
    return (product - mean * other_mean) / np.sqrt((square - mean**2) * (other_square - other_mean**2))


def _with_interval(values: np.ndarray) -> list[float]:
    """Return a figure and its interval, which ends at 1 at the latest."""
    low, high = bootstrap.interval(values)
    return [float(values[0]), low, min(high, 1.0)]
