"""download.py --add: the folder equals one that is made at once, and pictures that are there are not read again."""

import json
import shutil
import time
from pathlib import Path

import pytest
from conftest import program
from data_folders import contents, read_split
from written_collections import Drawn, danbooru, with_json, with_texts

from dataset.build import add as adding
from dataset.build.fetch_pictures import Fetcher

NAMES = ("hat", "long_hair", "sky")
OPTIONS = ("--val", 20, "--test", 20)


def drawn(numbers: range) -> list[Drawn]:
    return [Drawn(number, [NAMES[number % 3], NAMES[number % 2]]) for number in numbers]


def write(folder: Path, numbers: range) -> Path:
    folder.mkdir(exist_ok=True)
    with_json(folder, drawn(numbers), danbooru)
    return folder


def make(out: Path, *options, board: str = "gallery-dl"):
    return program("download.py", "--board", board, "--out", out, *OPTIONS, *options)


def add(out: Path, *options):
    return program("download.py", "--add", "--out", out, *options)


def without_manifest(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name != "manifest.json"}


@pytest.fixture
def read_from_files(monkeypatch) -> list[str]:
    """Ids of the posts whose pictures are read from their files."""
    read: list[str] = []
    original = Fetcher._read
    monkeypatch.setattr(Fetcher, "_read", lambda self, post: (read.append(post.id), original(self, post))[1])
    return read


def test_a_folder_of_images_is_added(tmp_path, read_from_files):
    one, two = write(tmp_path / "one", range(1, 31)), write(tmp_path / "two", range(31, 46))
    assert make(tmp_path / "data", "--images", one).returncode == 0
    read_from_files.clear()
    done = add(tmp_path / "data", "--images", two)
    assert done.returncode == 0, done.stderr
    assert "15 new (such as two/31.png)" in done.stderr and "30 of 45 pictures are in" in done.stderr
    assert sorted(read_from_files) == sorted(f"two/{number}.png" for number in range(31, 46))
    assert make(tmp_path / "at once", "--images", one, "--images", two).returncode == 0
    assert without_manifest(tmp_path / "data") == without_manifest(tmp_path / "at once")
    assert json.loads((tmp_path / "data" / "manifest.json").read_text())["options"]["images"] == [str(one), str(two)]
    assert not list(tmp_path.glob(".data.*"))


def test_new_changed_and_removed_files_are_seen(tmp_path, read_from_files):
    one = write(tmp_path / "one", range(1, 31))
    make(tmp_path / "data", "--images", one)
    nothing = add(tmp_path / "data")
    assert nothing.returncode == 0 and "nothing to add" in nothing.stderr
    write(one, range(31, 33))
    (one / "3.png").unlink()
    (one / "4.png.json").write_text(json.dumps(danbooru(Drawn(4, ["hat", "sky", "long_hair"]))))
    (one / "5.png").write_bytes(Drawn(99, []).png())
    refused = make(tmp_path / "data", "--images", one)
    assert refused.returncode == 1 and "--add" in refused.stderr
    read_from_files.clear()
    planned = add(tmp_path / "data", "--dry-run")
    assert planned.returncode == 0 and "2 new" in planned.stderr and not read_from_files
    done = add(tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert sorted(read_from_files) == ["31.png", "32.png", "5.png"]
    make(tmp_path / "at once", "--images", one)
    assert without_manifest(tmp_path / "data") == without_manifest(tmp_path / "at once")


MOMENTS = [
    "building",
    pytest.param("before the old is moved", marks=pytest.mark.slow),
    "before the new is moved",
    pytest.param("before the old is removed", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("when", MOMENTS)
def test_interrupted_and_run_again(tmp_path, monkeypatch, when):
    one, two = write(tmp_path / "one", range(1, 21)), write(tmp_path / "two", range(21, 26))
    make(tmp_path / "data", "--images", one)
    before = contents(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "undisturbed")
    add(tmp_path / "undisturbed", "--images", two)

    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    rename, moves = Path.rename, []

    def interrupted_rename(self, target):
        if len(moves) == ("before the old is moved", "before the new is moved").index(when):
            raise KeyboardInterrupt
        moves.append(target)
        return rename(self, target)

    with monkeypatch.context() as patch:
        if when == "building":
            patch.setattr("dataset.build.build.write_missing", interrupt)
        elif when == "before the old is removed":
            patch.setattr(adding.shutil, "rmtree", interrupt)
        else:
            patch.setattr(Path, "rename", interrupted_rename)
        assert add(tmp_path / "data", "--images", two).returncode == 1
    if when in ("building", "before the old is moved"):
        assert contents(tmp_path / "data") == before
    assert add(tmp_path / "data", "--images", two).returncode == 0
    assert contents(tmp_path / "data").keys() == before.keys()
    assert without_manifest(tmp_path / "data") == without_manifest(tmp_path / "undisturbed")
    assert not list(tmp_path.glob(".data.*"))


def test_edited_rules_are_kept(tmp_path):
    one, two = write(tmp_path / "one", range(1, 21)), write(tmp_path / "two", range(21, 26))
    make(tmp_path / "data", "--images", one)
    table = tmp_path / "data" / "implications.csv"
    time.sleep(0.02)  # resolution of a file's time
    table.write_text("tag,relation,other\nhat,implies,sky\n")
    for _ in range(2):
        done = add(tmp_path / "data", "--images", two)
        assert table.read_text() == "tag,relation,other\nhat,implies,sky\n"
        write(two, range(26, 28))
    assert done.returncode == 0 and "was edited and is kept" in done.stderr


def test_corrections_hold_in_what_is_added(tmp_path):
    one, two = write(tmp_path / "one", range(1, 21)), write(tmp_path / "two", range(21, 26))
    make(tmp_path / "data", "--images", one)
    table = tmp_path / "data-corrections.csv"
    table.write_text("md5,id,tag,decision,source,time\n,1.png,sky,yes,me,\n,two/21.png,long_hair,no,me,\n")
    assert "new corrections" in add(tmp_path / "data", "--dry-run").stderr
    assert add(tmp_path / "data", "--images", two).returncode == 0
    tags = {record.id: record.tags for split in ("train", "val", "test") for record in read_split(tmp_path / "data", split)}
    assert "sky" in tags["1.png"] and "long_hair" not in tags["two/21.png"]
    assert "nothing to add" in add(tmp_path / "data").stderr
    assert sorted(path.name for path in tmp_path.iterdir() if "correct" in path.name) == ["data-corrections.csv"]


def test_what_cannot_be_added_to_is_named(tmp_path):
    one = write(tmp_path / "one", range(1, 11))
    missing = add(tmp_path / "data", "--images", one)
    assert missing.returncode == 1 and "is no data folder" in missing.stderr
    make(tmp_path / "data", "--images", one)
    other = add(tmp_path / "data", "--size", 99)
    assert other.returncode == 1 and "leave out --size" in other.stderr
    overlap = add(tmp_path / "data", "--images", one.parent)
    assert overlap.returncode == 1 and "overlap" in overlap.stderr


def test_folders_of_equal_names_have_different_ids(tmp_path):
    folders = [tmp_path / year / "pictures" for year in ("2023", "2024", "2025")]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        with_texts(folder, [Drawn(number, ["hat"])])
    options = [option for folder in folders for option in ("--images", folder)]
    done = program("download.py", "--board", "folder", *options, "--out", tmp_path / "data", "--val", 0, "--test", 0)
    assert done.returncode == 0, done.stderr
    ids = {record.id for record in read_split(tmp_path / "data", "train")}
    assert ids == {"0.png", "pictures/1.png", "2025/pictures/2.png"}


def test_what_is_not_of_the_program_survives_in_the_data_folder(tmp_path):
    data = tmp_path / "data"
    pictures = write(data, range(0)) / "pictures"
    write(pictures, range(1, 31))
    assert make(data, "--images", pictures).returncode == 0
    (data / "notes.txt").write_text("mine")
    (data / ".hidden").write_text("mine too")
    (data / "run").mkdir()
    (data / "run" / "model.pt").write_bytes(b"weights")
    (pictures / "1.png").unlink()
    before = {path for path in data.rglob("*") if path.suffix != ".tfrecord" and ".cache" not in path.parts}
    done = add(data)
    assert done.returncode == 0 and "1 left out now" in done.stderr, done.stderr
    assert before <= set(data.rglob("*")) and (data / "run" / "model.pt").read_bytes() == b"weights"
    assert len(list(pictures.glob("*.png"))) == 29 and not list(tmp_path.glob(".data.*"))
    # A process that was killed between giving the new folder its name and emptying the old one.
    old = tmp_path / ".data.old"
    old.mkdir()
    (old / "later.txt").write_text("mine")
    shutil.copy(data / "manifest.json", old)
    assert add(data).returncode == 0
    assert (data / "later.txt").read_text() == "mine" and not old.exists()
