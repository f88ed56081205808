"""test.py on a folder of pictures, once and twice over, beside the same work in a process that has begun."""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.measuring import report, side_by_side
from model import inputs
from model.predict import Prediction, Tagger

ROOT = Path(__file__).parent.parent


def add_options(parser: argparse.ArgumentParser) -> None:
    """The run and the pictures."""
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("--run", type=Path, required=True, help="run folder, or model.onnx")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")


def measure(options: argparse.Namespace) -> None:
    """Print the seconds of each, the rates, and the ratio of test.py's, once it has begun, to the process's."""
    sources, tagger = list(inputs.find([str(options.pictures)])), Tagger.load(options.run)

    def begun() -> None:
        for prediction in tagger.predict(sources):
            if isinstance(prediction, Prediction):
                tagger.choose(prediction.probability)

    def program(times: int) -> None:
        command = [
            sys.executable,
            str(ROOT / "test.py"),
            *[str(options.pictures)] * times,
            "--run",
            str(options.run),
            "--json",
        ]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)  # bad ones: code 1

    tasks = {"in a process that has begun": begun, "test.py": lambda: program(1), "test.py, twice": lambda: program(2)}
    seconds = side_by_side(tasks, options.rounds)
    begun_seconds, once, twice = seconds.values()
    seconds["test.py, the second time alone"] = twice - once
    rows = []
    for name, value in seconds.items():
        rate = len(sources) * (2 if value == twice else 1) / value
        rows.append([name, f"{value:.2f}", f"{rate:,.1f}", f"{rate * begun_seconds / len(sources):.2f}"])
    report("folder", [f"{len(sources):,} files", "seconds", "files/s", "of begun"], rows, {"seconds": seconds})
