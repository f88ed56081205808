"""Posts that are never used: every name of a young character, and every place where a post says that it is not safe."""

import csv

import pytest
from written_collections import Drawn

from dataset.boards.board import Settings, open_board
from dataset.boards.filters import HIDDEN
from dataset.boards.post_json import read_post
from dataset.boards.visibility import UNKNOWN_RATING, is_restricted

NAMES = """pre-teen underaged tween tweens little_girls little_boys elementary_school_student kindergarten kindergartener
    younggirl youngboy kid_(character) aged_down_(disambiguation) baby_pony filly fillies colt colts youngest minors 幼女
    cute_little_girl yo\u200bung 幼女の絵"""
SEXUAL_NAMES = ["ロリ", "合法ロリ", "ﾛﾘ", "ショタ", "lolidom", "shotadom", "lo\u200bli"]
RATING_WORDS = """suggestive r-18 R18 r-18g R-18G unsafe sensitive sketchy mature adult adult_content grimdark semi-grimdark
    grotesque Adult-Content Explicit rating_questionable hentai porn"""
OTHERS = ["between", "colt_python", "kid_icarus", "baby_bottle", "カロリー", "カロリーメイト", "minor_spoilers", "childhood"]


@pytest.mark.parametrize("name", [*NAMES.split(), *SEXUAL_NAMES])
def test_names_of_young_characters(name):
    assert is_restricted(["red", name], "explicit") and is_restricted(["red", name], UNKNOWN_RATING)
    assert not is_restricted(["red", name], "safe")
    assert is_restricted(["red", name], "") == (name in SEXUAL_NAMES)


def test_names_of_something_else():
    assert not any(is_restricted(["red", name], "explicit") for name in OTHERS)


@pytest.mark.parametrize("word", RATING_WORDS.split())
def test_ratings_among_the_tags(word):
    assert is_restricted(["young", word], "") and is_restricted([f"young; red; {word}"], "")
    assert not is_restricted(["hat", word], "") and not is_restricted(["young", word], "safe")


@pytest.mark.parametrize(
    "said",
    [
        {"purity": "nsfw"},
        {"purity": "sketchy"},
        {"adult_content": True},
        {"hide_as_adult": True},
        {"hasAdultContent": True},
        {"isSensitive": True},
        {"nsfwLevel": "X"},
        {"nsfwLevel": 4},
        {"content_rating": "explicit"},
        {"category": "danbooru", "rating": None},
        {"is_banned": False, "rating": ""},
    ],
)
def test_keys_that_say_that_a_post_is_not_safe(said):
    post = read_post({"tags": ["young", "red"], **said})
    assert is_restricted(post.tags, post.rating)


@pytest.mark.parametrize("said", [{"purity": "sfw"}, {"rating": "sfw"}])
def test_sfw_is_safe(said):
    assert read_post({"tags": ["red"], "nsfwLevel": 1, "isSensitive": False, **said}).rating == "safe"


@pytest.mark.parametrize(
    ("rating", "safety", "content_rating", "nsfw", "wanted"),
    [
        ("", "explicit", "", "", None),
        ("safe", "explicit", "", "", None),
        ("", "", "explicit", "", None),
        ("", "", "", "yes", None),
        ("safe", "", "", "0.9", None),
        ("safe", "safe", "", "0", "safe"),
        ("", "safe", "", "false", "safe"),
        ("", "", "", "", ""),
    ],
)
def test_all_columns_of_ones_own_table_count(rating, safety, content_rating, nsfw, wanted, tmp_path):
    rows = [{"id": "1.png", "tags": "red,young", "rating": rating, "safety": safety}]
    rows[0] |= {"content_rating": content_rating, "nsfw": nsfw}
    rows.append(rows[0] | {"id": "2.png", "tags": "red,sky"})
    for number in (1, 2):
        (tmp_path / f"{number}.png").write_bytes(Drawn(number, []).png())
    with (tmp_path / "tags.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    board = open_board("folder", Settings([tmp_path], tmp_path / "tags.csv"))
    ratings = {post.id: post.rating for post in board.posts()}
    assert ("1.png" in ratings) == (wanted is not None) and board.skipped.get(HIDDEN, 0) == (wanted is None)
    assert wanted is None or ratings["2.png"] == wanted


@pytest.mark.parametrize("board", ["folder", "gallery-dl"])
def test_an_alias_of_a_rating_does_not_let_a_post_through(board, tmp_path):
    for number, tags in ((1, "red\nyoung\nrating:explicit"), (2, "red\nrating:explicit"), (3, "red\nrating:safe\nyoung")):
        (tmp_path / f"{number}.png").write_bytes(Drawn(number, []).png())
        (tmp_path / f"{number}.png.txt").write_text(tags)
    aliases = tmp_path / "aliases.csv"
    aliases.write_text("antecedent_name,consequent_name,status\nrating:explicit,rating:safe,active\n")
    opened = open_board(board, Settings([tmp_path], rules=(str(aliases), None)))
    assert {post.id: post.rating for post in opened.posts()} == {"2.png": "explicit", "3.png": "safe"}


def test_entities_in_tags_are_read():
    assert read_post({"tags": "rock_&amp;_roll &gt;_&lt; a&b;"}).tags == ("rock_&_roll", ">_<", "a&b;")
    assert read_post({"tags": {"general": ["rock_&amp;_roll", "&#039;quote"]}}).tags == ("rock_&_roll", "'quote")
    assert read_post({"tags": [{"names": ["rock_&amp;_roll"], "category": "default"}]}).tags == ("rock_&_roll",)
