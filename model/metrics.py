"""Figures of multi-label classification: what each is, and where its definition comes from.

Every ranking figure is computed from counts by level: `positives` and `negatives`, arrays (levels, …) of how many pairs of
image and tag have each score, lowest first. Pairs of one level are tied. The trailing axes are kept, so that one call serves
many bootstrap resamples, whose counts are sums of weights.

Micro figures pool every (image, tag) pair; macro figures are means over the tags that have a positive (and, for AUC-ROC, a
negative); image figures are means over images. Figures of no pairs are NaN.
"""

from dataclasses import dataclass

import numpy as np

BINS = 15  # of the reliability curve


@dataclass(frozen=True)
class Definition:
    """What a figure is called and what it means; `better` is whether higher or lower values are."""

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
        f"how often a picture with the tag scores above one without, ties counting half; mean over tags ({FAWCETT})",
    ),
    "auc_roc_micro": Definition("AUC-ROC, micro", f"the same over all pairs of picture and tag at once ({FAWCETT})"),
    "average_precision_micro": Definition("average precision, micro", "the same over all pairs at once"),
    "break_even_macro": Definition(
        "precision = recall, macro",
        "precision when a tag is given to as many pictures as have it, which then is recall, F1 and F2 too; mean over tags "
        "(Manning et al., Introduction to Information Retrieval, 2008, 8.4: R-precision)",
    ),
    "break_even_micro": Definition("precision = recall, micro", "the same over all pairs at once"),
    "mcc_break_even_micro": Definition(
        "MCC where precision = recall, micro", "Matthews' correlation (1975) at that point, over all pairs"
    ),
    "accuracy": Definition("accuracy", "share of pairs decided rightly; nearly all are negative, so that it flatters"),
    "precision_micro": Definition("precision, micro", "share of given tags that are right"),
    "recall_micro": Definition("recall, micro", "share of true tags that are given"),
    "f1_micro": Definition("F1, micro", "harmonic mean of the two above (van Rijsbergen, Information Retrieval, 1979)"),
    "f2_micro": Definition("F2, micro", "as F1, with recall counted for more: (1 + 2²) P R / (2² P + R)"),
    "mcc_micro": Definition("MCC, micro", "Matthews' correlation of given and true tags over all pairs (1975)"),
    "precision_macro": Definition("precision, macro", "precision of each tag, 0 where it is never given; mean over tags"),
    "recall_macro": Definition("recall, macro", "recall of each tag; mean over tags"),
    "f1_macro": Definition("F1, macro", "F1 of each tag; mean over tags"),
    "f2_macro": Definition("F2, macro", "F2 of each tag; mean over tags"),
    "f1_macro_global_threshold": Definition(
        "F1, macro, one threshold", "the same with the one threshold for all tags that was best on the validation split"
    ),
    "accuracy_thresh": Definition("accuracy_thresh at 0.2", f"share of pairs decided rightly at 0.2, {FASTAI}"),
    "fbeta_02": Definition("F-beta at 0.2, by image", f"F2 of each picture's tags over 0.2, mean over pictures, {FASTAI}"),
    "top_n_iou": Definition(
        "top-N intersection over union",
        "of a picture's N true tags and the N best-scored ones; mean over pictures that have a tag",
    ),
    "top_n_hit_rate": Definition("top-N hit rate", "share of pictures of whose N best-scored tags at least one is true"),
    "top_n_exact_match": Definition("top-N exact match", "share of pictures whose N best-scored tags are the true ones"),
    "semantic_accuracy": Definition(
        "semantic accuracy",
        "min-max cosine: of each true tag the nearest of the N best-scored tags, of these cosines the smallest; mean over "
        "pictures. Tag vectors are learned from the training tags (see model/tag_vectors.py)",
    ),
    "expected_calibration_error": Definition(
        "expected calibration error",
        f"distance of probability and frequency in {BINS} bins of equal width, weighted by pairs (Guo et al., "
        "arXiv 1706.04599)",
        "lower",
    ),
    "brier": Definition("Brier score", "mean squared error of the probabilities (Brier, 1950)", "lower"),
    "mistakes_in_uncertain_tenth": Definition(
        "mistakes in the uncertain tenth",
        "share of all wrong decisions that are among the tenth of pairs with the largest predictive variance",
    ),
    "mistakes_in_undecided_tenth": Definition(
        "mistakes in the undecided tenth", "the same for the tenth of pairs whose probability is nearest to ½"
    ),
}


def auc_roc(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Area under the ROC curve; tied scores count half.

    Args:
        positives, negatives: (levels, …), lowest score first.

    Returns:
        float64 (…), NaN without a positive or without a negative.
    """
    below = np.cumsum(negatives, axis=0) - negatives / 2
    return _ratio(np.sum(positives * below, axis=0), positives.sum(axis=0) * negatives.sum(axis=0))


def average_precision(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Average precision, NaN without a positive; arguments and result as of `auc_roc`."""
    hits, said = accepted_from(positives, negatives)
    return _ratio(np.sum(positives * _ratio(hits, said, 0.0), axis=0), hits[0])


def accepted_from(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True positives, and all that is accepted, when everything from a level up is: two arrays (levels, …)."""
    hits = np.cumsum(positives[::-1], axis=0)[::-1]
    return hits, hits + np.cumsum(negatives[::-1], axis=0)[::-1]


def hits_among(positives: np.ndarray, negatives: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Positives among the `said` (…) best-scored: of tied ones, as many as are expected of a random choice."""
    hits, accepted = accepted_from(positives, negatives)
    level = np.sum(accepted > said, axis=0)[None] - 1  # the one that is accepted in part
    above = np.take_along_axis(accepted - positives - negatives, np.maximum(level, 0), 0)[0]
    hits_above = np.take_along_axis(hits - positives, np.maximum(level, 0), 0)[0]
    tied = np.take_along_axis(positives + negatives, np.maximum(level, 0), 0)[0]
    tied_hits = np.take_along_axis(positives, np.maximum(level, 0), 0)[0]
    return np.where(level[0] < 0, hits[0], hits_above + tied_hits * _ratio(said - above, tied, 0.0))


def break_even(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Precision where as many are accepted as are positive, which is recall too; NaN without a positive."""
    total = positives.sum(axis=0)
    return _ratio(hits_among(positives, negatives, total), total)


def break_even_mcc(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Matthews' correlation at the break-even point r: (r·pairs - positives) / negatives."""
    total, others = positives.sum(axis=0), negatives.sum(axis=0)
    return _ratio(break_even(positives, negatives) * (total + others) - total, others)


def share_among_top(positives: np.ndarray, negatives: np.ndarray, share: float) -> np.ndarray:
    """Share of the positives that is among the best-scored `share` of all."""
    total = positives.sum(axis=0)
    return _ratio(hits_among(positives, negatives, share * (total + negatives.sum(axis=0))), total)


def precision(hits: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Share of what was said that is right; 0 where nothing was said, as in scikit-learn with `zero_division=0`."""
    return _ratio(hits, said, 0.0)


def recall(hits: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Share of the positives that was said; 0 where there is none."""
    return _ratio(hits, positives, 0.0)


def f_beta(hits: np.ndarray, said: np.ndarray, positives: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """(1 + β²) P R / (β² P + R) from counts; 0 where nothing was said and nothing is positive."""
    return _ratio((1 + beta**2) * hits, said + beta**2 * positives, 0.0)


def matthews(hits: np.ndarray, said: np.ndarray, positives: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Matthews' correlation coefficient from counts; 0 where it is undefined, as in scikit-learn."""
    scale = np.sqrt(said * (pairs - said) * positives * (pairs - positives))
    return _ratio(hits * pairs - said * positives, scale, 0.0)


def calibration_error(sums: np.ndarray) -> np.ndarray:
    """Expected calibration error from `reliability_sums` (bins, 3, …)."""
    pairs, probability, labels = sums[:, 0], sums[:, 1], sums[:, 2]
    return _ratio(np.abs(probability - labels).sum(axis=0), pairs.sum(axis=0))


def reliability_sums(labels: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Number of pairs, sum of probabilities and sum of labels in each bin of each image: float32 (images, bins, 3)."""
    images = len(labels)
    bins = np.minimum((probability * BINS).astype(np.int32), BINS - 1) + BINS * np.arange(images)[:, None]
    parts = (None, probability.ravel(), labels.ravel())
    sums = [np.bincount(bins.ravel(), part, BINS * images).reshape(images, BINS) for part in parts]
    return np.stack(sums, axis=2).astype(np.float32)


def mean_over_tags(values: np.ndarray) -> np.ndarray:
    """(tags, …) ▶ (…): the mean of those that are not NaN; NaN if all are."""
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def ranking(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """The four figures that need no threshold, exact: micro and macro AUC-ROC and average precision.

    Args:
        labels: bool (images, tags).
        scores: float (images, tags).

    Raises:
        ValueError: shapes differ or a score is NaN.
    """
    check(labels, scores)
    pooled = counts_by_level(labels.ravel(), scores.ravel())
    by_tag = [counts_by_level(*columns) for columns in zip(labels.T, scores.T, strict=True)]
    return {
        "auc_roc_micro": float(auc_roc(*pooled)),
        "auc_roc_macro": float(mean_over_tags(np.array([auc_roc(*levels) for levels in by_tag]))),
        "average_precision_micro": float(average_precision(*pooled)),
        "average_precision_macro": float(mean_over_tags(np.array([average_precision(*levels) for levels in by_tag]))),
    }


def check(labels: np.ndarray, scores: np.ndarray) -> None:
    """Refuse what has no figures: arrays of different shapes, without an image or a tag, or with NaN among the scores.

    Raises:
        ValueError: it is so.
    """
    if labels.shape != scores.shape or labels.ndim != 2 or not labels.size:
        raise ValueError(f"labels and scores need one shape (images, tags). Received: {labels.shape}, {scores.shape}")
    if any(np.isnan(rows).any() for rows in np.array_split(scores, -(-len(scores) // 4096))):
        raise ValueError("scores contain NaN")


def counts_by_level(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positives and negatives of each distinct score of bool and float (pairs,): two float64 (levels,), lowest first."""
    levels, level = np.unique(scores, return_inverse=True)
    positives = np.bincount(level[labels], minlength=len(levels)).astype(float)
    return positives, np.bincount(level, minlength=len(levels)) - positives


def _ratio(part: np.ndarray, whole: np.ndarray, of_nothing: float = np.nan) -> np.ndarray:
    """part / whole, and `of_nothing` where whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, out=np.full(part.shape, of_nothing), where=whole > 0)
