"""The report's table of tags: one row for each, which page.js sorts and filters."""

from html import escape

import numpy as np

from common.mapped_arrays import read_rows
from common.numbers import log_odds
from evaluation.evaluate import Evaluation, buckets, categories, tag_ranges
from evaluation.report.charts import sparkline
from evaluation.report.html import breakable, interval, sortable_cell, table

SCORE_BINS = np.linspace(-9, 5, 25)  # edges, in log-odds
BLOCK_IMAGES = 1024
TITLES = ("tag", "training", "here", "AP", "range", "AUC", "precision", "recall", "F1", "threshold", "scores")


def tag_table(evaluation: Evaluation) -> str:
    """Return the section with the table of tags, the highest average precision first."""
    kinds = {f"{name} training pictures": chosen for name, chosen in buckets(evaluation.tags).items()}
    by_category = categories(evaluation.tags)
    if len(by_category) > 1:
        kinds |= by_category
    options = "".join(f"<option>{escape(kind)}</option>" for kind in kinds)
    return (
        '<p class="note">Columns: pictures with the tag in training and in this split; average precision (AP) and its '
        "range; AUC-ROC; precision, recall and F1 at the threshold; scores, as log-odds, of the pictures with the tag "
        "(blue) and without (gray), with the threshold (red). Click a title to sort.</p>"
        '<div class="tools"><input id="query" type="search" placeholder="filter by name" aria-label="filter by name">'
        f'<select id="kind" aria-label="kind of tags"><option value="">all tags</option>{options}</select>'
        f'<span id="shown" class="quiet"></span></div>{table(_head(), _rows(evaluation, kinds), "tall", "by-tag")}'
    )


def _head() -> str:
    cells = []
    for title in TITLES:
        attributes = ' class="less"' if title in ("training", "range") else ""
        attributes += ' aria-sort="descending"' if title == "AP" else ""
        content = title if title in ("range", "scores") else f'<button type="button">{title}</button>'
        cells.append(f"<th{attributes}>{content}</th>")
    return "".join(cells)


def _rows(evaluation: Evaluation, kinds: dict[str, np.ndarray]) -> list[str]:
    """Return the rows; `kinds` holds the tags of each kind, bool (tags,)."""
    tags, by_tag, scores = evaluation.tags, evaluation.figures.by_tag, evaluation.scores
    thresholds, positives, ranges = evaluation.thresholds, scores.positives(), tag_ranges(evaluation)
    with_tag, without = score_histograms(scores.labels, scores.probability)
    marks = np.clip((log_odds(thresholds) - SCORE_BINS[0]) / (SCORE_BINS[-1] - SCORE_BINS[0]), 0, 1)
    average = by_tag["average_precision"][:, 0]
    rows = []
    for index in np.argsort(-np.nan_to_num(average, nan=-1), kind="stable"):
        name = escape(tags[index].name)
        kinds_of_tag = "|".join(kind for kind, chosen in kinds.items() if chosen[index])
        bar = f'<span class="bar" style="--share:{100 * np.nan_to_num(average[index]):.0f}%"></span>'
        figures = (by_tag[figure][index, 0] for figure in ("auc_roc", "precision", "recall", "f1"))
        cells = [
            f'<td data-v="{name}">{breakable(tags[index].name)}</td>',
            f'<td data-v="{tags[index].count}" class="less">{tags[index].count:,}</td>',
            f'<td data-v="{positives[index]}">{positives[index]:,}</td>{sortable_cell(average[index], bar)}',
            f'<td class="less">{interval(ranges[index])}</td>',
            *map(sortable_cell, figures),
            sortable_cell(thresholds[index]),
            f"<td>{sparkline(with_tag[index], without[index], float(marks[index]))}</td>",
        ]
        rows.append(f'<tr data-name="{name.lower()}" data-kinds="{escape(kinds_of_tag)}">{"".join(cells)}</tr>')
    return rows


def score_histograms(labels: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return histograms of each tag's scores with the edges `SCORE_BINS`, with the tag and without: two int (tags, bins)."""
    bins, num_tags = len(SCORE_BINS) - 1, labels.shape[1]
    counts = np.zeros((2, num_tags * bins), np.int64)
    for start in range(0, len(labels), BLOCK_IMAGES):
        truth, scores = read_rows(slice(start, start + BLOCK_IMAGES), labels, probability)
        bin_of_pair = np.searchsorted(SCORE_BINS[1:-1], log_odds(scores)) + bins * np.arange(num_tags)
        counts[0] += np.bincount(bin_of_pair[truth], minlength=num_tags * bins)
        counts[1] += np.bincount(bin_of_pair[~truth], minlength=num_tags * bins)
    with_tag, without = counts.reshape(2, num_tags, bins)
    return with_tag, without
