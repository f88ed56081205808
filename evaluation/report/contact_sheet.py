"""Several pictures with captions as one picture: a dozen held-out ones with their tags, or the results of a search."""

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common import files
from common.mapped_arrays import read_rows
from dataset import images, records

if TYPE_CHECKING:
    from evaluation.evaluate import Evaluation

COLUMNS, ROWS = 4, 3
CELL, CAPTION, LINE, MARGIN = 220, 132, 16, 16  # pixels
RIGHT, WRONG, MISSED = "#1a7f37", "#b42318", "#8a8a8e"


def write(evaluation: "Evaluation") -> None:
    """Write `contact_sheet.png` into the run folder, and its pictures into `examples/`, as input for test.py."""
    folder, scores = evaluation.tagger.run.folder, evaluation.scores
    shown = varied_sample(scores.labels)
    ids = [str(scores.ids[index]) for index in shown]
    pictures = records.images_by_id(evaluation.data, evaluation.split, set(ids))
    names = [tag.name for tag in evaluation.tags]
    encoded = [pictures[post_id] for post_id in ids]
    sheet = contact_sheet(encoded, scores.labels[shown], scores.probability[shown], evaluation.thresholds, names)
    with files.atomic_path(folder / "contact_sheet.png") as partial:
        sheet.save(partial)
    with files.atomic_folder(folder / "examples") as partial:
        for post_id, data in zip(ids, encoded, strict=True):
            (partial / f"{post_id.replace('/', '_')}.jpg").write_bytes(data)


def varied_sample(labels: np.ndarray, number: int = COLUMNS * ROWS) -> np.ndarray:
    """Choose pictures at random, but prefer those with a tag that no earlier picture has, which avoids variants.

    Args:
        labels: bool (images, tags).
        number: how many pictures, at most.

    Returns:
        Indices of images, the same on each call.
    """
    order = np.random.default_rng(0).permutation(len(labels))
    seen, first, others = np.zeros(labels.shape[1], bool), [], []
    for index in order:
        [truth] = read_rows(slice(index, index + 1), labels)[0]
        (first if (truth & ~seen).any() else others).append(index)
        seen |= truth
    return np.array([*first, *others][:number])


def contact_sheet(
    encoded: list[bytes], labels: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, names: list[str]
) -> Image.Image:
    """Draw pictures with their predicted tags and the true tags that were missed.

    Args:
        encoded: encoded pictures; at most twelve are shown.
        labels, probability: (pictures, tags).
        thresholds: (tags,).
        names: names of the tags.

    Returns:
        An RGB picture. Under each picture are the predicted tags with their probabilities, right ones in green and wrong
        ones in red, and the missed tags in gray.
    """

    def caption(sheet: Image.Image, left: int, top: int, index: int) -> None:
        _caption(sheet, left, top, labels[index], probability[index], thresholds, names)

    return arrange_in_rows(encoded[: COLUMNS * ROWS], CAPTION, caption)


def arrange_in_rows(encoded: list[bytes], caption_height: int, caption: Callable) -> Image.Image:
    """Draw pictures in rows of four, each with a caption.

    Args:
        encoded: encoded pictures.
        caption_height: in pixels.
        caption: draws the caption of a picture; gets the sheet, the left and top pixel of the caption, and the index.
    """
    rows = -(-len(encoded) // COLUMNS)
    height = CELL + caption_height + MARGIN
    sheet = Image.new("RGB", (COLUMNS * (CELL + MARGIN) + MARGIN, rows * height + MARGIN), "white")
    for index, data in enumerate(encoded):
        left = MARGIN + index % COLUMNS * (CELL + MARGIN)
        top = MARGIN + index // COLUMNS * height
        picture = images.decode(data)
        scale = CELL / max(picture.size)
        picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
        sheet.paste(picture, (left + (CELL - picture.width) // 2, top + (CELL - picture.height) // 2))
        caption(sheet, left, top + CELL + 4, index)
    return sheet


def _caption(sheet, left: int, top: int, labels, probability, thresholds, names: list[str]) -> None:
    """Draw the predicted and missed tags of a picture; missed tags have their place even where many are predicted."""
    font = ImageFont.load_default(12)
    draw = ImageDraw.Draw(sheet)
    accepted = probability >= thresholds
    lines = []
    for tag in np.argsort(-probability):
        if accepted[tag]:
            lines.append((f"{names[tag]} {probability[tag]:.2f}", RIGHT if labels[tag] else WRONG))
    missed = [names[tag] for tag in np.flatnonzero(labels & ~accepted)]
    missed_lines = textwrap.wrap("missed: " + ", ".join(missed), 34) if missed else []
    room = CAPTION // LINE
    for text, colour in (lines[: max(1, room - len(missed_lines))] + [(text, MISSED) for text in missed_lines])[:room]:
        draw.text((left, top), text, fill=colour, font=font)
        top += LINE
