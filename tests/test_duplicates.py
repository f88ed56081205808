"""Which pictures look alike, and where their groups go."""

import io
import random

import pytest
from PIL import Image, ImageDraw

from dataset.near_duplicates import merge_splits, near_duplicate_pairs, thumbnail


def drawing(seed: int) -> Image.Image:
    """Ten coloured shapes on white."""
    chance = random.Random(seed)
    image = Image.new("RGB", (240, 180), "white")
    draw = ImageDraw.Draw(image)
    for _ in range(10):
        x, y, size = chance.randrange(240), chance.randrange(180), chance.randrange(20, 90)
        draw.ellipse((x - size, y - size, x + size, y + size), fill=tuple(chance.randrange(256) for _ in range(3)))
    return image


def jpeg(image: Image.Image, quality: int = 95) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda image: jpeg(image, quality=40),
        lambda image: jpeg(image.resize((130, 97), Image.Resampling.LANCZOS)),
        lambda image: jpeg(image.crop((1, 1, 239, 179))),
        lambda image: jpeg(image.point(lambda value: value * 0.97)),
    ],
    ids=["re-encoded", "rescaled", "cropped", "darker"],
)
def test_copies_are_found_and_other_pictures_are_not(change):
    originals = [drawing(seed) for seed in range(60)]
    thumbnails = [thumbnail(jpeg(image)) for image in originals] + [thumbnail(change(image)) for image in originals[:40]]
    assert sorted(near_duplicate_pairs(thumbnails)) == [(number, 60 + number) for number in range(40)]


def test_blank_pictures_and_no_pictures_have_no_likeness():
    assert near_duplicate_pairs([]) == []
    assert (
        near_duplicate_pairs([thumbnail(jpeg(Image.new("RGB", (50, 50), colour))) for colour in ("white", "white", "black")])
        == []
    )


def test_the_same_drawing_in_another_colour_is_another_picture():
    square = Image.new("RGB", (80, 80), "white")
    red, blue = square.copy(), square.copy()
    red.paste("red", (20, 20, 60, 60))
    blue.paste("blue", (20, 20, 60, 60))
    assert near_duplicate_pairs([thumbnail(jpeg(red)), thumbnail(jpeg(blue))]) == []


def test_small_blocks_find_what_one_block_finds(monkeypatch):
    thumbnails = [thumbnail(jpeg(drawing(seed % 25))) for seed in range(60)]
    whole = sorted(near_duplicate_pairs(thumbnails))
    monkeypatch.setattr("dataset.near_duplicates.BLOCK_PICTURES", 7)
    assert sorted(near_duplicate_pairs(thumbnails)) == whole
    assert len(whole) == 10 * 3 + 15 * 1  # ten drawings are there three times, fifteen twice


@pytest.mark.parametrize(
    ("splits", "pairs", "expected"),
    [
        (["train", "test", "val"], [], ["train", "test", "val"]),
        (["train", "test", "val"], [(0, 1)], ["test", "test", "val"]),
        (["train", "test", "train"], [(0, 1), (1, 2)], ["train", "train", "train"]),
        (["val", "test", "train"], [(2, 0)], ["val", "test", "val"]),
    ],
)
def test_groups_that_look_alike_go_where_most_of_them_are(splits, pairs, expected):
    assert merge_splits(["a", "b", "c"], splits, pairs) == expected


def test_a_group_moves_as_a_whole():
    groups, splits = ["a", "a", "b", "c", "c", "c"], ["val", "val", "train", "train", "train", "train"]
    assert merge_splits(groups, splits, [(1, 2), (2, 3)]) == ["train"] * 6
    assert merge_splits(groups, splits, [(1, 2)]) == ["val"] * 3 + ["train"] * 3
