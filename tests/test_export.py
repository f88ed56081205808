"""export.py: what other programs load says what the run says, read as those programs read it."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, program
from PIL import Image

from common import files
from dataset import images, records
from inference import onnx_network
from inference.export import formats, front_end_files, model_card, tensorflow_files
from inference.tagger import Tagger
from model.network import TaggerNetwork

ort = pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")


@pytest.fixture(scope="module")
def exported(emoji_run, emoji_onnx):
    done = program("export.py", "--run", emoji_run, "--format", "trunk", "safetensors", "savedmodel", "litert")
    assert done.returncode == 0, done.stderr
    return emoji_run / "export", done


@pytest.fixture(scope="module")
def pictures(emoji_run, emoji_pictures):
    """Held-out pictures as files, and the run's probabilities."""
    tagger = Tagger.open(emoji_run)
    pixels = np.stack([tagger.pixels(path.read_bytes()) for path in emoji_pictures])
    return emoji_pictures, tagger.probabilities(pixels)


def front_end_input(path, side=448) -> np.ndarray:
    """A picture as the WD taggers' front ends give it: on a white square, resized, BGR, 0 to 255, float32."""
    picture = Image.open(path).convert("RGB")
    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    return np.asarray(square.resize((side, side), Image.Resampling.BOX), np.float32)[None, :, :, ::-1]


def test_each_export_is_compared_with_the_run_and_named(exported):
    folder, done = exported
    lines = done.stdout.splitlines()
    assert [line.split("  ")[0].removeprefix(f"{folder}/") for line in lines] == [
        "trunk/trunk.onnx",
        "safetensors/model.safetensors",
        "saved_model",
        "litert/model.tflite",
    ]
    assert max(map(difference, lines)) < 1e-4
    assert not list(folder.rglob(".partial*"))


def difference(line: str) -> float:
    """Return the difference that export.py printed for a file."""
    return float(re.search(r"from the run: (\S+?)(,|$)", line)[1])


@pytest.mark.slow
def test_an_export_of_8_bits_is_compared_with_the_run_and_its_auc_printed(emoji_run, tmp_path):
    done = program("export.py", "--run", emoji_run, "--format", "int8", "--out", tmp_path)
    assert done.returncode == 0 and difference(done.stdout) < 0.2 and "macro AUC" in done.stdout, done.stderr
    assert (tmp_path / "litert" / "model.int8.tflite").exists()


def test_front_ends_find_the_columns_they_expect(exported, pictures, emoji_run):
    folder, _ = exported
    rows = list(csv.DictReader((folder / "selected_tags.csv").open()))
    assert list(rows[0])[:4] == ["tag_id", "name", "category", "count"]
    # Some front ends find ratings by category, others take the first four rows for them; without characters some fail.
    assert [row["category"] for row in rows] == ["9"] * 4 + ["0"] * 12 + ["4"] * front_end_files.MIN_ROWS
    session = ort.InferenceSession(folder / "model.onnx")
    [image] = session.get_inputs()
    assert image.type == "tensor(float)" and image.shape[1:] == [448, 448, 3] and isinstance(image.shape[0], str)
    assert [output.name for output in session.get_outputs()] == ["predictions_sigmoid", "embedding"]
    assert session.get_outputs()[0].shape[1] == len(rows)
    paths, expected = pictures
    received = np.concatenate([session.run(None, {image.name: front_end_input(path)})[0] for path in paths])
    names = [row["name"] for row in rows]
    own = [names.index(tag.name) for tag in records.read_tags(emoji_run / "tags.csv")]
    assert not np.delete(received, own, axis=1).any()  # ratings, which are not known, and placeholders
    assert np.abs(received[:, own] - expected).max() < 1e-4  # the graph averages the pixels that BOX has repeated
    assert json.loads((folder / "info.json").read_text())["ratingsflag"] == 0


@pytest.fixture(scope="module")
def mixed(emoji_run):
    """The run as if its first tags were three ratings, a number, an artist and a character; without noise, which is slow."""
    tagger = Tagger.open(emoji_run)
    network = TaggerNetwork(tagger.network.num_tags, tagger.network.config | {"noise": "none"})
    for layer in network.layers:
        trained = tagger.network.get_layer(layer.name) if layer.name != "probability" else layer
        layer.set_weights((trained.mean_layer if layer.name == "tags" else trained).get_weights())
    names = ("rating:safe", "rating:questionable", "rating:explicit", "score", "ann", "hero")
    categories = ("rating", "rating", "rating", "number", "artist", "character")
    tags = [
        replace(tag, name=name, category=records.CATEGORIES[category])
        for tag, name, category in zip(tagger.run.tags, names, categories, strict=False)
    ]
    tags += tagger.run.tags[len(names) :]
    return replace(tagger, network=network, run=replace(tagger.run, tags=tags))


def written(mixed, exporter_pictures, name, folder, side=448):
    formats.write_checked(mixed, name, side, folder, exporter_pictures)
    return ort.InferenceSession(folder / formats.formats(mixed, side)[name].file)


@pytest.fixture(scope="module")
def pixels(mixed, pictures):
    return np.stack([mixed.pixels(path.read_bytes()) for path in pictures[0][:8]])


def test_known_ratings_stand_in_the_four_rows_and_numbers_in_none(mixed, pixels, tmp_path):
    session = written(mixed, pixels, "onnx", tmp_path)
    rows = [row["name"] for row in csv.DictReader((tmp_path / "selected_tags.csv").open())]
    repeated = onnx_network.enlarge(pixels, 448)[..., ::-1].astype(np.float32)
    received, expected = session.run(None, {"input": repeated})[0], mixed.probabilities(pixels)
    assert rows[:4] == ["general", "sensitive", "questionable", "explicit"] and "score" not in rows
    assert np.allclose(received[:, [0, 2, 3]], expected[:, :3], atol=1e-5) and not received[:, 1].any()
    assert np.allclose(received[:, :4].sum(axis=1), 1, atol=1e-5)
    assert np.allclose(received[:, rows.index("hero")], expected[:, 5], atol=1e-5) and rows.index("hero") > rows.index("ann")
    assert json.loads((tmp_path / "info.json").read_text())["ratingsflag"] == 1
    # The suite reads the same file, without the number.
    opened = Tagger.open(tmp_path / "model.onnx")
    assert [tag.name for tag in opened.run.tags] == [tag.name for tag in mixed.run.tags if tag.name != "score"]
    assert np.allclose(opened.probabilities(pixels), np.delete(expected, 3, axis=1), atol=1e-5)
    card = (tmp_path / "README.md").read_text()
    assert "general is rating:safe" in card and "sensitive is always 0" in card and "1 number" in card


def test_readers_of_timms_taggers_get_their_layout(mixed, pixels, tmp_path):
    session = written(mixed, pixels, "timm", tmp_path)
    steps = json.loads((tmp_path / "timm" / "preprocess.json").read_text())["test"]
    [normalize] = [step for step in steps if step["type"] == "normalize"]
    # Readers that do not know `pad_to_size` still send a picture of the right size.
    assert [step["type"] for step in steps[2:4]] == ["resize", "center_crop"] and steps[3]["size"] == [448, 448]
    tensor = (
        np.moveaxis(onnx_network.enlarge(pixels, 448), -1, 1) / 255 - np.reshape(normalize["mean"], (3, 1, 1))
    ) / np.reshape(normalize["std"], (3, 1, 1))
    received = session.run(["prediction"], {"input": tensor.astype(np.float32)})[0]
    rows = list(csv.DictReader((tmp_path / "timm" / "selected_tags.csv").open()))
    [artist] = [position for position, row in enumerate(rows) if row["name"] == "ann"]
    assert np.allclose(received[:, artist], mixed.probabilities(pixels)[:, 4], atol=1e-5)
    assert float(rows[artist]["best_threshold"]) == pytest.approx(mixed.thresholds[4], abs=1e-4)
    categories = {row["category"]: row["name"] for row in json.loads((tmp_path / "timm" / "categories.json").read_text())}
    assert categories[int(rows[artist]["category"])] == "artist" and {int(row["category"]) for row in rows} <= set(
        categories
    )


def test_callers_of_the_cl_taggers_get_logits(mixed, pixels, tmp_path):
    session = written(mixed, pixels, "cl", tmp_path)
    mapping = json.loads((tmp_path / "cl" / "tag_mapping.json").read_text())
    tensor = np.moveaxis(onnx_network.enlarge(pixels, 448)[..., ::-1], -1, 1) / 127.5 - 1
    logits = session.run(None, {"input": np.ascontiguousarray(tensor, np.float32)})[0]
    assert list(mapping) == [str(column) for column in range(logits.shape[1])]
    [artist] = [int(column) for column, row in mapping.items() if row == {"tag": "ann", "category": "Artist"}]
    assert np.allclose(1 / (1 + np.exp(-logits[:, artist])), mixed.probabilities(pixels)[:, 4], atol=1e-5)


def test_a_side_that_is_no_multiple_of_the_networks_gives_the_same_probabilities(mixed, pixels, tmp_path):
    session = written(mixed, pixels, "onnx", tmp_path, side=100)
    assert session.get_inputs()[0].shape[1:] == [100, 100, 3]
    expected = np.delete(mixed.probabilities(pixels), 3, axis=1)
    assert np.allclose(Tagger.open(tmp_path / "model.onnx").probabilities(pixels), expected, atol=1e-5)


PLAIN_KERAS = """
import sys
import keras, numpy as np
pictures = np.load(sys.argv[2])
network = keras.saving.load_model(sys.argv[1])
assert {type(layer).__module__.split(".")[0] for layer in network.layers} == {"keras"}
probability = keras.ops.convert_to_numpy(network(pictures, training=False)["probability"])
trunk = keras.Model(network.input, network.get_layer("features").output)
trunk.trainable = False
mine = keras.Sequential([trunk, keras.layers.Dense(1, activation="sigmoid")])
mine.compile(optimizer=keras.optimizers.Adam(0.01), loss="binary_crossentropy")
labels = np.arange(len(pictures)) % 2
losses = mine.fit(pictures, labels, epochs=5, verbose=0).history["loss"]
assert losses[-1] < losses[0], losses
np.save(sys.argv[3], probability)
"""


@pytest.mark.parametrize(
    "backend", ["tensorflow", *(pytest.param(name, marks=pytest.mark.slow) for name in ("jax", "torch"))]
)
def test_keras_alone_loads_the_network_and_trains_a_new_head(exported, pictures, tmp_path, backend):
    pytest.importorskip(backend)
    files = [exported[0] / "keras" / "model.keras", tmp_path / "pictures.npy", tmp_path / "probability.npy"]
    np.save(files[1], np.stack([np.asarray(images.decode(path.read_bytes())) for path in pictures[0][:16]]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"KERAS_BACKEND": backend}
    command = [sys.executable, "-c", PLAIN_KERAS, *map(str, files)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.abs(np.load(files[2]) - pictures[1][:16]).max() < 1e-6


def test_the_trunk_gives_the_embedding(exported, pictures, emoji_run):
    folder, _ = exported
    network = Tagger.open(emoji_run).network
    trunk = keras.Model(network.input, network.get_layer("features").output)
    bgr = np.concatenate([front_end_input(path, 64) for path in pictures[0][:8]])
    [embedding] = ort.InferenceSession(folder / "trunk" / "trunk.onnx").run(None, {"input": bgr})
    expected = keras.ops.convert_to_numpy(trunk(bgr[..., ::-1].astype(np.uint8)))
    assert np.abs(embedding - expected).max() < 1e-3 * np.abs(expected).max()
    _, second = ort.InferenceSession(folder / "suite" / "model.onnx").run(None, {"input": bgr})
    assert np.allclose(second, embedding, atol=1e-5)


def test_tensorflow_serves_any_batch(exported, pictures):
    signature = tf.saved_model.load(exported[0] / "saved_model" / "1").signatures["serving_default"]
    pixels = np.stack([np.asarray(images.decode(path.read_bytes())) for path in pictures[0][:5]])
    for number in (1, 5):
        answer = signature(tf.constant(pixels[:number]))["probability"].numpy()
        assert np.abs(answer - pictures[1][:number]).max() < 1e-4


def test_tensorflow_serves_encoded_pictures_and_the_tags(exported, pictures, emoji_run, tmp_path):
    signatures = tf.saved_model.load(exported[0] / "saved_model" / "1").signatures
    as_png = io.BytesIO()
    Image.open(pictures[0][0]).save(as_png, "PNG")
    encoded = tf.constant([as_png.getvalue(), *(path.read_bytes() for path in pictures[0][1:4])])
    answer = signatures["encoded"](image_bytes=encoded)
    assert (
        np.abs(answer["probability"].numpy() - pictures[1][:4]).max() < 0.05
    )  # TensorFlow decodes JPEG a little differently
    assert np.abs(answer["probability"].numpy() - pictures[1][:4])[0].max() < 1e-4  # these pixels are the same
    assert answer["embedding"].shape[0] == 4
    tags = signatures["tags"]()
    assert [name.decode() for name in tags["name"].numpy()] == [
        tag.name for tag in records.read_tags(emoji_run / "tags.csv")
    ]
    assert np.allclose(tags["threshold"], Tagger.open(emoji_run).thresholds)


@pytest.mark.parametrize("resize", ["pad", "crop", "squish"])
def test_tensorflow_decodes_pictures_of_every_kind_nearly_as_the_suite(resize):
    ramps = np.meshgrid(np.linspace(0, 255, 180), np.linspace(255, 0, 260), indexing="ij")
    pixels = np.stack([ramps[0], ramps[1], (ramps[0] + ramps[1]) / 2, ramps[1]], axis=-1).astype(np.uint8)
    for mode in ("RGBA", "RGB", "LA", "L"):
        encoded = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(encoded, "PNG")
        ours = images.network_input(encoded.getvalue(), 32, resize).astype(int)
        theirs = tensorflow_files.decode(tf.constant(encoded.getvalue()), 32, resize).numpy()
        assert theirs.shape == (32, 32, 3) and np.abs(theirs - ours).mean() < 2, (mode, resize)


def test_litert_names_its_output_and_holds_its_labels(exported, emoji_run):
    path = exported[0] / "litert" / "model.tflite"
    names = [tag.name for tag in records.read_tags(emoji_run / "tags.csv")]
    assert (path.parent / "labels.txt").read_text(encoding="utf-8").split("\n") == [*names, ""]
    assert zipfile.ZipFile(path).read("labels.txt").decode().split("\n") == [*names, ""]
    signatures = tf.lite.Interpreter(str(path)).get_signature_list()
    assert signatures["serving_default"]["outputs"] == ["probability"]


def test_the_model_card_has_the_runs_figures(emoji_run, mixed, pixels, tmp_path):
    metrics = {"images": 40, "split": "test", "data": "data/emoji", "auc_roc_macro": 0.8125, "f1_micro": 0.5}
    folder = tmp_path / "named: run"
    folder.mkdir()
    files.write_json(folder / "metrics.json", metrics | {"intervals": {"auc_roc_macro": [0.75, 0.875]}})
    model_card.write_card(replace(mixed, run=replace(mixed.run, folder=folder)), tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| AUC-ROC, macro average | 0.812 | 0.750 to 0.875 |" in card and "OpenMoji" in card
    header = {
        key: json.loads(value) for key, value in (line.split(": ", 1) for line in card.split("\n---\n")[0].split("\n")[1:])
    }
    [result] = header["model-index"][0]["results"]
    assert header["model-index"][0]["name"] == "named: run"
    assert {"type": "roc_auc", "name": "AUC-ROC, macro average", "value": 0.8125} in result["metrics"]


def test_the_program_tags_from_the_export_as_from_the_run(exported, pictures, emoji_run):
    answers = [
        json.loads(program("test.py", *pictures[0], "--run", run, "--threshold", 0.05, "--json").stdout)
        for run in (emoji_run, exported[0] / "model.onnx", exported[0] / "suite" / "model.onnx")
    ]
    for from_run, *from_exports in zip(*answers, strict=True):
        for from_export in from_exports:
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
        (("--run", "{run}", "--side", "63"), "at least 64"),
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
