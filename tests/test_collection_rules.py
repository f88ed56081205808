"""Rules, names and odd files in collections: what the forms of test_collections have in common is tested there."""

import csv
import io
import json
import tarfile

import pytest
from conftest import program
from data_folders import read_split
from written_collections import FORMS, Drawn, danbooru, posts_by_number, with_json, with_tar, with_texts

from common.errors import InputError
from dataset.boards.board import Settings, open_board
from dataset.boards.filters import HIDDEN, Filters
from dataset.boards.post_json import read_post
from dataset.boards.visibility import UNKNOWN_RATING, is_restricted
from dataset.corrections import Correction, Decisions
from labels.improvement import write_data


@pytest.mark.parametrize("form", ["danbooru", "philomena", "hydrus text", "tar", "parquet"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_rules_of_a_board_hold(form, suffix, tmp_path):
    rows = [("tall_hat", "hat", "active"), ("hat", "worn_on_head", "active"), ("worn_on_head", "clothing", "deleted")]
    aliases, implications = (tmp_path / f"{name}{suffix}" for name in ("aliases", "implications"))
    for path, chosen in ((aliases, rows[:1]), (implications, rows[1:])):
        columns = ("antecedent_name", "consequent_name", "status")
        lines = [",".join(row) for row in (columns, *chosen)]
        if suffix == ".jsonl":
            lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in chosen]
        path.write_text("\n".join(lines))
    folder = tmp_path / "pictures"
    folder.mkdir()
    pictures = [Drawn(1, ["tall_hat"]), Drawn(2, ["blue_sky"])]
    board, write = FORMS[form]
    settings = Settings([folder], write(folder, pictures), rules=(str(aliases), str(implications)))
    opened_board = open_board(board, settings)
    posts = posts_by_number(opened_board, pictures)
    space = " " if form == "philomena" else "_"
    assert {tag.replace(" ", "_") for tag in posts[1].tags} == {"hat", "worn_on_head", "ann"}
    assert opened_board.implied("hat") == (f"worn{space}on{space}head",)
    with pytest.raises(InputError, match="lacks the column antecedent_name"):
        aliases.write_text("a,b\n1,2\n" if suffix == ".csv" else '{"a": 1}\n')
        list(open_board(board, settings).posts())


@pytest.mark.parametrize(
    "tag",
    [
        "female:lolicon",
        "age:young",
        "aged-down",
        "young girl",
        "Ｌｏｌｉ",
        "oppai_loli",
        "young_(lore)",
        "YOUNG",
        "loli,cat",
        "little girl",
    ],
)
def test_a_name_counts_however_it_is_written(tag, tmp_path):
    for rating in ("questionable", "explicit", UNKNOWN_RATING):
        assert is_restricted(["hat", tag], rating)
    assert not is_restricted(["hat", tag], "safe") and not is_restricted(["youngstown", "childhood"], "explicit")
    assert is_restricted(["young; hat; rating:explicit"], "") and is_restricted(["loli solo"], "")
    assert not is_restricted(["child", "lion cub"], "")  # of people's own photographs


@pytest.mark.parametrize("form", ["danbooru", "philomena", "hydrus text", "tar", "parquet"])
def test_an_alias_does_not_let_a_post_through(form, tmp_path):
    pictures = [
        Drawn(1, ["hat", "loli"], rating="explicit"),
        Drawn(2, ["hat", "young"], rating="explicit"),
        Drawn(3, ["hat"]),
    ]
    (tmp_path / "pictures").mkdir()
    table = FORMS[form][1](tmp_path / "pictures", pictures)
    aliases = tmp_path / "aliases.csv"
    aliases.write_text("antecedent_name,consequent_name,status\nloli,petite,active\nyoung,youthful,active\n")
    board = open_board(FORMS[form][0], Settings([tmp_path / "pictures"], table, rules=(str(aliases), None)))
    assert posts_by_number(board, pictures).keys() == {3} and board.skipped[HIDDEN] == 2


def test_tables_with_commas_capitals_gaps_and_late_letters(tmp_path):
    pictures = [Drawn(number, []) for number in range(1, 7)]
    (tmp_path / "pictures").mkdir()
    for drawn in pictures:
        (tmp_path / "pictures" / f"{drawn.number}.png").write_bytes(drawn.png())
    rows = [
        ("1", "loli, solo", "e", "x"),
        ("2", "Loli hat", "e", "3.5"),
        ("3", "Long Hair, hat", "e", ""),
        ("4", "child hat", "s", "1"),
    ]
    rows += [
        ("5", "hat", "safe", "-2"),
        *((str(number), "hat", "s", "1") for number in range(100, 40_100)),
        ("6", "hat", "g", "1"),
    ]
    table = tmp_path / "posts.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "tag_string", "rating", "score"), *rows])
    posts = {post.id: post for post in open_board("table", Settings([tmp_path / "pictures"], table)).posts()}
    tags = {name: set(post.tags) for name, post in posts.items()}
    assert tags == {"3.png": {"long_hair", "hat"}, "5.png": {"hat"}, "6.png": {"hat"}}
    assert posts["5.png"].rating == posts["6.png"].rating == "general"


def test_an_index_that_does_not_fit_is_not_used(tmp_path, capsys):
    pictures = [Drawn(number, ["hat"]) for number in range(1, 7)]
    with_tar(tmp_path, pictures, True)
    path = tmp_path / "0000.json"
    true = json.loads(path.read_text())
    members = list(true["files"].items())
    moved = {name: entry | {"offset": entry["offset"] + 512} for name, entry in members}
    for files in ({}, dict(members[:2]), dict(members[2:]), moved, {"1.png": {"offset": 1e400, "size": 1}}, []):
        path.write_text(json.dumps(true | {"files": files}))
        assert posts_by_number(open_board("webdataset", Settings([tmp_path])), pictures).keys() == set(range(1, 7))
        assert f"{path} is not used as an index" in capsys.readouterr().err
    path.write_text(json.dumps(true))
    (tmp_path / "0001.tar").rename(tmp_path / "0001.TAR")
    (tmp_path / "2.tar.gz").write_bytes(b"\x1f\x8b00")
    assert posts_by_number(open_board("webdataset", Settings([tmp_path])), pictures).keys() == set(range(1, 7))
    said = capsys.readouterr().err
    assert "not used as an index" not in said.replace("0001.json", "") and "1 compressed files are not read" in said


@pytest.mark.parametrize(
    "said",
    [
        {"x_restrict": 1},
        {"rating_id": "2", "rating_name": "Adult"},
        {"maturity_rating": "NSFW"},
        {"is_mature": True},
        {"sensitive": True, "rating": ""},
        {"rating": "g", "safety": "unsafe"},
        {"Rating": "e"},
        {"nsfw": "true", "rating": "safe"},
    ],
)
def test_whatever_key_says_that_a_post_is_not_safe_counts(said):
    post = read_post({"tags": ["young", "red"], **said})
    assert is_restricted(post.tags, post.rating)
    mild = read_post({"tags": ["young", "red"], "x_restrict": 0, "maturity_rating": "SFW", "sensitive": False})
    assert mild.rating == "safe"


@pytest.mark.parametrize("column", ["rating", "Rating", "safety"])
@pytest.mark.parametrize("suffix", ["csv", "json"])
def test_the_rating_in_a_table_of_ones_own_pictures_counts(tmp_path, column, suffix):
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(Drawn(number, []).png())
    rows = [{"id": f"{n}.png", "tags": "red,young" if n < 3 else "red", column: "safe"} for n in range(12)]
    rows[1][column], rows[2][column], rows[3][column] = "explicit", "banana", "explicit"
    table = tmp_path / f"tags.{suffix}"
    if suffix == "json":
        table.write_text(json.dumps(rows))
    else:
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    options = ("--board", "folder", "--images", tmp_path, "--csv", table, "--min-positives", 1)
    done = program("download.py", *options, "--out", tmp_path / "all")
    assert done.returncode == 0 and "such as 2.png: banana" in done.stderr, done.stderr
    assert ids(tmp_path / "all") == {f"{number}.png" for number in range(12)} - {"1.png", "2.png"}
    done = program("download.py", *options, "--ratings", "safe", "--out", tmp_path / "safe")
    assert ids(tmp_path / "safe") == {f"{number}.png" for number in range(12)} - {"1.png", "2.png", "3.png"}


def ids(folder):
    return {record.id for split in ("train", "val", "test") for record in read_split(folder, split)}


def table_download(tmp_path, rows: list[dict], *options):
    """The ids in a data folder made from a table of rows and a picture for each."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for row in rows:
        (pictures / f"{row['id']}.png").write_bytes(Drawn(row["id"], []).png())
    with (tmp_path / "posts.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    command = ("--board", "table", "--images", pictures, "--csv", tmp_path / "posts.csv", "--out", tmp_path / "data")
    done = program("download.py", *command, "--min-positives", 1, *options)
    assert done.returncode == 0, done.stderr
    return {int(name.removesuffix(".png")) for name in ids(tmp_path / "data")}


@pytest.mark.parametrize("word", ["TRUE", "T", "yes", "1.0", " true", "deleted", "maybe"])
@pytest.mark.parametrize("flag", ["is_deleted", "is_pending", "is_banned"])
def test_whatever_is_not_a_no_hides_a_row_of_a_table(tmp_path, word, flag):
    no = ["", "FALSE", "f", "0", "0.0", "no", "False", "none"]
    rows = [{"id": n, "tags": "red sky", "rating": "q", flag: word if n > 8 else no[n - 1]} for n in range(1, 15)]
    assert table_download(tmp_path, rows) == set(range(1, 9))


@pytest.mark.parametrize(
    "row",
    [
        {"tag_string": "young red", "rating": "s", "is_banned": "false"},
        {"tag_string": "red sky", "tag_string_general": "young red", "rating": "q"},
        {"tag_string": "red sky", "tags": "young red", "rating": "e"},
        {"tags": "red sky", "tag_string": "young red", "rating": "e"},
    ],
)
def test_every_column_of_a_table_is_searched_for_young(tmp_path, row):
    harmless = {name: "red" if name.startswith("tag") else value for name, value in row.items()}
    rows = [{"id": number, **(row if number > 8 else harmless)} for number in range(1, 13)]
    assert table_download(tmp_path, rows) == set(range(1, 9))


def test_the_rating_of_a_copy_without_tags_counts(tmp_path):
    for number in range(1, 13):
        (tmp_path / f"{number}.png").write_bytes(Drawn(number, []).png())
        (tmp_path / f"{number}.png.txt").write_text("young\nred" if number == 1 else "red")
    (tmp_path / "copy.png").write_bytes(Drawn(1, []).png())
    (tmp_path / "copy.png.json").write_text(json.dumps({"rating": "e", "tags": []}))
    done = program("download.py", "--board", "gallery-dl", "--images", tmp_path, "--out", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert ids(tmp_path / "data") == {f"{number}.png" for number in range(2, 13)}


def test_a_correction_cannot_bring_in_what_must_not_be_used(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(1, 13):
        (pictures / f"{number}.png").write_bytes(Drawn(number, []).png())
        post = {"rating": "e" if number < 4 else "s", "tags": ["red", "young"] if number > 9 else ["red"]}
        (pictures / f"{number}.png.json").write_text(json.dumps(post))
    rows = [f",{number}.png,young,yes,me,2026" for number in (1, 3, 5)]
    table = "\n".join(["md5,id,tag,decision,source,time", *rows])
    (tmp_path / "data-corrections.csv").write_text(table)
    command = ("--board", "gallery-dl", "--images", pictures, "--out", tmp_path / "data", "--ratings", "s", "e")
    done = program("download.py", *command, "--min-positives", 1)
    assert done.returncode == 0 and "2 posts are left out" in done.stderr, done.stderr
    assert ids(tmp_path / "data") == {f"{number}.png" for number in range(1, 13)} - {"1.png", "3.png"}
    assert "1.png" in (tmp_path / "data" / "quarantine.csv").read_text()
    # The same by improve.py, in the copy of the folder that it trains on.
    (tmp_path / "data-corrections.csv").unlink()
    assert program("download.py", *command, "--out", tmp_path / "all", "--min-positives", 1).returncode == 0
    train = {record.id for record in read_split(tmp_path / "all", "train")}
    decisions = Decisions([Correction("", f"{n}.png", "young", True, "me", "2026") for n in range(1, 13)])
    write_data(tmp_path / "all", tmp_path / "round", decisions, {})
    explicit = {f"{number}.png" for number in (1, 2, 3)}
    assert explicit & train
    assert {record.id for record in read_split(tmp_path / "round", "train")} == train - explicit


def test_one_text_in_a_tar_that_cannot_be_tags_is_left_out(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for number in range(1, 7):
            text = b'["red","sky"]' if number == 3 else b"red, sky"
            for name, content in ((f"{number}.png", Drawn(number, []).png()), (f"{number}.txt", text)):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    board = open_board("webdataset", Settings([tmp_path]))
    assert {post.id for post in board.posts()} == {f"0.tar/{number}.png" for number in (1, 2, 4, 5, 6)}
    [(name, reason)] = board.rejected
    assert name == "0.tar/3.png" and "part of a list" in reason


def test_tables_of_rules(tmp_path, capsys):
    with_texts(tmp_path, [Drawn(1, [])])
    next(tmp_path.glob("*.txt")).write_text("t1, t2, t3, t4, t5")
    (tmp_path / "aliases.csv").write_text('Antecedent_Name,Consequent_Name,Status\n" t1 ",one,Active\nt2,"a\nb",\nt3, ,\n')
    (tmp_path / "aliases.csv").open("a").write("t4,old,\nt4,four,\nt5,five,deleted\n")
    board = open_board("folder", Settings([tmp_path], rules=(str(tmp_path / "aliases.csv"), None)))
    [post] = board.posts()
    assert post.tags == ("one", "t2", "t3", "four", "t5")
    said = capsys.readouterr().err
    assert "aliases.csv: 3 of 6 rows are rules that hold" in said
    assert r"aliases.csv: rows without two names of tags: 2, which are not used, such as 't2' ▶ 'a\nb'" in said
    assert "aliases.csv: aliases of a name that has another one later: 1, which are not used" in said


@pytest.mark.parametrize("excluded", ["kitty", "kit*", "cat"])
def test_exclusions_know_aliases(excluded, tmp_path):
    with_json(tmp_path, [Drawn(1, ["kitty", "hat"]), Drawn(2, ["cat", "hat"]), Drawn(3, ["hat"])], danbooru)
    (tmp_path / "aliases.csv").write_text("antecedent_name,consequent_name\nkitty,cat\n")
    filters = Filters([], [excluded], typed=(excluded,))
    board = open_board("gallery-dl", Settings([tmp_path], rules=(str(tmp_path / "aliases.csv"), None), filters=filters))
    assert [post.id for post in board.posts()] == ["3.png"]
