"""Files of added tags: beside a run, beside an export and inside one, they predict as the run that the tag was added to."""

import json
import random
import shutil
from dataclasses import replace

import keras
import numpy as np
import pytest
import requests
from conftest import program, uncompiled
from running_server import serving
from test_mutations import mutated
from test_teach import NAME, write_pictures

from common.errors import InputError
from inference import added_tags
from inference.added_tags import trunk_fingerprint, with_added_tags
from inference.tagger import Tagger
from model import run_folder
from model.network import TaggerNetwork


@pytest.fixture(scope="module")
@uncompiled()
def home(emoji_data, first_run, tmp_path_factory):
    """A folder with `run`, to which a tag was added, the pictures that it was learned from, and `second.json`, a number."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(first_run, home / "run")
    write_pictures(emoji_data, home / "with", 30, True)
    write_pictures(emoji_data, home / "without", 40, False)
    done = program("train.py", "--teach", NAME, home / "with", "--negatives", home / "without", "--run", home / "run")
    assert done.returncode == 0, done.stderr
    first = added_tags.read(home / "run" / "added_tags" / f"{NAME}.json")
    replace(first, name="second", category="number", weights=first.weights[::-1], threshold=0).write(home / "second.json")
    return home


@pytest.fixture
def file(home):
    return home / "run" / "added_tags" / f"{NAME}.json"


@pytest.fixture(scope="module")
def before(first_run):
    """The run without the tag."""
    return Tagger.open(first_run)


@pytest.fixture(scope="module")
def after(home):
    """The run to which the tag was added."""
    return Tagger.open(home / "run")


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)


def test_beside_a_run_it_predicts_as_the_run_it_was_added_to(file, before, after, pixels):
    tagger, expected, without = with_added_tags(before, [file]), after.scores(pixels), before.scores(pixels)
    assert tagger.run.tags == after.run.tags and np.allclose(tagger.thresholds, after.thresholds)
    for name, values in tagger.scores(pixels).items():
        assert np.array_equal(values, expected[name]) and np.array_equal(values[:, :-1], without[name]), name
    assert file.stat().st_size < 64_000


@pytest.mark.parametrize("name", ["suite/model.onnx", "model.onnx"])
def test_beside_an_export_two_tags_are_predicted(home, file, emoji_onnx, before, after, pixels, name):
    exported, files = Tagger.open(emoji_onnx.parent.parent / name), [home / "second.json", file]
    tagger, beside_run = with_added_tags(exported, files), with_added_tags(before, files)
    assert [tag.name for tag in tagger.run.tags[-2:]] == ["second", NAME]
    received = tagger.probabilities(pixels)
    assert np.array_equal(received[:, :-2], exported.probabilities(pixels))
    assert np.allclose(received, beside_run.probabilities(pixels), atol=1e-5)
    assert np.allclose(received[:, -1], after.probabilities(pixels)[:, -1], atol=1e-5)
    assert np.allclose(tagger.embed(pixels)[1], received)


def test_a_rating_is_no_tag_to_add():
    assert added_tags.is_name("sensitive") and not added_tags.is_name("rating:sensitive")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["keras", "suite"])
def test_an_export_contains_it(file, first_run, after, pixels, tmp_path, name):
    done = program("export.py", "--run", first_run, "--added-tags", file, "--format", name, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    if name == "suite":
        received = Tagger.open(tmp_path / "suite" / "model.onnx").probabilities(pixels)
    else:
        received = keras.saving.load_model(tmp_path / "keras" / "model.keras")(pixels)["probability"]
    assert np.allclose(received, after.probabilities(pixels), atol=1e-5)


@pytest.mark.slow
@uncompiled()
def test_with_out_the_run_stays_as_it_is(home, file, first_run, tmp_path):
    shutil.copytree(first_run, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    options = ("--negatives", home / "without", "--run", tmp_path / "run", "--out", tmp_path / "tag.json")
    done = program("train.py", "--teach", NAME, home / "with", *options)
    assert done.returncode == 0 and f"{tmp_path / 'tag.json'} has it" in done.stdout, done.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    assert (tmp_path / "tag.json").read_bytes() == file.read_bytes()
    done = program("train.py", "--teach", NAME, home / "with", *options[:-1], tmp_path / "run" / "config.json")
    assert done.returncode == 1 and "config.json is no file of train.py --teach" in done.stderr
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_programs_give_its_tag_and_the_server_too(home, file, emoji_onnx, tmp_path):
    picture, options = home / "with" / "3.png", ("--added-tags", file, home / "second.json")
    done = program("test.py", picture, "--run", emoji_onnx, *options)
    assert done.returncode == 0 and NAME in done.stdout and "second" in done.stdout, done.stderr
    with serving(emoji_onnx, tmp_path, *options) as address:
        answer = requests.post(
            f"{address}/evaluate", files={"file": picture.read_bytes()}, data={"format": "json"}, timeout=60
        )
        tags = requests.get(f"{address}/model", timeout=60).json()["tags"]
    assert answer.json()[0]["tags"][NAME] > 0.5 and NAME in tags and "second" not in tags  # numbers are no tags here


def test_another_trunk_is_refused(home, file, before, first_run, emoji_onnx, tmp_path):
    shutil.copytree(first_run, tmp_path / "other")
    keras.utils.set_random_seed(1)
    other = TaggerNetwork(before.network.num_tags, before.network.config)
    run_folder.save_network(other, tmp_path / "other" / "model.keras")
    done = program("test.py", home / "with" / "3.png", "--run", tmp_path / "other", "--added-tags", file)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.splitlines()[-1].startswith(f"error: {file} was made for another trunk, that of the run 'run'")
    for change in ({"config": replace(before.run.config, resize="crop")}, {"stored_size": 63}):
        assert trunk_fingerprint(replace(before, run=replace(before.run, **change))) != trunk_fingerprint(before)
    exported = Tagger.open(emoji_onnx)
    exported.network.trunk_fingerprint = ""  # as in a file of an earlier version
    with pytest.raises(InputError, match="export the run again"):
        with_added_tags(exported, [file])


def test_a_tag_that_is_there_already_is_refused(home, file, after, emoji_onnx, tmp_path):
    with pytest.raises(InputError, match=f"{NAME}.json has the tag {NAME}, which the run .* has already"):
        with_added_tags(after, [file])
    shutil.copy(file, tmp_path / "copy.json")
    done = program("test.py", home / "with" / "3.png", "--run", emoji_onnx, "--added-tags", file, tmp_path / "copy.json")
    assert done.returncode == 1 and f"copy.json has the tag {NAME}, which {file} has already" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("number", [500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_damaged_file_is_named(file, tmp_path, number):
    whole, chance, path = file.read_bytes(), random.Random(number), tmp_path / "damaged.json"
    tag, read = added_tags.read(file), 0
    for _ in range(number):
        path.write_bytes(mutated(whole, chance))
        try:
            other = added_tags.read(path)
        except InputError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error) and len(str(error)) < 500
        else:  # white space was changed
            assert {**vars(other), "weights": list(other.weights)} == {**vars(tag), "weights": list(tag.weights)}
            read += 1
    assert read < number / 2


VALUES = {
    "two names": {"name": "a,b"},
    "half a character": {"name": "\ud800"},
    "no text": {"name": ["a"]},
    "a rating": {"category": "rating"},
    "no category": {"category": ["general"]},
    "threshold": {"threshold": "0.5"},
    "pictures": {"pictures": -1},
    "matrix": {"weights": [[0.0]]},
    "too large": {"weights": [1e300]},
    "no number": {"weights": ["a"]},
    "no bias": {"bias": None},
    "figures": {"expected": 1},
    "later version": {"version": 2},
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_a_value_that_train_does_not_write_is_refused(file, tmp_path, values):
    """Even with the right checksum, which somebody can make."""
    content = json.loads(file.read_bytes()) | values
    del content["checksum"]
    (tmp_path / "made.json").write_text(json.dumps(content | {"checksum": added_tags.checksum_of(content)}))
    with pytest.raises(InputError, match=r"made.json (holds a value|has the format version 2)"):
        added_tags.read(tmp_path / "made.json")


@pytest.mark.parametrize("content", ["", "[" * 100_000, "[]", "{}", "1" * 5000, "\xff", '{"format": NaN}'])
def test_another_file_is_named(tmp_path, content):
    (tmp_path / "other.json").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"other.json is (no file|damaged, or is no file) of train.py --teach"):
        added_tags.read(tmp_path / "other.json")
    with pytest.raises(InputError, match=r"none.json cannot be read: No such file"):
        added_tags.read(tmp_path / "none.json")


def test_the_name_of_a_file_is_one_that_file_systems_have():
    assert added_tags.file_name("rating:safe") == "rating%3Asafe.json"
    assert added_tags.file_name("../a b_(c)") == "..%2Fa b_(c).json"
