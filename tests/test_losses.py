"""The losses against the reference implementations' figures."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from benchmarks import published
from common import numbers
from model import losses
from model.config import Config
from model.network import TaggerNetwork
from training.optimizers import build_optimizer
from training.recipes import resolve

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text())
ROBUST, ADAPTIVE, FOCAL = (GOLDEN[key] for key in ("robust_general", "robust_adaptive", "tfa_focal"))


def exact_robust(x: float, alpha: float, scale: float) -> float:
    """Barron's equation 13 in float64, with its limits."""
    squared = (x / scale) ** 2
    if alpha == 2:
        return squared / 2
    if alpha == 0:
        return np.log1p(squared / 2)
    return abs(alpha - 2) / alpha * ((squared / abs(alpha - 2) + 1) ** (alpha / 2) - 1)


def test_focal_equals_tensorflow_addons():
    per_tag = ops.convert_to_numpy(losses.focal(np.float32(FOCAL["y_true"]), np.float32(FOCAL["logits"])))
    assert np.abs(per_tag - FOCAL["per_tag"]).max() < 1e-6
    assert np.allclose(per_tag.sum(axis=1), FOCAL["sum_over_tags"], atol=2e-6)


def test_asymmetric_loss_is_the_papers():
    """Equations 4 to 7 of Ridnik et al., in float64."""
    logits, labels = np.meshgrid(np.linspace(-6, 6, 25), [0.0, 1.0])
    probability = 1 / (1 + np.exp(-logits))
    shifted = np.maximum(probability - losses.ASYMMETRIC_MARGIN, 0)
    expected = -labels * np.log(probability) - (1 - labels) * shifted**losses.ASYMMETRIC_GAMMA * np.log(1 - shifted)
    ours = ops.convert_to_numpy(losses.asymmetric(np.float32(labels), np.float32(logits)))
    assert np.allclose(ours, expected, atol=1e-6)
    assert (ours[0, probability[0] < losses.ASYMMETRIC_MARGIN] == 0).all()


def test_cross_entropy_is_exact_far_out():
    loss = ops.convert_to_numpy(losses.binary_cross_entropy(np.float32([1, 0, 1, 0]), np.float32([-80, 80, 80, -80])))
    assert np.allclose(loss, [80, 80, 0, 0])


@pytest.mark.parametrize("row", range(len(ROBUST["alpha"])), ids=lambda row: f"alpha{ROBUST['alpha'][row]:.3g}")
def test_general_robust_loss(row):
    """1e-4 relative to the formula in float64; and to the reference, where float32 gave the reference that many digits.

    The reference computes ((x/c)²/|α-2| + 1)^(α/2) - 1 in float32, which loses a small residual beside the 1: 2 |α-2|/|α|
    float32 steps are its own error.
    """
    alpha = ROBUST["alpha"][row]
    x = np.float32(ROBUST["x"])
    for column, scale in enumerate(ROBUST["scale"]):
        ours = ops.convert_to_numpy(losses.general_robust(ops.convert_to_tensor(x**2), alpha, scale))
        exact = np.array([exact_robust(float(value), alpha, scale) for value in x])
        assert np.allclose(ours, exact, rtol=1e-4, atol=0)
        reference = np.array(ROBUST["loss_alpha_scale_x"][row][column])
        rounding = 2 * np.finfo(np.float32).eps * max(abs(alpha - 2) / max(abs(alpha), 1e-6), 1)
        if alpha == 0:
            rounding = 1e-6
        assert np.allclose(ours, reference, rtol=1e-4, atol=rounding)


def test_partition_function_and_likelihood():
    x = np.float32(ADAPTIVE["x"])
    for row, alpha in enumerate(ADAPTIVE["alpha"]):
        assert np.isclose(float(losses.log_partition(alpha)), ADAPTIVE["log_partition_alpha"][row], rtol=1e-4)
        for column, scale in enumerate(ADAPTIVE["scale"]):
            ours = ops.convert_to_numpy(losses.negative_log_likelihood(ops.convert_to_tensor(x**2), alpha, scale))
            assert np.allclose(ours, ADAPTIVE["nll_alpha_scale_x"][row][column], rtol=1e-4, atol=2e-4)


def test_the_robust_layer_starts_close_to_and_never_above_the_plain_loss():
    robust = losses.AdaptiveRobust()
    robust.build()
    plain = np.float32([0, 1e-6, 0.01, 0.5, 3, 20])
    softened = ops.convert_to_numpy(robust(ops.convert_to_tensor(plain)))
    assert (softened <= plain * (1 + 1e-5)).all()
    assert np.allclose(softened[:3], plain[:3], rtol=0.01)
    assert softened[-1] < plain[-1] / 2


def test_shape_and_scale_are_weights():
    robust = losses.AdaptiveRobust()
    robust.build()
    assert [weight.name for weight in robust.trainable_weights] == ["shape_logit", "log_scale"]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients with TensorFlow")
def test_the_networks_gradient_does_not_grow_as_the_scale_shrinks():
    import tensorflow as tf

    gradients = []
    for log_scale in (0.0, -4.0):
        robust = losses.AdaptiveRobust()
        robust.build()
        robust.log_scale.assign(log_scale)
        loss = tf.Variable([0.001, 0.1, 5.0])
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(robust(loss)) + robust.likelihood_term(loss)
        gradients.append(tape.gradient(value, [loss, robust.shape_logit.value, robust.log_scale.value]))
    assert (gradients[1][0] <= gradients[0][0] + 1e-6).numpy().all() and (gradients[0][0] <= 1.0001).numpy().all()
    assert all(abs(float(gradient)) > 0 for gradients_of in gradients for gradient in gradients_of[1:])


def test_log_odds():
    assert np.allclose(1 / (1 + np.exp(-numbers.log_odds([0.001, 0.5, 0.9]))), [0.001, 0.5, 0.9])
    assert np.isfinite(numbers.log_odds([0.0, 1.0])).all()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients with TensorFlow")
def test_shape_and_scale_follow_their_own_rate_under_every_optimizer():
    import tensorflow as tf

    random = np.random.default_rng(2)
    pixels, labels = random.integers(0, 256, (4, 32, 32, 3), np.uint8), (random.random((4, 5)) < 0.3).astype(np.float32)
    ends = []
    for optimizer, clip_norm in (("sgd", 1.0), ("adamw", 0.0), ("muon", 1e-3)):
        keras.utils.set_random_seed(4)
        config = Config(preset="test", image_size=32, noise="none", loss="robust", optimizer=optimizer, clip_norm=clip_norm)
        network = TaggerNetwork(5, config.as_dict())
        network.compile(optimizer=build_optimizer(config, 0.01, 0.9, updates=20), run_eagerly=True)
        with tf.GradientTape() as tape:
            value = network.compute_loss(y=labels, y_pred=network(pixels, training=True))
        gradients = tape.gradient(value, [network.robust.shape_logit.value, network.robust.log_scale.value])
        network.train_on_batch(pixels, labels)
        ends.append([float(weight.value) for weight in network.robust.trainable_weights])
        assert np.allclose(ends[-1], [-float(gradient) / 20 for gradient in gradients], rtol=1e-3)
    assert np.allclose(ends, ends[0], rtol=1e-3) and np.all(np.abs(ends[0]) > 1e-4)


def test_the_errors_of_2021_are_in_what_is_built_while_they_are_put_back():
    labels, logits = (np.float32(FOCAL[key]) for key in ("y_true", "logits"))
    change = published.Change(loss=published.focal_over_the_mean, settings=published.ROOTED)

    def built():
        config = resolve({"preset": "test", "recipe": "e6tag", "reduction": "sum"})
        network = TaggerNetwork(labels.shape[1], config.as_dict())
        return config.rooted_residual, float(network.compute_loss(y=labels, y_pred={"logit": logits}))

    before = built()
    with published.changed(change):
        rooted, loss = built()
    wrong = labels - 1 / (1 + np.exp(-logits))
    weight = np.where(labels, losses.FOCAL_ALPHA, 1 - losses.FOCAL_ALPHA) * wrong**losses.FOCAL_GAMMA
    mean = (np.logaddexp(0, logits) - labels * logits).mean(axis=1, keepdims=True)
    robust = ops.convert_to_numpy(losses.general_robust(np.float32(2 * weight * mean), 1.0, 1.0))
    assert rooted and not before[0]
    assert np.isclose(loss, robust.sum(axis=1).mean(), rtol=1e-4) and not np.isclose(loss, before[1], rtol=0.01)
    assert built() == before
