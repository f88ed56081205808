"""The figures of multi-label classification: what each one is, and where its definition comes from.

A ranking figure is computed from counts by score level. A score level holds the pairs of image and tag that have the same
score, which are ties. `positives` and `negatives`, arrays (score_levels, …) with the lowest score first, hold how many pairs
of each kind a level has. Trailing axes pass through, so that one call computes a figure for many bootstrap resamples, whose
counts are sums of weights.

A micro figure pools all pairs of image and tag. A macro figure is the mean over the tags that have a positive (and, for
AUC-ROC, a negative). An image figure is a mean over images. A figure without any pair is NaN.
"""

from dataclasses import dataclass

import numpy as np

from common.mapped_arrays import read_rows

BINS = 15  # of the reliability curve
BLOCK_IMAGES = 1024


@dataclass(frozen=True)
class Definition:
    """The title and the meaning of a figure, and whether `higher` or `lower` values are better."""

    title: str
    meaning: str
    better: str = "higher"


FAWCETT = "Fawcett, An introduction to ROC analysis, 2006"
FASTAI = "as fastai 1 computes it"
DEFINITIONS = {
    "average_precision_macro": Definition(
        "mAP (average precision, macro)",
        "Σ (Rₙ - Rₙ₋₁) Pₙ over a tag's distinct scores, without interpolation, as in scikit-learn; mean over tags",
    ),
    "auc_roc_macro": Definition(
        "AUC-ROC, macro",
        "probability that a picture with the tag scores higher than one without, where ties count half; mean over tags "
        f"({FAWCETT})",
    ),
    "auc_roc_micro": Definition("AUC-ROC, micro", f"the same over all pairs of picture and tag together ({FAWCETT})"),
    "average_precision_micro": Definition("average precision, micro", "average precision of all pairs together"),
    "break_even_macro": Definition(
        "break-even point, macro",
        "precision when a tag is predicted for as many pictures as have it; it then equals recall, F1 and F2; mean over "
        "tags (Manning et al., Introduction to Information Retrieval, 2008, 8.4: R-precision)",
    ),
    "break_even_micro": Definition("break-even point, micro", "the same over all pairs together"),
    "mcc_break_even_micro": Definition(
        "MCC at the break-even point, micro", "Matthews' correlation (1975) at the break-even point of all pairs"
    ),
    "accuracy": Definition(
        "accuracy", "share of correct decisions; high for every tagger, because nearly all pairs are negative"
    ),
    "precision_micro": Definition("precision, micro", "share of the predicted tags that are true"),
    "recall_micro": Definition("recall, micro", "share of the true tags that are predicted"),
    "f1_micro": Definition("F1, micro", "harmonic mean of the two above (van Rijsbergen, Information Retrieval, 1979)"),
    "f2_micro": Definition("F2, micro", "as F1, with more weight on recall: (1 + 2²) P R / (2² P + R)"),
    "mcc_micro": Definition("MCC, micro", "Matthews' correlation (1975) of predicted and true tags over all pairs"),
    "precision_macro": Definition(
        "precision, macro", "precision of each tag, 0 where it is never predicted; mean over tags"
    ),
    "recall_macro": Definition("recall, macro", "recall of each tag; mean over tags"),
    "f1_macro": Definition("F1, macro", "F1 of each tag; mean over tags"),
    "f2_macro": Definition("F2, macro", "F2 of each tag; mean over tags"),
    "f1_macro_global_threshold": Definition(
        "F1, macro, one threshold", "the same with the one threshold for all tags that was best on the validation split"
    ),
    "accuracy_thresh": Definition("accuracy_thresh at 0.2", f"share of correct decisions at a threshold of 0.2, {FASTAI}"),
    "fbeta_02": Definition(
        "F-beta at 0.2, by image", f"F2 of each picture's tags at a threshold of 0.2; mean over pictures, {FASTAI}"
    ),
    "top_n_iou": Definition(
        "top-N intersection over union",
        "of a picture's N true tags and the N tags with the highest scores; mean over pictures that have a tag",
    ),
    "top_n_hit_rate": Definition(
        "top-N hit rate", "share of pictures with at least one true tag among the N tags with the highest scores"
    ),
    "top_n_exact_match": Definition(
        "top-N exact match", "share of pictures whose N tags with the highest scores are the true ones"
    ),
    "semantic_accuracy": Definition(
        "semantic accuracy",
        "min-max cosine: for each true tag the cosine of the nearest of the N tags with the highest scores, and of these "
        "the smallest; mean over pictures. Tag vectors are learned from the training tags, see "
        "evaluation/metrics/tag_vectors.py",
    ),
    "expected_calibration_error": Definition(
        "expected calibration error",
        f"difference between probability and frequency in {BINS} bins of equal width, weighted by the number of pairs (Guo "
        "et al., arXiv 1706.04599)",
        "lower",
    ),
    "brier": Definition("Brier score", "mean squared error of the probabilities (Brier, 1950)", "lower"),
    "mistakes_in_uncertain_tenth": Definition(
        "mistakes in the uncertain tenth",
        "share of all wrong decisions that are among the tenth of pairs with the largest predictive variance",
    ),
    "mistakes_in_undecided_tenth": Definition(
        "mistakes in the undecided tenth", "the same for the tenth of pairs with a probability nearest to ½"
    ),
}


def auc_roc(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve; ties count half.

    Args:
        positives, negatives: (score_levels, …), lowest score first.

    Returns:
        float64 (…), NaN without a positive or without a negative.
    """
    below = np.cumsum(negatives, axis=0) - negatives / 2
    return _ratio(np.sum(positives * below, axis=0), positives.sum(axis=0) * negatives.sum(axis=0))


def average_precision(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return the average precision, NaN without a positive; arguments and result as in `auc_roc`."""
    true_positives, predicted = cumulative_counts(positives, negatives)
    return _ratio(np.sum(positives * _ratio(true_positives, predicted, 0.0), axis=0), true_positives[0])


def cumulative_counts(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each score level as the threshold, the true positives and the predicted: two arrays (score_levels, …)."""
    true_positives = np.cumsum(positives[::-1], axis=0)[::-1]
    return true_positives, true_positives + np.cumsum(negatives[::-1], axis=0)[::-1]


def true_positives_among(positives: np.ndarray, negatives: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return the positives among the pairs with the highest scores.

    Args:
        positives, negatives: (score_levels, …), lowest score first.
        number: how many pairs, (…). Where it divides a score level, a random choice among the ties is expected.
    """
    true_positives, predicted = cumulative_counts(positives, negatives)
    level = np.sum(predicted > number, axis=0)[None] - 1  # the level of which a part is predicted
    above = np.take_along_axis(predicted - positives - negatives, np.maximum(level, 0), 0)[0]
    positives_above = np.take_along_axis(true_positives - positives, np.maximum(level, 0), 0)[0]
    tied = np.take_along_axis(positives + negatives, np.maximum(level, 0), 0)[0]
    tied_positives = np.take_along_axis(positives, np.maximum(level, 0), 0)[0]
    partly = positives_above + tied_positives * _ratio(number - above, tied, 0.0)
    return np.where(level[0] < 0, true_positives[0], partly)


def break_even(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return precision, which is recall too, where as many are predicted as are positive; NaN without a positive."""
    total = positives.sum(axis=0)
    return _ratio(true_positives_among(positives, negatives, total), total)


def break_even_mcc(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Return Matthews' correlation at the break-even point r: (r·pairs - positives) / negatives."""
    total, others = positives.sum(axis=0), negatives.sum(axis=0)
    return _ratio(break_even(positives, negatives) * (total + others) - total, others)


def share_among_top(positives: np.ndarray, negatives: np.ndarray, share: float) -> np.ndarray:
    """Return the share of the positives that is among the `share` of all pairs with the highest scores."""
    total = positives.sum(axis=0)
    return _ratio(true_positives_among(positives, negatives, share * (total + negatives.sum(axis=0))), total)


def precision(true_positives: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the precision from counts; 0 where nothing is predicted, as in scikit-learn with `zero_division=0`."""
    return _ratio(true_positives, predicted, 0.0)


def recall(true_positives: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Return the recall from counts; 0 without a positive."""
    return _ratio(true_positives, positives, 0.0)


def f_beta(true_positives: np.ndarray, predicted: np.ndarray, positives: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """Return (1 + β²) P R / (β² P + R) from counts; 0 where nothing is predicted and nothing is positive."""
    return _ratio((1 + beta**2) * true_positives, predicted + beta**2 * positives, 0.0)


def matthews(true_positives: np.ndarray, predicted: np.ndarray, positives: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Return Matthews' correlation coefficient from counts; 0 where it is undefined, as in scikit-learn."""
    scale = np.sqrt(predicted * (pairs - predicted) * positives * (pairs - positives))
    return _ratio(true_positives * pairs - predicted * positives, scale, 0.0)


def calibration_error(sums: np.ndarray) -> np.ndarray:
    """Return the expected calibration error from sums (bins, 3, …), see `reliability_sums`."""
    pairs, probability, labels = sums[:, 0], sums[:, 1], sums[:, 2]
    return _ratio(np.abs(probability - labels).sum(axis=0), pairs.sum(axis=0))


def reliability_sums(labels: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return the number of pairs, the sum of probabilities and the sum of labels for each image and bin.

    Args:
        labels: bool (images, tags).
        probability: float (images, tags).

    Returns:
        float32 (images, bins, 3).
    """
    images = len(labels)
    bins = np.minimum((probability * BINS).astype(np.int32), BINS - 1) + BINS * np.arange(images)[:, None]
    parts = (None, probability.ravel(), labels.ravel())
    sums = [np.bincount(bins.ravel(), part, BINS * images).reshape(images, BINS) for part in parts]
    return np.stack(sums, axis=2).astype(np.float32)


def mean_over_tags(values: np.ndarray) -> np.ndarray:
    """Return the mean of the values that are not NaN, (tags, …) ▶ (…); NaN where all are."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def ranking(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return micro and macro AUC-ROC and average precision, the figures that need no threshold, computed exactly.

    Args:
        labels: bool (images, tags).
        scores: float (images, tags).

    Raises:
        ValueError: shapes differ or a score is NaN.
    """
    check(labels, scores)
    pooled = counts_by_score(labels.ravel(), scores.ravel())
    by_tag = [counts_by_score(*columns) for columns in zip(labels.T, scores.T, strict=True)]
    return {
        "auc_roc_micro": float(auc_roc(*pooled)),
        "auc_roc_macro": float(mean_over_tags(np.array([auc_roc(*counts) for counts in by_tag]))),
        "average_precision_micro": float(average_precision(*pooled)),
        "average_precision_macro": float(mean_over_tags(np.array([average_precision(*counts) for counts in by_tag]))),
    }


def check(labels: np.ndarray, scores: np.ndarray) -> None:
    """Check that figures can be computed.

    Raises:
        ValueError: the arrays differ in shape, have no image or no tag, or a score is NaN.
    """
    if labels.shape != scores.shape or labels.ndim != 2 or not labels.size:
        raise ValueError(f"labels and scores need one shape (images, tags). Received: {labels.shape}, {scores.shape}")
    blocks = (slice(start, start + BLOCK_IMAGES) for start in range(0, len(scores), BLOCK_IMAGES))
    if any(np.isnan(read_rows(rows, scores)[0]).any() for rows in blocks):
        raise ValueError("scores contain NaN")


def counts_by_score(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positives and the negatives of each distinct score, lowest first.

    Args:
        labels: bool (pairs,).
        scores: float (pairs,).

    Returns:
        Two float64 (score_levels,).
    """
    distinct, level = np.unique(scores, return_inverse=True)
    positives = np.bincount(level[labels], minlength=len(distinct)).astype(float)
    return positives, np.bincount(level, minlength=len(distinct)) - positives


def _ratio(part: np.ndarray, whole: np.ndarray, undefined: float = np.nan) -> np.ndarray:
    """Return part / whole, and `undefined` where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(part.shape, undefined), where=whole > 0)
