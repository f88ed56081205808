"""Fast decoding of baseline JPEGs without metadata, such as records hold: Pillow's pixels, with less work in Python.

Pillow and simplejpeg both decode with libjpeg-turbo. For a small picture, most of Pillow's time is Python code under the
global lock, which keeps the threads of the input pipeline waiting for each other.
"""

import math
from collections.abc import Callable

import numpy as np
import simplejpeg

from dataset import truncation

START = b"\xff\xd8\xff"
BASELINE = 0xC0  # a frame that is not progressive
JFIF = 0xE0
NO_METADATA = {0xC4, 0xDB, 0xDD, JFIF}  # the others are tables, and the interval of restarts
SCALES = (8, 4, 2)  # fractions of the size at which libjpeg-turbo decodes, and which Pillow's `draft` chooses from


def size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a baseline JPEG of three components without metadata; None for any other file.

    Args:
        data: an encoded image file.
    """
    found = None
    for marker, content in truncation.jpeg_segments(data) if data.startswith(START) else ():
        if marker == truncation.START_OF_SCAN:
            return found
        if marker == BASELINE and len(content) > 5 and (content[0], content[5]) == (8, 3):
            found = int.from_bytes(content[3:5], "big"), int.from_bytes(content[1:3], "big")
        elif marker not in NO_METADATA or (marker == JFIF and content.startswith(b"JFIF") and content[7:8] != b"\0"):
            return None  # a resolution counts as metadata: `normalise` has always written such a picture anew
    return None


def decode(data: bytes, least: Callable[[int, int], tuple[int, int]], most_pixels: int) -> np.ndarray | None:
    """Decode such a JPEG, if it is whole.

    Args:
        data: an encoded image file.
        least: the width and the height that are needed, from those of the picture. A picture of twice this size or more is
            decoded at 1/2, 1/4 or 1/8 scale, as by Pillow's `draft`.
        most_pixels: a larger picture is not decoded.

    Returns:
        uint8 (height, width, 3); None for any other file and for a damaged one.
    """
    width, height = size(data) or (0, 0)
    if not 0 < width * height <= most_pixels:
        return None
    needed = least(width, height)
    ratio = min(width // needed[0], height // needed[1])
    scale = next((scale for scale in SCALES if ratio >= scale), 1)
    try:
        return simplejpeg.decode_jpeg(data, min_width=math.ceil(width / scale), min_height=math.ceil(height / scale))
    except ValueError:
        return None
