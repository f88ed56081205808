"""Search results as one picture."""

import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from common.errors import InputError
from common.files import atomic_path
from dataset import images, recovery
from evaluation.report.contact_sheet import LINE, MISSED, arrange_in_rows
from inference import sources
from retrieval.picture_index import Match


def write_matches(path: Path, matches: list[Match]) -> None:
    """Write one picture that shows search results with their scores and names.

    Raises:
        InputError: the file's suffix is not one of the formats written, or there are no results.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise InputError(f"--sheet writes .png, .jpg or .webp. Received: {path}")
    if not matches:
        raise InputError("there are no results: no sheet is written")
    pictures = (recovery.recover(images.read_file(match.path))[0] for match in matches)
    encoded = [frame for picture in pictures for _, frame in sources.frames(picture, 1)]

    def caption(sheet: Image.Image, left: int, top: int, index: int) -> None:
        text = f"{matches[index].score:.2f} {matches[index].path.name}"
        ImageDraw.Draw(sheet).text((left, top), textwrap.shorten(text, 36), fill=MISSED, font=ImageFont.load_default(12))

    with atomic_path(path) as partial:
        arrange_in_rows(encoded, LINE, caption).save(partial)
