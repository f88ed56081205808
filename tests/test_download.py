"""download.py from end to end, as a program and, where that is quicker, from within."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from conftest import program
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
    return build(lambda: FolderBoard(folder, table), folder_options(folder, table, **changes), out)


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
    process = start(
        *("--board", "folder", "--images", pictures, "--csv", tmp_path / "tags.csv", "--out", out),
        *("--size", 64, "--val", 0, "--test", 0),
    )
    output = process.communicate(timeout=120) if not hasattr(os, "wait4") else _wait_within(process, gibibytes=2)
    assert process.returncode == 0, output
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
        assert record.md5 == hashlib.md5((pictures / name).read_bytes()).hexdigest()


def _wait_within(process: subprocess.Popen, gibibytes: float) -> tuple[str, str]:
    """Wait for a program's end and check the most memory that it had."""
    output = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    assert usage.ru_maxrss * unit < gibibytes * 2**30
    return output


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
    assert {path.suffix for path in out.iterdir()} == {".tfrecord", ".csv", ".json"}
    assert len(list(out.glob("*.json"))) == 1


def test_records_carry_the_tags_of_their_picture_and_no_post_is_there_twice(made):
    table, out, _ = made
    wanted = {post.id: frozenset(post.tags) for post in FolderBoard(table.parent, table).posts()}
    found = [record for split in records.SPLITS for record in read_split(out, split)]
    assert len(found) == len({record.id for record in found}) == len(wanted)
    assert {record.id: record.tags for record in found} == wanted
    for record in found:
        original = Image.open(table.parent / record.id)
        assert images.decode(record.image).size == original.size
        assert record.md5 == hashlib.md5((table.parent / record.id).read_bytes()).hexdigest()


def test_a_group_never_crosses_splits(made):
    table, out, _ = made
    groups = {post.id: post.group for post in FolderBoard(table.parent, table).posts()}
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


def test_a_stopped_run_goes_on_from_its_finished_shards(made, tmp_path, monkeypatch):
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
    def begin(out: str) -> subprocess.Popen:
        options = ("--tags", 20, "--positives", 30, "--size", 24, "--out", tmp_path / out)
        return start("--board", "openmoji", *options)

    def wait_for(process: subprocess.Popen, pattern: str, number: int) -> None:
        while process.poll() is None and len(list((tmp_path / "disturbed").glob(pattern))) < number:
            time.sleep(0.002)

    undisturbed, disturbed = begin("undisturbed"), begin("disturbed")
    wait_for(disturbed, ".spool/*/*", 40)
    disturbed.kill()
    assert finish(disturbed)[0] == -signal.SIGKILL
    assert finish(undisturbed)[0] == 0
    assert files.read_json(tmp_path / "disturbed" / "manifest.json")["complete"] is False
    already = len(list((tmp_path / "disturbed").glob(".spool/*/*")))
    disturbed = begin("disturbed")
    wait_for(disturbed, ".spool/*/*", already + 10)
    disturbed.send_signal(signal.SIGINT)
    code, _, err = finish(disturbed)
    assert code == 1
    assert err.splitlines()[-1] == "interrupted. Run the same command again to continue."
    assert not list((tmp_path / "disturbed").glob(".partial-*"))
    assert finish(begin("disturbed"))[0] == 0
    assert contents(tmp_path / "disturbed") == contents(tmp_path / "undisturbed")


def test_openmoji_makes_a_balanced_folder_with_its_attribution(tmp_path):
    options = folder_options(tmp_path, None, board="openmoji", images=None, tags=12, positives=40, min_positives=40)
    manifest = build(lambda: open_board("openmoji"), options, tmp_path / "data")
    assert "CC BY-SA 4.0" in manifest["attribution"]
    assert manifest["rejected"] == 0
    tags = records.read_tags(tmp_path / "data" / "tags.csv")
    assert len(tags) == 12
    counts = Counter(tag for split in records.SPLITS for r in read_split(tmp_path / "data", split) for tag in r.tags)
    assert min(counts.values()) >= 40


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


def test_a_file_that_cannot_be_written_ends_the_run_in_one_line(tmp_path):
    resource = pytest.importorskip("resource")
    table = draw_pictures(tmp_path / "pictures", 60)

    def limit_file_size():
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    options = ("--board", "folder", "--images", table.parent, "--csv", table, "--out", tmp_path / "data")
    code, out, err = finish(start(*options, preexec_fn=limit_file_size))
    assert code == 1
    assert out == ""
    assert err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in err
    assert not list((tmp_path / "data").glob(".partial-*"))
    code, _, err = download(*options)
    assert code == 0, err


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


def test_a_file_where_the_folder_should_be_is_named_in_one_line(tmp_path):
    table = draw_pictures(tmp_path / "pictures", 6)
    (tmp_path / "data").write_text("mine")
    code, out, err = download("--board", "folder", "--images", table.parent, "--csv", table, "--out", tmp_path / "data")
    assert (code, out) == (1, "")
    assert str(tmp_path / "data") in err.splitlines()[-1]
    assert err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in err
    assert (tmp_path / "data").read_text() == "mine"
