"""The table that eval.py prints, and the table of tags that it writes."""

from pathlib import Path

import numpy as np

from common.files import write_csv
from evaluation.evaluate import Evaluation, tag_ranges
from evaluation.metrics import metrics
from evaluation.report.sections import verdict

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
    """Return the most important figures as an aligned table, with notes.

    Args:
        values: the content of `metrics.json`.
    """
    lines = [f"{'':<32}  {'this run':>8}  {'95 % range':>14}  {'frequencies':>11}"]
    for name in SHOWN:
        if values.get(name) is not None:
            low, high = values["intervals"][name]
            baseline = values["tag_frequencies"].get(name)
            lines.append(
                f"{metrics.DEFINITIONS[name].title:<32}  {values[name]:>8.3f}  {f'{max(low, 0):.3f} to {high:.3f}':>14}"
                f"  {'' if baseline is None else f'{baseline:.3f}':>11}"
            )
    left_out = values["tags_without_positives"]
    lines.append("")
    lines.append(
        f"{values['images']:,} images in {values['groups']:,} groups, {values['positives']:,} labels; "
        f"{values['tags'] - left_out:,} tags count, {left_out:,} have no positive here"
    )
    if not values["groups_known"]:
        lines.append("The records name no groups: single images were resampled, and ranges may be too narrow")
    if ratings := values.get("ratings"):
        low, high = ratings["accuracy_interval"]
        lines.append(
            f"Ratings, not among these figures: accuracy {ratings['accuracy']:.3f} ({low:.3f} to {high:.3f}) of "
            f"{ratings['images']:,} images; the most frequent rating alone: {ratings['accuracy_of_the_most_frequent']:.3f}"
        )
    lines.append(verdict(values))
    lines.append(f"Near-duplicates of a picture in another split: {values['near_duplicates']['images']:,} images")
    return "\n".join(lines)


def write_tags(path: Path, evaluation: Evaluation) -> None:
    """Write one row for each tag: positives in training and in the split, figures, threshold. Undefined: empty."""
    by_tag, tags = evaluation.figures.by_tag, evaluation.tags
    ranges = tag_ranges(evaluation)
    columns = {
        "name": [tag.name for tag in tags],
        "training_positives": [tag.count for tag in tags],
        "positives": evaluation.scores.positives(),
        "auc_roc": by_tag["auc_roc"][:, 0],
        "average_precision": by_tag["average_precision"][:, 0],
        "average_precision_low": ranges[:, 0],
        "average_precision_high": ranges[:, 1],
        **{name: by_tag[name][:, 0] for name in ("precision", "recall", "f1")},
        "threshold": evaluation.thresholds,
    }
    write_csv(path, list(columns), (map(_cell, row) for row in zip(*columns.values(), strict=True)))


def _cell(value) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.4f}"
    return str(value)
