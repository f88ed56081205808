"""What is there of a picture that is cut short, such as a download that was interrupted, for pictures of users.

The file is completed so that a decoder accepts it, and the rows that are missing become white. Boards' pictures and records
are never completed: see `images.decode`.
"""

import contextlib
import io
import itertools
import math
import struct
import zlib
from collections.abc import Iterable

import numpy as np
from PIL import Image

from common.progress import say_above
from dataset import file_kinds, images, truncation
from dataset.images import ImageError
from dataset.picture_metadata import PNG_START

MIN_PERCENT = 50  # of a picture: less of it is refused
SCANS_OF_PROGRESSIVE, FRAME_OF_PROGRESSIVE = 0xDA, 0xC2  # JPEG's markers
MAX_MISSING_BITS = 1  # of the coefficients of a progressive JPEG's brightness: more is less than half of its bytes
MISSING_GRAY = (127, 128)  # what JPEG's decoder makes of missing blocks; the former in inverted CMYK
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # PNG's colour type ▶ values of a pixel
FRAME_CHUNKS = (b"acTL", b"fcTL", b"fdAT")  # of an animated PNG
PADDINGS = (b"\0", b"\xff", b"\x55", b"\xa7\x13\x5b")  # what may follow a WebP's bytes; each decodes to other pixels
ALMOST_ALL = "almost all of it is there"
MORE_PADDING = 1024  # bytes that a decoder may read ahead
INFLATE_BYTES = 4096


def read_whole(data: bytes, name: str, strict: bool) -> bytes:
    """Return a picture of a user as it is, or if it is cut short what is there of it, with a warning.

    Args:
        data: an encoded image file.
        name: its name, for the warning.
        strict: refuse pictures that are cut short.

    Returns:
        An encoded image file.

    Raises:
        ImageError: the picture is cut short, and less than half of it is there, or `strict` is set.
    """
    data, missing = recover(data)
    if missing and strict:
        raise ImageError(f"cut short: {missing}, refused by --strict")
    if missing:
        say_above(f"{name}: cut short, {missing}")
    return data


def recover(data: bytes) -> tuple[bytes, str]:
    """Return an encoded picture without damage at its end, and what is there in words: empty if the file is not cut short.

    Raises:
        ImageError: less than half of the picture is there, or what is there cannot be decoded.
    """
    if not truncation.is_cut(data):
        return data, ""
    try:
        match file_kinds.format_of(data):
            case "JPEG":
                return _recover_jpeg(data.rstrip(b"\0"))  # zeros are what a file system keeps for bytes that never came
            case "PNG":
                return _recover_png(data.rstrip(b"\0"))
            case "GIF":
                return _recover_gif(data)
            case "WEBP":
                return _recover_webp(data)
        return data, ""  # of the others no decoder shows a part: decoding gives the reason
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise many kinds of errors
        raise ImageError("cut short: nothing of it can be shown") from error


def _recover_jpeg(data: bytes) -> tuple[bytes, str]:
    """Complete a JPEG by its end marker: its decoder makes missing blocks gray."""
    data += b"\xff\xd9"
    if not _has_detail(data):
        raise ImageError("cut short: less than half of its details are there")
    pixels = _pixels(data)
    [has_content] = np.nonzero(~np.isin(pixels, MISSING_GRAY).all(axis=(1, 2)))
    return _with_rows(data, 1 + int(has_content.max(initial=-1)), len(pixels))


def _has_detail(data: bytes) -> bool:
    """Return whether the brightness of a progressive JPEG is there but for its last bits; True for any other JPEG."""
    brightness, scans = -1, []
    for marker, content in truncation.jpeg_segments(data):
        if marker == FRAME_OF_PROGRESSIVE:
            brightness = content[6]
        elif marker == SCANS_OF_PROGRESSIVE:
            scans.append(content)
    missing_bits = np.full(64, 16)  # of each coefficient
    for scan in scans[:-1]:  # the last one is cut
        parameters = 1 + 2 * scan[0]
        if brightness in scan[1:parameters:2]:
            first, last, approximation = scan[parameters : parameters + 3]
            missing_bits[first : last + 1] = approximation & 15
    return brightness < 0 or missing_bits.max() <= MAX_MISSING_BITS


def _recover_png(data: bytes) -> tuple[bytes, str]:
    """Complete a PNG: an animation by the end of its last complete frame, another picture by rows of zeros."""
    chunks = list(truncation.png_chunks(data))
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    if width * height > images.MAX_PIXELS:
        return data, ""  # decoding gives the reason
    names = [name for name, _, _ in chunks]
    if names[-1] in FRAME_CHUNKS and b"IDAT" in names:
        last_frame = len(names) - 1 - names[::-1].index(b"fcTL")  # the one that is cut
        number, total = names[:last_frame].count(b"fcTL"), struct.unpack(">II", chunks[names.index(b"acTL")][1])[0]
        _check_share(number, total, "frames")
        counted = {b"acTL": struct.pack(">II", number, 0)}
        kept = [(name, counted.get(name, content)) for name, content, _ in chunks[:last_frame]]
        return _png(kept), f"{number} of its {total} frames are there"
    row_bytes = 1 + math.ceil(width * bits * SAMPLES[colour] / 8)
    rows, ended = _inflate((content for name, content, _ in chunks if name == b"IDAT"), 2 * row_bytes * height)
    if interlaced and not ended:
        raise ImageError("cut short: an interlaced PNG cannot be read in part")
    number = height if interlaced else min(height, len(rows) // row_bytes)
    if not interlaced:
        rows = rows[: number * row_bytes] + bytes((height - number) * row_bytes)
    kept = [(name, content) for name, content, whole in chunks if whole and name not in (*FRAME_CHUNKS, b"IDAT")]
    return _with_rows(_png([*kept, (b"IDAT", zlib.compress(rows, 1))]), number, height)


def _inflate(parts: Iterable[bytes], limit: int) -> tuple[bytes, bool]:
    """Return what a series of compressed bytes holds up to its damage, and whether it was complete."""
    decompressor, content = zlib.decompressobj(), bytearray()
    compressed = b"".join(parts)
    for start in range(0, len(compressed), INFLATE_BYTES):
        try:
            content += decompressor.decompress(compressed[start : start + INFLATE_BYTES], max(1, limit - len(content)))
        except zlib.error:
            break
        if len(content) >= limit:
            break
    return bytes(content), decompressor.eof


def _png(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG of these chunks, names and contents, and its end."""
    parts = [PNG_START]
    for name, content in (*chunks, (b"IEND", b"")):
        parts += [struct.pack(">I", len(content)), name, content, struct.pack(">I", zlib.crc32(name + content))]
    return b"".join(parts)


def _recover_gif(data: bytes) -> tuple[bytes, str]:
    """Complete a GIF by its end after the last complete frame. How many it had is not in the file."""
    frames, end, _ = truncation.gif_frames(data)
    ended = data + b"\0;"
    if not truncation.is_cut(ended):
        with contextlib.suppress(Exception):  # raised if pixels of the last frame are missing
            image = Image.open(io.BytesIO(ended), formats=["GIF"])
            image.seek(truncation.gif_frames(ended)[0] - 1)
            image.load()
            return ended, ALMOST_ALL
    if not frames:
        raise ImageError("cut short: not one frame is complete")
    return data[:end] + b";", f"its first {frames} frames are there" if frames > 1 else "its first frame is there"


def _recover_webp(data: bytes) -> tuple[bytes, str]:
    """Complete a WebP: an animation by its complete frames, another picture by bytes that its decoder can read."""
    chunks = list(truncation.webp_chunks(data))
    length = truncation.webp_length(data)
    whole = [(start, end) for start, end in chunks if end <= len(data)]
    if number := sum(data[start : start + 4] == b"ANMF" for start, _ in whole):
        _check_share(len(data), length, "bytes")
        return _webp(data[: whole[-1][1]]), f"its first {number} frames are there"
    if any(data[start : start + 4] in (b"VP8 ", b"VP8L") for start, _ in whole):
        return _webp(data[: whole[-1][1]]), ALMOST_ALL
    start, end = chunks[-1]
    decoded = []
    for padding in PADDINGS:
        size = struct.pack("<I", end - start - 8 + MORE_PADDING)
        filled = data[: start + 4] + size + data[start + 8 :] + padding * (end - len(data) + MORE_PADDING)
        filled = _webp(filled[: end + MORE_PADDING])
        try:
            decoded.append((filled, _pixels(filled)))
        except Exception:  # these bytes mean nothing to the decoder
            continue
    (filled, first), (_, second), *others = decoded
    same = np.logical_and.reduce([(pixels == first).all(axis=(1, 2)) for pixels in (second, *(each for _, each in others))])
    # Rows that do not depend on what follows are those that are there.
    return _with_rows(filled, sum(itertools.takewhile(bool, same.tolist())), len(first))


def _webp(data: bytes) -> bytes:
    """Return a WebP whose header gives its length."""
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


def _with_rows(data: bytes, rows: int, height: int) -> tuple[bytes, str]:
    """Return a picture as a PNG whose rows after the first ones are white, and what is there in words."""
    percent = _check_share(rows, height, "rows")
    file = io.BytesIO()
    images.decode(data, rows).save(file, "PNG", compress_level=1)
    return file.getvalue(), ALMOST_ALL if rows == height else f"{percent} % of its rows are there"


def _check_share(number: int, total: int, unit: str) -> int:
    """Return which part of a picture is there, in percent.

    Raises:
        ImageError: it is less than half.
    """
    percent = 100 * number // max(1, total)
    if percent < MIN_PERCENT:
        raise ImageError(f"cut short: only {percent} % of its {unit} are there")
    return percent


def _pixels(data: bytes) -> np.ndarray:
    """Return the pixels of a picture as they are stored, uint8 (height, width, 3)."""
    image: Image.Image = images.open_picture(data)
    return np.asarray(image.convert("RGB"))
