"""The files of an export that front ends read: their rows, layouts and tables, and the model card."""

import csv
import functools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT

from common import files
from common.errors import InputError
from dataset import records
from inference import onnx_network
from inference.export import formats, model_card
from inference.export.front_end_files import Row, front_end_rows, write_table
from inference.tagger import Tagger
from model.network import TaggerNetwork

onnx = pytest.importorskip("onnx", reason="needs requirements-export.txt")
ort = pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")
ONNX_FORMATS = ("onnx", "timm", "cl", "suite", "trunk")


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


@pytest.fixture(scope="module")
def pixels(mixed, emoji_pictures):
    """Pictures of the test split, uint8 (8, 64, 64, 3)."""
    return np.stack([mixed.pixels(path.read_bytes()) for path in emoji_pictures[:8]])


@pytest.fixture(scope="module")
def written(mixed, pixels, tmp_path_factory):
    """Return a function: name of a format ▶ its file, in a folder of its own."""

    @functools.cache
    def write(name, side=448):
        folder = tmp_path_factory.mktemp(name)
        formats.write_checked(mixed, name, side, folder, pixels)
        return folder / formats.formats(mixed, side)[name].file

    return write


def test_known_ratings_stand_in_the_four_rows_and_numbers_in_none(mixed, pixels, written):
    path = written("onnx")
    session, folder = ort.InferenceSession(path), path.parent
    rows = [row["name"] for row in csv.DictReader((folder / "selected_tags.csv").open())]
    repeated = onnx_network.enlarge(pixels, 448)[..., ::-1].astype(np.float32)
    received, expected = session.run(None, {"input": repeated})[0], mixed.probabilities(pixels)
    assert rows[:4] == ["general", "sensitive", "questionable", "explicit"] and "score" not in rows
    assert np.allclose(received[:, [0, 2, 3]], expected[:, :3], atol=1e-5) and not received[:, 1].any()
    assert np.allclose(received[:, :4].sum(axis=1), 1, atol=1e-5)
    assert np.allclose(received[:, rows.index("hero")], expected[:, 5], atol=1e-5) and rows.index("hero") > rows.index("ann")
    assert json.loads((folder / "info.json").read_text())["ratingsflag"] == 1
    # The suite reads the same file, without the number.
    opened = Tagger.open(path)
    assert [tag.name for tag in opened.run.tags] == [tag.name for tag in mixed.run.tags if tag.name != "score"]
    assert np.allclose(opened.probabilities(pixels), np.delete(expected, 3, axis=1), atol=1e-5)
    card = (folder / "README.md").read_text()
    assert onnx.load(folder / "model.onnx").doc_string in card
    assert "general is rating:safe" in card and "sensitive is always 0" in card and "1 number" in card


def test_rows_have_ids_of_their_own(mixed):
    artist = mixed.run.tags[4]
    for count in range(1, 60):
        tags = [replace(artist, tag_id=index, name=f"tag {index}") for index in range(count)]
        run, values = replace(mixed.run, tags=tags), np.ones(count, np.float32)
        rows = front_end_rows(Tagger(run, SimpleNamespace(num_tags=count), values, values))
        assert len({row.tag.tag_id for row in rows}) == len({row.tag.name for row in rows}) == len(rows)


def test_names_that_front_ends_misread_are_named(tmp_path, capsys):
    names = ("null", "none", "explicit", "explicit")
    write_table(tmp_path / "tags.csv", [Row(records.Tag(1, name, 0, 1), 0, 0.5) for name in names])
    said = capsys.readouterr().err.splitlines()
    assert "take null for an empty cell" in said[0] and said[1].startswith("warning: explicit is the name of a tag and of")


@pytest.mark.parametrize("in_the_way", ["model.onnx/", "cl"])
def test_what_is_in_the_way_is_named_before_anything_is_written(mixed, pixels, tmp_path, monkeypatch, in_the_way):
    monkeypatch.chdir(tmp_path)
    path = Path("export", in_the_way)
    (path if in_the_way.endswith("/") else path.parent).mkdir(parents=True)
    if not in_the_way.endswith("/"):
        path.touch()
    with pytest.raises(InputError, match=f"{path} is in the way"):
        formats.write_checked(mixed, "onnx" if path.is_dir() else "cl", 448, path.parent, pixels)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.slow
def test_readers_of_timms_taggers_get_their_layout(mixed, pixels, written):
    path = written("timm")
    session, folder = ort.InferenceSession(path), path.parent
    steps = json.loads((folder / "preprocess.json").read_text())["test"]
    [normalize] = [step for step in steps if step["type"] == "normalize"]
    # Readers that do not know `pad_to_size` still send a picture of the right size.
    assert [step["type"] for step in steps[2:4]] == ["resize", "center_crop"] and steps[3]["size"] == [448, 448]
    tensor = (
        np.moveaxis(onnx_network.enlarge(pixels, 448), -1, 1) / 255 - np.reshape(normalize["mean"], (3, 1, 1))
    ) / np.reshape(normalize["std"], (3, 1, 1))
    received = session.run(["prediction"], {"input": tensor.astype(np.float32)})[0]
    rows = list(csv.DictReader((folder / "selected_tags.csv").open()))
    [artist] = [position for position, row in enumerate(rows) if row["name"] == "ann"]
    assert np.allclose(received[:, artist], mixed.probabilities(pixels)[:, 4], atol=1e-5)
    assert float(rows[artist]["best_threshold"]) == pytest.approx(mixed.thresholds[4], abs=1e-4)
    categories = {row["category"]: row["name"] for row in json.loads((folder / "categories.json").read_text())}
    assert categories[int(rows[artist]["category"])] == "artist" and {int(row["category"]) for row in rows} <= set(
        categories
    )


@pytest.mark.slow
def test_callers_of_the_cl_taggers_get_logits(mixed, pixels, written):
    path = written("cl")
    session = ort.InferenceSession(path)
    mapping = json.loads((path.parent / "tag_mapping.json").read_text())
    tensor = np.moveaxis(onnx_network.enlarge(pixels, 448)[..., ::-1], -1, 1) / 127.5 - 1
    logits = session.run(None, {"input": np.ascontiguousarray(tensor, np.float32)})[0]
    assert list(mapping) == [str(column) for column in range(logits.shape[1])]
    [artist] = [int(column) for column, row in mapping.items() if row == {"tag": "ann", "category": "Artist"}]
    assert np.allclose(1 / (1 + np.exp(-logits[:, artist])), mixed.probabilities(pixels)[:, 4], atol=1e-5)


@pytest.mark.slow
def test_a_side_that_is_no_multiple_of_the_networks_gives_the_same_probabilities(mixed, pixels, written):
    path = written("onnx", side=100)
    assert ort.InferenceSession(path).get_inputs()[0].shape[1:] == [100, 100, 3]
    expected = np.delete(mixed.probabilities(pixels), 3, axis=1)
    assert np.allclose(Tagger.open(path).probabilities(pixels), expected, atol=1e-5)


def input_of(session, number: int) -> np.ndarray:
    """Return a batch of random pictures as a network takes them, float32."""
    _, *shape = session.get_inputs()[0].shape
    colours = np.random.default_rng(0).integers(0, 256, (number, *shape)).astype(np.float32)
    return colours / 127.5 - 1 if shape[0] == 3 else colours


def outputs_of(session, batch: np.ndarray) -> list[np.ndarray]:
    """Return each output that depends on the pictures, with probabilities in place of logits, which lose digits where a
    probability is close to 0."""
    names = [output.name for output in session.get_outputs() if output.name != onnx_network.TAG_WEIGHTS]
    values = session.run(names, {"input": batch})
    return [
        1 / (1 + np.exp(-value)) if name.startswith("logit") else value for name, value in zip(names, values, strict=True)
    ]


@pytest.mark.parametrize("name", ["onnx", *(pytest.param(name, marks=pytest.mark.slow) for name in ONNX_FORMATS[1:])])
def test_a_picture_gets_the_same_row_in_every_batch(written, name):
    session = ort.InferenceSession(written(name))
    batch = input_of(session, 32)
    together = outputs_of(session, batch)
    for number in (1, 3):
        for some, all_rows in zip(outputs_of(session, batch[:number]), together, strict=True):
            assert some.shape == (number, *all_rows.shape[1:])
            assert np.allclose(some, all_rows[:number], rtol=1e-5, atol=1e-5)


IN_NODE = """
const ort = require("onnxruntime-web"), fs = require("fs");
const [model, picture, answer, shape] = process.argv.slice(1);
ort.env.wasm.numThreads = 1;
ort.InferenceSession.create(new Uint8Array(fs.readFileSync(model))).then(async session => {
    const values = new Float32Array(new Uint8Array(fs.readFileSync(picture)).buffer);
    const outputs = await session.run({input: new ort.Tensor("float32", values, JSON.parse(shape))});
    fs.writeFileSync(answer, new Uint8Array(outputs[session.outputNames[0]].data.buffer));
});
"""


def node(*arguments) -> subprocess.CompletedProcess:
    """Run node.js, which finds packages in NODE_PATH and in the project folder."""
    return subprocess.run(["node", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", *(pytest.param(name, marks=pytest.mark.slow) for name in ONNX_FORMATS[1:])])
def test_a_browsers_onnx_runtime_gives_the_same_outputs(written, name, tmp_path):
    if not shutil.which("node") or node("-e", 'require("onnxruntime-web")').returncode:
        pytest.skip("needs node.js and the npm package onnxruntime-web, installed or in NODE_PATH")
    session = ort.InferenceSession(written(name))
    batch = input_of(session, 3)
    batch.tofile(tmp_path / "picture")
    done = node("-e", IN_NODE, written(name), tmp_path / "picture", tmp_path / "answer", json.dumps(batch.shape))
    assert done.returncode == 0, done.stderr
    expected = outputs_of(session, batch)[0]
    received = np.fromfile(tmp_path / "answer", np.float32).reshape(expected.shape)
    received = 1 / (1 + np.exp(-received)) if name == "cl" else received
    assert np.allclose(received, expected, rtol=1e-5, atol=1e-5)


def test_the_model_card_has_the_runs_figures(emoji_run, mixed, pixels, tmp_path):
    metrics = {"images": 40, "split": "test", "data": "data/emoji", "auc_roc_macro": 0.8125, "f1_micro": 0.5}
    folder = tmp_path / "named: run"
    folder.mkdir()
    files.write_json(folder / "metrics.json", metrics | {"intervals": {"auc_roc_macro": [0.75, 0.875]}})
    model_card.write_card(replace(mixed, run=replace(mixed.run, folder=folder)), tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "| AUC-ROC, macro | 0.812 | 0.750 to 0.875 |" in card and "OpenMoji" in card
    header = {
        key: json.loads(value) for key, value in (line.split(": ", 1) for line in card.split("\n---\n")[0].split("\n")[1:])
    }
    [result] = header["model-index"][0]["results"]
    assert header["model-index"][0]["name"] == "named: run"
    assert {"type": "roc_auc", "name": "AUC-ROC, macro", "value": 0.8125} in result["metrics"]


def test_hugging_face_reads_the_model_cards_metadata(mixed, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    files.write_json(tmp_path / "metrics.json", {"images": 40, "split": "test", "data": "a: b", "f1_micro": 0.5})
    model_card.write_card(replace(mixed, run=replace(mixed.run, folder=tmp_path)), tmp_path)
    metadata = hub.ModelCard.load(tmp_path / "README.md").data
    facts = metadata.to_dict()
    assert (facts["library_name"], facts["model-index"][0]["name"]) == ("onnx", tmp_path.name)
    [result] = metadata.eval_results
    assert (result.task_type, result.metric_type, result.metric_value) == ("image-classification", "f1", 0.5)


def test_the_model_cards_code_prints_the_tags_of_a_picture(mixed, written, emoji_pictures, monkeypatch, capsys):
    folder = written("onnx").parent
    shutil.copy(emoji_pictures[0], folder / "picture.jpg")
    monkeypatch.chdir(folder)
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(code, {})
    printed = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())}
    [probabilities] = mixed.probabilities(mixed.pixels(emoji_pictures[0].read_bytes())[np.newaxis])
    names = {"rating:safe": "general", "rating:questionable": "questionable", "rating:explicit": "explicit"}
    expected = {names.get(tag.name, tag.name): value for tag, value in zip(mixed.run.tags, probabilities, strict=True)}
    assert printed and all(value == pytest.approx(expected[name], abs=0.02) for name, value in printed.items())
