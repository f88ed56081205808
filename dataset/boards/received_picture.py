"""What is wrong with a picture that has no published hash: its decoder, its data and its proportions are asked.

A decoder takes many damaged files for a picture, so a file that it accepts may still be doubtful.
"""

import contextlib
from collections import Counter

import simplejpeg

from dataset.boards.http_client import RequestFailed
from dataset.images import ImageError, decode

JPEG_START, RIFF, WEBP = b"\xff\xd8\xff", b"RIFF", b"WEBP"
WEBP_IMAGES = (b"VP8 ", b"VP8L")  # chunks with the data of a picture
# A WebP without so many of its last bytes cannot be decoded, unless a wrong bit made its decoder need fewer. Encoders fill
# up the last two or three bytes; the number is even because chunks are.
CUT_BYTES = 6
SAME_ANSWERS = 3  # a network damages a picture differently each time


class PictureCheck:
    """Says what is wrong with the answers to one URL, for `Client.get`.

    Args:
        width, height: size of the original, to which the picture must have the same proportions.
    """

    def __init__(self, width: int, height: int):
        self._width, self._height = width, height
        self._answers: Counter[bytes] = Counter()  # doubtful bodies

    def __call__(self, data: bytes) -> str:
        """Return what is wrong with a body, in a few words, or an empty text.

        Raises:
            RequestFailed: the body is doubtful, and came several times. The host has it so: asking again does not help.
        """
        try:
            size = decode(data).size
        except ImageError as error:
            return str(error)
        if have_proportions(size, (self._width, self._height)):
            doubt = data_problem(data)
        else:
            doubt = f"{size[0]}x{size[1]} pixels for {self._width}x{self._height}"
        if doubt:
            self._answers[data] += 1
            if self._answers[data] == SAME_ANSWERS:
                raise RequestFailed(f"{doubt}, {SAME_ANSWERS} times")
        return doubt


def have_proportions(size: tuple[int, int], original: tuple[int, int]) -> bool:
    """Return whether a picture may be a smaller one of an original, upright or turned by 90°, with both sides rounded."""
    width, height = original
    return any(abs(size[0] * down - size[1] * across) <= width + height for across, down in (original, (height, width)))


def data_problem(data: bytes) -> str:
    """Return what is doubtful about the data of a JPEG or WebP that a decoder accepts, or an empty text.

    libjpeg only warns of codes that make no sense, and fills in something. Pillow does not show its warnings.
    """
    if data.startswith(JPEG_START):
        try:
            simplejpeg.decode_jpeg(data, strict=True)
        except ValueError as error:
            return " ".join(str(error).split())
    shorter = _without_end(data) if data.startswith(RIFF) and data[8:12] == WEBP else b""
    with contextlib.suppress(ImageError):
        if shorter:
            decode(shorter)
            return "the last bytes are not needed"
    return ""


def _without_end(data: bytes) -> bytes:
    """Return a WebP without the last bytes of its picture's data, or nothing if it is animated or too small."""
    position = 12
    while position + 8 <= len(data):
        size = int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + size
        if data[position : position + 4] in WEBP_IMAGES and size > CUT_BYTES:
            kept = (size - CUT_BYTES).to_bytes(4, "little") + data[position + 8 : end - CUT_BYTES]
            rest = data[12 : position + 4] + kept + data[end:]
            return RIFF + (len(rest) + 4).to_bytes(4, "little") + WEBP + rest
        position = end + size % 2
    return b""
