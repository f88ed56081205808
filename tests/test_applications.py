"""Trunks out of Keras' applications."""

import os

import keras
import numpy as np
import pytest
from conftest import program
from keras import ops

from common.errors import InputError
from model import run_folder
from model.network import TaggerNetwork
from training import transfer
from training.recipes import resolve

WEIGHTS = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"  # as Keras calls them in its cache
OPTIONS = ("--preset", "mobilenet", "--image-size", 32, "--epochs", 1, "--init", "imagenet", "--freeze")


@pytest.mark.parametrize("preset", ["mobilenet", pytest.param("efficientnet", marks=pytest.mark.slow)])
def test_a_network_has_the_trunk_and_an_embedding(preset):
    config = resolve({"preset": preset, "image_size": 64})
    network = TaggerNetwork(3, config.as_dict())
    assert network.get_layer("features").input.shape == (None, 2, 2, 1280)
    network.compile(optimizer="sgd", run_eagerly=True)  # compiling takes longer than three steps
    before = [ops.convert_to_numpy(weight) for weight in network.trunk().trainable_weights]
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    for _ in range(3):  # the head's residual starts at zero
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
    with pytest.raises(InputError, match="needs --preset mobilenet or efficientnet"):
        transfer.inherited_settings({"init": "imagenet", "preset": "base"})
    with pytest.raises(InputError, match="not for the trunks of Keras"):
        resolve({"preset": "mobilenet", "gradient_checkpointing": True})
