"""The cycle against the figures of the schedules it replaces, and SGD on it."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from model.schedule import CycledAdamW, CycledSGD, OneCycle

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())


def test_equals_the_published_triangle():
    golden = GOLDEN["e6tag_schedule"]
    cycle = OneCycle(golden["min_lr"], golden["max_lr"], golden["min_lr"], golden["total_steps"], 0.5, "triangle")
    ours = [float(cycle(step)) for step in golden["step"]]
    # The published formula climbs from 0 and is floored, ours climbs from the floor: they agree at floor and peak, and
    # are never further apart than the floor.
    assert np.abs(np.array(ours) - golden["lr"]).max() < golden["min_lr"]
    assert np.allclose([ours[0], max(ours), ours[-1]], [0.1, 4.0, 0.1])


def test_equals_the_first_cycle_of_tensorflow_addons():
    golden = GOLDEN["tfa_triangular"]
    length = 2 * golden["step_size"]
    cycle = OneCycle(golden["initial"], golden["maximal"], golden["initial"], length, 0.5, "triangle")
    pairs = [(step, rate) for step, rate in zip(golden["step"], golden["lr"], strict=True) if step <= length]
    assert len(pairs) > 10
    assert np.allclose([float(cycle(step)) for step, _ in pairs], [rate for _, rate in pairs], rtol=1e-5)


@pytest.mark.parametrize("form", ["triangle", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
def test_reaches_its_ends_and_stays_between_them(form, warmup):
    cycle = OneCycle(0.2, 1.0, 0.1, 50, warmup, form)
    values = np.array([float(cycle(step)) for step in range(60)])
    assert np.isclose(values[0], 1.0 if warmup == 0 else 0.2) and np.allclose(values[51:], 1.0 if warmup == 1 else 0.1)
    assert np.isclose(values[round(warmup * 50)], 1.0) and values.min() >= 0.1 - 1e-6 and values.max() <= 1 + 1e-6


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="Received: total_steps=0"):
        OneCycle(0, 1, 0, 0, 0.5, "triangle")


def minimise(optimizer, steps=40):
    variable = keras.Variable(np.float32([3.0, -2.0]))
    optimizer.build([variable])
    for _ in range(steps):
        optimizer.apply([ops.convert_to_tensor(variable) * np.float32([1.0, 4.0])], [variable])
    return ops.convert_to_numpy(variable)


def test_constant_momentum_is_keras_nesterov():
    ours, keras_own = CycledSGD(0.05, 0.9), keras.optimizers.SGD(0.05, 0.9, nesterov=True)
    assert np.allclose(minimise(ours), minimise(keras_own), atol=1e-6)


def test_constant_betas_are_keras_adamw():
    ours = CycledAdamW(0.05, 0.9, decay=0.1)
    keras_own = keras.optimizers.AdamW(0.05, weight_decay=0.1)
    start = np.float32([[3.0, -2.0], [0.1, 7.0]])
    results = []
    for optimizer in (ours, keras_own):
        variable = keras.Variable(start)
        optimizer.build([variable])
        for _ in range(40):
            optimizer.apply([ops.convert_to_tensor(variable) * np.float32([1.0, 4.0])], [variable])
        results.append(ops.convert_to_numpy(variable))
    assert np.allclose(*results, atol=1e-4)
    assert not np.allclose(results[0], start, atol=0.5)


def test_momentum_follows_its_schedule():
    momentum = OneCycle(0.95, 0.5, 0.95, 10, 0.5, "triangle")
    optimizer = CycledSGD(0.05, momentum)
    seen = []
    variable = keras.Variable(np.float32([1.0]))
    optimizer.build([variable])
    expected_variable, velocity = 1.0, 0.0
    for _ in range(10):
        mu = float(optimizer.current_momentum())
        seen.append(mu)
        velocity = mu * velocity - 0.05 * expected_variable
        expected_variable += mu * velocity - 0.05 * expected_variable
        optimizer.apply([ops.convert_to_tensor(variable)], [variable])
    assert np.allclose(seen, [0.95, 0.86, 0.77, 0.68, 0.59, 0.5, 0.59, 0.68, 0.77, 0.86])
    assert np.allclose(ops.convert_to_numpy(variable), expected_variable, atol=1e-6)


@pytest.mark.parametrize("kind", [CycledSGD, CycledAdamW])
def test_the_optimizer_survives_its_configuration(kind):
    optimizer = kind(OneCycle(0.1, 1, 0, 20, 0.3, "cosine"), OneCycle(0.95, 0.85, 0.95, 20, 0.3, "cosine"), weight_decay=0.1)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert np.allclose(minimise(optimizer), minimise(again))
