"""Colour profiles (ICC.1:2022): pixel values of any colour space become sRGB, as viewers show them. littleCMS computes."""

import functools
import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}  # Pillow's mode ▶ the colour space of its profiles
STEPS = 5  # values of each channel in a sample of the colour space
UNCHANGED = 1  # largest difference of a value, of 255, with which a transformation is left out
KEPT_TRANSFORMS = 64


def to_srgb(image: Image.Image) -> Image.Image:
    """Return a picture with the colours that its profile means, and its transparency.

    A picture is returned as it is if it has no profile or one of sRGB, and if the profile is damaged or of another colour
    space than its pixels: viewers ignore such a profile.

    Args:
        image: decoded, of any mode.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return image
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    if image.mode in ("P", "PA", "RGBA", "RGBX", "LA"):
        image = image.convert("L" if image.mode == "LA" else "RGB")
    transform = _transform(profile, image.mode) if image.mode in SPACES else None
    if transform:
        image = transform.apply(image)
    if alpha:
        image = image.convert("RGBA")
        image.putalpha(alpha)
    return image


@functools.lru_cache(KEPT_TRANSFORMS)
def _transform(profile: bytes, mode: str) -> Any:
    """Return the transformation of a profile to sRGB; None if it changes nothing, or there is none."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != SPACES[mode]:
            return None
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", renderingIntent=intent)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if mode == "CMYK":
        return transform
    sample = _sample(mode)
    before, after = (np.asarray(picture, np.int16) for picture in (sample.convert("RGB"), transform.apply(sample)))
    return transform if np.abs(after - before).max() > UNCHANGED else None


def _sample(mode: str) -> Image.Image:
    """Return a picture of evenly spaced colours."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    values = np.linspace(0, 255, STEPS).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(values, values, values), axis=-1).reshape(1, -1, 3))
