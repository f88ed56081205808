"""What keeps training exact and within memory: checkpoints, accumulation, the average, devices, the batch that fits."""

import gc
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from unittest.mock import patch

import keras
import numpy as np
import pytest
from conftest import ROOT, program, uncompiled
from keras import ops

from common.errors import InputError
from model import devices
from model.config import Config
from model.network import TaggerNetwork
from model.one_cycle import OneCycle
from training import checkpoints, lr_finder, memory, run_table
from training.checkpoints import TrainingPosition
from training.optimizers import CycledSGD
from training.plan import plan_run
from training.recipes import resolve
from training.train_run import build_network, compile_network

STEPS = 6
SMALL = Config(preset="test", image_size=32, noise="none", optimizer="sgd")


def small_network(**options) -> keras.Model:
    """Two layers, without normalisation, with an optimizer that keeps everything it can keep."""
    keras.utils.set_random_seed(1)
    layers = [keras.Input((4,)), keras.layers.Dense(8, activation="tanh"), keras.layers.Dense(2)]
    network = keras.Sequential(layers)
    cycle = OneCycle(0.1, 0.5, 0.0, STEPS, 0.5, "cosine")
    optimizer = CycledSGD(cycle, OneCycle(0.95, 0.8, 0.95, STEPS, 0.5, "cosine"), **options)
    network.compile(optimizer=optimizer, loss="mse")
    network.optimizer.build(network.trainable_variables)  # as training does; otherwise the step is traced twice
    return network


def batches(size: int, number: int = STEPS) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(3)
    inputs = random.normal(size=(number * size, 4)).astype(np.float32)
    outputs = random.normal(size=(number * size, 2)).astype(np.float32)
    return [(inputs[at : at + size], outputs[at : at + size]) for at in range(0, number * size, size)]


def train(network: keras.Model, data: list) -> list[np.ndarray]:
    for inputs, outputs in data:
        network.train_on_batch(inputs, outputs)
    return network.get_weights()


def split(data: list, parts: int) -> list:
    return [pair for batch in data for pair in zip(*(np.split(array, parts) for array in batch), strict=True)]


@pytest.mark.parametrize("clip", [None, 0.2])
def test_an_accumulated_gradient_is_that_of_the_large_batch(clip):
    """The cycle counts updates, and the whole gradient is clipped. Only batch normalisation, which sees one step's images
    at a time, makes a difference."""
    data = batches(12)
    large = train(small_network(global_clipnorm=clip), data)
    added_up = train(small_network(global_clipnorm=clip, gradient_accumulation_steps=3), split(data, 3))
    for ours, expected in zip(added_up, large, strict=True):
        assert np.allclose(ours, expected, atol=1e-6)
    assert not np.allclose(large[0], small_network().get_weights()[0], atol=1e-3)


def test_the_average_is_of_the_weights_after_each_update():
    network = small_network(ema_decay=0.6, gradient_accumulation_steps=2)
    expected, seen = None, []
    for index, batch in enumerate(split(batches(8), 2)):
        weights = train(network, [batch])[0]
        if index % 2:
            seen.append(weights)
            kept = min(0.6, (len(seen) - 1) / len(seen))
            expected = weights if expected is None else kept * expected + (1 - kept) * weights
    assert np.allclose(ops.convert_to_numpy(network.optimizer.averages[0]), expected, atol=1e-6)
    assert not np.allclose(seen[-1], expected, atol=1e-3)


@pytest.mark.parametrize("steps, precision", [(1, "float32"), (3, "float32"), (3, "float16")])
def test_a_checkpoint_holds_everything_that_the_next_steps_depend_on(tmp_path, policy, steps, precision):
    """Also in the middle of an accumulation, of an epoch whose running loss goes on, and the scale of the loss."""
    policy(precision)
    options = {"ema_decay": 0.9, "gradient_accumulation_steps": 2, "global_clipnorm": 1.0}
    data = batches(4, 2 * STEPS)
    whole = small_network(**options)
    train(whole, data)
    begun = small_network(**options)
    train(begun, data[:steps])
    checkpoints.save(tmp_path, begun, TrainingPosition(1, steps), 10)
    again = small_network(**options)
    assert checkpoints.restore(tmp_path, again) == TrainingPosition(1, steps)
    train(again, data[steps:])
    for ours, expected in zip(again.optimizer.variables, whole.optimizer.variables, strict=True):
        assert np.array_equal(ops.convert_to_numpy(ours), ops.convert_to_numpy(expected)), ours.path
    assert all(map(np.array_equal, again.get_weights(), whole.get_weights()))
    assert again.get_metrics_result() == whole.get_metrics_result()


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "encrypted"])
def test_instead_of_a_damaged_checkpoint_the_one_before_is_loaded_with_a_message(tmp_path, capsys, damage):
    network = small_network()
    for step in (1, 2, 3):
        train(network, batches(4, 1))
        checkpoints.save(tmp_path, network, TrainingPosition(0, step), 10)
    older, newest = checkpoints.paths(tmp_path)
    content = newest.read_bytes()
    middle = content.index(ops.convert_to_numpy(network.layers[0].kernel).tobytes()) + 10
    changed = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    flags = content.rindex(b"PK\x01\x02") + 8  # of the last file in the zip's directory
    encrypted = content[:flags] + b"\x01" + content[flags + 1 :]
    newest.write_bytes({"cut": content[:middle], "changed": changed, "empty": b"", "encrypted": encrypted}[damage])
    assert checkpoints.restore(tmp_path, small_network()) == TrainingPosition(0, 2)
    assert newest.name in capsys.readouterr().err and checkpoints.paths(tmp_path) == [older]
    older.write_bytes(b"")
    assert checkpoints.restore(tmp_path, small_network()) == TrainingPosition()


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    network = small_network()
    checkpoints.save(tmp_path, network, TrainingPosition(0, 1), 10)
    network.layers[0].kernel.assign(np.full((4, 8), np.nan))
    with pytest.raises(checkpoints.NotFinite, match="kernel"):
        checkpoints.save(tmp_path, network, TrainingPosition(0, 2), 10)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000000001.npz"]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    checkpoints.save(tmp_path, small_network(), TrainingPosition(0, 1), 10)
    with pytest.raises(InputError, match="another network"):
        checkpoints.restore(tmp_path, small_network(ema_decay=0.9))


@pytest.mark.slow
def test_two_devices_equal_one():
    environment = os.environ | {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {os.environ['XLA_FLAGS']}",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(ROOT / "tests" / "two_devices.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    found = json.loads(done.stdout)
    assert found["name"] == "cpu:0, cpu:1 (jax)"
    one, two = found["losses"]
    assert np.allclose(one, two, rtol=1e-5) and one[1] < one[0] and found["apart"] < 1e-5


def test_an_unusable_gpu_is_named(emoji_data, tmp_path, monkeypatch):
    program_file = tmp_path / "nvidia-smi"
    program_file.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GeForce GTX 970 (UUID: GPU-1234)'\n")
    program_file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    done = program("train.py", "--data", emoji_data, "--run", tmp_path / "run")
    assert done.returncode == 1 and "GTX 970" in done.stderr and "tensorflow[and-cuda]" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not (tmp_path / "run").exists()
    for options, visible in ((("--cpu",), "0"), ((), "-1")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        resumed = program("train.py", "--resume", *options, "--run", tmp_path / "run")
        assert "GPU" not in resumed.stderr and "no run folder at" in resumed.stderr


class _Full(Exception):
    pass


@pytest.mark.parametrize("room, expected", [(12, 12), (11, 6), (5, 4), (1, 1)])
def test_the_largest_batch_that_fits_divides_the_effective_one(monkeypatch, room, expected):
    class Network:
        input, num_tags = keras.KerasTensor((None, 32, 32, 3)), 3

        def train_on_batch(self, pixels, labels):
            if len(pixels) > room:
                raise _Full("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")

    monkeypatch.setattr(devices, "gpus", lambda: ["gpu:0"])
    monkeypatch.setattr(gc, "collect", lambda: 0)  # seconds in a process with TensorFlow
    assert memory.largest_batch(12, 1, lambda batch_size: Network()) == expected
    with pytest.raises(InputError, match="not even one image"):
        room = 0
        memory.largest_batch(12, 1, lambda batch_size: Network())


@pytest.mark.parametrize("noise", ["none", "diagonal"])
def test_in_half_precision_weights_and_outputs_stay_in_single(policy, noise):
    policy("bfloat16")
    network = TaggerNetwork(3, replace(Config(), image_size=32, noise=noise).as_dict())
    assert {keras.backend.standardize_dtype(weight.dtype) for weight in network.weights} == {"float32"}
    assert {tensor.dtype for tensor in network.output.values()} == {"float32"}
    assert network.get_layer("features").output.dtype == "bfloat16"


def test_unusable_precisions_and_batch_sizes_are_named():
    assert devices.precision("auto") in ("float32", "bfloat16") and devices.precision("float16") == "float16"
    assert devices.precision("auto", depthwise=True) == "float32"
    for given, words in (({"effective_batch": 40}, "multiple of --batch-size, 32"), ({"precision": "half"}, "bfloat16")):
        with pytest.raises(InputError, match=words):
            resolve(given)
    assert replace(Config(), effective_batch=64).effective_batch == 64


def test_the_proposed_learning_rate_is_below_where_the_loss_runs_away(tmp_path):
    rates = np.geomspace(0.001, 10, 60)
    losses = 10 - 4 * np.clip(np.log10(rates / 0.01), 0, 1.5) + 3 * np.clip(np.log10(rates / 1.0), 0, None) ** 2
    assert 0.3 <= lr_finder.proposal(rates, losses) <= 1.5
    assert lr_finder.save(tmp_path, rates, losses).stat().st_size > 1000


@uncompiled()
def test_a_range_of_learning_rates_that_are_all_too_high_is_named(emoji_data, tmp_path):
    config = replace(SMALL, learning_rate=1e9, clip_norm=0.0)
    todo = plan_run(emoji_data, tmp_path, config)
    network = build_network(todo.run)
    compile_network(todo, network)
    with pytest.raises(InputError, match=r"the loss diverged within .* try a lower --learning-rate than 1e\+09"):
        lr_finder.range_test(todo, network)


def test_a_range_of_learning_rates_sums_gradients_as_training_does(emoji_data, tmp_path, monkeypatch):
    config = replace(SMALL, batch_size=8, effective_batch=24, learning_rate=1e-4)
    todo = plan_run(emoji_data, tmp_path, config)
    network = build_network(todo.run)
    compile_network(todo, network)
    monkeypatch.setattr(lr_finder, "UPDATES", 12)
    wrapped = (patch.object(network, name, wraps=getattr(network, name)) for name in ("train_on_batch", "compute_loss"))
    with next(wrapped) as steps, next(wrapped) as traces:
        rates, _ = lr_finder.range_test(todo, network)
    assert (len(rates), steps.call_count, int(network.optimizer.iterations)) == (12, 36, 12)
    assert traces.call_count == 1  # it is compiled once


def test_a_run_that_cannot_be_read_does_not_hide_the_others(emoji_run, tmp_path):
    (tmp_path / "good").symlink_to(emoji_run)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{}")
    shutil.copytree(emoji_run, tmp_path / "cut")
    history = tmp_path / "cut" / "history.csv"
    history.write_text(f"{history.read_text()}3,\n")
    listed = run_table.table(tmp_path)
    assert listed.count("cannot be read") == 2
