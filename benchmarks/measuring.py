"""Times, the machine they were taken on, the fastest that it could be, and what becomes of the figures."""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import keras
import numpy as np

from dataset.records import write_json
from model import devices
from model.head import AttentionPooling

TRIES = 12  # at the peak: other programs only ever make it look lower
LIBRARIES = ("keras", "tensorflow", "jax", "torch", "numpy", "pillow")


def side_by_side(subjects: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, taken in turns, so that whatever else the machine does slows all of them.

    Args:
        subjects: name ▶ what to time; it has to wait for its result.
        rounds: after one for compilation.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for round_number in range(rounds + 1):
        for name, subject in subjects.items():
            started = time.perf_counter()
            subject()
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def use_xla() -> bool:
    """As training does: on a CPU, TensorFlow's own kernels are faster than what XLA makes of them; PyTorch has none."""
    backend = keras.backend.backend()
    return backend == "jax" or (backend == "tensorflow" and bool(devices.gpus()))


def peak_flops(precision: str) -> float:
    """Floating-point operations a second of a large matrix product in `precision`, at the best of several tries here and
    now."""
    side, repeats = (8192, 20) if devices.gpus() else (1024, 8)
    matrix = keras.ops.cast(np.random.default_rng(0).normal(size=(side, side)) / side**0.5, precision)

    def multiply(matrix):
        product = matrix
        for _ in range(repeats):
            product = keras.ops.matmul(product, matrix)
        return keras.ops.sum(keras.ops.cast(product, "float32"))

    run = _compiled(multiply)
    seconds = []
    for _ in range(TRIES):
        started = time.perf_counter()
        float(keras.ops.convert_to_numpy(run(matrix)))
        seconds.append(time.perf_counter() - started)
    return repeats * 2 * side**3 / min(seconds)


def _compiled(function: Callable) -> Callable:
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return jax.jit(function)
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=use_xla())
    return function


def forward_flops(network: keras.Model) -> int:
    """Floating-point operations that a network's matrix products and convolutions take an image, a product counting 2."""
    total = 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.Conv2D):
            total += 2 * int(np.prod(layer.kernel.shape)) * int(np.prod(layer.output.shape[1:3]))
        elif isinstance(layer, AttentionPooling):
            inner, positions = layer.num_heads * layer.head_size, int(np.prod(layer.input.shape[1:3]))
            channels = layer.input.shape[-1]
            total += 2 * inner * (2 * channels + positions * (2 * channels + 2))
        else:
            total += sum(2 * int(np.prod(weight.shape)) for weight in layer.weights if weight.path.endswith("kernel"))
    return total


def table(titles: list[str], rows: list[list[str]]) -> str:
    """Rows aligned for a terminal, the first column left, the others right."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = []
    for row in [titles, *rows]:
        cells = [
            cell.ljust(width) if not index else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def report(subject: str, titles: list[str], rows: list[list[str]], figures: dict) -> None:
    """Print a table, and write `bench/SUBJECT.json` with the figures and the machine."""
    print(table(titles, rows))
    path = Path("bench") / f"{subject}.json"
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"subject": subject, "machine": machine(), "figures": figures})
    print(f"{path}")


def given(options: argparse.Namespace) -> dict:
    """A subject's options, as JSON has them."""
    return json.loads(json.dumps(vars(options), default=str))


def machine() -> dict:
    """What a reader needs to know of where and when."""
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "device": devices.name(),
        "gpu": devices.gpu_model(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
