"""The trunk of one run as the start of another: what is frozen, when, at which rate, and that it can be interrupted."""

import contextlib
import io
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import kill_and_resume
import numpy as np
import pytest
from conftest import ROOT, program, uncompiled
from keras import ops
from PIL import Image

from common.errors import InputError
from dataset import records
from model import one_cycle, run_folder
from model.config import Config
from model.network import EMBEDDING, TaggerNetwork
from model.run_folder import Run
from training import frozen_trunk, train_run, transfer
from training.optimizers import CycledSGD, build_optimizer
from training.recipes import resolve

SETTINGS = Config(preset="test", image_size=32, noise="none", init="runs/base")
THAWED_LATER = replace(SETTINGS, unfreeze_after=1)
OPTIONS = ("--epochs", 2, "--batch-size", 32, "--image-size", 32, "--no-onnx")


def compiled(config: Config, run_eagerly: bool = False) -> TaggerNetwork:
    keras.utils.set_random_seed(1)
    network = TaggerNetwork(3, config.as_dict())
    optimizer = build_optimizer(config, 0.05, 0.9, 100)
    jit_compile = keras.backend.backend() == "jax"  # as training does on a CPU
    network.compile(optimizer=optimizer, jit_compile=jit_compile, run_eagerly=run_eagerly)
    network.optimizer.build(network.trainable_variables)
    return network


def train(network: TaggerNetwork, steps: int = 3) -> dict[str, bool]:
    """Layer ▶ whether a few steps changed any of its variables, statistics of normalisation among them."""
    before = {layer.name: layer.get_weights() for layer in network.layers if layer.weights}
    random = np.random.default_rng(3)
    pixels, labels = random.integers(0, 256, (8, 32, 32, 3), np.uint8), random.random((8, 3)) < 0.4
    for _ in range(steps):
        network.train_on_batch(pixels, labels.astype(np.float32))
    same = {name: all(map(np.array_equal, old, network.get_layer(name).get_weights())) for name, old in before.items()}
    return {name: not equal for name, equal in same.items()}


@pytest.mark.parametrize("optimizer", ["sgd", *(pytest.param(name, marks=pytest.mark.slow) for name in ("adamw", "muon"))])
def test_a_frozen_trunk_is_unchanged_and_an_unfrozen_one_is_not(optimizer):
    network = compiled(replace(THAWED_LATER, optimizer=optimizer, weight_decay=0.1, ema_decay=0.9))
    transfer.begin_phase(THAWED_LATER, network, 0)
    assert [name for name, changed in train(network).items() if changed] == ["tags"]
    for average, weight in zip(network.optimizer.averages, network.trainable_variables, strict=True):
        assert weight.path.startswith(("tags", "robust")) or np.allclose(
            ops.convert_to_numpy(average), ops.convert_to_numpy(weight), atol=1e-6
        )
    transfer.begin_phase(THAWED_LATER, network, 1)
    assert all(train(network, 4).values())


@pytest.mark.parametrize(
    "init, train_images, stored_size, expected",
    [("", 3_000, 64, ["--init imagenet"]), ("", 30_000, 64, []), ("runs/x", 3_000, 32, ["of 32 px are enlarged to 64"])],
)
def test_what_would_make_a_run_better_is_said(init, train_images, stored_size, expected, tmp_path):
    hints = train_run.hints(Run(tmp_path, Config(init=init), [], "", stored_size, train_images))
    assert len(hints) == len(expected) and all(words in hint for words, hint in zip(expected, hints, strict=True))


def test_a_run_starts_from_the_outputs_of_another(first_run, tmp_path):
    source, base = run_folder.load_network(first_run / "model.keras"), run_folder.load(first_run)
    run = replace(base, folder=tmp_path, config=replace(base.config, init=str(first_run), init_output=True, seed=7))
    network = train_run.build_network(run)
    transfer.load_trunk(run, network)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *source.input_shape[1:]), np.uint8)
    assert np.array_equal(network(pixels)["logit"], source(pixels)["logit"])
    expected = source(pixels)["logit"].numpy()
    transfer.load_trunk(replace(run, tags=run.tags[::-1]), network)
    assert np.array_equal(network(pixels)["logit"], expected[:, ::-1])
    more = [replace(run.tags[0], name="unheard_of"), *run.tags]
    wider = train_run.build_network(replace(run, tags=more))
    transfer.load_trunk(replace(run, tags=more), wider)
    assert np.allclose(wider(pixels)["logit"][:, 1:], expected, atol=1e-5)
    with pytest.raises(InputError, match="has none of them"):
        transfer.load_trunk(replace(run, tags=[replace(tag, name=f"other {tag.name}") for tag in run.tags]), network)
    with pytest.raises(InputError, match="--init-output needs --init"):
        resolve({"init_output": True})
    settings = transfer.inherited_settings({"init": str(first_run), "init_output": True})
    assert settings["noise"] == base.config.noise == "diagonal"


def test_stages_end_where_resolution_or_width_changes():
    names = {"test": ["stage1_block1_out", "stage2_block1_out"], "lite0": ["blocks_2_add", "blocks_4_add", "blocks_7_add"]}
    for preset, ends in names.items():
        network = TaggerNetwork(3, Config(preset=preset, image_size=64).as_dict())
        assert network.stage_ends()[:3] == ends
    recomputed = TaggerNetwork(3, replace(SETTINGS, gradient_checkpointing=True).as_dict())
    assert recomputed.stage_ends() == ["stage1_block1", "stage2_block1"]


def test_frozen_stages_are_unchanged_and_the_others_are_not():
    settings = replace(SETTINGS, frozen_stages=1, optimizer="sgd")
    network = compiled(settings, run_eagerly=True)  # quicker than to compile: nothing changes between the steps
    transfer.begin_phase(settings, network, 0)
    for name, changed in train(network, 4).items():
        assert changed != name.startswith(("stem", "stage1")), name
    with pytest.raises(InputError, match="at most 2, the stages of this trunk at 32 px"):
        transfer.begin_phase(replace(settings, frozen_stages=3), network, 0)


@pytest.mark.slow
def test_a_frozen_part_is_computed_once_with_the_result_of_computing_it_in_every_step(emoji_data, emoji_run, tmp_path):
    options = (*OPTIONS, "--init", emoji_run, "--frozen-stages", 1, "--recipe", "lean", "--optimizer", "sgd")
    networks = []
    ways = (("stored", frozen_trunk.MAX_SHARE, contextlib.nullcontext()), ("computed", 0.0, uncompiled()))
    for name, share, context in ways:
        with context, pytest.MonkeyPatch.context() as patch:
            patch.setattr(frozen_trunk, "MAX_SHARE", share)
            done = program("train.py", "--data", emoji_data, "--run", tmp_path / name, *options)
        assert done.returncode == 0, done.stderr
        assert ("computed in every step" in done.stderr) == (not share)
        assert ("once for all training pictures" in done.stderr) == (share > 0)
        assert not list((tmp_path / name).glob("frozen_features*"))
        networks.append(run_folder.load_network(tmp_path / name / "model.keras"))
    base = run_folder.load_network(emoji_run / "model.keras")
    for layer in base.layers:
        stored, computed = (network.get_layer(layer.name).get_weights() for network in networks)
        frozen = layer.name.startswith(("stem", "stage1"))
        if layer.name != "tags":
            assert all(map(np.array_equal, stored, layer.get_weights())) == (frozen or not layer.weights), layer.name
        # float16 rounds the stored features.
        assert all(np.allclose(one, other, atol=0.01) for one, other in zip(stored, computed, strict=True)), layer.name


@pytest.mark.slow
def test_a_run_on_stored_features_resumes_after_kills_to_the_same_bits(emoji_data, emoji_run, tmp_path):
    options = (*OPTIONS, "--init", emoji_run, "--frozen-stages", 1, "--unfreeze-after", 1)
    done = program("train.py", "--data", emoji_data, "--run", tmp_path / "whole", *options)
    assert done.returncode == 0, done.stderr
    steps = kill_and_resume.train_killed(emoji_data, tmp_path / "killed", options, 2, random.Random(5))
    assert steps and kill_and_resume.differences(tmp_path / "whole", tmp_path / "killed") == []


@pytest.mark.slow
def test_the_same_under_jax():
    command = [sys.executable, "-m", "pytest", "-q", __file__, "-k", "a_frozen_trunk_is_unchanged and sgd"]
    environment = os.environ | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT, timeout=600)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_freezing_changes_neither_predictions_nor_the_saved_file(tmp_path):
    network, pixels = compiled(SETTINGS), np.random.default_rng(4).integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected = ops.convert_to_numpy(network(pixels, training=False)["logit"])
    network.freeze(EMBEDDING)
    assert np.array_equal(ops.convert_to_numpy(network(pixels, training=False)["logit"]), expected)
    run_folder.save_network(network, tmp_path / "model.keras")
    again = run_folder.load_network(tmp_path / "model.keras")
    assert np.array_equal(ops.convert_to_numpy(again(pixels, training=False)["logit"]), expected)
    assert [weight.path for weight in again.weights] == [weight.path for weight in network.weights]


def test_early_stages_learn_more_slowly():
    settings = replace(SETTINGS, preset="tiny", output_rate=1.0, loss="bce")  # it has four stages
    network = TaggerNetwork(3, settings.as_dict())
    network.compile(optimizer=CycledSGD(0.5, 0.0))
    transfer.begin_phase(settings, network, 0)
    multipliers = network.optimizer.lr_multipliers
    by_layer = {
        variable.path.split("/")[0]: multiplier
        for variable, multiplier in zip(network.trainable_variables, multipliers, strict=True)
    }
    order = [
        by_layer[name] for name in ("stem_conv", "stage1_block1_conv", "stage2_block1_conv", "stage4_block1_conv", "tags")
    ]
    assert order[0] == order[1] == SETTINGS.trunk_rate and order[-1] == by_layer["features"] == 1
    assert order == sorted(order) and len(set(order)) == 4
    weights = [ops.convert_to_numpy(variable) for variable in network.trainable_variables]
    network.optimizer.apply([ops.ones_like(variable) for variable in weights], network.trainable_variables)
    for before, after, multiplier in zip(weights, network.trainable_variables, multipliers, strict=True):
        assert np.allclose(before - ops.convert_to_numpy(after), 0.5 * multiplier, atol=1e-6)


def test_the_cycle_starts_again_when_the_trunk_is_unfrozen():
    rate, momentum = one_cycle.cycles(replace(SETTINGS, epochs=4, unfreeze_after=1), 400)
    first, second = (one_cycle.cycles(SETTINGS, updates)[0] for updates in (100, 300))
    for step in (0, 30, 99):
        assert np.isclose(float(rate(step)), float(first(step)))
    for step in (0, 90, 299, 300):
        assert np.isclose(float(rate(100 + step)), float(second(step)))
    assert np.isclose(float(momentum(100)), SETTINGS.momentum)
    again = CycledSGD.from_config(CycledSGD(rate, momentum).get_config())
    assert np.isclose(float(again.momentum(190)), float(momentum(190)))


@pytest.mark.slow
def test_a_new_head_starts_from_the_trunk_and_resumes_after_kills_to_the_same_bits(emoji_data, emoji_run, tmp_path):
    options = (*OPTIONS, "--init", emoji_run, "--unfreeze-after", 1)
    done = program("train.py", "--data", emoji_data, "--run", tmp_path / "whole", *options)
    assert done.returncode == 0 and f"trunk of {emoji_run}, frozen for 1 of 2 epochs" in done.stderr, done.stderr
    steps = kill_and_resume.train_killed(emoji_data, tmp_path / "killed", options, 1, random.Random(3))
    assert steps and kill_and_resume.differences(tmp_path / "whole", tmp_path / "killed") == []
    again = program("train.py", "--data", emoji_data, "--run", tmp_path / "whole", *options[:-2], "--freeze")
    assert again.returncode == 1 and "freeze was False and is now True" in again.stderr


@pytest.mark.slow
def test_with_freeze_the_trunk_is_the_base_runs(emoji_data, emoji_run, tmp_path):
    options = ("--init", emoji_run, "--freeze", "--epochs", 1)
    done = program("train.py", "--data", emoji_data, "--run", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    base, ours = (run_folder.load_network(folder / "model.keras") for folder in (emoji_run, tmp_path / "run"))
    assert all(map(np.array_equal, base.trunk().get_weights(), ours.trunk().get_weights()))
    assert not np.array_equal(base.get_layer("tags").get_weights()[0], ours.get_layer("tags").get_weights()[0])


@pytest.mark.parametrize(
    "given, words",
    [
        ({"freeze": True}, "--init"),
        ({"unfreeze_after": 1}, "--init"),
        ({"init": "x", "unfreeze_after": 4}, "under --epochs, 4"),
        ({"init": "x", "trunk_rate": 0.0}, "--trunk-rate"),
        ({"trunk_rate": 0.5}, "--trunk-rate needs --init"),
        ({"frozen_stages": 1}, "--init"),
        ({"init": "x", "frozen_stages": -1}, "at least 0"),
    ],
)
def test_unusable_settings_are_named(given, words):
    with pytest.raises(InputError, match=words):
        resolve(given)


def test_a_base_that_does_not_fit_is_named(emoji_run, tmp_path):
    assert transfer.inherited_settings({"init": str(emoji_run)})["image_size"] == 64
    assert transfer.inherited_settings({"init": str(emoji_run), "image_size": 32})["image_size"] == 32
    with pytest.raises(InputError, match="has preset test: leave --preset base out"):
        transfer.inherited_settings({"init": str(emoji_run), "preset": "base"})
    (tmp_path / "picture.png").write_bytes(b"")
    for name in ("nowhere", "picture.png", "."):
        with pytest.raises(InputError, match=r"--init: .* is not a run folder: give one"):
            transfer.inherited_settings({"init": str(tmp_path / name)})
    with pytest.raises(InputError, match="give one of them"):
        transfer.inherited_settings({"init": str(emoji_run), "freeze": True, "unfreeze_after": 1})


@pytest.fixture(scope="module")
def shaded(emoji_data, tmp_path_factory):
    """Pictures, 30 others, how dark each was made, and the data folder of the former with the darkness as a number."""
    folder = tmp_path_factory.mktemp("shaded")
    shades = np.random.default_rng(4).uniform(0.3, 1, 180)
    pictures, aside, data = folder / "pictures", folder / "aside", folder / "data"
    pictures.mkdir()
    aside.mkdir()
    stored = [record.image for split in records.SPLITS for record in records.read(emoji_data, split)][:180]
    for index, (image, shade) in enumerate(zip(stored, shades, strict=True)):
        pixels = np.array(Image.open(io.BytesIO(image)).convert("RGB"), np.float32) * shade
        Image.fromarray(pixels.astype(np.uint8)).save((pictures if index < 150 else aside) / f"{index}.png")
    cells = [f"{10 * shade:.4f}" for shade in shades[:150]]
    cells[7] = "bright"
    table = folder / "table.csv"
    table.write_text("id,Brightness\n" + "".join(f"{index}.png,{cell}\n" for index, cell in enumerate(cells)))
    given = ("--board", "folder", "--images", pictures, "--csv", table, "--positives", 10, "--val", 10, "--test", 10)
    done = program("download.py", *given, "--numbers", "brightness", "--out", data)
    assert done.returncode == 0 and "1 quarantined: no number" in done.stdout, done.stderr
    done = program("download.py", *given, "--numbers", "weight", "--out", folder / "other")
    assert done.returncode == 1 and "expected a first line with id, weight" in done.stderr
    return aside, shades, data


def test_a_number_becomes_the_fraction_of_pictures_with_a_lower_one(shaded):
    _, shades, data = shaded
    found = {record.id: record.labels for split in records.SPLITS for record in records.read(data, split)}
    assert len(found) == 149  # all of them, whatever --positives says
    kept = np.array([shade for index, shade in enumerate(shades[:150]) if index != 7])
    for name, labels in found.items():
        assert abs(labels[0] - np.mean(kept < shades[int(Path(name).stem)])) < 0.01


@pytest.mark.slow
def test_a_number_is_learned_with_the_trunk_and_predicted_for_every_picture(shaded, emoji_run, tmp_path):
    (aside, shades, data), run = shaded, tmp_path / "run"
    options = (*OPTIONS[2:], "--epochs", 12, "--init", emoji_run, "--unfreeze-after", 1)  # 36 steps
    done = program("train.py", "--data", data, "--run", run, *options)
    assert done.returncode == 0, done.stderr
    done = program("test.py", aside, "--run", run, "--json")
    predicted = {Path(answer["file"]).stem: answer["tags"]["brightness"] for answer in json.loads(done.stdout)}
    expected = [shades[int(name)] for name in predicted]
    assert len(predicted) == 30 and np.corrcoef(list(predicted.values()), expected)[0, 1] > 0.7
    done = program("eval.py", run, "--split", "val")
    assert done.returncode == 0 and "1 tags" in done.stdout, done.stderr
