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
CARDS = {
    "average_precision_macro": "mAP",
    "auc_roc_macro": "AUC-ROC, macro",
    "f1_macro": "F1, macro",
    "average_precision_micro": "average precision, micro",
}


def what_was_measured(values: dict) -> str:
    """One line under the title."""
    return (
        f'<p class="quiet">{values["images"]:,} pictures in {values["groups"]:,} groups, the {escape(values["split"])} split '
        f"of {escape(values['data'])}, with {values['positives']:,} labels of {values['tags']:,} tags.</p>"
    )


def headline(values: dict) -> str:
    """The four figures to look at first, and what to keep in mind."""
    cards = []
    for name, title in CARDS.items():
        value, (low, high), chance = values[name], values["intervals"][name], values["tag_frequencies"][name]
        if value is None:
            continue
        definition = metrics.DEFINITIONS[name]
        cards.append(
            f'<div class="card" title="{escape(definition.meaning)}">{title}<b>{value:.3f}</b>'
            f'<div class="scale"><i style="left:{100 * low:.1f}%;right:{100 * (1 - high):.1f}%"></i>'
            f'<s style="left:{100 * chance:.1f}%"></s><u style="left:{100 * value:.1f}%"></u></div>'
            f'<span class="range quiet">{low:.3f} to {high:.3f}<br>frequencies alone: {chance:.3f}</span></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div><ul class="caveats note">{"".join(map(_item, caveats(values)))}</ul>'


def caveats(values: dict) -> list[str]:
    """What a reader has to know before believing the figures."""
    said = [
        f"Ranges hold 95 % of {values['resamples']:,} resamples of the {values['groups']:,} groups (variants of one picture "
        "are drawn together). Another seed of training moves the figures too, which these ranges do not show.",
        "Frequencies alone: what a predictor gets that looks at no picture and gives every one the tags' training frequencies.",
    ]
    if not values["groups_known"]:
        said.append(
            "The records of this data folder name no groups: pictures were drawn one by one, and ranges are too narrow "
            "where there are variants. download.py makes a folder that names them."
        )
    if without := values["tags_without_positives"]:
        said.append(f"{without:,} of {values['tags']:,} tags have no picture in this split and count in no macro figure.")
    if values["pooled_ranking"] == "histogram":
        said.append("Pooled ranking figures come from a histogram of scores; all others are exact.")
    if duplicates := values["near_duplicates"]["images"]:
        said.append(f"{duplicates:,} pictures are nearly the same as one of another split (see below): the figures flatter.")
    said.append(
        "The labels are people's: a tag that is missing counts as absent, and right answers count as mistakes there."
    )
    return said


def figure_tables(values: dict) -> str:
    """Every figure beside that of frequencies alone; then by bucket and by category."""
    rows = []
    for name, definition in metrics.DEFINITIONS.items():
        if values.get(name) is not None:
            chance = values["tag_frequencies"].get(name)
            lower = " (lower is better)" if definition.better == "lower" else ""
            rows.append(
                f"<tr><td>{definition.title}{lower}</td><td>{values[name]:.3f}</td><td>{_range(values['intervals'][name])}</td>"
                f'<td>{_number(chance)}</td><td class="meaning less">{escape(definition.meaning)}</td></tr>'
            )
    head = "<th>figure</th><th>this run</th><th>range</th><th>frequencies</th><th class="text less">what it is</th>"
    tables = [f'<div class="wide tall"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>']
    for title, kinds in (("By training positives", values["by_frequency"]), ("By category", values["by_category"])):
        if len(kinds) < 2:
            continue
        body = "".join(
            f"<tr><td>{escape(kind)}</td><td>{row['tags']:,}</td><td>{row['tags_with_positives']:,}</td>"
            + "".join(_value_and_range(row[name]) for name in ("average_precision_macro", "auc_roc_macro", "f1_macro"))
            + "</tr>"
            for kind, row in kinds.items()
        )
        head = "<th></th><th>tags</th><th>counted</th><th>mAP</th><th>AUC-ROC, macro</th><th>F1, macro</th>"
        tables.append(
            f'<h3>{title}</h3><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        )
    return "".join(tables)


def curves(evaluation: Evaluation, history: list[dict]) -> str:
    """ROC, precision-recall, reliability, and how training went."""
    roc, precision_recall = [], []
    for name, found, kind in (("this run", evaluation.figures, "run"), ("frequencies", evaluation.frequencies, "other")):
        hits, said = metrics.accepted_from(*found.levels)
        positives, negatives = hits[0], said[0] - hits[0]
        if positives and negatives:
            roc.append(Line(name, np.append((said - hits) / negatives, 0), np.append(hits / positives, 0), kind))
            precision_recall.append(Line(name, hits / positives, hits / said, kind))
    pairs, probability, labels = evaluation.figures.reliability.T
    filled = pairs > 0
    reliable = Line("this run", probability[filled] / pairs[filled], labels[filled] / pairs[filled], "run", dots=True)
    unit = (0.0, 1.0)
    drawn = [
        charts.line_chart(
            "Reliability, all pairs", "probability", "frequency", [reliable, Line("ideal", unit, unit, "chance")], unit, unit
        )
    ]
    if roc:
        drawn = [
            charts.line_chart(
                "ROC, all pairs (micro)",
                "false positive rate",
                "recall",
                [*roc, Line("chance", unit, unit, "chance")],
                unit,
                unit,
            ),
            charts.line_chart(
                "Precision and recall, all pairs (micro)", "recall", "precision", precision_recall, unit, unit
            ),
            *drawn,
        ]
    if len(history) > 1:
        epochs = [float(row["epoch"]) for row in history]
        for column, title, kind in (
            ("loss", "Training loss", "run"),
            ("val_average_precision_macro", "Validation mAP", "run"),
            ("learning_rate", "Learning rate", "other"),
        ):
            if all(row.get(column) for row in history):
                line = Line("", epochs, [float(row[column]) for row in history], kind, dots=len(history) < 40)
                drawn.append(
                    charts.line_chart(
                        title, "epoch", column.removeprefix("val_").split("_macro")[0].replace("_", " "), [line]
                    )
                )
    return f'<div class="charts">{"".join(drawn)}</div>'


def tag_table(evaluation: Evaluation) -> str:
    """A row a tag, for page.js to sort and filter."""
    tags, found, scores = evaluation.tagger.run.tags, evaluation.figures, evaluation.scores
    thresholds, positives = evaluation.tagger.thresholds, scores.labels.sum(axis=0)
    ranges = tag_ranges(evaluation)
    with_tag, without = score_histograms(scores.labels, scores.probability)
    marks = np.clip((log_odds(thresholds) - SPARK_BINS[0]) / (SPARK_BINS[-1] - SPARK_BINS[0]), 0, 1)
    names_of = {index: [] for index in range(len(tags))}
    kinds = categories(tags) if len(categories(tags)) > 1 else {}
    kinds |= {f"{name} training pictures": chosen for name, chosen in buckets(tags).items()}
    for name, chosen in kinds.items():
        for index in np.flatnonzero(chosen):
            names_of[index].append(name)
    rows = []
    for index in np.argsort(-np.nan_to_num(found.by_tag["average_precision"][:, 0], nan=-1), kind="stable"):
        tag = tags[index]
        area, average, precision, recall, f1 = (
            found.by_tag[name][index, 0] for name in ("auc_roc", "average_precision", "precision", "recall", "f1")
        )
        share = 0 if np.isnan(average) else average
        extra = "" if np.isnan(average) else f'<span class="bar" style="--share:{100 * share:.0f}%"></span>'
        spark = charts.sparkline(with_tag[index], without[index], float(marks[index]))
        rows.append(
            f'<tr data-name="{escape(tag.name.lower())}" data-kinds="{escape("|".join(names_of[index]))}">'
            f'<td data-v="{escape(tag.name)}" title="{escape(tag.name)}">{escape(tag.name)}</td>'
            f'<td data-v="{tag.count}" class="less">{tag.count:,}</td><td data-v="{positives[index]}">{positives[index]:,}</td>'
            f"{_cell(average, extra)}<td class=less>{_range(ranges[index])}</td>{_cell(area)}{_cell(precision)}{_cell(recall)}"
            f"{_cell(f1)}{_cell(thresholds[index])}<td>{spark}</td></tr>"
        )
    head = "".join(
        f'<th{extra}><button type="button">{title}</button></th>' if title not in ("range", "scores") else f"<th{extra}>{title}</th>"
        for title, extra in (
            ("tag", ""), ("training", ' class="less"'), ("here", ""), ("AP", ' aria-sort="descending"'), ("range", ' class="less"'),
            ("AUC", ""), ("precision", ""), ("recall", ""), ("F1", ""), ("threshold", ""), ("scores", ""),
        )
    )  # fmt: skip
    options = "".join(f"<option>{escape(name)}</option>" for name in kinds)
    return (
        '<p class="note">Pictures with the tag in training and here; average precision (AP) and its range; what the threshold '
        "makes of it; scores of the pictures with the tag (blue) and without (gray), as log-odds, and the threshold (red).</p>"
        '<div class="tools"><input id="words" type="search" placeholder="filter by name" aria-label="filter by name">'
        f'<select id="kind" aria-label="kind of tags"><option value="">all tags</option>{options}</select>'
        '<span id="shown" class="quiet"></span></div>'
        f'<div class="wide tall"><table id="by-tag"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def score_histograms(labels: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How the scores of each tag spread over `SPARK_BINS`, with the tag and without: two int (tags, bins)."""
    bins, num_tags = len(SPARK_BINS) - 1, labels.shape[1]
    counts = np.zeros((2, num_tags * bins), np.int64)
    for start in range(0, len(labels), 1024):
        truth = labels[start : start + 1024]
        level = np.searchsorted(SPARK_BINS[1:-1], log_odds(probability[start : start + 1024])) + bins * np.arange(num_tags)
        counts[0] += np.bincount(level[truth], minlength=num_tags * bins)
        counts[1] += np.bincount(level[~truth], minlength=num_tags * bins)
    return tuple(counts.reshape(2, num_tags, bins))


def confusion_table(evaluation: Evaluation) -> str:
    """Tags that are given wrongly where a tag is that they often occur with."""
    scores, names = evaluation.scores, [tag.name for tag in evaluation.tagger.run.tags]
    found = findings.confusions(scores.labels, scores.probability >= evaluation.tagger.thresholds, CONFUSIONS)
    if not found:
        return "<p>No two tags that occur together were confused three times or more.</p>"
    rows = "".join(
        f'<tr><td>{escape(names[pair.true])}</td><td class="text">{escape(names[pair.given])}</td>'
        f"<td>{pair.wrongly:,} of {pair.images:,}</td><td>{pair.wrongly / pair.images:.0%}</td><td>{pair.elsewhere:.0%}</td></tr>"
        for pair in found
    )
    head = '<th>true tag</th><th class="text">given wrongly</th><th>pictures</th><th>share</th><th>elsewhere</th>'
    return (
        '<p class="note">Tags that occur together, of which the second is given where only the first is true; and how often it '
        "is given wrongly to pictures without either.</p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def thresholds(values: dict) -> str:
    """How thresholds and temperature were chosen, and whether they paid."""
    facts = values["thresholds"]
    if "target" not in facts:
        return "<p>This run's threshold is that of an earlier version: <code>eval.py --calibrate</code> fits new ones.</p>"
    worth = "".join(
        f"<tr><td>{_strength(name)}</td><td>{_number(value)}</td></tr>" for name, value in facts["cross_validated"].items()
    )
    return (
        f"<p>{escape(verdict(values))}</p><p class=note>Fitted on the validation split for {escape(facts['target'])}. Temperature "
        f"{facts['temperature']:.3f}; one threshold for all tags would be {facts['global_threshold']:.3f}. Each tag's own is drawn "
        "towards it, and how far is decided by cross-validation over the validation split's groups:</p>"
        '<div class="wide"><table><thead><tr><th>the one threshold counts as much as</th><th>'
        f"{'macro F1' if facts['target'] == 'f1' else 'worth'}</th></tr></thead><tbody>{worth}</tbody></table></div>"
    )


def verdict(values: dict) -> str:
    """Whether a threshold for each tag was better than one for all, in a sentence."""
    facts, split = values["thresholds"], values["split"]
    if "target" not in facts:
        return "One threshold for all tags, of an earlier version"
    if facts["strength"] == "inf":
        return "One threshold for all tags: in cross-validation no threshold for each tag was better."
    gain, (low, high) = facts["gain_in_f1_macro"], facts["interval"]
    if gain is None:
        return "A threshold for each tag."
    word = "gains" if gain > 0 else "does not gain on the best one for all, but changes"
    over = " over the best one for all" if gain > 0 else ""
    return f"A threshold for each tag {word} {gain:+.3f} macro F1{over} on the {split} split ({low:+.3f} to {high:+.3f})."


def _strength(text: str) -> str:
    return "every tag's own positives: one for all" if text == "inf" else f"{text} positives"


def _item(text: str) -> str:
    return f"<li>{escape(text)}</li>"


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else f"{value:.3f}"


def _range(edges) -> str:
    low, high = edges
    return "" if low is None or np.isnan(low) else f"{max(low, 0) if high >= 0 else low:.3f} to {min(high, 1):.3f}"


def _value_and_range(triple: list) -> str:
    value, low, high = triple
    return f"<td>{_number(value)} <span class=quiet>{f'({_range((low, high))})' if value is not None else ''}</span></td>"


def _cell(value: float, before: str = "") -> str:
    return '<td data-v=""></td>' if np.isnan(value) else f'<td data-v="{value:.4f}">{before}{value:.3f}</td>'
