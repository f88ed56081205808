"""The memory that a training step needs, and the largest batch that fits in memory."""

import gc
import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from common.errors import InputError, say
from model import devices
from model.network import TaggerNetwork
from model.resnet import Recomputed

CPU_FRACTION = 0.7  # of the available memory for a step; the input pipeline and the system need the rest
UNKNOWN_MEMORY = 4 * 2**30  # bytes, assumed where the system does not tell


def largest_batch(effective_batch: int, num_devices: int, build: Callable[[int], TaggerNetwork]) -> int:
    """Return the largest batch that fits in memory and divides the effective batch.

    On a GPU, real steps decide. On a CPU, where the system would swap or kill the process, the estimate decides.

    Args:
        effective_batch: images per update, of which the batch has to be a divisor.
        num_devices: number of devices that share the batch.
        build: returns a compiled network for a batch size.

    Raises:
        InputError: not even the smallest batch fits.
    """
    fits = _steps_succeed if devices.gpus() else _estimate_fits
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


def _steps_succeed(network: TaggerNetwork, batch_size: int) -> bool:
    side = network.input.shape[1]
    pixels, labels = np.zeros((batch_size, side, side, 3), np.uint8), np.zeros((batch_size, network.num_tags), np.float32)
    try:
        for _ in range(2):  # the optimizer's variables exist only from the first step on
            network.train_on_batch(pixels, labels)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def is_out_of_memory(error: Exception) -> bool:
    """Return whether this error of TensorFlow, JAX or PyTorch means that the memory of a device is full."""
    message = f"{type(error).__name__} {error}".lower()
    return any(phrase in message for phrase in ("resource_exhausted", "resourceexhausted", "out of memory", "outofmemory"))


def _estimate_fits(network: TaggerNetwork, batch_size: int) -> bool:
    return estimated_memory(network, batch_size) < CPU_FRACTION * available_memory()


def available_memory() -> int:
    """Return the number of bytes of memory that programs can still allocate."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return UNKNOWN_MEMORY


def estimated_memory(network: TaggerNetwork, batch_size: int) -> int:
    """Return roughly the number of bytes that a training step of a compiled network needs.

    It is the sum of weights, gradients, variables of the optimizer, and the outputs of all layers in float32, which the
    backward pass needs. With gradient checkpointing, it counts the outputs of the blocks and the inside of the largest one.

    Measured with SGD as growth of the process on a CPU: 1.9 GiB for an estimate of 2.0 (`base`, batch 12), 1.4 for 0.9 (the
    same with gradient checkpointing), 0.5 for 0.3 (`tiny`, batch 64). The convolutions of a GPU need workspace in addition.

    Args:
        network: a compiled network.
        batch_size: images per step.
    """
    blocks = [layer.block for layer in network.layers if isinstance(layer, Recomputed)]
    activations = _count_activations(network) + max(map(_count_activations, blocks), default=0)
    optimizer = sum(math.prod(variable.shape) for variable in network.optimizer.variables)
    return 4 * (2 * network.count_params() + optimizer + batch_size * activations)


def _count_activations(network: keras.Model) -> int:
    """Return how many numbers the layers of a model output for one picture."""
    return sum(math.prod(layer.output.shape[1:]) for layer in network.layers if hasattr(layer.output, "shape"))
