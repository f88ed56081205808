"""The network: what reaches its weights, what its size depends on, and what a saved file gives back."""

import os
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT
from keras import ops

from common import numbers
from model import run_folder
from model.activation import Activation
from model.attention_pooling import AttentionPooling
from model.batch_norm import BatchNormalization
from model.config import Config
from model.network import TaggerNetwork
from training.optimizers import CycledSGD
from training.recipes import resolve

SMALL = Config(preset="test", image_size=32)
EAGERLY = keras.backend.backend() != "jax"  # compiling takes longer than a few steps do; JAX trains in compiled steps only


def small_network(num_tags: int = 7, **changes) -> TaggerNetwork:
    keras.utils.set_random_seed(1)
    return TaggerNetwork(num_tags, replace(SMALL, **changes).as_dict())


def pixels(number: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (number, side, side, 3), np.uint8)


@pytest.mark.parametrize(
    ("precision", "changes"),
    [
        ("float32", {}),
        ("bfloat16", {"loss": "robust", "noise": "low-rank"}),
        ("float32", {"head": "pool", "activation": "silu", "bottleneck": 5}),
        (
            "bfloat16",
            {
                "gradient_checkpointing": True,
                "loss": "asymmetric",
                "label_smoothing": 0.1,
                "noise": "diagonal",
                "noise_samples": 8,
            },
        ),
    ],
    ids=["default", "robust", "plain", "recomputed"],
)
def test_a_gradient_reaches_every_weight(policy, precision, changes):
    """Layers that start at zero hold back those behind them for a step or two."""
    policy(precision)
    network = small_network(**changes)
    network.compile(optimizer=CycledSGD(0.05, 0.9), run_eagerly=EAGERLY)
    before = [ops.convert_to_numpy(weight) for weight in network.trainable_weights]
    labels = (np.random.default_rng(3).random((8, 7)) < 0.4).astype(np.float32)
    for _ in range(3):
        network.train_on_batch(pixels(8), labels)
    for weight, old in zip(network.trainable_weights, before, strict=True):
        assert not np.array_equal(ops.convert_to_numpy(weight), old), weight.path
    assert all(np.isfinite(ops.convert_to_numpy(weight)).all() for weight in network.weights)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="elsewhere it is Keras' own computation")
@pytest.mark.parametrize("images", [1, 4])
def test_normalisation_trains_as_that_of_keras(images):
    """Outputs, gradients of pixels and weights, and statistics; also of a map that is one value."""
    random = np.random.default_rng(4)
    side = 1 if images == 1 else 3
    x = tf.constant(random.normal(2.0, 3.0, (images, side, side, 5)).astype(np.float32))
    upstream = random.normal(size=x.shape).astype(np.float32)
    found = []
    for layer in (BatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)):
        layer.build(x.shape)
        layer.gamma.assign(np.linspace(0.5, 2.0, 5))
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x, training=True)
            loss = ops.sum(output * upstream)
        gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
        found.append([output, *gradients, layer.moving_mean, layer.moving_variance, layer(x, training=False)])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="is about TensorFlow")
@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-6), ("bfloat16", 1 / 128)])
def test_silu_is_that_of_keras(precision, error):
    import tensorflow as tf

    random = np.random.default_rng(4)
    x = tf.cast(tf.constant(random.normal(0, 4, (3, 5, 5, 7))), precision)
    upstream = tf.cast(tf.constant(random.normal(size=x.shape)), precision)
    exact = tf.sigmoid(tf.cast(x, tf.float64))
    exact = tf.cast(upstream, tf.float64) * exact * (1 + tf.cast(x, tf.float64) * (1 - exact))
    layer = Activation("silu", dtype=precision)

    @tf.function
    def output_and_gradient():
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = layer(x, training=True)
        return output, tape.gradient(output, x, upstream)

    output, gradient = output_and_gradient()
    assert output.dtype == gradient.dtype == precision
    for evaluated in (layer(x), keras.layers.Activation("silu", dtype=precision)(x)):
        np.testing.assert_allclose(tf.cast(output, tf.float64), tf.cast(evaluated, tf.float64), rtol=error, atol=error)
    np.testing.assert_allclose(tf.cast(gradient, tf.float64), exact, rtol=error, atol=error)


@pytest.mark.slow
def test_gradient_checkpointing_changes_no_weight():
    """Nor statistics, which a batch that is computed twice must not enter twice."""
    trained = []
    for recompute in (False, True):
        keras.utils.set_random_seed(0)
        network = small_network(gradient_checkpointing=recompute)
        network.compile(optimizer=CycledSGD(0.05, 0.9))
        labels = (np.random.default_rng(3).random((8, 7)) < 0.4).astype(np.float32)
        for _ in range(3):
            network.train_on_batch(pixels(8), labels)
        trained.append(network.get_weights())
    assert all(np.allclose(ours, others, atol=1e-5) for ours, others in zip(*trained, strict=True))


@pytest.mark.parametrize("noise, outputs", [("none", 1), ("diagonal", 2)])
def test_only_the_output_depends_on_the_number_of_tags(noise, outputs):
    few, many = small_network(10, noise=noise), small_network(30, noise=noise)
    differing = [
        weight.path
        for weight, other in zip(few.weights, many.weights, strict=True)
        if tuple(weight.shape) != tuple(other.shape)
    ]
    assert differing and all("tags/" in path for path in differing)
    features = few.get_layer("features").output.shape[-1]
    assert many.count_params() - few.count_params() == 20 * outputs * (features + 1)


@pytest.mark.parametrize("noise", ["none", "diagonal"])
def test_the_output_starts_at_the_tags_log_odds(noise):
    network = small_network(3, noise=noise)
    network.init_output_bias(np.array([0.5, 0.01, 0.2]))
    bias = (network.get_layer("tags") if noise == "none" else network.get_layer("tags").mean_layer).bias
    assert np.allclose(ops.convert_to_numpy(bias), numbers.log_odds([0.5, 0.01, 0.2]))


def test_the_head_starts_as_average_pooling():
    network = small_network()
    head = network.get_layer("features")
    values = np.random.default_rng(4).normal(size=(2, 3, 5, head.input.shape[-1])).astype(np.float32)
    assert np.allclose(ops.convert_to_numpy(head(values)), values.mean(axis=(1, 2)), atol=1e-6)
    weights, _ = head.attend(ops.convert_to_tensor(values))
    assert np.allclose(ops.convert_to_numpy(weights).sum(axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"head": "pool"}, {"bottleneck": 4, "noise": "diagonal"}])
def test_contributions_of_positions_add_up_to_the_logit(changes):
    network, chance = small_network(3, **changes), np.random.default_rng(5)
    for layer in network.layers:
        layer.set_weights([weight + chance.normal(0, 0.1, weight.shape) for weight in layer.get_weights()])
    embedding, _ = network.embed(pixels(2))
    head = network.get_layer("features")
    bias = ops.convert_to_numpy(head.project.bias) if hasattr(head, "project") else 0
    assert np.allclose(network.contributions(pixels(2)).sum(axis=(1, 2)) + bias, embedding, atol=1e-4)
    output = network.get_layer("tags")
    mean = getattr(output, "mean_layer", output)
    read = keras.Model(network.input, output.input)(pixels(2))
    logit = ops.convert_to_numpy(mean(read)) - ops.convert_to_numpy(mean.bias)
    assert np.allclose(embedding @ network.tag_weights, logit, atol=1e-4)


@pytest.mark.parametrize("changes", [{}, {"loss": "robust", "noise": "low-rank"}])
def test_a_saved_network_gives_the_same_probabilities(tmp_path, changes):
    network = small_network(**changes)
    if network.robust is not None:
        network.robust.shape_logit.assign(0.7)
    run_folder.save_network(network, tmp_path / "model.keras")
    again = run_folder.load_network(tmp_path / "model.keras")
    for name, value in network(pixels(3)).items():
        assert np.array_equal(ops.convert_to_numpy(value), ops.convert_to_numpy(again(pixels(3))[name])), name
    if network.robust is not None:
        assert np.isclose(float(again.robust.shape_logit.value), 0.7)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_every_backend_gives_the_same_probabilities(tmp_path, backend):
    network = small_network(noise="low-rank")
    for weight in network.weights:  # statistics and zero-started weights as after training
        change = np.random.default_rng(len(weight.path)).normal(0, 0.05, tuple(weight.shape))
        weight.assign_add(np.abs(change) if weight.name.endswith("variance") else change)
    run_folder.save_network(network, tmp_path / "model.keras")
    np.save(tmp_path / "pixels.npy", pixels(4))
    code = (
        "import sys, numpy as np, keras; from model import run_folder; folder = sys.argv[1]\n"
        "from pathlib import Path\n"
        "network = run_folder.load_network(Path(folder) / 'model.keras')\n"
        "scores = network(np.load(folder + '/pixels.npy'))\n"
        "np.savez(folder + '/scores.npz', **{k: keras.ops.convert_to_numpy(v) for k, v in scores.items()})\n"
    )
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment, timeout=300)
    scores, expected = np.load(tmp_path / "scores.npz"), network(pixels(4))
    assert np.ptp(scores["probability"]) > 0.05
    for name in ("probability", "variance"):
        assert np.abs(scores[name] - ops.convert_to_numpy(expected[name])).max() < 1e-4


@pytest.mark.parametrize("preset", ["tiny", "base", "large"])
def test_presets_build(preset):
    config = resolve({"preset": preset})
    network = TaggerNetwork(1024, config.as_dict())
    assert network.output["probability"].shape == (None, 1024)


def test_files_that_are_no_network_are_named(tmp_path):
    from common.errors import InputError

    (tmp_path / "noise.keras").write_bytes(b"not a zip")
    with pytest.raises(InputError, match=r"noise\.keras"):
        run_folder.load_network(tmp_path / "noise.keras")
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    other.save(tmp_path / "other.keras")
    with pytest.raises(InputError, match="holds Sequential"):
        run_folder.load_network(tmp_path / "other.keras")
    evil = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x)])
    evil.save(tmp_path / "evil.keras")
    with pytest.raises(InputError, match="evil"):
        run_folder.load_network(tmp_path / "evil.keras")


def test_wrong_settings_are_named():
    from common.errors import InputError

    for given, words in (
        ({"epochs": 0}, "--epochs"),
        ({"resize": "stretch"}, "pad, squish, crop"),
        ({"image_size": 50}, "multiple of 32"),
        ({"momentum": 1.0}, "--momentum"),
    ):
        with pytest.raises(InputError, match=words):
            resolve(given)


def test_options_win_over_the_recipe_and_the_recipe_over_the_preset():
    assert resolve({"preset": "base"}).batch_size == 12
    assert resolve({"recipe": "e6tag"}).learning_rate == 4.0
    assert resolve({"recipe": "e6tag", "learning_rate": 0.5}).learning_rate == 0.5


@pytest.mark.parametrize("optimizer, power", [("sgd", 1), ("adamw", 0.5), ("muon", 0.5)])
def test_the_learning_rate_follows_the_images_an_update(optimizer, power):
    one = resolve({"optimizer": optimizer}).learning_rate
    for more in ({"batch_size": 128}, {"batch_size": 16, "effective_batch": 128}):
        assert np.isclose(resolve({"optimizer": optimizer} | more).learning_rate, one * 4**power, rtol=0.05)
    assert resolve({"optimizer": optimizer, "batch_size": 128, "learning_rate": 0.7}).learning_rate == 0.7


def test_the_variance_is_predicted_with_a_noise_layer():
    for noise, names in (("none", {"probability", "logit"}), ("diagonal", {"probability", "logit", "variance"})):
        assert set(small_network(noise=noise).output) == names
        assert set(small_network(noise=noise).with_added_outputs(np.zeros((1, 128)), np.zeros(1)).output) == names


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow adds gradients in a varying order")
def test_the_gradients_of_the_head_are_added_in_a_fixed_order():
    head = AttentionPooling(2, 4)
    feature_map = tf.random.normal((2, 3, 3, 8))
    head(feature_map)

    @tf.function
    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(head(x) ** 2)
        return tape.gradient(loss, [x, *[weight.value for weight in head.trainable_variables]])

    operations = gradients.get_concrete_function(tf.TensorSpec(feature_map.shape)).graph.get_operations()
    sums = [len(operation.inputs) for operation in operations if operation.type == "AddN"]
    assert sums and max(sums) == 2  # with three, the order of the additions depends on the threads
