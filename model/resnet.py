"""The trunk: a bottleneck ResNet (He et al., arXiv 1512.03385) with ReLU or SiLU (Hendrycks & Gimpel, arXiv 1606.08415).

It has two later improvements. The 3x3 convolution has the stride, and the shortcut an average pooling (ResNet-D, He et al.,
arXiv 1812.01187). The scale of the last normalisation of each block starts at zero, so that every block starts as the
identity (Goyal et al., arXiv 1706.02677).
"""

import keras
from keras import layers, ops

from model.activation import Activation
from model.batch_norm import BatchNormalization

BATCH_NORM_MOMENTUM = 0.9  # Keras' 0.99 averages over more steps than a short run has: its statistics would be stale


def trunk(
    inputs, widths: tuple[int, ...], depths: tuple[int, ...], stem_stride: int, activation: str, recompute: bool = False
):
    """Return the feature map of a batch of pictures.

    Args:
        inputs: tensor (batch, height, width, 3), values in -1 to 1.
        widths: output channels of each stage; the 3x3 convolutions inside have a quarter of them.
        depths: number of blocks in each stage; every stage after the first halves height and width.
        stem_stride: stride of the stem: 2 (a convolution) or 4 (a convolution and a pooling).
        activation: `relu` or `silu`.
        recompute: store only the outputs of the blocks for the backward pass; see `Recomputed`.

    Returns:
        Tensor (batch, height / stride, width / stride, widths[-1]), stride = stem_stride · 2 ** (stages - 1).
    """
    stem_width = widths[0] // 4
    x = layers.Conv2D(stem_width, 3, strides=2, padding="same", use_bias=False, name="stem_conv")(inputs)
    x = _normalise(x, activation, "stem")
    if stem_stride == 4:
        x = layers.MaxPooling2D(3, strides=2, padding="same", name="stem_pool")(x)
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        for block in range(depth):
            stride = 2 if stage and not block else 1
            name = f"stage{stage + 1}_block{block + 1}"
            if recompute:
                inside = keras.Input(x.shape[1:])
                x = Recomputed(keras.Model(inside, _bottleneck(inside, width, stride, activation, name)), name=name)(x)
            else:
                x = _bottleneck(x, width, stride, activation, name)
    return x


def _bottleneck(x, width: int, stride: int, activation: str, name: str):
    """Return the output of a bottleneck block: (batch, h, w, channels) ▶ (batch, h / stride, w / stride, width)."""
    shortcut = x
    if stride > 1:
        shortcut = layers.AveragePooling2D(stride, padding="same", name=f"{name}_shortcut_pool")(shortcut)
    if shortcut.shape[-1] != width:
        shortcut = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_shortcut_conv")(shortcut)
        shortcut = BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_shortcut_norm")(shortcut)
    x = layers.Conv2D(width // 4, 1, use_bias=False, name=f"{name}_reduce_conv")(x)
    x = _normalise(x, activation, f"{name}_reduce")
    x = layers.Conv2D(width // 4, 3, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = _normalise(x, activation, name)
    x = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_expand_conv")(x)
    x = BatchNormalization(momentum=BATCH_NORM_MOMENTUM, gamma_initializer="zeros", name=f"{name}_expand_norm")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return Activation(activation, name=f"{name}_out")(x)


def _normalise(x, activation: str, name: str):
    x = BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)
    return Activation(activation, name=f"{name}_{activation}")(x)


@keras.saving.register_keras_serializable(package="e6tag")
class Recomputed(layers.Layer):
    """A block whose inner outputs are not stored but computed a second time in the backward pass.

    This is gradient checkpointing (Chen et al., arXiv 1604.06174): it saves memory and costs a third more arithmetic. The
    block is called without state, and its new statistics are assigned once, after the call. Otherwise batch normalisation
    would count each batch twice.

    Args:
        block: a functional model with one input and one output.

    Input, output:
        Those of the block.
    """

    def __init__(self, block: keras.Model, **kwargs):
        super().__init__(**kwargs)
        self.block = block

    def call(self, x, training=None):
        if not training:
            return self.block(x, training=False)

        def stateless(trained, statistics, x):
            return self.block.stateless_call(trained, statistics, x, training=True)

        trained, statistics = (
            [ops.convert_to_tensor(variable) for variable in variables]
            for variables in (self.block.trainable_variables, self.block.non_trainable_variables)
        )
        x, statistics = keras.remat(stateless)(trained, statistics, x)
        for variable, value in zip(self.block.non_trainable_variables, statistics, strict=True):
            variable.assign(value)
        return x

    def compute_output_spec(self, x, training=None):
        return self.block.compute_output_spec(x)

    def get_config(self):
        return super().get_config() | {"block": keras.saving.serialize_keras_object(self.block)}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("block")), **config)
