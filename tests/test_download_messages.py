"""What download.py prints: its summary, and one line for each mistake."""

import re

import pytest
from data_folders import read_quarantine
from test_download import build_folder, download, draw_pictures

from common.errors import InputError


def test_the_summary_is_on_standard_output_and_says_what_was_left_out(tmp_path):
    table = draw_pictures(tmp_path / "pictures", 12)
    (tmp_path / "pictures" / "003.png").write_bytes(b"<html>")
    table.write_text(table.read_text() + "\nnowhere,red,\n")
    (tmp_path / "pictures" / "untagged.png").write_bytes((tmp_path / "pictures" / "004.png").read_bytes())
    options = ("--board", "folder", "--images", table.parent, "--csv", table, "--out", tmp_path / "data")
    code, out, err = download(*options, "--val", 0, "--test", 0)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split()[:2] == ["split", "images"]
    assert lines[1].split()[:2] == ["train", "11"]
    assert lines[2].split()[:2] == ["val", "0"]
    assert lines[3].split()[:2] == ["test", "0"]
    assert "1 skipped: images without tags" in lines
    assert "1 quarantined: no such file" in lines
    assert any("web page" in line for line in lines)
    code, out_again, err = download(*options, "--val", 0, "--test", 0)
    assert (code, out_again) == (0, out)
    assert "already complete" in err


def test_the_plan_says_how_many_more_posts_there_are_and_how_to_get_them(tmp_path):
    table = draw_pictures(tmp_path / "pictures", 30)
    options = ("--board", "folder", "--images", table.parent, "--csv", table, "--out", tmp_path / "data", "--dry-run")
    options += ("--val", 0, "--test", 0)

    def plan(*more):
        code, _, err = download(*options, *more)
        assert code == 0, err
        chosen = int(re.search(r"chosen: (\d+) train", err)[1])
        spare = re.search(r"(\d+) more posts have a chosen tag: --posts (\d+), in a new folder, takes (.*?)\. ", err)
        return chosen, spare and (int(spare[1]), int(spare[2]), spare[3])

    few, (spare, twice, which) = plan("--positives", 1)
    assert (spare, twice, which) == (30 - few, 2 * few, "as many again, at random")
    more, (spare, every, which) = plan("--positives", 1, "--posts", 20)
    assert (more, spare, every, which) == (20, 10, 30, "them all")
    assert plan("--positives", 1, "--posts", every) == (30, None)
    assert plan() == (30, None)
    _, _, err = download(*options[:-4], "--positives", 1, "--val", 5, "--test", 0)
    assert "no picture is in the val split: too few were chosen for --val 5" in err and "the test split" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--board openmoji"),
        (("--user", "me", "--rate", "5"), "at most 2 requests/s"),
        (("--user", "me", "--rate", "0"), "over 0"),
        (("--user", "mé"), "--user"),
        (("--board-url", "ftp://somewhere"), "--board-url"),
        (("--after", "yesterday"), "like 2020-12-31"),
        (("--ratings", "x"), "invalid choice"),
        (("--board", "openmoji", "--ratings", "s"), "--ratings belongs to --board e621"),
        (("--board", "folder"), "needs --images"),
        (("--board", "folder", "--images", "no/such/folder"), "missing"),
        (("--board", "openmoji", "--tags", "0"), "--tags must be 1 or more, received 0"),
        (("--board", "openmoji", "--val", "60", "--test", "40"), "must leave something for training"),
        (("--board", "openmoji", "--val", "nan"), "percentages"),
        (("--board", "openmoji", "--size", "large"), "invalid int value"),
        (("--board", "openmoji", "--min-positives", "100000"), "--min-positives"),
        (("--board", "openmoji", "--categories", "species"), "species"),
        (("--bored",), "--help"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path, arguments, message):
    code, out, err = download(*arguments, "--out", tmp_path / "data", cwd=tmp_path)
    assert (code, out) == (1, "")
    assert message in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_no_readable_training_picture_is_an_error(tmp_path):
    (tmp_path / "a.png").write_text("words")
    (tmp_path / "a.txt").write_text("solo")
    with pytest.raises(InputError, match="no training image could be read"):
        build_folder(tmp_path, None, tmp_path / "data", val=0.0, test=0.0)
    assert "a.png" in read_quarantine(tmp_path / "data")


def test_shards_without_a_manifest_are_not_written_over(tmp_path):
    table = draw_pictures(tmp_path / "pictures", 5)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.tfrecord").write_text("mine")
    with pytest.raises(InputError, match=r"no manifest\.json"):
        build_folder(table.parent, table, tmp_path / "data")


def test_a_file_where_the_folder_should_be_is_named_in_one_line(tmp_path):
    table = draw_pictures(tmp_path / "pictures", 6)
    (tmp_path / "data").write_text("mine")
    code, out, err = download("--board", "folder", "--images", table.parent, "--csv", table, "--out", tmp_path / "data")
    assert (code, out) == (1, "")
    assert str(tmp_path / "data") in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in err
    assert (tmp_path / "data").read_text() == "mine"


def test_a_file_that_cannot_be_written_ends_the_run_in_one_line(tmp_path):
    resource = pytest.importorskip("resource")
    table = draw_pictures(tmp_path / "pictures", 60)
    options = ("--board", "folder", "--images", table.parent, "--csv", table, "--out", tmp_path / "data")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        code, out, err = download(*options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    assert out == ""
    assert err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in err
    assert not list((tmp_path / "data").glob(".partial-*"))
    code, _, err = download(*options)
    assert code == 0, err
