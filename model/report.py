"""What eval.py shows: the figures of a split beside those of tag frequencies alone, a row a tag, a contact sheet."""

import csv
import io
import textwrap
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataset.records import Tag
from model import metrics

COLUMNS, ROWS = 4, 3
CELL, CAPTION, MARGIN = 220, 132, 16  # pixels of the contact sheet
INK, RIGHT, WRONG, MISSED = "#1c1c1e", "#1a7f37", "#b42318", "#8a8a8e"


def figures(labels: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, frequencies: np.ndarray) -> dict:
    """Everything `metrics.json` says of a split but its name.

    Args:
        labels: bool (images, tags).
        probability: float (images, tags).
        thresholds: float (tags,), the probability from which a tag is given.
        frequencies: float (tags,), the share of training images with each tag.

    Returns:
        The figures, the counts that they rest on, and under `tag_frequencies` the same figures for a predictor that gives
        every image the tags' training frequencies (and so accepts the tags that most images have).
    """
    constant = np.broadcast_to(frequencies.astype(np.float32), labels.shape)
    positives = labels.sum(axis=0)
    return {
        **metrics.ranking(labels, probability),
        **metrics.at_threshold(labels, probability >= thresholds),
        "images": len(labels),
        "tags": labels.shape[1],
        "tags_without_positives": int(np.sum(positives == 0)),
        "positives": int(positives.sum()),
        "tag_frequencies": {**metrics.ranking(labels, constant), **metrics.at_threshold(labels, constant >= 0.5)},
    }


def table(values: dict) -> str:
    """The figures as an aligned table for a terminal."""
    counted, positives = values["tags"] - values["tags_without_positives"], values["positives"]
    pairs = f"{values['images'] * values['tags']:,} pairs, {positives:,} positive"
    of_tags = f"{counted:,} tags, {positives / max(counted, 1):.1f} positives each"
    names = {
        "AUC-ROC, macro": ("auc_roc_macro", of_tags),
        "mAP (average precision, macro)": ("average_precision_macro", of_tags),
        "AUC-ROC, micro": ("auc_roc_micro", pairs),
        "average precision, micro": ("average_precision_micro", pairs),
        "accuracy": ("accuracy", pairs),
        "precision, micro": ("precision_micro", pairs),
        "recall, micro": ("recall_micro", pairs),
        "F1, micro": ("f1_micro", pairs),
        "precision, macro": ("precision_macro", of_tags),
        "recall, macro": ("recall_macro", of_tags),
        "F1, macro": ("f1_macro", of_tags),
    }
    lines = [f"{'':<30}  {'this run':>8}  {'frequencies':>11}  rests on"]
    for name, (key, basis) in names.items():
        lines.append(f"{name:<30}  {values[key]:>8.3f}  {values['tag_frequencies'][key]:>11.3f}  {basis}")
    return "\n".join(lines)


def write_tags(path: Path, tags: list[Tag], labels: np.ndarray, probability: np.ndarray, thresholds: np.ndarray) -> None:
    """Write one row a tag: its positives in training and here, its figures and its threshold; empty where undefined."""
    columns = {
        "name": [tag.name for tag in tags],
        "training_positives": [tag.count for tag in tags],
        "positives": labels.sum(axis=0),
        "auc_roc": metrics.auc_roc(labels, probability),
        "average_precision": metrics.average_precision(labels, probability),
        **metrics.precision_recall_f1(labels, probability >= thresholds),
        "threshold": thresholds,
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


def varied(labels: np.ndarray, number: int = COLUMNS * ROWS) -> np.ndarray:
    """A sample of pictures without near-variants in a row: at random, but first those with a tag not yet in the sample.

    Args:
        labels: bool (images, tags).
        number: how many, at most.

    Returns:
        Indices of images, the same each time.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    seen, first, others = np.zeros(labels.shape[1], bool), [], []
    for index in order:
        (first if (labels[index] & ~seen).any() else others).append(index)
        seen |= labels[index]
    return np.array([*first, *others][:number])


def contact_sheet(
    encoded: list[bytes], labels: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, names: list[str]
) -> Image.Image:
    """Pictures with the tags they were given, and those they should have been given.

    Args:
        encoded: encoded pictures; at most twelve are shown.
        labels, probability: (pictures, tags).
        thresholds: (tags,).
        names: of the tags.

    Returns:
        An RGB picture. Under each picture: tags given rightly in green, wrongly in red, with their probabilities, and in
        gray those that were missed.
    """
    encoded = encoded[: COLUMNS * ROWS]
    rows = -(-len(encoded) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (CELL + MARGIN) + MARGIN, rows * (CELL + CAPTION + MARGIN) + MARGIN), "white")
    for index, data in enumerate(encoded):
        left = MARGIN + index % COLUMNS * (CELL + MARGIN)
        top = MARGIN + index // COLUMNS * (CELL + CAPTION + MARGIN)
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        scale = CELL / max(picture.size)
        picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
        sheet.paste(picture, (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2))
        _caption(sheet, left, top + CELL + 4, labels[index], probability[index], thresholds, names)
    return sheet


def _caption(sheet, left: int, top: int, labels, probability, thresholds, names: list[str]) -> None:
    font = ImageFont.load_default(12)
    draw = ImageDraw.Draw(sheet)
    accepted = probability >= thresholds
    lines = []
    for tag in np.argsort(-probability):
        if accepted[tag]:
            lines.append((f"{names[tag]} {probability[tag]:.2f}", RIGHT if labels[tag] else WRONG))
    missed = [names[tag] for tag in np.flatnonzero(labels & ~accepted)]
    missed_lines = textwrap.wrap("missed: " + ", ".join(missed), 34) if missed else []
    room = CAPTION // 16
    for text, colour in (lines[: max(1, room - len(missed_lines))] + [(text, MISSED) for text in missed_lines])[:room]:
        draw.text((left, top), text, fill=colour, font=font)
        top += 16
