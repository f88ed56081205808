"""Tables and text files with tags, as other programs write them."""

import json

import numpy as np
import pytest
from PIL import Image
from written_collections import Drawn

from common.errors import InputError
from dataset.boards.folder import FolderBoard
from dataset.boards.tag_table import Columns
from dataset.build.build import build
from dataset.build.selection import Options
from dataset.records import CATEGORIES
from inference import annotations, sidecars

EXPECTED = {"a.png": ("cat", "big dog"), "b.png": ("x",)}


@pytest.fixture
def folder(tmp_path):
    """A folder with the pictures a.png and b.png."""
    for number, name in enumerate("ab"):
        Image.new("RGB", (8, 8), (number * 90, 0, 0)).save(tmp_path / f"{name}.png")
    return tmp_path


def tags_of(board: FolderBoard) -> dict[str, tuple[str, ...]]:
    return {post.id: post.tags for post in board.posts()}


@pytest.mark.parametrize(
    "suffix, content",
    [
        (".json", json.dumps([{"file": "a.png", "tags": {"cat": 0.5, "big dog": 0.4}}, {"file": "b", "tags": {"x": 1}}])),
        (".json", json.dumps({"a.png": {"caption": "a cat", "tags": "cat, big dog"}, "b": {"tags": "x"}})),
        (".json", json.dumps({"a.png": ["cat", "big dog"], "b": {"x": 0.5}})),
        (".json", '[{"id": "a", "tags": {"general": ["cat"], "species": ["big dog"]}}, {"id": "b", "tags": ["x"]}]'),
        (".jsonl", '{"file_name": "a.png", "text": "cat, big dog"}\n{"file_name": "b.png", "text": "x"}\n'),
        (".csv", "filename,cat,Big Dog,x\na.png,1,1.0\nb.png,0,,1\n"),
        (".csv", "id,tags\na.png,\"('cat', 'big dog')\"\nb.png,\"('x',)\"\n"),
        (".csv", 'id,tags\na.png,"[cat, big dog]"\nb.png,[x]\n'),
        (".csv", 'id,filename,tags\n1,a.png,"cat, big dog"\n2,b.png,x\n'),
        (".csv", 'id,tags\nA.PNG,"cat, big dog"\nB,x\n'),
        (".csv", 'gone.png,"cat, sun"\na.png,"cat, big dog"\nb.png,x\n'),
        (".csv", '0012,"cat, sun"\na,"cat, big dog"\nb,x\n'),
        (".csv", 'zzz.heic,"cat, sun"\na,"cat, big dog"\nb,x\n'),
        (".csv", 'id,tags\n\\\\server\\share\\a.png,"cat, big dog"\nb,x\n'),
        (".csv", "id,tags\nD:\\pictures\\a.png,\"cat, big dog\"\n.\\b.png,x\n"),
    ],
)  # fmt: skip
def test_tables_are_read(folder, suffix, content):
    table = folder / f"table{suffix}"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        table.write_bytes(content.encode(encoding))
        assert tags_of(FolderBoard([folder], table)) == EXPECTED


@pytest.mark.parametrize(
    "suffix, content, words",
    [
        (".json", '{"a": 1', "neither JSON nor"),
        (".json", "[1, 2]", "array of objects"),
        (".json", '[{"x": 1}]', "expected objects with the keys id and tags; theirs are x"),
        (
            ".csv",
            "file,cat,dog\na.png,1,0\n" + "b.png,0,1\n" * 30 + "b.png,2,0\n",
            "line 33: expected 1 or 0",
        ),
        (".csv", "name,words\na.png,cat\n", "--id-column, --tags-column"),
    ],
)
def test_a_table_that_says_something_else_is_named(folder, suffix, content, words):
    table = folder / f"table{suffix}"
    table.write_text(content)
    with pytest.raises(InputError, match=words):
        tags_of(FolderBoard([folder], table))


def test_the_columns_can_be_named(folder):
    table = folder / "table.csv"
    table.write_text('Name,file,Words,tags\na.png,1,"cat, big dog",no\nb.png,2,x,no\n')
    assert tags_of(FolderBoard([folder], table, Columns(id="name", tags="words"))) == EXPECTED
    with pytest.raises(InputError, match="lacks a column: expected a first line with name and word"):
        tags_of(FolderBoard([folder], table, Columns(id="name", tags="word")))


def test_capitals_count_where_two_files_differ_in_nothing_else(folder):
    Image.new("RGB", (8, 8), "blue").save(folder / "A.PNG")
    if len(list(folder.iterdir())) == 2:
        pytest.skip("this file system does not distinguish them")
    (folder / "table.csv").write_text("id,tags\nA.PNG,cat\na.png,dog\nB.PNG,sun\n")
    assert tags_of(FolderBoard([folder], folder / "table.csv")) == {"A.PNG": ("cat",), "a.png": ("dog",), "b.png": ("sun",)}


def test_namespaces_become_categories(folder, capsys):
    (folder / "a.txt").write_text("character:samus aran, creator:nintendo, :3, page:4")
    (folder / "b.caption").write_text("samus aran, series:metroid, (cat, big dog:1.2)")
    (folder / "b.png.caption").write_text("samus aran, series:metroid, (cat, big dog:1.2)")
    board = FolderBoard([folder], None)
    assert tags_of(board) == {
        "a.png": ("samus aran", "nintendo", ":3", "page:4"),
        "b.png": ("samus aran", "metroid", "cat", "big dog"),
    }
    categories = {"samus aran": "character", "nintendo": "artist", "metroid": "copyright", "cat": "general"}
    assert {tag: board.category(tag) for tag in categories} == {tag: CATEGORIES[name] for tag, name in categories.items()}
    assert "1 text files are not read" in capsys.readouterr().err
    assert sidecars.merge_tags(["samus_aran", "new"], "character:samus aran, x\n") == "character:samus aran, x, new\n"


def test_of_equal_files_the_first_gets_all_tags(folder):
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())
    for name, tags in {"a": "cat", "b": "x", "c": "big dog, cat"}.items():
        (folder / f"{name}.txt").write_text(tags)
    board = FolderBoard([folder], None)
    assert tags_of(board) == EXPECTED
    assert board.rejected == [("c.png", "copy: same bytes as a.png, which gets its tags big dog")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_text_files_in_utf_16_keep_their_encoding(tmp_path, encoding, mode):
    path = tmp_path / "a.caption"
    before = "\ufeffmine, ö\r\n".encode(encoding)
    path.write_bytes(before)
    assert annotations.write(path, ["mine", "new"], mode, "1")
    kept = "mine, ö, new\r\n" if mode == "append" else "mine, new\n"
    assert path.read_bytes() == f"\ufeff{kept}".encode(encoding)
    assert annotations.undo(tmp_path) == (1, [], {}) and path.read_bytes() == before
    assert not annotations.write(tmp_path / "b.txt", [], mode, "2") and not (tmp_path / "b.txt").exists()


def test_a_folder_that_has_changed_is_not_complete(tmp_path, capsys):
    pictures, random = tmp_path / "pictures", np.random.default_rng(0)
    pictures.mkdir()

    def add(number: int, tags: str) -> None:
        Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(tags)

    def make() -> None:
        options = Options("folder", str(pictures), None, 9, 99, 1, 16, 0, 20, 20, ["general"])
        build(lambda: FolderBoard([pictures], None), options, tmp_path / "data")

    for number in range(20):
        add(number, "cat, dog" if number % 2 else "cat")
    make()
    make()
    assert "is already complete" in capsys.readouterr().err
    add(30, "dog, cat")
    add(3, "cat")  # and other pixels
    (pictures / "5.png").unlink()
    with pytest.raises(InputError) as error:
        make()
    for words in ("1 new (such as 30.png)", "1 left out now (such as 5.png)", "1 tagged otherwise (such as 3.png)"):
        assert words in str(error.value)
    assert "1 another picture under the same name (such as 3.png)" in str(error.value)


@pytest.mark.parametrize(
    "tags",
    [
        {"general": "red blue_sky", "artist": "bob"},
        {"general": ["red", "blue_sky"], "artist": ["bob"], "character": None},
        {"general": {"red": 0.9, "blue_sky": 0.5}, "artist": {"bob": 1}, "rating": {"general": 0.1, "safe": 0.8}},
    ],
)
def test_tags_by_category_in_a_json_table(tags, tmp_path):
    (tmp_path / "1.png").write_bytes(Drawn(1, []).png())
    table = tmp_path / "tags.json"
    table.write_text(json.dumps([{"id": "1.png", "tags": tags}]))
    board = FolderBoard([tmp_path], table)
    [post] = board.posts()
    assert post.tags == ("red", "blue_sky", "bob")
    assert post.rating == ("safe" if "rating" in tags else "")
    assert [board.category(tag) for tag in post.tags] == [0, 0, 1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 100_000, "brackets in brackets"),
        (f'[{{"id": {"9" * 5000}, "tags": "a"}}]', "at most 4,300 digits"),
        ('[{"id": "1.png", "tags": "\\ud800x"}, {"id": "2.png", "tags": "hat"}]', ""),
        ('[{"id": "1.png", "tags": "hat", "group": "\\ud800"}, {"id": "2.png", "tags": "hat"}]', ""),
    ],
)
def test_json_tables_that_are_damaged(content, reason, tmp_path):
    for drawn in (Drawn(1, []), Drawn(2, [])):
        (tmp_path / f"{drawn.number}.png").write_bytes(drawn.png())
    table = tmp_path / "tags.json"
    table.write_text(content)
    board = FolderBoard([tmp_path], table)
    if reason:
        with pytest.raises(InputError, match=f"tags.json is neither JSON nor JSON on each line: .*{reason}"):
            list(board.posts())
        return
    assert [post.id for post in board.posts()] == ["2.png"]
    assert board.rejected == [("1.png", "control characters, or halves of characters")]
