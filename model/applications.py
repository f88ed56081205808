"""Trunks out of Keras' applications, whose weights were learned on ImageNet: fetched once by those who are online.

Those are here that take values from -1 to 1, as the own trunk does. MobileNetV2: Sandler et al., arXiv 1801.04381;
EfficientNetV2: Tan & Le, arXiv 2104.00298.
"""

import keras

from command import InputError

IMAGENET = "imagenet"  # as --init
BUILD = {
    "mobilenet": (keras.applications.MobileNetV2, {}),
    "efficientnet": (keras.applications.EfficientNetV2S, {"include_preprocessing": False}),
}


def trunk(inputs, preset: str):
    """The feature map of a picture, without trained weights.

    Args:
        inputs: tensor (batch, height, width, 3), values in -1 to 1.
        preset: a key of `BUILD`.

    Returns:
        Tensor (batch, height / 32, width / 32, 1280).
    """
    build, options = BUILD[preset]
    return build(include_top=False, weights=None, input_tensor=inputs, **options).output


def trained(preset: str, image_size: int) -> keras.Model:
    """The same as a model of its own, with the weights learned on ImageNet, out of Keras' cache or from its server.

    Raises:
        InputError: they cannot be had.
    """
    build, options = BUILD[preset]
    try:
        return build(include_top=False, weights="imagenet", input_shape=(image_size, image_size, 3), **options)
    except Exception as error:  # of sockets, of HTTP, of the file; get_file itself raises a bare Exception
        raise InputError(f"--init {IMAGENET}: cannot get the weights of {build.__name__} ({error})") from error
