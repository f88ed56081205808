"""A dozen held-out pictures with the tags they were given, or pictures that a search found, as one picture."""

import shutil
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from command import InputError
from dataset import images, records
from model import inputs

if TYPE_CHECKING:
    from model.evaluation import Evaluation  # which imports Keras
    from model.picture_index import Match

COLUMNS, ROWS = 4, 3
CELL, CAPTION, LINE, MARGIN = 220, 132, 16, 16  # pixels of the contact sheet
RIGHT, WRONG, MISSED = "#1a7f37", "#b42318", "#8a8a8e"


def write(evaluation: "Evaluation") -> None:
    """Write `contact_sheet.png` and, to try test.py on, its pictures in `examples/` into the run folder."""
    folder, scores = evaluation.tagger.run.folder, evaluation.scores
    shown = varied(scores.labels)
    ids = [str(scores.ids[index]) for index in shown]
    found = records.images_of(evaluation.data, evaluation.split, set(ids))
    names = [tag.name for tag in evaluation.tagger.run.tags]
    encoded = [found[post_id] for post_id in ids]
    sheet = contact_sheet(encoded, scores.labels[shown], scores.probability[shown], evaluation.tagger.thresholds, names)
    partial = folder / "contact_sheet.partial"
    sheet.save(partial, "PNG")
    partial.replace(folder / "contact_sheet.png")

    partial, examples = folder / "examples.partial", folder / "examples"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for post_id, data in zip(ids, encoded, strict=True):
        (partial / f"{post_id.replace('/', '_')}.jpg").write_bytes(data)
    shutil.rmtree(examples, ignore_errors=True)
    partial.replace(examples)


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

    def caption(sheet: Image.Image, left: int, top: int, index: int) -> None:
        _caption(sheet, left, top, labels[index], probability[index], thresholds, names)

    return _arranged(encoded[: COLUMNS * ROWS], CAPTION, caption)


def write_matches(path: Path, matches: "list[Match]") -> None:
    """Write the pictures that a search found, with their scores and names, as one picture.

    Raises:
        InputError: the file's name is that of no format that is written.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"--sheet writes .png, .jpg or .webp. Received: {path}")
    if not matches:
        raise InputError("nothing was found: no sheet is written")
    encoded = [next(picture for _, picture in inputs.frames(images.read_file(match.path), 1)) for match in matches]

    def caption(sheet: Image.Image, left: int, top: int, index: int) -> None:
        text = f"{matches[index].score:.2f} {matches[index].path.name}"
        ImageDraw.Draw(sheet).text((left, top), textwrap.shorten(text, 36), fill=MISSED, font=ImageFont.load_default(12))

    partial = path.with_name(f"partial-{path.name}")
    _arranged(encoded, LINE, caption).save(partial)
    partial.replace(path)


def _arranged(encoded: list[bytes], caption_height: int, caption: Callable) -> Image.Image:
    """Pictures in rows of four, with room under each, which `caption` (sheet, left, top, index) writes into."""
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
