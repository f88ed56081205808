"""The `model.onnx` of a run folder: what train.py writes, when it is used, and that it gives what the Keras file gives."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, program

from common.errors import InputError
from inference.added_tags import trunk_fingerprint
from inference.saliency import heat_map
from inference.tagger import Tagger
from model import run_folder

pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")


@pytest.fixture
def run(first_run, tmp_path):
    """A copy of the run, to change."""
    return shutil.copytree(first_run, tmp_path / "run")


def pixels(tagger: Tagger, number: int) -> np.ndarray:
    side = tagger.run.config.image_size
    return np.random.default_rng(2).integers(0, 256, (number, side, side, 3), np.uint8)


def assert_alike(one: Tagger, other: Tagger) -> None:
    pictures = pixels(one, 3)
    for scores, others in ((one.scores(pictures), other.scores(pictures)), (one.embed(pictures), other.embed(pictures))):
        assert len(scores) == len(others)
        names = scores if isinstance(scores, dict) else range(len(scores))
        assert all(np.allclose(scores[name], others[name], atol=1e-5) for name in names)
    tags = np.arange(3)
    assert np.allclose(heat_map(one.network, pictures, tags), heat_map(other.network, pictures, tags), atol=1e-4)


def test_both_files_of_a_run_give_the_same(run):
    with_keras, with_onnx, moved = Tagger.open(run), Tagger.open(run, onnx=True), Tagger.open(run / "model.onnx")
    assert (with_keras.is_onnx, with_onnx.is_onnx, moved.is_onnx) == (False, True, True)
    assert {"probability", "logit", "variance"} <= with_onnx.scores(pixels(with_onnx, 1)).keys()
    assert_alike(with_keras, with_onnx)
    assert_alike(with_keras, moved)
    assert trunk_fingerprint(with_keras) == trunk_fingerprint(with_onnx)


def test_a_run_is_opened_without_keras_and_its_new_thresholds_hold(run, emoji_pictures, tmp_path):
    with (run / "thresholds.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    with (run / "thresholds.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *([name, "0.3", "2.5"] for name, *_ in rows)])
    name = rows[0][0]
    options = [str(emoji_pictures[0]), "--run", str(run), "--uncertainty", "--explain", name, "--jsonl"]
    code = (
        "import runpy, sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['test.py', *{options!r}]\n"
        f"runpy.run_path({str(ROOT / 'test.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0 and len(list(tmp_path.glob("*.png"))) == 1, done.stderr
    [expected] = Tagger.open(run).tag([emoji_pictures[0]])
    assert json.loads(done.stdout)["tags"] == pytest.approx(expected, abs=2e-4)


def test_a_copy_of_another_network_or_a_damaged_one_is_not_used(run, capfd):
    network = run_folder.load_network(run / "model.keras")
    weights = [weight * 1.5 for weight in network.get_weights()]
    network.set_weights(weights)
    run_folder.save_network(network, run / "model.keras")
    opened = Tagger.open(run, onnx=True)
    assert all(np.array_equal(one, other) for one, other in zip(opened.network.get_weights(), weights, strict=True))
    assert "model.onnx holds another network than model.keras" in capfd.readouterr().err
    done = program("export.py", "--run", run, "--format", "run")
    assert done.returncode == 0 and "model.onnx" in done.stdout, done.stderr
    again = Tagger.open(run, onnx=True)
    assert again.is_onnx
    assert_alike(opened, again)
    (run / "model.onnx").write_bytes((run / "model.onnx").read_bytes()[:1000])
    assert not Tagger.open(run, onnx=True).is_onnx
    assert "cannot be read as ONNX" in capfd.readouterr().err


def test_a_finished_run_gets_the_file_that_it_lacks(run, emoji_data):
    (run / "model.onnx").unlink()
    assert not Tagger.open(run, onnx=True).is_onnx
    done = program("train.py", "--resume", "--run", run, "--no-onnx")
    assert done.returncode == 0 and not (run / "model.onnx").exists(), done.stderr
    done = program("train.py", "--resume", "--run", run)
    assert done.returncode == 0 and Tagger.open(run, onnx=True).is_onnx, done.stderr
    for options in (("--out", run / "there"), ("--added-tags", run / "tag.json")):
        done = program("export.py", "--run", run, "--format", "run", *options)
        assert done.returncode == 1 and "--format run writes model.onnx into --run" in done.stderr


def test_the_copy_follows_an_added_tag(run, emoji_pictures, tmp_path):
    folder = tmp_path / "red"
    folder.mkdir()
    for picture in emoji_pictures[:20]:
        shutil.copy(picture, folder)
    done = program("train.py", "--teach", "of_these", folder, "--run", run)
    if done.returncode:  # told no better than by chance: nothing was added
        assert "not added" in done.stderr
        return
    with_keras, with_onnx = Tagger.open(run), Tagger.open(run, onnx=True)
    assert with_onnx.is_onnx and with_onnx.run.tags[-1].name == "of_these"
    assert_alike(with_keras, with_onnx)


def test_beside_a_damaged_network_the_copy_is_not_called_another_one(run, capfd):
    file = run / "model.keras"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match=r"model\.keras is damaged"):
        Tagger.open(run, onnx=True)
    assert "another" not in capfd.readouterr().err
