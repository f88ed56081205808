"""Training as a program: it learns, it can be interrupted, and what it writes is whole."""

import csv
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, program

from dataset import records
from model import runs

OPTIONS = ("--epochs", 3, "--batch-size", 32, "--image-size", 32, "--learning-rate", 0.05)


def weights(folder):
    return runs.load_network(folder / "model.keras").get_weights()


@pytest.fixture(scope="module")
def uninterrupted(emoji_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = program("train.py", "--data", emoji_data, "--run", folder, *OPTIONS)
    assert done.returncode == 0, done.stderr
    return folder


def test_says_what_it_will_do_and_leaves_a_complete_run(emoji_data, emoji_run):
    names = {path.name for path in emoji_run.iterdir()}
    assert {"config.json", "tags.csv", "model.keras", "thresholds.csv", "history.csv", "logs"} <= names
    assert not [name for name in names if "partial" in name or "checkpoint" in name]
    rows = list(csv.DictReader((emoji_run / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert (emoji_run / "tags.csv").read_bytes() == (emoji_data / "tags.csv").read_bytes()
    assert runs.load(emoji_run).config.batch_size == 32


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on_to_the_same_weights(emoji_data, uninterrupted, tmp_path, how):
    folder = tmp_path / "run"
    command = [sys.executable, ROOT / "train.py", "--data", emoji_data, "--run", folder, *OPTIONS]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(1200):  # until the first epoch is kept, then into the second
        if (folder / "checkpoint.keras").exists():
            break
        time.sleep(0.1)
    time.sleep(0.3)
    process.send_signal(how)
    _, messages = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 1 and "the same command goes on" in messages and "Traceback" not in messages
    assert not (folder / "model.keras").exists()
    again = program("train.py", "--data", emoji_data, "--run", folder, *OPTIONS)
    assert again.returncode == 0 and "going on after epoch" in again.stderr
    for ours, expected in zip(weights(folder), weights(uninterrupted), strict=True):
        assert np.array_equal(ours, expected)
    ours, expected = (list(csv.DictReader((path / "history.csv").open())) for path in (folder, uninterrupted))
    for row in (*ours, *expected):
        row.pop("seconds")
    assert ours == expected


def test_a_damaged_checkpoint_is_named_and_training_starts_again(emoji_data, tmp_path):
    folder = tmp_path / "run"
    options = ("--data", emoji_data, "--run", folder, *OPTIONS, "--epochs", 1)
    folder.mkdir()
    (folder / "checkpoint.keras").write_bytes(b"half a file")
    done = program("train.py", *options)
    assert done.returncode == 0 and "checkpoint.keras" in done.stderr and "starting from the beginning" in done.stderr


def test_the_same_command_on_a_finished_run_changes_nothing(emoji_data, uninterrupted):
    before = (uninterrupted / "model.keras").read_bytes()
    done = program("train.py", "--data", emoji_data, "--run", uninterrupted, *OPTIONS)
    assert done.returncode == 0 and "trained already" in done.stderr
    assert (uninterrupted / "model.keras").read_bytes() == before


@pytest.mark.parametrize(
    "options, words",
    [
        (("--epochs", 0), "--epochs has to be greater than 0"),
        (("--recipe", "best"), "default, plain, e6tag"),
        (("--no-such-option",), "--no-such-option"),
        (("--data", "nowhere"), "nowhere"),
        (("--learning-rate", 1e9, "--noise", "none", "--loss", "bce", "--epochs", 1), "try a lower --learning-rate"),
    ],
)
def test_bad_input_is_one_line(emoji_data, tmp_path, options, words):
    done = program("train.py", "--data", emoji_data, "--run", tmp_path / "run", "--image-size", 32, *options)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and words in last and "error: " in last and "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "model.keras").exists()


def test_other_options_on_a_run_are_named(emoji_data, uninterrupted):
    done = program("train.py", "--data", emoji_data, "--run", uninterrupted, *OPTIONS, "--seed", 5)
    assert done.returncode == 1 and "seed was 0 and is now 5" in done.stderr


def test_an_unfinished_data_folder_is_named(emoji_data, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    manifest = records.read_json(emoji_data / "manifest.json") | {"complete": False}
    records.write_json(folder / "manifest.json", manifest)
    done = program("train.py", "--data", folder, "--run", tmp_path / "run")
    assert done.returncode == 1 and "unfinished" in done.stderr
