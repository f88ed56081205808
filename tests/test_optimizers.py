"""The optimizers against Keras' own, where those can do the same, and on a cycle."""

import keras
import numpy as np
import pytest
from keras import ops

from model.one_cycle import OneCycle
from training.optimizers import CycledAdamW, CycledMuon, CycledSGD, newton_schulz_orthogonalize


def minimise(optimizer, steps=40):
    variable = keras.Variable(np.float32([3.0, -2.0]))
    optimizer.build([variable])
    for _ in range(steps):
        optimizer.apply([ops.convert_to_tensor(variable) * np.float32([1.0, 4.0])], [variable])
    return ops.convert_to_numpy(variable)


def test_constant_momentum_is_keras_nesterov():
    ours, keras_own = CycledSGD(0.05, 0.9), keras.optimizers.SGD(0.05, 0.9, nesterov=True)
    assert np.allclose(minimise(ours), minimise(keras_own), atol=1e-6)


@pytest.mark.parametrize(
    "ours, keras_own",
    [
        (CycledAdamW(0.05, 0.9, decay=0.1), keras.optimizers.AdamW(0.05, weight_decay=0.1)),
        (CycledMuon(0.05, 0.95, decay=0.1), keras.optimizers.Muon(0.05, weight_decay=0.1, ns_steps=CycledMuon.ITERATIONS)),
    ],
    ids=["adamw", "muon"],
)
def test_constant_momentum_is_that_of_keras(ours, keras_own):
    start = np.float32([[3.0, -2.0, 0.5], [0.1, 7.0, -1.0]])
    results = []
    for optimizer in (ours, keras_own):
        variable = keras.Variable(start)
        optimizer.build([variable])
        for _ in range(40):
            optimizer.apply([ops.convert_to_tensor(variable) * np.float32([1.0, 4.0, 2.0])], [variable])
        results.append(ops.convert_to_numpy(variable))
    assert np.allclose(*results, atol=1e-4)
    assert not np.allclose(results[0], start, atol=0.5)


@pytest.mark.parametrize("iterations", [1, 3, 12])
@pytest.mark.parametrize("shape", [(8, 8), (3, 40), (40, 3), (1, 5), (64, 16)])
def test_a_matrix_keeps_its_directions_and_becomes_orthogonal(shape, iterations):
    matrix = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    left, values, right = np.linalg.svd(matrix / np.linalg.norm(matrix), full_matrices=False)
    for _ in range(iterations):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    found = ops.convert_to_numpy(newton_schulz_orthogonalize(ops.convert_to_tensor(matrix), iterations))
    assert np.allclose(found, left * values @ right, atol=1e-3)
    if iterations == 12:
        assert np.all((values > 0.6) & (values < 1.3))


def test_muon_steps_by_the_directions_of_inner_matrices_and_by_adam_elsewhere():
    shapes = {"kernel": (3, 3, 4, 6), "depthwise": (3, 3, 4, 1), "bias": (6,), "tags": (6, 5)}
    variables = [keras.Variable(np.zeros(shape, np.float32), name=name) for name, shape in shapes.items()]
    gradients = [np.random.default_rng(6).normal(size=shape).astype(np.float32) for shape in shapes.values()]
    steps = {}
    for scale in (1.0, 1e-3):
        for kind, extra in ((CycledMuon, {"outputs": ("tags",)}), (CycledAdamW, {})):
            for variable in variables:
                variable.assign(np.zeros(variable.shape))
            optimizer = kind(0.1, 0.9, **extra)
            optimizer.build(variables)
            optimizer.apply([ops.convert_to_tensor(scale * gradient) for gradient in gradients], variables)
            steps[kind, scale] = dict(zip(shapes, map(ops.convert_to_numpy, variables), strict=True))
    for name in shapes:
        step, of_a_thousandth = steps[CycledMuon, 1.0][name], steps[CycledMuon, 1e-3][name]
        assert np.allclose(step, of_a_thousandth, atol=1e-3), name
        assert np.allclose(step, steps[CycledAdamW, 1.0][name], atol=1e-3) == (name != "kernel"), name
    # As long as a step of AdamW, and nothing is kept for it but the momentum.
    assert 0.5 < np.sqrt(np.mean(steps[CycledMuon, 1.0]["kernel"] ** 2)) / (0.1 * CycledMuon.SIZE) < 1.3
    muon = CycledMuon(outputs=("tags",))
    muon.build(variables)
    assert [square is None for square in muon.squares] == [True, False, False, False]


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


@pytest.mark.parametrize("kind", [CycledSGD, CycledAdamW, CycledMuon])
def test_the_optimizer_survives_its_configuration(kind):
    optimizer = kind(OneCycle(0.1, 1, 0, 20, 0.3, "cosine"), OneCycle(0.95, 0.85, 0.95, 20, 0.3, "cosine"), weight_decay=0.1)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert np.allclose(minimise(optimizer, 20), minimise(again, 20))
