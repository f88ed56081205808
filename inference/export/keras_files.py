"""Files of the weights: for Keras without this project, and for programs that read safetensors.

keras/model.keras              uint8 (batch, size, size, 3) in RGB ▶ the outputs of `plain_network`
safetensors/model.safetensors  name of a layer and of its weight ▶ values
"""

from pathlib import Path

import keras
import numpy as np

from common.errors import InputError
from dataset import records
from inference.export.onnx_files import Reader
from inference.export.plain_network import plain_network
from inference.tagger import Tagger


def write_keras(tagger: Tagger, path: Path) -> None:
    """Write a Keras file of Keras' own layers and operations, and the table of its tags.

    Raises:
        InputError: the trunk has layers of another package.
    """
    network = plain_network(tagger)
    foreign = {type(layer).__module__.split(".")[0] for layer in network.layers} - {"keras"}
    if foreign:
        raise InputError(
            f"--format keras is for Keras' own layers, and the trunk has layers of {', '.join(sorted(foreign))}"
        )
    path.parent.mkdir(exist_ok=True)
    network.save(path)
    records.write_tags(path.with_name("tags.csv"), tagger.run.tags)


def read_keras(path: Path) -> Reader:
    """Return a function that computes the probabilities with a Keras file."""
    network = keras.saving.load_model(path, compile=False)
    return lambda pixels: keras.ops.convert_to_numpy(network(pixels, training=False)["probability"])


def write_safetensors(tagger: Tagger, path: Path) -> None:
    """Write the weights of `plain_network`, by their paths, such as `stage1_block1_conv/kernel`."""
    from safetensors.numpy import save

    network = plain_network(tagger)
    path.parent.mkdir(exist_ok=True)
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in network.weights}
    # Not by `save_file`, whose files only their owner may read.
    path.write_bytes(save({name: np.ascontiguousarray(value) for name, value in weights.items()}, {"format": "keras"}))


def read_safetensors(path: Path, tagger: Tagger) -> Reader:
    """Return a function that computes the probabilities with a network that got its weights from the file."""
    from safetensors.numpy import load_file

    weights = load_file(path)
    network = keras.models.clone_model(plain_network(tagger))
    for weight, name in zip(network.weights, [weight.path for weight in plain_network(tagger).weights], strict=True):
        weight.assign(weights[name])
    return lambda pixels: keras.ops.convert_to_numpy(network(pixels, training=False)["probability"])
