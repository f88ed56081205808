"""Ids, scores, dates and ratings of a board's table: what can be read is, and what cannot is counted with an example."""

import datetime
from pathlib import Path

import pyarrow as pa
import pytest
from conftest import program
from written_collections import Drawn, write_table

from common.errors import InputError
from dataset.boards.board import Board, Settings, open_board
from dataset.boards.filters import Filters
from dataset.boards.table_values import read_days, read_ids, read_scores

SUFFIXES = (".csv", ".jsonl", ".parquet")
UNREAD = (
    "05.03.2021",
    "03/05/2021",
    "2021-13-45",
    "2021-02-30",
    "20210305",
    "yesterday",
    "2021-03",
    "Mon Jan 01 00:00:00 +2300 0001",
)
SCORES = {"7": ("7", " 7 ", "7.0", "7.", "+7", "70e-1", 7, 7.0), "1000": ("1e3", "1000.00"), "-3": ("-3", "-3.0", -3)}
SCORES |= {None: ("abc", "7.5", "1,234", "9" * 12, "9" * 400, "1e99", "inf", "0x7", "--1", 7.5)}
DAYS = (
    "2021-03-05",
    "2021/03/05",
    "2021.3.5",
    "2021-3-5 08:00",
    "2021-03-05 12:00:00+00",
    "2021-03-05T12:00:00.000-04:00",
    "Fri Mar 05 14:01:15 -0500 2021",
    "1614902400",
    "1614902400.0",
    "1614902400000",
)


def opened(folder: Path, columns: dict[str, list], suffix: str = ".csv", filters: Filters | None = None) -> Board:
    """The board of a table, and of a picture for each of the numbers 1 to 12."""
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    for number in range(1, 13):
        (pictures / f"{number}.png").write_bytes(Drawn(number, []).png())
    count = len(next(iter(columns.values())))
    columns = {"id": list(range(1, count + 1)), "tag_string": ["red sky"] * count, "rating": ["s"] * count} | columns
    table = write_table(folder / f"posts{suffix}", columns)
    return open_board("table", Settings([pictures], table, filters=filters))


def numbers(board: Board) -> set[int]:
    return {int(post.id.removesuffix(".png")) for post in board.posts()}


@pytest.mark.parametrize(("expected", "cells"), SCORES.items())
def test_scores(expected, cells):
    assert read_scores(pa.array([str(cell).strip() for cell in cells])).to_pylist() == [expected] * len(cells)


def test_days():
    assert read_days(pa.array(DAYS)).to_pylist() == ["2021-03-05"] * len(DAYS)
    assert read_days(pa.array([*UNREAD, None])).to_pylist() == [None] * (len(UNREAD) + 1)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1.0, 1.5, None, float("nan"), float("inf"), -1.0, 2.0]),
        pa.array(["1.0", "1.5", None, "x", "", "-1", "002."]),
        pa.array([1, -1, None, 10**18, -2, None, 2]),
        pa.array(["1", "a", "b", "c", "d", "e", "2"]).dictionary_encode(),
        pa.array([1, -1, None, -2, -3, -4, 2]).cast(pa.decimal128(25, 2)),
    ],
)
def test_ids(column):
    assert read_ids(column, 7).to_pylist() == ["1", *[None] * 5, "2"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_cannot_be_read_is_counted_once_for_each_kind(suffix, tmp_path, capsys):
    columns = {
        "score": ["abc", "7.5", " 7", "+7", "", "NULL", "x"],
        "created_at": ["05.03.2021", "2021/03/05", "", "nan", "0000-00-00", "1614902400", "x"],
        "rating": ["s", " E ", "banana", "rating:safe", "", "NULL", "x"],
        "parent_id": ["x", "1.0", "0", "", "NULL", "2", "x"],
        "id": [1, 2, 3, 4, 5, 6, 999],  # the last has no picture
    }
    assert numbers(opened(tmp_path, columns, suffix)) == {1, 2, 3, 4, 5, 6}
    assert capsys.readouterr().err.splitlines() == [
        "tags are separated by spaces, as in 'red sky'; --separator changes that",
        "2 scores cannot be read as whole numbers and count as missing, such as 'abc' of post 1",
        "1 dates cannot be read and count as missing, such as '05.03.2021' of post 1; expected the form 2021-03-05",
        "1 parents cannot be read as ids and count as missing, such as 'x' of post 1",
        "1 ratings are not known and count as not safe, such as 'banana' of post 3; expected general, sensitive, safe, "
        "questionable, explicit",
    ]
    for filters, expected in ((Filters([], [], min_score=7), {3, 4}), (Filters([], [], after="2021-03-05"), {2, 6})):
        assert numbers(opened(tmp_path, columns, suffix, filters)) == expected


def test_an_unknown_rating_is_not_safe(tmp_path):
    columns = {"rating": ["banana", "4", "sketchy", "safe", " S "], "tag_string": ["young red"] * 5}
    assert numbers(opened(tmp_path, columns)) == {4, 5}


@pytest.mark.parametrize(
    "column",
    [
        pa.array([datetime.datetime(2021, 3, 5, 12), None], pa.timestamp("us")),
        pa.array([datetime.datetime(2021, 3, 5, 12), None], pa.timestamp("ns", "UTC")),
        pa.array([datetime.date(2021, 3, 5), None]),
        pa.array([1614902400, None]),
        pa.array([1614902400.0, None]),
        pa.array(["2021-03-05 12:00:00+00", ""]).dictionary_encode(),
    ],
)
def test_columns_of_dates_in_parquet(column, tmp_path, capsys):
    board = opened(tmp_path, {"created_at": column}, ".parquet", Filters([], [], after="2021-03-05", before="2021-03-06"))
    assert numbers(board) == {1}
    assert "cannot be read" not in capsys.readouterr().err


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ids_that_are_no_whole_numbers_are_not_used(suffix, tmp_path, capsys):
    board = opened(tmp_path, {"id": [1.0, 1.5, 3.0, None, 5.0]}, suffix)
    assert numbers(board) == {1, 3, 5}
    assert "2 rows have no id that is a whole number and are not used, such as '1.5'\n" in capsys.readouterr().err
    assert board.skipped == {"pictures without a row of the table": 9}


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view()])
def test_other_kinds_of_text_in_parquet(kind, tmp_path):
    columns = {"tag_string": pa.array(["red sky"] * 3, kind), "rating": pa.array(["s"] * 3, kind), "id": [1, 2, 3]}
    assert numbers(opened(tmp_path, columns, ".parquet")) == {1, 2, 3}
    without = {
        "id": pa.array(["1", "2"], kind),
        "tag_string": pa.array([["red"], None], pa.list_(kind)),
        "rating": [None] * 2,
    }
    assert numbers(opened(tmp_path, without, ".parquet")) == {1}


def test_rows_of_the_same_post_are_named(tmp_path, capsys):
    board = opened(tmp_path, {"id": ["1", "1", "01", "2"]})
    assert numbers(board) == {1, 2}
    line = "2 rows are of a post that has a later row, such as post 1 with 1.png: the last counts\n"
    assert line in capsys.readouterr().err
    assert board.skipped["rows of a post that has a later row"] == 2


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_of_several_rows_of_a_post_the_last_counts(suffix, tmp_path):
    tags = ["red", "red young", "red young", "blue", "red", "red"]
    columns = {"id": [1, 1, 2, 2, 3, 3], "tag_string": tags, "rating": ["g", "e", "e", "g", "g", "g"]}
    board = opened(tmp_path, columns | {"is_deleted": ["f", "f", "f", "f", "f", "t"]}, suffix)
    assert {post.id: post.tags for post in board.posts()} == {"2.png": ("blue",)}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rows_that_a_board_hides(suffix, tmp_path):
    columns = {
        "status": ["Deleted", "pending", "banned", "hidden", "active", "", "flagged", "active", "active", "active"],
        "hidden_from_users": ["f", "f", "f", "f", "true", "false", "0", "f", "f", "f"],
        "flags": ["{}"] * 7
        + ['{"pending": false, "deleted": true}', "{'deleted': True}", '{"deleted": false, "flagged": true}'],
    }
    assert numbers(opened(tmp_path, columns, suffix)) == {6, 7, 10}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_flags_as_objects(suffix, tmp_path):
    flags = [{"deleted": number == 1, "pending": number == 2, "flagged": True} for number in range(1, 4)]
    assert numbers(opened(tmp_path, {"flags": flags}, suffix)) == {3}


@pytest.mark.parametrize(
    ("more", "ratings", "has_young", "is_said"),
    [
        ({}, "sqe", False, True),
        ({"locked_tags": [""] * 3}, "sqe", True, False),
        ({"change_seq": [1] * 3}, "sss", True, False),
        ({"large_file_url": ["u"] * 3}, "sqe", False, False),
        ({"pixiv_id": [5] * 3}, "ssq", False, False),
        ({"tag_count_general": [5] * 3}, "ssq", False, False),
        ({}, "gse", False, False),
    ],
)
def test_whose_letter_s_it_is(more, ratings, has_young, is_said, tmp_path, capsys):
    columns = {"rating": list(ratings), "tag_string": ["red young" if letter == "s" else "red" for letter in ratings]}
    young = {number for number, letter in enumerate(ratings, 1) if letter == "s"}
    assert numbers(opened(tmp_path, columns | more)) == ({1, 2, 3} if has_young else {1, 2, 3} - young)
    assert ("the rating s is read as safe, but not for posts with young characters" in capsys.readouterr().err) == is_said
    if is_said:
        assert numbers(opened(tmp_path, {"rating": ["s"] * 3}, filters=Filters(["safe"], []))) == {1, 2, 3}


def test_sfw_is_safe_and_ratings_that_are_there_are_named(tmp_path):
    columns = {"rating": ["sfw", "SFW", "q", ""]}
    assert numbers(opened(tmp_path, columns, filters=Filters(["safe"], []))) == {1, 2}
    with pytest.raises(InputError, match="; their ratings: 1 not rated, 1 questionable, 2 safe; without a row"):
        numbers(opened(tmp_path, columns, filters=Filters(["explicit"], [])))


def test_no_row_has_an_id(tmp_path):
    with pytest.raises(InputError, match="has no row that can be used for one of the 12 pictures"):
        numbers(opened(tmp_path, {"id": ["-1", "x"]}))


def test_by_a_program(tmp_path):
    opened(tmp_path, {"score": ["abc", "1e3", "2"], "created_at": ["05.03.2021", "2021-03-05", "2021/03/05"]})
    options = ("--board", "table", "--table", tmp_path / "posts.csv", "--images", tmp_path / "pictures", "--min-score", 3)
    done = program("download.py", *options, "--out", tmp_path / "data", "--min-positives", 1)
    assert done.returncode == 0, done.stderr
    assert "1 scores cannot be read as whole numbers and count as missing, such as 'abc' of post 1\n" in done.stderr
    assert "1 dates cannot be read and count as missing, such as '05.03.2021' of post 1; expected" in done.stderr
    assert "2 skipped: a lower score" in done.stdout and "9 skipped: pictures without a row" in done.stdout
    assert "9.png,no row of the table" in (tmp_path / "data" / "quarantine.csv").read_text()
