"""Time and peak memory of work in a process of its own."""

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path


def in_own_process(function, *arguments) -> dict:
    """Call a function in a fresh process; return its result with its time and peak memory, which include imports."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measured, function, *arguments).result()


def _measured(function, *arguments) -> dict:
    started = time.perf_counter()
    result = function(*arguments) or {}
    figures = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time(), "peak_mb": float("nan")}
    return figures | result  # what the function measured itself wins


def peak_mb() -> float:
    """Return the largest memory of this process so far, in megabytes; NaN on Windows."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux; `ru_maxrss` counts the process that started this one as well
        [line] = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
