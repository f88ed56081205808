"""Write a run in the formats that other programs load, and compare each file with the run on real pictures."""

import importlib.util
import os
from pathlib import Path

from command import Parser, run
from common.errors import InputError, say
from common.processes import import_quietly
from model.onnx_session import LIBRARIES_TO_WRITE

FORMATS = ("onnx", "suite", "run", "keras", "trunk", "timm", "cl", "safetensors", "savedmodel", "litert", "int8")
ONNX_FORMATS = {"onnx", "suite", "run", "trunk", "timm", "cl"}
SIDE, MAX_SIDE = 448, 4096  # pixels; many front ends send pictures of 448 px, whatever the file says


def main() -> None:
    """Write each format, read it back, compare it with the run, and only then give it its final name."""
    options = parse_arguments()
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the only backend that all converters support
    import_quietly("keras")
    from evaluation.metrics.metrics import ranking
    from inference.added_tags import with_added_tags
    from inference.export import formats
    from inference.export.front_end_files import rating_note
    from inference.tagger import Tagger
    from model import run_folder

    path = options.run or run_folder.newest(Path("runs"), "model.keras", "train.py")
    tagger = with_added_tags(Tagger.open(path), options.added_tags)
    data = options.data or Path(tagger.run.data)
    if tagger.is_onnx:
        raise InputError(f"--run has to be a run folder, which holds the network itself. Received: {options.run}")
    split, pixels, labels = formats.read_pictures(tagger, data, options.pictures)
    image_size = tagger.run.config.image_size
    side = max(SIDE, image_size) if options.side is None else options.side
    if not image_size <= side <= MAX_SIDE:
        raise InputError(
            f"--side has to be at least {image_size}, the run's image size, and at most {MAX_SIDE}. Received: {side}"
        )
    out = options.out or tagger.run.folder / "export"
    if out.exists() and not out.is_dir():
        raise InputError(f"--out has to be a folder. Received the file {out}")
    say(f"checked on {len(pixels)} pictures of the {split} split")
    if tagger.run.config.resize != "pad":
        resize = tagger.run.config.resize
        say(f"warning: front ends put pictures on a white square, but this run was trained with --resize {resize}")
    if {"onnx", "timm", "cl"} & set(options.format):
        say(f"{rating_note(tagger)} (docs/export.md says what front ends make of it)")
    for name in dict.fromkeys(options.format):
        folder = tagger.run.folder if name == "run" else out
        folder.mkdir(parents=True, exist_ok=True)
        export = formats.write_checked(tagger, name, side, folder, pixels)
        change = ""
        if name == "int8":
            before, after = (ranking(labels, scores)["auc_roc_macro"] for scores in (export.expected, export.received))
            change = f", macro AUC {before:.4f} ▶ {after:.4f}"
        print(f"{export.summary}{change}", flush=True)


def parse_arguments():
    """Return the options of the command line.

    Raises:
        InputError: a library for one of the formats is missing.
    """
    parser = Parser(__doc__)
    parser.add_argument("--run", type=Path, help="run folder (default: the newest under runs/)")
    parser.add_argument("--added-tags", nargs="+", type=Path, metavar="FILE", default=[], help="files of train.py --teach")
    parser.add_argument("--out", type=Path, help="folder to write (default: export/ in the run folder)")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=["onnx", "suite"], help="default: onnx suite")
    parser.add_argument(
        "--side",
        type=int,
        help=f"side of the pictures that front ends send, in pixels (default: {SIDE}, or the run's if larger)",
    )
    parser.add_argument("--data", type=Path, help="data folder to check with (default: the run's own)")
    parser.add_argument("--pictures", type=int, default=512, help="pictures of the test split to check with (default: 512)")
    options = parser.parse_args()
    if "run" in options.format and (options.out or options.added_tags):
        raise InputError("--format run writes model.onnx into --run as it is: --out and --added-tags go with other formats")
    if options.pictures < 1:
        raise InputError(f"--pictures has to be at least 1. Received: {options.pictures}")
    check_libraries(options.format)
    return options


def check_libraries(names: list[str]) -> None:
    """Raise an InputError that names what to install if a library for one of the formats is missing."""
    needed = LIBRARIES_TO_WRITE if ONNX_FORMATS & set(names) else ()
    for library in (*needed, *(name for name in names if name == "safetensors")):
        if not importlib.util.find_spec(library):
            raise InputError(f"--format needs {library}: pip install -r requirements-export.txt")


if __name__ == "__main__":
    run(main)
