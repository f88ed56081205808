"""Trunks from Keras' applications. Their ImageNet weights are downloaded once.

Like the trunk of `model.resnet`, they take values from -1 to 1. MobileNetV2: Sandler et al., arXiv 1801.04381;
EfficientNetV2: Tan & Le, arXiv 2104.00298.
"""

import keras

from common.errors import InputError

IMAGENET = "imagenet"  # value of --init
BUILD = {
    "mobilenet": (keras.applications.MobileNetV2, {}),
    "efficientnet": (keras.applications.EfficientNetV2S, {"include_preprocessing": False}),
}


def trunk(inputs, preset: str):
    """Return the feature map of a batch of pictures, with random weights.

    Args:
        inputs: tensor (batch, height, width, 3), values in -1 to 1.
        preset: a key of `BUILD`.

    Returns:
        Tensor (batch, height / 32, width / 32, 1280).
    """
    build, options = BUILD[preset]
    return build(include_top=False, weights=None, input_tensor=inputs, **options).output


def load_imagenet(preset: str, image_size: int) -> keras.Model:
    """Return the same trunk as a model with ImageNet weights, from Keras' cache or else from its server.

    Args:
        preset: a key of `BUILD`.
        image_size: side of the input, in pixels.

    Raises:
        InputError: the weights cannot be downloaded or read.
    """
    build, options = BUILD[preset]
    try:
        return build(include_top=False, weights="imagenet", input_shape=(image_size, image_size, 3), **options)
    except Exception as error:  # Keras' get_file raises a bare Exception, besides those of sockets, HTTP and files
        raise InputError(f"--init {IMAGENET}: cannot get the weights of {build.__name__} ({error})") from error
