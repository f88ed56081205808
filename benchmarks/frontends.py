"""An exported run in other programs' hands: the tags that they give, beside test.py's."""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measuring import report
from command import InputError
from dataset.boards.folder import image_files
from model.predict import Tagger

THRESHOLD = 0.35  # theirs by default


def add_options(parser: argparse.ArgumentParser) -> None:
    """The export and the pictures."""
    parser.add_argument("pictures", type=Path, nargs="+", help="folders of pictures")
    parser.add_argument("--run", type=Path, required=True, help="model.onnx, with selected_tags.csv beside it")
    parser.add_argument("--number", type=int, default=100, help="pictures of each folder (default: 100)")


def measure(options: argparse.Namespace) -> None:
    """Print how many pictures get the same tags, and of how many tags some are given by one of both only."""
    tagger, rows, figures = Tagger.load(options.run), [], []
    for folder in options.pictures:
        files = [folder / name for name in image_files(folder)[: options.number]]
        ours = [set(tags) for tags in tagger.tag(files, THRESHOLD)]
        for name, load in FRONT_ENDS.items():
            try:
                theirs = list(map(load(options.run), files))
            except InputError as error:
                rows.append([f"{folder.name}: {name}", str(error), "", ""])
                continue
            same = sum(one == other for one, other in zip(ours, theirs, strict=True))
            given = sum(len(one | other) for one, other in zip(ours, theirs, strict=True))
            differ = sum(len(one ^ other) for one, other in zip(ours, theirs, strict=True))
            rows.append([f"{folder.name}: {name}", f"{same} of {len(files)}", f"{given:,}", f"{differ}"])
            figures.append({"pictures": folder.name, "front_end": name, "same": same, "tags": given, "differ": differ})
    report("frontends", ["", "pictures with the same tags", "tags", "differ"], rows, {"rows": figures})


def imgutils(model: Path) -> Callable[[Path], set[str]]:
    """`dghs-imgutils`, which asks the network for its models, and is given ours instead.

    Raises:
        InputError: it is not installed.
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
    """The steps of kohya's tagging script: a white square, OpenCV's resizing, BGR.

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
