"""Pictures that corrections make young with a rating other than safe are used by no command."""

import csv
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import program
from data_folders import read_split
from PIL import Image

from common import files
from common.errors import InputError
from dataset import records
from dataset.build.restricted import becomes_restricted, rating_without_tag
from dataset.relabel import relabel
from labels import cleaning, collecting, improvement
from model.config import Config
from model.run_folder import Run

TAGS = [["red", "sky"], ["red", "tree"], ["sky", "tree"], ["cat", "red"], ["cat", "sky"], ["cat", "tree"]]
NUMBER = 60
BOTH = ("rating:safe", "rating:explicit")


def make(folder: Path, ratings) -> Path:
    """Make pictures with texts, and the data folder data/p; `ratings` returns what a picture has beside two tags."""
    (folder / "pictures").mkdir(parents=True)
    for number in range(NUMBER):
        path = folder / "pictures" / f"{number:02}.png"
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
        path.with_suffix(".txt").write_text(", ".join([*TAGS[number % 6], *ratings(number)]))
    command = ("--board", "folder", "--images", "pictures", "--size", 32, "--min-positives", 2, "--val", 20, "--test", 20)
    done = program("download.py", *command, "--out", "data/p", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def mixed(number: int) -> tuple[str, ...]:
    """Even pictures are safe, odd ones explicit, and every sixth has two ratings."""
    return BOTH if number % 6 == 5 else BOTH[number % 2 : number % 2 + 1]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make(tmp_path_factory.mktemp("made"), mixed)


@pytest.fixture
def data(made, tmp_path, monkeypatch):
    """data/p, beside its pictures."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("data/p")


def ids(folder: Path, *splits: str) -> set[str]:
    return {record.id for split in splits or records.SPLITS for record in read_split(folder, split)}


def rated_alike(folder: Path, remainder: int, *splits: str) -> list[str]:
    """Pictures of a split by their number modulo 6: of 0, they are safe, of 1 explicit, and of 5 they have two ratings."""
    return sorted(name for name in ids(folder, *splits) if int(name.removesuffix(".png")) % 6 == remainder)


def explicit(folder: Path, split: str) -> list[str]:
    return rated_alike(folder, 1, split) + rated_alike(folder, 3, split)


def run_on(data: Path) -> Run:
    """A run that was trained on a data folder, as far as `begin` can tell."""
    images = files.read_json(data / "manifest.json")["splits"]["train"]["written"]
    return Run(Path("runs/p"), Config(), records.read_tags(data / "tags.csv"), str(data), 32, images)


def collect(data: Path, *rows: str) -> collecting.Collected:
    Path("d.csv").write_text("\n".join(["id,tag,decision", *rows]))
    return collecting.collect(data, [], [Path("d.csv")] if rows else [])


def improved(data: Path, *rows: str) -> set[str]:
    """The pictures that a round leaves out, with a table of decisions."""
    new = improvement.begin(run_on(data), collect(data, *rows))
    return ids(data) - ids(new.data) if new else set()


def test_a_name_that_the_data_folder_lacks_counts_in_every_split(data, capsys):
    out = rated_alike(data, 1, "train")[:2] + explicit(data, "val")[:1] + explicit(data, "test")[:1]
    safe = rated_alike(data, 0)[0]
    before = files.read_json(data / "manifest.json")["splits"]
    assert improved(data, *(f"{name},young,yes" for name in (*out, safe))) == set(out)
    assert "4 pictures are left out (2 train, 1 val, 1 test)" in capsys.readouterr().err
    manifest = files.read_json(Path("data/p-2/manifest.json"))
    assert {split: before[split]["written"] - facts["written"] for split, facts in manifest["splits"].items()} == {
        "train": 2,
        "val": 1,
        "test": 1,
    }
    assert manifest["relabelled"]["left_out"] == {"train": 2, "val": 1, "test": 1}
    assert manifest["splits"]["test"]["labels"] == sum(len(record.tags) for record in read_split(Path("data/p-2"), "test"))


def test_a_picture_whose_rating_is_not_known_is_left_out(data):
    unknown = rated_alike(data, 5, "train")[0]
    assert improved(data, f"{unknown},young,yes") == {unknown}
    files.write_csv(Path("data/again-corrections.csv"), ("md5", "id", "tag", "decision"), [("", unknown, "young", "yes")])
    command = ("--board", "folder", "--images", "pictures", "--size", 32, "--min-positives", 2, "--val", 20, "--test", 20)
    assert program("download.py", *command, "--out", "data/again").returncode == 0
    assert ids(data) - ids(Path("data/again")) == {unknown}


@pytest.mark.parametrize(
    "rating, tag, is_left_out",
    [
        ("rating:safe", "young", False),
        ("rating:explicit", "young", True),
        ("", "young", False),  # a collection without ratings
        ("", "loli", True),
    ],
)
def test_the_rating_of_a_folder_with_only_one(rating, tag, is_left_out, tmp_path, monkeypatch):
    monkeypatch.chdir(make(tmp_path / "home", lambda _: (rating,)))
    data = Path("data/p")
    assert not any(each.category == records.RATING for each in records.read_tags(data / "tags.csv"))
    first = min(ids(data, "train"))
    assert improved(data, f"{first},{tag},yes", f"{first},red,yes") == ({first} if is_left_out else set())


def test_a_folder_of_an_earlier_version_does_not_say_its_ratings(data):
    manifest = files.read_json(data / "manifest.json")
    assert manifest.pop("ratings") == ["explicit", "safe", "unknown"]
    for filters, expected in ((None, "unknown"), ({"ratings": ["s"]}, "safe"), ({"ratings": []}, "unknown")):
        files.write_json(data / "manifest.json", manifest | {"options": manifest["options"] | {"filters": filters}})
        assert rating_without_tag(data) == expected


def test_an_edited_text_leaves_its_picture_out(data):
    first, other, unknown = rated_alike(data, 1, "train")[:2] + rated_alike(data, 5, "train")[:1]
    safe, turned = rated_alike(data, 0, "train")[:2]
    for name, text in (
        (first, "red, tree, rating:explicit, young"),
        (other, "red, tree, young"),  # the rating is gone
        (unknown, "cat, tree, young"),
        (safe, "red, sky, rating:safe, young"),
        (turned, "red, sky, rating:explicit, young"),
    ):
        Path("pictures", name).with_suffix(".txt").write_text(text)
    assert improved(data) == {first, other, unknown, turned}
    later = time.time() + 60
    for name, text in ((first, "red, tree, rating:explicit"), (turned, "red, sky, rating:safe")):
        path = Path("pictures", name).with_suffix(".txt")
        path.write_text(text)
        os.utime(path, (later, later))  # the edits are undone
    assert improved(data) == {other, unknown}


def test_the_number_of_changes_is_of_the_pictures_that_are_used(data, capsys):
    out, kept = rated_alike(data, 1, "train")[0], rated_alike(data, 0, "train")[0]
    improved(data, f"{out},young,yes", f"{out},cat,yes", f"{out},red,no", f"{kept},cat,yes")
    said = capsys.readouterr().err
    labels = sum(len(record.tags) for record in read_split(Path("data/p-2"), "train"))
    assert f"1 training label changes, of {labels - len(TAGS[0]) - 2:,}; 1 corrected picture is drawn" in said
    assert files.read_json(Path("data/p-2/manifest.json"))["relabelled"]["changed"] == 1


def test_a_round_with_the_same_corrections_is_not_repeated(data):
    first = rated_alike(data, 0, "train")[0]
    collected, run = collect(data, f"{first},cat,yes"), run_on(data)
    new = improvement.begin(run, collected)
    assert new is not None and improvement.learned_by(run, collected) is None
    new.run.mkdir(parents=True)
    (new.run / "model.keras").touch()
    files.write_json(new.run / improvement.RESULT, {})
    assert improvement.learned_by(run, collected) == new
    assert improvement.learned_by(run, collect(data, f"{first},cat,yes", f"{first},red,no")) is None


def test_clean_leaves_out_what_decisions_restrict(data):
    train, test, safe = rated_alike(data, 1, "train")[0], explicit(data, "test")[0], rated_alike(data, 0, "train")[0]
    tables = [{(name, "young"): True for name in (train, test, safe)}]
    assert cleaning.restricted(data, {}, tables) == {train, test}
    assert cleaning.restricted(data, {}, [*tables, {(train, "young"): False}]) == {test}
    md5 = next(record.md5 for record in records.read(data, "train") if record.id == train)
    assert cleaning.restricted(data, {(md5, "young"): True}, []) == {train}
    labels = [record.labels for record in records.read(data, "train")]
    relabel(data, Path("clean"), labels, {}, left_out={train, test})
    assert ids(data) - ids(Path("clean")) == {train, test}
    counts = np.bincount([tag for record in records.read(Path("clean"), "train") for tag in record.tags])
    assert counts.tolist() == [tag.count for tag in records.read_tags(Path("clean/tags.csv"))]
    with pytest.raises(InputError, match="no training picture would be left"):
        relabel(data, Path("none"), labels, {}, left_out=ids(data, "train"))


@pytest.mark.parametrize(
    "decided, tags, rating, expected",
    [
        ({"young": True}, [], "unknown", True),
        ({"young": False}, ["young"], "explicit", False),
        ({"red": True}, ["young"], "unknown", False),  # it was there before
        ({"rating:explicit": True}, ["young"], "safe", True),
        ({"rating:safe": True, "young": True}, [], "explicit", True),
        ({"young": True}, ["nsfw"], "", True),
        ({"nsfw": True}, ["young"], "", True),
        ({"young": True, "nsfw": False}, ["nsfw"], "", False),
    ],
)
def test_what_decisions_and_tags_have_together(decided, tags, rating, expected):
    assert becomes_restricted(decided, tags, rating) is expected


@pytest.mark.parametrize("text", ['["cat","dog"]', "[cat, dog"])
def test_one_text_of_another_form_is_named_and_the_others_are_used(data, text, capsys):
    odd, edited = rated_alike(data, 0, "train")[:2]
    Path("pictures", odd).with_suffix(".txt").write_text(text)
    Path("pictures", edited).with_suffix(".txt").write_text("red, rating:safe")
    collected = collecting.collect(data, [], [])
    assert {(each.id, each.tag): each.has_tag for each in collected.table} == {(edited, "sky"): False}
    assert f"1 text cannot be read, and edits there are not used ({odd}" in capsys.readouterr().err
    command = ("--board", "folder", "--images", "pictures", "--size", 32, "--min-positives", 2)
    done = program("download.py", *command, "--out", "data/new")
    assert done.returncode == 0 and "1 text is left out" in done.stderr, done.stderr
    assert odd not in ids(Path("data/new")) and len(ids(Path("data/new"))) == NUMBER - 1
    with Path("data/new/quarantine.csv").open() as file:
        [row] = csv.DictReader(file)
    assert row["id"] == odd and "part of a list" in row["reason"]
    for path in Path("pictures").glob("*.txt"):
        path.write_text("[cat, dog")
    done = program("download.py", *command, "--out", "data/none")
    assert done.returncode == 1 and "part of a list" in done.stderr.splitlines()[-1]
