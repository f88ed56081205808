"""Times of several tasks side by side, and the floating-point operations that a device and a network make."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import keras
import numpy as np

from model import devices
from model.attention_pooling import AttentionPooling

Key = TypeVar("Key", bound=Hashable)
PEAK_TRIES = 12  # the fastest counts, because other programs can only slow it down


def side_by_side(tasks: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, float]:
    """Return the median seconds of each task. They take turns, so that other work on the machine slows all of them.

    Args:
        tasks: name ▶ what to time; it has to wait for its result.
        rounds: how often each is timed, after one untimed round for compilation.
    """
    seconds: dict[Key, list[float]] = {name: [] for name in tasks}
    for round_number in range(rounds + 1):
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def use_xla() -> bool:
    """Return whether training would use XLA here: with JAX, and with TensorFlow on a GPU. On a CPU, TensorFlow's own kernels
    are faster."""
    backend = keras.backend.backend()
    return backend == "jax" or (backend == "tensorflow" and bool(devices.gpus()))


def peak_flops(precision: str) -> float:
    """Return the floating-point operations a second of a large matrix product in `precision`, the best of several tries."""
    side, repeats = (8192, 20) if devices.gpus() else (1024, 8)
    matrix = keras.ops.cast(np.random.default_rng(0).normal(size=(side, side)) / side**0.5, precision)

    def multiply(matrix):
        product = matrix
        for _ in range(repeats):
            product = keras.ops.matmul(product, matrix)
        return keras.ops.sum(keras.ops.cast(product, "float32"))

    run = _compiled(multiply)
    seconds = []
    for _ in range(PEAK_TRIES):
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
    """Return the floating-point operations of a network's matrix products and convolutions for one image. A multiplication
    with its addition counts as two."""
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
