"""A sample made in parts, by several machines, is the sample that one machine makes."""

import shutil
from pathlib import Path

import pytest
from data_folders import contents, read_split
from PIL import Image, ImageDraw

from common import files
from common.errors import InputError
from dataset import records
from dataset.boards.folder import FolderBoard
from dataset.build.build import build
from dataset.build.parts import WHOLE, Part
from dataset.build.selection import Options

PARTS = 3


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Ninety pictures that look different, in groups of three, some of which are no pictures."""
    folder = tmp_path_factory.mktemp("parts") / "pictures"
    folder.mkdir()
    lines = ["id,tags,group"]
    for number in range(90):
        image = Image.new("RGB", (40, 40), "white")
        draw = ImageDraw.Draw(image)
        for bit in range(7):  # the number, in squares
            if number >> bit & 1:
                x, y = bit % 3 * 13, bit // 3 * 13
                draw.rectangle((x, y, x + 12, y + 12), fill=(bit * 30, 200 - bit * 20, 40))
        image.save(folder / f"{number:03}.png")
        if number % 29 == 7:
            (folder / f"{number:03}.png").write_text("words")
        lines.append(f'{number:03},"{"even" if number % 2 == 0 else "odd"}, all",{number // 3}')
    (folder / "tags.csv").write_text("\n".join([*lines, "gone,all,"]))
    return folder


def make(pictures: Path, out: Path, part: Part = WHOLE, **changes) -> dict:
    settings = {"tags": 10, "positives": 500, "min_positives": 1, "size": 32, "seed": 0, "val": 20.0, "test": 20.0}
    settings |= {"board": "folder", "images": str(pictures), "csv": str(pictures / "tags.csv"), "categories": ["general"]}
    return build(lambda: FolderBoard([pictures], pictures / "tags.csv"), Options(**(settings | changes)), out, part=part)


def by_split(folder: Path) -> dict:
    return {split: {record.id: record for record in read_split(folder, split)} for split in records.SPLITS}


def test_parts_in_one_folder_become_the_whole(pictures, tmp_path):
    whole = make(pictures, tmp_path / "whole")
    for index in range(1, PARTS + 1):
        make(pictures, tmp_path / str(index), Part(index, PARTS))
        assert not (tmp_path / str(index) / "manifest.json").exists()
    names = [path.name for index in "123" for path in (tmp_path / index).iterdir()]
    assert len(names) == len(set(names)), "files of different parts have different names"
    shutil.copytree(tmp_path / "3", tmp_path / "one")
    shutil.copytree(tmp_path / "1", tmp_path / "one", dirs_exist_ok=True)
    with pytest.raises(InputError, match="lacks 2/3"):
        make(pictures, tmp_path / "one")
    shutil.copytree(tmp_path / "2", tmp_path / "one", dirs_exist_ok=True)
    joined = make(pictures, tmp_path / "one")
    assert by_split(tmp_path / "one") == by_split(tmp_path / "whole")
    for name in ("tags.csv", "implications.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    rows = [sorted((tmp_path / name / "quarantine.csv").read_text().splitlines()) for name in ("one", "whole")]
    assert rows[0] == rows[1]
    for split, counts in whole["splits"].items():
        assert counts | {"shards": 0} == joined["splits"][split] | {"shards": 0}
        assert joined["splits"][split]["shards"] == len(records.shard_paths(tmp_path / "one", split))
    names = {name for name in contents(tmp_path / "one") if not name.endswith(".tfrecord")}
    assert names == {"manifest.json", "tags.csv", "implications.csv", "quarantine.csv"}
    before = contents(tmp_path / "one")
    assert make(pictures, tmp_path / "one") == joined
    assert contents(tmp_path / "one") == before


def test_the_last_part_made_in_a_folder_joins_them(pictures, tmp_path):
    for index in (2, 1, 3):
        manifest = make(pictures, tmp_path / "data", Part(index, PARTS))
        assert ("part" in manifest) == (index != 3)
        if index == 1:  # as if an earlier version had made it
            path = tmp_path / "data" / "manifest-1-of-3.json"
            files.write_json(path, {name: value for name, value in manifest.items() if name != "decode_version"})
    assert manifest["decode_version"] == 1
    assert manifest == files.read_json(tmp_path / "data" / "manifest.json")
    assert manifest == make(pictures, tmp_path / "data", Part(2, PARTS)), "made already"


def test_parts_of_different_samples_are_not_joined(pictures, tmp_path):
    make(pictures, tmp_path / "data", Part(1, 2))
    make(pictures, tmp_path / "other", Part(2, 2), seed=1)
    shutil.copytree(tmp_path / "other", tmp_path / "data", dirs_exist_ok=True)
    with pytest.raises(InputError, match="differ in their options"):
        make(pictures, tmp_path / "data")


def test_a_folder_begun_without_parts_is_not_continued_in_parts(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("dataset.build.build._finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make(pictures, tmp_path / "data")
    with pytest.raises(InputError, match="begun without --part"):
        make(pictures, tmp_path / "data", Part(1, 2))


@pytest.mark.parametrize("text", ["0/4", "5/4", "2", "a/b", "1/2/3"])
def test_what_is_no_part_is_refused(text):
    with pytest.raises(ValueError):
        Part.parse(text)
