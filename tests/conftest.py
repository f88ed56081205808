"""What several test files share: a small data folder of real pictures, made by download.py, and a run trained on it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}  # pytest runs a process a core already

ROOT = Path(__file__).parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def program(script: str, *options, **kwargs) -> subprocess.CompletedProcess:
    """Run one of the suite's commands as a user does, in another process."""
    command = [sys.executable, str(ROOT / script), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, **kwargs)


@pytest.fixture(scope="session")
def emoji_data(tmp_path_factory) -> Path:
    """Some hundred OpenMoji pictures with twelve tags."""
    folder = tmp_path_factory.mktemp("data") / "emoji"
    options = ("--tags", 12, "--positives", 25, "--size", 64, "--val", 15, "--test", 15)
    done = program("download.py", "--board", "openmoji", "--out", folder, *options)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def emoji_run(emoji_data, tmp_path_factory) -> Path:
    """A run of two short epochs on those pictures, with a noise layer."""
    folder = tmp_path_factory.mktemp("runs") / "emoji"
    options = ("--epochs", 2, "--batch-size", 32, "--noise", "diagonal")
    done = program("train.py", "--data", emoji_data, "--run", folder, *options)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def emoji_onnx(emoji_run) -> Path:
    """That run as one ONNX file, from which the programs start quickly."""
    done = program("export.py", "--run", emoji_run, "--format", "onnx")
    assert done.returncode == 0, done.stderr
    return emoji_run / "export" / "model.onnx"


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
