"""The noise layer against the reference implementation's figures, and as a Keras layer."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from heteroscedastic import HeteroscedasticSigmoid, expected_sigmoid, logistic_mixture

# Computed with Edward2's MCSigmoidDenseFA under TensorFlow 2.15 and SciPy's adaptive quadrature in float64.
GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
CASES = GOLDEN["heteroscedastic"]


def golden_layer(case: dict, **kwargs) -> tuple[HeteroscedasticSigmoid, np.ndarray]:
    layer = HeteroscedasticSigmoid(
        case["num_outputs"], case["num_factors"], case["temperature"], case["min_scale"], **kwargs
    )
    inputs = np.array(case["inputs"], np.float32)
    layer.build(inputs.shape)
    parts = {"loc_layer": layer.mean_layer, "diag_layer": layer.diagonal_layer, "scale_layer": layer.factor_layer}
    for name, weights in case["weights"].items():
        parts[name].set_weights([np.array(weights["kernel"]), np.array(weights["bias"])])
    return layer, inputs


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"R{case['num_factors']}-T{case['temperature']}")
def test_mean_and_variance_equal_the_reference(case):
    layer, inputs = golden_layer(case)
    scores = {name: ops.convert_to_numpy(value) for name, value in layer(inputs).items()}
    exact = np.array(case["mean_probability_exact"])
    assert np.abs(scores["probability"] - exact).max() < 1e-5
    assert np.abs(1 / (1 + np.exp(-scores["logit"].astype(np.float64))) - exact).max() < 1e-5
    assert np.abs(scores["variance"] - case["probability_variance_exact"]).max() < 1e-5


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"R{case['num_factors']}-T{case['temperature']}")
def test_samples_have_the_mean_and_variance_of_the_exact_form(case):
    layer, inputs = golden_layer(case, num_samples=20_000, seed=3)
    scores = {name: ops.convert_to_numpy(value) for name, value in layer(inputs).items()}
    assert np.abs(scores["probability"] - case["mean_probability_exact"]).max() < 0.015  # 4 standard errors at most
    assert np.abs(scores["variance"] - case["probability_variance_exact"]).max() < 0.01


def test_joint_samples_are_correlated_through_the_factors():
    layer, inputs = golden_layer(CASES[1], seed=5)
    samples = ops.convert_to_numpy(layer.sample(inputs[:1], 50_000))[:, 0]  # (samples, units)
    _, deviation, factors = (ops.convert_to_numpy(part)[0] for part in layer.logit_distribution(inputs[:1]))
    expected = np.diag(deviation**2) + factors @ factors.T
    assert np.abs(np.cov(samples.T) - expected).max() < 0.05 * np.abs(expected).max()


def test_the_logistic_mixture_is_the_sigmoid():
    _, weights = logistic_mixture(10)
    assert np.isclose(weights.sum(), 1) and (weights > 0).all()
    mean = np.linspace(-12, 12, 97).astype(np.float32)
    exact = 1 / (1 + np.exp(-mean.astype(np.float64)))
    scores = expected_sigmoid(ops.convert_to_tensor(mean), ops.zeros_like(mean))
    assert np.abs(ops.convert_to_numpy(scores["probability"]) - exact).max() < 2e-6
    assert np.abs(ops.convert_to_numpy(scores["logit"]) - mean).max() < 2e-3
    assert ops.convert_to_numpy(scores["variance"]).max() < 2e-6


def test_wide_logits_tend_to_the_normal_distribution_function():
    """At a deviation of 1,000 the sigmoid is a step: E[sigmoid(z)] is the probability that z is positive."""
    mean = np.array([-1000.0, 0.0, 500.0], np.float32)
    scores = expected_sigmoid(ops.convert_to_tensor(mean), ops.full((3,), 1000.0))
    assert np.allclose(ops.convert_to_numpy(scores["probability"]), [0.1586555, 0.5, 0.6914624], atol=1e-5)


def test_a_positive_that_is_all_but_excluded_still_has_a_gradient():
    """log-odds of -40 are a probability that float32 cannot tell from 0 when subtracted from 1."""
    step = 1.0
    low = expected_sigmoid(ops.convert_to_tensor([-40.0 - step, 40.0]), ops.convert_to_tensor([0.5, 0.5]))["logit"]
    high = expected_sigmoid(ops.convert_to_tensor([-40.0, 40.0 + step]), ops.convert_to_tensor([0.5, 0.5]))["logit"]
    slope = ops.convert_to_numpy(high - low) / step
    assert np.isfinite(slope).all() and (slope > 0.5).all()


@pytest.mark.parametrize("num_factors", [0, 3])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_layer_survives_saving(tmp_path, num_factors, policy):
    inputs = keras.Input((6,))
    layer = HeteroscedasticSigmoid(5, num_factors, 0.7, bias_initializer=keras.initializers.Constant(-2), dtype=policy)
    model = keras.Model(inputs, layer(inputs))
    features = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    model.save(tmp_path / "layer.keras")
    again = keras.saving.load_model(tmp_path / "layer.keras", safe_mode=True)
    for name, value in model(features).items():
        assert np.array_equal(ops.convert_to_numpy(value), ops.convert_to_numpy(again(features)[name]))
        assert keras.backend.standardize_dtype(value.dtype) == "float32" and value.shape == (4, 5)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="Received: units=0"):
        HeteroscedasticSigmoid(0)
