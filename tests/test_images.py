"""Every kind of picture is read right, or refused in a few words."""

import io

import numpy as np
import pytest
from odd_images import BLUE, RED, WHITE, broken, encoded, halves, readable
from PIL import Image, ImageEnhance

from dataset import augmentation, images

TOLERANCE = 12  # of 255: JPEG


def pixel(image: Image.Image, place: tuple[float, float]) -> tuple[int, int, int]:
    return image.getpixel((int(place[0] * image.width), int(place[1] * image.height)))


def close(one, other) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= TOLERANCE


@pytest.mark.parametrize(("name", "data", "expected"), readable(), ids=lambda value: value if type(value) is str else "")
def test_an_odd_picture_is_read_right_and_survives_normalisation(name, data, expected):
    stored = images.normalise(data, 32)
    if expected.reason:  # a format that this Pillow lacks
        pytest.skip(expected.reason)
    for image in (images.decode(data), images.decode(stored)):
        assert image.mode == "RGB"
        for place, colour in expected.colours.items():
            assert close(pixel(image, place), colour), f"{name} at {place}: {pixel(image, place)}, expected {colour}"


@pytest.mark.parametrize(("name", "data", "expected"), broken(), ids=lambda value: value if type(value) is str else "")
def test_a_broken_picture_is_refused_with_its_reason(name, data, expected):
    for read in (images.decode, lambda data: images.normalise(data, 32)):
        with pytest.raises(images.ImageError, match=expected.reason) as refusal:
            read(data)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("width", "height", "stored"),
    [(640, 480, (133, 100)), (480, 640, (100, 133)), (80, 60, (80, 60)), (20_000, 10, (800, 1)), (5, 9_000, (1, 800))],
)
def test_large_pictures_are_brought_down_and_small_ones_keep_their_size(width, height, stored):
    data = encoded(halves("RGB", RED, BLUE, width, height), "PNG")
    with Image.open(io.BytesIO(images.normalise(data, 100))) as image:
        assert image.size == stored
        assert image.format == "JPEG"
        assert not image.getexif()


def test_normalisation_is_the_same_every_time():
    data = encoded(halves("RGB", RED, BLUE, 500, 300), "PNG")
    assert images.normalise(data, 64) == images.normalise(data, 64)


def fitted(*args, **kwargs) -> np.ndarray:
    return np.asarray(images.fit(*args, **kwargs))


def test_pad_keeps_the_whole_picture_on_white():
    pixels = fitted(halves("RGB", RED, BLUE, 80, 40), 40, "pad")
    assert pixels.shape == (40, 40, 3)
    assert tuple(pixels[3, 20]) == WHITE
    assert tuple(pixels[36, 20]) == WHITE
    assert tuple(pixels[20, 3]) == RED
    assert tuple(pixels[20, 36]) == BLUE


def test_squish_fills_the_square():
    pixels = fitted(halves("RGB", RED, BLUE, 80, 20), 40, "squish")
    assert tuple(pixels[0, 0]) == tuple(pixels[39, 10]) == RED
    assert tuple(pixels[0, 39]) == BLUE


def test_crop_takes_the_centre():
    image = Image.new("RGB", (90, 30), WHITE)
    image.paste(RED, (30, 0, 60, 30))
    pixels = fitted(image, 30, "crop")
    assert (pixels[:, 1:-1] == RED).all()


def test_a_shift_moves_the_picture_and_a_scale_enlarges_it():
    image = halves("RGB", RED, BLUE, 40, 40)
    shifted = fitted(image, 40, "squish", shift=(0.25, 0.0))
    assert tuple(shifted[20, 5]) == WHITE
    assert tuple(shifted[20, 25]) == RED
    assert tuple(shifted[20, 35]) == BLUE
    smaller = fitted(image, 40, "squish", scale=0.5)
    assert tuple(smaller[5, 20]) == WHITE
    assert tuple(smaller[20, 15]) == RED
    larger = fitted(image, 40, "squish", scale=2.0)
    assert (larger[:, :18] == RED).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 5)])
@pytest.mark.parametrize("resize", images.RESIZE_MODES)
def test_every_shape_fits(size, resize):
    for shift in ((0.0, 0.0), (0.9, -0.9)):
        assert fitted(Image.new("RGB", size, RED), 16, resize, 1.3, shift).shape == (16, 16, 3)


def test_recolouring_changes_brightness_contrast_and_saturation_as_pillow_does():
    shades = np.random.default_rng(0).integers(80, 160, (24, 32, 3), np.uint8)  # in the middle, so that nothing is clipped
    image = Image.fromarray(shades)
    expected = image
    factors = (1.1, 0.8, 1.3)
    for enhance, factor in zip((ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color), factors, strict=True):
        expected = enhance(expected).enhance(factor)
    difference = np.asarray(augmentation.recolour(image, *factors), float) - np.asarray(expected, float)
    assert np.abs(difference).max() <= 4 and np.abs(difference).mean() < 1.5  # Pillow rounds three times down
    assert np.abs(np.asarray(augmentation.recolour(image, 1, 1, 1), int) - shades).max() <= 1
