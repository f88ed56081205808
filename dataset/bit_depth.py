"""Gray values of more than eight bits, and of floating-point numbers, become eight bits as a viewer shows them."""

from typing import Any

import numpy as np
from PIL import Image

BITS, SAMPLE_FORMAT, PHOTOMETRIC = 258, 339, 262  # TIFF 6.0, fields of a file
PNG_BITS = 24  # position of a PNG's bits for each value
SIGNED, WHITE_IS_ZERO = 2, 0  # their values


def scale_transparent_colour(image: Image.Image, data: bytes) -> None:
    """Bring the transparent colour of a PNG to eight bits, where Pillow has brought its pixels to eight bits.

    Args:
        image: the decoded picture; changed.
        data: the file.
    """
    if image.format != "PNG":
        return
    bits, colour = data[PNG_BITS], image.info.get("transparency")
    if bits < 8 and isinstance(colour, int) and image.mode in ("1", "L"):
        image.info["transparency"] = colour * 255 // (2**bits - 1)
    elif bits == 16 and isinstance(colour, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in colour)


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Return a picture of gray values with more than eight bits as one with eight; others unchanged.

    Pillow's own conversion clips instead of scaling. The range of the file's bit depth becomes 0 to 255, except:

    - signed values without a negative one use half of that range;
    - 32 bits say little, because programs also write 8 or 16 bits so: the range is the fewest bits that hold all values;
    - floating-point numbers range from 0 to 1, or as far beyond as any of them lies.

    Args:
        image: decoded, of any mode.
    """
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if image.mode == "F":
        shades = _from_floats(values)
    else:  # other formats than TIFF fill 16 bits
        bits, is_signed = tags.get(BITS, (16,))[0], tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED
        shades = _from_integers(values, bits, is_signed)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        shades = 255 - shades
    gray = Image.fromarray(shades)
    gray.info = {name: value for name, value in image.info.items() if name != "transparency"}
    if isinstance(transparent := image.info.get("transparency"), int):
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return gray


def _from_integers(values: np.ndarray, bits: int, is_signed: bool) -> np.ndarray:
    """Return the upper eight bits of integers of any width, uint8."""
    if bits == 32 and not is_signed:
        values = values.view(np.uint32)  # Pillow reads them as signed
    lowest, highest = int(values.min()), int(values.max())
    if bits == 32:
        bits = max(8, highest.bit_length(), 0 if lowest >= 0 else 1 + max(highest.bit_length(), (~lowest).bit_length()))
    elif is_signed and lowest >= 0:
        bits -= 1
    if lowest < 0:
        values = values.view(np.uint32) + np.uint32(2 ** (bits - 1))  # wraps around: the lowest value becomes 0
    return (values >> (bits - 8)).astype(np.uint8)


def _from_floats(values: np.ndarray) -> np.ndarray:
    """Return floating-point numbers as uint8; what is not a number becomes the lowest value."""
    finite: Any = values[np.isfinite(values)]
    lowest, highest = float(finite.min(initial=0)), float(finite.max(initial=1))
    scale = 255 / (highest - lowest)
    values = np.nan_to_num(values, nan=lowest, posinf=highest, neginf=lowest)
    return (values * np.float32(scale) - np.float32(lowest * scale)).round().astype(np.uint8)
