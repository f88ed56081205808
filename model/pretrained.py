"""Trunks with ImageNet weights: EfficientNet-Lite0 from a Python package, the others from Keras' applications.

Like the trunk of `model.resnet`, they take values from -1 to 1. MobileNetV2: Sandler et al., arXiv 1801.04381;
EfficientNetV2: Tan & Le, arXiv 2104.00298. Keras downloads the weights of these two once.
"""

import keras

from common.errors import InputError
from model import efficientnet_lite

IMAGENET = "imagenet"  # value of --init
KERAS_APPLICATIONS = {
    "mobilenet": (keras.applications.MobileNetV2, {}),
    "efficientnet": (keras.applications.EfficientNetV2S, {"include_preprocessing": False}),
}
PRETRAINED = ("lite0", *KERAS_APPLICATIONS)  # the presets that have ImageNet weights


def trunk(inputs, preset: str):
    """Return the feature map of a batch of pictures, with random weights.

    Args:
        inputs: tensor (batch, height, width, 3), values in -1 to 1.
        preset: one of `PRETRAINED`.

    Returns:
        Tensor (batch, height / 32, width / 32, 1280).
    """
    if preset not in KERAS_APPLICATIONS:
        return efficientnet_lite.feature_map(inputs)
    build, options = KERAS_APPLICATIONS[preset]
    return build(include_top=False, weights=None, input_tensor=inputs, **options).output


def load_imagenet(preset: str, image_size: int) -> keras.Model:
    """Return the same trunk as a model with ImageNet weights.

    Args:
        preset: one of `PRETRAINED`.
        image_size: side of the input, in pixels.

    Raises:
        InputError: the weights are not installed, or cannot be downloaded or read.
    """
    if preset not in KERAS_APPLICATIONS:
        return efficientnet_lite.load_imagenet(image_size)
    build, options = KERAS_APPLICATIONS[preset]
    try:
        return build(include_top=False, weights="imagenet", input_shape=(image_size, image_size, 3), **options)
    except Exception as error:  # Keras' get_file raises a bare Exception, besides those of sockets, HTTP and files
        raise InputError(f"--init {IMAGENET}: cannot get the weights of {build.__name__} ({error})") from error
