"""The cycle against the figures of the schedules it replaces."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.one_cycle import OneCycle

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
