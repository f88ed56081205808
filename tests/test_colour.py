"""Pixels mean what a viewer shows: colour profiles are applied, and other metadata never stops a picture."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from dataset import images, picture_files
from inference import sources

D50 = (0.9642, 1.0, 0.8249)
# Name ▶ columns of the matrix from linear values to XYZ under D50 (brucelindbloom.com), and the exponent.
SPACES = {
    "sRGB's primaries": (((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)), 2.2),
    "red and green swapped": (((0.3851, 0.7169, 0.0971), (0.4361, 0.2225, 0.0139), (0.1431, 0.0606, 0.7141)), 2.2),
    "Adobe RGB": (((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)), 2.2),
    "Apple RGB": (((0.4756, 0.2552, 0.0185), (0.3397, 0.6726, 0.1134), (0.1489, 0.0723, 0.6932)), 1.8),
    "ProPhoto": (((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)), 1.8),
    "gray": (None, 1.0),
}


def profile(name) -> bytes:
    """Return an ICC profile of version 2, of a matrix and a curve (ICC.1:2001-04)."""
    columns, gamma = SPACES[name]

    def xyz(values):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(79), b"wtpt": xyz(D50)}
    if columns:
        tags |= {letter + b"XYZ": xyz(column) for letter, column in zip((b"r", b"g", b"b"), columns, strict=True)}
        tags |= {letter + b"TRC": curve for letter in (b"r", b"g", b"b")}
    else:
        tags[b"kTRC"] = curve
    start, table, content = 132 + 12 * len(tags), b"", b""
    for tag, value in tags.items():
        value += bytes(-len(value) % 4)
        table += tag + struct.pack(">II", start + len(content), len(value))
        content += value
    header = struct.pack(">I4xI", start + len(content), 0x02400000) + b"mntr" + (b"RGB " if columns else b"GRAY") + b"XYZ "
    header = header + bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *(round(value * 65536) for value in D50))
    return header + bytes(128 - len(header)) + struct.pack(">I", len(tags)) + table + content


def encoded(image, form="PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def colours(mode="RGB") -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("name", SPACES)
def test_a_profile_is_applied_as_by_littlecms(name):
    image = colours("L" if name == "gray" else "RGB")
    found = images.decode(encoded(image, icc_profile=profile(name)))
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile(name)))
    relative = ImageCms.Intent.RELATIVE_COLORIMETRIC
    options = {"renderingIntent": relative, "outputMode": "RGB"}
    expected = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), **options)
    assert np.abs(np.asarray(found, int) - np.asarray(expected, int)).max() <= 1
    if name != "sRGB's primaries":
        assert np.abs(np.asarray(found, int) - np.asarray(image.convert("RGB"), int)).max() > 20


@pytest.mark.parametrize("mode, transparent", [("RGB", (200, 0, 0)), ("L", 200)])
def test_a_transparent_colour_stays_transparent_with_a_profile(mode, transparent):
    name = "gray" if mode == "L" else "Adobe RGB"
    data = encoded(Image.new(mode, (8, 8), transparent), transparency=transparent, icc_profile=profile(name))
    assert images.decode(data).getpixel((4, 4)) == (255, 255, 255)


def test_a_profile_that_swaps_red_and_green_swaps_them():
    red, swapped = Image.new("RGB", (8, 8), (200, 0, 0)), profile("red and green swapped")
    jpeg = {"quality": 100, "subsampling": 0, "icc_profile": swapped}
    pictures = [
        encoded(red, icc_profile=swapped),
        encoded(red.quantize(2), icc_profile=swapped),
        encoded(red, "JPEG", **jpeg),
    ]
    pictures.append(encoded(red, "WEBP", lossless=True, icc_profile=swapped))
    pictures.append(images.normalise(pictures[0], 64))  # what a shard holds
    [(_, frame)] = sources.frames(encoded(red, "GIF"), 1)
    two = encoded(red, "WEBP", lossless=True, icc_profile=swapped, save_all=True, append_images=[Image.new("RGB", (8, 8))])
    pictures.append(sources.frames(two, 2)[0][1])
    for data in pictures:
        assert np.allclose(images.decode(data).getpixel((4, 4)), (0, 200, 0), atol=4)
    assert np.allclose(images.decode(frame).getpixel((4, 4)), (200, 0, 0), atol=1)
    half = Image.new("RGBA", (8, 8), (200, 0, 0, 128))
    assert np.allclose(images.decode(encoded(half, icc_profile=swapped)).getpixel((4, 4)), (127, 227, 127), atol=3)


@pytest.mark.parametrize("unusable", [b"nonsense" * 20, profile("Adobe RGB")[:200], profile("gray"), b""])
def test_a_profile_that_is_unusable_changes_nothing(unusable):
    assert np.array_equal(images.decode(encoded(colours(), icc_profile=unusable)), colours())


def test_large_texts_and_profiles_do_not_stop_a_png():
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", "a" * 5_000_000, zip=True)
    texts.add_itxt("workflow", "b" * 3_000_000, zip=True)
    texts.add_text("plain", "c" * 2_000_000)
    large = {"icc_profile": profile("gray") + bytes(40_000_000), "pnginfo": texts}
    assert np.array_equal(images.decode(encoded(colours(), **large)), colours())
    animation = {"save_all": True, "append_images": [Image.new("RGB", (16, 16))], "pnginfo": texts}
    assert len(sources.frames(encoded(colours(), **animation), 2)) == 2


@pytest.mark.parametrize(
    "field", [(0x011A, 10, struct.pack("<2i", 72, 1)), (0x011A, 2, b"seventy\0"), (0x0128, 5, struct.pack("<2I", 2, 1))]
)
def test_odd_exif_fields_do_not_stop_a_jpeg_and_the_orientation_holds(field):
    tag, kind, value = field
    entries = sorted([(tag, kind, len(value) if kind == 2 else 1, 38), (0x0112, 3, 1, 6)])
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries))
    exif += b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4) + value
    upright = images.decode(encoded(Image.new("RGB", (30, 20)), "JPEG", exif=exif))
    assert upright.size == (20, 30)


@pytest.mark.parametrize("turn", range(2, 9))
def test_an_animation_is_turned_like_a_still_picture(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    picture = colours().resize((32, 16))
    still = images.decode(encoded(picture, "WEBP", lossless=True, exif=exif))
    moving = encoded(
        picture, "WEBP", lossless=True, exif=exif, save_all=True, append_images=[Image.new("RGB", picture.size)]
    )
    frame = images.decode(sources.frames(moving, 2)[0][1])
    assert frame.size == still.size and np.array_equal(frame, still)


def test_an_empty_mask_of_a_bmp_hides_nothing():
    pixels = np.full((4, 4, 4), (200, 30, 10, 0), np.uint8)  # red, green, blue, alpha
    header = b"BM" + struct.pack("<IHHI", 122 + 64, 0, 0, 122)
    header += struct.pack("<IiiHHIIiiII", 108, 4, -4, 1, 32, 3, 64, 0, 0, 0, 0)
    header += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    data = header + pixels[..., [2, 1, 0, 3]].tobytes()
    assert images.decode(data).getpixel((1, 1)) == (200, 30, 10)
    pixels[0, 0, 3] = 255
    assert images.decode(header + pixels[..., [2, 1, 0, 3]].tobytes()).getpixel((1, 1)) == (255, 255, 255)


def test_a_transparent_value_of_sixteen_bits_is_transparent():
    gray = Image.fromarray(np.array([[1000, 40000]], np.uint16))
    decoded = images.decode(encoded(gray, transparency=1000))
    assert decoded.getpixel((0, 0)) == (255, 255, 255) and decoded.getpixel((1, 0)) == (40000 >> 8,) * 3


RAMP = np.linspace(0, 1, 9)  # of black to white


def tiff(values, bits, kind=1, white=1) -> bytes:
    """Return a little-endian TIFF of one strip of gray values; `kind` is 1 unsigned, 2 signed, 3 floating-point."""
    width, height = len(values), 1
    strip = np.asarray(values).tobytes()
    if bits == 12:
        digits = "".join(f"{value:03x}" for value in values)
        strip = bytes.fromhex(digits + "0" * (len(digits) % 2))
    fields = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: white,
        273: 8,
        277: 1,
        278: height,
        279: len(strip),
        339: kind,
    }
    table = b"".join(struct.pack("<HHII", field, 4, 1, value) for field, value in fields.items())
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", len(fields)) + table + bytes(4)


DEPTHS = {
    "12 bits": tiff((RAMP * 4095).astype(int), 12),
    "16 bits": tiff((RAMP * 65535).astype(np.uint16), 16),
    "16 bits, white is 0": tiff(65535 - (RAMP * 65535).astype(np.uint16), 16, white=0),
    "16 signed": tiff((RAMP * 65535 - 32768).astype(np.int16), 16, 2),
    "16 signed, positive": tiff((RAMP * 32767).astype(np.int16), 16, 2),
    "32 bits": tiff((RAMP * (2**32 - 1)).astype(np.uint32), 32),
    "32 signed": tiff((RAMP * (2**32 - 1) - 2**31).astype(np.int32), 32, 2),
    "32 signed, positive": tiff((RAMP * (2**31 - 1)).astype(np.int32), 32, 2),
    "16 bits in 32": tiff((RAMP * 65535).astype(np.int32), 32, 2),
    "12 bits in 32": tiff((RAMP * 4095).astype(np.uint32), 32),
    "8 bits in 32": tiff((RAMP * 255).astype(np.int32), 32, 2),
    "float": tiff(RAMP.astype(np.float32), 32, 3),
    "float beyond 0 to 1": tiff((RAMP * 5000 - 1000).astype(np.float32), 32, 3),
    "PGM of 12 bits": b"P5 9 1 4095\n" + (RAMP * 4095).astype(">u2").tobytes(),
    "PFM": b"Pf\n9 1\n-1.0\n" + RAMP.astype("<f4").tobytes(),
}


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_range_of_every_bit_depth_becomes_black_to_white(depth):
    shades = np.asarray(images.decode(DEPTHS[depth]))[0, :, 0].astype(int)
    assert np.abs(shades - RAMP * 255).max() <= 1 and shades[0] == 0 and shades[-1] == 255


def test_a_dark_picture_stays_dark_and_what_is_no_number_is_black():
    assert images.decode(tiff(np.array([1000, 2000], np.uint16), 16)).getpixel((1, 0)) == (2000 >> 8,) * 3
    assert images.decode(tiff([100, 200], 12)).getpixel((1, 0)) == (200 >> 4,) * 3
    odd = np.array([np.nan, -np.inf, np.inf, 0.5], np.float32)
    assert np.array_equal(np.asarray(images.decode(tiff(odd, 32, 3)))[0, :, 0], [0, 0, 255, 128])


def test_ten_bits_of_a_heic_picture_become_eight():
    pytest.importorskip("pillow_heif", reason="needs requirements-formats.txt")
    picture_files.known_formats()
    gray = Image.fromarray(np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(64, 0))
    shades = np.asarray(images.decode(encoded(gray, "HEIF", quality=100)))[32, :, 0].astype(int)
    assert shades[0] < 4 and shades[-1] > 251 and (np.diff(shades) >= -2).all()
