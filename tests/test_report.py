"""The report, its findings, leaks, metrics.json, and the comparison of runs."""

import csv
import io
import json
import re
import shutil
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, program, uncompiled

from common import files
from common.errors import InputError
from common.numbers import sigmoid
from dataset import images, near_duplicates, records
from evaluation import compare, evaluate, leaks
from evaluation.metrics import metrics
from evaluation.metrics.calibration import Target, fit
from evaluation.report import charts, curves, findings, html, sections, terminal
from inference.tagger import Tagger
from model import run_folder


def test_findings_are_the_most_confident_mistakes_one_of_a_group():
    labels = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 0], [1, 1, 0], [0, 0, 1]], bool)
    scores = np.array([[0.9, 0.8, 0.1], [0.95, 0.1, 0.2], [0.94, 0.1, 0.3], [0.01, 0.6, 0.1], [0.2, 0.1, 0.4]], np.float32)
    groups = np.array(["a", "b", "b", "c", "d"])
    missing, wrong = findings.confident_mistakes(labels, scores, groups, 3)
    assert [(one.image, one.tag) for one in missing] == [(1, 0), (0, 1), (4, 0)]
    assert [(one.image, one.tag) for one in wrong] == [(3, 0), (4, 2), (0, 0)]


def test_best_and_worst_pictures_differ():
    labels = np.eye(6, dtype=bool)
    overlap, error = np.array([1, 1, 0.5, 0, 0, np.nan]), np.array([0.1, 0.2, 0, 0.3, 0.4, 0])
    best, worst = findings.best_and_worst(overlap, error, labels, np.array(list("aabcde")), 2)
    assert best == [0, 2] and worst == [4, 3]


def test_confusions_are_of_tags_that_occur_together():
    cat, dog, car = np.array([[1, 0, 0]] * 10), np.array([[0, 1, 0]] * 10), np.array([[0, 0, 1]] * 10)
    labels = np.concatenate([cat, dog, car, [[1, 1, 0]]]).astype(bool)
    accepted = labels.copy()
    accepted[:6, 1] = True  # dog predicted for cats
    accepted[:6, 2] = True  # car predicted for cats, with which it never occurs
    [found] = findings.confusions(labels, accepted.astype(float), np.full(3, 0.5), 5)
    assert (found.true, found.predicted, found.images, found.false_positives, found.elsewhere) == (0, 1, 10, 6, 0)


def test_charts_stay_inside_their_frame_and_escape_their_texts():
    line = charts.Line("<b>", np.linspace(0, 1, 5000), np.linspace(0, 1, 5000) ** 9)
    drawn = charts.line_chart("a<b", "x", "y", [line])
    numbers = [float(n) for n in re.search(r'points="([^"]*)"', drawn).group(1).replace(",", " ").split()]
    assert min(numbers) >= 0 and max(numbers) <= charts.WIDTH and len(numbers) <= 2 * charts.MAX_POINTS
    assert "<b>" not in drawn and "a<b" not in drawn


def test_the_title_of_an_axis_is_beside_its_numbers():
    drawn = charts.line_chart("a", "x", "learning rate", [charts.Line("", [0, 4], [0.0, 0.00375])])
    numbers = re.findall(r'<text x="([0-9.]+)" y="[^"]*" text-anchor="end">([^<]*)<', drawn)
    title = float(re.search(r"translate\(([0-9.]+) ", drawn).group(1))
    assert max(len(number) for _, number in numbers) == len("0.0035")
    assert min(float(end) - 7 * len(number) for end, number in numbers) > title + 4  # px of a digit, and below the baseline


def test_the_learning_rate_is_drawn_at_every_update_of_the_schedule_that_the_run_had(first_run):
    run, history = run_folder.load(first_run), run_folder.read_history(first_run)
    [*_, drawn] = curves.training_charts(run, history)
    line = re.search(r'points="([^"]*)"', drawn).group(1).split()
    heights = [float(point.split(",")[1]) for point in line]
    assert "Learning rate" in drawn and len(line) == min(charts.MAX_POINTS, 2 * run.updates_per_epoch + 1)
    assert 0 < heights.index(min(heights)) < len(line) / 2  # the peak, between two epochs, and not at the start
    several_cycles = [row | {"learning_rate": 0.1 * float(row["learning_rate"]) + 1} for row in history]
    [*_, drawn] = curves.training_charts(run, several_cycles)
    assert len(re.search(r'points="([^"]*)"', drawn).group(1).split()) == len(history)


def test_names_are_escaped_and_break_between_words():
    assert html.breakable("dark_skin_tone_<b>") == "dark_<wbr>skin_<wbr>tone_<wbr>&lt;b&gt;"


@pytest.fixture(scope="module")
def evaluated(emoji_run, tmp_path_factory):
    """The folder of an evaluated copy of the emoji run."""
    folder = tmp_path_factory.mktemp("runs") / "one"
    shutil.copytree(emoji_run, folder)
    done = program("eval.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_metrics_json_is_as_its_schema_says(evaluated):
    values = json.loads((evaluated / "metrics.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    schema = files.read_json(ROOT / "evaluation" / "metrics.schema.json")
    jsonschema.Draft202012Validator(schema).validate(values)
    assert schema["$defs"]["figures"]["properties"].keys() == metrics.DEFINITIONS.keys()
    assert values["intervals"].keys() <= metrics.DEFINITIONS.keys() and values["groups_known"]
    for name, (low, high) in values["intervals"].items():
        assert low <= values[name] <= high, name
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(values | {"f1_micro": 2})


def test_the_page_needs_nothing_else_and_shows_every_tag(evaluated):
    page = (evaluated / "report" / "index.html").read_text(encoding="utf-8")
    assert (
        not re.findall(r'(?:src|href)="(?!#|data:image/jpeg;base64,)', page) and "@import" not in page and "http" not in page
    )
    assert page.count("<script>") == 1 and page.count('<img alt="" src="data:') >= 12
    rows = list(csv.DictReader((evaluated / "metrics_by_tag.csv").open(encoding="utf-8")))
    assert [f'data-v="{row["name"]}"' in page for row in rows] == [True] * len(rows)
    values = files.read_json(evaluated / "metrics.json")
    assert f"<b>{values['average_precision_macro']:.3f}</b>" in page and "prefers-color-scheme: dark" in page


def copied(run, folder):
    shutil.copytree(run, folder)
    return Tagger.open(folder)


@uncompiled()
def test_calibrating_changes_thresholds_and_nothing_else(evaluated, emoji_data, tmp_path):
    before = copied(evaluated, tmp_path / "strict")
    evaluate.calibrate(before, emoji_data, Target.parse("precision=0.95"))
    after = Tagger.open(tmp_path / "strict")
    assert (after.thresholds >= before.thresholds).all() and (after.thresholds > before.thresholds).any()
    assert np.array_equal(after.temperatures, before.temperatures)
    picture = min((evaluated / "examples").glob("*.jpg"))
    [few], [many] = after.tag([picture]), before.tag([picture])
    assert few.items() <= many.items()


@uncompiled()
def test_numbers_take_no_part_in_calibration(evaluated, emoji_data, tmp_path):
    tagger = copied(evaluated, tmp_path / "numbers")
    first, *others = tagger.run.tags
    number = replace(first, category=records.CATEGORIES["number"])
    tagger = replace(tagger, run=replace(tagger.run, tags=[number, *others]))
    evaluate.calibrate(tagger, emoji_data, Target("f1"))
    after = Tagger.open(tmp_path / "numbers")
    assert (after.thresholds[0], after.temperatures[0]) == (0, 1) and len(set(after.temperatures[1:])) == 1
    _, scores = evaluate.score(tagger, emoji_data, "val", 1.0)
    alone = fit(scores.labels[:, 1:], scores.probability[:, 1:], scores.groups, Target("f1"))
    assert after.temperatures[1] == pytest.approx(alone.temperature, rel=1e-5)
    assert np.allclose(after.thresholds[1:], alone.thresholds, atol=1e-5)
    pixels = np.zeros((1, 64, 64, 3), np.uint8)
    found = after.scores(pixels)
    assert np.allclose(found["probability"], sigmoid(found["logit"] / after.temperatures))
    assert np.allclose(after.embed(pixels)[1], found["probability"], atol=1e-5)


def test_a_target_without_calibrating_is_refused(evaluated):
    done = program("eval.py", evaluated, "--target", "f1")
    assert done.returncode == 1 and "--calibrate" in done.stderr


@uncompiled()
def test_runs_are_compared_on_the_same_pictures(evaluated, emoji_data, tmp_path):
    first, same, worse = (copied(evaluated, tmp_path / name) for name in ("first", "same", "worse"))
    worse = replace(worse, thresholds=np.full_like(worse.thresholds, 0.99))
    text = compare.compare([first, same, worse], emoji_data, "test")
    runs = files.read_json(tmp_path / "first" / "comparison.json")["runs"]
    names = [str(tagger.run.folder) for tagger in (first, same, worse)]
    assert all(value == [0, 0, 0] for value in runs[names[1]]["differences"].values()) and not runs[names[1]]["moved_tags"]
    change = runs[names[2]]["differences"]
    assert change["f1_macro"][2] < 0 and change["average_precision_macro"] == [0, 0, 0]
    assert f"  C  {names[2]}" in text and "mAP" in text
    with pytest.raises(InputError, match="given twice"):
        compare.compare([first, first], emoji_data, "test")


def test_changed_tags_are_those_whose_range_excludes_zero():
    labels, groups = np.zeros((12, 3), bool), np.arange(12) // 2
    labels[:, :2], labels[0, 2] = True, True
    random = np.random.default_rng(0)
    differences = np.stack([0.3 + 0.05 * random.standard_normal(200), random.standard_normal(200), np.full(200, 0.5)])
    [changed] = compare.changed_tags(["up", "noise", "of one group"], differences, labels, groups)
    assert changed["tag"] == "up"


@uncompiled()
def test_records_without_groups_are_resampled_one_by_one_with_a_note(evaluated, emoji_data, tmp_path):
    data = tmp_path / "older"
    shutil.copytree(emoji_data, data)
    for path in records.shard_paths(data, "test"):
        examples = [tf.train.Example.FromString(serialised.numpy()) for serialised in tf.data.TFRecordDataset(str(path))]
        with tf.io.TFRecordWriter(str(path)) as writer:
            for example in examples:
                del example.features.feature["group"]
                writer.write(example.SerializeToString())
    values = evaluate.summary(evaluate.evaluate(Tagger.open(evaluated), data, "test"))
    assert not values["groups_known"] and values["groups"] == values["images"]
    assert "name no groups" in terminal.brief(values) and any("name no groups" in note for note in sections.caveats(values))


def test_copies_of_test_pictures_in_training_are_named(emoji_data, tmp_path):
    data = tmp_path / "leaky"
    shutil.copytree(emoji_data, data)
    tested = next(records.read(data, "test"))
    before = leaks.leaks(data, "test")
    small = io.BytesIO()
    images.decode(tested.image).resize((50, 50)).save(small, "JPEG", quality=60)
    with tf.io.TFRecordWriter(str(records.shard_paths(data, "train")[0])) as writer:
        writer.write(records.encode(small.getvalue(), tested.tags, "copy", "", "another group"))
    assert (0, "train", "copy") in {*leaks.leaks(data, "test")} - {*before}


def test_leaks_are_looked_for_once(emoji_data, tmp_path, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(emoji_data, data, ignore=shutil.ignore_patterns(".cache"))
    monkeypatch.setattr(leaks, "MIN_CORRELATION", 0.9)  # so that this small folder has some
    first = leaks.leaks(data, "test")
    monkeypatch.setattr(near_duplicates, "thumbnail", lambda image: pytest.fail("a picture was decoded again"))
    assert first and leaks.leaks(data, "test") == first
    assert {(other, split) for other, split, _ in leaks.leaks(data, "val")} != {(other, split) for other, split, _ in first}


def test_only_the_records_that_are_wanted_are_read(emoji_data):
    stored = {record.id: record.image for record in records.read(emoji_data, "train")}
    wanted = {id: stored[id] for id in [*stored][::20]}
    assert records.images_by_id(emoji_data, "train", set(wanted)) == wanted
    assert records.images_by_id(emoji_data, "train", set()) == {}
