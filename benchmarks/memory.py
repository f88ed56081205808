"""Resident memory of a long training run: does it stay flat?"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measuring import report
from command import InputError

SAMPLE_SECONDS = 5.0
SETTLED = 0.2  # share of the time that is left out at the start: compilation, the first blocks, the first validation


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to train and how long."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--minutes", type=float, default=60.0, help="default: 60")


def measure(options: argparse.Namespace) -> None:
    """Train for so long and fit a line to the resident memory."""
    script = Path(__file__).parent.parent / "train.py"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(script), "--data", str(options.data), "--run", folder, "--epochs", "100000"]
        process = subprocess.Popen([*command, "--checkpoint-minutes", "1"], stdout=subprocess.DEVNULL)
        try:
            started, samples = time.monotonic(), []
            while time.monotonic() - started < 60 * options.minutes:
                time.sleep(SAMPLE_SECONDS)
                if process.poll() is not None:
                    raise InputError("train.py ended, for the reason above")
                samples.append((time.monotonic() - started, _resident_mebibytes(process.pid)))
        finally:
            process.kill()
            process.wait()
    seconds, mebibytes = np.array(samples[int(SETTLED * len(samples)) :]).T
    slope = 3600 * np.polyfit(seconds, mebibytes, 1)[0]
    figures = {"minutes": options.minutes, "samples": samples, "slope_mib_per_hour": slope}
    row = [
        f"{options.minutes:g}",
        f"{mebibytes[0]:,.0f}",
        f"{mebibytes[-1]:,.0f}",
        f"{mebibytes.max():,.0f}",
        f"{slope:+,.1f}",
    ]
    report("memory", ["minutes", "MiB, settled", "MiB at the end", "MiB at most", "MiB/hour"], [row], figures)


def _resident_mebibytes(process_id: int) -> float:
    """Of a process, as Linux tells it."""
    lines = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))
