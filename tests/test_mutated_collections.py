"""Metadata that are damaged in any way: one clear reason for each picture, no traceback, and nothing lost in silence."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from written_collections import FORMS, Drawn

from common.errors import InputError
from dataset.boards.board import Board, Settings, open_board
from dataset.boards.post_json import read_post

PICTURES = [Drawn(number, ["hat", "long_hair"], character="miku", parent=1) for number in range(1, 26)]
SIDECARS = [form for form in FORMS if form not in ("lines", "tar", "tar with index") and FORMS[form][0] != "table"]
WHOLE_FILES = [form for form in FORMS if form not in SIDECARS]
VALUES = (
    None,
    True,
    0,
    -1,
    10**30,
    1.5,
    float("nan"),
    "",
    "x",
    "s",
    "\ud800",
    "\x00",
    [],
    [None],
    ["a", 1],
    {},
    {"a": [1]},
    [[]],
)
OF_ANY_FORM = [
    pytest.param(4, id="short"),
    pytest.param(400, marks=pytest.mark.slow, id="10,000 pictures"),
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The content of a file with some bytes changed, added, removed, or with values of other kinds in its JSON."""
    kind = chance.randrange(5)
    place, length = chance.randrange(len(data)), chance.randrange(1, 20)
    if kind == 0:
        return data[:place]
    if kind == 1:
        return data[:place] + bytes(chance.randrange(256) for _ in range(length)) + data[place + length :]
    if kind == 2:
        return data[:place] + data[place : place + length] * 3 + data[place:]
    try:
        content = json.loads(data)
    except ValueError:
        return data[:place] + b"\xff\xfe\x00" + data[place:]
    if kind == 3:
        return json.dumps(chance.choice(VALUES)).encode()
    for _ in range(chance.randrange(1, 4)):
        holder, key = chance.choice(list(_places(content)))
        holder[key] = copy.deepcopy(chance.choice(VALUES))
    return json.dumps(content).encode()


def _places(content) -> Iterator[tuple]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield content, key
        yield from _places(value)


def opened(folder: Path, form: str, table: Path | None) -> Board:
    return open_board(FORMS[form][0], Settings([folder], table, tags_path="tags/downloader"))


@pytest.mark.parametrize("rounds", OF_ANY_FORM)
@pytest.mark.parametrize("form", SIDECARS)
def test_sidecars(form, rounds, tmp_path):
    chance = random.Random(form)
    FORMS[form][1](tmp_path, PICTURES)
    sidecars = {path: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".png"}
    assert len(sidecars) == len(PICTURES)
    rejected = 0
    for _ in range(rounds):
        for path, data in sidecars.items():
            path.write_bytes(mutated(data, chance))
        board = opened(tmp_path, form, None)
        try:
            posts = list(board.posts())
        except InputError as error:  # of pictures with nothing but damaged metadata
            assert "none of the 25 images" in str(error) or "no picture is left" in str(error)
            continue
        assert len(posts) + sum(board.skipped.values()) + len({name for name, _ in board.rejected}) == len(PICTURES)
        assert all(post.id and post.group.encode() and all(tag.encode() for tag in post.tags) for post in posts)
        assert all(reason.isprintable() for _, reason in board.rejected)
        rejected += len(board.rejected)
    assert rejected


@pytest.mark.parametrize("rounds", OF_ANY_FORM)
@pytest.mark.parametrize("form", WHOLE_FILES)
def test_files_with_the_metadata_of_all(form, rounds, tmp_path, capsys):
    chance = random.Random(form)
    (tmp_path / "pictures").mkdir()
    table = FORMS[form][1](tmp_path / "pictures", PICTURES)
    path = table or next(path for suffix in ("jsonl", "tar") for path in sorted((tmp_path / "pictures").glob(f"*.{suffix}")))
    data = path.read_bytes()
    for _ in range(rounds):
        path.write_bytes(mutated(data, chance))
        board = opened(tmp_path / "pictures", form, table)
        try:
            posts = list(board.posts())
        except InputError as error:
            assert "\n" not in str(error)
            continue
        assert all(post.group.encode() and all(tag.encode() for tag in post.tags) for post in posts)
        said = capsys.readouterr().err
        assert len(posts) == len(PICTURES) or board.rejected or board.skipped or "tar" in said


@pytest.mark.parametrize("value", VALUES)
def test_any_value_under_any_key(value):
    for key in ("tags", "tag_string", "tags_artist", "rating", "id", "parent_id", "relationships", "pools", "pool", "file"):
        for more in ({}, {"tags": ["hat"]}, {"sha512_hash": "0", "tags": ["safe", "hat"]}):
            for post in ({**more, key: value}, {key: value, **more}):
                try:
                    read = read_post(post)
                except ValueError as error:
                    assert "expected" in str(error)
                else:
                    assert all(isinstance(tag, str) for tag in read.tags)
    for key in ("score", "date", "created_at", "creationTime", "status", "flags", "is_deleted", "md5", "category", "safety"):
        assert read_post({"tags": ["hat"], key: value}).tags == ("hat",)
