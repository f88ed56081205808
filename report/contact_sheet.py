"""A dozen held-out pictures with the tags they were given, as one picture."""

import io
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 4, 3
CELL, CAPTION, MARGIN = 220, 132, 16  # pixels of the contact sheet
RIGHT, WRONG, MISSED = "#1a7f37", "#b42318", "#8a8a8e"


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
