"""How every e6tag command reads its arguments and how it ends.

A command prints results on standard output, progress and messages on standard error, and exits with 0, or with 1 after
one line of error.
"""

import argparse
import contextlib
import errno
import importlib
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn


class InputError(Exception):
    """Something the user gave cannot be used.

    The message is one line that names the input, says what was expected and what to do.
    """


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a bad argument in one line, with exit code 1."""

    def __init__(self, description: str | None):
        super().__init__(description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see {self.prog} --help)")


def say(message: str) -> None:
    """Print a message for the person at the terminal, on standard error."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def only_writer(folder: Path, lock: str = ".lock"):
    """Let one process at a time write into a folder, which is made if missing; the lock goes with the process.

    Args:
        folder: where it writes.
        lock: name of the file in it that processes lock which must not write at once.

    Raises:
        InputError: another one does.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    held = FileLock(folder / lock, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise InputError(f"another command is writing {folder} now: wait for it, or give another folder") from None
    try:
        yield
    finally:
        held.release()
        with contextlib.suppress(OSError):  # another one may just have opened it
            (folder / lock).unlink()


def program(script: str, *options: str) -> None:
    """Run another of the suite's commands in a process of its own; its progress is shown, its results are not.

    Raises:
        InputError: it failed.
    """
    say(f"$ python {script} {' '.join(options)}")
    path = Path(__file__).parent / script
    process = subprocess.Popen([sys.executable, str(path), *options], stdout=subprocess.DEVNULL)
    try:
        failed = process.wait()
    except KeyboardInterrupt:
        process.wait()  # it was interrupted as well, and keeps what it has
        raise
    if failed:
        raise InputError(f"{script} failed, for the reason above")


def use_cpu() -> None:
    """Hide GPUs from every library imported from now on."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"}


def import_quietly(library: str) -> None:
    """Import a library whose native code prints pages that no user can act on, and that no setting turns off.

    Args:
        library: `tensorflow`, or `keras`, which imports the backend that KERAS_BACKEND names and looks for devices.

    Raises:
        InputError: it is not installed, or Keras knows no such backend.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Take GPU memory as it is needed, so that the desktop and other programs keep theirs.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    sys.stderr.flush()
    stderr, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        module = importlib.import_module(library)
        if library == "keras" and module.backend.backend() != "torch":  # which it lists no devices for
            module.distribution.list_devices()
    except ModuleNotFoundError as error:
        raise InputError(f"{error.name} is not installed: pip install -r requirements.txt") from error
    except ValueError as error:
        backend = os.environ.get("KERAS_BACKEND")
        raise InputError(f"KERAS_BACKEND={backend}: {error}; expected tensorflow, jax or torch") from error
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nothing)


def run(main: Callable[[], None], when_interrupted: str = "") -> NoReturn:
    """Run a command's `main` and end the process as every command ends.

    Args:
        main: the command, without arguments.
        when_interrupted: what Ctrl-C leaves behind and how to go on, added to the message.
    """
    try:
        main()
        sys.stdout.flush()
        _end(0)
    except InputError as error:
        _end(1, f"error: {error}")
    except KeyboardInterrupt:
        _end(1, f"interrupted. {when_interrupted}".rstrip())
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        os._exit(1)
    except OSError as error:  # a full disk, a folder that may not be written: the system's words and the file's name
        if error.errno == errno.ENOSPC:
            _end(1, "error: the disk is full: make room, and run the same command again")
        _end(1, f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except Exception:  # a defect of ours
        traceback.print_exc()
        _end(1)


def _end(code: int, line: str = "") -> NoReturn:
    """End at once: a pipeline's threads that wait for Python's lock would hold up, or hang, an ordinary exit."""
    if line:
        say(" ".join(line.split()))
    os._exit(code)
