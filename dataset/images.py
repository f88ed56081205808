"""Decoding and resizing of images, for shards, training, evaluation and prediction.

`normalise` runs once for each picture, when a shard is written or a new picture is tagged. `fit` makes the network's input
from a normalised picture. Prediction calls one after the other, so that the network gets the same pixels from a shard and
from a file.
"""

import contextlib
import io
import math
import os
import threading
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from dataset import (
    bit_depth,
    colour_profiles,
    decoder_messages,
    file_kinds,
    picture_files,
    picture_metadata,
    plain_jpeg,
    truncation,
)

# Raise it with every released change after which a picture may be decoded to other pixels, and add what changed: records
# keep the pixels of the version that made them, and commands name the difference.
DECODE_VERSION = 2
# Version ▶ what it decodes differently from the one before. Version 1 made the data folders whose manifest has no version.
DECODE_CHANGES = {2: "colour profiles, grays of more than 8 bits, transparency of PNG and BMP, pictures that are cut short"}

MAX_PIXELS = 89_478_485  # from here Pillow warns of decompression bombs: a quarter of a gigabyte as 24-bit RGB
MAX_FILE_BYTES = 256 * 2**20  # a picture of MAX_PIXELS is smaller; a misnamed video is not
MAX_ASPECT = 8  # a longer picture is shrunk until its long side is this many times `size`, to limit memory
JPEG_QUALITY = 95
LARGE_PIXELS = 2**24  # decoding takes hundreds of megabytes from here on: one such picture at a time
BARE_JPEG_INFO = {"jfif", "jfif_version", "jfif_unit", "jfif_density"}  # of a JPEG without EXIF, colour profile or comments
RESIZE_MODES = ("pad", "squish", "crop")
DRAFT_SCALE = 2  # a JPEG is decoded at this many times the stored size or more: the loss of sharpness is not visible
WHITE = (255, 255, 255)
CUT_SHORT = "cut short: the file ends before its picture does"

_one_large_picture = threading.Lock()


def version_difference(version: int, made: str) -> str:
    """Return a message about pictures that another version of `decode` made, in one line; empty if it is this one.

    Args:
        version: the version that made them.
        made: what they are, for the message.
    """
    if version == DECODE_VERSION:
        return ""
    changes = "; ".join(DECODE_CHANGES[newer] for newer in range(version + 1, DECODE_VERSION + 1)) or "unknown to this one"
    return (
        f"{made} has pictures as version {version} decoded them, and this is version {DECODE_VERSION}, in which some look "
        f"different ({changes}): to renew them, run download.py with another --out"
    )


class ImageError(Exception):
    """An image that cannot be decoded; the message is a short reason."""


def read_file(path: str | Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        ImageError: the path is not a file, or the file is larger than any picture that can be decoded.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ImageError("not a file")
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise ImageError(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB")
        return file.read(MAX_FILE_BYTES)


def decode(data: bytes, rows: int | None = None) -> Image.Image:
    """Decode the first frame of a picture to 8-bit RGB, upright, with transparency composited on white.

    Args:
        data: an encoded image file.
        rows: number of rows to keep, from the top before the picture is turned upright; the others become white. None: all.

    Returns:
        A Pillow image of mode RGB.

    Raises:
        ImageError: the bytes are empty, damaged, too large or of an unknown format.
    """
    return _to_rgb(open_picture(data), data, rows)


def network_input(data: bytes, image_size: int, resize: str) -> np.ndarray:
    """Decode and resize a picture for the network: uint8 (image_size, image_size, 3); see `decode_to_fit` and `fit`."""
    pixels = _decode_plain_jpeg(data, image_size, resize)
    if pixels is not None and pixels.shape[:2] == (image_size, image_size):
        return pixels  # `fit` would copy it, and Pillow before and after that
    image = _decode_other(data, image_size, resize) if pixels is None else Image.fromarray(pixels)
    return np.array(fit(image, image_size, resize))


def decode_to_fit(data: bytes, image_size: int, resize: str) -> Image.Image:
    """Decode a picture for `fit`; a JPEG of twice the needed size or more at 1/2, 1/4 or 1/8 scale, which is faster.

    It raises what `decode` raises.

    Args:
        data: an encoded image file.
        image_size, resize: see `fit`.

    Returns:
        A Pillow image of mode RGB. It is at least as large as `fit` needs, or has the original size.
    """
    pixels = _decode_plain_jpeg(data, image_size, resize)
    return _decode_other(data, image_size, resize) if pixels is None else Image.fromarray(pixels)


def _decode_plain_jpeg(data: bytes, image_size: int, resize: str) -> np.ndarray | None:  # a faster way to the same pixels
    return plain_jpeg.decode(data, partial(_least_size, image_size, resize), MAX_PIXELS)


def _decode_other(data: bytes, image_size: int, resize: str) -> Image.Image:
    image = open_picture(data)
    image.draft("RGB", _least_size(image_size, resize, *image.size))
    return _to_rgb(image, data)


def _least_size(image_size: int, resize: str, width: int, height: int) -> tuple[int, int]:
    """Return the least width and height that `fit` needs of a picture of this width and height."""
    side = max(width, height) if resize == "pad" else min(width, height)
    scale = min(1.0, image_size / side)
    return math.ceil(width * scale), math.ceil(height * scale)


def normalise(data: bytes, size: int) -> bytes:
    """Re-encode a picture as the JPEG that a record holds. A small enough RGB JPEG without metadata is returned unchanged.

    Args:
        data: an encoded image file.
        size: longest short side, in pixels; larger pictures are shrunk, smaller ones keep their size.

    Returns:
        JPEG bytes without chroma subsampling or metadata.

    Raises:
        ImageError: see `decode`.
    """
    pixels = plain_jpeg.decode(data, lambda width, height: (DRAFT_SCALE * size, DRAFT_SCALE * size), LARGE_PIXELS)
    if pixels is not None:
        image, is_plain_jpeg = Image.fromarray(pixels), True
    else:
        image = open_to_normalise(data, size)
        is_plain_jpeg = image.format == "JPEG" and image.mode == "RGB" and set(image.info) <= BARE_JPEG_INFO
        with _one_large_picture if is_large(image) else contextlib.nullcontext():
            image = _to_rgb(image, data)
    short, long = sorted(image.size)
    scale = min(1.0, size / short, MAX_ASPECT * size / long)
    if scale == 1 and is_plain_jpeg:
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
        image: an RGB picture of any size.
        image_size: side of the square, in pixels.
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
    # The whole picture, drawn at this size, begins at (left, top) of the canvas. The part that lies on the canvas is
    # resampled once, antialiased, directly from the source.
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


def _span(start: float, length: float, canvas: int) -> tuple[int, int]:
    """Return the first and end pixel of the canvas that an interval covers: at least one pixel."""
    first = min(max(0, round(start)), canvas - 1)
    return first, max(first + 1, min(canvas, round(start + length)))


def open_picture(data: bytes) -> Image.Image:
    """Read the header of an image without decoding its pixels.

    Raises:
        ImageError: see `decode`.
    """
    if not data:
        raise ImageError("empty file")
    decoder_messages.silence()
    try:
        image = Image.open(io.BytesIO(picture_metadata.without_texts(data)), formats=picture_files.known_formats())
    except Image.DecompressionBombError:
        raise ImageError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:
        raise ImageError(CUT_SHORT if truncation.is_cut(data) else file_kinds.describe(data)) from error
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{image.width:,}x{image.height:,} is more than {MAX_PIXELS:,} pixels")
    return image


def open_to_normalise(data: bytes, size: int) -> Image.Image:
    """Read the header of an image, as `open_picture` does, and have a JPEG decoded at the scale that `normalise` needs."""
    image = open_picture(data)
    image.draft("RGB", (DRAFT_SCALE * size, DRAFT_SCALE * size))
    return image


def is_large(image: Image.Image) -> bool:
    """Return whether decoding a picture takes so much memory that `normalise` decodes one such picture at a time."""
    return image.width * image.height > LARGE_PIXELS


def damage(data: bytes, error: Exception) -> ImageError:
    """Return the error for a picture whose header is read but whose pixels are not.

    Args:
        data: the encoded image file.
        error: what its decoder raised.
    """
    reason = " ".join(str(error).split()) or type(error).__name__
    if truncation.is_cut(data):
        return ImageError(CUT_SHORT)
    if "truncated" not in reason:
        return ImageError(f"damaged: {reason}")
    # Pillow says so as well of files that have their end.
    says_its_end = file_kinds.format_of(data) not in ("BMP", "TIFF", "PPM")
    return ImageError("damaged: a part of its data cannot be decoded" if says_its_end else CUT_SHORT)


def _to_rgb(image: Image.Image, data: bytes, rows: int | None = None) -> Image.Image:
    """Decode the pixels; see `decode`."""
    try:
        image.load()
        is_bmp = image.format == "BMP"
        turn = picture_metadata.turn(image)
        bit_depth.scale_transparent_colour(image, data)
        image = colour_profiles.to_srgb(bit_depth.to_eight_bits(image))
        if image.has_transparency_data:
            image = image.convert("RGBA")
            if not (is_bmp and image.getchannel("A").getextrema() == (0, 0)):  # a BMP whose mask is empty has none
                image = Image.alpha_composite(Image.new("RGBA", image.size, WHITE), image)
        image = image.convert("RGB")
        if rows is not None:
            image.paste(WHITE, (0, rows, image.width, image.height))
        return image.transpose(turn) if turn is not None else image
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can raise almost anything inside a decoder
        raise damage(data, error) from error
