"""Collections that people have: each form gives the same records, keeps what the board says, and drops what it must."""

import contextlib
from pathlib import Path

import pytest
from conftest import program
from data_folders import read_split
from written_collections import FORMS, Drawn, danbooru, e621, posts_by_number, with_json, with_texts

from common.errors import InputError
from dataset import records
from dataset.boards.board import Board, Settings, open_board
from dataset.boards.filters import HIDDEN, Filters

PICTURES = [
    Drawn(
        number,
        [tag for tag, every in (("long_hair", 2), ("blue_sky", 3), ("hat", 4), ("solo", 1)) if number % every == 0],
        artist=f"artist_{number % 3}",
        character="miku" if number % 5 == 0 else "",
        rating=("safe", "questionable", "explicit")[number % 3],
        parent=number - 1 if number in (12, 13) else 0,
    )
    for number in range(1, 25)
]
UNLINKED = ("szurubooru", "hydrus text", "hydrus json")  # forms that have no parents
QUICK = ("danbooru", "philomena", "hydrus text", "tar", "parquet")  # a form of each board
ALL = pytest.mark.parametrize("form", FORMS)


def opened(folder: Path, form: str, pictures: list[Drawn], filters: Filters | None = None) -> Board:
    """The board of pictures that are written in a form."""
    folder.mkdir(exist_ok=True)
    board, write = FORMS[form]
    table = write(folder, pictures)
    return open_board(board, Settings([folder], table, tags_path="tags/downloader", filters=filters))


def build(out: Path, board: str, *options) -> list:
    """The records that download.py makes, by the MD5 of the picture."""
    names = ("general", "artist", "character")
    done = program("download.py", "--board", board, "--out", out, "--val", 0, "--test", 0, "--categories", *names, *options)
    assert done.returncode == 0, done.stderr
    return sorted(read_split(out, "train"), key=lambda record: record.md5)


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> dict[str, tuple]:
    """MD5 ▶ pixels and tags of the records that the board `folder` makes."""
    folder = tmp_path_factory.mktemp("texts")
    with_texts(folder, PICTURES)
    made = build(folder / "data", "folder", "--images", folder)
    assert len(made) == len(PICTURES)
    return {record.md5: (record.image, record.tags) for record in made}


@pytest.mark.parametrize("form", [pytest.param(form, marks=() if form in QUICK else pytest.mark.slow) for form in FORMS])
def test_records_equal_those_of_a_folder(form, expected, tmp_path):
    (tmp_path / "pictures").mkdir()
    board, write = FORMS[form]
    table = write(tmp_path / "pictures", PICTURES)
    options = ["--table", table] if table else []
    options += ["--tags-path", "tags/downloader"] if form == "hydrus json" else []
    made = build(tmp_path / "data", board, "--images", tmp_path / "pictures", *options)
    ratings = frozenset(records.RATING_TAGS)
    as_written = {record.md5: (record.image, record.tags - ratings) for record in made}
    if form == "philomena":  # whose tags have spaces
        as_written = {
            md5: (image, frozenset(tag.replace(" ", "_") for tag in tags)) for md5, (image, tags) in as_written.items()
        }
    assert as_written == expected
    names_of_rating = {drawn.md5: drawn.rating for drawn in PICTURES}
    for record in made:
        [rating] = record.tags & ratings
        wanted = names_of_rating[record.md5]
        assert rating.partition(":")[2] in (wanted, "general" if wanted == "safe" else wanted)
    tags = {tag.name.replace(" ", "_"): tag.category for tag in records.read_tags(tmp_path / "data" / "tags.csv")}
    categories = {"artist_0": "artist", "miku": "character", "long_hair": "general"}
    assert {name: tags[name] for name in categories} == {name: records.CATEGORIES[kind] for name, kind in categories.items()}


@ALL
def test_variants_are_one_group(form, tmp_path):
    posts = posts_by_number(opened(tmp_path / "pictures", form, PICTURES), PICTURES)
    if form in UNLINKED:
        assert len({post.group for post in posts.values()}) == len(PICTURES)
    else:
        assert posts[11].group == posts[12].group == posts[13].group != posts[10].group


YOUNG_NAMES = {
    "danbooru": ("loli", "shota", "child", "toddlercon"),
    "e621": ("young", "cub"),
    "gelbooru": ("loli", "shota"),
    "moebooru": ("loli",),
    "philomena": ("foalcon", "young"),
    "szurubooru": ("young", "child"),
}


@ALL
def test_posts_that_must_not_be_used_never_are(form, tmp_path):
    for name in YOUNG_NAMES.get(form, ("young", "loli", "shota", "cub", "child")):
        pictures = [
            Drawn(3 * number + place, ["hat", name], rating=rating)
            for place, rating in enumerate(("safe", "questionable", "explicit"))
            for number in range(1, 4)
        ]
        folder = tmp_path / name
        for ratings in ([], ["explicit"], ["safe", "questionable", "explicit", "general", "sensitive"]):
            board = opened(folder, form, pictures, Filters(ratings=ratings, exclude=[]))
            with contextlib.suppress(InputError):  # nothing is left
                posts = posts_by_number(board, pictures)
                rating = {drawn.number: drawn.rating for drawn in pictures}
                assert {rating[number] for number in posts} == {"safe"}, name
            if "explicit" in ratings or not ratings:
                assert any(HIDDEN in key for key in board.skipped) or ratings == ["explicit"]


def test_danbooru_s_is_not_safe(tmp_path):
    pictures = [Drawn(1, ["hat", "child"], rating="sensitive"), Drawn(2, ["hat", "child"], rating="safe"), Drawn(3, ["hat"])]
    assert posts_by_number(opened(tmp_path / "pictures", "danbooru", pictures), pictures).keys() == {2, 3}


@ALL
def test_filters(form, tmp_path):
    folder = tmp_path / "pictures"
    pictures = [Drawn(number, ["hat"], score=number, date=f"2020-0{number}-15") for number in range(1, 8)]
    pictures[6].general.append("comic")
    for filters, wanted in (
        (Filters([], ["comic"], typed=("comic",)), {1, 2, 3, 4, 5, 6}),
        (Filters([], ["com*"], typed=("com*",)), {1, 2, 3, 4, 5, 6}),
        (Filters(["explicit"], []), set()),
        (Filters([], [], min_tags=3), {7}),
    ):
        board = opened(folder, form, pictures, filters)
        if not wanted:
            with pytest.raises(InputError, match="another rating"):
                list(board.posts())
            continue
        assert posts_by_number(board, pictures).keys() == wanted
    has_facts = not form.startswith("hydrus")
    for filters, wanted in (
        (Filters([], [], min_score=4), {4, 5, 6, 7}),
        (Filters([], [], after="2020-03-01", before="2020-06-01"), {3, 4, 5}),
    ):
        board = opened(folder, form, pictures, filters)
        if has_facts:
            assert posts_by_number(board, pictures).keys() == wanted
        else:
            with pytest.raises(InputError, match=r"no score|no date"):
                list(board.posts())
    with pytest.raises(InputError, match=r"--exclude: hatt is not one of the .* tags: did you mean hat"):
        list(opened(folder, form, pictures, Filters([], ["hatt"], typed=("hatt",))).posts())


@pytest.mark.parametrize("form", [form for form in FORMS if form not in UNLINKED])
def test_hidden_posts_are_left_out(form, tmp_path):
    pictures = [Drawn(number, ["hat"], is_deleted=number == 2) for number in range(1, 5)]
    assert posts_by_number(opened(tmp_path / "pictures", form, pictures), pictures).keys() == {1, 3, 4}


def test_boards_are_mixed(tmp_path, capsys):
    for name, post, numbers in (("one", danbooru, (1, 2)), ("two", e621, (2, 3))):
        (tmp_path / name).mkdir()
        with_json(tmp_path / name, [Drawn(number + 50 * (name == "two"), ["hat"]) for number in numbers], post)
    posts = list(open_board("gallery-dl", Settings([tmp_path / "one", tmp_path / "two"])).posts())
    assert [post.id for post in posts] == ["1.png", "2.png", "two/52.png", "two/53.png"]
    assert {post.rating for post in posts} == {"general"} and "counts as rating:general" in capsys.readouterr().err


def test_pools_are_groups_unless_they_are_large(tmp_path):
    pictures = [Drawn(number, ["hat"]) for number in range(1, 100)]

    def with_pool(drawn: Drawn) -> dict:
        return e621(drawn) | {"pools": [7] if drawn.number < 4 else [8]}

    with_json(tmp_path, pictures, with_pool)
    groups = {post.id: post.group for post in open_board("gallery-dl", Settings([tmp_path])).posts()}
    assert len({groups[f"{number}.png"] for number in (1, 2, 3)}) == 1 and len(set(groups.values())) == 97
