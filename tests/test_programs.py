"""eval.py, test.py and the README's own code, as a user runs them, on real pictures."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, program, program_and_memory, uncompiled
from odd_images import write_odd_images
from PIL import Image

from command import Parser
from common import files
from common.errors import InputError
from dataset import images
from inference.tagger import Tagger
from model import run_folder


@pytest.fixture(scope="module")
def evaluated(emoji_run):
    done = program("eval.py", emoji_run)
    assert done.returncode == 0, done.stderr
    return emoji_run, done.stdout


def test_evaluation_prints_its_split_and_numbers_of_pictures(evaluated, emoji_data):
    run, output = evaluated
    values = files.read_json(run / "metrics.json")
    written = files.read_json(emoji_data / "manifest.json")["splits"]["test"]
    assert values["split"] == "test" and values["images"] == written["written"] and values["positives"] == written["labels"]
    assert f"test split of {emoji_data}: {written['written']:,} images" in output
    for name in ("auc_roc_micro", "auc_roc_macro", "average_precision_micro", "average_precision_macro", "accuracy"):
        assert 0 <= values[name] <= 1 and 0 <= values["tag_frequencies"][name] <= 1
    assert values["tag_frequencies"]["auc_roc_macro"] == 0.5


def test_the_table_by_tag_agrees_with_the_figures(evaluated):
    run, _ = evaluated
    rows = list(csv.DictReader((run / "metrics_by_tag.csv").open()))
    values = files.read_json(run / "metrics.json")
    assert len(rows) == values["tags"] and sum(int(row["positives"]) for row in rows) == values["positives"]
    areas = [float(row["auc_roc"]) for row in rows if row["auc_roc"]]
    assert np.isclose(np.mean(areas), values["auc_roc_macro"], atol=1e-3)
    assert Image.open(run / "contact_sheet.png").width > 500


def test_evaluation_refuses_other_tags(emoji_run, emoji_data, tmp_path):
    (tmp_path / "tags.csv").write_text("tag_id,name,category,count\n0,something_else,0,5\n")
    done = program("eval.py", emoji_run, "--data", tmp_path)
    assert done.returncode == 1 and "other tags" in done.stderr and "Traceback" not in done.stderr


def test_pictures_are_tagged_best_first(evaluated):
    run, _ = evaluated
    pictures = sorted((run / "examples").glob("*.jpg"))[:3]
    done = program("test.py", *pictures, "--run", run, "--threshold", 0, "--json")
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert [answer["file"] for answer in answers] == [str(path) for path in pictures]
    for answer in answers:
        probabilities = list(answer["tags"].values())
        assert len(probabilities) == 12 and probabilities == sorted(probabilities, reverse=True)
    top = json.loads(program("test.py", pictures[0], "--run", run, "--threshold", 0, "--top", 2, "--json").stdout)
    assert list(top[0]["tags"]) == list(answers[0]["tags"])[:2]
    text = program("test.py", pictures[0], "--run", run, "--threshold", 0, "--top", 1)
    assert re.fullmatch(rf"{re.escape(str(pictures[0]))}\n  \S+  [01]\.\d{{3}}\n", text.stdout)


def test_the_python_interface_gives_what_the_program_gives(evaluated):
    run, _ = evaluated
    picture = min((run / "examples").glob("*.jpg"))
    [tags] = Tagger.open(run).tag([picture], threshold=0)
    assert tags == pytest.approx(
        json.loads(program("test.py", picture, "--run", run, "--threshold", 0, "--json").stdout)[0]["tags"]
    )


def test_odd_pictures_are_tagged_or_named_in_one_line(emoji_onnx, tmp_path):
    expected = write_odd_images(tmp_path)
    paths = {name: tmp_path / name for name in expected}
    # Python buffers the output, as it does for most users: what was printed before an error must still arrive.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    options = (*paths.values(), "--run", emoji_onnx, "--json")
    done, gibibytes = program_and_memory(tmp_path / "memory", "test.py", *options, env=environment)
    tagged = {answer["file"] for answer in json.loads(done.stdout)}
    messages = done.stderr.splitlines()
    for name, path in paths.items():
        named = [line for line in messages if str(path) in line]
        if expected[name].reason:
            assert len(named) == 1 and expected[name].reason in named[0] and str(path) not in tagged
        elif expected[name].warning:
            assert len(named) == 1 and named[0].startswith(f"{path}: cut short, ") and expected[name].warning in named[0]
            assert str(path) in tagged
        else:
            assert str(path) in tagged and not named, name
    assert done.returncode == 1
    assert not [line for line in messages[:-1] if str(tmp_path) not in line]  # nothing of Pillow or libtiff
    assert gibibytes < 2


@pytest.mark.parametrize(
    "options, words",
    [
        ((), "no picture to tag"),
        (("{missing}", "--run", "{run}"), "No such file"),
        (("{picture}", "--run", "{missing}"), "no run folder at"),
        (("{picture}", "--run", "{run}/model.keras"), "no run folder at"),
        (("{picture}",), "train.py makes it"),
        (("{picture}", "--run", "{run}", "--threshold", "2"), "between 0 and 1"),
        (("{picture}", "--run", "{run}", "--top", "0"), "at least 1"),
        (("{picture}", "--run", "{run}", "--top", "many"), "--top"),
    ],
)
def test_bad_requests_are_one_line(emoji_run, tmp_path, options, words):
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    places = {"missing": tmp_path / "missing", "run": emoji_run, "picture": tmp_path / "picture.png"}
    done = program("test.py", *(option.format(**places) for option in options), cwd=tmp_path)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2 and not done.stdout


def test_help_needs_nothing_but_python():
    for script in (
        "download.py",
        "train.py",
        "eval.py",
        "test.py",
        "clean.py",
        "export.py",
        "search.py",
        "serve.py",
    ):
        code = (
            "import runpy, sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
            f"sys.argv = ['{script}', '--help']; runpy.run_path('{script}', run_name='__main__')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0 and "usage:" in done.stdout, (script, done.stderr)


def documented_python() -> list[tuple[str, str]]:
    """Return each block of Python in the documentation, with its document and number."""
    blocks = []
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))):
        found = re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        blocks += [(f"{path.name}, block {number}", block) for number, block in enumerate(found, 1)]
    return blocks


@uncompiled()
def test_the_documentations_python_runs(evaluated, emoji_onnx, tmp_path, monkeypatch, capsys):
    run, _ = evaluated
    assert emoji_onnx.is_relative_to(run)  # the documents call it runs/openmoji/export
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "openmoji").symlink_to(run)
    Image.new("RGB", (80, 60), "orange").save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    blocks = documented_python()
    assert len(blocks) > 1
    for name, code in blocks:
        exec(compile(code, name, "exec"), {})
        assert capsys.readouterr().out, f"{name} prints nothing"


def test_commands_name_another_decode_version_of_the_pictures(emoji_data, emoji_run, emoji_pictures, tmp_path):
    assert files.read_json(emoji_data / "manifest.json")["decode_version"] == images.DECODE_VERSION
    assert run_folder.load(emoji_run).decode_version == images.DECODE_VERSION == max(images.DECODE_CHANGES)
    assert "decode" not in program("test.py", emoji_pictures[0], "--run", emoji_run).stderr
    data, run = (shutil.copytree(made, tmp_path / name) for made, name in ((emoji_data, "data"), (emoji_run, "run")))
    for path in (data / "manifest.json", run / "config.json"):  # as earlier versions wrote them
        content = files.read_json(path)
        del content["decode_version"]
        files.write_json(path, content)
    for command in (
        ("test.py", emoji_pictures[0], "--run", run),
        ("eval.py", run, "--data", data, "--split", "val"),
        ("train.py", "--data", data, "--run", run, "--resume"),  # which is trained already
    ):
        said = [line for line in program(*command).stderr.splitlines() if "as version 1 decoded them" in line]
        assert len(said) == 1 and f"this is version {images.DECODE_VERSION}" in said[0], command


def test_a_file_address_is_a_path_and_another_address_is_none(tmp_path):
    parser = Parser("…")
    parser.add_argument("--data", type=Path)
    folder = tmp_path / "a b"
    assert parser.parse_args(["--data", folder.as_uri()]).data == folder
    assert parser.parse_args(["--data", str(folder)]).data == folder
    with pytest.raises(InputError, match="--data gs://bucket/data: expected a path"):
        parser.parse_args(["--data", "gs://bucket/data"])
