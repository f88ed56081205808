"""What separates the tags in a board's table, and the rule about young characters however they are separated."""

import json
from pathlib import Path

import pytest
from conftest import program
from written_collections import Drawn, write_table

from dataset.boards.board import Settings, open_board
from dataset.tag_text import TagReader

CELLS = [["red", "blue sky"], ["hat", "little girl"], ["aged down", "red"], ["young"], ["solo", "blue sky"], ["hat", "red"]]
WANTED = {1: {"red", "blue_sky"}, 5: {"solo", "blue_sky"}, 6: {"hat", "red"}}
OPEN, CLOSE = "{", "}"
LISTS = {
    "Python": str,
    "JSON": json.dumps,
    "a tuple": lambda tags: str(tuple(tags)),
    "a set": lambda tags: str(set(tags)),
    "NumPy": lambda tags: f"[{' '.join(map(repr, tags))}]",
    "without quotes": lambda tags: f"[{', '.join(tags)}]",
    "PostgreSQL": lambda tags: OPEN + ",".join(f'"{tag}"' if " " in tag else tag for tag in tags) + CLOSE,
}
SEPARATED = {"commas": (", ", ","), "line breaks": ("\n", "\r\n"), "semicolons": (";", "; "), "pipes": ("|", " | ")}
FACES = [
    "1girl ;) hat :| |_| solo",
    ";) :|",
    "[x] (9) \\||/ ^^; ;d",
    "(o)_(o) hat_(cosplay)",
    "'_' hat \"_\"",
    "hat red_eyes",
]


def tags_of(folder: Path, cells: list, suffix: str = ".csv", separator: str = "", **more: list) -> dict[int, set[str]]:
    """Number ▶ tags of the posts of a table, which all are questionable."""
    pictures = folder / "pictures"
    pictures.mkdir(exist_ok=True)
    for number in range(1, len(cells) + 1):
        (pictures / f"{number}.png").write_bytes(Drawn(number, []).png())
    columns = {"id": list(range(1, len(cells) + 1)), "tag_string": cells, "rating": ["q"] * len(cells), **more}
    table = write_table(folder / f"posts{suffix}", columns)
    board = open_board("table", Settings([pictures], table, reader=TagReader(separator)))
    tags = {int(post.id.removesuffix(".png")): set(post.tags) for post in board.posts()}
    assert len(tags) + sum(board.skipped.values()) == len(cells)
    return tags


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("form", LISTS)
def test_lists_written_as_text(form, suffix, tmp_path, capsys):
    assert tags_of(tmp_path, [LISTS[form](tags) for tags in CELLS], suffix) == WANTED
    assert "tags are lists written as text in 6 of 6 cells, such as" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "mark"), [(name, mark) for name, marks in SEPARATED.items() for mark in marks])
def test_separators(name, mark, tmp_path, capsys):
    assert tags_of(tmp_path, [mark.join(tags) for tags in CELLS]) == WANTED
    assert f"tags are separated by {name}, as in 'red" in capsys.readouterr().err
    with_underscores = [mark.join(tag.replace(" ", "_") for tag in tags) for tags in CELLS]
    assert tags_of(tmp_path, with_underscores, ".parquet") == WANTED


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_columns_of_lists(suffix, tmp_path, capsys):
    cells = [[*tags, "a,b; c"] for tags in CELLS]  # nothing inside separates tags
    assert tags_of(tmp_path, cells, suffix) == {number: tags | {"a,b;_c"} for number, tags in WANTED.items()}
    assert "separated by" not in capsys.readouterr().err


def test_lists_among_other_cells(tmp_path, capsys):
    cells = [
        "red sky",
        '["blue sky", "hat"]',
        ["solo", "long hair"],
        "['red', 'sk",
        '{"general": ["red"]}',
        "['hat', 'young']",
    ]
    assert tags_of(tmp_path, cells, ".jsonl") == {1: {"red", "sky"}, 2: {"blue_sky", "hat"}, 3: {"solo", "long_hair"}}
    said = capsys.readouterr().err
    assert "tags are separated by spaces, as in 'red sky'" in said and 'in 3 of 6 cells, such as \'["blue sky"' in said


def test_damaged_lists_are_in_quarantine(tmp_path):
    tags_of(tmp_path, ["['red', 'sky']"] * 8 + ["['red', 'sk"])
    options = ("--board", "table", "--table", tmp_path / "posts.csv", "--images", tmp_path / "pictures")
    done = program("download.py", *options, "--out", tmp_path / "data", "--min-positives", 1)
    assert done.returncode == 0 and "1 skipped: tags that cannot be read" in done.stdout, done.stderr
    assert '9.png,"its tags are a list that is not complete' in (tmp_path / "data" / "quarantine.csv").read_text()


def test_faces_and_names_with_such_signs_change_nothing(tmp_path, capsys):
    cells = [*FACES, "steins;gate makise_kurisu hat", "chaos;head", "k|x hat", "red"]
    assert tags_of(tmp_path, cells) == {number: set(cell.split()) for number, cell in enumerate(cells, 1)}
    titles = ["steins;gate"] * 9
    (tmp_path / "titles").mkdir()
    posts = tags_of(tmp_path / "titles", ["1girl hat steins;gate"] * 9, tag_string_copyright=titles)
    assert all(tags == {"1girl", "hat", "steins;gate"} for tags in posts.values())
    assert "look" not in capsys.readouterr().err


def test_cells_that_look_otherwise_are_counted(tmp_path, capsys):
    posts = tags_of(tmp_path, ["red sky"] * 7 + ["red;hat;little_girl", "loli, red"])
    assert posts == {number: {"red", "sky"} for number in range(1, 8)}
    said = capsys.readouterr().err
    assert "1 of 9 cells look separated by semicolons, such as 'red;hat;little_girl' of post 8; read as separated" in said
    assert "1 of 9 cells look separated by commas, such as 'loli, red' of post 9; read as separated by spaces\n" in said


def test_a_cell_with_spaces_among_commas_has_one_tag_unless_underscores_show_several(tmp_path, capsys):
    posts = tags_of(tmp_path, ["red, blue sky", "a, b", "c, d", "long hair", "long_hair little_girl", "long_hair red"])
    assert posts[1] == {"red", "blue_sky"} and posts[4] == {"long_hair"} and posts[6] == {"long_hair", "red"}
    assert 5 not in posts
    line = "2 of 6 cells look separated by spaces, such as 'long_hair little_girl' of post 5; read as separated by spaces\n"
    assert line in capsys.readouterr().err


def test_the_user_may_say_what_separates_tags(tmp_path, capsys):
    cells = ["steins;gate", "chaos;head", "red;hat"]
    assert tags_of(tmp_path, cells)[1] == {"steins", "gate"}
    assert "--separator changes that" in capsys.readouterr().err
    assert tags_of(tmp_path, cells, separator="space") == {number: {cell} for number, cell in enumerate(cells, 1)}
    assert capsys.readouterr().err == ""
    for separator in ("comma", "list", "pipe"):  # a separator that is not there does not hide what tags name
        assert tags_of(tmp_path, ["little_girl hat", "hat solo_x", "hat"], separator=separator) == {
            2: {"hat", "solo_x"},
            3: {"hat"},
        }
    tags_of(tmp_path, cells)
    options = ("--board", "table", "--table", tmp_path / "posts.csv", "--images", tmp_path / "pictures")
    done = program("download.py", *options, "--separator", "space", "--out", tmp_path / "data", "--min-positives", 1)
    assert done.returncode == 0 and "steins;gate" in (tmp_path / "data" / "tags.csv").read_text(), done.stderr


def test_excluded_tags_in_lists(tmp_path):
    tags_of(tmp_path, [str(tags) for tags in CELLS])
    options = ("--board", "table", "--table", tmp_path / "posts.csv", "--images", tmp_path / "pictures", "--exclude", "solo")
    done = program("download.py", *options, "--out", tmp_path / "data", "--min-positives", 1)
    assert done.returncode == 0 and "1 skipped: an excluded tag" in done.stdout, done.stderr


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_entities_and_characters_without_width(suffix, tmp_path, capsys):
    cells = ["rock_&amp;_roll d&#039;arc &gt;_&lt;", "yo\u200bung red", "\ufeffred sky", "a&b;c red"]
    wanted = {1: {"rock_&_roll", "d'arc", ">_<"}, 3: {"red", "sky"}, 4: {"a&b;c", "red"}}
    assert tags_of(tmp_path, cells, suffix) == wanted
    assert "look" not in capsys.readouterr().err
    if suffix != ".csv":
        assert tags_of(tmp_path, [cell.split() for cell in cells], suffix) == wanted


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_control_characters_and_blank_entries(suffix, tmp_path):
    assert tags_of(tmp_path, ["red\x01 sky", "red", "re\x7fd"], suffix) == {2: {"red"}}
    if suffix != ".csv":
        assert tags_of(tmp_path, [["re\x01d"], ["red", " ", ""], [" sky "]], suffix) == {2: {"red"}, 3: {"sky"}}
