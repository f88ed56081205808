"""export.py: what other programs load says what the run says, read as those programs read it."""

import csv
import json
import re
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, program
from PIL import Image

from dataset import images, records
from inference import export_formats
from inference.tagger import Tagger

ort = pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")


@pytest.fixture(scope="module")
def exported(emoji_run, emoji_onnx):
    done = program("export.py", "--run", emoji_run, "--format", "trunk", "savedmodel", "litert")
    assert done.returncode == 0, done.stderr
    return emoji_run / "export", done


@pytest.fixture(scope="module")
def pictures(emoji_run, emoji_pictures):
    """Held-out pictures as files, and the run's probabilities."""
    tagger = Tagger.open(emoji_run)
    pixels = np.stack([tagger.pixels(path.read_bytes()) for path in emoji_pictures])
    return emoji_pictures, tagger.probabilities(pixels)


def front_end_input(path) -> np.ndarray:
    """A picture as the WD taggers' front ends give it: on a white square, resized, BGR, 0 to 255, float32."""
    picture = Image.open(path).convert("RGB")
    side = max(picture.size)
    square = Image.new("RGB", (side, side), "white")
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(square.resize((64, 64), Image.Resampling.BICUBIC), np.float32)[None, :, :, ::-1]


def test_each_export_is_compared_with_the_run_and_named(exported):
    folder, done = exported
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0].removeprefix(f"{folder}/") for line in lines] == [
        "trunk.onnx",
        "saved_model",
        "model.tflite",
    ]
    assert max(map(difference, lines)) < 1e-4
    assert not list(folder.glob(".partial*"))


def difference(line: str) -> float:
    """Return the difference that export.py printed for a file."""
    return float(re.search(r"from the run: (\S+?)(,|$)", line)[1])


@pytest.mark.slow
def test_an_export_of_8_bits_is_compared_with_the_run_and_its_auc_printed(emoji_run, tmp_path):
    done = program("export.py", "--run", emoji_run, "--format", "int8", "--out", tmp_path)
    assert done.returncode == 0 and difference(done.stdout) < 0.2 and "macro AUC" in done.stdout, done.stderr
    assert (tmp_path / "model.int8.tflite").exists()


def test_front_ends_find_the_columns_they_expect(exported, pictures, emoji_run):
    folder, _ = exported
    rows = list(csv.DictReader((folder / "selected_tags.csv").open()))
    assert list(rows[0]) == ["tag_id", "name", "category", "count"]
    # Some front ends find ratings by category, others take the first four rows for them.
    assert [row["category"] for row in rows] == ["9"] * 4 + ["0"] * 12
    session = ort.InferenceSession(folder / "model.onnx")
    [image] = session.get_inputs()
    assert image.type == "tensor(float)" and image.shape[1:] == [64, 64, 3] and isinstance(image.shape[0], str)
    paths, expected = pictures
    received = np.concatenate([session.run(None, {image.name: front_end_input(path)})[0] for path in paths])
    assert received.shape[1] == len(rows) and not received[:, :4].any()
    names = [tag.name for tag in records.read_tags(emoji_run / "tags.csv")]
    by_name = received[:, [[row["name"] for row in rows].index(name, 4) for name in names]]
    assert np.abs(by_name - expected).max() < 1e-4  # these pictures are square and of the network's size: nothing is resized


def test_the_columns_of_many_tags_are_ordered_at_once():
    chance = np.random.default_rng(0)
    tags = [records.Tag(index, f"tag {index}", int(category), 9) for index, category in enumerate(chance.choice(5, 40_000))]
    began = time.process_time()
    order, columns = export_formats.column_order(tags)
    assert time.process_time() - began < 2
    kinds = [tags[index].category == export_formats.CHARACTER for index in order]
    assert kinds == sorted(kinds) and [order[column - 4] for column in columns] == [*range(len(tags))]


def test_the_trunk_gives_the_embedding(exported, pictures, emoji_run):
    folder, _ = exported
    network = Tagger.open(emoji_run).network
    trunk = keras.Model(network.input, network.get_layer("features").output)
    bgr = np.concatenate([front_end_input(path) for path in pictures[0][:8]])
    [embedding] = ort.InferenceSession(folder / "trunk.onnx").run(None, {"input": bgr})
    expected = keras.ops.convert_to_numpy(trunk(bgr[..., ::-1].astype(np.uint8)))
    assert np.abs(embedding - expected).max() < 1e-3 * np.abs(expected).max()
    _, second = ort.InferenceSession(folder / "model.onnx").run(None, {"input": bgr})
    assert np.allclose(second, embedding, atol=1e-5)


def test_tensorflow_serves_any_batch(exported, pictures):
    signature = tf.saved_model.load(exported[0] / "saved_model" / "1").signatures["serving_default"]
    pixels = np.stack([np.asarray(images.decode(path.read_bytes())) for path in pictures[0][:5]])
    for number in (1, 5):
        answer = signature(tf.constant(pixels[:number]))["probability"].numpy()
        assert np.abs(answer - pictures[1][:number]).max() < 1e-4


def test_the_program_tags_from_the_export_as_from_the_run(exported, pictures, emoji_run):
    answers = [
        json.loads(program("test.py", *pictures[0], "--run", run, "--threshold", 0.05, "--json").stdout)
        for run in (emoji_run, exported[0] / "model.onnx")
    ]
    for from_run, from_export in zip(*answers, strict=True):
        assert from_run["file"] == from_export["file"]
        assert from_run["tags"] == pytest.approx(from_export["tags"], abs=2e-4)


def test_without_the_libraries_the_program_names_what_to_install(tmp_path):
    code = (
        "import importlib.util, runpy, sys; importlib.util.find_spec = lambda name: None\n"
        f"sys.argv = ['export.py', '--out', {str(tmp_path)!r}]\n"
        "runpy.run_path('export.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1 and "pip install -r requirements-export.txt" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "options, words",
    [
        (("--run", "{nowhere}"), "no run folder at"),
        (("--run", "{run}", "--data", "{nowhere}"), "tags.csv is missing"),
        (("--run", "{run}", "--format", "coreml"), "invalid choice"),
        (("--run", "{run}", "--pictures", "0"), "at least 1"),
    ],
)
def test_bad_requests_are_one_line(emoji_run, tmp_path, options, words):
    options = [option.format(nowhere=tmp_path / "nowhere", run=emoji_run) for option in options]
    done = program("export.py", *options, "--out", tmp_path / "out")
    assert done.returncode == 1 and words in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_damaged_export_is_one_line(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    done = program("test.py", tmp_path / "picture.png", "--run", tmp_path / "model.onnx")
    assert done.returncode == 1 and "cannot be read as ONNX" in done.stderr and "Traceback" not in done.stderr
