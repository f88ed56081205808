"""What eval.py prints."""

import csv
from pathlib import Path

import numpy as np

from model import metrics
from model.evaluation import Evaluation, tag_ranges
from report.sections import verdict

SHOWN = (
    "average_precision_macro",
    "auc_roc_macro",
    "average_precision_micro",
    "auc_roc_micro",
    "break_even_micro",
    "f1_macro",
    "f1_micro",
    "precision_micro",
    "recall_micro",
    "mcc_micro",
    "accuracy",
    "top_n_iou",
    "top_n_hit_rate",
    "semantic_accuracy",
    "expected_calibration_error",
    "brier",
)


def brief(values: dict) -> str:
    """The figures that matter most as an aligned table, and what to know of them."""
    lines = [f"{'':<32}  {'this run':>8}  {'95 % range':>14}  {'frequencies':>11}"]
    for name in SHOWN:
        if values.get(name) is not None:
            low, high = values["intervals"][name]
            chance = values["tag_frequencies"].get(name)
            lines.append(
                f"{metrics.DEFINITIONS[name].title:<32}  {values[name]:>8.3f}  {f'{max(low, 0):.3f} to {high:.3f}':>14}"
                f"  {'' if chance is None else f'{chance:.3f}':>11}"
            )
    left_out = values["tags_without_positives"]
    lines.append("")
    lines.append(
        f"{values['images']:,} images in {values['groups']:,} groups, {values['positives']:,} labels; "
        f"{values['tags'] - left_out:,} tags count, {left_out:,} have no positive here"
    )
    if not values["groups_known"]:
        lines.append("The records name no groups: images were resampled one by one, and ranges may be too narrow")
    lines.append(verdict(values))
    lines.append(f"Nearly the same as a picture of another split: {values['near_duplicates']['images']:,} images")
    return "\n".join(lines)


def write_tags(path: Path, evaluation: Evaluation) -> None:
    """Write one row a tag: its positives in training and here, its figures and its threshold; empty where undefined."""
    found, tags = evaluation.figures, evaluation.tagger.run.tags
    ranges = tag_ranges(evaluation)
    columns = {
        "name": [tag.name for tag in tags],
        "training_positives": [tag.count for tag in tags],
        "positives": evaluation.scores.labels.sum(axis=0),
        "auc_roc": found.by_tag["auc_roc"][:, 0],
        "average_precision": found.by_tag["average_precision"][:, 0],
        "average_precision_low": ranges[:, 0],
        "average_precision_high": ranges[:, 1],
        **{name: found.by_tag[name][:, 0] for name in ("precision", "recall", "f1")},
        "threshold": evaluation.tagger.thresholds,
    }
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*columns.values(), strict=True):
            writer.writerow(_cell(value) for value in row)
    partial.replace(path)


def _cell(value) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.4f}"
    return str(value)
