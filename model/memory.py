"""The memory that a step needs, and the batch that fits in what there is."""

import gc
import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from command import InputError, say
from model import devices
from model.resnet import Recomputed
from model.tagger import TaggerNetwork

CPU_SHARE = 0.7  # of the memory available, for a step: the pipeline and the system need some
UNKNOWN_MEMORY = 4 * 2**30  # assumed where the system does not say


def largest_batch(effective_batch: int, num_devices: int, build: Callable[[int], TaggerNetwork]) -> int:
    """The largest batch that fits in memory and divides the effective batch.

    On a GPU, by taking real steps; on a CPU, which would rather swap or kill than refuse, by the estimate.

    Args:
        effective_batch: images an update; the batch is a divisor of it.
        num_devices: that share the batch.
        build: batch ▶ a compiled network.

    Raises:
        InputError: not even the smallest fits.
    """
    fits = _takes_steps if devices.gpus() else _is_estimated_to_fit
    for batch_size in range(effective_batch, 0, -1):
        if effective_batch % batch_size == 0 and batch_size % num_devices == 0:
            network = build(batch_size)
            if fits(network, batch_size):
                return batch_size
            say(f"a batch of {batch_size} does not fit in memory")
            del network
            keras.utils.clear_session()
            gc.collect()
    raise InputError("not even one image a step fits in memory: give a smaller --preset or --image-size")


def _takes_steps(network: TaggerNetwork, batch_size: int) -> bool:
    side = network.input.shape[1]
    pixels, labels = np.zeros((batch_size, side, side, 3), np.uint8), np.zeros((batch_size, network.num_tags), np.float32)
    try:
        for _ in range(2):  # the optimizer's variables are there from the first on
            network.train_on_batch(pixels, labels)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def is_out_of_memory(error: Exception) -> bool:
    """Whether TensorFlow, JAX or PyTorch says with this error that a device's memory is full."""
    words = f"{type(error).__name__} {error}".lower()
    return any(phrase in words for phrase in ("resource_exhausted", "resourceexhausted", "out of memory", "outofmemory"))


def _is_estimated_to_fit(network: TaggerNetwork, batch_size: int) -> bool:
    return estimated_memory(network, batch_size) < CPU_SHARE * available_memory()


def available_memory() -> int:
    """Bytes that programs can still take."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return UNKNOWN_MEMORY


def estimated_memory(network: TaggerNetwork, batch_size: int) -> int:
    """Bytes that a training step of a compiled network needs, roughly: weights, gradients and what the optimizer keeps, and
    every layer's output in float32, held for the backward pass; with gradient checkpointing what blocks give, and the inside
    of the largest.

    Measured with SGD as growth of the process on a CPU: 1.9 GiB where this says 2.0 (`base`, batch 12), 1.4 where it says
    0.9 (the same with gradient checkpointing), 0.5 where it says 0.3 (`tiny`, batch 64); a GPU's convolutions take working
    space on top.
    """
    blocks = [layer.block for layer in network.layers if isinstance(layer, Recomputed)]
    held = _outputs(network) + max(map(_outputs, blocks), default=0)
    kept = sum(math.prod(variable.shape) for variable in network.optimizer.variables)
    return 4 * (2 * network.count_params() + kept + batch_size * held)


def _outputs(network: keras.Model) -> int:
    """Numbers that the layers of a model give for one picture."""
    return sum(math.prod(layer.output.shape[1:]) for layer in network.layers if hasattr(layer.output, "shape"))
