"""What a user points at: files, lists, animations, and what cannot be read."""

import io
import os

import numpy as np
import pytest
from hypothesis import given, strategies
from PIL import Image

from dataset import images, picture_files
from inference import sources


@pytest.mark.parametrize(
    "argument, words",
    [
        ("a" * 300 + ".png", "File name too long"),
        ("a" * 300 + "*", "no picture matches"),
        ("http://a..b/x", "cannot be fetched"),
        ("http://127.0.0.1:9/x", "Connection refused"),
        ("ftp://x/y.jpg", "or an http address. Received: ftp://x/y.jpg"),
        ("file:///x/y.jpg", "expected the path of a file"),
        ("", "not a file"),
    ],
)
def test_what_cannot_be_read_is_a_picture_of_its_own(argument, words):
    [source] = sources.find([argument])
    with pytest.raises((images.ImageError, OSError), match=words) as raised:
        source.read()
    assert len(str(raised.value)) < 400 and "Pool" not in str(raised.value)


def test_lists_of_windows_and_of_find(tmp_path):
    names = ["a b.png", "ö.png", "c\u2028d.png", "e\vf.png"]
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "list").write_bytes("\r\n".join([*names, "", "g.png\r\n"]).encode(encoding))
        assert sources.read_list(str(tmp_path / "list")) == [*names, "g.png"]
    names.append("h\ni.png")
    (tmp_path / "list").write_bytes("".join(f"{name}\0" for name in names).encode())
    assert sources.read_list(str(tmp_path / "list")) == names
    (tmp_path / "list").write_bytes(b"\xff.png\n")
    assert os.fsencode(sources.read_list(str(tmp_path / "list"))[0]) == b"\xff.png"


def test_every_command_sees_the_same_files_and_says_what_it_passed_over(tmp_path, capsys):
    for name in ("a.png", "b.JPE", "c.jfif", "d.mpo", "sub/e.pgm", "._a.png", "f.mp4", "g.MP4", "h.psd", "a.txt", "LICENSE"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = ["a.png", "b.JPE", "c.jfif", "d.mpo", "sub/e.pgm"]
    assert [source.path for source in sources.find([str(tmp_path)])] == [tmp_path / name for name in expected]
    assert "2 .mp4, 1 .psd, 1 without a suffix" in (said := capsys.readouterr().err) and ".txt" not in said
    assert picture_files.find(tmp_path).names == expected


@pytest.mark.parametrize("name, package", [("HEIF", "pillow_heif"), ("JXL", "pillow_jxl")])
def test_plug_ins_add_formats(name, package):
    pytest.importorskip(package, reason="needs requirements-formats.txt")
    picture_files.known_formats()
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 0, 0)).save(file, name)
    decoded = images.decode(file.getvalue())
    assert decoded.size == (40, 30) and np.allclose(decoded.getpixel((20, 15)), (200, 0, 0), atol=6)


def test_without_plug_ins_it_is_said_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(picture_files, "suffixes", lambda: frozenset({".png"}))
    for name in ("a.heic", "b.HEIC", "c.jxl", "d.png"):
        (tmp_path / name).touch()
    picture_files.find(tmp_path).report()
    assert "2 .heic, 1 .jxl; for more of them: pip install pillow-heif pillow-jxl-plugin" in capsys.readouterr().err


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
