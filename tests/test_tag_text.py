"""Tags as people write them are read as they meant them, one way for a whole collection."""

import json

import pytest
from conftest import program
from hypothesis import assume, example, given, strategies
from PIL import Image

from common.errors import InputError
from dataset.boards.folder import FolderBoard
from dataset.tag_text import SEPARATORS, TagReader, decide, is_emoticon, spell
from inference import sidecars

CASES = [
    (["long hair, blue eyes", "long hair"], [("long hair", "blue eyes"), ("long hair",)]),
    (["samus aran\n"], [("samus aran",)]),
    (["samus aran\n", "samus aran\nmetroid\n"], [("samus aran",), ("samus aran", "metroid")]),
    (["cat; dog; bird"], [("cat", "dog", "bird")]),
    (["cat | dog", "big bird"], [("cat", "dog"), ("big bird",)]),
    (["['cat', 'big dog']", "[]"], [("cat", "big dog"), ()]),
    (['["cat", "it\'s"]'], [("cat", "it's")]),
    (["猫、犬，鳥", "猫"], [("猫", "犬", "鳥"), ("猫",)]),
    (["1girl solo long_hair ;) :3 >_<", "o_o 1girl"], [("1girl", "solo", "long_hair", ";)", ":3", ">_<"), ("o_o", "1girl")]),
    (["solo smile"], [("solo", "smile")]),
    (["a, b\na, c\n"], [("a", "b", "c")]),  # two captions on two lines
    (["long   hair ,, solo,solo, "], [("long hair", "solo")]),
    (["one tag_(alone)\n"], [("one", "tag_(alone)")]),
    (["  ", ""], [(), ()]),
    ([*["solo cat smile"] * 30, "cat hello,world"], [*[("solo", "cat", "smile")] * 30, ("cat", "hello,world")]),
    (["red car\n"] * 30 + ["smile; x\n"], [*[("red car",)] * 30, ("smile; x",)]),
    (["c++; java", "C#"], [("c++", "java"), ("c#",)]),
    (["smile; ;)", "cat;dog ; bird"], [("smile", ";)"), ("cat", "dog", "bird")]),
    (["cat | :|", "a|b"], [("cat", ":|"), ("a", "b")]),
    (["👨\u200d👩\u200d👧, a\u200db"], [("👨\u200d👩\u200d👧", "ab")]),
    (["Long Hair, (blue eyes:1.2), a \\(b\\), :D, \u200bfoo"], [("long hair", "blue eyes", "a (b)", ":D", "foo")]),
    (["cafe\u0301, x", "caf\u00e9"], [("caf\u00e9", "x"), ("caf\u00e9",)]),
    (["long_hair, blue eyes", "red_eyes, green_eyes, ^_^"], [("long_hair", "blue_eyes"), ("red_eyes", "green_eyes", "^_^")]),
]


@pytest.mark.parametrize("cells, expected", CASES)
def test_a_collection_is_read_in_one_way(cells, expected):
    assert TagReader().read([("", cell) for cell in cells]) == expected


def test_capitals_and_separators_are_as_asked_for():
    assert TagReader(keep_case=True).read([("", "Long Hair, X")]) == [("Long Hair", "X")]
    assert TagReader("space").read([("", "samus aran\n")]) == [("samus", "aran")]
    assert TagReader("newline").read([("", "one, two\nthree")]) == [("one, two", "three")]


def test_what_was_decided_is_said(capsys):
    TagReader().read([("a.txt", "Cat, dog"), ("b.txt", "x, y"), ("c.txt", "cat; dog")])
    lines = capsys.readouterr().err.splitlines()
    assert "separated by commas, as in 'Cat, dog'" in lines[0]
    assert lines[1].startswith("1 of 3 do not look like that, such as c.txt: 'cat; dog'")
    assert lines[2] == "1 tags were spelled otherwise, such as 'Cat' for 'cat'"


@pytest.mark.parametrize(
    "cell, words",
    [("a\0b\0", "control"), ("['cat'", "part of a list"), ("[cat, dog", "list"), ("x, dog]", "list"), ("5, 7", "numbers")],
)
def test_what_cannot_be_tags_stops_with_an_example(cell, words):
    with pytest.raises(InputError, match=words):
        TagReader().read([("a.txt", cell)])


WORD = strategies.text(strategies.characters(categories=("Ll", "Nd"), max_codepoint=0x24F), min_size=2, max_size=8)
CELLS = strategies.lists(strategies.lists(WORD, min_size=2, max_size=6), min_size=1, max_size=6)
FORMS = {"comma": ", ", "semicolon": "; ", "pipe": " | ", "newline": "\n", "space": " ", "list": ""}


@given(CELLS, strategies.sampled_from(list(FORMS)))
@example([["ab", "cd"]], "list")
def test_any_tags_are_read_back_in_any_form(tags, form):
    assume(all(spell(tag) == tag for of_cell in tags for tag in of_cell))
    assume(not all(tag.isdecimal() for of_cell in tags for tag in of_cell))
    expected = [tuple(dict.fromkeys(of_cell)) for of_cell in tags]
    for end, mark, after in (("\n", "", ""), ("\n", "", "\n"), ("\r\n", "\ufeff", "\r\n"), ("\n", "", "  ")):
        joined = [json.dumps(of_cell) if form == "list" else FORMS[form].join(of_cell) for of_cell in tags]
        cells = [("", mark + text.replace("\n", end) + after) for text in joined]
        assert TagReader(form).read(cells) == expected
        if form != "space":
            assert decide(text for _, text in cells) == form and TagReader().read(cells) == expected


@given(strategies.text())
def test_spelling_is_stable(tag):
    once = spell(tag)
    assert spell(once) == once or "\\" in tag or "(" in tag  # weights and escapes inside others are undone one by one


@pytest.mark.parametrize("face", [":3", ">_<", "o_o", "=_=", "^_^", ";)", ":D", "\\o/", "0_0", "<o>_<o>", "+_+", ":|"])
def test_emoticons_stay_as_they_are(face):
    assert is_emoticon(face) and spell(face) == face
    assert TagReader("comma").read([("", f"{face}, long hair, blue eyes, red_hat")]) == [
        (face, "long hair", "blue eyes", "red hat")
    ]


@pytest.mark.slow
def test_megabytes_of_signs_are_read_at_once():
    for sign in "!|;( \t":
        TagReader().read([("", f"a, {sign * 1_000_000} b")])
    with pytest.raises(InputError, match="part of a list"):
        TagReader().read([("", f"a, {'[' * 1_000_000} b")])


def test_utf_16_is_read_by_its_mark_and_refused_without(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("long hair, solo", encoding="utf-16")
    assert [post.tags for post in FolderBoard([tmp_path], None).posts()] == [("long hair", "solo")]
    (tmp_path / "a.txt").write_text("long hair, solo", encoding="utf-16-le")
    with pytest.raises(InputError, match="control characters"):
        list(FolderBoard([tmp_path], None).posts())


def test_the_commands_options_are_recorded(tmp_path):
    for index in range(40):
        Image.new("RGB", (16, 16), (index * 5, 255 - index * 5, index)).save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.txt").write_text("Samus Aran;Metroid" if index % 2 else "Metroid")
    options = ("--board", "folder", "--images", tmp_path, "--positives", 5, "--size", 32, "--keep-case")
    done = program("download.py", *options, "--out", tmp_path / "data")
    assert done.returncode == 0 and "separated by semicolons" in done.stderr, done.stderr
    tags = (tmp_path / "data" / "tags.csv").read_text()
    assert "Samus Aran" in tags and "Metroid" in tags
    done = program("download.py", *options, "--separator", "comma", "--out", tmp_path / "data")
    assert done.returncode == 1 and "separator was None and is now 'comma'" in done.stderr
    assert set(SEPARATORS) == set(FORMS)


@pytest.mark.parametrize(
    "cell, tags",
    [
        ("1girl\n;_;\nlong hair\n", ("1girl", ";_;", "long hair")),
        (";_; solo long_hair", (";_;", "solo", "long_hair")),
        ("miku (vocaloid)|what?|c++|java", ("miku (vocaloid)", "what?", "c++", "java")),
        ("['cat' 'big dog']", ("cat", "big dog")),  # as NumPy prints it
        ("{'cat', 'dog'}", ("cat", "dog")),
        ('{"cat": 0.9, "dog": 0.2}', ("cat", "dog")),
        ('"cat","dog"', ("cat", "dog")),
        ("(miku \\(vocaloid\\), solo:1.2), smile", ("miku (vocaloid)", "solo", "smile")),
        ("((long hair:1.2):1.1), (solo: 1.), (^_^:1)", ("long hair", "solo", "^_^")),
        ("cat ;dog ;bird", ("cat", "dog", "bird")),
        ("a; ;_;; b", ("a", ";_;", "b")),
        ("x | |_| | :| | u_u;", ("x", "|_|", ":|", "u_u;")),
    ],
)
def test_signs_within_tags_are_not_separators(cell, tags):
    assert TagReader().read([("", cell)] * 3)[0] == tags
    for added in (["new"], [";_;"], ["c++"], ["miku (vocaloid)"]):
        after = sidecars.merge_tags(added, cell)
        assert set(TagReader().read([("", after)])[0]) >= set(tags), after
        assert sidecars.merge_tags(added, after) == after


@pytest.mark.parametrize(
    "before, after",
    [
        ("cat\r\n", "cat, mine, long hair\r\n"),
        ("\ufeff\r\n", "\ufeffmine, long hair\r\n"),
        ("['mine' 'ö']", "['mine' 'ö' 'long hair']"),
        ("mine | |_|\n", "mine | |_| | long hair\n"),
        ("mine", "mine, long hair"),
        ("mine\n", "mine, long hair\n"),
        ("\ufeffmine, ö\r\n", "\ufeffmine, ö, long hair\r\n"),
        ("mine,ö,", "mine,ö,long hair,"),
        ("mine; ö", "mine; ö; long hair"),
        ("mine o_ored car;", "mine o_ored car;mine;long hair;"),
        ("mine\nö\n", "mine\nö\nlong hair\n"),
        ("mine\r\nö", "mine\r\nö\r\nlong hair"),
        ("mine ö red_hat", "mine ö red_hat long_hair"),
        ("mine | ö \n", "mine | ö | long hair \n"),
        ("['mine', 'ö']", "['mine', 'ö', 'long hair']"),
        ("a, mine\na, ö\n", "a, mine\na, ö, long hair\n"),  # two captions
        ("猫、mine", "猫、mine、long hair"),
        ("", "mine, long hair\n"),
        (None, "mine, long hair\n"),
    ],
)
def test_a_text_file_keeps_its_form_when_tags_are_added(before, after):
    assert sidecars.merge_tags(["mine", "long hair"], before) == after
    for again in (["mine", "long hair"], ["Long_Hair", "MINE"]):
        assert sidecars.merge_tags(again, after) == after


@given(CELLS, strategies.sampled_from(list(FORMS)), strategies.lists(WORD, max_size=4))
def test_adding_tags_loses_none_and_happens_once(tags, form, added):
    assume(not all(tag.isdecimal() for tag in tags[0]))
    before = json.dumps(tags[0]) if form == "list" else FORMS[form].join(tags[0])
    after = sidecars.merge_tags(added, before)
    assert sidecars.merge_tags(added, after) == after
    if form != "space":
        assert set(TagReader(form).read([("", after)])[0]) >= {spell(tag) for tag in (*tags[0], *added) if spell(tag)}


FACES = ["1girl", ";_;", ";)", ":|", "|_|", "o_o", "c++", "x(y)", "d:", "^_^", "|o|", "u_u;", "long hair", "two, tags"]


@given(
    strategies.lists(strategies.sampled_from(FACES), min_size=2, max_size=6, unique=True),
    strategies.sampled_from((", ", "; ", " | ", "\n", ",", "|", ";")),
    strategies.lists(strategies.sampled_from(FACES), min_size=1, max_size=3, unique=True),
)
def test_tags_that_look_like_separators_are_added_once_or_refused(tags, joint, added):
    try:
        after = sidecars.merge_tags(added, joint.join(tags))
    except ValueError as error:
        assert "cannot be told" in str(error)
    else:
        assert sidecars.merge_tags(added, after) == after


def test_a_tag_in_a_row_of_its_own_is_one_tag(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    names = ["hello, world", "smile; grin", "a|b", "a very long name of a thing"]
    (tmp_path / "table.csv").write_text("file,tag,probability\n" + "".join(f'a.png,"{name}",1\n' for name in names))
    [post] = FolderBoard([tmp_path], tmp_path / "table.csv").posts()
    assert list(post.tags) == names


def test_files_without_a_sign_get_what_the_folder_has():
    assert sidecars.merge_tags(["cat", "new"], "cat dog\n", "space") == "cat dog new\n"
    assert sidecars.merge_tags(["red car", "new"], "red car\n", "newline") == "red car\nnew\n"
    assert not any(map(sidecars.has_tags, ("", "[]", ";", "|\n", "\u3001", '[""]'))) and sidecars.has_tags(":)")


def test_the_text_file_with_the_whole_name_comes_first(tmp_path):
    (tmp_path / "a.png.txt").touch()
    assert sidecars.path_for(tmp_path / "a.png") == tmp_path / "a.png.txt"
    assert sidecars.path_for(tmp_path / "b.png") == tmp_path / "b.txt"
    assert sidecars.path_for(tmp_path / ("c" * 251 + ".png")).suffix == ".txt"


@pytest.mark.parametrize(
    "table",
    [
        "file,tag,probability\na.png,long hair,0.9\na.png,solo,0.5\nb.png,solo,1.0\n",
        "a,long hair,0.9123\na,solo,1e-05\nb,solo,0\n",
        'sep=;\nfilename;tag_string\na.png;"long hair, solo"\nb.png;solo\n',
        "image\ttext\tscore\na.png\tlong hair, solo\t3\nb.png\tsolo\t4\n",
    ],
)
def test_tables_of_other_programs_are_read(tmp_path, table):
    for name in ("a", "b"):
        Image.new("RGB", (8, 8), (ord(name), 0, 0)).save(tmp_path / f"{name}.png")
    (tmp_path / "table.csv").write_text(table)
    board = FolderBoard([tmp_path], tmp_path / "table.csv")
    assert {post.id: set(post.tags) for post in board.posts()} == {"a.png": {"long hair", "solo"}, "b.png": {"solo"}}
    assert board.rejected == []
