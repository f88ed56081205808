"""The parts of the page that show numbers, as HTML."""

from html import escape

import numpy as np

from model import metrics
from model.calibration import log_odds
from model.evaluation import Evaluation, buckets, categories, tag_ranges
from report import charts, findings
from report.charts import Line

SPARK_BINS = np.linspace(-9, 5, 25)  # edges, in log-odds
CONFUSIONS = 15
UNIT = (0.0, 1.0)
CARDS = {
    "average_precision_macro": "mAP",
    "auc_roc_macro": "AUC-ROC, macro",
    "f1_macro": "F1, macro",
    "average_precision_micro": "average precision, micro",
}


def breakable(name: str) -> str:
    """A tag's name as HTML, which a narrow column may break after an underscore."""
    return escape(name).replace("_", "_<wbr>")


def what_was_measured(values: dict) -> str:
    """One line under the title."""
    return (
        f'<p class="quiet">{values["images"]:,} pictures in {values["groups"]:,} groups: the {escape(values["split"])} '
        f"split of {escape(values['data'])}, with {values['positives']:,} labels of {values['tags']:,} tags.</p>"
    )


def headline(values: dict) -> str:
    """The four figures to look at first, and what to keep in mind."""
    cards = []
    for name, title in CARDS.items():
        value, (low, high), chance = values[name], values["intervals"][name], values["tag_frequencies"][name]
        if value is not None and low is not None:
            cards.append(
                f'<div class="card" title="{escape(metrics.DEFINITIONS[name].meaning)}">{title}<b>{value:.3f}</b>'
                f'<div class="scale"><i style="left:{100 * low:.1f}%;right:{100 * (1 - high):.1f}%"></i>'
                f'<s style="left:{100 * chance:.1f}%"></s><u style="left:{100 * value:.1f}%"></u></div>'
                f'<span class="range quiet">{_range((low, high))}<br>frequencies alone: {chance:.3f}</span></div>'
            )
    notes = "".join(f"<li>{escape(note)}</li>" for note in caveats(values))
    return f'<div class="cards">{"".join(cards)}</div><ul class="caveats note">{notes}</ul>'


def caveats(values: dict) -> list[str]:
    """What a reader has to know before believing the figures."""
    said = [
        f"Ranges hold 95 % of {values['resamples']:,} resamples of the {values['groups']:,} groups (variants of one picture "
        "are drawn together). Another seed of training moves the figures too, which these ranges do not show.",
        "Frequencies alone: what a predictor gets that looks at no picture and gives all the tags' training frequencies.",
    ]
    if not values["groups_known"]:
        said.append(
            "The records of this data folder name no groups: pictures were drawn one by one, and ranges are too narrow "
            "where there are variants. download.py now makes folders that name them."
        )
    if without := values["tags_without_positives"]:
        said.append(f"{without:,} of {values['tags']:,} tags have no picture in this split and count in no macro figure.")
    if values["pooled_ranking"] == "histogram":
        said.append("Pooled ranking figures come from a histogram of scores; all others are exact.")
    if duplicates := values["near_duplicates"]["images"]:
        said.append(f"{duplicates:,} pictures are nearly the same as one of another split (see below): figures flatter.")
    said.append("Labels are people's: a missing one counts as absent, and right answers count as mistakes there.")
    return said


def figure_tables(values: dict) -> str:
    """Every figure beside that of frequencies alone; then by bucket and by category."""
    rows = []
    for name, definition in metrics.DEFINITIONS.items():
        if values.get(name) is not None:
            lower = " (lower is better)" if definition.better == "lower" else ""
            numbers = f"<td>{values[name]:.3f}</td><td>{_range(values['intervals'][name])}</td>"
            chance = f"<td>{_number(values['tag_frequencies'].get(name))}</td>"
            meaning = f'<td class="meaning less">{escape(definition.meaning)}</td>'
            rows.append(f"<tr><td>{definition.title}{lower}</td>{numbers}{chance}{meaning}</tr>")
    head = '<th>figure</th><th>this run</th><th>range</th><th>frequencies</th><th class="text less">what it is</th>'
    parts = [_table(head, rows, "tall")]
    for title, kinds in (("By training positives", values["by_frequency"]), ("By category", values["by_category"])):
        if len(kinds) > 1:
            rows = [_kind_row(kind, found) for kind, found in kinds.items()]
            figures = "<th>mAP</th><th>AUC-ROC, macro</th><th>F1, macro</th>"
            head = f'<th></th><th>tags</th><th class="less">counted</th>{figures}'
            parts.append(f"<h3>{title}</h3>{_table(head, rows)}")
    return "".join(parts)


def _kind_row(kind: str, figures: dict) -> str:
    counted = f'<td class="less">{figures["tags_with_positives"]:,}</td>'
    cells = [f"<td>{escape(kind)}</td><td>{figures['tags']:,}</td>{counted}"]
    for name in ("average_precision_macro", "auc_roc_macro", "f1_macro"):
        value, *edges = figures[name]
        cells.append(f'<td>{_number(value)} <span class="quiet">{_range(edges)}</span></td>')
    return f"<tr>{''.join(cells)}</tr>"


def curves(evaluation: Evaluation, history: list[dict]) -> str:
    """ROC, precision-recall, reliability, and how training went."""
    roc, precision_recall = [], []
    for name, found, kind in (("this run", evaluation.figures, "run"), ("frequencies", evaluation.frequencies, "other")):
        hits, said = metrics.accepted_from(*found.levels)
        positives, negatives = hits[0], said[0] - hits[0]
        if positives and negatives:
            roc.append(Line(name, np.append((said - hits) / negatives, 0), np.append(hits / positives, 0), kind))
            precision_recall.append(Line(name, hits / positives, hits / said, kind))
    drawn = []
    if roc:
        roc.append(Line("chance", UNIT, UNIT, "chance"))
        title = "Precision and recall, all pairs (micro)"
        drawn.append(charts.line_chart("ROC, all pairs (micro)", "false positive rate", "recall", roc, UNIT, UNIT))
        drawn.append(charts.line_chart(title, "recall", "precision", precision_recall, UNIT, UNIT))
    pairs, probability, labels = evaluation.figures.reliability[evaluation.figures.reliability[:, 0] > 0].T
    reliable = [Line("this run", probability / pairs, labels / pairs, dots=True), Line("ideal", UNIT, UNIT, "chance")]
    drawn.append(charts.line_chart("Reliability, all pairs", "probability", "frequency", reliable, UNIT, UNIT))
    for column, title, label, kind in (
        ("loss", "Training loss", "loss", "run"),
        ("val_average_precision_macro", "Validation mAP", "mAP", "run"),
        ("learning_rate", "Learning rate", "learning rate", "other"),
    ):
        if len(history) > 1 and all(row.get(column) for row in history):
            epochs, heights = ([float(row[name]) for row in history] for name in ("epoch", column))
            line = Line("", epochs, heights, kind, dots=len(history) < 40)
            drawn.append(charts.line_chart(title, "epoch", label, [line]))
    return f'<div class="charts">{"".join(drawn)}</div>'


def tag_table(evaluation: Evaluation) -> str:
    """A row a tag, for page.js to sort and filter."""
    tags, by_tag, scores = evaluation.tagger.run.tags, evaluation.figures.by_tag, evaluation.scores
    thresholds, positives, ranges = evaluation.tagger.thresholds, scores.labels.sum(axis=0), tag_ranges(evaluation)
    with_tag, without = score_histograms(scores.labels, scores.probability)
    marks = np.clip((log_odds(thresholds) - SPARK_BINS[0]) / (SPARK_BINS[-1] - SPARK_BINS[0]), 0, 1)
    kinds = {f"{name} training pictures": chosen for name, chosen in buckets(tags).items()}
    if len(categories(tags)) > 1:
        kinds |= categories(tags)
    average = by_tag["average_precision"][:, 0]
    rows = []
    for index in np.argsort(-np.nan_to_num(average, nan=-1), kind="stable"):
        name = escape(tags[index].name)
        of_kinds = "|".join(kind for kind, chosen in kinds.items() if chosen[index])
        bar = f'<span class="bar" style="--share:{100 * np.nan_to_num(average[index]):.0f}%"></span>'
        figures = (by_tag[figure][index, 0] for figure in ("auc_roc", "precision", "recall", "f1"))
        cells = [
            f'<td data-v="{name}">{breakable(tags[index].name)}</td>',
            f'<td data-v="{tags[index].count}" class="less">{tags[index].count:,}</td>',
            f'<td data-v="{positives[index]}">{positives[index]:,}</td>{_cell(average[index], bar)}',
            f'<td class="less">{_range(ranges[index])}</td>',
            *map(_cell, figures),
            _cell(thresholds[index]),
            f"<td>{charts.sparkline(with_tag[index], without[index], float(marks[index]))}</td>",
        ]
        rows.append(f'<tr data-name="{name.lower()}" data-kinds="{escape(of_kinds)}">{"".join(cells)}</tr>')
    options = "".join(f"<option>{escape(kind)}</option>" for kind in kinds)
    return (
        '<p class="note">Pictures with the tag in training and here; average precision (AP) and its range; what the '
        "threshold makes of it; scores of the pictures with the tag (blue) and without (gray), as log-odds, and the "
        "threshold (red). A click on a title sorts.</p>"
        '<div class="tools"><input id="words" type="search" placeholder="filter by name" aria-label="filter by name">'
        f'<select id="kind" aria-label="kind of tags"><option value="">all tags</option>{options}</select>'
        f'<span id="shown" class="quiet"></span></div>{_table(_tag_head(), rows, "tall", "by-tag")}'
    )


def _tag_head() -> str:
    cells = []
    for title in ("tag", "training", "here", "AP", "range", "AUC", "precision", "recall", "F1", "threshold", "scores"):
        attributes = ' class="less"' if title in ("training", "range") else ""
        attributes += ' aria-sort="descending"' if title == "AP" else ""
        content = title if title in ("range", "scores") else f'<button type="button">{title}</button>'
        cells.append(f"<th{attributes}>{content}</th>")
    return "".join(cells)


def score_histograms(labels: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How the scores of each tag spread over `SPARK_BINS`, with the tag and without: two int (tags, bins)."""
    bins, num_tags = len(SPARK_BINS) - 1, labels.shape[1]
    counts = np.zeros((2, num_tags * bins), np.int64)
    for start in range(0, len(labels), 1024):
        truth, logits = labels[start : start + 1024], log_odds(probability[start : start + 1024])
        level = np.searchsorted(SPARK_BINS[1:-1], logits) + bins * np.arange(num_tags)
        counts[0] += np.bincount(level[truth], minlength=num_tags * bins)
        counts[1] += np.bincount(level[~truth], minlength=num_tags * bins)
    return tuple(counts.reshape(2, num_tags, bins))


def confusion_table(evaluation: Evaluation) -> str:
    """Tags that are given wrongly where a tag is that they often occur with."""
    scores, names = evaluation.scores, [breakable(tag.name) for tag in evaluation.tagger.run.tags]
    found = findings.confusions(scores.labels, scores.probability, evaluation.tagger.thresholds, CONFUSIONS)
    if not found:
        return "<p>No two tags that occur together were confused three times or more.</p>"
    rows = [
        f'<tr><td>{names[pair.true]}</td><td class="text">{names[pair.given]}</td><td>{pair.wrongly:,} of {pair.images:,}'
        f"</td><td>{pair.wrongly / pair.images:.0%}</td><td>{pair.elsewhere:.0%}</td></tr>"
        for pair in found
    ]
    head = '<th>true tag</th><th class="text">given wrongly</th><th>pictures</th><th>share</th><th>elsewhere</th>'
    return (
        '<p class="note">Tags that occur together, of which the second is given where only the first is true; and how '
        f"often it is given wrongly to pictures without either.</p>{_table(head, rows)}"
    )


def thresholds(values: dict) -> str:
    """How thresholds and temperature were chosen, and whether they paid."""
    facts = values["thresholds"]
    if "target" not in facts:
        return f"<p>{escape(verdict(values))}</p>"
    rows = []
    for strength, worth in facts["cross_validated"].items():
        text = f"{strength} positives" if strength != "inf" else "any number: one threshold for all tags"
        chosen = " (chosen)" if strength == facts["strength"] else ""
        rows.append(f"<tr><td>{text}{chosen}</td><td>{_number(worth)}</td></tr>")
    worth = "macro F1" if facts["target"] == "f1" else "worth"
    return (
        f'<p>{escape(verdict(values))}</p><p class="note">Fitted on the validation split for {escape(facts["target"])}. '
        f"Temperature {facts['temperature']:.3f}; one threshold for all tags would be {facts['global_threshold']:.3f}. Each "
        "tag's own is drawn towards it, and how far is decided by cross-validation over the validation split's groups:</p>"
        + _table(f"<th>the one threshold counts as much as</th><th>{worth}</th>", rows)
    )


def verdict(values: dict) -> str:
    """Whether a threshold for each tag was better than one for all, in a sentence."""
    facts, split = values["thresholds"], values["split"]
    if "target" not in facts:
        return "The thresholds are those of an earlier version: eval.py --calibrate fits new ones."
    if facts["strength"] == "inf":
        return "One threshold for all tags: in cross-validation no threshold for each tag was better."
    gain, (low, high) = facts["gain_in_f1_macro"], facts["interval"]
    if gain is None:
        return "A threshold for each tag."
    word, over = ("gains", " over the best one for all") if gain > 0 else ("is no better than the best one for all:", "")
    return f"A threshold for each tag {word} {gain:+.3f} macro F1{over} on the {split} split ({low:+.3f} to {high:+.3f})."


def _table(head: str, rows: list[str], kind: str = "", name: str = "") -> str:
    """A table that scrolls in its own frame where it is too wide."""
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    attribute = f' id="{name}"' if name else ""
    return f'<div class="wide {kind}"><table{attribute}>{body}</table></div>'


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.3f}"


def _range(edges) -> str:
    low, high = edges
    return "" if low is None or np.isnan(low) else f"{max(low, 0) if high >= 0 else low:.3f} to {min(high, 1):.3f}"


def _cell(value: float, before: str = "") -> str:
    return '<td data-v=""></td>' if np.isnan(value) else f'<td data-v="{value:.4f}">{before}{value:.3f}</td>'
