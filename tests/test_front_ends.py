"""`python -m benchmarks frontends`: the steps of other programs, and the pictures that they are compared on."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import frontends, mixed_pictures
from benchmarks.front_ends import REBUILT
from benchmarks.other_formats import OTHER_FORMATS
from common import files
from common.errors import InputError
from dataset import images, records

onnx = pytest.importorskip("onnx", reason="needs requirements-export.txt")
pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")
SIDE = 448
ROWS = [("general", 9), ("sensitive", 9), ("questionable", 9), ("explicit", 9), ("blue", 0), ("red", 0)]
PLACEHOLDERS = [("placeholder_1", 4), ("placeholder_2", 4)]


@pytest.fixture
def export(tmp_path):
    """Return a function that writes an export, whose probabilities are the means of blue and of red."""

    def write(rows=(*ROWS, *PLACEHOLDERS), output="predictions_sigmoid"):
        weights = np.zeros((3, len(rows)), np.float32)
        weights[0, 4] = weights[2, 5] = 1 / 255  # blue is the first channel
        nodes = [
            onnx.helper.make_node("ReduceMean", ["input"], ["colour"], axes=[1, 2], keepdims=0),
            onnx.helper.make_node("MatMul", ["colour", "weights"], [output]),
            onnx.helper.make_node("Identity", ["colour"], ["embedding"]),
        ]
        shapes = {"input": ["batch", SIDE, SIDE, 3], output: ["batch", len(rows)], "embedding": ["batch", 3]}
        values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        initializers = [onnx.numpy_helper.from_array(weights, "weights")]
        graph = onnx.helper.make_graph(nodes, "colours", values[:1], values[1:], initializers)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, tmp_path / "model.onnx")
        lines = [(number, name, category, 1) for number, (name, category) in enumerate(rows)]
        files.write_csv(tmp_path / "selected_tags.csv", ("tag_id", "name", "category", "count"), lines)
        information = {"modelfile": "model.onnx", "tagsfile": "selected_tags.csv", "ratingsflag": 0, "numberofratings": 4}
        files.write_json(tmp_path / "info.json", {"modelname": "colours", "source": "e6tag"} | information)
        files.write_json(tmp_path / "config.json", {"pretrained_cfg": {"input_size": [3, SIDE, SIDE]}})
        return tmp_path

    return write


@pytest.fixture
def red(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (SIDE, SIDE), "red").save(path)
    return path


def tags_of(program: str, folder, picture) -> list[str]:
    if program in ("as kohya's script", "as picobyte's extension", "as wd-e621-hydrus-tagger"):
        pytest.importorskip("cv2")
    return REBUILT[program](folder)(picture)


@pytest.mark.parametrize("program", sorted(set(REBUILT) - {"as wd-tagger-cli", "as wd-tagger-rs"}))
def test_programs_find_the_tag(program, export, red):
    assert tags_of(program, export(), red) == ["red"]


def test_wd_tagger_cli_adds_a_rating_and_wd_tagger_rs_needs_another_output(export, red):
    assert tags_of("as wd-tagger-cli", export(), red) == ["red", "general"]
    assert tags_of("as wd-tagger-rs", export(output="output"), red) == ["red"]
    with pytest.raises(KeyError, match="output"):
        tags_of("as wd-tagger-rs", export(), red)


@pytest.fixture
def channels_first(tmp_path):
    """An export with `timm/` and `cl/`, whose only tag is the mean of red."""
    names, categories = [name for name, _ in ROWS], ["Rating"] * 4 + ["General"] * 2
    for folder, channel, output in (("timm", 0, "prediction"), ("cl", 2, "logits")):
        (tmp_path / folder).mkdir()
        weights = np.zeros((3, len(ROWS)), np.float32)
        weights[channel, 5] = 1  # red
        nodes = [
            onnx.helper.make_node("ReduceMean", ["input"], ["colour"], axes=[2, 3], keepdims=0),
            onnx.helper.make_node("MatMul", ["colour", "weights"], ["over"]),
            onnx.helper.make_node("Sub", ["over", "threshold"], [output]),
        ]
        shapes = {"input": ["batch", 3, SIDE, SIDE], output: ["batch", len(ROWS)]}
        values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        threshold = np.full(len(ROWS), 0.0 if folder == "timm" else 0.9, np.float32)
        constants = {"weights": weights, "threshold": threshold}
        initializers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
        graph = onnx.helper.make_graph(nodes, "colours", values[:1], values[1:], initializers)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(model, tmp_path / folder / "model.onnx")
    lines = [(number, name, category, 1) for number, (name, category) in enumerate(ROWS)]
    files.write_csv(tmp_path / "timm" / "selected_tags.csv", ("tag_id", "name", "category", "count"), lines)
    steps = [
        {"type": "pad_to_size", "size": [SIDE, SIDE]},
        {"type": "resize", "size": SIDE},
        {"type": "center_crop", "size": [SIDE, SIDE]},
        {"type": "normalize", "mean": [0.5] * 3, "std": [0.5] * 3},
    ]
    files.write_json(tmp_path / "timm" / "preprocess.json", {"test": steps})
    mapping = {str(row): {"tag": names[row], "category": categories[row]} for row in range(len(ROWS))}
    files.write_json(tmp_path / "cl" / "tag_mapping.json", mapping)
    return tmp_path


@pytest.mark.parametrize("program", [name for name in OTHER_FORMATS if "saved_model" not in name])
def test_readers_of_timm_and_cl_find_the_tag(program, channels_first, red):
    if "kohya" in program or "Mira" in program:
        pytest.importorskip("cv2")
    ratings = ["general"] if "tagutl" in program else []
    assert OTHER_FORMATS[program](channels_first)(red) == [*ratings, "red"]


def test_without_the_folder_a_reader_is_skipped(export):
    for program, load in OTHER_FORMATS.items():
        if "kohya" not in program and "Mira" not in program:
            with pytest.raises(InputError, match="skipped: python export"):
                load(export())


def test_without_characters_two_programs_go_wrong(export, red):
    assert tags_of("as ComfyUI-WD14-Tagger", export(ROWS), red) == ["red", "red"]
    with pytest.raises(ValueError, match="empty sequence"):
        tags_of("as the HF Space, MCut", export(ROWS), red)


def test_comparison_counts_what_differs(export, red):
    def load(folder):
        return lambda picture: ["red", "red", "blue_sky", "general"]

    result = frontends.compare(load, export(), {red: {"red", "green"}}, {"red", "green", "blue sky"})
    kinds = {red.parent.name: 1}
    assert result == {
        "error": "", "same": 0, "tags": 4, "differ": 3, "twice": 1, "unknown": 1, "failed": 0, "differ_by_kind": kinds
    }  # fmt: skip
    assert json.loads(json.dumps(result)) == result
    missing = frontends.compare(REBUILT["as hydrui"], red.parent / "nowhere", {red: set()}, set())
    assert missing == {"error": "info.json is missing"}
    assert frontends.table({"pictures": 1, "rows": [{"front_end": "one"} | result, {"front_end": "two"} | missing]})


def test_made_pictures_show_the_original(tmp_path, monkeypatch):
    picture = Image.new("RGB", (64, 64), "white")
    picture.paste((200, 30, 30), (16, 16, 48, 48))
    picture.save(tmp_path / "picture.png")
    data = (tmp_path / "picture.png").read_bytes()
    number = mixed_pictures.OF_EACH_KIND * len(mixed_pictures.KINDS)
    stored = [records.Record(str(position), "", "", data, {}) for position in range(number)]
    monkeypatch.setattr(records, "read", lambda folder, split: iter(stored))
    mixed_pictures.make(tmp_path / "pictures", tmp_path)
    paths = sorted((tmp_path / "pictures").rglob("*.*"))
    assert len(paths) == number and {path.parent.name for path in paths} == set(mixed_pictures.KINDS)
    for path in paths:
        decoded = images.decode(path.read_bytes())
        red, green, _ = decoded.getpixel((decoded.width // 2, decoded.height // 2))
        assert abs(red - green) < 3 if path.parent.name == "gray" else red > 150 > 80 > green, path
