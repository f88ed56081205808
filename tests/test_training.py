"""Training as a program: it learns, it can be interrupted, and what it writes is whole."""

import csv
import random
import shutil
import signal
import subprocess
import time

import kill_and_resume
import pytest
from conftest import ROOT, RUN_OPTIONS, program, uncompiled
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common import files
from model import run_folder
from training import checkpoints


def test_training_describes_the_run_and_completes_it(emoji_data, emoji_run):
    names = {path.name for path in emoji_run.iterdir()}
    assert {"config.json", "tags.csv", "model.keras", "thresholds.csv", "history.csv", "logs"} <= names
    assert not [name for name in names if "partial" in name or "checkpoint" in name]
    rows = list(csv.DictReader((emoji_run / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert (emoji_run / "tags.csv").read_bytes() == (emoji_data / "tags.csv").read_bytes()
    assert run_folder.load(emoji_run).config.batch_size == 8


@pytest.mark.slow
def test_killed_at_random_steps_it_resumes_to_the_same_weights_and_history(emoji_data, first_run, tmp_path):
    folder = tmp_path / "run"
    steps = kill_and_resume.train_killed(emoji_data, folder, RUN_OPTIONS, 2, random.Random(5))
    assert steps and steps == sorted(steps)
    assert kill_and_resume.differences(first_run, folder) == []


@pytest.mark.slow
def test_stopped_with_control_c_it_names_the_command_that_resumes_it(emoji_data, first_run, tmp_path):
    folder = tmp_path / "run"
    command = kill_and_resume.command(emoji_data, folder, RUN_OPTIONS)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not checkpoints.paths(folder) and process.poll() is None:  # the first step's
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, written = process.communicate(timeout=300)
    assert process.returncode == 1 and "The same command continues" in written and "Traceback" not in written
    assert "WARNING" not in written
    assert checkpoints.paths(folder) and not (folder / "model.keras").exists()
    again = program("train.py", "--resume", "--run", folder)
    assert again.returncode == 0 and "resumed after epoch" in again.stderr
    assert kill_and_resume.differences(first_run, folder) == []


def test_the_same_command_on_a_finished_run_changes_nothing(emoji_data, first_run):
    before = (first_run / "model.keras").read_bytes()
    done = program("train.py", "--data", emoji_data, "--run", first_run, *RUN_OPTIONS)
    assert done.returncode == 0 and "trained already" in done.stderr
    assert (first_run / "model.keras").read_bytes() == before


def test_a_network_that_is_damaged_or_of_no_run_is_not_taken_for_a_finished_one(emoji_data, first_run, tmp_path):
    for folder, words in ((tmp_path / "cut", "delete it and run the same"), (tmp_path / "foreign", "is not a run")):
        shutil.copytree(first_run, folder)
        (folder / "model.keras").write_bytes(b"PK")
        if folder.name == "foreign":
            (folder / "config.json").unlink()
        done = program("train.py", "--data", emoji_data, "--run", folder, *RUN_OPTIONS)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_curves_and_pictures_are_there_for_tensorboard(emoji_run):
    events = EventAccumulator(str(emoji_run / "logs"), size_guidance={"images": 0, "scalars": 0}).Reload()
    tags = events.Tags()
    assert {"step/loss", "step/learning_rate", "step/momentum", "epoch/val_average_precision_macro"} <= {*tags["scalars"]}
    assert [event.step for event in events.Scalars("epoch/loss")] == [1, 2]
    assert len(events.Images("validation")) == 2 and events.Images("validation")[0].encoded_image_string[1:4] == b"PNG"


def test_runs_are_listed(emoji_run):
    listed = program("train.py", "--list", cwd=emoji_run.parent.parent)
    assert listed.returncode == 1 and "nothing under runs" in listed.stderr
    (emoji_run.parent.parent / "runs").symlink_to(emoji_run.parent)
    listed = program("train.py", "--list", cwd=emoji_run.parent.parent)
    assert listed.returncode == 0 and "2/2" in listed.stdout and "trained" in listed.stdout


@pytest.mark.parametrize(
    "options, words",
    [
        (("--epochs", 0), "--epochs has to be greater than 0"),
        (("--recipe", "best"), "default, lean, plain, e6tag"),
        (("--no-such-option",), "--no-such-option"),
        (("--data", "nowhere"), "nowhere"),
        (("--data", "gs://bucket/data"), "received an address: mount it"),
        (("--run", "s3://bucket/run"), "received an address: mount it"),
        (("--run", ROOT / "README.md"), "README.md is a file"),
        (("--image-size", 3_200_000), "--image-size has to be a multiple of 32 up to"),
        (("--batch-size", "auto", "--effective-batch", -5), "--effective-batch has to be greater than 0"),
        (("--learning-rate", 1e9, "--noise", "none", "--loss", "bce", "--epochs", 1), "try --learning-rate 3"),
    ],
)
@uncompiled()
def test_bad_input_is_one_line(emoji_data, tmp_path, options, words):
    done = program("train.py", "--data", emoji_data, "--run", tmp_path / "run", "--preset", "test", *options)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and words in last and "error: " in last and "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "model.keras").exists()


def test_other_options_on_a_run_are_named(emoji_data, first_run):
    done = program("train.py", "--data", emoji_data, "--run", first_run, *RUN_OPTIONS, "--seed", 5)
    assert done.returncode == 1 and "seed was 0 and is now 5" in done.stderr


def test_an_unfinished_data_folder_is_named(emoji_data, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    manifest = files.read_json(emoji_data / "manifest.json") | {"complete": False}
    files.write_json(folder / "manifest.json", manifest)
    done = program("train.py", "--data", folder, "--run", tmp_path / "run")
    assert done.returncode == 1 and "unfinished" in done.stderr
