"""All figures of a split together, each for all images and for every bootstrap resample.

All are exact at any size, except the micro ranking figures of many pairs: see `evaluation.metrics.micro_counts`.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from common.mapped_arrays import read_rows
from evaluation.metrics import metrics, micro_counts
from evaluation.metrics.tag_vectors import min_max_cosine

FASTAI_THRESHOLD = 0.2
UNCERTAIN_SHARE = 0.1


@dataclass
class Figures:
    """The figures of a tagger on a split. A vector (1 + resamples,) holds the figure of all images, then of each resample.

    Attributes:
        values: name, as in `metrics.DEFINITIONS` ▶ float64 (1 + resamples,).
        by_tag: name ▶ float64 (tags, 1 + resamples); NaN where a tag has no positive.
        by_image: name ▶ float64 (images,), of the figures that are means over images; NaN where one is undefined.
        score_levels: positives and negatives of all pairs by score level, for curves; see `evaluation.metrics.metrics`.
        reliability: number of pairs, sum of probabilities and sum of labels in each bin, (bins, 3).
        exact: whether the micro ranking figures are exact; otherwise they come from a histogram of scores.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    by_tag: dict[str, np.ndarray] = field(default_factory=dict)
    by_image: dict[str, np.ndarray] = field(default_factory=dict)
    score_levels: tuple[np.ndarray, np.ndarray] | None = None
    reliability: np.ndarray | None = None
    exact: bool = True


def compute(
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: np.ndarray,
    global_threshold: float | np.floating,
    weights: np.ndarray,
    predictive_variance: np.ndarray | None = None,
    vectors: np.ndarray | None = None,
) -> Figures:
    """Compute every figure that the arguments allow.

    Args:
        labels: bool (images, tags).
        probability: float32 (images, tags), 0 to 1; NaN is refused.
        thresholds: float (tags,), the probability from which a tag is predicted.
        global_threshold: the one threshold for all tags with which the thresholds are compared.
        weights: float32 (images, 1 + resamples), see `bootstrap.group_weights`.
        predictive_variance: uint8 (images, tags), see `evaluation.score.quantized_variance`, or None.
        vectors: float32 (tags, dimensions), see `tag_vectors`, or None.

    Raises:
        ValueError: shapes differ, or a score is NaN.
    """
    metrics.check(labels, probability)
    figures = Figures(exact=labels.size <= micro_counts.EXACT_PAIRS)
    _add_tag_ranking(figures, labels, probability, weights)
    _add_pooled_ranking(figures, labels, probability, weights)
    _add_decisions(figures, labels, probability, thresholds, global_threshold, weights)
    _add_mistakes_by_uncertainty(figures, labels, probability, thresholds, weights, predictive_variance)
    _add_image_means(figures, labels, probability, thresholds, weights, vectors)
    return figures


def _add_tag_ranking(figures: Figures, labels: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> None:
    """Add the ranking figures of each tag, and their means."""
    functions = {
        "auc_roc": metrics.auc_roc,
        "average_precision": metrics.average_precision,
        "break_even": metrics.break_even,
    }
    figures.by_tag |= {name: np.full((labels.shape[1], weights.shape[1]), np.nan) for name in functions}
    weights_by_column = np.ascontiguousarray(weights.T)

    def rank(tag: int, truth: np.ndarray, scores: np.ndarray) -> None:
        if truth.any():
            counts = counts_of_tag(truth, scores, weights_by_column)
            for name, function in functions.items():
                figures.by_tag[name][tag] = function(*counts)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for tags in micro_counts.column_blocks(*labels.shape):
            truths, scores = micro_counts.columns(labels, tags), micro_counts.columns(probability, tags)
            list(threads.map(rank, range(tags.start, tags.stop), truths, scores))
    for name in functions:
        figures.values[f"{name}_macro"] = metrics.mean_over_tags(figures.by_tag[name])


def counts_of_tag(labels: np.ndarray, scores: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted positives and negatives of one tag by score level; negatives between two positives share a level.

    Args:
        labels: bool (images,), at least one of them true.
        scores: float (images,).
        columns: float32 (columns, images), weights of the images.

    Returns:
        Two float64 (score_levels, columns), lowest score first.
    """
    edges = np.unique(scores[labels])
    above = np.searchsorted(edges, scores)
    level = 2 * above + (edges[np.minimum(above, len(edges) - 1)] == scores)  # odd where a positive has the score
    sums = []
    for chosen in (np.flatnonzero(labels), np.arange(len(labels))):
        chosen = chosen[np.argsort(level[chosen].astype(np.uint16 if len(edges) < 2**15 else np.int64), kind="stable")]
        present, starts = np.unique(level[chosen], return_index=True)
        counts = np.zeros((len(columns), 2 * len(edges) + 1))
        # Sums of whole numbers below 2**24: exact in float32.
        counts[:, present] = np.add.reduceat(np.take(columns, chosen, axis=1), starts, axis=1)
        sums.append(counts.T)
    positives, total = sums
    return positives, total - positives


def _add_pooled_ranking(figures: Figures, labels: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> None:
    """Add the micro ranking figures."""

    def read(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        truth, scores = read_rows(rows, labels, probability)
        return truth, scores

    figures.score_levels, coarse = micro_counts.counts_by_score_level(labels.shape, read, weights)
    functions = {
        "auc_roc_micro": metrics.auc_roc,
        "average_precision_micro": metrics.average_precision,
        "break_even_micro": metrics.break_even,
        "mcc_break_even_micro": metrics.break_even_mcc,
    }
    for name, function in functions.items():
        figures.values[name] = micro_counts.bias_corrected(function(*coarse), function(*figures.score_levels))


def _add_mistakes_by_uncertainty(
    figures: Figures,
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: np.ndarray,
    weights: np.ndarray,
    predictive_variance: np.ndarray | None,
) -> None:
    """Add the shares of wrong decisions that are among the most uncertain ones."""

    def undecided(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        truth, scores = read_rows(rows, labels, probability)
        return (scores >= thresholds) != truth, 0.5 - np.abs(scores - 0.5)

    def uncertain(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        assert predictive_variance is not None
        truth, scores, variance = read_rows(rows, labels, probability, predictive_variance)
        return (scores >= thresholds) != truth, variance / np.float32(255)

    measures = {"mistakes_in_undecided_tenth": undecided}
    if predictive_variance is not None and _any(predictive_variance):
        measures["mistakes_in_uncertain_tenth"] = uncertain
    for name, read in measures.items():
        fine, coarse = micro_counts.counts_by_score_level(labels.shape, read, weights)
        shares = [metrics.share_among_top(positives, negatives, UNCERTAIN_SHARE) for positives, negatives in (coarse, fine)]
        figures.values[name] = micro_counts.bias_corrected(*shares)


def _any(values: np.ndarray) -> bool:
    """Return whether an array (images, tags) has a value that is not 0."""
    return any(read_rows(rows, values)[0].any() for rows in micro_counts.blocks(*values.shape))


def _add_decisions(
    figures: Figures,
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: np.ndarray,
    global_threshold: float | np.floating,
    weights: np.ndarray,
) -> None:
    """Add the figures of what is predicted at the thresholds."""
    shape = labels.shape[1], weights.shape[1]
    predicted, true_positives, positives = (np.zeros(shape) for _ in range(3))
    predicted_global, true_positives_global = np.zeros(shape), np.zeros(shape)
    for tags in micro_counts.column_blocks(*labels.shape):
        truth, scores = micro_counts.columns(labels, tags), micro_counts.columns(probability, tags)
        accepted, accepted_global = scores >= thresholds[tags, None], scores >= global_threshold
        for sums, chosen in (
            (predicted, accepted),
            (true_positives, accepted & truth),
            (positives, truth),
            (predicted_global, accepted_global),
            (true_positives_global, accepted_global & truth),
        ):
            sums[tags] = chosen.astype(np.float32) @ weights
    by_tag = {
        "precision": metrics.precision(true_positives, predicted),
        "recall": metrics.recall(true_positives, positives),
        "f1": metrics.f_beta(true_positives, predicted, positives),
        "f2": metrics.f_beta(true_positives, predicted, positives, 2),
        "f1_global": metrics.f_beta(true_positives_global, predicted_global, positives),
    }
    counted = positives > 0
    figures.by_tag |= {name: np.where(counted, values, np.nan) for name, values in by_tag.items()}
    means = {name: metrics.mean_over_tags(figures.by_tag[name]) for name in by_tag}
    true_positives, predicted, positives = (counts.sum(axis=0) for counts in (true_positives, predicted, positives))
    pairs = labels.shape[1] * weights.sum(axis=0, dtype=float)
    figures.values |= {
        "precision_micro": metrics.precision(true_positives, predicted),
        "recall_micro": metrics.recall(true_positives, positives),
        "f1_micro": metrics.f_beta(true_positives, predicted, positives),
        "f2_micro": metrics.f_beta(true_positives, predicted, positives, 2),
        "mcc_micro": metrics.matthews(true_positives, predicted, positives, pairs),
        **{f"{name}_macro": means[name] for name in ("precision", "recall", "f1", "f2")},
        "f1_macro_global_threshold": means["f1_global"],
    }


def _add_image_means(
    figures: Figures,
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: np.ndarray,
    weights: np.ndarray,
    vectors: np.ndarray | None,
) -> None:
    """Add the figures that are means over images, and calibration, which is a sum over images."""
    parts: dict[str, list[np.ndarray]] = {}
    sums = np.zeros((metrics.BINS, 3, weights.shape[1]))
    for rows in micro_counts.blocks(len(labels), labels.shape[1]):
        truth, scores = read_rows(rows, labels, probability)
        sums += np.tensordot(metrics.reliability_sums(truth, scores), weights[rows].astype(float), axes=(0, 0))
        for name, values in image_figures(truth, scores, thresholds, vectors).items():
            parts.setdefault(name, []).append(values)
    figures.reliability = sums[:, :, 0]
    figures.values["expected_calibration_error"] = metrics.calibration_error(sums)
    figures.by_image |= {name: np.concatenate(values) for name, values in parts.items()}
    for name, values in figures.by_image.items():
        known = ~np.isnan(values)
        total = known @ weights.astype(float)
        figures.values[name] = np.divide(
            np.where(known, values, 0.0) @ weights, total, out=np.full_like(total, np.nan), where=total > 0
        )


def image_figures(
    labels: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, vectors: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the figures of each image; the arguments are those of `compute`.

    Returns:
        Name ▶ float64 (images,). Figures that need a true tag are NaN for an image without one.
    """
    above = probability > FASTAI_THRESHOLD
    true_positives = np.sum(above & labels, axis=1)
    precision = true_positives / (above.sum(axis=1) + 1e-9)
    recall = true_positives / (labels.sum(axis=1) + 1e-9)
    figures = {
        "accuracy": np.mean((probability >= thresholds) == labels, axis=1),
        "brier": np.mean(np.square(probability - labels, dtype=np.float32), axis=1, dtype=float),
        "accuracy_thresh": np.mean(above == labels, axis=1),
        "fbeta_02": precision * recall / (precision * 4 + recall + 1e-9) * 5,
    }
    best = top_n(probability, labels.sum(axis=1))
    true_positives, positives = np.sum(best & labels, axis=1), labels.sum(axis=1).astype(float)
    positives[positives == 0] = np.nan
    figures |= {
        "top_n_iou": true_positives / (2 * positives - true_positives),
        "top_n_hit_rate": np.where(np.isnan(positives), np.nan, true_positives > 0),
        "top_n_exact_match": np.where(np.isnan(positives), np.nan, true_positives == positives),
    }
    if vectors is not None:
        figures["semantic_accuracy"] = min_max_cosine(labels, best, vectors)
    return figures


def top_n(scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Return each image's tags with the highest scores, of ties the first: bool (images, tags).

    Args:
        scores: float (images, tags).
        numbers: how many tags of each image, int (images,).
    """
    best = np.zeros(scores.shape, bool)
    for row, accepted, number in zip(scores, best, numbers, strict=True):
        if number:
            lowest = np.partition(row, -number)[-number]
            accepted[row > lowest] = True
            accepted[np.flatnonzero(row == lowest)[: number - accepted.sum()]] = True
    return best
