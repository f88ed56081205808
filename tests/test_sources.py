"""What a user points at: files, lists, animations, and what cannot be read."""

import numpy as np
import pytest
from hypothesis import given, strategies
from PIL import Image

from dataset import images
from inference import sources


@pytest.mark.parametrize(
    "argument, words",
    [
        ("a" * 300 + ".png", "File name too long"),
        ("a" * 300 + "*", "no picture matches"),
        ("http://a..b/x", "cannot be fetched"),
        ("http://127.0.0.1:9/x", "Connection refused"),
        ("ftp://x/y.jpg", "ftp://x/y.jpg"),
        ("", "not a file"),
    ],
)
def test_what_cannot_be_read_is_a_picture_of_its_own(argument, words):
    [source] = sources.find([argument])
    with pytest.raises((images.ImageError, OSError), match=words) as raised:
        source.read()
    assert len(str(raised.value)) < 400 and "Pool" not in str(raised.value)


def test_lists_of_windows_and_of_find(tmp_path):
    (tmp_path / "list").write_bytes("a b.png\r\n\r\nö.png\n".encode("utf-8-sig") + b"c.png\0d.png\0")
    assert sources.read_list(str(tmp_path / "list")) == ["a b.png", "ö.png", "c.png", "d.png"]


def test_few_frames_of_a_long_animation_are_looked_at(tmp_path):
    frames = [Image.new("L", (8, 8), shade) for shade in range(0, 200, 2)]
    frames[0].save(tmp_path / "long.gif", save_all=True, append_images=frames[1:], duration=100)
    seconds = [second for second, _ in sources.frames((tmp_path / "long.gif").read_bytes(), 8)]
    assert len(seconds) == 8 and seconds[0] == 0 and 8 < seconds[-1] < 10 and np.ptp(np.diff(seconds)) < 0.2


@given(strategies.binary(max_size=200), strategies.sampled_from([b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b""]))
def test_no_bytes_break_the_reading_of_frames(data, start):
    try:
        assert sources.frames(start + data, 8)
    except images.ImageError as error:
        assert str(error)
