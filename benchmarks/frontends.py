"""An exported network in other programs' tagging code: the tags that they give, beside those of test.py.

    python -m benchmarks frontends PICTURES-64 PICTURES-1024 --run runs/openmoji/export/model.onnx

The pictures are folders; a program that is not installed (`dghs-imgutils`, `opencv-python-headless`) is skipped. Result:
frontends.json.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.reporting import Table, report
from common.errors import InputError, say
from dataset import picture_files
from inference.tagger import Tagger

THRESHOLD = 0.35  # the default of the other programs


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the folders of pictures and the export."""
    parser.add_argument("pictures", type=Path, nargs="+", help="folders of pictures")
    parser.add_argument("--run", type=Path, required=True, help="model.onnx, with selected_tags.csv beside it")
    parser.add_argument("--number", type=int, default=100, help="pictures of each folder (default: 100)")


def measure(options: argparse.Namespace) -> None:
    """Print how many pictures get the same tags from both, and how many tags only one of both gives."""
    tagger, results = Tagger.open(options.run), []
    for folder in options.pictures:
        files = [folder / name for name in picture_files.find(folder).names[: options.number]]
        ours = [set(tags) for tags in tagger.tag(files, THRESHOLD)]
        for name, load in FRONT_ENDS.items():
            try:
                theirs = list(map(load(options.run), files))
            except InputError as error:
                say(f"{folder.name}: {name}: {error}")
                continue
            pairs = list(zip(ours, theirs, strict=True))
            counts = {
                "same": sum(one == other for one, other in pairs),
                "tags": sum(len(one | other) for one, other in pairs),
                "differ": sum(len(one ^ other) for one, other in pairs),
            }
            results.append({"pictures": folder.name, "front_end": name, "number": len(files)} | counts)
    figures = {"rows": results}
    report("frontends", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each folder and program."""
    rows = []
    for row in figures["rows"]:
        same = f"{row['same']} of {row.get('number', 100)}"  # results of earlier versions are of 100 pictures
        rows.append([f"{row['pictures']}: {row['front_end']}", same, f"{row['tags']:,}", f"{row['differ']}"])
    return Table(["", "pictures with the same tags", "tags", "tags of one only"], rows)


def imgutils(model: Path) -> Callable[[Path], set[str]]:
    """Return the tagging function of `dghs-imgutils`, with the export in place of the model that it would download.

    Raises:
        InputError: `dghs-imgutils` is not installed.
    """
    try:
        from imgutils.tagging import wd14
    except ImportError:
        raise InputError("skipped: pip install dghs-imgutils") from None
    wd14.hf_hub_download = lambda repo_id, filename: str(model.with_name(Path(filename).name))

    def tags(picture: Path) -> set[str]:
        return set(wd14.get_wd14_tags(picture, general_threshold=THRESHOLD, character_threshold=THRESHOLD, fmt="tag"))

    return tags


def kohya(model: Path) -> Callable[[Path], set[str]]:
    """Return a function that follows kohya's tagging script: a white square, OpenCV's resizing, BGR.

    Raises:
        InputError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise InputError("skipped: pip install opencv-python-headless") from None
    import onnxruntime

    session = onnxruntime.InferenceSession(model)
    side = session.get_inputs()[0].shape[1]
    with model.with_name("selected_tags.csv").open(encoding="utf-8", newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]

    def tags(picture: Path) -> set[str]:
        pixels = np.asarray(Image.open(picture).convert("RGB"))[..., ::-1]  # (height, width, 3)
        height, width = pixels.shape[:2]
        square = np.full((max(height, width),) * 2 + (3,), 255, np.uint8)
        top, left = (len(square) - height) // 2, (len(square) - width) // 2
        square[top : top + height, left : left + width] = pixels
        filter_ = cv2.INTER_AREA if len(square) > side else cv2.INTER_LANCZOS4
        square = cv2.resize(square, (side, side), interpolation=filter_).astype(np.float32)
        [probabilities] = session.run(["probability"], {session.get_inputs()[0].name: square[None]})
        return {name for name, probability in zip(names, probabilities[0], strict=True) if probability > THRESHOLD}

    return tags


FRONT_ENDS = {"dghs-imgutils": imgutils, "as kohya's scripts": kohya}
