"""Figures of multi-label classification, exact, from scores and labels as (images, tags) arrays.

Micro figures pool every (image, tag) pair; macro figures are means over tags, of the tags that have a positive (and, for
AUC-ROC, a negative) in the split. Definitions: Fawcett, "An introduction to ROC analysis", 2006, for AUC-ROC; average
precision is Σ (Rₙ - Rₙ₋₁) Pₙ over the distinct scores, without interpolation, as in scikit-learn.
"""

import numpy as np


def auc_roc(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each column; tied scores count half.

    Args:
        labels: bool (images, tags).
        scores: float (images, tags); NaN is refused.

    Returns:
        float64 (tags,), NaN where a tag has no positive or no negative.

    Raises:
        ValueError: shapes differ or a score is NaN.
    """
    true_positives, false_positives, last_of_tie = _cumulative(labels, scores)
    positives, negatives = true_positives[-1], false_positives[-1]
    areas = np.full(labels.shape[1], np.nan)
    for tag in np.flatnonzero((positives > 0) & (negatives > 0)):
        ends = last_of_tie[:, tag]
        hits = np.concatenate([[0], true_positives[ends, tag]])
        alarms = np.concatenate([[0], false_positives[ends, tag]])
        areas[tag] = np.sum(np.diff(alarms) * (hits[1:] + hits[:-1]) / 2) / (positives[tag] * negatives[tag])
    return areas


def average_precision(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Average precision of each column: float64 (tags,), NaN where a tag has no positive. Arguments as in `auc_roc`."""
    true_positives, false_positives, last_of_tie = _cumulative(labels, scores)
    positives = true_positives[-1]
    averages = np.full(labels.shape[1], np.nan)
    for tag in np.flatnonzero(positives > 0):
        ends = last_of_tie[:, tag]
        hits, alarms = true_positives[ends, tag], false_positives[ends, tag]
        averages[tag] = np.sum(np.diff(hits, prepend=0) * hits / (hits + alarms)) / positives[tag]
    return averages


def _cumulative(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and false positives (images, tags) when all down to the n-th best are accepted, and where a tie ends."""
    if labels.shape != scores.shape or labels.ndim != 2 or not len(labels):
        raise ValueError(f"labels and scores need one shape (images, tags). Received: {labels.shape}, {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    order = np.argsort(-scores, axis=0, kind="stable")
    sorted_scores = np.take_along_axis(scores, order, axis=0)
    hits = np.take_along_axis(labels.astype(bool), order, axis=0)
    true_positives = np.cumsum(hits, axis=0, dtype=np.int64)
    false_positives = np.arange(1, len(labels) + 1)[:, None] - true_positives
    last_of_tie = np.ones(labels.shape, bool)
    last_of_tie[:-1] = sorted_scores[1:] != sorted_scores[:-1]
    return true_positives, false_positives, last_of_tie


def ranking(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The four figures that need no threshold: micro and macro AUC-ROC and average precision."""
    pooled = _pooled(labels, scores)
    return {
        "auc_roc_micro": float(auc_roc(*pooled)[0]),
        "auc_roc_macro": _mean(auc_roc(labels, scores)),
        "average_precision_micro": float(average_precision(*pooled)[0]),
        "average_precision_macro": _mean(average_precision(labels, scores)),
    }


def at_threshold(labels: np.ndarray, accepted: np.ndarray) -> dict[str, float]:
    """Accuracy, and precision, recall and F1, pooled over all pairs (micro) and as means over tags (macro).

    Args:
        labels: bool (images, tags).
        accepted: bool (images, tags), what the tagger said.
    """
    columns = precision_recall_f1(labels, accepted)
    pooled = precision_recall_f1(*_pooled(labels, accepted))
    counted = labels.any(axis=0)
    return (
        {"accuracy": float(np.mean(labels == accepted))}
        | {f"{name}_micro": float(values[0]) for name, values in pooled.items()}
        | {f"{name}_macro": _mean(np.where(counted, values, np.nan)) for name, values in columns.items()}
    )


def precision_recall_f1(labels: np.ndarray, accepted: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each column, float64 (tags,); 0 where nothing was accepted or nothing is positive."""
    hits = np.sum(labels & accepted, axis=0)
    said, positives = np.sum(accepted, axis=0), np.sum(labels, axis=0)

    def ratio(part, whole):
        return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)

    return {
        "precision": ratio(hits, said),
        "recall": ratio(hits, positives),
        "f1": ratio(2 * hits, said + positives),
    }


def best_f1_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """The score at which accepting all pairs from it up gives the highest micro F1; 0.5 without a positive."""
    true_positives, false_positives, last_of_tie = (part[:, 0] for part in _cumulative(*_pooled(labels, scores)))
    if not true_positives[-1]:
        return 0.5
    f1 = 2 * true_positives / (true_positives + false_positives + true_positives[-1])
    return float(np.sort(scores, axis=None)[::-1][np.argmax(np.where(last_of_tie, f1, 0))])


def _pooled(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All pairs as one column."""
    return labels.reshape(-1, 1), scores.reshape(-1, 1)


def _mean(values: np.ndarray) -> float:
    """Mean over the tags that count; NaN if none does."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
