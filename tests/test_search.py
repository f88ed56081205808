"""What search.py finds: in an index that follows its files, by a picture and by a sentence."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import requests
from conftest import program
from PIL import Image
from running_server import serving

from common.errors import InputError
from retrieval import neighbours, picture_index, query
from retrieval.joint_space import JointSpace, Projections, l2_normalize
from retrieval.picture_index import PictureIndex

NUMBER = 36


def shown(pictures, number):
    """No progress bar."""
    return pictures


@pytest.fixture(scope="module")
def aligned(emoji_onnx, emoji_data, tmp_path_factory):
    """The ONNX export of a run that has learned sentences, and what that printed."""
    folder = tmp_path_factory.mktemp("aligned")
    shutil.copy(emoji_onnx, folder)
    done = program("search.py", "--align", "--run", folder / "model.onnx", "--data", emoji_data)
    assert done.returncode == 0, done.stderr
    return folder / "model.onnx", done.stdout


@pytest.fixture(scope="module")
def space(aligned):
    return JointSpace(aligned[0])


@pytest.fixture
def pictures(emoji_pictures, tmp_path):
    """Thirty-six pictures that a test may change."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in emoji_pictures[:NUMBER]:
        shutil.copy(path, folder)
    return folder


def test_aligning_prints_and_stores_its_figures(aligned):
    model, printed = aligned
    values = json.loads((model.parent / "search" / "metrics.json").read_text())
    assert set(values["ways"]) == {"sentences", "tags, by their meaning", "tags, by their words"}
    assert all(0 <= way["recall_at_1"] <= way["recall_at_10"] <= 1 for way in values["ways"].values())
    assert "median rank" in printed and f"{values['groups']} groups" in printed
    assert Projections.load(model.parent / "search" / "projections.npz").text_encoder == "wordllama"


def test_captions_of_unseen_words_are_found():
    """Pictures that are a linear image of their words, and held-out combinations of the words."""
    from retrieval import alignment
    from retrieval.text_encoder import load_text_encoder

    things, colours = (
        ("cat", "dog", "house", "tree", "car", "ship", "fish", "bird"),
        ("red", "green", "blue", "black", "white"),
    )
    words = [f"{colour} {thing}" for thing in things for colour in colours]
    random = np.random.default_rng(0)
    seen = load_text_encoder("wordllama")(words) @ random.normal(size=(256, 64))
    seen = np.repeat(seen, 3, axis=0) + 0.05 * random.normal(size=(3 * len(words), 64))
    seen = np.concatenate([seen, np.full((len(seen), 1), 0.5)], axis=1).astype(np.float32)  # a tag that says nothing
    all_words = np.repeat(words, 3)
    held_out = np.arange(len(seen)) // 3 % 7 == 0

    def pairs(chosen):
        return alignment.Pairs(seen[chosen], all_words[chosen].tolist(), all_words[chosen])

    projections = alignment.learn(["thing"], pairs(~held_out), "wordllama")
    values = alignment.evaluate(projections, pairs(held_out))
    assert values["ways"]["sentences"]["recall_at_1"] >= 0.8 and values["sentences"] == 6
    assert values["ways"]["tags, by their meaning"]["median_rank"] > 2


def test_ranks_count_wrong_ones_ahead_and_half_of_the_ties():
    from retrieval.alignment import ranks

    scores = np.array([[3.0, 2, 1], [3, 2, 1], [1, 1, 1], [3, 2, 2]])
    right = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]], bool)
    assert ranks(scores, right).tolist() == [1, 3, 2, 2]


def test_the_index_follows_its_files(space, pictures, tmp_path):
    folder = tmp_path / "index"
    first = picture_index.update(folder, space, [str(pictures)], shown)
    assert (first.pictures, first.read, first.removed) == (NUMBER, NUMBER, 0)
    again = picture_index.update(folder, space, [], shown)
    assert (again.pictures, again.read, again.removed) == (NUMBER, 0, 0)
    names = sorted(pictures.iterdir())
    names[0].unlink()
    shutil.copy(names[1], names[2])
    (pictures / "broken.png").write_bytes(b"no picture")
    changed = picture_index.update(folder, space, [], shown)
    assert (changed.pictures, changed.read, changed.removed) == (NUMBER - 1, 2, 1)
    assert [file for file, _ in changed.unreadable] == [str(pictures / "broken.png")]
    assert picture_index.update(folder, space, [], shown).read == 0
    assert len(PictureIndex(folder, space.version)) == NUMBER - 1


def test_a_killed_index_resumes(space, pictures, tmp_path):
    def killed(found, number):
        for count, each in enumerate(found):
            if count == NUMBER - 2:
                raise KeyboardInterrupt
            yield each

    folder = tmp_path / "index"
    with pytest.raises(KeyboardInterrupt):
        picture_index.update(folder, space, [str(pictures)], killed)
    after = picture_index.update(folder, space, [], shown)
    assert (after.pictures, after.read) == (NUMBER, NUMBER - picture_index.BATCH)
    whole = tmp_path / "whole"
    picture_index.update(whole, space, [str(pictures)], shown)
    vector = space.embed_sentences(["a flag"])[0]
    one, other = (PictureIndex(each, space.version).nearest(vector, 5) for each in (folder, whole))
    assert [match.path for match in one] == [match.path for match in other]


def test_a_picture_finds_its_copy_and_a_sentence_finds_pictures(aligned, space, pictures, tmp_path):
    original = sorted(pictures.iterdir())[7]
    copy = tmp_path / "copy.png"
    Image.open(original).resize((50, 50)).save(copy)
    done = program(
        "search.py", "--run", aligned[0], "--index", pictures, "--into", tmp_path / "index", env=without_tensorflow(tmp_path)
    )
    assert done.returncode == 0 and f"{NUMBER} pictures" in done.stdout, done.stderr
    index = PictureIndex(tmp_path / "index", space.version)
    found = query.search(space, index, str(copy), 3)
    assert found[0].path == original and found[0].score > 0.5 and len(found) == 3
    assert original not in [match.path for match in query.search(space, index, str(original), 3)]
    sheet = tmp_path / "found.png"
    options = ("--run", aligned[0], "--into", tmp_path / "index", "--top", 4, "--json", "--sheet", sheet)
    done = program("search.py", "a person waving", *options, cwd=tmp_path, env=without_tensorflow(tmp_path))
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert len(answers) == 4 and answers == sorted(answers, key=lambda answer: -answer["score"])
    assert all((tmp_path / answer["file"]).is_file() for answer in answers)
    assert Image.open(sheet).width > 800


def without_tensorflow(folder):
    """An environment in which TensorFlow and Keras cannot be imported: an export needs neither."""
    for name in ("tensorflow", "keras"):
        (folder / f"{name}.py").write_text("raise ModuleNotFoundError(name=__name__)\n")
    return os.environ | {"PYTHONPATH": str(folder)}


def test_an_animation_is_found_by_each_of_its_frames(space, pictures, tmp_path):
    one, two = sorted(pictures.iterdir())[3:5]
    frames = [Image.open(path).convert("RGB").resize((64, 64)) for path in (one, two)]
    frames[0].save(pictures / "moving.gif", save_all=True, append_images=frames[1:], duration=500)
    picture_index.update(tmp_path / "index", space, [str(pictures)], shown)
    index = PictureIndex(tmp_path / "index", space.version)
    for path, seconds in ((one, 0.0), (two, 0.5)):
        found = {match.path.name: match for match in query.search(space, index, str(path), NUMBER)}
        assert found["moving.gif"].seconds == seconds and found["moving.gif"].score > 0.9


def test_duplicates_are_listed_in_sets(space, pictures, tmp_path):
    flat = picture_index.update(tmp_path / "index", space, [str(pictures)], shown)
    before = {tuple(paths) for paths in picture_index.duplicates(tmp_path / "index")}
    original = next(path for path in sorted(pictures.iterdir()) if not any(path in paths for paths in before))
    shutil.copy(original, pictures / "same.jpg")
    Image.open(original).save(pictures / "again.png")
    picture_index.update(tmp_path / "index", space, [], shown)
    new = {tuple(paths) for paths in picture_index.duplicates(tmp_path / "index")} - before
    assert flat.pictures == NUMBER
    assert new == {tuple(sorted([original, pictures / "same.jpg", pictures / "again.png"]))}
    done = program("search.py", "--duplicates", "--run", tmp_path / "model.onnx", "--into", tmp_path / "index")
    assert str(pictures / "same.jpg") in done.stdout and "sets" in done.stderr


def test_deleted_pictures_are_removed_from_the_index(space, pictures, tmp_path):
    folder = tmp_path / "index"
    picture_index.update(folder, space, [str(pictures)], shown)
    for path in pictures.iterdir():
        path.unlink()
    assert picture_index.update(folder, space, [], shown).removed == NUMBER
    with pytest.raises(InputError, match="no pictures are indexed"):
        PictureIndex(folder, space.version)


def test_the_graph_finds_what_comparing_all_finds():
    random = np.random.default_rng(0)
    vectors = l2_normalize(random.normal(size=(20, 64))[random.integers(20, size=3000)] + random.normal(size=(3000, 64)))
    exact, graph = neighbours.Exact(vectors), neighbours.Graph.build(vectors)
    graph = neighbours.load(graph.arrays())
    queries = l2_normalize(random.normal(size=(50, 64)))
    found = [np.isin(exact.nearest(query, 12)[0], graph.nearest(query, 12)[0]).mean() for query in queries]
    assert np.mean(found) > 0.98
    assert len(exact.nearest(queries[0], 5000)[0]) == 3000


def test_impossible_requests_are_named(space, pictures, emoji_onnx, tmp_path):
    with pytest.raises(InputError, match="no pictures are indexed"):
        PictureIndex(tmp_path / "none", space.version)
    with pytest.raises(InputError, match="--index needs"):
        picture_index.update(tmp_path / "empty", space, [], shown)
    with pytest.raises(InputError, match="There is no picture at"):
        picture_index.update(tmp_path / "empty", space, [str(tmp_path / "nowhere")], shown)
    picture_index.update(tmp_path / "index", space, [str(pictures)], shown)
    with pytest.raises(InputError, match="another network"):
        PictureIndex(tmp_path / "index", "another")
    index = PictureIndex(tmp_path / "index", space.version)
    with pytest.raises(InputError, match="received nothing"):
        query.search(space, index, " ", 3)
    with pytest.raises(InputError, match="No such file"):
        query.search(space, index, "missing.png", 3)
    with pytest.raises(InputError, match="is a folder"):
        query.search(space, index, str(pictures), 3)
    plain = JointSpace(emoji_onnx)
    with pytest.raises(InputError, match="--align"):
        plain.embed_sentences(["a dog"])
    done = program("search.py", "a dog", "--duplicates")
    assert done.returncode == 1 and "expected one of" in done.stderr and done.stderr.count("\n") == 1


def test_the_server_finds_pictures_by_a_sentence_and_gives_no_other_file(aligned, space, pictures, tmp_path):
    picture_index.update(tmp_path / "index", space, [str(pictures)], shown)
    with serving(aligned[0], tmp_path, "--index", tmp_path / "index") as address:
        assert requests.get(f"{address}/model", timeout=60).json()["search"] is True
        one, two, *_ = found = requests.get(f"{address}/search", {"q": "a flag", "limit": 5}, timeout=60).json()
        assert len(found) == 5 and one["score"] >= two["score"]
        assert requests.get(f"{address}/{one['picture']}", timeout=60).content == Path(one["file"]).read_bytes()
        Path(two["file"]).unlink()
        for path, status in ((two["picture"], 404), ("indexed/99999", 404), ("search?q=", 400), ("search", 400)):
            assert requests.get(f"{address}/{path}", timeout=60).status_code == status
