"""The sections of the report that show figures, confused tags and thresholds, as HTML.

`values` is the content of `metrics.json` everywhere.
"""

from html import escape

from evaluation.evaluate import Evaluation
from evaluation.metrics import metrics
from evaluation.report import findings
from evaluation.report.html import breakable, figure, interval, table

CONFUSIONS_SHOWN = 15
CARDS = {
    "average_precision_macro": "mAP",
    "auc_roc_macro": "AUC-ROC, macro",
    "f1_macro": "F1, macro",
    "average_precision_micro": "average precision, micro",
}


def split_summary(values: dict) -> str:
    """Return the line under the title: how many pictures and labels, of which split."""
    return (
        f'<p class="quiet">{values["images"]:,} pictures in {values["groups"]:,} groups: the {escape(values["split"])} '
        f"split of {escape(values['data'])}, with {values['positives']:,} labels of {values['tags']:,} tags.</p>"
    )


def headline(values: dict) -> str:
    """Return the four most important figures with their ranges, and notes on how to read them."""
    cards = []
    for name, title in CARDS.items():
        value, (low, high), baseline = values[name], values["intervals"][name], values["tag_frequencies"][name]
        if value is not None and low is not None:
            cards.append(
                f'<div class="card" title="{escape(metrics.DEFINITIONS[name].meaning)}">{title}<b>{value:.3f}</b>'
                f'<div class="scale"><i style="left:{100 * low:.1f}%;right:{100 * (1 - high):.1f}%"></i>'
                f'<s style="left:{100 * baseline:.1f}%"></s><u style="left:{100 * value:.1f}%"></u></div>'
                f'<span class="range quiet">{interval((low, high))}<br>tag frequencies: {baseline:.3f}</span></div>'
            )
    notes = "".join(f"<li>{escape(note)}</li>" for note in caveats(values))
    return f'<div class="cards">{"".join(cards)}</div><ul class="caveats note">{notes}</ul>'


def caveats(values: dict) -> list[str]:
    """Return what a reader must know to judge the figures, as plain text."""
    notes = [
        f"A range contains the middle 95 % of {values['resamples']:,} resamples of the {values['groups']:,} groups. "
        "Variants of one picture are drawn together. The effect of the training seed is not included.",
        "Tag frequencies are a baseline: a predictor that sees no picture and gives each tag its frequency in training.",
    ]
    if not values["groups_known"]:
        notes.append(
            "The records of this data folder name no groups: single pictures were resampled, and the ranges are too narrow "
            "where there are variants. Folders that download.py makes now name groups."
        )
    if without := values["tags_without_positives"]:
        notes.append(
            f"{without:,} of {values['tags']:,} tags have no picture in this split and do not count in macro figures."
        )
    if values["pooled_ranking"] == "histogram":
        notes.append("Micro ranking figures come from a histogram of scores; all other figures are exact.")
    if duplicates := values["near_duplicates"]["images"]:
        notes.append(
            f"{duplicates:,} pictures are nearly the same as one of another split (see below): figures may be too high."
        )
    notes.append(
        "Labels come from people. A missing label counts as absent, so that some correct predictions count as wrong."
    )
    return notes


def figure_tables(values: dict) -> str:
    """Return the table of all figures, and the tables by training positives and by category."""
    rows = []
    for name, definition in metrics.DEFINITIONS.items():
        if values.get(name) is not None:
            lower = " (lower is better)" if definition.better == "lower" else ""
            numbers = f"<td>{values[name]:.3f}</td><td>{interval(values['intervals'][name])}</td>"
            baseline = f"<td>{figure(values['tag_frequencies'].get(name))}</td>"
            meaning = f'<td class="meaning less">{escape(definition.meaning)}</td>'
            rows.append(f"<tr><td>{definition.title}{lower}</td>{numbers}{baseline}{meaning}</tr>")
    head = '<th>figure</th><th>this run</th><th>range</th><th>frequencies</th><th class="text less">definition</th>'
    parts = [table(head, rows, "tall")]
    for title, kinds in (("By training positives", values["by_frequency"]), ("By category", values["by_category"])):
        if len(kinds) > 1:
            rows = [_kind_row(kind, figures) for kind, figures in kinds.items()]
            figure_heads = "<th>mAP</th><th>AUC-ROC, macro</th><th>F1, macro</th>"
            head = f'<th></th><th>tags</th><th class="less">with positives</th>{figure_heads}'
            parts.append(f"<h3>{title}</h3>{table(head, rows)}")
    if ratings := values.get("ratings"):
        parts.append(_rating_table(ratings))
    return "".join(parts)


def _rating_table(ratings: dict) -> str:
    names = [breakable(name) for name in ratings["confusion"]]
    rows = []
    for name, counts in zip(names, ratings["confusion"].values(), strict=True):
        rows.append(f"<tr><td>{name}</td>{''.join(f'<td>{count:,}</td>' for count in counts.values())}</tr>")
    head = "<th>true</th>" + "".join(f"<th>predicted {name}</th>" for name in names)
    return (
        "<h3>Ratings</h3><p>One of them holds for each picture; they do not count in the figures above. "
        f"Accuracy {ratings['accuracy']:.3f} ({interval(ratings['accuracy_interval'])}); the most frequent one alone: "
        f"{ratings['accuracy_of_the_most_frequent']:.3f}.</p>{table(head, rows)}"
    )


def _kind_row(kind: str, figures: dict) -> str:
    counted = f'<td class="less">{figures["tags_with_positives"]:,}</td>'
    cells = [f"<td>{escape(kind)}</td><td>{figures['tags']:,}</td>{counted}"]
    for name in ("average_precision_macro", "auc_roc_macro", "f1_macro"):
        value, *edges = figures[name]
        cells.append(f'<td>{figure(value)} <span class="quiet">{interval(edges)}</span></td>')
    return f"<tr>{''.join(cells)}</tr>"


def confusion_table(evaluation: Evaluation) -> str:
    """Return the section of tags that are predicted wrongly where a tag is true with which they often occur."""
    scores, names = evaluation.scores, [breakable(tag.name) for tag in evaluation.tags]
    pairs = findings.confusions(scores.labels, scores.probability, evaluation.thresholds, CONFUSIONS_SHOWN)
    if not pairs:
        return "<p>No two tags that occur together were confused three times or more.</p>"
    rows = [
        f'<tr><td>{names[pair.true]}</td><td class="text">{names[pair.predicted]}</td>'
        f"<td>{pair.false_positives:,} of {pair.images:,}</td><td>{pair.false_positives / pair.images:.0%}</td>"
        f"<td>{pair.elsewhere:.0%}</td></tr>"
        for pair in pairs
    ]
    head = '<th>true tag</th><th class="text">predicted wrongly</th><th>pictures</th><th>share</th><th>elsewhere</th>'
    return (
        '<p class="note">Pairs of tags that occur together, where the second is predicted for pictures with only the first. '
        f"<i>Elsewhere</i> is the share of the pictures with neither tag for which it is predicted.</p>{table(head, rows)}"
    )


def thresholds(values: dict) -> str:
    """Return the section of thresholds: how thresholds and temperature were chosen, and whether they helped."""
    facts = values["thresholds"]
    if "target" not in facts:
        return f"<p>{escape(verdict(values))}</p>"
    rows = []
    for shrinkage, objective in facts["cross_validated"].items():
        text = "infinite: one threshold for all tags" if shrinkage == "inf" else f"{shrinkage} positives"
        chosen = " (chosen)" if shrinkage == facts["strength"] else ""
        rows.append(f"<tr><td>{text}{chosen}</td><td>{figure(objective)}</td></tr>")
    objective = "macro F1" if facts["target"] == "f1" else "objective"
    return (
        f'<p>{escape(verdict(values))}</p><p class="note">Fitted on the validation split for {escape(facts["target"])}. '
        f"Temperature: {facts['temperature']:.3f}. Best threshold for all tags together: {facts['global_threshold']:.3f}. "
        "Each tag's own threshold is shrunk towards it. Cross-validation over groups of the validation split selects how "
        "much:</p>" + table(f"<th>shrinkage</th><th>{objective}</th>", rows)
    )


def verdict(values: dict) -> str:
    """Return a sentence on whether separate thresholds were better than one threshold for all tags."""
    facts, split = values["thresholds"], values["split"]
    if "target" not in facts:
        return "The thresholds are those of an earlier version: eval.py --calibrate fits new ones."
    if facts["strength"] == "inf":
        return "One threshold for all tags: in cross-validation, separate thresholds were not better."
    gain, (low, high) = facts["gain_in_f1_macro"], facts["interval"]
    if gain is None:
        return "Each tag has its own threshold."
    return (
        f"Separate thresholds instead of the best one for all tags change macro F1 by {gain:+.3f} on the {split} split "
        f"({low:+.3f} to {high:+.3f})."
    )
