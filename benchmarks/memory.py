"""Resident memory of a long training run, and whether it grows (Linux).

    python -m benchmarks memory --data data/openmoji

It trains for an hour and fits lines to the memory after the first fifth of the time: over time, and over the epochs that are
finished. Result: memory.json.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.reporting import Table, report
from common.errors import InputError
from model.run_folder import read_history

SAMPLE_SECONDS = 5.0
WARM_UP = 0.2  # share of the time left out at the start: compilation, first blocks of pictures, first validation


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folder and the minutes."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to train (default: 60)")


def measure(options: argparse.Namespace) -> None:
    """Train for the given minutes, sample the resident memory, and fit a line to it."""
    script = Path(__file__).parent.parent / "train.py"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(script), "--data", str(options.data), "--run", folder, "--epochs", "100000"]
        process = subprocess.Popen([*command, "--checkpoint-minutes", "1"], stdout=subprocess.DEVNULL)
        try:
            started, samples = time.monotonic(), []
            while time.monotonic() - started < 60 * options.minutes:
                time.sleep(SAMPLE_SECONDS)
                if process.poll() is not None:
                    raise InputError("train.py ended, for the reason printed above")
                epochs = len(read_history(Path(folder)))
                samples.append((time.monotonic() - started, _resident_mebibytes(process.pid), epochs))
        finally:
            process.kill()
            process.wait()
    seconds, mebibytes, epochs = _after_warm_up(samples)
    figures = {
        "minutes": options.minutes,
        "samples": samples,
        "slope_mib_per_hour": 3600 * float(np.polyfit(seconds, mebibytes, 1)[0]),
        "slope_kib_per_epoch": 1024 * float(np.polyfit(epochs, mebibytes, 1)[0]),
    }
    report("memory", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result."""
    _, mebibytes, epochs = _after_warm_up(figures["samples"])
    sizes = [f"{value:,.0f}" for value in (epochs[-1], mebibytes[0], mebibytes[-1], mebibytes.max())]
    slopes = [f"{figures[name]:+,.1f}" for name in ("slope_mib_per_hour", "slope_kib_per_epoch")]
    titles = ["minutes", "epochs", "MiB after warm-up", "MiB at the end", "largest MiB", "MiB an hour", "KiB an epoch"]
    return Table(titles, [[f"{figures['minutes']:g}", *sizes, *slopes]])


def _after_warm_up(samples: list) -> np.ndarray:
    """Return seconds, MiB and the number of finished epochs after the warm-up, (3, samples)."""
    return np.array(samples[int(WARM_UP * len(samples)) :]).T


def _resident_mebibytes(process_id: int) -> float:
    """Return the resident memory of a process, from Linux's /proc."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
