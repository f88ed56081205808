"""export.py: what other programs load says what the run says, read as those programs read it."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, program
from PIL import Image

from dataset import images, records
from inference.export import front_end_files, tensorflow_files
from inference.tagger import Tagger

ort = pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")


@pytest.fixture(scope="module")
def exported(emoji_run, emoji_onnx):
    done = program("export.py", "--run", emoji_run, "--format", "savedmodel")
    assert done.returncode == 0, done.stderr
    return emoji_run / "export", done


@pytest.fixture(scope="module")
def further(emoji_run, tmp_path_factory):
    """The folder of further formats, which only slow tests need, and what export.py printed."""
    folder = tmp_path_factory.mktemp("further")
    done = program("export.py", "--run", emoji_run, "--format", "safetensors", "litert", "int8", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder, done


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
    assert [line.split("  ")[0] for line in lines] == [str(folder / "saved_model")]
    assert max(map(difference, lines)) < 1e-4
    assert not list(folder.rglob(".partial*"))


def difference(line: str) -> float:
    """Return the difference that export.py printed for a file."""
    return float(re.search(r"from the run: (\S+?)(,|$)", line)[1])


@pytest.mark.slow
def test_an_export_of_8_bits_is_compared_with_the_run_and_its_auc_printed(further):
    folder, done = further
    *exact, eight_bits = done.stdout.splitlines()
    assert max(map(difference, exact)) < 1e-4
    assert difference(eight_bits) < 0.2 and "macro AUC" in eight_bits
    assert all((folder / name).exists() for name in ("litert/model.int8.tflite", "safetensors/model.safetensors"))


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


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_keras_alone_loads_the_network_and_trains_a_new_head(exported, pictures, tmp_path, backend):
    pytest.importorskip(backend)
    files = [exported[0] / "keras" / "model.keras", tmp_path / "pictures.npy", tmp_path / "probability.npy"]
    np.save(files[1], np.stack([np.asarray(images.decode(path.read_bytes())) for path in pictures[0][:16]]))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"KERAS_BACKEND": backend}
    command = [sys.executable, "-c", PLAIN_KERAS, *map(str, files)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert np.abs(np.load(files[2]) - pictures[1][:16]).max() < 1e-6


def test_exports_give_the_embedding(emoji_onnx, pictures, emoji_run):
    network = Tagger.open(emoji_run).network
    trunk = keras.Model(network.input, network.get_layer("features").output)
    bgr = np.concatenate([front_end_input(path, 64) for path in pictures[0][:8]])
    [embedding] = ort.InferenceSession(emoji_onnx).run(["embedding"], {"input": bgr})
    expected = keras.ops.convert_to_numpy(trunk(bgr[..., ::-1].astype(np.uint8)))
    assert np.abs(embedding - expected).max() < 1e-3 * np.abs(expected).max()
    keras_file = keras.saving.load_model(emoji_onnx.parent.parent / "keras" / "model.keras")
    assert np.allclose(keras_file(bgr[..., ::-1].astype(np.uint8))["embedding"], expected, atol=1e-4)


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
    for mode, kind in (("RGBA", "PNG"), ("RGB", "PNG"), ("LA", "PNG"), ("L", "PNG"), ("RGBA", "WEBP"), ("RGB", "WEBP")):
        encoded = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(encoded, kind, lossless=True)
        ours = images.network_input(encoded.getvalue(), 32, resize).astype(int)
        theirs = tensorflow_files.decode(tf.constant(encoded.getvalue()), 32, resize).numpy()
        assert theirs.shape == (32, 32, 3) and np.abs(theirs - ours).mean() < 2, (mode, kind)


@pytest.mark.slow
@pytest.mark.parametrize("package", ["tensorflow.lite", "ai_edge_litert.interpreter"])
def test_litert_reads_the_labels_out_of_the_file_and_takes_any_batch(further, pictures, emoji_run, package):
    interpreter = pytest.importorskip(package) if package != "tensorflow.lite" else tf.lite
    path = further[0] / "litert" / "model.tflite"
    names = [tag.name for tag in records.read_tags(emoji_run / "tags.csv")]
    assert (path.parent / "labels.txt").read_text(encoding="utf-8").split("\n") == [*names, ""]
    assert zipfile.ZipFile(path).read("labels.txt").decode().split("\n") == [*names, ""]
    network = interpreter.Interpreter(str(path)).get_signature_runner("serving_default")
    tagger = Tagger.open(emoji_run)
    pixels = np.stack([tagger.pixels(file.read_bytes()) for file in pictures[0][:32]])
    for number in (1, 3, len(pixels)):
        probability = network(image=pixels[:number])["probability"]
        assert np.abs(probability - pictures[1][:number]).max() < 1e-5


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
