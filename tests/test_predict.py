"""test.py's inputs and outputs, from an exported run, as a user gives and reads them."""

import csv
import functools
import http.server
import io
import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, program
from PIL import Image, ImageSequence

from common.errors import InputError
from dataset import records
from inference import annotations, keywords, sources
from inference.saliency import heat_map
from inference.tagger import Tagger
from model import run_folder
from training.recipes import resolve

pytest.importorskip("onnxruntime", reason="needs requirements-export.txt")


@pytest.fixture(scope="module")
def tag(emoji_onnx):
    """test.py with the exported run; returns what it printed, after checking how it ended."""

    def run(*options, code=0, **kwargs):
        done = program("test.py", *options, "--run", emoji_onnx, **kwargs)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        return done

    return run


@pytest.fixture
def folder(emoji_pictures, tmp_path):
    """Three pictures, one of them in a folder of its own, and a text beside them."""
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    for name, source in zip(("a.jpg", "b.jpg", "deeper/c.JPG"), emoji_pictures, strict=False):
        (tmp_path / "in" / name).write_bytes(source.read_bytes())
    (tmp_path / "in" / "notes.txt").write_text("not a picture")
    return tmp_path / "in"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Writes no log: standard error is the program's."""

    def log_message(self, *message):
        pass


@pytest.fixture
def site(folder):
    """An http address of the folder."""
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_every_way_to_name_a_picture_gives_the_same_tags(tag, emoji_onnx, folder, site):
    [expected] = json.loads(tag(folder / "a.jpg", "--threshold", 0, "--json").stdout)
    (folder / "list").write_text(f"{folder / 'a.jpg'}\n\n{site}/a.jpg\n")
    done = tag(f"{folder}/[a].jpg", f"{site}/a.jpg", "--list", folder / "list", "--threshold", 0, "--json")
    answers = json.loads(done.stdout)
    assert [answer["tags"] for answer in answers] == [expected["tags"]] * 4
    command = [sys.executable, "test.py", "-", "--run", str(emoji_onnx), "--threshold", "0", "--json"]
    piped = subprocess.run(command, input=(folder / "a.jpg").read_bytes(), capture_output=True, check=False, cwd=ROOT)
    assert json.loads(piped.stdout) == [{"file": "-", "tags": expected["tags"]}]


def test_a_folder_is_read_to_its_depths_and_bad_ones_are_named(tag, folder, site):
    (folder / "bad.png").write_bytes(b"nonsense")
    (folder / "empty").mkdir()
    done = tag(folder, folder / "empty", f"{site}/none.png", f"{folder}/*.bmp", "--json", code=1)
    read = [answer["file"] for answer in json.loads(done.stdout)]
    assert read == [str(folder / name) for name in ("a.jpg", "b.jpg", "deeper/c.JPG")]
    lines = done.stderr.splitlines()
    assert len(lines) == 5 and lines[-1] == "error: 4 of 7 pictures were not tagged"
    reasons = ("bad.png: text, not a picture", "empty: no picture in", "404", "*.bmp: no picture matches")
    for line, words in zip(lines[:-1], reasons, strict=True):
        assert words in line


def test_tables_agree_with_json(tag, folder):
    answers = json.loads(tag(folder, "--top", 3, "--threshold", 0, "--json").stdout)
    rows = list(csv.reader(io.StringIO(tag(folder, "--top", 3, "--threshold", 0, "--csv").stdout)))
    expected = [[answer["file"], name, str(value)] for answer in answers for name, value in answer["tags"].items()]
    assert rows == [["file", "tag", "probability"], *expected]
    imported = list(csv.reader(io.StringIO(tag(folder, "--top", 3, "--threshold", 0, "--danbooru").stdout)))
    assert [row[0] for row in imported] == [name for name in "abc" for _ in range(3)]
    assert [row[1:] for row in imported] == [row[1:] for row in expected]


def test_sidecars_are_written_and_taken_back(tag, folder):
    top = {
        answer["file"]: list(answer["tags"])
        for answer in json.loads(tag(folder, "--top", 2, "--threshold", 0, "--json").stdout)
    }
    a, b, c = folder / "a.txt", folder / "b.txt", folder / "deeper" / "c.txt"
    first = top[str(folder / "b.jpg")][0]
    b.write_text(f"mine, {first}")
    options = (folder, "--top", 2, "--threshold", 0, "--sidecar")

    assert "2 of 3" in tag(*options, "skip").stderr
    assert a.read_text() == ", ".join(top[str(folder / "a.jpg")]) + "\n" and b.read_text() == f"mine, {first}"
    assert "1 of 3" in tag(*options, "append").stderr
    assert b.read_text() == f"mine, {first}, {top[str(folder / 'b.jpg')][1]}"
    tag(*options, "overwrite", "--prefix", "emoji")
    assert b.read_text().startswith("emoji, ") and "mine" not in b.read_text()

    c.write_text("changed by hand")
    done = program("test.py", "--undo", folder)
    assert done.stdout.startswith("2 ") and str(c) in done.stderr and b.read_text().startswith("mine")
    program("test.py", "--undo", folder)
    program("test.py", "--undo", folder)
    assert b.read_text() == f"mine, {first}" and not a.exists() and c.read_text() == "changed by hand"
    assert list(folder.rglob(annotations.JOURNAL)) == [c.with_name(annotations.JOURNAL)]  # keeps what c.txt was before
    done = program("test.py", "--undo", folder)
    assert done.returncode == 0 and done.stderr.count("left alone") == 1


def test_sidecars_that_cannot_be_written_are_named_and_the_others_written(tag, folder):
    (folder / "a.txt").write_bytes(b"caf\xe9")
    (folder / "b.txt").mkdir()
    (folder / "deeper" / "c.webp").write_bytes((folder / "a.jpg").read_bytes())
    done = tag(folder, "--top", 1, "--threshold", 0, "--sidecar", "overwrite", code=1)
    named = ("c.webp: ", "a.txt: left alone", "b.txt: ", "1 of 1 .txt", "3 of 4")
    for line, words in zip(done.stderr.splitlines(), named, strict=True):
        assert words in line
    assert (folder / "a.txt").read_bytes() == b"caf\xe9" and (folder / "deeper" / "c.txt").read_text()


def test_keywords_are_written_into_pictures_and_taken_back(tag, folder):
    pytest.importorskip("pyexiv2", reason="test.py --keywords needs it")
    pictures = [folder / "a.jpg", folder / "b.jpg", folder / "deeper" / "c.JPG"]
    before = [path.read_bytes() for path in pictures]
    top = json.loads(tag(folder, "--top", 2, "--threshold", 0, "--json").stdout)
    Image.open(folder / "a.jpg").save(folder / "d.bmp")
    done = tag(folder, "--top", 2, "--threshold", 0, "--keywords", "append", code=1)
    assert "3 of 3 pictures" in done.stderr and "d.bmp: left alone" in done.stderr and "1 of 4" in done.stderr
    for path, answer, old in zip(pictures, top, before, strict=True):
        assert keywords.read(path.read_bytes()) == list(answer["tags"])
        assert Image.open(path).tobytes() == Image.open(io.BytesIO(old)).tobytes()
    assert program("test.py", "--undo", folder).stdout.startswith("3 ")
    assert [path.read_bytes() for path in pictures] == before
    assert not list(folder.rglob(annotations.JOURNAL))


def test_with_a_tag_come_those_that_it_implies():
    implied = {"cat": ("animal", "unknown"), "kitten": ("cat", "animal"), "animal": (), "chair": ()}
    tags = [records.Tag(index, name, 0, 9, names) for index, (name, names) in enumerate(implied.items())]
    run = run_folder.Run(Path(), resolve({}), tags, "", 64, 99)
    tagger = Tagger(run, SimpleNamespace(num_tags=4), np.array([0.5, 0.3, 0.5, 0.5], np.float32), np.ones(4, np.float32))
    probabilities = np.array([0.2, 0.4, 0.45, 0.1], np.float32)
    assert list(tagger.choose(probabilities).items()) == [("animal", 0.45), ("cat", 0.4), ("kitten", 0.4)]
    assert list(tagger.choose(probabilities, top=2)) == ["animal", "cat"]
    assert list(tagger.choose(probabilities, threshold=0)) == ["animal", "cat", "kitten", "chair"]
    assert tagger.choose(np.zeros(4, np.float32)) == {}


def test_categories_and_exclusions(tag, folder):
    [everything] = json.loads(tag(folder / "a.jpg", "--threshold", 0, "--category", "general", "--json").stdout)
    assert len(everything["tags"]) == 12
    first, second, *_ = everything["tags"]
    options = ("--threshold", 0, "--top", 1, "--exclude", first, "--prefix", "-_-", "--file-name", "--json")
    [answer] = json.loads(tag(folder / "a.jpg", *options).stdout)
    assert list(answer["tags"]) == ["-_-", "a", second]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_shows_what_its_frames_show(tag, emoji_onnx, emoji_pictures, tmp_path, suffix):
    stills = [Image.open(path).convert("RGB") for path in emoji_pictures[:3]]
    path = tmp_path / f"moving.{suffix}"
    stills[0].save(path, save_all=True, append_images=stills[1:], duration=500, loop=0)
    with Image.open(path) as moving:
        assert moving.is_animated
        for index, frame in enumerate(ImageSequence.Iterator(moving)):
            frame.convert("RGB").save(tmp_path / f"frame{index}.bmp")
    [answer] = json.loads(tag(path, "--threshold", 0, "--json").stdout)
    assert Tagger.open(emoji_onnx).tag([path.read_bytes()], threshold=0) == [pytest.approx(answer["tags"])]
    alone = json.loads(tag(f"{tmp_path}/frame?.bmp", "--threshold", 0, "--json").stdout)
    assert [frame["seconds"] for frame in answer["timeline"]] == [0, 0.5, 1.0]
    for name, value in answer["tags"].items():
        assert value == pytest.approx(max(still["tags"][name] for still in alone), abs=1e-3)
    assert [frame["tags"] for frame in answer["timeline"]] == [pytest.approx(still["tags"], abs=1e-3) for still in alone]


def test_many_pictures_give_what_each_gives_alone(emoji_run, emoji_pictures):
    tagger = Tagger.open(emoji_run)
    many = emoji_pictures[:8] * 25
    expected = {path: tagger.probabilities(tagger.pixels(path.read_bytes())[None])[0] for path in set(many)}
    for path, prediction in zip(many, tagger.predict(sources.find(map(str, many))), strict=True):
        assert prediction.source.path == path
        assert np.abs(prediction.probability - expected[path]).max() < 1e-5
        assert (prediction.uncertainty >= 0).all() and (prediction.uncertainty <= 0.5).all()


@pytest.mark.parametrize("onnx", [False, True])
def test_a_run_gives_explanations_and_uncertainties(emoji_run, emoji_pictures, tmp_path, onnx):
    tagger = Tagger.open(emoji_run, onnx=onnx)
    pixels = np.stack([tagger.pixels(path.read_bytes()) for path in emoji_pictures[:2]])
    tags = np.arange(len(tagger.run.tags))
    every = heat_map(tagger.network, np.repeat(pixels[:1], len(tags), axis=0), tags)  # (tags, height, width)
    assert every.min() == 0 and np.allclose(every.max(axis=(1, 2)), 1)
    assert np.allclose(heat_map(tagger.network, pixels[:1], 3)[0], every[3], atol=1e-5)
    name = tagger.run.tags[0].name
    options = ("--threshold", 0, "--top", 2, "--uncertainty", "--prefix", "given", "--explain", name)
    namesake = tmp_path / "other" / emoji_pictures[0].name
    namesake.parent.mkdir()
    namesake.write_bytes(emoji_pictures[1].read_bytes())
    done = program("test.py", emoji_pictures[0], namesake, "--run", emoji_run, *options, cwd=tmp_path)
    assert done.returncode == 0 and len(re.findall(r"± 0\.\d{3}$", done.stdout, re.MULTILINE)) == 4, done.stderr
    pictures = list(tmp_path.glob("*.png"))
    assert len({path.read_bytes() for path in pictures}) == 2
    drawn = np.asarray(Image.open(pictures[0]), int)
    coloured = drawn[..., 0] - drawn[..., 2]  # the map is red, the picture below it gray
    assert drawn.shape == (512, 512, 3) and coloured.max() > 100


def test_a_network_cut_off_is_called_damaged(emoji_run, tmp_path):
    whole = (emoji_run / "model.keras").read_bytes()
    (tmp_path / "model.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"model.keras is damaged: .* received \d"):
        run_folder.load_network(tmp_path / "model.keras")


def test_what_an_export_for_other_programs_cannot_do_is_named(emoji_onnx, emoji_run, folder):
    name = Tagger.open(emoji_run).run.tags[0].name
    for option in (("--uncertainty",), ("--explain", name)):
        done = program("test.py", folder / "a.jpg", *option, "--run", emoji_onnx.parent.parent / "model.onnx")
        assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert "run folder" in done.stderr or "feature map" in done.stderr


def test_tagging_from_an_export_imports_neither_tensorflow_nor_keras(emoji_onnx, folder):
    code = (
        "import runpy, sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        f"sys.argv = ['test.py', {str(folder / 'a.jpg')!r}, '--run', {str(emoji_onnx)!r}]\n"
        "runpy.run_path('test.py', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0 and str(folder / "a.jpg") in done.stdout, done.stderr


@pytest.mark.parametrize(
    "options, words",
    [
        (("{a}", "--replace", "cat"), "TAG=WORDS"),
        (("{a}", "--replace", "cat="), "TAG=WORDS"),
        (("{a}", "--exclude", "nothing"), "--exclude: nothing is not one of the 12 tags"),
        (("{a}", "--exclude", "-_-"), "-_- is not one of"),
        (("{a}", "-q"), "unrecognized"),
        (("{a}", "--category", "species"), "are general"),
        (("{a}", "--uncertainty", "--csv"), "--json"),
        (("{a}", "--category", "colour"), "invalid choice"),
        (("--list", "{a}"), "not a picture"),
        (("--list", "{a}.none"), "No such file"),
        (("--undo", "{a}"), "needs a folder"),
        (("--undo", "{folder}"), "no other option"),
        (("{a}", "--json", "--csv"), "not allowed with"),
        (("{a}", "--explain", "nothing"), "not one of the run's"),
    ],
)
def test_bad_requests_are_one_line(tag, folder, options, words):
    done = tag(*(option.format(a=folder / "a.jpg", folder=folder) for option in options), code=1)
    assert words in done.stderr and len(done.stderr.strip().splitlines()) == 1 and not done.stdout
