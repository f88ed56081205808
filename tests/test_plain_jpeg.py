"""The fast way to the pixels of a plain JPEG, beside Pillow's."""

import io

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from dataset import images, plain_jpeg


def jpeg(width: int, height: int, seed: int = 0, mode: str = "RGB", **options) -> bytes:
    """A JPEG of smooth random colours."""
    random = np.random.default_rng(seed)
    picture = Image.fromarray(random.integers(0, 256, (4, 4, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def outcome(function, *arguments):
    """What a function returns, or the message of its error."""
    try:
        found = function(*arguments)
    except images.ImageError as error:
        return str(error)
    return found if isinstance(found, bytes) else np.asarray(found).tobytes()


@settings(max_examples=150)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 2),
    st.sampled_from([30, 75, 95]),
    st.sampled_from([16, 64, 224]),
    st.sampled_from(images.RESIZE_MODES),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3),
    st.floats(0, 1),
)
@example(64, 64, 0, 95, 64, "pad", [], 1.0)  # the network's size
@example(128, 128, 2, 95, 64, "crop", [], 1.0)  # twice that
def test_pixels_files_and_errors_are_those_of_pillow(width, height, subsampling, quality, size, resize, changed, kept):
    data = bytearray(jpeg(width, height, width + height, subsampling=subsampling, quality=quality))
    for place, value in changed:
        data[int(place * len(data))] = value
    if kept < 0.2:
        data = data[: int(5 * kept * len(data))]
    fitted = [(function, bytes(data), size, resize) for function in (images.decode_to_fit, images.network_input)]
    calls = [*fitted, (images.normalise, bytes(data), size)]
    fast = [outcome(*call) for call in calls]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_jpeg, "decode", lambda *_: None)
        assert fast == [outcome(*call) for call in calls]


def test_only_a_whole_baseline_jpeg_without_metadata_is_decoded_fast():
    exif = Image.Exif()
    exif[274] = 6
    plain = jpeg(40, 24)
    others = [
        jpeg(40, 24, progressive=True),
        jpeg(40, 24, mode="L"),
        jpeg(40, 24, mode="CMYK"),
        jpeg(40, 24, exif=exif),
        jpeg(40, 24, comment=b"words"),
        jpeg(40, 24, dpi=(72, 72)),
        jpeg(40, 24, keep_rgb=True),
        b"",
        plain[:8],
    ]
    assert plain_jpeg.size(plain) == (40, 24)
    assert [plain_jpeg.size(data) for data in others] == [None] * len(others)
    whole = plain_jpeg.decode(plain, lambda width, height: (width, height), 10**6)
    half = plain_jpeg.decode(plain, lambda width, height: (20, 12), 10**6)
    assert whole.shape == (24, 40, 3) and half.shape == (12, 20, 3)
    assert plain_jpeg.decode(plain, lambda width, height: (width, height), 40 * 24 - 1) is None
    assert plain_jpeg.decode(plain[:-30], lambda width, height: (width, height), 10**6) is None
