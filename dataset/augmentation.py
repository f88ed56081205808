"""Augmentation of training pictures: random mirroring, translation, scale, colour and rotation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from dataset import images

GRAY = (0.299, 0.587, 0.114)  # weights of red, green and blue (ITU-R BT.601)
DRAWS = 9  # random numbers for each picture; all are always drawn, so that no option changes the numbers of another


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training picture, each up to the extent of its attribute.

    Attributes:
        flip, vertical_flip: mirror half of the pictures left to right, or top to bottom.
        shift: largest translation, as a share of the side.
        zoom: largest change of scale, as a share.
        colour: largest change of brightness, contrast and saturation, as a share.
        rotation: largest rotation, in degrees.
        mixup: alpha of MixUp (Zhang et al., arXiv 1710.09412): each picture of a batch, or its features, is averaged with
            another one's, and so are their labels. The shares are drawn from the Beta distribution (alpha, alpha).
    """

    flip: bool = True
    vertical_flip: bool = False
    shift: float = 0.0
    zoom: float = 0.0
    colour: float = 0.0
    rotation: float = 0.0
    mixup: float = 0.0

    @property
    def only_mirrors(self) -> bool:
        """Whether mirroring is the only change of a single picture, so that its pixels keep their values."""
        return not (self.shift or self.zoom or self.colour or self.rotation)

    def apply(self, image: Image.Image, image_size: int, resize: str, draws: np.ndarray) -> np.ndarray:
        """Return a randomly changed version of a picture, without mirroring.

        Args:
            image: a picture from `images.decode_to_fit`.
            image_size, resize: see `images.fit`.
            draws: random numbers (DRAWS,) from -1 to 1.

        Returns:
            uint8 (image_size, image_size, 3).
        """
        if self.rotation:
            angle = self.rotation * draws[2]
            image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True, fillcolor=images.WHITE)
        scale = (1 + self.zoom) ** draws[3]
        image = images.fit(image, image_size, resize, scale, (self.shift * draws[4], self.shift * draws[5]))
        if self.colour:
            image = recolour(image, *(1 + self.colour * draws[6:]))
        return np.asarray(image)

    def mirrored(self, draws: np.ndarray) -> np.ndarray:
        """Return which pictures `mirror` mirrors left to right, bool (batch,)."""
        return (draws[:, 0] > 0) & self.flip

    def mirror(self, pixels: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Mirror pictures (batch, height, width, 3) in place, where their random numbers (batch, DRAWS) are positive."""
        for chosen, axis in ((self.mirrored(draws), 2), ((draws[:, 1] > 0) & self.vertical_flip, 1)):
            pixels[chosen] = np.flip(pixels[chosen], axis)
        return pixels


def recolour(image: Image.Image, brightness: float, contrast: float, saturation: float) -> Image.Image:
    """Change brightness, contrast and saturation in one matrix product, so that values are rounded once.

    Args:
        image: an RGB picture.
        brightness: factor of every value.
        contrast: factor of the distance from the picture's mean gray.
        saturation: factor of the distance from each pixel's own gray.
    """
    mean: Any = image.reduce(image.size).getpixel((0, 0))  # (3,): the picture is RGB
    mean_gray = sum(weight * value for weight, value in zip(GRAY, mean, strict=True))
    offset = brightness * (1 - contrast) * mean_gray
    matrix = []
    for channel in range(3):
        mixture = [saturation * (other == channel) + (1 - saturation) * weight for other, weight in enumerate(GRAY)]
        matrix += [*(brightness * contrast * weight for weight in mixture), offset]
    return image.convert("RGB", matrix)
