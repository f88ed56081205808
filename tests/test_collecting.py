"""Corrections that cannot be used are named, with the file they are in, and the others are used."""

import json
import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from conftest import program
from PIL import Image

from common.errors import InputError, counted, cut
from inference import annotations
from labels import collecting, feedback, review

TAGS = [["red", "sky"], ["red", "tree"], ["sky", "tree"], ["cat", "red"], ["cat", "sky"], ["cat", "tree"]]


def make(folder: Path, board: str = "folder") -> Path:
    """Make 24 pictures with two of four tags each, the first of them with a third that is too rare, and a data folder."""
    (folder / "pictures").mkdir()
    for number in range(24):
        path = folder / "pictures" / f"{number:02}.png"
        Image.new("RGB", (32, 32), (number * 10, 255 - number * 9, number * 37 % 256)).save(path)
        names = [*TAGS[number % 6], *(["fox"] if number == 0 else [])]
        if board == "hydrus":
            path.with_name(f"{path.name}.json").write_text(json.dumps({"tags": names}))
        else:
            path.with_suffix(".txt").write_text(", ".join(names))
    options = ("--size", 32, "--min-positives", 2, "--val", 15, "--test", 15, "--out", "data/p")
    done = program("download.py", "--board", board, "--images", "pictures", *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def pictures(made, tmp_path, monkeypatch):
    """The folder of the pictures and texts, beside data/p, which was made from it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("pictures")


def collect(*decisions: Path, events=()) -> collecting.Collected:
    return collecting.collect(Path("data/p"), list(events), list(decisions))


def answers_in(collected: collecting.Collected) -> dict[tuple[str, str], bool]:
    return {(each.id, each.tag): each.has_tag for each in collected.table}


def message(capsys, beginning: str) -> str:
    [line] = [line for line in capsys.readouterr().err.splitlines() if beginning in line]
    return line


def test_a_text_that_is_not_utf_8_is_named_and_the_others_are_used(pictures, capsys):
    (pictures / "00.txt").write_bytes("r\xe4d, sky".encode("latin-1"))
    (pictures / "01.txt").write_text("red")
    assert answers_in(collect()) == {("01.png", "tree"): False}
    line = message(capsys, "cannot be read")
    assert line.startswith("1 text cannot be read") and "tags are not UTF-8: 00.txt" in line and "save as UTF-8" in line


def test_new_tags_are_named_and_are_no_corrections(pictures, capsys):
    (pictures / "00.txt").write_text("red, sky, fox, wolf")  # the fox is not new
    (pictures / "01.txt").write_text("red, wolf, tree, cat")
    annotations.write(pictures / "02.txt", ["program's tag"], "append", "1.0", "comma")
    assert answers_in(collect()) == {("01.png", "cat"): True}
    line = message(capsys, "new tag")
    assert line.startswith("1 new tag of 2 pictures") and f"wolf in {pictures / '00.txt'}" in line
    for number in range(10, 20):
        with (pictures / f"{number}.txt").open("a") as file:
            file.write(", wolf")
    assert program("download.py", "--add", "--out", "data/p").returncode == 0
    collect()
    assert "new tag" not in capsys.readouterr().err and "wolf" in Path("data/p/tags.csv").read_text()


@pytest.mark.parametrize(
    "text",
    ["red; sky; fox", "red, sky, tree; cat", "red sky fox", "red\tsky\tfox", "red, sky fox", "character:red; sky", "wolf"],
)
def test_a_text_with_another_separator_rejects_nothing(pictures, capsys, text):
    (pictures / "00.txt").write_text(text)
    (pictures / "01.txt").write_text("red")
    assert answers_in(collect()) == {("01.png", "tree"): False}
    line = message(capsys, "not used")
    assert line.startswith(f"1 text is not used, such as {pictures / '00.txt'}") and "sky" in line


@pytest.mark.parametrize(
    "text, expected",
    [
        ("fox", {"red": False, "sky": False}),  # it was there before
        ("tree, wolf", {"red": False, "sky": False, "tree": True}),
        ("\ufeffRed\r\ntree\r\n", {"sky": False, "tree": True}),
    ],
)
def test_a_text_whose_tags_are_others_is_used(pictures, text, expected):
    (pictures / "00.txt").write_text(text, newline="", encoding="utf-8")
    assert answers_in(collect()) == {("00.png", tag): answer for tag, answer in expected.items()}


def test_an_edit_that_is_undone_is_taken_back(pictures):
    text = (pictures / "01.txt").read_text()
    for number, (content, expected) in enumerate((("red, cat", False), (text, True))):
        (pictures / "01.txt").write_text(content)
        os.utime(pictures / "01.txt", (time.time() + number, time.time() + number))
        assert answers_in(collect()) == {("01.png", "tree"): expected, ("01.png", "cat"): not expected}
    assert not collect().added


def test_pictures_that_are_gone_are_counted(pictures, capsys):
    (pictures / "00.txt").write_text("")
    (pictures / "01.txt").unlink()
    (pictures / "02.png").rename(pictures / "other.png")
    assert answers_in(collect()) == {}
    assert message(capsys, "not compared").startswith("3 pictures of the data folder are not compared")
    for path in pictures.glob("*.txt"):
        path.write_text("")
    assert answers_in(collect()) == {}  # other corrections can be learned all the same
    assert "the texts beside the pictures are not compared" in capsys.readouterr().err


def test_sidecars_of_hydrus_in_json_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path, "hydrus"))
    Path("pictures/01.png.json").write_text(json.dumps({"tags": ["red", "cat"]}))
    assert answers_in(collect()) == {("01.png", "tree"): False, ("01.png", "cat"): True}


def test_all_counts_of_a_line_are_of_the_same_corrections(pictures):
    Path("d.csv").write_text(f"id,tag,decision\n01.png,tree,no\n01.png,{'w' * 200},yes\n")
    text = collect(Path("d.csv")).summary()
    assert "1 correction of 1 picture in" in text and "1 of them new; 1 contradicts the labels" in text
    assert "1 could not be placed, 1 of them new" in text and "w" * 59 + "…" in text and "w" * 60 not in text
    os.utime("d.csv", (time.time() + 60, time.time() + 60))
    assert "0 of them new; 1 contradicts" in collect(Path("d.csv")).summary()  # the same decisions, in a newer file


@pytest.mark.parametrize(
    "rows, words",
    [
        (None, "expected the columns id,tag,decision, separated by commas. Received: an empty file"),
        ("id;tag;decision\na;b;yes\n", "expected the columns id,tag,decision, .* Received: id;tag;decision$"),
        ("md5,tag,decision\n", "expected the columns id,tag,decision, .* Received: md5,tag,decision$"),
        ("id,tag,decision\na,b\n", "line 2: the row is too short, it has no decision: .* Received: 'a,b'"),
        ("id,tag,decision\na,b,yes,no\n", "line 2: 4 cells in a table of 3 columns"),
        ("id,tag,decision\na,,yes\n", "line 2: .* but tag is empty"),
        ("id,tag,decision\na,b,yes\na,b,no\n", "line 3, a, b: line 2 says yes, and this line no: remove one"),
        ('id,tag,decision\na,"b,yes\nc,"d",no\n', "line 3: .* without control characters"),
        (f"id,tag,decision\na,{'b' * 200},maybe\n", f"a, {'b' * 59}…: expected yes, no or nothing"),
    ],
)
def test_what_is_wrong_in_a_table_of_decisions_is_named(tmp_path, rows, words):
    (tmp_path / "d.csv").write_text(rows or "")
    with pytest.raises(InputError, match=rf"d\.csv.*{words}"):
        review.read_decisions(tmp_path / "d.csv")


def test_decisions_may_be_repeated_and_left_open(tmp_path, capsys):
    (tmp_path / "d.csv").write_bytes(b"\xef\xbb\xbfid,tag,decision\r\na, b ,YES\r\na,b,yes,,\r\na,b,\r\n")
    assert review.read_decisions(tmp_path / "d.csv") == {("a", "b"): True} and not capsys.readouterr().err
    for rows, words in (
        ("", "there are no rows"),
        ("a,b,\n", "1 row is undecided"),
        ("a,b,\nc,d,\n", "2 rows are undecided"),
    ):
        (tmp_path / "d.csv").write_text(f"id,tag,decision\n{rows}")
        assert review.read_decisions(tmp_path / "d.csv") == {}
        assert capsys.readouterr().err == f"{tmp_path / 'd.csv'} has no decisions: {words}\n"


def test_files_of_marks_that_cannot_be_read_are_named(tmp_path):
    for name, words in (("none", "is missing"), ("folder", "is not a file"), ("damaged", "cannot be read"), ("odd", "soon")):
        file = tmp_path / f"{name}.sqlite"
        if name == "folder":
            file.mkdir()
        if name == "damaged":
            file.write_bytes(bytes(range(256)) * 20)
        if name == "odd":
            events = feedback.Events(file, "a model")
            events.add("0" * 32, [("red", "added")], [])
            events.close()
            with sqlite3.connect(file) as database:
                database.execute("UPDATE events SET seconds = 'soon'")
            database.close()
        with pytest.raises(InputError, match=rf"{name}\.sqlite .*{words}.*: expected a file of marks"):
            feedback.timed_verdicts(file)


def test_a_file_without_marks_is_named(pictures, capsys):
    feedback.Events(Path("e.sqlite"), "a model").close()
    collect(events=[Path("e.sqlite")])
    assert "e.sqlite has no marks" in capsys.readouterr().err


def test_numbers_and_texts_in_messages():
    assert [counted(number, "tag") for number in (0, 1, 2000)] == ["0 tags", "1 tag", "2,000 tags"]
    assert counted(1, "row is", "rows are") == "1 row is" and counted(2, "row is", "rows are") == "2 rows are"
    assert cut("x" * 60) == "x" * 60 and cut("x" * 61) == "x" * 59 + "…"
