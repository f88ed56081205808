"""hydrus.py: what a hydrus client is asked, what it gets, and what happens when it refuses or ends."""

import json

import pytest
from conftest import program
from small_hydrus import KEY, SmallHydrus

from dataset.records import CATEGORIES, Tag
from inference.hydrus_client import hydrus_names

MARK = "tagged by:e6tag"


@pytest.fixture
def hydrus(emoji_pictures):
    with SmallHydrus([(path.read_bytes(), "image/jpeg") for path in emoji_pictures[:5]]) as running:
        yield running


def tag(hydrus, emoji_onnx, *options, query=("system:everything",), key=KEY):
    where = ("--address", hydrus.address, "--key", key, "--run", emoji_onnx)
    return program("hydrus.py", *query, *where, "--threshold", 0.2, *options)


@pytest.fixture(scope="module")
def expected(emoji_onnx, emoji_pictures) -> list[set[str]]:
    """The tags of the pictures, as test.py predicts them and hydrus writes them."""
    done = program("test.py", *emoji_pictures[:5], "--run", emoji_onnx, "--threshold", 0.2, "--json", "--spaces")
    tags = [set(result["tags"]) for result in json.loads(done.stdout)]
    assert any(tags)
    return tags


def test_tags_are_printed_unless_they_are_to_be_written(hydrus, emoji_onnx, expected):
    done = tag(hydrus, emoji_onnx)
    assert done.returncode == 0 and "nothing was written" in done.stderr and "to 5 files" in done.stderr
    assert not hydrus.writes and hydrus.searches == [["system:everything", f"-{MARK}"]]
    assert f"{101:064x}" in done.stdout and all(name in done.stdout for tags in expected for name in tags)


def test_files_get_their_tags_once(hydrus, emoji_onnx, expected):
    hydrus.tags[101] = {"my own tag"}
    assert tag(hydrus, emoji_onnx, "--write").returncode == 0
    assert hydrus.tags == {number: {*tags, MARK} for number, tags in enumerate(expected, 101)} | {
        101: {*expected[0], MARK, "my own tag"}
    }
    writes = len(hydrus.writes)
    done = tag(hydrus, emoji_onnx, "--write")
    assert done.returncode == 0 and "nothing to do" in done.stderr and len(hydrus.writes) == writes
    # With another mark, another run tags them again.
    assert tag(hydrus, emoji_onnx, "--write", "--mark", "tagged by:other").returncode == 0
    assert all("tagged by:other" in tags for tags in hydrus.tags.values())


def test_tags_that_the_user_deleted_stay_deleted(hydrus, emoji_onnx, expected):
    number, name = next((number, min(tags)) for number, tags in enumerate(expected, 101) if tags)
    hydrus.deleted[number] = {name, MARK}
    assert tag(hydrus, emoji_onnx, "--write").returncode == 0
    assert hydrus.tags[number] == {*expected[number - 101], MARK} - {name}  # without the mark it would be tagged each time


def test_an_ended_client_stops_it_and_the_next_run_continues(hydrus, emoji_onnx, expected):
    hydrus.max_writes = 3
    done = tag(hydrus, emoji_onnx, "--write")
    assert (
        done.returncode == 1 and done.stderr.splitlines()[-1] == "error: hydrus answered 500, The client is shutting down!"
    )
    done_before = {number for number, tags in hydrus.tags.items() if MARK in tags}
    assert 0 < len(done_before) < 5
    hydrus.max_writes = 1000
    before = len(hydrus.writes)
    assert tag(hydrus, emoji_onnx, "--write").returncode == 0
    assert not done_before & {content["file_id"] for content in hydrus.writes[before:]}
    assert [hydrus.tags[number] for number in hydrus.files] == [{*tags, MARK} for tags in expected]


def test_what_is_no_picture_is_named_and_the_others_are_tagged(hydrus, emoji_onnx):
    hydrus.files[102] = (b"\x1aE\xdf\xa3" * 99, "video/webm")
    hydrus.files[103] = (b"nonsense", "image/png")
    hydrus.files[104] = (b"", "")
    done = tag(hydrus, emoji_onnx, "--write")
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "error: 3 of 5 files were not tagged"
    for number, reason in ((102, "video/webm, not a picture"), (103, "text, not a picture"), (104, "missing in hydrus")):
        assert f"error: {number:064x}: " in done.stderr and reason in done.stderr
    assert {number for number, tags in hydrus.tags.items() if MARK in tags} == {101, 105}


@pytest.mark.parametrize(
    "options, words",
    [
        (("--key", "00ff"), "403, Did not find an entry for that access key!: check the key and its permissions"),
        (("--key", "a\nb"), "letters and digits"),
        (("--service", "nowhere"), "no service named 'nowhere'"),
        (("--service", "public"), "'public' is a hydrus tag repository"),
        (("--address", "http://127.0.0.1:1"), "hydrus does not answer at http://127.0.0.1:1"),
        (("--address", "127.0.0.1:45869"), "--address has to be like http://"),
        (("--address", "http://hydrus.example:45869"), "is not this computer: add --remote"),
        (("--mark", "system:inbox"), "--mark has to be a plain tag"),
        (("--threshold", 2), "--threshold has to be between 0 and 1"),
        (("--exclude", "no-such-tag"), "no-such-tag"),
    ],
)
def test_a_mistake_is_one_line(hydrus, emoji_onnx, options, words):
    done = tag(hydrus, emoji_onnx, *options)
    assert done.returncode == 1 and not hydrus.writes
    assert done.stderr.splitlines()[-1].startswith("error: ") and words in done.stderr and "Traceback" not in done.stderr


def test_a_search_that_hydrus_does_not_understand_is_one_line(hydrus, emoji_onnx):
    done = tag(hydrus, emoji_onnx, query=("system:nonsense",))
    reason = "error: hydrus answered 400, Could not parse system predicate: system:nonsense"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == reason


def test_a_key_that_may_not_write_is_one_line(hydrus, emoji_onnx):
    hydrus.permissions = {"search"}
    assert tag(hydrus, emoji_onnx).returncode == 0
    done = tag(hydrus, emoji_onnx, "--write")
    assert done.returncode == 1 and "does not have the permission!: check the key and its permissions" in done.stderr


def test_another_server_and_a_missing_key_are_one_line(emoji_onnx, monkeypatch):
    with SmallHydrus([]) as hydrus:
        hydrus.answer = lambda *_: (200, {"ok": True})
        done = tag(hydrus, emoji_onnx)
        assert done.returncode == 1 and "is not hydrus" in done.stderr.splitlines()[-1]
    monkeypatch.delenv("E6TAG_HYDRUS_KEY", raising=False)
    done = program("hydrus.py", "system:everything")
    assert done.returncode == 1 and "E6TAG_HYDRUS_KEY" in done.stderr


def test_categories_become_namespaces():
    names = {"samus_aran": "character", "ann": "artist", "metroid": "copyright", "fox": "species", "cat": "general"}
    tags = [Tag(0, name, CATEGORIES[category], 1) for name, category in names.items()]
    tags += [Tag(0, "rating:safe", CATEGORIES["meta"], 1), Tag(0, "animated", CATEGORIES["meta"], 1)]
    assert hydrus_names(tags) == {
        "samus_aran": "character:samus_aran",
        "ann": "creator:ann",
        "metroid": "series:metroid",
        "fox": "species:fox",
        "animated": "meta:animated",
    }
