"""A batch of pictures loses nothing: not when it is interrupted, not for one bad entry, not for a name."""

import csv
import io
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, program
from PIL import Image

from common.files import only_writer, partial_path
from inference import annotations, sources, tagger

pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")

LONGEST = 255  # bytes of a name in a file system


def copies(pictures, folder, number):
    folder.mkdir()
    for index in range(number):
        (folder / f"{index:03}.jpg").write_bytes(pictures[index % len(pictures)].read_bytes())
    return folder


@pytest.mark.parametrize("form", ["--json", "--jsonl", "--csv", "--danbooru"])
def test_an_interrupted_batch_has_printed_what_was_predicted(emoji_pictures, emoji_onnx, tmp_path, form):
    folder = copies(emoji_pictures, tmp_path / "in", 40)
    command = [sys.executable, ROOT / "test.py", folder, "-", "--run", emoji_onnx, "--top", 1, "--threshold", 0, form]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*map(str, command)], **pipes)  # the last picture never arrives
    start = process.stdout.readline()
    process.send_signal(signal.SIGTERM if form == "--json" else signal.SIGINT)
    rest, messages = process.stdout.read(), process.stderr.read()
    assert process.wait() == 1 and "interrupted" in messages and "Traceback" not in messages
    if form == "--json":
        answers = json.loads(start + rest)
    elif form == "--jsonl":
        answers = [json.loads(line) for line in (start + rest).splitlines()]
    else:
        answers = list(csv.reader(io.StringIO(start + rest)))[form == "--csv" :]
    assert 1 <= len(answers) <= 32  # of a full batch, each whole


def test_pictures_that_have_tags_need_no_network(emoji_pictures, emoji_onnx, tmp_path):
    folder = copies(emoji_pictures, tmp_path / "in", 3)
    options = (folder, "--threshold", 0, "--top", 2, "--sidecar", "skip")
    (folder / "001.txt").write_text("mine")
    (folder / "002.txt").write_text("\ufeff \n")  # no tag
    done = program("test.py", *options, "--run", emoji_onnx)
    assert done.returncode == 0 and "2 of 3" in done.stderr, done.stderr
    assert (folder / "001.txt").read_text() == "mine" and len((folder / "002.txt").read_text().split(", ")) == 2
    done = program("test.py", *options, "--run", tmp_path / "nothing")
    assert done.returncode == 0 and "0 of 3" in done.stderr, done.stderr
    (folder / "003.jpg").write_bytes((folder / "000.jpg").read_bytes())
    assert "nothing" in program("test.py", *options, "--run", tmp_path / "nothing").stderr
    (folder / "000.png").write_bytes((folder / "000.jpg").read_bytes())
    done = program("test.py", *options, "--run", emoji_onnx)
    assert done.returncode == 1 and "000.txt belongs to" in done.stderr and "1 of 4" in done.stderr, done.stderr


@pytest.mark.parametrize("length", [248, LONGEST])
def test_the_longest_names_are_written_and_undone(tmp_path, length):
    path = tmp_path / ("n" * (length - 4) + ".txt")
    path.write_text("mine")
    assert annotations.write(path, ["new"], "append", "1") and path.read_text() == "mine, new"
    assert annotations.undo(tmp_path) == (1, [], {}) and path.read_text() == "mine"
    assert partial_path(tmp_path / ("é" * 120 + ".png")).name.endswith(".png")
    assert partial_path(path) == partial_path(path) != partial_path(path.with_suffix(".json"))


def test_what_cannot_be_undone_does_not_stop_the_rest(tmp_path):
    text = tmp_path / "a.txt"
    for line in ("[]", "{}", json.dumps({"session": "9", "file": "x" * 300 + ".txt", "before": None, "after": "b"})):
        with (tmp_path / annotations.JOURNAL).open("a") as journal:
            journal.write(f"\n{line}")
    annotations.write(text, ["new"], "skip", "9")
    done = program("test.py", "--undo", tmp_path)
    assert done.returncode == 1 and done.stdout.startswith("1 ") and "x.txt: File name too long" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not text.exists() and (tmp_path / annotations.JOURNAL).exists()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_any_name_can_be_printed(emoji_pictures, emoji_onnx, tmp_path, encoding):
    names = ["ねこ.jpg", "a\u2028b.jpg", "-rf.jpg"]
    if os.name == "posix":
        names.append(os.fsdecode(b"\xff.jpg"))
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / name).write_bytes(emoji_pictures[0].read_bytes())
    options = (tmp_path / "in", "--run", emoji_onnx, "--threshold", 0, "--top", 1)
    command = [*map(str, (sys.executable, ROOT / "test.py", *options, "--json"))]
    done = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": encoding}, check=False)
    assert done.returncode == 0, done.stderr
    assert {answer["file"] for answer in json.loads(done.stdout.decode())} == {str(tmp_path / "in" / name) for name in names}


def test_a_lock_stays_the_same_file(tmp_path):
    files = []
    for _ in range(2):
        with only_writer(tmp_path):
            files.append((tmp_path / ".lock").stat().st_ino)
    assert files[0] == files[1] == (tmp_path / ".lock").stat().st_ino


def test_frames_of_animations_are_computed_in_batches_of_one_size(emoji_onnx, tmp_path, monkeypatch):
    for index, number in enumerate((5, 8, 5, 8, 1, 5, 8, 40, 3)):
        first, *others = [Image.new("L", (8, 8), 20 * index + 2 * frame) for frame in range(number)]
        first.save(tmp_path / f"{index}.gif", save_all=True, append_images=others)
    opened, sizes = tagger.Tagger.open(emoji_onnx), set()
    network, compute = opened.network, opened.network.predict_on_batch
    monkeypatch.setattr(network, "predict_on_batch", lambda pixels: sizes.add(len(pixels)) or compute(pixels))
    monkeypatch.setattr(tagger, "BATCHES_BEFORE_COMPILING", 0)
    predictions = list(opened.predict(sources.find([str(tmp_path)]), max_frames=40))
    assert sizes == {tagger.BATCH} and [len(found.seconds) for found in predictions] == [5, 8, 5, 8, 1, 5, 8, 40, 3]
    for found in predictions:
        assert np.allclose(found.scores["logit"], compute(np.stack(found.frames))["logit"], atol=1e-4)
