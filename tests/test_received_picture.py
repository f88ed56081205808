"""Damage of previews and samples, which have no published hash, that a decoder does not notice."""

import io
import random
from collections import Counter

import pytest
from data_folders import contents, read_quarantine
from PIL import Image
from small_board import WITH_SAMPLE, WITHOUT_SAMPLE, with_wrong_bytes
from test_e621 import make, read_all

from dataset import images
from dataset.boards.http_client import RequestFailed
from dataset.boards.received_picture import PictureCheck, data_problem, have_proportions

LARGE = {WITH_SAMPLE: ("jpg", "JPEG"), WITHOUT_SAMPLE: ("webp", "WEBP")}
ENCODINGS = {
    "JPEG": ({}, {"progressive": True}, {"optimize": True, "subsampling": 0}, {"restart_marker_blocks": 3}),
    "WEBP": ({}, {"quality": 10, "method": 0}, {"lossless": True}),
}


def drawing(mode: str = "RGB", size: tuple[int, int] = (262, 256)) -> Image.Image:
    """Blurred noise with one hard edge."""
    rng = random.Random(3)
    small: Image.Image = Image.frombytes("RGBA", (24, 24), rng.randbytes(24 * 24 * 4)).resize(size, Image.Resampling.BICUBIC)
    small.paste((200, 30, 90, 255), (size[0] // 3, 0, size[0] // 2, size[1]))
    return small.convert(mode)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def previews(board) -> dict[str, bytes]:
    """The board with previews of its two large posts."""
    found = {
        board.preview_path(board.md5_of(number), extension): encoded(drawing(), kind, **ENCODINGS[kind][1])
        for number, (extension, kind) in LARGE.items()
    }
    board.files |= found
    return found


def test_a_damaged_preview_that_can_be_decoded_is_asked_for_again(board, previews, tmp_path):
    for data in previews.values():
        assert images.decode(with_wrong_bytes(data)).size == images.decode(data).size
    make(board, tmp_path / "clean", size=96)
    assert {board.requests.count(path) for path in previews} == {1}, "an intact preview is asked for once"
    board.requests.clear()
    for path in previews:
        board.faults[path] = ["decodable"]
    make(board, tmp_path / "faulty", size=96)
    assert contents(tmp_path / "faulty") == contents(tmp_path / "clean")
    assert {board.requests.count(path) for path in previews} == {2}
    assert set(Counter(path for path in board.requests if path.count("/") == 4).values()) == {1}


def test_a_preview_that_stays_doubtful_is_replaced_by_the_original(board, previews, tmp_path):
    damaged, other = previews
    board.files[damaged] = with_wrong_bytes(previews[damaged])
    board.files[other] = encoded(drawing(size=(256, 256)), "WEBP")  # proportions of another picture
    make(board, tmp_path / "data", size=96)
    assert {board.requests.count(path) for path in previews} == {3}
    assert read_quarantine(tmp_path / "data") == {}
    for number in LARGE:
        original = images.normalise(board.files[board.path_of(number)], 96)
        assert read_all(tmp_path / "data")[number].image == original


@pytest.mark.parametrize(
    ("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("WEBP", "RGBA")], ids="-".join
)
def test_intact_pictures_are_not_doubtful(kind, mode):
    for size in ((262, 256), (37, 51), (1, 1)):
        for options in ENCODINGS[kind]:
            assert data_problem(encoded(drawing(mode, size), kind, **options)) == "", (size, options)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_of_pictures_with_eight_wrong_bytes_few_are_taken(kind):
    rng, decoded, taken = random.Random(5), 0, 0
    data = encoded(drawing(), kind, **ENCODINGS[kind][1])
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(8):
            damaged[rng.randrange(len(data) // 5, len(data))] = rng.randrange(256)
        check = PictureCheck(262, 256)
        try:
            images.decode(bytes(damaged))
        except images.ImageError:
            continue
        decoded += 1
        taken += not check(bytes(damaged))
    assert decoded >= 10
    assert taken <= decoded / 10


def test_the_same_doubtful_bytes_are_not_asked_for_a_fourth_time():
    check, data = PictureCheck(262, 256), encoded(drawing(), "JPEG")
    assert check(with_wrong_bytes(data)) and check(with_wrong_bytes(data))
    with pytest.raises(RequestFailed, match="3 times"):
        check(with_wrong_bytes(data))
    assert check(data) == ""


def test_proportions_are_those_of_the_original_within_rounding():
    for original in ((1000, 333), (4000, 37), (300, 300), (9, 5000)):
        scale = 256 / min(original)
        smaller = (round(original[0] * scale), round(original[1] * scale)) if scale < 1 else original
        assert have_proportions(smaller, original)
        assert have_proportions(smaller[::-1], original), "a decoder turns a picture upright"
    assert have_proportions((769, 256), (1000, 333))
    assert not have_proportions((774, 256), (1000, 333))
    assert not have_proportions((256, 256), (1000, 333))
