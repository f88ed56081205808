"""download.py from end to end, as a program and, where that is quicker, from within."""

import hashlib
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from conftest import program, program_and_memory
from data_folders import contents, read_quarantine, read_split
from odd_images import write_odd_images
from PIL import Image

from common import files
from common.errors import InputError
from dataset import images, records
from dataset.boards.board import open_board
from dataset.boards.folder import FolderBoard
from dataset.build.build import build
from dataset.build.sampling import assign_splits
from dataset.build.selection import Options

ROOT = Path(__file__).parent.parent
TAGS = ("red", "green", "blue", "dark", "odd")


def start(*arguments: object, **options) -> subprocess.Popen:
    """Start download.py in another process."""
    command = [sys.executable, str(ROOT / "download.py"), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def download(*arguments: object, cwd: Path | None = None) -> tuple[int, str, str]:
    """Run download.py: exit code, standard output, standard error."""
    done = program("download.py", *arguments, cwd=cwd)
    return done.returncode, done.stdout, done.stderr


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def draw_pictures(folder: Path, number: int) -> Path:
    """Pictures of distinct colours with tags, every third in a folder of its own, and their table."""
    folder.mkdir()
    lines = ["id,tags,group"]
    for index in range(number):
        colour = (index * 37 % 256, index * 91 % 256, index % 256)
        Image.new("RGB", (24 + index % 9, 20), colour).save(folder / f"{index:03}.png")
        tags = [tag for tag, share in zip(TAGS, (2, 3, 4, 5, 7), strict=True) if index % share == 0] or ["none"]
        lines.append(f'{index:03},"{", ".join(tags)}",{index // 3}')
    table = folder / "tags.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    return table


def folder_options(folder: Path, table: Path | None, **changes) -> Options:
    settings = {"tags": 10, "positives": 500, "min_positives": 1, "size": 32, "seed": 0, "val": 20.0, "test": 20.0}
    settings |= {"board": "folder", "images": str(folder), "csv": str(table) if table else None}
    return Options(**(settings | {"categories": ["general"]} | changes))


def build_folder(folder: Path, table: Path | None, out: Path, **changes) -> dict:
    return build(lambda: FolderBoard([folder], table), folder_options(folder, table, **changes), out)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path, dict]:
    """A folder of 90 pictures, the data folder made of it, its manifest."""
    base = tmp_path_factory.mktemp("made")
    table = draw_pictures(base / "pictures", 90)
    return table, base / "data", build_folder(base / "pictures", table, base / "data")


def test_odd_images_are_read_right_or_named_and_memory_stays_bounded(tmp_path):
    pictures, out = tmp_path / "pictures", tmp_path / "data"
    pictures.mkdir()
    expected = write_odd_images(pictures)
    (pictures / "directory.png").mkdir()
    names = [*expected, "directory.png", "gone.png"]
    (tmp_path / "tags.csv").write_text("\n".join(["id,tags", *(f"{name},odd" for name in names)]))
    options = ("--board", "folder", "--images", pictures, "--csv", tmp_path / "tags.csv", "--out", out)
    sizes = ("--size", 64, "--val", 0, "--test", 0)
    done, gibibytes = program_and_memory(tmp_path / "memory", "download.py", *options, *sizes)
    assert done.returncode == 0 and gibibytes < 2, done.stderr
    said = done.stderr.splitlines()
    for name, outcome in expected.items():
        warnings = [line for line in said if line.startswith(f"{pictures / name}: cut short, ")]
        assert len(warnings) == bool(outcome.warning) and outcome.warning in "".join(warnings)
    assert "Warning" not in done.stderr and "LZWDecode" not in done.stderr  # nothing of Pillow or libtiff
    quarantine = read_quarantine(out)
    assert quarantine.pop("directory.png") == quarantine.pop("gone.png") == "no such file"
    assert quarantine.keys() == {name for name, outcome in expected.items() if outcome.reason}
    for name, reason in quarantine.items():
        assert expected[name].reason in reason, f"{name}: {reason}"
    stored = {record.id: record for record in read_split(out, "train")}
    assert stored.keys() == expected.keys() - quarantine.keys()
    for name, record in stored.items():
        image = images.decode(record.image)
        for (x, y), colour in expected[name].colours.items():
            found = image.getpixel((int(x * image.width), int(y * image.height)))
            assert max(abs(a - b) for a, b in zip(found, colour, strict=True)) <= 12, f"{name}: {found}"
        assert expected[name].warning or record.md5 == hashlib.md5((pictures / name).read_bytes()).hexdigest()


def test_the_folder_holds_what_the_manifest_says(made):
    _, out, manifest = made
    assert manifest == files.read_json(out / "manifest.json")
    assert manifest["complete"] is True
    assert manifest["posts"] == 90
    counts = Counter()
    for split, of_split in manifest["splits"].items():
        found = read_split(out, split)
        assert of_split["selected"] == of_split["written"] + of_split["quarantined"]
        assert of_split["written"] == len(found) > 0
        assert of_split["labels"] == sum(len(record.tags) for record in found)
        assert of_split["shards"] == len(records.shard_paths(out, split))
        if split == "train":
            counts.update(tag for record in found for tag in record.tags)
    assert {tag.name: tag.count for tag in records.read_tags(out / "tags.csv")} == counts
    assert {path.suffix for path in out.iterdir() if path.name != ".lock"} == {".tfrecord", ".csv", ".json"}
    assert len(list(out.glob("*.json"))) == 1


def test_records_carry_the_tags_of_their_picture_and_no_post_is_there_twice(made):
    table, out, _ = made
    wanted = {post.id: frozenset(post.tags) for post in FolderBoard([table.parent], table).posts()}
    found = [record for split in records.SPLITS for record in read_split(out, split)]
    assert len(found) == len({record.id for record in found}) == len(wanted)
    assert {record.id: record.tags for record in found} == wanted
    for record in found:
        original = Image.open(table.parent / record.id)
        assert images.decode(record.image).size == original.size
        assert record.md5 == hashlib.md5((table.parent / record.id).read_bytes()).hexdigest()


def test_a_group_never_crosses_splits(made):
    table, out, _ = made
    groups = {post.id: post.group for post in FolderBoard([table.parent], table).posts()}
    splits = defaultdict(set)
    for split in records.SPLITS:
        for record in records.read(out, split):
            assert record.group == groups[record.id]
            splits[record.group].add(split)
    assert len(splits) == 30
    assert all(len(places) == 1 for places in splits.values())


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(made, tmp_path):
    table, out, _ = made
    build_folder(table.parent, table, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(out)
    build_folder(table.parent, table, tmp_path / "other", seed=1)
    names = [[record.id for record in read_split(folder, "train")] for folder in (out, tmp_path / "other")]
    assert names[0] != names[1]
    assert sorted(names[0]) == sorted(names[1])


def test_other_options_are_refused_and_named(made):
    table, out, _ = made
    before = contents(out)
    with pytest.raises(InputError, match="size was 32 and is now 48") as refusal:
        build_folder(table.parent, table, out, size=48)
    assert "--out" in str(refusal.value)
    assert contents(out) == before


def test_a_complete_folder_is_left_alone(made, capsys):
    table, out, manifest = made
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert build_folder(table.parent, table, out) == manifest
    assert "already complete" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_a_stopped_run_resumes_from_its_finished_shards(made, tmp_path, monkeypatch):
    """Stopped at every point in turn where a file takes its name, the same command ends with the same files."""
    table, out, _ = made
    replace, stops = Path.replace, 0
    for stop in range(100):
        calls = 0

        def stopping(path: Path, target: Path, stop: int = stop):
            nonlocal calls
            calls += 1
            if calls > 2 and calls % 7 == stop % 7:
                raise KeyboardInterrupt
            return replace(path, target)

        monkeypatch.setattr(Path, "replace", stopping)
        try:
            build_folder(table.parent, table, tmp_path / "data")
            break
        except KeyboardInterrupt:
            stops += 1
            assert not list((tmp_path / "data").glob(".partial-*"))
    monkeypatch.undo()
    build_folder(table.parent, table, tmp_path / "data")
    assert stops > 2
    assert contents(tmp_path / "data") == contents(out)


def test_a_board_that_changed_in_between_is_refused(tmp_path, monkeypatch):
    table = draw_pictures(tmp_path / "pictures", 20)
    monkeypatch.setattr("dataset.build.build._finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build_folder(table.parent, table, tmp_path / "data")
    monkeypatch.undo()
    table.write_text(table.read_text().replace("green", "grass"))
    with pytest.raises(InputError, match="other posts or tags"):
        build_folder(table.parent, table, tmp_path / "data")


def test_killed_and_interrupted_runs_end_with_the_files_of_an_undisturbed_one(tmp_path):
    options = ("--board", "openmoji", "--tags", 8, "--positives", 20, "--size", 24, "--out")

    def wait_for(process: subprocess.Popen, pattern: str, number: int) -> None:
        while process.poll() is None and len(list((tmp_path / "disturbed").glob(pattern))) < number:
            time.sleep(0.002)

    assert program("download.py", *options, tmp_path / "undisturbed").returncode == 0
    disturbed = start(*options, tmp_path / "disturbed")
    wait_for(disturbed, ".spool/*/*", 40)
    disturbed.kill()
    assert finish(disturbed)[0] == -signal.SIGKILL
    assert files.read_json(tmp_path / "disturbed" / "manifest.json")["complete"] is False
    already = len(list((tmp_path / "disturbed").glob(".spool/*/*")))
    disturbed = start(*options, tmp_path / "disturbed")
    wait_for(disturbed, ".spool/*/*", already + 10)
    disturbed.send_signal(signal.SIGINT)
    code, _, err = finish(disturbed)
    assert code == 1
    assert err.splitlines()[-1] == "interrupted. Run the same command again to continue."
    assert not list((tmp_path / "disturbed").glob(".partial-*"))
    assert program("download.py", *options, tmp_path / "disturbed").returncode == 0
    assert contents(tmp_path / "disturbed") == contents(tmp_path / "undisturbed")


def test_openmoji_makes_a_balanced_folder_with_its_attribution(tmp_path):
    options = folder_options(tmp_path, None, board="openmoji", images=None, tags=12, positives=20, min_positives=20)
    manifest = build(lambda: open_board("openmoji"), options, tmp_path / "data")
    assert "CC BY-SA 4.0" in manifest["attribution"]
    assert manifest["rejected"] == 0
    tags = records.read_tags(tmp_path / "data" / "tags.csv")
    assert len(tags) == 12
    counts = Counter(tag for split in records.SPLITS for r in read_split(tmp_path / "data", split) for tag in r.tags)
    assert min(counts.values()) >= 20


def test_copies_of_a_picture_in_other_groups_share_its_split(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    lines = ["id,tags"]
    for number in range(40):
        colours = hashlib.blake2b(str(number).encode(), digest_size=27).digest()
        image = Image.frombytes("RGB", (3, 3), colours).resize((60, 60), Image.Resampling.NEAREST)
        image.save(pictures / f"{number}.png")
        image.resize((45, 45), Image.Resampling.LANCZOS).save(pictures / f"copy of {number}.jpg", quality=85)
        lines += [f"{number}.png,a b", f"copy of {number}.jpg,a"]
    (tmp_path / "tags.csv").write_text("\n".join(lines))
    manifest = build_folder(pictures, tmp_path / "tags.csv", tmp_path / "data")
    places = {record.id: split for split in records.SPLITS for record in read_split(tmp_path / "data", split)}
    assert len(places) == 80
    assert all(places[f"{number}.png"] == places[f"copy of {number}.jpg"] for number in range(40))
    alone = dict(zip(places, (records.SPLITS[split] for split in assign_splits(places, val=20, test=20)), strict=True))
    apart = [number for number in range(40) if alone[f"{number}.png"] != alone[f"copy of {number}.jpg"]]
    assert manifest["alike"] == {"pictures": 80, "moved": len(apart)}
    assert {places[name] for name in alone if alone[name] == "test"} == {"test"}, "nothing leaves the test split"
