"""Ratings: a group of tags of which one holds, from the download to what people see."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import program
from PIL import Image
from small_board import SmallBoard, rating

from common import files
from dataset import records
from dataset.boards.folder import FolderBoard
from dataset.boards.visibility import UNKNOWN_RATING
from evaluation.ratings import rating_figures
from evaluation.score import Scores
from inference.tagger import Tagger

COLOURS = {"safe": (40, 60, 220), "questionable": (40, 200, 60), "explicit": (220, 40, 40)}
RATINGS = [f"rating:{rating}" for rating in COLOURS]
NETWORK = (
    "--preset",
    "test",
    "--recipe",
    "lean",
    "--image-size",
    32,
    "--batch-size",
    16,
    "--learning-rate",
    0.05,
    "--no-onnx",
)


def rated_pictures(folder, number=120, seed=0):
    """Pictures whose rating is their colour, and whose tags are the places of a white square."""
    chance = np.random.default_rng(seed)
    folder.mkdir()
    for name in range(number):
        rating = [*COLOURS][name % 5 // 2]  # two fifths safe, two fifths questionable, one fifth explicit
        picture = Image.new(
            "RGB", (32, 32), tuple(int(value) for value in np.array(COLOURS[rating]) + chance.integers(-30, 30, 3))
        )
        left, top = chance.integers(0, 2, 2)
        picture.paste("white", (int(16 * left) + 4, int(16 * top) + 4, int(16 * left) + 12, int(16 * top) + 12))
        picture.save(folder / f"{name}.png")
        tags = ("right" if left else "left", "low" if top else "high", f"rating:{rating}")
        (folder / f"{name}.txt").write_text(", ".join(tags))
    return folder


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """A data folder with three ratings, a run that was trained on it, and the pictures."""
    root = tmp_path_factory.mktemp("rated")
    pictures = rated_pictures(root / "pictures")
    options = ("--size", 32, "--val", 20, "--test", 20)
    done = program("download.py", "--board", "folder", "--images", pictures, "--out", root / "data", *options)
    assert done.returncode == 0 and "3 ratings are learned as a group" in done.stderr, done.stderr
    done = program("train.py", "--data", root / "data", "--run", root / "run", "--epochs", 4, *NETWORK)
    assert done.returncode == 0, done.stderr
    return root


def test_ratings_are_tags_after_the_others(rated):
    tags = records.read_tags(rated / "data" / "tags.csv")
    assert [tag.name for tag in tags[-3:]] == RATINGS and len(tags) == 7
    assert [tag.category == records.RATING for tag in tags] == [False] * 4 + [True] * 3
    for record in records.read(rated / "data", "train"):
        expected = (rated / "pictures" / record.id).with_suffix(".txt").read_text().split(", ")
        assert sorted(tags[index].name for index in record.tags) == sorted(expected)


def test_figures_keep_ratings_apart_from_tags(rated):
    done = program("eval.py", rated / "run")
    assert done.returncode == 0, done.stderr
    values = files.read_json(rated / "run" / "metrics.json")
    assert values["tags"] == 4 and values["by_category"].keys() == {"general"}
    ratings = values["ratings"]
    assert ratings["accuracy"] > 0.9 > ratings["accuracy_of_the_most_frequent"] and list(ratings["confusion"]) == RATINGS
    assert f"accuracy {ratings['accuracy']:.3f}" in done.stdout
    rows = list(csv.DictReader((rated / "run" / "metrics_by_tag.csv").open()))
    assert [row["name"] for row in rows if row["name"].startswith("rating:")] == []
    page = (rated / "run" / "report" / "index.html").read_text(encoding="utf-8")
    assert "<h3>Ratings</h3>" in page


def test_people_see_one_rating_and_shares_that_add_up(rated, tmp_path):
    pictures = sorted((rated / "pictures").glob("*.png"))[:12]
    done = program("test.py", *pictures, "--run", rated / "run", "--json", "--threshold", 0.99)
    results = json.loads(done.stdout)
    given = [[tag for tag in result["tags"] if tag.startswith("rating:")] for result in results]
    assert all(len(tags) == 1 for tags in given)
    true = [path.with_suffix(".txt").read_text().split(", ")[2] for path in pictures]
    assert sum(tags == [rating] for tags, rating in zip(given, true, strict=True)) >= 10
    tagger = Tagger.open(rated / "run")
    probability = tagger.probabilities(np.stack([tagger.pixels(path.read_bytes()) for path in pictures]))
    assert np.allclose(probability[:, -3:].sum(axis=1), 1, atol=1e-5)
    # Captions for trainers hold no ratings, unless they are asked for.
    for path in pictures:
        Image.open(path).save(tmp_path / path.name)
    assert program("test.py", tmp_path, "--run", rated / "run", "--sidecar", "overwrite").returncode == 0
    assert not any("rating" in path.read_text() for path in tmp_path.glob("*.txt"))
    options = ("--sidecar", "overwrite", "--category", "rating")
    assert program("test.py", tmp_path, "--run", rated / "run", *options).returncode == 0
    assert all(path.read_text().strip() in RATINGS for path in tmp_path.glob("*.txt"))


def test_one_rating_alone_is_not_known(tmp_path):
    pictures = rated_pictures(tmp_path / "pictures", 30)
    for path in pictures.glob("*.txt"):
        path.write_text(path.read_text().rpartition(":")[0] + ":safe")
    done = program("download.py", "--board", "folder", "--images", pictures, "--out", tmp_path / "data", "--size", 32)
    assert done.returncode == 0, done.stderr
    assert not [tag.name for tag in records.read_tags(tmp_path / "data" / "tags.csv") if "rating" in tag.name]
    assert "have rating:safe, so that ratings are not learned" in done.stderr


def test_a_misspelled_rating_is_named(tmp_path, capsys):
    pictures = rated_pictures(tmp_path / "pictures", 5)
    (pictures / "0.txt").write_text("left, rating: safe")
    (pictures / "1.txt").write_text("left, rating:save")
    posts = {post.id: post for post in FolderBoard([pictures], None).posts()}
    assert (
        posts["0.png"].rating == "safe" and posts["1.png"].rating == UNKNOWN_RATING and "rating:save" in posts["1.png"].tags
    )
    assert "rating:save is no rating" in capsys.readouterr().err


def test_two_ratings_of_one_picture_are_none(tmp_path, capsys):
    pictures = rated_pictures(tmp_path / "pictures", 5)
    (pictures / "0.txt").write_text("left, rating:safe, rating:explicit")
    posts = {post.id: post for post in FolderBoard([pictures], None).posts()}
    assert posts["0.png"].rating == UNKNOWN_RATING and posts["0.png"].tags == ("left",)
    assert posts["1.png"].rating == "safe" and "1 images have several ratings" in capsys.readouterr().err


def test_general_and_safe_count_as_one_rating(tmp_path):
    pictures = rated_pictures(tmp_path / "pictures", 30)
    (pictures / "0.txt").write_text("left, high, rating:general")
    (pictures / "5.txt").write_text("left, high, rating:general")
    done = program(
        "download.py", "--board", "folder", "--images", pictures, "--out", tmp_path / "data", "--val", 0, "--test", 0
    )
    assert done.returncode == 0 and "rating:safe of some boards counts as rating:general" in done.stderr
    assert "rating:safe" not in {tag.name for tag in records.read_tags(tmp_path / "data" / "tags.csv")}


def test_ratings_of_a_board_are_tags(tmp_path):
    names = {"s": "rating:safe", "q": "rating:questionable", "e": "rating:explicit"}
    with SmallBoard() as board:
        options = ("--user", "tester", "--board-url", board.url, "--rate", 0, "--no-default-exclude", "--ratings", *names)
        done = program("download.py", *options, "--posts", 99, "--out", tmp_path / "data")
        assert done.returncode == 0, done.stderr
    tags = records.read_tags(tmp_path / "data" / "tags.csv")
    assert [tag.name for tag in tags if tag.category == records.RATING] == list(names.values())
    for record in records.read(tmp_path / "data", "train"):
        assert names[rating(int(record.id))] in [tags[index].name for index in record.tags]


def test_the_figures_of_ratings():
    tags = [
        records.Tag(number, name, category, 1)
        for number, (name, category) in enumerate([("a", 0), *((r, 10) for r in RATINGS)])
    ]
    labels = np.array([[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0]], bool)
    probability = np.array(
        [[0.9, 0.6, 0.1, 0], [0, 0.2, 0.3, 0], [0, 0.1, 0.8, 0], [0, 0, 0.1, 0.4], [1, 1, 0, 0], [1, 1, 0, 0]]
    )
    ids = np.arange(6).astype(str)
    scores = Scores(ids, ids, True, labels, probability.astype(np.float32), np.zeros((6, 4), np.uint8))
    figures = rating_figures(tags, scores)
    assert figures["images"] == 4 and figures["accuracy"] == 0.75 and figures["accuracy_of_the_most_frequent"] == 0.5
    assert figures["recall_macro"] == pytest.approx((0.5 + 1 + 1) / 3, abs=1e-6)
    assert figures["confusion"]["rating:safe"] == {"rating:safe": 1, "rating:questionable": 1, "rating:explicit": 0}
    assert rating_figures(tags[:1], replace(scores, labels=labels[:, :1], probability=scores.probability[:, :1])) is None
