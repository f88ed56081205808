"""Where a training step's time goes: the operations of TensorFlow on this processor, from its profiler.

    TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 python -m benchmarks operations

With one thread, as here, the times of the operations add up to that of the step. Result: operations-PRECISION.json.
"""

import argparse
import collections
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.measuring import forward_flops, peak_flops
from benchmarks.reporting import Table, as_json, report
from common.errors import InputError
from model import devices
from model.network import TaggerNetwork
from model.presets import PRESETS
from training.optimizers import build_optimizer
from training.recipes import resolve

PRODUCTS, ELEMENT_WISE = "matrix products", "element-wise operations"
KERNELS = {  # part of the name of an operation's kernel ▶ kind of operation; the first that fits
    "Conv2DBackpropFilter": "convolutions, gradient of the kernels",
    "Conv2DBackpropInput": "convolutions, gradient of the inputs",
    "Conv2D": "convolutions, forward",
    "MatMul": PRODUCTS,
    "Einsum": PRODUCTS,
    "BatchNorm": "batch normalisation",
    "Swish": "SiLU, forward",
    "ExecuteAsyncOnStream": "SiLU, gradient",  # by XLA
    "Pool": "pooling",
    "Transpose": "copies",
    "Tile": "copies",
    "Concat": "copies",
    "Cast": "conversion of number formats",
    "Sum": "sums",
    "Mean": "sums",
    "": ELEMENT_WISE,
}
PLACES = {"muon": "optimizer", "/tags": "noise layer", "": "others"}  # part of an operation's name ▶ where in the step it is
NO_KERNEL = ("__inference", "Iterator", "Optional", "Prefetch", "Dataset")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the network and its precision."""
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="network (default: tiny)")
    parser.add_argument("--tags", type=int, default=1024, help="number of tags (default: 1024)")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--steps", type=int, default=20, help="number of steps that are profiled (default: 20)")


def measure(options: argparse.Namespace) -> None:
    """Profile some steps of the default recipe on synthetic pictures."""
    if not devices.tensorflow_on_cpu():
        raise InputError("operations is measured with TensorFlow on a CPU: give --cpu, and leave KERAS_BACKEND out")
    precision = devices.precision(options.precision)
    devices.use_precision(precision)
    config = resolve({"preset": options.preset, "precision": precision})
    network = TaggerNetwork(options.tags, config.as_dict())
    network.compile(optimizer=build_optimizer(config, config.learning_rate, config.momentum, updates=1000))
    random = np.random.default_rng(0)
    shape = (config.batch_size, config.image_size, config.image_size, 3)
    pixels, labels = random.integers(0, 256, shape, np.uint8), random.random((config.batch_size, options.tags)) < 0.02
    batches = tf.data.Dataset.from_tensors((pixels, labels.astype(np.float32))).repeat()
    network.fit(batches, steps_per_epoch=5, shuffle=False, verbose=0)  # compiles
    rows: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        network.fit(batches, steps_per_epoch=options.steps, shuffle=False, verbose=0)
        tf.profiler.experimental.stop()
        for operation, kernel, milliseconds in kernels(Path(folder)):
            kind = next(kind for part, kind in KERNELS.items() if part in kernel)
            place = next(place for part, place in PLACES.items() if part in operation)
            rows[f"{kind}, {place}" if kind in (PRODUCTS, ELEMENT_WISE) else kind] += milliseconds / options.steps
    flops = 3 * forward_flops(network) * config.batch_size  # backward: twice the forward pass
    figures = {
        "options": as_json(options) | {"precision": precision},
        "milliseconds": dict(rows.most_common()),
        "flops_of_the_network": flops,
        "peak_flops": peak_flops(precision),
    }
    report(f"operations-{precision}", table(figures), figures)


def kernels(folder: Path) -> Iterator[tuple[str, str, float]]:
    """Yield each run of a kernel that a profile holds: name of the operation, name of the kernel, and milliseconds.

    Args:
        folder: where TensorFlow's profiler wrote it.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space = xplane_pb2.XSpace()
    space.ParseFromString(next(folder.rglob("*.xplane.pb")).read_bytes())
    for plane in (plane for plane in space.planes if "CPU" in plane.name):
        for line in plane.lines:
            for event in line.events:
                operation, _, kernel = plane.event_metadata[event.metadata_id].name.rpartition(":")
                # Others are functions, C++::names (XLA's among them) and iterators over the batches.
                is_kernel = operation and not operation.endswith(":") and not any(part in kernel for part in NO_KERNEL)
                if is_kernel or kernel == "ExecuteAsyncOnStream":
                    yield operation, kernel, event.duration_ps / 1e9


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each group of operations, and the sum beside the peak."""
    milliseconds, peak = figures["milliseconds"], figures["peak_flops"]
    total = sum(milliseconds.values())
    rows = [[name, f"{value:.1f}", f"{value / total:.1%}"] for name, value in milliseconds.items()]
    least = 1000 * figures["flops_of_the_network"] / peak
    rows.append(["all", f"{total:.1f}", "100.0%"])
    rows.append(["the network's operations at the rate of a large matrix product", f"{least:.1f}", f"{least / total:.1%}"])
    return Table(["operations", "ms/step", "share"], rows)
