"""Damaged and odd files in collections: each is named in one line, and all others are used."""

import io
import json
import tarfile
from pathlib import Path

import pytest
from conftest import program
from written_collections import Drawn, danbooru, e621, posts_by_number, with_json, with_lines, with_tar, with_texts

from common.errors import InputError
from dataset.boards.board import Board, Settings, open_board
from dataset.boards.filters import Filters
from dataset.boards.post_json import read_post
from dataset.boards.visibility import ratings_of

PICTURES = [Drawn(number, ["hat", "blue_sky"]) for number in range(1, 9)]


def ids(board: Board) -> set[str]:
    return {post.id for post in board.posts()}


@pytest.mark.parametrize(
    ("key", "value", "received"),
    [
        ("rating", "zz", "rating 'zz'"),
        ("rating", 3, "rating 3"),
        ("Rating", ["g"], "Rating ['g']"),
        ("score", "abc", "score 'abc'"),
        ("score", True, "score True"),
        ("score", {"up": 1}, "score {'up': 1}"),
        ("date", "05.03.2021", "date '05.03.2021'"),
        ("date", "2021-13-45 00:00:00", "date '2021-13-45 00:00:00'"),
        ("date", 10**20, "date 100000000000000000000"),
        ("date", "x" * 5000, f"date '{'x' * 58}…"),
    ],
)
def test_what_cannot_be_read_is_named(key, value, received, tmp_path, capsys):
    unread = {name: each for name, each in danbooru(PICTURES[0]).items() if name != key.lower()} | {key: value}
    with_json(tmp_path, PICTURES, lambda drawn: unread if drawn.number == 1 else danbooru(drawn))
    board = open_board("gallery-dl", Settings([tmp_path]))
    assert len(ids(board)) == len(PICTURES)
    kind = key.lower()
    counts_as = "neither rated nor safe" if kind == "rating" else f"having no {kind}"
    wanted = f"pictures whose {kind} cannot be read: 1, which count as {counts_as}, such as 1.png: {received}"
    assert wanted in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("score", [" 7", "7.0", "+7", 7.0, "7e0"])
def test_scores_in_other_forms_are_read(score):
    read = read_post({"tags": ["hat"], "score": score, "rating": "", "date": None})
    assert (read.score, read.unreadable) == (7, ())


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (["safe"], {"1.png", "2.png"}),
        (["general"], {"1.png", "2.png"}),
        (["s"], {"1.png", "2.png", "3.png"}),  # Danbooru's is sensitive
        (["q"], {"4.png"}),
        (["sensitive", "questionable"], {"3.png", "4.png"}),
    ],
)
def test_ratings_of_several_boards(asked, wanted, tmp_path):
    pictures = [Drawn(1, ["hat"]), Drawn(2, ["hat"]), Drawn(3, ["hat"], rating="sensitive")]
    pictures += [Drawn(4, ["hat"], rating="questionable")]
    with_json(tmp_path, pictures, lambda drawn: (danbooru if drawn.number in (1, 3) else e621)(drawn))
    filters = Filters(ratings=ratings_of(asked, is_e621=False), exclude=[])
    assert ids(open_board("gallery-dl", Settings([tmp_path], filters=filters))) == wanted


def test_ratings_that_nothing_has(tmp_path):
    with_json(tmp_path, PICTURES, danbooru)
    board = open_board("gallery-dl", Settings([tmp_path], filters=Filters(ratings=["explicit"], exclude=[])))
    with pytest.raises(InputError, match="8 with tags: 8 another rating; their ratings: 8 general"):
        ids(board)


def test_lines_that_are_damaged_repeated_or_alone(tmp_path, capsys):
    with_lines(tmp_path, PICTURES)
    path = tmp_path / "data.jsonl"
    lines = path.read_bytes().splitlines()
    later = json.loads(lines[2]) | {"tags": ["cap"], "tag_string": "cap", "tags_general": ["cap"]}
    later = {name: value for name, value in later.items() if not name.startswith("tag_string_")}
    other = json.loads(lines[0]) | {"id": 99, "md5": "9" * 32, "filename": "another"}
    lines[3:3] = [b"nonsense", b"[1, 2]", b"\xff"]
    lines += [lines[0], json.dumps(later).encode(), json.dumps(other).encode(), lines[1][:40]]
    path.write_bytes(b"\n".join(lines))
    board = open_board("gallery-dl", Settings([tmp_path]))
    posts = posts_by_number(board, PICTURES)
    assert posts.keys() == {drawn.number for drawn in PICTURES}
    assert set(posts[3].tags) == {"cap", "ann"}
    assert [name for name, _ in board.rejected] == [f"data.jsonl, line {number}" for number in (4, 5, 6, 15)]
    said = capsys.readouterr().err
    assert f"{path}: lines that are not used: 4 of 15, such as line 4: expected JSON" in said
    assert "2 lines of .jsonl files are not used: a later line is about the same post" in said
    assert "1 of 9 lines of .jsonl files belong to no picture that can be read, such as data.jsonl, line 14" in said


def test_lines_of_different_posts_with_one_name(tmp_path):
    """Boards without ids name pictures 001, 002 … in each gallery: none of two lines is taken for the other."""
    (tmp_path / "001.png").write_bytes(PICTURES[0].png())
    (tmp_path / "002.png").write_bytes(PICTURES[1].png())
    lines = [
        {"filename": "001", "tags": ["hat"]},
        {"filename": "001", "tags": ["cap"]},
        {"filename": "002", "tags": ["hat"]},
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    board = open_board("gallery-dl", Settings([tmp_path]))
    assert ids(board) == {"002.png"}
    [(name, reason)] = board.rejected
    assert name == "001.png"
    assert reason.endswith("2 lines of .jsonl files could be its own: data.jsonl, line 1, data.jsonl, line 2")


@pytest.mark.parametrize(("content", "reason"), [(b"", "empty file"), (b"ab", "truncated header"), (b"x" * 5000, "header")])
def test_a_tar_that_is_none(content, reason, tmp_path, capsys):
    with_tar(tmp_path, PICTURES)
    (tmp_path / "broken.tar").write_bytes(content)
    assert len(ids(open_board("webdataset", Settings([tmp_path])))) == len(PICTURES)
    [line] = [line for line in capsys.readouterr().err.splitlines() if "broken" in line]
    assert line.startswith(f"{tmp_path / 'broken.tar'} is damaged and not used: ")
    assert line.endswith(reason)


def append(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def test_files_of_a_tar_that_are_not_used(tmp_path, capsys):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        append(tar, "1.png", PICTURES[0].png())
        append(tar, "1.json", b'["hat"]')
        append(tar, "1.txt", b"a person with a hat")
        append(tar, "1.json", b'["cap"]')
        append(tar, "2.txt", b"alone")
        append(tar, "3.cls", b"1")
    board = open_board("webdataset", Settings([tmp_path]))
    assert [post.tags for post in board.posts()] == [("cap",)]
    said = capsys.readouterr().err.splitlines()
    again = "holds files again of a name that it has already: 1, such as 1.json; the last one of a name counts"
    assert f"{tmp_path / 'a.tar'} {again}" in said
    for reason, name in (
        ("they are .cls", "3.cls"),
        ("their picture has another file of tags", "1.txt"),
        ("they belong to no picture that can be read", "2.txt"),
    ):
        assert f"files in tars that are not used, because {reason}: 1, such as a.tar/{name}" in said


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "expected JSON. Received something else in column 2"),
        (b'{\n "tags": x}', "expected JSON. Received something else in line 2, column 10"),
        (b"", "expected JSON. Received an empty file"),
        (b"[" * 100_000, "expected an object with the keys of a post. Received brackets in brackets, too many of them"),
        (b'{"id": ' + b"9" * 5000 + b"}", "expected numbers of at most 4,300 digits"),
        (b"\xff\xfe\x00", "expected text in UTF-8. Received something else from byte 2 on"),
        (b'{"tags": ["a\\u0000"]}', r"tags: expected tags without control characters. Received: 'a\x00'"),
    ],
)
@pytest.mark.parametrize("board", ["gallery-dl", "hydrus", "webdataset"])
def test_reasons_name_the_file(board, content, reason, tmp_path):
    for drawn in PICTURES[:2]:
        (tmp_path / f"{drawn.number}.png").write_bytes(drawn.png())
        (tmp_path / f"{drawn.number}.png.json").write_text('{"tags": ["hat"]}')
    (tmp_path / "1.png.json").write_bytes(content)
    wanted = f"1.png.json: {reason}"
    if board == "webdataset":
        wanted = f"1.json: {reason}"
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for number in (1, 2):
                append(tar, f"{number}.png", (tmp_path / f"{number}.png").read_bytes())
                append(tar, f"{number}.json", (tmp_path / f"{number}.png.json").read_bytes())
    opened = open_board(board, Settings([tmp_path]))
    assert len(ids(opened)) == 1
    [(_, received)] = opened.rejected
    assert received.partition(": ")[2] == wanted


@pytest.mark.parametrize("board", ["folder", "hydrus", "gallery-dl"])
def test_a_namespace_alone_is_no_tag(board, tmp_path):
    with_texts(tmp_path, PICTURES[:1])
    text: Path = next(tmp_path.glob("*.txt"))
    text.write_text("hat\ncreator:\n:\nseries: \n:3\n")
    picture = next(tmp_path.glob("*.png"))
    text.rename(picture.with_name(f"{picture.name}.txt"))
    [post] = open_board(board, Settings([tmp_path])).posts()
    assert post.tags == ("hat", ":3")


@pytest.mark.parametrize("again", ["pictures", "link"])
def test_the_same_folder_twice(again, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    with_texts(folder, PICTURES)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(InputError, match="pictures, which is given already: give it once"):
        open_board("folder", Settings([folder, tmp_path / again]))


def test_a_text_with_control_characters(tmp_path):
    with_texts(tmp_path, PICTURES)
    text = min(tmp_path.glob("*.txt"))
    text.write_bytes(b"hat\0\nblue_sky\n")
    board = open_board("folder", Settings([tmp_path]))
    assert len(ids(board)) == len(PICTURES) - 1
    [(_, reason)] = board.rejected
    assert reason == f"tags have control characters: {text.name}: save it as UTF-8"


@pytest.mark.parametrize("board", ["gallery-dl", "webdataset"])
def test_tags_of_a_text_where_the_json_has_none(board, tmp_path):
    post = json.dumps({"caption": "a hat", "url": "x", "status": "success", "rating": "q"}).encode()
    for drawn in PICTURES[:2]:
        (tmp_path / f"{drawn.number}.png").write_bytes(drawn.png())
        (tmp_path / f"{drawn.number}.json").write_bytes(post)
        (tmp_path / f"{drawn.number}.txt").write_bytes(b"hat\nsky\n")
    if board == "webdataset":
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for path in sorted(tmp_path.glob("[12].*")):
                append(tar, path.name, path.read_bytes())
                path.unlink()
    posts = list(open_board(board, Settings([tmp_path])).posts())
    assert [(post.tags, post.rating) for post in posts] == [(("hat", "sky"), "questionable")] * 2


def test_one_sidecar_of_two_pictures(tmp_path, capsys):
    for suffix in ("png", "gif"):
        (tmp_path / f"a.{suffix}").write_bytes(PICTURES[suffix == "png"].png())
    (tmp_path / "a.json").write_text('{"tags": ["hat"]}')
    (tmp_path / "b.json").write_text('{"tags": ["hat"]}')
    assert len(ids(open_board("gallery-dl", Settings([tmp_path])))) == 2
    assert "1 JSON files belong to no picture" in capsys.readouterr().err


def test_very_long_tags_and_a_link_to_a_data_folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    with_texts(folder, PICTURES)
    min(folder.glob("*.txt")).write_text(f"hat, {'x' * 200_000}")
    options = ("--board", "folder", "--images", folder, "--out", tmp_path / "data", "--size", 16)
    assert program("download.py", *options).returncode == 0
    assert program("download.py", *options).returncode == 0
    (tmp_path / "link").symlink_to(tmp_path / "data")
    done = program("download.py", "--add", "--out", tmp_path / "link")
    assert done.returncode == 1
    assert f"link is a link: give the folder that it leads to, --out {tmp_path / 'data'}" in done.stderr


def test_hydrus_texts_in_one_line(tmp_path, capsys):
    (tmp_path / "1.png").write_bytes(PICTURES[0].png())
    (tmp_path / "1.png.txt").write_text("creator:bob, red, blue sky, rating:safe")
    list(open_board("hydrus", Settings([tmp_path])).posts())
    said = capsys.readouterr().err
    assert f"sidecars with commas in a single line: 1, which is read as one tag, such as {tmp_path / '1.png.txt'}" in said
