"""The device that a run computes on: found, named, refused where it is not the one the user has, and shared."""

import os
import shutil
import subprocess
from pathlib import Path

import keras

from command import InputError

WITHOUT_GPU = {
    "tensorflow": 'no CUDA libraries that fit it: pip install "tensorflow[and-cuda]" (on Windows, TensorFlow has no GPU '
    "outside WSL2)",
    "jax": 'no CUDA plugin: pip install "jax[cuda13]"',
    "torch": "a build for the CPU alone: see pytorch.org for the right one",
}


def check(cpu: bool) -> None:
    """Refuse to compute for days on the CPU of a machine whose GPU the backend does not see.

    Args:
        cpu: the user asked for the CPU.

    Raises:
        InputError: there is a GPU and it cannot be used; the message says why.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == "-1"  # by the user, or by bench.py --cpu for what it starts
    if cpu or hidden or gpus() or not (seen := _nvidia_gpu()):
        return
    backend = keras.backend.backend()
    raise InputError(f"{seen}, but {backend} does not see it: most likely {WITHOUT_GPU[backend]}. Or give --cpu")


def leave_gpus_to_backend() -> None:
    """Keep TensorFlow, which reads the shards, from taking memory of GPUs on which another backend computes."""
    if keras.backend.backend() != "tensorflow" and gpus():
        import tensorflow as tf

        tf.config.set_visible_devices([], "GPU")


def _nvidia_gpu() -> str:
    """What says that this machine has an NVIDIA GPU, in words; empty where nothing does."""
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
    """The GPUs that the backend sees."""
    if keras.backend.backend() == "torch":  # Keras lists no devices for it
        import torch

        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [device for device in keras.distribution.list_devices() if not device.startswith("cpu")]


def own_kernels() -> bool:
    """Whether TensorFlow computes on a CPU, where its own kernels convolve faster than what XLA makes of them."""
    return keras.backend.backend() == "tensorflow" and not gpus()


def found() -> list[str]:
    """The devices that the backend sees: GPUs, or else CPUs."""
    return gpus() or (["cpu:0"] if keras.backend.backend() == "torch" else keras.distribution.list_devices("cpu"))


def share(number: int) -> None:
    """Divide the batches of networks made from now on among so many devices.

    JAX compiles one program for the whole batch and divides it, so that normalisation, clipping and loss are those of the
    whole batch, as on one device.

    Raises:
        InputError: there are fewer, or the backend is another.
    """
    if number == 1:
        return
    if keras.backend.backend() != "jax":
        raise InputError(f"--devices {number} needs JAX: pip install jax, and KERAS_BACKEND=jax python train.py …")
    if len(found()) < number:
        raise InputError(f"--devices {number}: JAX sees {len(found())}: {', '.join(found())}")
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=found()[:number]))


def name() -> str:
    """The backend and the devices it computes on."""
    shared = keras.distribution.distribution()
    used = shared.device_mesh.devices.flatten() if shared else found()[:1]
    return f"{', '.join(map(str, used))} ({keras.backend.backend()})"


def gpu_model() -> str:
    """The GPU's name and driver, as nvidia-smi tells them; empty without one."""
    if not gpus() or not (program := shutil.which("nvidia-smi")):
        return ""
    query = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout.strip()


def precision(wanted: str) -> str:
    """What `auto` is on this device; any other value is returned as it is.

    bfloat16 has float32's range and needs no loss scaling; GPUs compute fast in it from compute capability 8 (2020) on, in
    float16 from 7 (2018) on, and TensorFlow on CPUs that have instructions for it. Elsewhere float32 is the fastest.
    """
    if wanted != "auto":
        return wanted
    if not gpus():
        return "bfloat16" if keras.backend.backend() == "tensorflow" and _cpu_has_bfloat16() else "float32"
    capability = _compute_capability()
    return "bfloat16" if capability >= 8 else "float16" if capability >= 7 else "float32"


def _cpu_has_bfloat16() -> bool:
    """Whether Linux says so of an x86 processor."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return False
    return "avx512_bf16" in words or "amx_bf16" in words


def _compute_capability() -> float:
    """Of the first GPU."""
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


def use_precision(name: str) -> None:
    """Let layers made from now on compute in `name`; weights, the noise layer and the loss stay float32."""
    keras.config.set_dtype_policy(name if name == "float32" else f"mixed_{name}")
