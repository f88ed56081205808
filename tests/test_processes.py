"""Training by several processes, which JAX joins: the same run as that of one process, and an end that all share."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from model import run_folder

TIMED = {"seconds", "images_per_second", "waiting"}  # of history.csv: what may differ
SMALL = ("--preset", "test", "--image-size", 32, "--batch-size", 16, "--precision", "float32", "--no-onnx")
# With an average of the weights, whose statistics are computed again, and pictures mixed with those of the other process.
OPTIONS = (*SMALL, "--epochs", 2, "--ema-decay", 0.9, "--mixup", 0.3)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(data: Path, folder: Path, count: int, *options, extra=()) -> list[subprocess.Popen]:
    """Start the processes of a run; the last one with further options."""
    command = [sys.executable, ROOT / "train.py", "--data", data, "--run", folder, *options]
    port, started = free_port(), []
    for index in range(count):
        group = ("--processes", f"127.0.0.1:{port}", "--process-count", count, "--process-index", index)
        words = [*command, *(group if count > 1 else ()), *(extra if index == count - 1 else ())]
        environment = os.environ | {"KERAS_BACKEND": "jax"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([str(word) for word in words], env=environment, **streams))
    return started


def ended(processes: list[subprocess.Popen], within: float = 300) -> list[tuple[int, str, str]]:
    """The exit code, the output and the messages of each process."""
    limit, found = time.monotonic() + within, []
    for process in processes:
        out, err = process.communicate(timeout=max(1, limit - time.monotonic()))
        found.append((process.returncode, out, err))
    return found


def apart(folder: Path, other: Path) -> float:
    """How far the weights of two finished runs are apart at most."""
    networks = [run_folder.load_network(path / "model.keras") for path in (folder, other)]
    pairs = zip(*(network.get_weights() for network in networks), strict=True)
    return max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)


def figures(folder: Path) -> np.ndarray:
    """Losses and validation figures of each epoch."""
    rows = csv.DictReader((folder / "history.csv").open(encoding="utf-8"))
    return np.array([[float(value) for name, value in row.items() if name not in TIMED] for row in rows])


def test_two_processes_train_the_run_of_one_and_end_together(emoji_data, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    alone = start(emoji_data, one, 1, *OPTIONS)
    both = start(emoji_data, two, 2, *OPTIONS, "--checkpoint-minutes", 0.002)
    while not list(two.glob("checkpoint-*.npz")) and all(process.poll() is None for process in both):
        time.sleep(0.01)
    both[1].kill()
    (code, _, messages), _ = ended(both, within=30)
    assert code == 1 and messages.splitlines()[-1].startswith("error: process 1 of 2, on 127.0.0.1, is gone"), messages
    assert not (two / "model.keras").exists()

    (first, out, messages), (second, nothing, silent) = ended(start(emoji_data, two, 2, *OPTIONS))
    assert (first, second) == (0, 0), messages + silent
    assert "resumed after" in messages and f"{two} is trained" in out
    assert nothing == "" and "process 1 of 2; process 0 shows the progress" in silent and "epoch" not in silent
    assert ended(alone)[0][0] == 0
    assert apart(one, two) < 1e-6
    assert np.allclose(figures(one), figures(two), rtol=1e-5)
    assert len(figures(two)) == 2


@pytest.mark.slow
def test_a_run_killed_anywhere_and_continued_by_other_numbers_of_processes_is_the_same(emoji_data, tmp_path):
    whole, killed, others = tmp_path / "whole", tmp_path / "killed", tmp_path / "others"
    options = (*SMALL, "--epochs", 4, "--checkpoint-minutes", 0.002)
    assert [code for code, _, _ in ended(start(emoji_data, whole, 2, *options))] == [0, 0]
    for folder, counts in ((killed, (2, 2, 2, 2, 2)), (others, (2, 4, 1))):
        for attempt, count in enumerate(counts):
            before = sorted(folder.glob("checkpoint-*.npz"))[-1:]
            processes = start(emoji_data, folder, count, *options)
            while sorted(folder.glob("checkpoint-*.npz"))[-1:] == before and processes[0].poll() is None:
                time.sleep(0.01)
            time.sleep(0.1 * attempt)
            gone = attempt % count
            processes[gone].kill()
            for index, (code, _, messages) in enumerate(ended(processes, within=30)):
                if index != gone:
                    assert code == 1 and f"error: process {gone} of {count}" in messages, messages
        assert [code for code, _, _ in ended(start(emoji_data, folder, 2, *options))] == [0, 0]
    assert apart(whole, killed) == 0
    assert apart(whole, others) < 1e-5
    code, _, messages = ended(start(emoji_data, killed, 2, *options))[0]
    assert code == 0 and "is trained already" in messages


@pytest.mark.slow
@pytest.mark.parametrize("asked", [0, 1])
def test_each_process_can_stop_all_between_two_steps(asked, emoji_data, tmp_path):
    folder = tmp_path / "run"
    processes = start(emoji_data, folder, 2, *SMALL, "--epochs", 40, "--checkpoint-minutes", 0.002)
    while not list(folder.glob("checkpoint-*.npz")):
        time.sleep(0.01)
    processes[asked].send_signal(signal.SIGTERM)
    for code, _, messages in ended(processes, within=60):
        assert code == 1 and messages.splitlines()[-1].startswith("interrupted."), messages
    assert list(folder.glob("checkpoint-*.npz"))


@pytest.mark.slow
def test_an_error_of_one_process_ends_all_with_its_message(emoji_data, tmp_path):
    processes = start(emoji_data, tmp_path / "run", 2, *SMALL, extra=("--seed", 5))
    for code, _, messages in ended(processes, within=120):
        assert code == 1 and "process 1 has other --seed than process 0" in messages, messages
    processes = start(emoji_data, tmp_path / "run", 2, *SMALL, extra=("--data", tmp_path))
    (first, _, told), (second, _, messages) = ended(processes, within=120)
    assert (first, second) == (1, 1) and "is not a folder made by download.py" in messages
    assert told.splitlines()[-1].startswith("error: process 1 of 2 ended: "), told
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--process-count", "2"), "go with --processes"),
        (("--processes", "127.0.0.1"), "the host and the port"),
        (("--processes", "127.0.0.1:99999"), "the host and the port"),
        (("--processes", "no-such-host.invalid:9110"), "no-such-host.invalid is not known on this machine"),
        (("--processes", "127.0.0.1:1", "--process-count", "2", "--process-index", "2"), "under --process-count, 2"),
        (("--processes", "127.0.0.1:1", "--batch-size", "auto"), "--batch-size auto does not go with --processes"),
        (("--processes", "127.0.0.1:1", "--teacher", "runs/x"), "--teacher does not go with --processes"),
    ],
)
def test_options_that_make_no_group_of_processes_are_refused(options, message, monkeypatch):
    from conftest import program

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    done = program("train.py", *options)
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.splitlines()) == 1
