"""Pictures whose last bytes are missing: recognised by the structure of their files, not by a decoder's message."""

import re
from collections.abc import Iterator
from typing import Literal

from dataset import file_kinds

JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # the others occur inside compressed data
TEMPORARY, START_OF_SCAN, END_OF_IMAGE = 0x01, 0xDA, 0xD9
TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # type of a value ▶ its length
PNG_START = 8
WEBP_START = 12
GIF_EXTENSION, GIF_IMAGE, GIF_END = 0x21, 0x2C, 0x3B


def is_cut(data: bytes) -> bool:
    """Return whether a picture lacks its last bytes; False for formats whose files do not say where they end."""
    match file_kinds.format_of(data):
        case "JPEG":
            return not any(marker == END_OF_IMAGE for marker, _ in jpeg_segments(data))
        case "PNG":
            return not any(name == b"IEND" for name, _, _ in png_chunks(data))
        case "GIF":
            return not gif_frames(data)[2]
        case "WEBP":
            return len(data) < webp_length(data)
        case "TIFF":
            return _tiff_is_cut(data)
        case "AVIF" | "HEIF" | "JXL" if data[:1] == b"\0":
            return _boxes_are_cut(data)
    return False


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of the segments of a JPEG, without its compressed data (ITU-T T.81, B.1.1)."""
    position = 2
    while found := JPEG_MARKER.search(data, position):
        marker, start = found[1][0], found.end()
        length = 0 if marker in (TEMPORARY, END_OF_IMAGE) else int.from_bytes(data[start : start + 2], "big")
        yield marker, data[start + 2 : start + length]
        if marker == END_OF_IMAGE:
            return
        position = start + length


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield name, content and completeness of the chunks of a PNG up to its end."""
    position = PNG_START
    while position + 8 <= len(data):
        name, end = data[position + 4 : position + 8], position + 8 + int.from_bytes(data[position : position + 4], "big")
        yield name, data[position + 8 : end], end <= len(data)
        if name == b"IEND":
            return
        position = end + 4  # after the checksum


def webp_length(data: bytes) -> int:
    """Return the length of a WebP in bytes, as its header gives it."""
    return 8 + int.from_bytes(data[4:8], "little")


def webp_chunks(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each chunk of a WebP begins, and where it would end, with the byte that makes its length even."""
    position = WEBP_START
    while position + 8 <= len(data):
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + length + length % 2
        yield position, end
        position = end


def gif_frames(data: bytes) -> tuple[int, int, bool]:
    """Return the number of complete frames of a GIF, where the last of them ends, and whether the file has its end."""
    frames, frames_end = 0, 0
    try:
        position = 13 + _colour_table(data[10])
        while (kind := data[position]) != GIF_END:
            position += 1
            if kind == GIF_EXTENSION:
                position = _after_blocks(data, position + 1)
            elif kind == GIF_IMAGE:
                position = _after_blocks(data, position + 10 + _colour_table(data[position + 8]))
                frames, frames_end = frames + 1, position
    except IndexError:
        return frames, frames_end, False
    return frames, frames_end, True


def _colour_table(flags: int) -> int:
    """Return the length of a GIF's colour table in bytes."""
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, position: int) -> int:
    """Return where a series of a GIF's data blocks ends."""
    while length := data[position]:
        position += 1 + length
    return position + 1


def _tiff_is_cut(data: bytes) -> bool:
    """Return whether a TIFF's list of fields, or the values of one, lie beyond its end; BigTIFF is not examined."""
    order: Literal["little", "big"] = "little" if data[:1] == b"I" else "big"
    if data[2:4].strip(b"\0") != b"*":
        return False
    start = int.from_bytes(data[4:8], order)
    end = start + 2 + 12 * int.from_bytes(data[start : start + 2], order)
    if end + 4 > len(data):
        return True
    for entry in range(start + 2, end, 12):
        kind, count, place = (int.from_bytes(data[entry + a : entry + b], order) for a, b in ((2, 4), (4, 8), (8, 12)))
        if (length := count * TIFF_BYTES.get(kind, 0)) > 4 and place + length > len(data):
            return True
    return False


def _boxes_are_cut(data: bytes) -> bool:
    """Return whether the last box of an ISO base media file ends beyond the file's end (ISO 14496-12, 4.2)."""
    position = 0
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        if length == 1:
            length = int.from_bytes(data[position + 8 : position + 16], "big")
        if length < 8:  # 0: up to the end of the file
            return False
        position += length
    return position > len(data)
