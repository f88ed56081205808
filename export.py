"""Write a run in the formats that other programs load, each checked against the run on real pictures."""

import importlib.util
import os
from pathlib import Path

from command import InputError, Parser, import_quietly, run, say

FORMATS = ("onnx", "trunk", "savedmodel", "litert", "int8")


def main() -> None:
    """Write each format, read it back, compare, and only then give it its name."""
    parser = Parser(__doc__)
    parser.add_argument("--run", type=Path, help="run folder (default: the newest under runs/)")
    parser.add_argument("--out", type=Path, help="folder to write (default: export/ in the run folder)")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=["onnx", "trunk"], help="default: onnx trunk")
    parser.add_argument("--data", type=Path, help="pictures to check with (default: the data that the run was trained on)")
    parser.add_argument("--pictures", type=int, default=512, help="how many of its test split (default: 512)")
    given = parser.parse_args()
    if given.pictures < 1:
        raise InputError(f"--pictures has to be at least 1. Received: {given.pictures}")

    if {"onnx", "trunk"} & set(given.format):
        check_onnx()
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the one backend that all converters know
    import_quietly("keras")
    from model import export, runs
    from model.predict import Tagger

    tagger = Tagger.load(given.run or runs.newest(Path("runs"), "model.keras", "train.py"))
    pixels, labels = export.check_pictures(tagger, given.data or Path(tagger.run.data), given.pictures)
    out = given.out or tagger.run.folder / "export"
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: --out is the folder to write")
    out.mkdir(parents=True, exist_ok=True)
    say(f"checked on {len(pixels)} pictures of the test split")
    if tagger.run.config.resize != "pad":
        say(f"front ends put pictures on a white square; this run was trained with --resize {tagger.run.config.resize}")
    for name in dict.fromkeys(given.format):
        print(export.write_checked(tagger, name, out, pixels, labels), flush=True)


def check_onnx() -> None:
    """Say what to install where the libraries for ONNX are missing, before anything takes time."""
    for library in ("onnx", "onnxruntime", "tf2onnx"):
        if not importlib.util.find_spec(library):
            raise InputError(f"ONNX needs {library}: pip install -r requirements-export.txt")


if __name__ == "__main__":
    run(main)
