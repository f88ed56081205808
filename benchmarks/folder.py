"""test.py on one picture and on a folder, as whole processes, with both files of a run.

    python -m benchmarks folder PICTURES --run runs/openmoji

The same folder is also read and tagged in a process that has already started. Result: folder.json.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.measuring import side_by_side
from benchmarks.reporting import Table, report
from common.errors import InputError
from inference.frames import Prediction
from inference.sources import find
from inference.tagger import Tagger

ROOT = Path(__file__).parent.parent
ONE, FOLDER, RUNNING = "one picture", "folder", "folder, in a running process"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the pictures, the run and the rounds."""
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("--run", type=Path, required=True, help="run folder with a model.onnx")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (default: 5)")


def measure(options: argparse.Namespace) -> None:
    """Time everything in turns; print seconds and rates.

    Raises:
        InputError: the run has no model.onnx.
    """
    sources = list(find([str(options.pictures)]))
    if not (options.run / "model.onnx").exists():
        raise InputError(f"{options.run} has no model.onnx: python export.py --run {options.run} --format run")
    with tempfile.TemporaryDirectory() as home:
        folders = {"model.onnx": options.run, "model.keras": Path(home) / "run"}
        unneeded = shutil.ignore_patterns("model.onnx", "export", "search", "logs", "report")
        shutil.copytree(options.run, folders["model.keras"], ignore=unneeded)
        tasks: dict[str, Callable[[], None]] = {}
        for name, folder in folders.items():
            tagger = Tagger.open(folder, onnx=name == "model.onnx")
            tasks[f"{name}, {ONE}"] = partial(_program, str(sources[0].path), folder)
            tasks[f"{name}, {FOLDER}"] = partial(_program, str(options.pictures), folder)
            tasks[f"{name}, {RUNNING}"] = partial(_tag, tagger, sources)
        figures = {"files": len(sources), "seconds": side_by_side(tasks, options.rounds)}
    report("folder", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result."""
    seconds, files, rows = figures["seconds"], figures["files"], []
    for name in ("model.onnx", "model.keras"):
        one, folder, running = (seconds[f"{name}, {kind}"] for kind in (ONE, FOLDER, RUNNING))
        rate, share = f"{files / folder:,.0f}", f"{running / folder:.2f}"
        rows.append([name, f"{one:.2f}", f"{folder:.2f}", rate, f"{running:.2f}", share])
    return Table(["test.py with", "one picture, s", "folder, s", "files/s", "in a running process, s", "of its rate"], rows)


def _program(picture: str, run: Path) -> None:
    command = [sys.executable, str(ROOT / "test.py"), picture, "--run", str(run), "--json"]
    # An unreadable picture ends it with exit code 1.
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def _tag(tagger: Tagger, sources: list) -> None:
    for prediction in tagger.predict(sources):
        if isinstance(prediction, Prediction):
            tagger.choose(prediction.probability)
