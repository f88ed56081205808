"""Wrong labels made to order, and clean.py as a user runs it."""

import csv
import shutil
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, program
from data_folders import contents
from filelock import FileLock

import train
from benchmarks.noisy_labels import noisy_copy, with_noise
from common import files
from common.errors import InputError
from common.processes import run_script
from dataset import cache, pipeline, records
from dataset.augmentation import Augmentation
from dataset.records import CATEGORIES
from dataset.relabel import relabel
from labels import folds, review
from labels.feedback import Events
from model.config import as_options
from training.recipes import resolve

FOLDS = 2


@pytest.fixture(scope="module")
def noisy(emoji_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("noisy") / "noisy"
    noisy_copy(emoji_data, folder, 0.3, seed=1)
    return folder


@pytest.fixture(scope="module")
def noisy_run(first_run, noisy, tmp_path_factory):
    """A run on the noisy labels, as far as clean.py can tell: the folds take its settings, and --rule halved its network."""
    folder = Path(shutil.copytree(first_run, tmp_path_factory.mktemp("noisy_runs") / "run"))
    run = files.read_json(folder / "config.json")
    settings = run["config"] | {"epochs": 1, "noise": "none", "batch_size": 32}
    files.write_json(folder / "config.json", run | {"data": str(noisy), "config": settings})
    return folder


@pytest.fixture(scope="module")
def cleaned(noisy, noisy_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cleaned") / "clean"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folds, "run_script", run_here)
        done = clean(noisy, noisy_run, folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def run_here(script, *options):
    """In the place of `run_script`: in this process, where TensorFlow is imported already.

    Training is compiled, as it is apart, so that both give the same bits.
    """
    tf.config.run_functions_eagerly(False)
    done = program(script, *options)
    tf.config.run_functions_eagerly(True)
    assert done.returncode == 0, done.stderr


def clean(data, run, out, *options):
    return program("clean.py", "--data", data, "--run", run, "--out", out, "--folds", FOLDS, "--review", 30, *options)


def labels_of(folder):
    return {record.id: record.labels for record in records.read(folder, "train")}


def test_noise_changes_a_fraction_of_the_training_labels_only(emoji_data, noisy, tmp_path):
    before, after = labels_of(emoji_data), labels_of(noisy)
    assert list(before) == list(after)
    total = sum(map(len, before.values()))
    dropped = sum(len(before[name].keys() - after[name].keys()) for name in before)
    added = sum(len(after[name].keys() - before[name].keys()) for name in before)
    assert dropped == added == round(0.3 * total)
    assert records.read_tags(noisy / "tags.csv") == records.read_tags(emoji_data / "tags.csv")
    assert held_out(noisy) == held_out(emoji_data)
    noisy_copy(emoji_data, tmp_path / "again", 0.3, seed=1)
    assert contents(tmp_path / "again") == contents(noisy)
    with pytest.raises(InputError, match="other data"):
        noisy_copy(emoji_data, tmp_path / "again", 0.3, seed=2)
    with pytest.raises(InputError, match="Received: 1"):
        noisy_copy(emoji_data, tmp_path / "more", 1.5, seed=1)


def test_labels_can_be_missing_alone(emoji_data, tmp_path):
    noisy_copy(emoji_data, tmp_path / "missing", 0.3, 1, "missing")
    before, after = labels_of(emoji_data), labels_of(tmp_path / "missing")
    assert list(before) == list(after) and all(after[name].keys() <= before[name].keys() for name in before)
    total, left = (sum(map(len, labels.values())) for labels in (before, after))
    assert total - left == round(0.3 * total)


def held_out(folder):
    return {name: content for name, content in contents(folder).items() if name.startswith(("val-", "test-"))}


def test_a_tag_of_nearly_all_pictures_runs_out_of_pictures_without_it():
    had = np.ones((100, 1), bool)
    had[:5] = False
    has = with_noise(had, 0.5, np.random.default_rng(0))
    assert has[:5].all() and has.sum() == 95 - round(0.5 * 95) + 5


def test_a_configuration_survives_the_command_line():
    config = resolve({"preset": "base", "recipe": "e6tag", "flip": False, "ema_decay": 0.999, "precision": "float32"})
    given = train.parser().parse_args(as_options(config))
    names = (entry.name for entry in fields(config) if entry.metadata["is_option"])
    assert resolve({name: getattr(given, name) for name in names}) == config


def test_cleaning_changes_training_labels_alone(noisy, cleaned):
    folder, done = cleaned
    assert held_out(folder) == held_out(noisy) and "Next: python train.py" in done.stdout
    before, after = labels_of(noisy), labels_of(folder)
    assert list(before) == list(after) and before != after
    values = [label for of_picture in after.values() for label in of_picture.values()]
    assert min(values) > 0 and max(values) <= 1 and len(set(values)) > 10
    facts = files.read_json(folder / "manifest.json")["relabelled"]
    assert 0 <= facts["missing"] < 1 and 0 <= facts["wrong"] < 1 and facts["rule"] == "posterior"


def test_the_same_command_again_gives_the_same_folder(noisy, noisy_run, cleaned):
    folder, _ = cleaned
    before = contents(folder)
    done = clean(noisy, noisy_run, folder)
    assert done.returncode == 0 and contents(folder) == before
    done = clean(noisy, noisy_run, folder, "--rule", "halved")
    assert done.returncode == 1 and "other data" in done.stderr and "Traceback" not in done.stderr


def test_a_script_that_fails_ends_the_one_that_started_it(capfd):
    run_script("train.py", "--help")
    assert not capfd.readouterr().out
    with pytest.raises(InputError, match=r"train\.py failed, for the reason above"):
        run_script("train.py", "--no-such-option")
    assert "--no-such-option" in capfd.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_killed_it_resumes_with_the_networks_that_are_trained(noisy, noisy_run, cleaned, tmp_path):
    folder, _ = cleaned
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "tags.csv"):
        (run / name).write_bytes((noisy_run / name).read_bytes())
    options = ["--data", noisy, "--run", run, "--out", tmp_path / "clean", "--folds", FOLDS, "--review", 30]
    command = [sys.executable, ROOT / "clean.py", *options]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    first = run / "folds" / "run-0" / "model.keras"
    while not first.exists() and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.communicate()
    assert not (tmp_path / "clean").exists()
    trained = first.stat().st_mtime_ns
    with FileLock(run / "folds" / "run-1" / ".lock", timeout=120):  # its training goes on by itself, or has not begun
        pass
    done = clean(noisy, run, tmp_path / "clean")
    assert done.returncode == 0, done.stderr
    assert first.stat().st_mtime_ns == trained and labels_of(tmp_path / "clean") == labels_of(folder)


def test_decisions_and_events_override_the_rule(noisy, noisy_run, cleaned, tmp_path):
    folder, _ = cleaned
    rows = list(csv.DictReader((folder / "review.csv").open()))
    change = [abs(float(row["label"]) - int(row["given"])) for row in rows]
    assert len(rows) == 30 and change == sorted(change, reverse=True)
    answers = zip(rows, ("yes", "No", ""), strict=False)
    lines = ["id,tag,decision", *(f'"{row["id"]}",{row["tag"]},{answer}' for row, answer in answers)]
    (tmp_path / "decisions.csv").write_text("\n".join(lines))
    other = next(record for record in records.read(noisy, "train") if record.id not in {row["id"] for row in rows[:2]})
    tags = [tag.name for tag in records.read_tags(noisy / "tags.csv")]
    events = Events(tmp_path / "events.db", "some model")
    events.add(other.md5, [(tags[0], "rejected"), (tags[1], "added"), ("unheard_of", "added")], [])
    events.add(other.md5, [(tags[0], "added")], [])  # they thought better of it
    events.close()
    options = ("--decisions", tmp_path / "decisions.csv", "--events", tmp_path / "events.db")
    done = clean(noisy, noisy_run, tmp_path / "decided", *options)
    assert done.returncode == 0 and "1 of 3 decisions are of other pictures" in done.stderr, done.stderr
    assert "4 were decided" in done.stdout
    after = labels_of(tmp_path / "decided")
    assert after[rows[0]["id"]][tags.index(rows[0]["tag"])] == 1
    assert tags.index(rows[1]["tag"]) not in after[rows[1]["id"]]
    assert after[other.id][0] == after[other.id][1] == 1
    left = [(row["id"], row["tag"]) for row in csv.DictReader((tmp_path / "decided" / "review.csv").open())]
    assert (rows[0]["id"], rows[0]["tag"]) not in left and (rows[2]["id"], rows[2]["tag"]) in left


@pytest.mark.parametrize(
    "content", ["id,tag\na,b\n", "id,tag,decision\na,b,perhaps\n", "id,tag,decision\n,b,yes\n", "id,tag,decision\na, ,no\n"]
)
def test_damaged_decisions_are_named(tmp_path, content):
    (tmp_path / "decisions.csv").write_text(content)
    with pytest.raises(InputError, match=r"decisions\.csv.*: expected"):
        review.read_decisions(tmp_path / "decisions.csv")


def test_the_page_saves_decisions(cleaned, browser, tmp_path):
    folder, _ = cleaned
    rows = list(csv.DictReader((folder / "review.csv").open()))
    page = browser.new_page()
    page.goto((folder / "review.html").as_uri())
    cards = page.locator(".question")
    assert cards.count() == len(rows)
    cards.nth(0).get_by_text("yes").click()
    cards.nth(2).get_by_text("no").click()
    cards.nth(3).get_by_text("no").click()
    cards.nth(3).get_by_text("no").click()  # thought better of it
    with page.expect_download() as download:
        page.get_by_text("Save decisions.csv").click()
    download.value.save_as(tmp_path / "decisions.csv")
    expected = {(rows[0]["id"], rows[0]["tag"]): True, (rows[2]["id"], rows[2]["tag"]): False}
    assert review.read_decisions(tmp_path / "decisions.csv") == expected


def test_soft_labels_reach_training_with_and_without_a_cache(cleaned):
    folder, _ = cleaned
    kept = cache.open_cache(folder, "memory", 32, "pad", True, 2**40)
    plain, cached = (
        pipeline.training_batches(pipeline.TrainingData(folder, 12, 32, "pad", 16, Augmentation(), cache=which), 0, 1)
        for which in (None, kept)
    )
    for (pixels, soft), (same_pixels, same) in zip(plain, cached, strict=True):
        assert np.array_equal(pixels, same_pixels) and np.array_equal(soft, same)
        assert ((soft > 0) & (soft < 1)).any()


@pytest.mark.slow
def test_a_run_learns_from_soft_labels(cleaned, tmp_path):
    folder, _ = cleaned
    done = program("train.py", "--data", folder, "--run", tmp_path / "run", "--preset", "test", "--epochs", 1)
    assert done.returncode == 0, done.stderr
    assert program("eval.py", tmp_path / "run").returncode == 0


def test_cleaned_data_is_not_cleaned_again(cleaned, noisy, noisy_run, tmp_path):
    """Half labels would be gone."""
    folder, _ = cleaned
    done = program("clean.py", "--run", noisy_run, "--data", folder, "--out", tmp_path / "again", "--rule", "halved")
    assert done.returncode == 1 and f"as --data, {noisy}" in done.stderr, done.stderr
    done = program("clean.py", "--run", noisy_run, "--data", noisy, "--out", noisy, "--rule", "halved")
    assert done.returncode == 1 and "the folder to be cleaned" in done.stderr
    (tmp_path / "pictures").mkdir()
    done = program("clean.py", "--run", noisy_run, "--data", noisy, "--out", tmp_path / "pictures", "--rule", "halved")
    assert done.returncode == 1 and "not a data folder" in done.stderr


def test_numbers_are_left_as_they_are(noisy, noisy_run, tmp_path):
    """Two columns made numbers."""
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(noisy_run, run)
    tags = records.read_tags(noisy / "tags.csv")
    ranks = iter(np.random.default_rng(0).random(10_000).tolist())
    labels = [
        dict.fromkeys(record.tags, 1.0) | {0: next(ranks), 1: next(ranks) / 100} for record in records.read(noisy, "train")
    ]
    relabel(noisy, data, labels, {})
    for folder in (run, data):
        number = CATEGORIES["number"]
        records.write_tags(folder / "tags.csv", [replace(tag, category=number) for tag in tags[:2]] + tags[2:])
    out, decisions = tmp_path / "out", tmp_path / "decisions.csv"
    first = next(iter(records.read(data, "train")))
    answer = "no" if 2 in first.tags else "yes"
    decisions.write_text(f"id,tag,decision\n{first.id},{tags[2].name},{answer}\n{first.id},{tags[0].name},no\n")
    given = ("--run", run, "--data", data, "--out", out, "--rule", "halved", "--decisions", decisions)
    done = program("clean.py", *given)
    assert done.returncode == 0 and "1 of 2 decisions are of other pictures or tags" in done.stderr, done.stderr
    changed = 0
    for before, after in zip(records.read(data, "train"), records.read(out, "train"), strict=True):
        assert {tag: after.labels[tag] for tag in (0, 1)} == {tag: before.labels[tag] for tag in (0, 1)}
        changed += before.labels != after.labels
    assert changed
    assert {row["tag"] for row in csv.DictReader((out / "review.csv").open())} <= {tag.name for tag in tags[2:]}
