"""What picture files say besides their pixels: only how the camera was held counts, and nothing else stops a decoder."""

import zlib

from PIL import ExifTags, Image, PngImagePlugin

# EXIF's values of Orientation ▶ what turns the picture upright (CIPA DC-008, 4.6.4).
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PNG_START = b"\x89PNG\r\n\x1a\n"
TEXTS, PROFILE = (b"tEXt", b"zTXt", b"iTXt"), b"iCCP"
MAX_PROFILE = 2**24  # bytes of a colour profile
PngImagePlugin.MAX_TEXT_CHUNK = MAX_PROFILE  # Pillow's limit of a megabyte is also for profiles


def turn(image: Image.Image) -> Image.Transpose | None:
    """Return what turns a picture upright, by EXIF's field Orientation; None if it is upright or nothing is known."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged metadata, for which Pillow raises almost anything
        return None


def without_texts(data: bytes) -> bytes:
    """Return a PNG without its texts, and without a profile of more than `MAX_PROFILE` bytes; other files unchanged.

    Pillow reads no PNG that has a large text or profile, because a few compressed bytes may become many.
    """
    if not data.startswith(PNG_START) or not any(name in data for name in (*TEXTS, PROFILE)):
        return data
    chunks, start = [PNG_START], len(PNG_START)
    while start < len(data):
        name, end = data[start + 4 : start + 8], start + 12 + int.from_bytes(data[start : start + 4], "big")
        if not (name in TEXTS or (name == PROFILE and _is_large(data[start + 8 : end - 4]))):
            chunks.append(data[start:end])
        start = end
    return b"".join(chunks)


def _is_large(chunk: bytes) -> bool:
    """Return whether a profile, in a chunk of its name, the compression method and the compressed bytes, is too large."""
    compressed = chunk[chunk.find(b"\0") + 2 :]
    decompressor = zlib.decompressobj()
    try:
        decompressor.decompress(compressed, MAX_PROFILE)
    except zlib.error:
        return False  # Pillow leaves a damaged profile out by itself
    return bool(decompressor.unconsumed_tail)
