"""Trunks out of files: a model that Keras saved, a folder of keras-hub, or an ONNX file."""

import sys

import keras
import numpy as np
import onnx
import pytest
from keras import layers, ops
from onnx import TensorProto, helper

from common.errors import InputError
from model import run_folder, trunk_file
from model.network import TaggerNetwork
from model.run_folder import Run
from training import transfer
from training.recipes import resolve

SIDE = 40  # not a multiple of 32
SCALED = {  # pixel 51 of a channel ▶ what the trunk gets
    "0..255": (51.0, 51.0, 51.0),
    "0..1": (0.2, 0.2, 0.2),
    "signed": (-0.6, -0.6, -0.6),
    "imagenet": ((0.2 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.2 - 0.406) / 0.225),
}


def convolutions(side: int | None = SIDE, name: str = "") -> keras.Model:
    picture = keras.Input((side, side, 3))
    x = layers.Rescaling(1 / 255)(picture) if name == "rescaling" else picture
    x = layers.Conv2D(8, 3, 2, padding="same", activation="relu")(x)
    x = layers.Add()([x, layers.Conv2D(8, 1)(x)])
    x = layers.Conv2D(12, 3, 2, padding="same")(x)
    return keras.Model(picture, layers.Add()([x, layers.BatchNormalization()(x)]))


def transformer() -> keras.Model:
    picture = keras.Input((SIDE, SIDE, 3))
    x = layers.Reshape((25, 12))(layers.Conv2D(12, 8, 8)(picture))  # (batch, tokens, channels)
    return keras.Model(picture, layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)]))


def nested() -> keras.Model:
    picture = keras.Input((SIDE, SIDE, 3))
    x = keras.applications.resnet50.preprocess_input(picture)  # operations that are no layers
    return keras.Model(picture, layers.GlobalAveragePooling2D()(convolutions()(x)))


@pytest.fixture
def saved(tmp_path):
    def save(model) -> str:
        model.save(tmp_path / "trunk.keras")
        return str(tmp_path / "trunk.keras")

    return save


def network_of(init: str, tmp_path, **given) -> TaggerNetwork:
    """Return the network of a run that starts from a file, before training."""
    config = resolve(transfer.inherited_settings({"init": init, "recipe": "lean"} | given))
    network = TaggerNetwork(3, config.as_dict(), trunk=transfer.trunk_structure(config))
    transfer.load_trunk(Run(tmp_path, config, [], "", SIDE, 1), network)
    return network


KINDS = [*((convolutions, pixels) for pixels in SCALED), (transformer, "signed"), (nested, "0..255")]


@pytest.mark.parametrize("make, pixels", KINDS)
def test_a_network_computes_what_the_trunk_computes(make, pixels, saved, tmp_path):
    keras.utils.set_random_seed(0)
    trunk = make()
    network = network_of(saved(trunk), tmp_path, pixels=pixels)
    features = network.get_layer("features")
    picture = np.full((1, SIDE, SIDE, 3), 51, np.uint8)
    found = ops.convert_to_numpy(keras.Model(network.input, features.input)(picture))
    expected = ops.convert_to_numpy(trunk(np.broadcast_to(np.float32(SCALED[pixels]), picture.shape)))
    assert np.allclose(found.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
    run_folder.save_network(network, tmp_path / "model.keras")
    (tmp_path / "trunk.keras").unlink()  # the network does not need it any more
    again = run_folder.load_network(tmp_path / "model.keras")
    assert np.array_equal(*(ops.convert_to_numpy(one(picture)["logit"]) for one in (network, again)))


def test_stages_and_rates_are_those_of_the_trunk(saved, tmp_path):
    network = network_of(saved(convolutions()), tmp_path, pixels="0..1")
    assert len(network.stage_ends()) == 2
    rates = transfer.lr_multipliers(network, 0.1)
    assert rates[0] == pytest.approx(0.1) and 0.1 < rates[4] < rates[-1] == 1
    rates = transfer.lr_multipliers(network_of(saved(transformer()), tmp_path, pixels="0..1"), 0.1)
    assert rates == sorted(rates) and rates[0] == pytest.approx(0.1) and rates[-1] == 1


def test_what_the_file_says_is_not_asked_for(saved):
    found = trunk_file.settings(saved(convolutions(name="rescaling")), {})
    assert found == {"preset": "file", "image_size": SIDE, "pixels": "0..255"}
    assert trunk_file.settings(saved(convolutions(None)), {"pixels": "0..1"}) == {"preset": "file", "pixels": "0..1"}


@pytest.mark.parametrize(
    "given, expected",
    [({}, "--pixels 0..255"), ({"image_size": 64}, f"takes {SIDE} px"), ({"preset": "tiny"}, "leave --preset tiny out")],
)
def test_settings_that_do_not_fit_the_file_are_named(given, expected, saved):
    with pytest.raises(InputError, match=expected):
        trunk_file.settings(saved(convolutions()), given)


def test_files_that_are_no_trunk_are_named(saved, tmp_path):
    picture = keras.Input((SIDE, SIDE, 3))
    lam = keras.Model(picture, layers.Lambda(lambda x: x)(picture))
    gray = keras.Model(gray_picture := keras.Input((SIDE, SIDE, 1)), layers.Flatten()(gray_picture))
    taken = keras.Model(picture, layers.Flatten(name="features")(picture))
    for model, expected in ((taken, "a layer named features"), (lam, "Lambda"), (gray, "expected one square picture")):
        with pytest.raises(InputError, match=expected):
            trunk_file.load(saved(model))
    (tmp_path / "trunk.keras").write_text("no archive")
    for name, expected in (("trunk.keras", "is not a .keras file"), ("missing.keras", "there is no")):
        with pytest.raises(InputError, match=expected):
            trunk_file.load(str(tmp_path / name))


def onnx_file(path, channels_first: bool, batch: int | str = "batch", names=("embedding",)):
    """Write a network that averages each colour over the picture and multiplies it by 1, 2, …, for each output."""
    shape = [batch, 3, SIDE, SIDE] if channels_first else [batch, SIDE, SIDE, 3]
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [2, 3] if channels_first else [1, 2])
    factors = [helper.make_tensor(f"factor{index}", TensorProto.FLOAT, [1], [index]) for index in range(1, len(names) + 1)]
    nodes = [helper.make_node("ReduceMean", ["picture", "axes"], ["mean"], keepdims=0)]
    nodes += [helper.make_node("Mul", ["mean", factor.name], [name]) for factor, name in zip(factors, names, strict=True)]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 3]) for name in names],
        [axes, *factors],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return str(path)


@pytest.mark.parametrize("channels_first, batch", [(True, "batch"), (False, 1)])
def test_an_onnx_file_is_a_frozen_trunk(channels_first, batch, tmp_path):
    init = onnx_file(tmp_path / "trunk.onnx", channels_first, batch)
    network = network_of(init, tmp_path, pixels="0..1")
    assert network.config["freeze"] and network.config["image_size"] == SIDE
    pictures = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    expected = pictures.mean(axis=(1, 2)) / 255
    run_folder.save_network(network, tmp_path / "model.keras")
    (tmp_path / "trunk.onnx").unlink()  # the network does not need it any more
    again = run_folder.load_network(tmp_path / "model.keras")
    assert np.allclose(ops.convert_to_numpy(again.trunk()(pictures)), expected, atol=1e-5)
    assert np.allclose(again.trunk().predict(pictures, verbose=0), expected, atol=1e-5)  # compiled


def test_an_output_of_an_onnx_file_is_chosen_and_its_training_refused(tmp_path):
    init = onnx_file(tmp_path / "trunk.onnx", True, names=("tags", "embedding"))
    with pytest.raises(InputError, match=r"outputs tags, embedding: choose one, as in --init .*trunk\.onnx:tags"):
        trunk_file.load(init)
    picture = np.full((1, SIDE, SIDE, 3), 0.5, np.float32)
    assert np.allclose(ops.convert_to_numpy(trunk_file.load(f"{init}:embedding")(picture)), 1)
    with pytest.raises(InputError, match="has no output logits, but tags, embedding"):
        trunk_file.load(f"{init}:logits")
    for given in ({"freeze": False}, {"unfreeze_after": 1}, {"frozen_stages": 1}):
        with pytest.raises(InputError, match="cannot be trained"):
            trunk_file.settings(f"{init}:embedding", {"pixels": "0..1"} | given)
    (tmp_path / "trunk.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match="is not an ONNX file, or is damaged"):
        trunk_file.load(init)


@pytest.mark.slow  # importing it takes longer than the rest of this file
def test_a_folder_of_keras_hub_is_a_trunk(tmp_path, monkeypatch):
    import keras_hub

    backbone = keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(None, None, 3),
    )
    folder = tmp_path / "resnet"
    backbone.save_to_preset(str(folder))
    network = network_of(str(folder), tmp_path, pixels="0..1", image_size=SIDE)
    picture = np.full((1, SIDE, SIDE, 3), 51, np.uint8)
    found = keras.Model(network.input, network.get_layer("features").input)(picture)
    assert np.allclose(found, backbone(np.full(picture.shape, 0.2, np.float32)), atol=1e-4)
    assert len(network.stage_ends()) == 2
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(InputError, match="pip install keras-hub"):
        trunk_file.load(str(folder))
