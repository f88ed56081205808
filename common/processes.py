"""Child processes, Ctrl-C, and imports of libraries that print or take GPU memory."""

import contextlib
import gc
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from common.errors import InputError, say

REQUIRED = ("keras", "tensorflow")
ROOT = Path(__file__).parent.parent  # the folder of the scripts


def run_script(script: str, *options: str) -> None:
    """Run one of the scripts in a child process. Its progress is shown; its standard output is discarded.

    Args:
        script: file name of the script, for example `train.py`.
        options: its command line.

    Raises:
        InputError: the script failed.
    """
    say(f"$ python {script} {' '.join(options)}")
    path = ROOT / script
    process = subprocess.Popen([sys.executable, str(path), *options], stdout=subprocess.DEVNULL)
    try:
        failed = process.wait()
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C reached the child too, and it saves its state
        raise
    if failed:
        raise InputError(f"{script} failed, for the reason above")


def use_cpu() -> None:
    """Hide GPUs from libraries that are imported later."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}


def import_quietly(library: str) -> None:
    """Import a library without the messages of its native code, which no setting turns off.

    Args:
        library: `tensorflow`, `jax`, or `keras`, which also imports the backend that KERAS_BACKEND names and lists its
            devices.

    Raises:
        InputError: the library is not installed, or Keras does not know the backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Allocate GPU memory on demand, so that the desktop and other programs keep theirs.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        with no_native_messages():
            module = importlib.import_module(library)
            if library == "keras" and module.backend.backend() != "torch":  # Keras cannot list devices under PyTorch
                module.distribution.list_devices()
    except ModuleNotFoundError as error:
        where = "-r requirements.txt" if error.name in REQUIRED else error.name
        raise InputError(f"{error.name} is not installed: pip install {where}") from error
    except ValueError as error:
        backend = os.environ.get("KERAS_BACKEND")
        raise InputError(f"KERAS_BACKEND={backend}: {error}; expected tensorflow, jax or torch") from error


@contextlib.contextmanager
def no_native_messages(descriptors: tuple[int, ...] = (2,)) -> Iterator[None]:
    """Keep native code from printing on standard error, 2, or on standard output, 1, while the block lasts."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = {number: os.dup(number) for number in descriptors}
    null = os.open(os.devnull, os.O_WRONLY)
    for number in descriptors:
        os.dup2(null, number)
    gc.disable()  # an exception in a callback of the garbage collector is lost, Ctrl-C as well
    try:
        yield
    finally:
        gc.enable()
        for number, descriptor in kept.items():
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(null)


@contextlib.contextmanager
def interrupted_only_after() -> Iterator[None]:
    """Let Ctrl-C take effect when the block ends, so that what it writes is written whole."""
    received = []
    before = signal.signal(signal.SIGINT, lambda *_: received.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received and callable(before):  # otherwise the signal is ignored, as under nohup
        raise KeyboardInterrupt
