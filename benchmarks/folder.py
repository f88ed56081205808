"""test.py on a folder of pictures, once and twice, beside the same work in a process that has already started.

    python -m benchmarks folder PICTURES --run runs/openmoji

Result: folder.json.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.measuring import side_by_side
from benchmarks.reporting import Table, report
from inference.frames import Prediction
from inference.sources import find
from inference.tagger import Tagger

ROOT = Path(__file__).parent.parent
RUNNING, ONCE, TWICE, SECOND = "in a process that has begun", "test.py", "test.py, twice", "test.py, the second time alone"
RENAMED = {RUNNING: "in a running process", SECOND: "test.py, second pass alone"}  # name in the result ▶ in the table


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the pictures, the run and the rounds."""
    parser.add_argument("pictures", type=Path, help="folder of pictures")
    parser.add_argument("--run", type=Path, required=True, help="run folder, or model.onnx")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed (default: 3)")


def measure(options: argparse.Namespace) -> None:
    """Time test.py and a running process in turns; print the seconds, the rates and the ratio of the rates."""
    sources, tagger = list(find([str(options.pictures)])), Tagger.open(options.run)

    def in_this_process() -> None:
        for prediction in tagger.predict(sources):
            if isinstance(prediction, Prediction):
                tagger.choose(prediction.probability)

    def program(times: int) -> None:
        arguments = [*[str(options.pictures)] * times, "--run", str(options.run), "--json"]
        command = [sys.executable, str(ROOT / "test.py"), *arguments]
        subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
        )  # an unreadable picture: exit code 1

    tasks = {RUNNING: in_this_process, ONCE: lambda: program(1), TWICE: lambda: program(2)}
    seconds = side_by_side(tasks, options.rounds)
    figures = {"files": len(sources), "seconds": seconds | {SECOND: seconds[TWICE] - seconds[ONCE]}}
    report("folder", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result. Rates need the number of files, which results of earlier versions do not hold."""
    seconds, files, rows = figures["seconds"], figures.get("files"), []
    for name, value in seconds.items():
        times = 2 if name == TWICE else 1
        rate = f"{times * files / value:,.1f}" if files else ""
        rows.append([RENAMED.get(name, name), f"{value:.2f}", rate, f"{times * seconds[RUNNING] / value:.2f}"])
    return Table(["", "seconds", "files/s", "rate, of the running process's"], rows)
