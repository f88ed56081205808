"""What several test files share: a small data folder of real pictures, made by download.py, and a run trained on it."""

import contextlib
import io
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest
from filelock import FileLock

os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}  # pytest runs a process on each core already
# XLA spends less on making programs fast, which run once.
os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["E6TAG_USER"] = ""  # no test asks the real board
# Started with `&` by a script, they would pass on that Ctrl-C is ignored to the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

hypothesis.settings.register_profile("untimed", deadline=None)  # machines are slow at times
hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


# Of `emoji_run`. A step by Muon would take two seconds more to compile.
RUN_OPTIONS = ("--preset", "test", "--recipe", "lean", "--epochs", 2, "--noise", "diagonal", "--optimizer", "sgd")


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Let TensorFlow compute without compiling, which takes longer than some hundred predictions or ten steps of training.

    As a decorator of a test, or around the calls of a fixture. A program that is run apart compiles.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or tensorflow.config.functions_run_eagerly():
        yield
        return
    tensorflow.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tensorflow.config.run_functions_eagerly(False)


class Ended(BaseException):
    """Raised in the place of os._exit, by which every command ends."""


def program(script: str, *options, apart: bool = False, cwd=None, **kwargs) -> subprocess.CompletedProcess:
    """Run one of the suite's commands as a user does.

    Args:
        script: its file.
        options: of the command line.
        apart: in another process. Otherwise in this one, where TensorFlow is imported already, with the same command
            line, streams, working directory and exit code.
        cwd: the working directory.
        kwargs: further arguments of `subprocess.run`, for another process.
    """
    arguments = [str(ROOT / script), *map(str, options)]
    if apart or kwargs:
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=600, cwd=cwd, encoding="utf-8", **kwargs
        )
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="", write_through=True) for _ in range(2)]
    here, environment = Path.cwd(), dict(os.environ)
    keras = sys.modules.get("keras")
    policy = keras.config.dtype_policy() if keras else "float32"
    with (
        uncompiled() if script in ("clean.py", "eval.py") else contextlib.nullcontext(),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(os, "_exit", _end)
        patch.setattr(sys, "argv", arguments)
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        os.chdir(cwd or here)
        try:
            runpy.run_path(arguments[0], run_name="__main__")
            code = 0
        except (Ended, SystemExit) as end:
            code = end.args[0] if end.args else 0
        finally:
            os.chdir(here)
            os.environ.clear()
            os.environ.update(environment)
            if keras := sys.modules.get("keras"):
                keras.config.set_dtype_policy(policy)
    out, err = (stream.buffer.getvalue().decode() for stream in streams)
    return subprocess.CompletedProcess(arguments, int(code or 0), out, err)


# Linux counts the memory of the process that starts a program as the program's: so this small one starts it.
MEASURING = """import pathlib, subprocess, sys
code = subprocess.call(sys.argv[2:])
try:
    import resource
    unit = 1 if sys.platform == "darwin" else 1024
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
except ModuleNotFoundError:  # on Windows
    most = 0
pathlib.Path(sys.argv[1]).write_text(str(most))
sys.exit(code)
"""


def program_and_memory(file: Path, script: str, *options, **kwargs) -> tuple[subprocess.CompletedProcess, float]:
    """Run one of the suite's commands in another process; return also the most memory that it had, in GiB.

    Args:
        file: for the number; it is overwritten.
        script, options, kwargs: as of `program`.
    """
    command = [sys.executable, "-c", MEASURING, file, sys.executable, ROOT / script, *options]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=600, **kwargs)
    return done, int(file.read_text()) / 2**30


def _end(code: int) -> NoReturn:
    raise Ended(code)


def made_once(tmp_path_factory, name: str, script: str, *options) -> Path:
    """What a program makes in a folder, the last of its options: made by the first of pytest's processes that asks."""
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent
    folder, whole = home / name, home / f"{name}.whole"
    with FileLock(home / f"{name}.lock"):
        if not whole.exists():
            done = program(script, *options, folder)
            assert done.returncode == 0, done.stderr
            whole.touch()
    return folder


@pytest.fixture(scope="session")
def emoji_data(tmp_path_factory) -> Path:
    """Some hundred OpenMoji pictures with twelve tags."""
    options = ("--tags", 12, "--positives", 25, "--size", 64, "--val", 15, "--test", 15)
    return made_once(tmp_path_factory, "emoji", "download.py", "--board", "openmoji", *options, "--out")


@pytest.fixture(scope="session")
def first_run(emoji_data, tmp_path_factory) -> Path:
    """A run of two short epochs on those pictures, with a noise layer; left as it is."""
    return made_once(tmp_path_factory, "emoji-run", "train.py", "--data", emoji_data, *RUN_OPTIONS, "--run")


@pytest.fixture(scope="session")
def emoji_run(first_run, tmp_path_factory) -> Path:
    """A copy of that run, for tests to write in."""
    return Path(shutil.copytree(first_run, tmp_path_factory.mktemp("runs") / "emoji"))


@pytest.fixture(scope="session")
def emoji_onnx(first_run, emoji_run, tmp_path_factory) -> Path:
    """That run as one ONNX file, from which the programs start quickly; front ends' files are in the folder above."""
    options = ("--run", first_run, "--format", "onnx", "suite", "keras", "--out")
    made = made_once(tmp_path_factory, "emoji-export", "export.py", *options)
    return Path(shutil.copytree(made, emoji_run / "export", dirs_exist_ok=True)) / "suite" / "model.onnx"


@pytest.fixture(scope="session")
def emoji_pictures(emoji_data, tmp_path_factory) -> list[Path]:
    """The pictures of the test split as files."""
    from data_folders import read_split

    folder = tmp_path_factory.mktemp("pictures")
    for record in read_split(emoji_data, "test"):
        (folder / Path(record.id).with_suffix(".jpg").name).write_bytes(record.image)
    return sorted(folder.iterdir())


@pytest.fixture
def browser():
    """Chromium, where there is one."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs requirements-dev.txt")
    if not CHROMIUM:
        pytest.skip("no Chromium here to look at the page with")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def board(monkeypatch):
    """A running small board like e621, whose refused requests are repeated at once."""
    from small_board import SmallBoard

    from dataset.boards import http_client

    monkeypatch.setattr(http_client, "BACKOFF_SECONDS", 0.001)
    with SmallBoard() as running:
        yield running


@pytest.fixture
def policy():
    """Sets the precision; float32 again afterwards."""
    from model import devices

    yield devices.use_precision
    devices.use_precision("float32")
