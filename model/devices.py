"""The devices that the backend computes on: which there are, their names, and their number formats."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import keras

from common.errors import InputError, say
from model import process_group

WITHOUT_GPU = {
    "tensorflow": 'no CUDA libraries that fit it: pip install "tensorflow[and-cuda]" (on Windows, TensorFlow has no GPU '
    "outside WSL2)",
    "jax": 'no CUDA plugin: pip install "jax[cuda13]"',
    "torch": "a build for the CPU alone: see pytorch.org for the right one",
}


def check(cpu: bool) -> None:
    """Raise an error if the machine has a GPU that the backend does not see, because training would take days on the CPU.

    Args:
        cpu: the user asked for the CPU.

    Raises:
        InputError: there is a GPU that cannot be used; the message gives the most likely reason.
    """
    # The user hides GPUs in this way, and so does `python -m benchmarks --cpu` for the programs that it starts.
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == "-1"
    if cpu or hidden or gpus() or not (found := _find_nvidia_gpu()):
        return
    backend = keras.backend.backend()
    raise InputError(f"{found}, but {backend} does not see it: most likely {WITHOUT_GPU[backend]}. Or give --cpu")


def leave_gpus_to_backend() -> None:
    """Hide the GPUs from TensorFlow where it only reads the shards, so that the backend has all their memory."""
    if keras.backend.backend() != "tensorflow" and gpus():
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")


def _find_nvidia_gpu() -> str:
    """Return a sentence about the NVIDIA GPU of this machine; empty if there is no sign of one."""
    if program := shutil.which("nvidia-smi"):
        try:
            done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return "nvidia-smi does not answer"
        if done.returncode == 0 and done.stdout.strip():
            return f"there is a GPU ({done.stdout.splitlines()[0].split(' (UUID')[0]})"
    if nodes := sorted(Path("/dev").glob("nvidia[0-9]*")):
        return f"there is a GPU ({nodes[0]})"
    return ""


def gpus() -> list[str]:
    """Return the names of the GPUs that the backend sees."""
    if keras.backend.backend() == "torch":  # Keras lists no devices for it
        import torch

        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [device for device in keras.distribution.list_devices() if not device.startswith("cpu")]


def tensorflow_on_cpu() -> bool:
    """Return whether TensorFlow computes on a CPU. Its own convolutions are faster there than those compiled by XLA."""
    return keras.backend.backend() == "tensorflow" and not gpus()


def use_xla(network: keras.Model) -> bool:
    """Return whether a network is compiled by XLA: where that is faster, if all of its layers can be."""
    return not tensorflow_on_cpu() and all(getattr(layer, "supports_jit", True) for layer in network.layers)


def list_devices() -> list[str]:
    """Return the names of the devices that the backend sees: the GPUs, or the CPUs if there are no GPUs."""
    return gpus() or (["cpu:0"] if keras.backend.backend() == "torch" else keras.distribution.list_devices("cpu"))


def distribute(number: int) -> None:
    """Divide each batch of the networks built from now on among several devices.

    JAX compiles one program for the whole batch and divides it. Normalisation, clipping and loss are computed over the whole
    batch, as on one device.

    Args:
        number: number of devices of each process.

    Raises:
        InputError: there are fewer devices, or the backend is not JAX.
    """
    group = process_group.group
    if number == 1 and group.count == 1:
        return
    if keras.backend.backend() != "jax":
        raise InputError(f"--devices {number} needs JAX: pip install jax, and KERAS_BACKEND=jax python train.py …")
    if len(list_devices()) < number:
        raise InputError(f"--devices {number}: JAX sees {len(list_devices())}: {', '.join(list_devices())}")
    if group.count == 1:
        shared = list_devices()[:number]
    else:
        import jax

        processes = [[device for device in jax.devices() if device.process_index == n] for n in range(group.count)]
        shared = [f"{device.platform}:{device.id}" for own in processes for device in own[:number]]
    # Each process is given its own part of each batch, so that Keras has nothing to divide among them.
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=shared, auto_shard_dataset=False))


@contextlib.contextmanager
def own_devices() -> Iterator[None]:
    """In a group of processes, compute on the devices of this process alone while the block lasts."""
    shared = keras.distribution.distribution()
    if process_group.group.count > 1:
        keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(shared)


def own_copy(network: keras.Model, copy: keras.Model | None = None) -> keras.Model:
    """Return a network that this process can compute alone, inside `own_devices`: itself, if it is the only process.

    Args:
        network: the network that the processes train.
        copy: an earlier copy of it, which gets its weights.
    """
    if process_group.group.count == 1:
        return network
    copy = copy or network.from_config(network.get_config())
    copy.set_weights(network.get_weights())
    return copy


def describe() -> str:
    """Return the devices in use and the backend, in words."""
    shared = keras.distribution.distribution()
    used = shared.device_mesh.devices.flatten() if shared else list_devices()[:1]
    return f"{', '.join(map(str, used))} ({keras.backend.backend()})"


def say_if_not(device: str, name: str) -> None:
    """Say in one line what computes a Keras network, if that is not the device asked for.

    Args:
        device: one of `model.onnx_session.PROVIDERS`.
        name: of the network.
    """
    if device not in (("cuda", "rocm") if gpus() else ("cpu",)):
        say(f"{name} is computed with {describe()}: --device {device} needs a model.onnx, or a backend that sees the device")


def gpu_model() -> str:
    """Return the names and driver versions of the GPUs from nvidia-smi; empty without a GPU."""
    if not gpus() or not (program := shutil.which("nvidia-smi")):
        return ""
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout.strip()


def precision(name: str, depthwise: bool = False) -> str:
    """Return the number format that `auto` means on this device; return any other value unchanged.

    bfloat16 has the range of float32 and needs no loss scaling. It is fast on GPUs from compute capability 8 (2020) on, and
    for TensorFlow on CPUs with instructions for it. float16 is fast on GPUs from compute capability 7 (2018) on. Elsewhere
    float32 is the fastest.

    Args:
        name: one of `config.PRECISIONS`.
        depthwise: the network has depthwise convolutions, which TensorFlow computes more slowly in bfloat16 on a CPU.
    """
    if name != "auto":
        return name
    if not gpus():
        fast = keras.backend.backend() == "tensorflow" and not depthwise and _cpu_has_bfloat16()
        return "bfloat16" if fast else "float32"
    capability = _compute_capability()
    return "bfloat16" if capability >= 8 else "float16" if capability >= 7 else "float32"


def _cpu_has_bfloat16() -> bool:
    """Return whether Linux lists bfloat16 instructions of an x86 processor."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "avx512_bf16" in words or "amx_bf16" in words


def _compute_capability() -> float:
    """Return the compute capability of the first GPU; 0 if unknown."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        major, minor = details.get("compute_capability", (0, 0))
        return major + minor / 10
    if backend == "jax":
        import jax

        return float(getattr(jax.devices()[0], "compute_capability", 0))
    import torch

    major, minor = torch.cuda.get_device_capability()
    return major + minor / 10


@contextlib.contextmanager
def float32_layers() -> Iterator[None]:
    """Build the layers of a block in float32, and later ones as before."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def use_precision(name: str) -> None:
    """Set the number format of the layers built from now on. Weights, the noise layer and the loss stay float32."""
    keras.config.set_dtype_policy(name if name == "float32" else f"mixed_{name}")
