"""The board e621 against a small one of the tests' own: what is chosen, what is asked for, and what becomes of it."""

import gzip
import itertools
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path

import pytest
from data_folders import Record, contents, read_quarantine, read_split
from small_board import FAULTS, NUMBERS, RESTRICTED, UNUSABLE, WITH_SAMPLE, WITHOUT_SAMPLE, SmallBoard, colour, rating

from common.errors import InputError
from common.version import VERSION
from dataset import images, records
from dataset.boards import database_export, http_client, post_table
from dataset.boards.database_export import discover, download, read_rows
from dataset.boards.e621 import Access, E621Board, file_variant
from dataset.boards.filters import Filters
from dataset.boards.tag_rules import TagRules
from dataset.build.build import build
from dataset.build.selection import Options

ROOT = Path(__file__).parent.parent
ALLOWED = [number for number in NUMBERS if number not in RESTRICTED and number not in UNUSABLE and number != 40]


def make(board: SmallBoard, out: Path, rate: float = 0, dry_run: bool = False, filters: Filters | None = None, **changes):
    """Build a data folder of the small board; the manifest."""
    filters = filters or Filters()
    settings = {"tags": 20, "positives": 500, "min_positives": 1, "size": 300, "seed": 0, "val": 20.0, "test": 20.0}
    settings |= {"board": "e621", "images": None, "csv": None, "categories": ["general"], "posts": 99}
    stored = {name: value for name, value in asdict(filters).items() if name != "typed"}  # as download.py stores them
    options = Options(**(settings | {"board_url": board.url, "filters": stored} | changes))
    access = Access(board.url, "tester", rate, out.parent / "cache")
    return build(lambda: E621Board(access, filters), options, out, dry_run)


def read_all(folder: Path) -> dict[int, Record]:
    return {int(record.id): record for split in records.SPLITS for record in read_split(folder, split)}


def assert_accounted(out: Path, manifest: dict) -> None:
    """Every selected post was written, quarantined or gone, and the files say the same."""
    for split, counts in manifest["splits"].items():
        assert counts["selected"] == counts["written"] + counts["quarantined"] + counts["gone"]
        assert counts["written"] == len(read_split(out, split))
    missing = sum(counts["quarantined"] + counts["gone"] for counts in manifest["splits"].values())
    assert missing == len(read_quarantine(out))


def expected_tags(number: int) -> set[str]:
    tags = {"dog"} if number % 4 == 3 else {"cat", "mammal", "animal"}
    return tags.union(["even"] * (number % 2 == 0), ["loop_a"] * (number % 3 == 0), ["young"] * (number == 44))


def test_records_are_those_of_the_export(board, tmp_path):
    manifest = make(board, tmp_path / "data")
    found = read_all(tmp_path / "data")
    assert found.keys() == {number for number in ALLOWED if rating(number) == "s"} == board.asked_posts()
    for number, record in found.items():
        assert record.tags == expected_tags(number)
        assert record.md5 == board.md5_of(number)
        pixel = images.decode(record.image).getpixel((9, 9))
        assert max(abs(a - b) for a, b in zip(pixel, colour(number), strict=True)) < 8
    assert_accounted(tmp_path / "data", manifest)
    assert sum(manifest["skipped"].values()) + len(found) == len(NUMBERS)
    tags = {tag.name: tag for tag in records.read_tags(tmp_path / "data" / "tags.csv")}
    assert tags["cat"].tag_id == 100
    implied = {name: set(tag.implies) for name, tag in tags.items() if tag.implies}
    assert implied == {"cat": {"mammal", "animal"}, "mammal": {"animal"}, "animal": {"mammal"}}
    words = {int(record.id): record.caption for record in records.read(tmp_path / "data", "train")}
    assert words and all(set(words[number].split()) >= expected_tags(number) - {"loop_a"} for number in words)
    assert not any("ann" in caption.split() for caption in words.values())  # an artist cannot be seen
    assert board.agents == {f"e6tag/{VERSION} (by tester on e621)"}
    files = [path for path in (tmp_path / "data").iterdir() if path.name != ".lock"]
    assert {path.suffix for path in files} == {".tfrecord", ".csv", ".json"}


@pytest.mark.parametrize(
    "ratings", [chosen for size in (1, 2, 3) for chosen in itertools.combinations("sqe", size)], ids="".join
)
def test_forbidden_posts_are_never_asked_for(board, tmp_path, ratings):
    make(board, tmp_path / "data", filters=Filters(ratings=list(ratings), exclude=[]))
    assert board.asked_posts() == {number for number in [*ALLOWED, 40] if rating(number) in ratings}
    assert not board.asked_posts() & (RESTRICTED.keys() | UNUSABLE.keys())


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({"min_score": 30}, lambda number: number >= 35),
        ({"min_tags": 5}, lambda number: number % 6 == 0 or number == 44 or number == 30),
        ({"after": "2020-01-11", "before": "2020-01-21"}, lambda number: 11 <= number % 28 + 1 < 21),
        ({"exclude": ["kitty"]}, lambda number: number % 4 == 3),
        ({"exclude": ["animal", "loop_b"]}, lambda number: number % 4 == 3 and number % 3),
        ({"exclude": ["kit*", "unheard of"], "typed": ("kit*",)}, lambda number: number % 4 == 3),
    ],
)
def test_filters_choose(board, tmp_path, filters, kept):
    access = Access(board.url, "tester", 0, tmp_path)
    posts = E621Board(access, Filters(**filters)).posts()
    allowed = [*ALLOWED, 40] if "exclude" in filters else ALLOWED
    assert {int(post.id) for post in posts} == {n for n in allowed if rating(n) == "s" and kept(n)}


def test_white_space_hides_no_tag(board, tmp_path):
    for number, tags in {1: "", 2: "  ", 3: " cat   dog ", 11: "cat\tyoung", 12: "young\n", 13: "\nkitty"}.items():
        board.rows[number - 1] |= {"tag_string": tags, "rating": "q"}
    board.set_exports(board.rows)
    posts = E621Board(Access(board.url, "tester", 0, tmp_path), Filters(ratings=["q"])).posts()
    tags = {int(post.id): set(post.tags) for post in posts}
    assert tags[3] == {"cat", "dog", "mammal", "animal"}
    assert tags[13] == {"cat", "mammal", "animal"}
    assert not {1, 2, 11, 12} & tags.keys()


def test_spellings_keep_their_numbers_from_block_to_block(board, tmp_path, monkeypatch):
    written = ['solo "quoted"', "日本語 émoji_😀 solo", "a,comma solo solo", "e\u0301 é kitty kitty", "solo  日本語 a,comma"]
    for number, row in enumerate(board.rows):
        row["tag_string"] = written[number % len(written)]
    board.set_exports(board.rows)
    access = Access(board.url, "tester", 0, tmp_path)
    posts = list(E621Board(access, Filters()).posts())
    assert {tag for post in posts for tag in post.tags} >= {'"quoted"', "émoji_😀", "a,comma", "e\u0301", "é", "mammal"}
    monkeypatch.setattr(database_export, "BLOCK_BYTES", 2**11)
    monkeypatch.setattr(post_table, "ADDED_AT_ONCE", 1)
    assert list(E621Board(access, Filters()).posts()) == posts


def test_an_export_without_a_post_that_passes_is_named(board, tmp_path):
    for filters, words in (
        (Filters(after="2030-01-01"), " 0 after --after 2030-01-01$"),
        (Filters(min_tags=99_999), r" after --ratings s, .* after --exclude comic, 0 after --min-tags 99999$"),
        (Filters(exclude=["comic", "kity"], typed=("kity",)), "--exclude: kity is not one of .* did you mean kitty"),
    ):
        with pytest.raises(InputError, match=words):
            make(board, tmp_path / "data", dry_run=True, filters=filters)
    board.set_exports([])
    with pytest.raises(InputError, match="no post is left of the 0 of "):
        make(board, tmp_path / "data", dry_run=True)


def test_a_chain_of_parents_is_one_group(board, tmp_path):
    access = Access(board.url, "tester", 0, tmp_path)
    groups = {post.id: post.group for post in E621Board(access, Filters(ratings=["s", "q", "e"])).posts()}
    assert {groups[str(number)] for number in (10, 11, 12)} == {"10"}
    assert {groups[str(number)] for number in (20, 21)} == {"20"}
    assert {groups[str(number)] for number in (31, 32)} == {"15"}, "children of a deleted post"
    assert groups["33"] == "33"


def test_the_order_of_columns_and_new_ones_do_not_matter(board, tmp_path):
    access = Access(board.url, "tester", 0, tmp_path)
    posts = list(E621Board(access, Filters()).posts())
    board.set_exports(board.rows, ["bg_color", *reversed(list(board.rows[0])), "last_noted_at"])
    assert list(E621Board(access, Filters()).posts()) == posts
    board.set_exports(board.rows, [name for name in board.rows[0] if name != "rating"])
    with pytest.raises(InputError, match="no column rating"):
        list(E621Board(access, Filters()).posts())


def test_aliases_in_a_circle_and_chains_end():
    aliases = [("a", "b"), ("b", "c"), ("c", "b"), ("x", "y"), ("y", "z"), ("me", "me")]
    rules = TagRules([], aliases, [("x", "b"), ("c", "x")])
    assert [rules.resolve(name) for name in ("a", "b", "c", "x", "me", "new")] == ["b", "b", "b", "z", "me", "new"]
    assert {rules.names[number] for number in rules.expand("a")} == {"b", "z"}


def test_faults_change_no_record(board, tmp_path):
    make(board, tmp_path / "clean")
    for index, path in enumerate(sorted(board.files)):
        board.faults[path] = [FAULTS[(index + turn) % len(FAULTS)] for turn in range(index % 4)]
    manifest = make(board, tmp_path / "faulty")
    assert read_quarantine(tmp_path / "faulty") == {}
    assert contents(tmp_path / "faulty") == contents(tmp_path / "clean")
    assert_accounted(tmp_path / "faulty", manifest)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_post_that_always_fails_is_in_the_quarantine_with_the_reason(board, tmp_path, fault):
    board.faults[board.path_of(33)] = [fault] * 99
    board.missing.add(board.path_of(34))
    manifest = make(board, tmp_path / "data")
    reasons = read_quarantine(tmp_path / "data")
    words = {"html": "web page", "reset": "connect", "short": "bytes|connect|middle", "flipped": "wrong MD5"}
    assert reasons.keys() == {"33", "34"}
    assert any(word in reasons["33"] for word in words.get(fault, fault).split("|"))
    assert "tries" in reasons["33"]
    assert reasons["34"].startswith("gone: 404")
    assert sum(counts["gone"] for counts in manifest["splits"].values()) == 1
    assert_accounted(tmp_path / "data", manifest)


def test_the_smallest_file_that_is_large_enough_is_asked_for(board, tmp_path):
    make(board, tmp_path / "data")
    sample, missing = (board.md5_of(number) for number in (WITH_SAMPLE, WITHOUT_SAMPLE))
    assert [path for path in board.requests if sample in path] == [board.sample_path(sample)]
    assert [path for path in board.requests if missing in path] == [
        board.sample_path(missing, "webp"),
        board.path_of(WITHOUT_SAMPLE),
    ]
    posts = {int(post.id): post for post in E621Board(Access(board.url, "", 0, tmp_path / "cache"), Filters()).posts()}
    assert [file_variant(posts[WITH_SAMPLE], size) for size in (64, 256, 257, 850, 851)] == [
        *("preview", "preview", "sample", "sample", "original")
    ]
    assert file_variant(posts[33], 300) == "original"


def test_the_export_is_kept_until_it_changes(board, tmp_path):
    def exports_read() -> Counter:
        return Counter(path for path in board.requests if path.endswith(".gz"))

    make(board, tmp_path / "data", dry_run=True)
    assert set(exports_read().values()) == {1}
    make(board, tmp_path / "data", dry_run=True)
    assert set(exports_read().values()) == {1}
    board.set_exports(board.rows[:50])
    make(board, tmp_path / "data", dry_run=True)
    assert sorted(exports_read().values()) == [1, 1, 1, 2]
    assert len(list((tmp_path / "cache").iterdir())) == 4
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("checksums", [True, False])
def test_a_broken_download_of_the_export_is_resumed(board, tmp_path, checksums):
    board.checksums = checksums
    board.faults["/data/db_export/posts.csv.gz"] = ["short", "503", "short", "reset"]
    make(board, tmp_path / "data")
    assert len(read_all(tmp_path / "data")) > 30


def test_an_export_with_another_checksum_is_read_again_and_then_refused(board, tmp_path):
    board.faults["/data/db_export/tags.csv.gz"] = ["flipped"]
    make(board, tmp_path / "data", dry_run=True)
    board.faults["/data/db_export/tags.csv.gz"] = ["flipped"] * 9
    for path in (tmp_path / "cache").glob("tags-*"):
        path.unlink()
    with pytest.raises(InputError, match="SHA-256"):
        make(board, tmp_path / "data", dry_run=True)


def test_a_damaged_export_is_named(tmp_path):
    (tmp_path / "posts.csv.gz").write_bytes(b"\x1f\x8b\x08\x00words")
    with pytest.raises(InputError, match=r"posts\.csv\.gz is damaged"):
        list(read_rows(tmp_path / "posts.csv.gz", ("id", "md5")))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"7,8,9,10\n", "damaged after row 0: .*Expected 3 columns, got 4: 7,8,9,10"),
        (b"7,8\n", "Expected 3 columns, got 2: 7,8"),
        (b"7,a \xff,\n", "damaged after row 0: .*utf-8"),
    ],
)
def test_a_bad_row_is_named(tmp_path, line, message):
    (tmp_path / "posts.csv.gz").write_bytes(gzip.compress(b'id,t,d\n1,a b,"two\nlines, and ""quotes"""\n' + line))
    with pytest.raises(InputError, match=message):
        list(read_rows(tmp_path / "posts.csv.gz", ("id", "t")))


def test_the_plan_is_printed_before_the_first_picture(board, tmp_path, capsys):
    assert make(board, tmp_path / "data", rate=50, dry_run=True) is None
    printed = capsys.readouterr().err
    assert "pictures, about" in printed
    assert "at 50 a second" in printed
    assert "fewer than 500 posts; missing: " in printed
    assert board.asked_posts() == set()


def program(board: SmallBoard, out: Path, *arguments: object) -> subprocess.Popen:
    options = ("--board-url", board.url, "--out", out, "--rate", 0, "--size", 300, "--positives", 99, *arguments)
    command = [sys.executable, str(ROOT / "download.py"), *map(str, options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_runs_end_with_the_files_of_an_undisturbed_one_and_ask_again_for_little(board, tmp_path):
    undisturbed = program(board, tmp_path / "undisturbed")
    _, err = undisturbed.communicate(timeout=60)
    assert undisturbed.returncode == 0, err
    board.requests.clear()
    board.delay_seconds = 0.1
    for wanted in (12, 25):
        process = program(board, tmp_path / "data")
        while process.poll() is None and len(board.asked_posts()) < wanted:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    board.delay_seconds = 0.0
    board.set_exports(board.rows[:50])  # the board goes on meanwhile
    process = program(board, tmp_path / "data")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert contents(tmp_path / "data") == contents(tmp_path / "undisturbed")
    asked = Counter(path for path in board.requests if path in board.files)
    assert sum(asked.values()) - len(asked) <= 2 * http_client.THREADS


def test_the_export_file_is_named_by_its_version(board, tmp_path):
    client = http_client.Client("", 0)
    paths = defaultdict(set)
    for posts in (board.rows, board.rows[:9], board.rows):
        board.set_exports(posts)
        paths[len(posts)].add(download(client, discover(client, board.url)["posts"], tmp_path))
    assert {len(found) for found in paths.values()} == {1}
    assert paths[9] != paths[60]
