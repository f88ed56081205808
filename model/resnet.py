"""The trunk: a bottleneck ResNet (He et al., arXiv 1512.03385) with SiLU (Hendrycks & Gimpel, arXiv 1606.08415).

Two changes since found to help everywhere: the stride is taken by the 3x3 convolution, with an average pool in the
shortcut (ResNet-D, He et al., arXiv 1812.01187), and the last normalisation of each block starts at zero, so that every
block starts as the identity (Goyal et al., arXiv 1706.02677).
"""

from keras import layers

BATCH_NORM_MOMENTUM = 0.9  # Keras' 0.99 remembers more steps than a short run has, and then evaluates with stale statistics


def trunk(inputs, widths: tuple[int, ...], depths: tuple[int, ...], stem_stride: int, activation: str):
    """The feature map of a picture.

    Args:
        inputs: tensor (batch, height, width, 3), values in -1 to 1.
        widths: channels that each stage gives; the 3x3 convolutions inside have a quarter of them.
        depths: blocks of each stage; every stage after the first halves height and width.
        stem_stride: how much the stem shrinks the picture: 2 (one convolution), or 4 (and a pool).
        activation: `silu` or `relu`.

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
            x = _bottleneck(x, width, stride, activation, f"stage{stage + 1}_block{block + 1}")
    return x


def _bottleneck(x, width: int, stride: int, activation: str, name: str):
    """(batch, h, w, channels) ▶ (batch, h / stride, w / stride, width)."""
    shortcut = x
    if stride > 1:
        shortcut = layers.AveragePooling2D(stride, padding="same", name=f"{name}_shortcut_pool")(shortcut)
    if shortcut.shape[-1] != width:
        shortcut = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_shortcut_conv")(shortcut)
        shortcut = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_shortcut_norm")(shortcut)
    x = layers.Conv2D(width // 4, 1, use_bias=False, name=f"{name}_reduce_conv")(x)
    x = _normalise(x, activation, f"{name}_reduce")
    x = layers.Conv2D(width // 4, 3, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = _normalise(x, activation, name)
    x = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_expand_conv")(x)
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, gamma_initializer="zeros", name=f"{name}_expand_norm")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation(activation, name=f"{name}_out")(x)


def _normalise(x, activation: str, name: str):
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_norm")(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x)
