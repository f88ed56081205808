"""Resident memory of a long training run, and whether it grows (Linux).

    python -m benchmarks memory --data data/openmoji

It trains for an hour and fits a line to the memory after the first fifth of the time. Result: memory.json.
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
                samples.append((time.monotonic() - started, _resident_mebibytes(process.pid)))
        finally:
            process.kill()
            process.wait()
    figures = {"minutes": options.minutes, "samples": samples, "slope_mib_per_hour": _slope(samples)}
    report("memory", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result."""
    _, mebibytes = _after_warm_up(figures["samples"])
    sizes = [f"{value:,.0f}" for value in (mebibytes[0], mebibytes[-1], mebibytes.max())]
    row = [f"{figures['minutes']:g}", *sizes, f"{figures['slope_mib_per_hour']:+,.1f}"]
    return Table(["minutes", "MiB after warm-up", "MiB at the end", "largest MiB", "MiB an hour"], [row])


def _after_warm_up(samples: list) -> np.ndarray:
    """Return seconds and MiB after the warm-up, (2, samples)."""
    return np.array(samples[int(WARM_UP * len(samples)) :]).T


def _slope(samples: list) -> float:
    """Return the slope of the line through the samples after the warm-up, in MiB an hour."""
    seconds, mebibytes = _after_warm_up(samples)
    return 3600 * float(np.polyfit(seconds, mebibytes, 1)[0])


def _resident_mebibytes(process_id: int) -> float:
    """Return the resident memory of a process, from Linux's /proc."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
