"""Bytes ▶ pixels: the one way an image is read, for shards, training, evaluation and prediction alike.

`normalise` runs once per picture, when a shard is written or a new picture is tagged. `fit` makes the network's input
from a normalised picture. Prediction calls both in turn, so a picture gives the network the same pixels whether it comes
from a shard or from a file.
"""

import contextlib
import io
import math
import os
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "PPM", "MPO")
MAX_PIXELS = 89_478_485  # where Pillow starts to warn of decompression bombs: a quarter of a gigabyte as 24-bit RGB
MAX_FILE_BYTES = 256 * 2**20  # no picture of so many pixels is larger; a misnamed video is
MAX_ASPECT = 8  # a longer strip is shrunk until its long side is this many times `size`, to bound memory
JPEG_QUALITY = 95
LARGE_PIXELS = 2**24  # from here a picture takes hundreds of megabytes while it is read: one at a time
BARE_JPEG_INFO = {"jfif", "jfif_version", "jfif_unit", "jfif_density"}  # without EXIF, colour profile or comments
RESIZE_MODES = ("pad", "squish", "crop")
SHARP = 2  # times the size wanted: what a stored JPEG is decoded at; from there on the eye sees no difference
WHITE = (255, 255, 255)
GRAY = (0.299, 0.587, 0.114)  # what red, green and blue weigh (ITU-R BT.601)

_one_large_picture = threading.Lock()


class ImageError(Exception):
    """The bytes are not an image that can be read; the message is the reason, in a few words."""


def read_file(path: str | Path) -> bytes:
    """The bytes of an image file.

    Raises:
        ImageError: it is no file, or larger than any picture that can be decoded.
        OSError: it cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ImageError("not a file")
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise ImageError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB")
        return file.read(MAX_FILE_BYTES)


def decode(data: bytes) -> Image.Image:
    """Decode any supported picture to 8-bit RGB, upright, first frame, transparency composited on white.

    Args:
        data: an encoded image file.

    Returns:
        A Pillow image of mode RGB.

    Raises:
        ImageError: the bytes are empty, damaged, too large or of an unknown format.
    """
    return _to_rgb(_open(data))


def network_input(data: bytes, image_size: int, resize: str) -> np.ndarray:
    """An encoded picture as the network sees it: uint8 (image_size, image_size, 3); see `decode_to_fit` and `fit`."""
    return np.array(fit(decode_to_fit(data, image_size, resize), image_size, resize))


def decode_to_fit(data: bytes, image_size: int, resize: str) -> Image.Image:
    """Decode a picture for `fit`: a JPEG of twice the size needed or more at 1/2, 1/4 or 1/8 of its size, which costs less.

    Training, evaluation and prediction all decode with this, so that they see the same pixels.

    Args:
        data: an encoded image file.
        image_size, resize: as for `fit`.

    Returns:
        A Pillow image of mode RGB, at least as large as `fit` draws it without enlargement, if the picture is.

    Raises:
        ImageError: see `decode`.
    """
    image = _open(data)
    side = max(image.size) if resize == "pad" else min(image.size)
    scale = image_size / side
    if scale < 1:
        image.draft("RGB", tuple(math.ceil(pixels * scale) for pixels in image.size))
    return _to_rgb(image)


def normalise(data: bytes, size: int) -> bytes:
    """Re-encode any supported picture as the JPEG that a record holds; what is one already comes back as it is.

    Args:
        data: an encoded image file.
        size: the short side, in pixels, that larger pictures are brought down to; smaller ones keep their size.

    Returns:
        JPEG bytes without chroma subsampling or metadata.

    Raises:
        ImageError: see `decode`.
    """
    image = _open(data)
    kept = image.format == "JPEG" and image.mode == "RGB" and set(image.info) <= BARE_JPEG_INFO
    # A JPEG can be decoded at 1/2, 1/4 or 1/8 scale for a fraction of the cost.
    image.draft("RGB", (SHARP * size, SHARP * size))
    with _one_large_picture if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext():
        image = _to_rgb(image)
    short, long = sorted(image.size)
    scale = min(1.0, size / short, MAX_ASPECT * size / long)
    if scale == 1 and kept:
        return data
    if scale < 1:
        image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return encoded.getvalue()


def fit(
    image: Image.Image,
    image_size: int,
    resize: str,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Image.Image:
    """Resize a picture to the network's square input.

    Args:
        image: an RGB picture of any shape.
        image_size: the side of the square, in pixels.
        resize: `pad` keeps the whole picture and its proportions on white, `crop` keeps the proportions and fills the
            square from the picture's centre, `squish` keeps the whole picture and fills the square.
        scale: enlargement about the centre (augmentation).
        shift: displacement right and down, as shares of the side (augmentation).

    Returns:
        An RGB picture (image_size, image_size).
    """
    width, height = image.size
    if resize == "squish":
        drawn_width = drawn_height = image_size * scale
    else:
        side = max(width, height) if resize == "pad" else min(width, height)
        drawn_width, drawn_height = (pixels * image_size * scale / side for pixels in (width, height))
    # The whole picture, drawn this large about the canvas's centre, would cover left..right, top..bottom; what falls on
    # the canvas is resampled once, antialiased, straight from the source.
    left = (image_size - drawn_width) / 2 + shift[0] * image_size
    top = (image_size - drawn_height) / 2 + shift[1] * image_size
    x0, x1 = _span(left, drawn_width, image_size)
    y0, y1 = _span(top, drawn_height, image_size)
    box = (
        max(0.0, (x0 - left) * width / drawn_width),
        max(0.0, (y0 - top) * height / drawn_height),
        min(float(width), (x1 - left) * width / drawn_width),
        min(float(height), (y1 - top) * height / drawn_height),
    )
    if box[2] <= box[0] or box[3] <= box[1]:  # thinner than a pixel after rounding
        box = (0.0, 0.0, float(width), float(height))
    part = image.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=box)
    if part.size == (image_size, image_size):
        return part
    canvas = Image.new("RGB", (image_size, image_size), WHITE)
    canvas.paste(part, (x0, y0))
    return canvas


def recolour(image: Image.Image, brightness: float, contrast: float, saturation: float) -> Image.Image:
    """Change all three in one pass, and so with one rounding.

    Args:
        image: an RGB picture.
        brightness: factor of every value.
        contrast: factor of the distance from the picture's mean gray.
        saturation: factor of the distance from each pixel's own gray.
    """
    mean = image.reduce(image.size).getpixel((0, 0))
    mean_gray = sum(weight * value for weight, value in zip(GRAY, mean, strict=True))
    offset = brightness * (1 - contrast) * mean_gray
    matrix = []
    for channel in range(3):
        mixed = [saturation * (other == channel) + (1 - saturation) * weight for other, weight in enumerate(GRAY)]
        matrix += [*(brightness * contrast * share for share in mixed), offset]
    return image.convert("RGB", matrix)


def _span(start: float, length: float, canvas: int) -> tuple[int, int]:
    """The whole pixels of the canvas that an interval covers: at least one."""
    first = min(max(0, round(start)), canvas - 1)
    return first, max(first + 1, min(canvas, round(start + length)))


def _open(data: bytes) -> Image.Image:
    if not data:
        raise ImageError("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=[f for f in FORMATS if f in _known_formats()])
    except Image.DecompressionBombError:
        raise ImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:
        start = data[:256].lstrip().lower()
        if start.startswith((b"<!doctype html", b"<html", b"<?xml", b"<svg")):
            raise ImageError("a web page or SVG, not a picture") from None
        raise ImageError(f"no image format that this Pillow reads (starts with {data[:8]!r})") from error
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{image.width:,}x{image.height:,} is more than {MAX_PIXELS:,} pixels")
    return image


def _known_formats() -> dict:
    Image.init()
    return Image.OPEN


def _to_rgb(image: Image.Image) -> Image.Image:
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):  # 16-bit grayscale; Pillow's own conversion to 8 bits clips instead of scaling
            image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
        elif image.mode == "F":
            raise ImageError("floating-point pixels, whose range is unknown")
        if image.has_transparency_data:
            canvas = Image.new("RGBA", image.size, WHITE)
            return Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
        return image.convert("RGB")
    except ImageError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can raise almost anything inside a decoder
        raise ImageError(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from error
