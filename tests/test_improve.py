"""improve.py: corrections are collected, have the last word, outlive the data folder, and are learned."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, program
from data_folders import contents, read_split
from filelock import FileLock

from common import files
from common.errors import InputError
from dataset import corrections, records
from dataset.build.selection import Options
from dataset.corrections import Correction
from inference import annotations
from inference.tagger import Tagger
from labels import collecting, improvement, sidecar_edits
from labels.feedback import Events
from model import run_folder
from model.config import as_options


@pytest.fixture
def home(emoji_data, first_run, tmp_path, monkeypatch):
    """A folder with data/emoji and runs/emoji, as a user has them, in which commands run."""
    shutil.copytree(emoji_data, tmp_path / "data" / "emoji")
    run = Path(shutil.copytree(first_run, tmp_path / "runs" / "emoji"))
    facts = files.read_json(run / "config.json")
    files.write_json(run / "config.json", facts | {"data": "data/emoji"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def improve(*options, **kwargs) -> subprocess.CompletedProcess:
    return program("improve.py", *options, **kwargs)


def decide(path: Path, *rows: tuple[str, str, str]) -> Path:
    files.write_csv(path, ("id", "tag", "decision"), rows)
    return path


def labels_of(folder: Path, split: str = "train") -> dict[str, frozenset[str]]:
    return {record.id: record.tags for record in read_split(folder, split)}


def md5s_of(folder: Path) -> dict[str, str]:
    return {record.id: record.md5 for record in records.read(folder, "train")}


def flip(labels: dict[str, frozenset[str]], tag: str, number: int) -> list[tuple[str, str, str]]:
    """Decisions that contradict the board about a tag, on the first pictures."""
    return [(post_id, tag, "no" if tag in tags else "yes") for post_id, tags in list(labels.items())[:number]]


def test_corrections_from_everywhere_are_merged_and_the_last_one_counts(home):
    data = Path("data/emoji")
    [first, second, *_] = records.read(data, "train")
    [held_out, *_] = records.read(data, "test")
    tags = [tag.name for tag in records.read_tags(data / "tags.csv")]
    events = Events(Path("events.sqlite"), "a model")
    events.add(first.md5, [(tags[0], "added"), (tags[1], "rejected")], [])
    events.add(held_out.md5, [(tags[0], "added")], [])
    events.add("0" * 32, [(tags[0], "added")], [])
    events.close()
    table = decide(
        Path("decisions.csv"), (first.id, tags[0], "no"), (second.id, tags[2], "yes"), (second.id, "unheard_of", "yes")
    )
    os.utime(table, (time.time() + 60, time.time() + 60))  # later than the marks
    collected = collecting.collect(data, [Path("events.sqlite")], [table])
    rows = csv.DictReader(Path("data/emoji-corrections.csv").read_text().splitlines())
    stored = {(row["id"], row["tag"]): row for row in rows}
    assert stored[first.id, tags[0]]["decision"] == "no" and stored[first.id, tags[0]]["source"] == "decisions.csv"
    assert stored[first.id, tags[1]]["decision"] == "no" and stored[first.id, tags[1]]["md5"] == first.md5
    assert stored[second.id, tags[2]]["decision"] == "yes" and stored[second.id, tags[2]]["md5"] == second.md5
    assert len(stored) == len(collected.added) == 6
    text = collected.summary()
    assert "4 corrections of 3 pictures" in text and "4 of them new" in text
    assert "1 is about validation or test pictures" in text and "2 could not be placed, 2 of them new" in text
    before = Path("data/emoji-corrections.csv").read_bytes()
    again = collecting.collect(data, [Path("events.sqlite")], [])  # the earlier marks again, and the table is gone
    assert Path("data/emoji-corrections.csv").read_bytes() == before and not again.added


def test_a_later_build_honours_the_corrections(emoji_data, tmp_path):
    options = files.read_json(emoji_data / "manifest.json")["options"]
    before, tags = labels_of(emoji_data), [tag.name for tag in records.read_tags(emoji_data / "tags.csv")]
    [one, other, *_] = records.read(emoji_data, "train")
    wrong, missing = sorted(before[one.id])[0], next(tag for tag in tags if tag not in before[other.id])
    corrections.write_table(
        tmp_path / "again-corrections.csv",
        [
            Correction("", one.id, wrong, False, "decisions.csv", ""),
            Correction(other.md5, "", missing, True, "events.sqlite", ""),
            Correction("0" * 32, "", wrong, True, "events.sqlite", ""),
        ],
    )
    command = ["--board", "openmoji", "--tags", options["tags"], "--positives", options["positives"], "--size", 64]
    command += ["--val", 15, "--test", 15, "--out", tmp_path / "again"]
    done = program("download.py", *command)
    assert done.returncode == 0, done.stderr
    assert "2 of 3 apply to the chosen posts; labels that they change: 2 train" in done.stderr
    after = labels_of(tmp_path / "again")
    assert after == before | {one.id: before[one.id] - {wrong}, other.id: before[other.id] | {missing}}
    counts = {tag.name: tag.count for tag in records.read_tags(tmp_path / "again" / "tags.csv")}
    assert counts == {tag: sum(tag in names for names in after.values()) for tag in counts}
    assert program("download.py", *command).returncode == 0  # complete


def test_a_round_corrects_training_labels_alone_and_draws_them_more_often(home):
    data, run = Path("data/emoji"), run_folder.load(Path("runs/emoji"))
    before, tag = labels_of(data), records.read_tags(data / "tags.csv")[0].name
    held_out = labels_of(data, "test")
    table = decide(Path("decisions.csv"), *flip(before, tag, 8), *flip(held_out, tag, 3))
    new = improvement.begin(run, collecting.collect(data, [], [table]))
    assert new is not None and new.run == Path("runs/emoji-2") and new.data == Path("data/emoji-2")
    stored, files_of = [record.id for record in records.read(new.data, "train")], md5s_of(data)
    files_corrected = {files_of[name] for name in list(before)[:8]}  # two posts may have the same file
    corrected = {name for name in before if files_of[name] in files_corrected}
    times = {name: improvement.COPIES if name in corrected else 1 for name in before}
    assert {name: stored.count(name) for name in before} == times
    after = labels_of(new.data)
    assert {name for name in before if (tag in before[name]) != (tag in after[name])} == corrected
    assert {name: names - {tag} for name, names in after.items()} == {name: names - {tag} for name, names in before.items()}
    unchanged = {name: content for name, content in contents(data).items() if name.startswith(("val-", "test-"))}
    assert unchanged.items() <= contents(new.data).items()
    assert improvement.unfinished(run) == new and improvement.base_of(run) == data


def test_pictures_that_were_added_are_learned(home):
    facts = files.read_json(Path("runs/emoji/config.json"))
    assert improvement.begin(run_folder.load(Path("runs/emoji")), collecting.collect(Path("data/emoji"), [], [])) is None
    files.write_json(Path("runs/emoji/config.json"), facts | {"train_images": facts["train_images"] - 1})  # trained before
    new = improvement.begin(run_folder.load(Path("runs/emoji")), collecting.collect(Path("data/emoji"), [], []))
    assert new is not None and labels_of(new.data) == labels_of(Path("data/emoji"))
    assert not improvement.few_changes(new.data)  # the trunk learns them as well


def test_a_second_round_starts_from_the_original_labels(home):
    """The run of the first round, whose training is left out."""
    data, tag = Path("data/emoji"), records.read_tags(Path("data/emoji/tags.csv"))[0].name
    before = labels_of(data)
    first = improvement.begin(
        run_folder.load(Path("runs/emoji")), collecting.collect(data, [], [decide(Path("a.csv"), *flip(before, tag, 2))])
    )
    shutil.copytree("runs/emoji", first.run)
    config = files.read_json(first.run / "config.json")
    files.write_json(first.run / "config.json", config | {"data": str(first.data)})
    interrupted = run_folder.load(first.run)  # trained, and not compared
    assert improvement.start_of(interrupted).folder == Path("runs/emoji")
    files.write_json(first.run / improvement.RESULT, {})
    assert improvement.start_of(interrupted) == interrupted
    run = run_folder.load(first.run)
    assert improvement.base_of(run).resolve() == data.resolve() and improvement.unfinished(run) is None
    base = improvement.base_of(run)
    assert improvement.begin(run, collecting.collect(base, [], [])) is None  # it has learned all
    undone = [(post_id, tag, "yes" if answer == "no" else "no") for post_id, tag, answer in flip(before, tag, 2)]
    later = decide(Path("b.csv"), *undone)
    os.utime(later, (time.time() + 60, time.time() + 60))
    second = improvement.begin(run, collecting.collect(base, [], [later]))
    assert second.run.name == "emoji-3" and labels_of(second.data) == before  # they thought better of it


@pytest.mark.parametrize("board, between, suffix", [("folder", ", ", ".txt"), ("hydrus", "\n", ".png.txt")])
def test_edited_texts_are_corrections_and_the_programs_own_tags_are_not(board, between, suffix, tmp_path):
    tags = {"a": ["cat", "dog"], "b": ["cat", "dog"], "more/c": ["dog", "cat"], "d": ["cat"], "more/e": ["dog"]}
    texts = {name: tmp_path / f"{name}{suffix}" for name in tags}
    (tmp_path / "more").mkdir()
    for number, (name, names) in enumerate(tags.items()):
        (tmp_path / f"{name}.png").write_bytes(bytes(number + 1))
        texts[name].write_text(between.join(names))
    folders, categories = [str(tmp_path)], ["general"]
    options = asdict(Options(board, folders, None, 9, 9, 1, 32, 0, 5.0, 5.0, categories))
    labels = {f"{name}.png": frozenset(names) for name, names in tags.items()}
    captions = {name: " ".join(names) for name, names in labels.items()}

    def edits_by_picture():
        known = sidecar_edits.edits(options, labels, {"cat", "dog", "red_fox"}, captions)
        return {(each.id, each.tag): each.has_tag for each in known}

    assert edits_by_picture() == {}
    for text in texts.values():
        annotations.write(text, ["red_fox"], "append", "1.0", "comma" if board == "folder" else "newline")
    assert edits_by_picture() == {}
    texts["a"].write_text(between.join(["dog", "red fox"]))  # cat is wrong
    texts["d"].write_text(between.join(["cat", "dog"]))  # dog was missing, and what the program wrote is wrong
    texts["more/e"].unlink()
    texts["more/c"].write_text(between.join(["dog", "red_fox"]))
    expected = {("a.png", "cat"): False, ("d.png", "dog"): True, ("d.png", "red_fox"): False, ("more/c.png", "cat"): False}
    assert edits_by_picture() == expected


@pytest.mark.parametrize(
    "content, words",
    [
        ("md5,id,tag\n", ""),
        (
            "md5,id,tag,decision,source,time\n,,cat,yes,,\n",
            "line 2: expected a tag, and an md5 or an id, but both are empty",
        ),
        ("md5,id,tag,decision,source,time\n,a\n", "line 2: expected a tag, and an md5 or an id, but the tag is empty"),
        ("id;tag\na;b\n", "expected the columns md5,id,tag,decision"),
        ("md5,id,tag,decision,source,time\n,a,cat,maybe,,\n", "expected yes or no"),
        (b"\xff\xfe\xff", "expected a table in UTF-8"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, content, words):
    path = tmp_path / "x-corrections.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if not words:
        assert corrections.read_table(path) == []
        return
    with pytest.raises(InputError, match=f"x-corrections.csv.*{words}"):
        corrections.read_table(path)


def test_bad_input_gets_one_line(home):
    for options, words in (
        (("--train", "--run", "runs/none"), "no run folder"),
        (("--train", "--decisions", "none.csv"), "none.csv cannot be read"),
        (("--train", "--events", "none.sqlite"), "none.sqlite is missing"),
        (("--port", 70000), "--port has to be"),
    ):
        done = improve(*options)
        assert done.returncode == 1 and words in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    done = improve("--train")
    assert done.returncode == 0 and "nothing to train" in done.stdout


@pytest.mark.slow
def test_interrupted_and_run_again_equals_uninterrupted(home):
    tag = records.read_tags(Path("data/emoji/tags.csv"))[0].name
    decide(Path("decisions.csv"), *flip(labels_of(Path("data/emoji")), tag, 30))
    apart = Path(shutil.copytree(home, home / "apart", ignore=shutil.ignore_patterns("apart")))
    command = [sys.executable, str(ROOT / "improve.py"), "--train", "--decisions", "decisions.csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=home)
    assert done.returncode == 0 and "mAP of 1 corrected tag " in done.stdout, done.stderr
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=apart)
    while not (apart / "runs/emoji-2/history.csv").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.wait()
    with FileLock(apart / "runs/emoji-2/.lock", timeout=120):  # its training may still write a checkpoint
        assert not (apart / "runs/emoji-2/improvement.json").exists()
    decide(apart / "decisions.csv", *flip(labels_of(Path("data/emoji")), tag, 40))  # not for the round that goes on
    again = subprocess.run(command, capture_output=True, text=True, check=False, cwd=apart)
    assert again.returncode == 0 and "was interrupted and goes on" in again.stderr, again.stderr
    one, other = (Tagger.open(folder / "runs/emoji-2").network.get_weights() for folder in (home, apart))
    assert all(map(np.array_equal, one, other)) and not np.array_equal(
        one[0], Tagger.open("runs/emoji").network.get_weights()[0]
    )
    figures = [files.read_json(folder / "runs/emoji-2/improvement.json") for folder in (home, apart)]
    assert figures[0] == figures[1] and figures[0]["data"] == "data/emoji"


@pytest.mark.slow
def test_ten_corrections_by_keyboard_are_learned(home, browser):
    """The person contradicts the board ten times; the new run agrees with them more than the same training without them."""
    data, before = Path("data/emoji"), run_folder.load(Path("runs/emoji"))
    command = [sys.executable, str(ROOT / "improve.py"), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    address = next(match[0] for line in process.stderr if (match := re.search(r"http://127\.0\.0\.1:\d+/", line)))
    page = browser.new_page()
    page.goto(address)
    labels, answered = labels_of(data), {}
    while len(answered) < 10:
        page.wait_for_selector("#question:not([hidden])")
        post_id, tag = page.inner_text("figcaption"), page.inner_text("#tag").removesuffix("?")
        answered[post_id, tag] = tag not in labels[post_id]
        page.keyboard.press("n" if answered[post_id, tag] else "y")
        page.keyboard.press("b")  # they think better of it
        page.keyboard.press("y" if answered[post_id, tag] else "n")
    page.keyboard.press("s")
    page.keyboard.press("t")
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0 and "10 corrections of" in out and "corrected tags" in out, err
    read = corrections.read_table(Path("data/emoji-corrections.csv"))
    assert {(each.id, each.tag): each.has_tag for each in read} == answered
    # The same training on the board's own labels, which say the opposite.
    settings = as_options(improvement.training_config(before, improvement.few_changes(Path("data/emoji-2"))))
    assert program("train.py", "--data", data, "--run", "runs/other", *settings).returncode == 0
    after, other = Tagger.open("runs/emoji-2"), Tagger.open("runs/other")
    pictures = records.images_by_id(data, "train", {name for name, _ in answered})

    def agreement(tagger: Tagger) -> float:  # the mean probability of the answers
        tags = {name: tagger.tag([picture], threshold=0.0)[0] for name, picture in pictures.items()}
        return float(np.mean([abs(tags[name][tag] - (not has_tag)) for (name, tag), has_tag in answered.items()]))

    assert agreement(after) > agreement(other) + 0.05
    assert labels_of(data, "test") == labels_of(Path("data/emoji-2"), "test")
