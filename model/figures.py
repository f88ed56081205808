"""All figures of a split in one go, each for all images and for every bootstrap resample.

Exact at any size, but for ranking figures of all pairs at once: see `model.pooled`.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from model import metrics, pooled
from model.tag_vectors import min_max_cosine

FASTAI_THRESHOLD = 0.2
UNCERTAIN_SHARE = 0.1


@dataclass
class Figures:
    """What a split says of a tagger. Vectors (1 + resamples,) hold the figure of all images and of each resample.

    Attributes:
        values: name, as in `metrics.DEFINITIONS` ▶ float64 (1 + resamples,).
        by_tag: name ▶ float64 (tags, 1 + resamples); NaN where a tag has no positive.
        by_image: name ▶ float64 (images,), of the figures that are means over images; NaN where one is undefined.
        levels: positives and negatives of all pairs by score, for curves; see `model.metrics`.
        reliability: number of pairs, sum of probabilities and sum of labels in each bin, (bins, 3).
        exact: whether pooled ranking figures are.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    by_tag: dict[str, np.ndarray] = field(default_factory=dict)
    by_image: dict[str, np.ndarray] = field(default_factory=dict)
    levels: tuple[np.ndarray, np.ndarray] | None = None
    reliability: np.ndarray | None = None
    exact: bool = True


def compute(
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: np.ndarray,
    global_threshold: float,
    weights: np.ndarray,
    doubt: np.ndarray | None = None,
    vectors: np.ndarray | None = None,
) -> Figures:
    """Compute every figure that the arguments allow.

    Args:
        labels: bool (images, tags).
        probability: float32 (images, tags), 0 to 1; NaN is refused.
        thresholds: float (tags,), the probability from which a tag is given.
        global_threshold: the one threshold for all tags that they are compared with.
        weights: float32 (images, 1 + resamples), see `resampling.group_weights`.
        doubt: uint8 (images, tags), growing with the variance of the prediction, or None.
        vectors: float32 (tags, dimensions), see `tag_vectors`, or None.

    Raises:
        ValueError: shapes differ, or a score is NaN.
    """
    metrics.check(labels, probability)
    found = Figures(exact=labels.size <= pooled.EXACT_PAIRS)
    _rank_tags(found, labels, probability, weights)
    _rank_pairs(found, labels, probability, weights)
    _decide(found, labels, probability, thresholds, global_threshold, weights)
    _rank_mistakes(found, labels, probability, thresholds, weights, doubt)
    _average_images(found, labels, probability, thresholds, weights, vectors)
    return found


def _rank_tags(found: Figures, labels: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> None:
    """Ranking figures of each tag, and their means."""
    figures = {
        "auc_roc": metrics.auc_roc,
        "average_precision": metrics.average_precision,
        "break_even": metrics.break_even,
    }
    found.by_tag |= {name: np.full((labels.shape[1], weights.shape[1]), np.nan) for name in figures}
    columns = np.ascontiguousarray(weights.T)

    def rank(tags: slice) -> None:
        truths, scores = labels[:, tags].T.copy(), probability[:, tags].T.copy()
        for tag in range(tags.start, tags.stop):
            truth = truths[tag - tags.start]
            if truth.any():
                levels = levels_of_tag(truth, scores[tag - tags.start], columns)
                for name, figure in figures.items():
                    found.by_tag[name][tag] = figure(*levels)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(rank, pooled.blocks(labels.shape[1], len(labels))))
    for name in figures:
        found.values[f"{name}_macro"] = metrics.mean_over_tags(found.by_tag[name])


def levels_of_tag(labels: np.ndarray, scores: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted positives and negatives of one tag by level of score; negatives between two positives share a level.

    Args:
        labels: bool (images,), at least one of them true.
        scores: float (images,).
        columns: float32 (columns, images), weights of the images.

    Returns:
        Two float64 (levels, columns), lowest score first.
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


def _rank_pairs(found: Figures, labels: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> None:
    """Ranking figures of all pairs at once."""
    found.levels, coarse = pooled.by_level(labels.shape, lambda rows: (labels[rows], probability[rows]), weights)
    figures = {
        "auc_roc_micro": metrics.auc_roc,
        "average_precision_micro": metrics.average_precision,
        "break_even_micro": metrics.break_even,
        "mcc_break_even_micro": metrics.break_even_mcc,
    }
    for name, figure in figures.items():
        found.values[name] = pooled.moved(figure(*coarse), figure(*found.levels))


def _rank_mistakes(
    found: Figures,
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: np.ndarray,
    weights: np.ndarray,
    doubt: np.ndarray | None,
) -> None:
    """Whether the uncertain decisions are the wrong ones."""

    def wrong(rows: slice) -> np.ndarray:
        return (probability[rows] >= thresholds) != labels[rows]

    measures = {"mistakes_in_undecided_tenth": lambda rows: 0.5 - np.abs(probability[rows] - 0.5)}
    if doubt is not None and doubt.any():
        measures["mistakes_in_uncertain_tenth"] = lambda rows: doubt[rows] / np.float32(255)
    for name, uncertainty in measures.items():
        levels, coarse = pooled.by_level(labels.shape, lambda rows, of=uncertainty: (wrong(rows), of(rows)), weights)
        shares = (metrics.share_among_top(*counts, UNCERTAIN_SHARE) for counts in (coarse, levels))
        found.values[name] = pooled.moved(*shares)


def _decide(
    found: Figures,
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: np.ndarray,
    global_threshold: float,
    weights: np.ndarray,
) -> None:
    """Figures of what is given and what is not."""
    said, hits, positives, hits_global, said_global = (np.zeros((labels.shape[1], weights.shape[1])) for _ in range(5))
    for tags in pooled.blocks(labels.shape[1], len(labels)):
        truth, scores = labels[:, tags], probability[:, tags]
        accepted, accepted_global = scores >= thresholds[tags], scores >= global_threshold
        for sums, chosen in (
            (said, accepted),
            (hits, accepted & truth),
            (positives, truth),
            (said_global, accepted_global),
            (hits_global, accepted_global & truth),
        ):
            sums[tags] = chosen.T.astype(np.float32) @ weights
    figures = {
        "precision": metrics.precision(hits, said),
        "recall": metrics.recall(hits, positives),
        "f1": metrics.f_beta(hits, said, positives),
        "f2": metrics.f_beta(hits, said, positives, 2),
        "f1_global": metrics.f_beta(hits_global, said_global, positives),
    }
    counted = positives > 0
    found.by_tag |= {name: np.where(counted, values, np.nan) for name, values in figures.items()}
    means = {name: metrics.mean_over_tags(values) for name, values in found.by_tag.items()}
    hits, said, positives = hits.sum(axis=0), said.sum(axis=0), positives.sum(axis=0)
    pairs = labels.shape[1] * weights.sum(axis=0, dtype=float)
    found.values |= {
        "precision_micro": metrics.precision(hits, said),
        "recall_micro": metrics.recall(hits, positives),
        "f1_micro": metrics.f_beta(hits, said, positives),
        "f2_micro": metrics.f_beta(hits, said, positives, 2),
        "mcc_micro": metrics.matthews(hits, said, positives, pairs),
        **{f"{name}_macro": means[name] for name in ("precision", "recall", "f1", "f2")},
        "f1_macro_global_threshold": means["f1_global"],
    }


def _average_images(
    found: Figures,
    labels: np.ndarray,
    probability: np.ndarray,
    thresholds: np.ndarray,
    weights: np.ndarray,
    vectors: np.ndarray | None,
) -> None:
    """Figures that are means over images, and calibration, which is a sum over them."""
    parts: dict[str, list[np.ndarray]] = {}
    sums = np.zeros((metrics.BINS, 3, weights.shape[1]))
    for rows in pooled.blocks(len(labels), labels.shape[1]):
        truth, scores = labels[rows], probability[rows]
        sums += np.tensordot(metrics.reliability_sums(truth, scores), weights[rows].astype(float), axes=(0, 0))
        for name, values in image_figures(truth, scores, thresholds, vectors).items():
            parts.setdefault(name, []).append(values)
    found.reliability = sums[:, :, 0]
    found.values["expected_calibration_error"] = metrics.calibration_error(sums)
    found.by_image |= {name: np.concatenate(values) for name, values in parts.items()}
    for name, values in found.by_image.items():
        known = ~np.isnan(values)
        total = known @ weights.astype(float)
        found.values[name] = np.divide(
            np.where(known, values, 0.0) @ weights, total, out=np.full_like(total, np.nan), where=total > 0
        )


def image_figures(
    labels: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, vectors: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The figures of each image: name ▶ float64 (images,), NaN where one needs a true tag and there is none.

    Arguments as of `compute`.
    """
    over = probability > FASTAI_THRESHOLD
    hits = np.sum(over & labels, axis=1)
    precision, recall = hits / (over.sum(axis=1) + 1e-9), hits / (labels.sum(axis=1) + 1e-9)
    figures = {
        "accuracy": np.mean((probability >= thresholds) == labels, axis=1),
        "brier": np.mean(np.square(probability - labels, dtype=np.float32), axis=1, dtype=float),
        "accuracy_thresh": np.mean(over == labels, axis=1),
        "fbeta_02": precision * recall / (precision * 4 + recall + 1e-9) * 5,
    }
    best = top_n(probability, labels.sum(axis=1))
    hits, wanted = np.sum(best & labels, axis=1), labels.sum(axis=1).astype(float)
    wanted[wanted == 0] = np.nan
    figures |= {
        "top_n_iou": hits / (2 * wanted - hits),
        "top_n_hit_rate": np.where(np.isnan(wanted), np.nan, hits > 0),
        "top_n_exact_match": np.where(np.isnan(wanted), np.nan, hits == wanted),
    }
    if vectors is not None:
        figures["semantic_accuracy"] = min_max_cosine(labels, best, vectors)
    return figures


def top_n(scores: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Each image's best-scored tags, as many as its number; of tied ones the first: bool (images, tags)."""
    best = np.zeros(scores.shape, bool)
    for row, accepted, number in zip(scores, best, numbers, strict=True):
        if number:
            lowest = np.partition(row, -number)[-number]
            accepted[row > lowest] = True
            accepted[np.flatnonzero(row == lowest)[: number - accepted.sum()]] = True
    return best
