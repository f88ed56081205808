"""Broken and odd images, each with what must become of it."""

import io
import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, features

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
LEFT, RIGHT = (0.25, 0.5), (0.75, 0.5)  # places in a picture, as shares of its width and height
MIDDLE = (0.5, 0.5)
TOP, BOTTOM = (0.5, 0.25), (0.5, 0.75)


@dataclass(frozen=True)
class Expected:
    """What must become of a file.

    Attributes:
        colours: place ▶ (red, green, blue) of the picture as it is read, if it is read.
        reason: part of the reason why it is not.
        warning: part of the warning if only a part of it is there.
    """

    colours: dict[tuple[float, float], tuple[int, int, int]] = field(default_factory=dict)
    reason: str = ""
    warning: str = ""


def write_odd_images(folder: Path) -> dict[str, Expected]:
    """Write the images into a folder.

    Returns:
        File name ▶ what must become of it.
    """
    expected: dict[str, Expected] = {}
    for name, data, outcome in (*readable(), *broken(), *cut_short()):
        (folder / name).write_bytes(data)
        expected[name] = outcome
    if os.name == "posix" and os.geteuid() != 0:  # root reads everything
        (folder / "unreadable.png").write_bytes(encoded(halves("RGB", RED, BLUE), "PNG"))
        (folder / "unreadable.png").chmod(0)
        expected["unreadable.png"] = Expected(reason="Permission denied")
    return expected


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    """An image as the bytes of a file."""
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def halves(mode: str, left, right, width: int = 64, height: int = 48) -> Image.Image:
    """A picture whose left and right halves have one colour each."""
    image = Image.new(mode, (width, height), left)
    image.paste(right, (width // 2, 0, width, height))
    return image


def readable() -> list[tuple[str, bytes, Expected]]:
    """Odd, but pictures."""
    red_blue = Expected({LEFT: RED, RIGHT: BLUE})
    rgb, other = halves("RGB", RED, BLUE), halves("RGB", GREEN, GREEN)
    palette = Image.new("P", (64, 48), 0)
    palette.putpalette([*GREEN, *BLUE])
    palette.paste(1, (32, 0, 64, 48))
    rotated = Image.Exif()
    rotated[0x0112] = 6  # orientation: the stored left is the top
    gray16 = Image.fromarray(_gray16())
    first_frame = {"save_all": True, "append_images": [other], "duration": 100}
    return [
        ("plain.PNG", encoded(rgb, "PNG"), red_blue),
        ("jpeg.png", encoded(rgb, "JPEG", subsampling=0), red_blue),
        ("progressive.jpg", encoded(rgb, "JPEG", progressive=True, subsampling=0), red_blue),
        ("exif_rotated.jpg", encoded(rgb, "JPEG", exif=rotated, subsampling=0), Expected({TOP: RED, BOTTOM: BLUE})),
        ("cmyk.jpg", encoded(halves("CMYK", (0, 255, 255, 0), (255, 255, 0, 0)), "JPEG", subsampling=0), red_blue),
        ("gray.jpeg", encoded(halves("L", 0, 200), "JPEG"), Expected({LEFT: BLACK, RIGHT: (200, 200, 200)})),
        ("gray16.png", encoded(gray16, "PNG"), Expected({LEFT: (32, 32, 32), RIGHT: (192, 192, 192)})),
        ("rgb16.png", png(64, 48, 16, 2, _rgb16_rows()), red_blue),
        ("gray_alpha.png", encoded(halves("LA", (0, 255), (0, 51)), "PNG"), Expected({LEFT: BLACK, RIGHT: (204,) * 3})),
        (
            "alpha.png",
            encoded(halves("RGBA", (*RED, 255), (*BLACK, 0)), "PNG"),
            Expected({LEFT: RED, RIGHT: WHITE}),
        ),
        ("palette.png", encoded(palette, "PNG", transparency=0), Expected({LEFT: WHITE, RIGHT: BLUE})),
        ("one_bit.png", encoded(halves("1", 0, 1), "PNG"), Expected({LEFT: BLACK, RIGHT: WHITE})),
        ("animated.gif", encoded(rgb, "GIF", **first_frame), red_blue),
        ("transparent.gif", encoded(palette, "GIF", transparency=0), Expected({LEFT: WHITE, RIGHT: BLUE})),
        ("animated.webp", encoded(rgb, "WEBP", lossless=True, **first_frame), red_blue),
        ("picture.bmp", encoded(rgb, "BMP"), red_blue),
        ("picture.tiff", encoded(rgb, "TIFF"), red_blue),
        ("float.tiff", encoded(halves("F", 0.5, 1.0), "TIFF"), Expected({LEFT: (128,) * 3, RIGHT: WHITE})),
        ("one_pixel.png", encoded(Image.new("RGB", (1, 1), GREEN), "PNG"), Expected({MIDDLE: GREEN})),
        ("wide.png", encoded(halves("RGB", RED, BLUE, 20_000, 1), "PNG"), red_blue),
        (
            "tall.png",
            encoded(halves("RGB", RED, BLUE, 20_000, 1).transpose(Image.Transpose.ROTATE_270), "PNG"),
            Expected({TOP: RED, BOTTOM: BLUE}),
        ),
        _avif(rgb, red_blue),
    ]


def cut_short() -> list[tuple[str, bytes, Expected]]:
    """Pictures that lack their last bytes, but not half of them."""
    rows = Image.effect_noise((64, 64), 20).convert("RGB")
    rows.paste(RED, (0, 0, 64, 20))
    frames = [halves("RGB", RED, BLUE) for _ in range(6)]
    for number, frame in enumerate(frames):
        frame.putpixel((32, number), WHITE)  # equal frames would be stored as one
    animation = {"save_all": True, "append_images": frames[1:]}
    top = Expected({(0.5, 0.1): RED}, warning="% of its rows are there")
    half = Expected({LEFT: RED, RIGHT: BLUE}, warning="frames are there")
    return [
        (name, data[: len(data) * 4 // 5], expected)
        for name, data, expected in (
            ("cut.jpg", encoded(rows, "JPEG", subsampling=0), top),
            ("cut.png", encoded(rows, "PNG"), top),
            ("cut.webp", encoded(rows, "WEBP", quality=90), top),
            ("cut.gif", encoded(frames[0], "GIF", **animation), half),
        )
    ]


def broken() -> list[tuple[str, bytes, Expected]]:
    """No pictures, or no longer."""
    noise = Image.effect_noise((256, 256), 100).convert("RGB")
    jpeg, whole_png = encoded(noise, "JPEG"), encoded(noise, "PNG")
    page = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    drawing = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
    damaged = bytearray(whole_png)
    damaged[len(damaged) // 2] ^= 0xFF
    damaged_tiff = bytearray(encoded(noise, "TIFF", compression="tiff_lzw"))
    damaged_tiff[200:600] = bytes(400)
    return [
        ("truncated.jpg", jpeg[: len(jpeg) // 3], Expected(reason="cut short")),
        ("truncated.png", whole_png[: len(whole_png) // 3], Expected(reason="cut short")),
        ("truncated.tiff", encoded(noise, "TIFF", compression="tiff_lzw")[:-20], Expected(reason="cut short")),
        ("flipped_bytes.tiff", bytes(damaged_tiff), Expected(reason="damaged")),
        ("flipped_byte.png", bytes(damaged), Expected(reason="damaged")),
        ("header_only.png", whole_png[:20], Expected(reason="cut short")),
        ("empty.jpg", b"", Expected(reason="empty file")),
        ("page.jpg", page, Expected(reason="web page")),
        ("drawing.png", drawing, Expected(reason="SVG")),
        ("text.png", b"just some words\n" * 10, Expected(reason="text, not a picture")),
        ("zeros.jpg", bytes(999), Expected(reason="nothing but zeros")),
        ("video.png", b"\0\0\0\x18ftypmp42" + bytes(99), Expected(reason="a video")),
        ("document.png", b"%PDF-1.7" + bytes(99), Expected(reason="a PDF")),
        ("twelve_bits.jpg", jpeg.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), Expected(reason="a JPEG")),
        ("random.gif", bytes(range(7, 256)) * 4, Expected(reason="no image format")),
        ("bomb.png", png(50_000, 50_000, 8, 2, b""), Expected(reason="pixels")),
        ("small_bomb.png", png(10_000, 10_000, 1, 0, b""), Expected(reason="pixels")),
    ]


def png(width: int, height: int, bits: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG file, byte by byte; its header may claim what its rows do not hold."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _rgb16_rows() -> bytes:
    """Red and blue halves, 16 bits a channel, each row after its filter byte."""
    red, blue = struct.pack(">HHH", 65535, 0, 0), struct.pack(">HHH", 0, 0, 65535)
    return (b"\x00" + red * 32 + blue * 32) * 48


def _gray16():
    import numpy as np

    pixels = np.full((48, 64), 32 * 257, np.uint16)
    pixels[:, 32:] = 192 * 257
    return pixels


def _avif(image: Image.Image, expected: Expected) -> tuple[str, bytes, Expected]:
    if features.check("avif"):
        return "picture.avif", encoded(image, "AVIF", quality=95), expected
    return "picture.avif", b"\x00\x00\x00\x20ftypavif" + bytes(64), Expected(reason="AVIF")
