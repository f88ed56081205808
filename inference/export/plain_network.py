"""A run's network as a graph of Keras' own layers and operations, from which every format is made."""

import keras
from keras import layers, ops

from heteroscedastic import HeteroscedasticSigmoid
from inference.ratings import normalise, rating_mask
from inference.tagger import Tagger
from model.activation import Activation
from model.attention_pooling import AttentionPooling, contributions
from model.batch_norm import BatchNormalization
from model.network import EMBEDDING
from model.resnet import Recomputed

OF_KERAS = {Activation: layers.Activation, BatchNormalization: layers.BatchNormalization}  # ▶ with the same weights
COMPOSITE = (AttentionPooling, HeteroscedasticSigmoid, Recomputed)  # layers that consist of Keras' own


def plain_network(tagger: Tagger, for_suite: bool = False) -> keras.Model:
    """Return a functional model with the weights of the run, which Keras can save and load without this project.

    The suite's own layers are replaced by the layers and operations that they consist of.

    Args:
        tagger: the run.
        for_suite: the outputs are those that this suite reads from an ONNX file.

    Input:
        uint8 (batch, image_size, image_size, 3), RGB, 0 to 255.

    Output:
        A dictionary of `probability`, `logit` and, with a noise layer, `variance`, float32 (batch, tags), and `embedding`
        (batch, channels), the output of the layer `features`. `for_suite`, the logit is at temperature 1 instead of the
        run's, and networks with a feature map have `contributions`, what its positions add to the embedding, float32
        (batch, height, width, channels).
    """
    network, feature_map = _plain(keras.Model(tagger.network.input, tagger.network.output))
    outputs = dict(network.output)
    if for_suite and tagger.network.has_feature_map:
        head = tagger.network.get_layer(EMBEDDING)
        outputs["contributions"] = ops.cast(contributions(head, feature_map), "float32")
    if (tagger.temperatures != 1).any():
        at_temperature = layers.Rescaling((1 / tagger.temperatures).tolist(), dtype="float32", name="temperatures")
        logit = at_temperature(outputs["logit"])
        outputs |= {"probability": ops.sigmoid(logit), "logit": outputs["logit"] if for_suite else logit}
    if (mask := rating_mask(tagger.run.tags)).any():
        outputs["probability"] = normalise(outputs["probability"], mask)
    embedding = ops.cast(network.get_layer(EMBEDDING).output, "float32")
    return keras.Model(network.input, outputs | {"embedding": embedding}, name="tagger")


def _plain(model: keras.Model):
    """Return a model of the same operations and weights, without the suite's own layers, and what its head reads."""
    copies, feature_map = [], None

    def copy(layer):
        if isinstance(layer, COMPOSITE):
            return layer
        cloned = OF_KERAS.get(type(layer), type(layer)).from_config(layer.get_config())
        if isinstance(layer, layers.Layer):  # not an operation such as the concatenation of added outputs
            copies.append((cloned, layer))
        return cloned

    def call(layer, *inputs, **arguments):
        nonlocal feature_map
        if layer.name == EMBEDDING:
            [feature_map] = inputs
        if isinstance(layer, AttentionPooling):
            return layers.Identity(name=layer.name)(layer.call(*inputs))
        if isinstance(layer, HeteroscedasticSigmoid):
            return layer.call(*inputs)
        if isinstance(layer, Recomputed):
            return _plain(layer.block)[0](*inputs)
        return layer(*inputs, **arguments)

    plain = keras.models.clone_model(model, clone_function=copy, call_function=call)
    for layer, original in copies:
        layer.set_weights(original.get_weights())
    return plain, feature_map
