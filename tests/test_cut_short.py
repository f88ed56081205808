"""Pictures that lack their last bytes: what is there of them is read with a warning, or refused."""

import functools

import numpy as np
import pytest
from conftest import program
from odd_images import encoded
from PIL import Image

from dataset import images, recovery, truncation
from inference import sources

SIDE = 128


@functools.cache
def pictures() -> dict[str, bytes]:
    """The same picture in each format, and an animation of six frames that begins with it."""
    noise = np.random.default_rng(0).integers(0, 60, (SIDE, SIDE, 3))
    y, x = np.mgrid[:SIDE, :SIDE]
    pixels = (np.stack([x, y, (x + y) % SIDE], axis=-1) + noise + 10).astype(np.uint8)
    frames = [Image.fromarray(np.roll(pixels, 16 * number, axis=1)) for number in range(6)]
    animation = {"save_all": True, "append_images": frames[1:]}
    rotated = Image.Exif()
    rotated[0x0112] = 3  # upside down
    [first, *_] = frames
    return {
        "jpeg": encoded(first, "JPEG"),
        "progressive": encoded(first, "JPEG", progressive=True),
        "upside down": encoded(first.rotate(180), "JPEG", exif=rotated),
        "png": encoded(first, "PNG"),
        "palette": encoded(first.quantize(64), "PNG"),
        "webp": encoded(first, "WEBP", quality=90),
        "lossless": encoded(first, "WEBP", lossless=True),
        "gif animation": encoded(first, "GIF", **animation),
        "png animation": encoded(first, "PNG", **animation),
        "webp animation": encoded(first, "WEBP", **animation),
    }


def cut(name: str, share: float) -> bytes:
    return pictures()[name][: int(share * len(pictures()[name]))]


def rows_that_agree(name: str, data: bytes) -> float:
    """Return which share of the rows is as in the whole picture, from the side that is stored first."""
    found, whole = (np.asarray(images.decode(each), int) for each in (data, pictures()[name]))
    assert found.shape == whole.shape
    same = np.abs(found - whole).max(axis=(1, 2)) < 60
    same = same[::-1] if name == "upside down" else same
    return (len(same) if same.all() else int(same.argmin())) / SIDE


@pytest.mark.parametrize("name", [name for name in pictures() if "animation" not in name])
def test_most_of_a_cut_picture_is_read_and_the_rest_is_white(name):
    data, missing = recovery.recover(cut(name, 0.85))
    assert missing.endswith("there")
    assert rows_that_agree(name, data) > 0.6
    if name != "progressive":
        assert "% of its rows are there" in missing
        last = 0 if name == "upside down" else SIDE - 1
        assert images.decode(data).getpixel((SIDE // 2, last)) == (255, 255, 255)
    with pytest.raises(images.ImageError, match="cut short"):
        images.decode(cut(name, 0.85))  # as boards' pictures and records are read


@pytest.mark.parametrize("name, missing", [("gif", "its first 4"), ("png", "4 of its 6"), ("webp", "its first 4")])
def test_an_animation_is_read_up_to_its_last_complete_frame(name, missing):
    name = f"{name} animation"
    data, words = recovery.recover(cut(name, 0.72))
    assert words == f"{missing} frames are there"
    frames, whole = sources.frames(data, 9), sources.frames(pictures()[name], 9)
    assert [start for start, _ in frames] == [start for start, _ in whole[:4]]
    for (_, found), (_, expected) in zip(frames, whole, strict=False):
        assert np.array_equal(images.decode(found), images.decode(expected))


@pytest.mark.parametrize("name", [name for name in pictures() if name != "gif animation"])  # a GIF has no length
def test_less_than_half_of_a_picture_is_refused(name):
    for share in (0.02, 0.35):
        with pytest.raises(images.ImageError, match="cut short"):
            recovery.recover(cut(name, share))


@pytest.mark.parametrize("name", pictures())
def test_a_picture_without_its_last_bytes_only_is_read(name):
    whole = pictures()[name]
    assert recovery.recover(whole) == (whole, "")
    for number in (1, 14, 40):
        data, _ = recovery.recover(whole[:-number])
        assert rows_that_agree(name, data) > 0.8
    if "webp" not in name and "lossless" not in name:
        padded = whole[: len(whole) * 9 // 10] + bytes(len(whole) // 10)  # as a file system leaves it after a crash
        assert truncation.is_cut(padded)
        assert "animation" in name or rows_that_agree(name, recovery.recover(padded)[0]) > 0.7


def test_whole_pictures_of_other_formats_are_left_alone():
    for name in ("BMP", "TIFF", "PPM", "ICO"):
        data = encoded(Image.new("RGB", (32, 32)), name)
        assert recovery.recover(data) == (data, "")
    interlaced = bytearray(pictures()["png"])
    interlaced[28] = 1
    with pytest.raises(images.ImageError, match="interlaced"):
        recovery.recover(bytes(interlaced[:-9999]))


def test_strict_refuses_in_one_line_and_without_it_the_file_is_named(emoji_run, tmp_path, capfd):
    path = tmp_path / "cut.png"
    path.write_bytes(cut("png", 0.8))
    done = program("test.py", path, "--run", emoji_run, "--strict")
    refusal, summary = done.stderr.splitlines()
    assert done.returncode == 1 and refusal.startswith(f"error: {path}: cut short: ") and "1 of 1" in summary
    done = program("test.py", path, "--run", emoji_run, "--threshold", 0)
    assert done.returncode == 0 and done.stderr.startswith(f"{path}: cut short, ") and done.stderr.count("\n") == 1
    path.with_suffix(".txt").write_text("odd")
    for number, options in enumerate([(), ("--strict",)]):
        out = tmp_path / f"data{number}"
        command = ("--board", "folder", "--images", tmp_path, "--out", out, "--val", 0, "--test", 0)
        done = program("download.py", *command, *options)
        assert done.returncode == number and ("refused by --strict" in done.stderr) == bool(options)
        assert (f"{path}: cut short, " in done.stderr) != bool(options)
        assert ("cut short" in (out / "quarantine.csv").read_text()) == bool(options)
    done = program("search.py", path, "--run", emoji_run, "--strict")
    assert done.returncode == 1
