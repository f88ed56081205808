"""A tag added from a folder: the other outputs and all programs work as before, and the expected figures hold."""

import json
import shutil

import numpy as np
import pytest
from conftest import program, uncompiled
from PIL import Image

from common import files
from common.errors import InputError
from dataset import records
from inference.tagger import Tagger
from model import run_folder
from model.config import as_options
from training import teach_tag
from training.linear_probe import Examples, fit_tag, fit_values

NAME = "tinted"  # pictures with the added tag lie on orange instead of white, which is easy to tell and no tag of the board


def write_pictures(data, folder, number: int, tinted: bool) -> None:
    """Training pictures as files, tinted or as they are."""
    folder.mkdir()
    stored = [record for record in records.read(data, "train")][:number]
    for index, record in enumerate(stored):
        path = folder / f"{index}.png"
        path.write_bytes(record.image)
        if tinted:
            pixels = np.array(Image.open(path), np.float32) * (1, 0.75, 0.35)
            Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
@uncompiled()
def added(emoji_data, emoji_run, tmp_path_factory):
    """A copy of the run with an added tag, what was printed, and the folder of pictures that have the tag."""
    folder = tmp_path_factory.mktemp("added")
    shutil.copytree(emoji_run, folder / "run")
    write_pictures(emoji_data, folder / "positives", 30, True)
    done = program("train.py", "--teach", NAME, folder / "positives", "--run", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout, folder / "positives"


def test_the_other_outputs_are_the_same_to_the_bit(emoji_run, added):
    before, after = Tagger.open(emoji_run), Tagger.open(added[0])
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    for compiled in (False, True):
        old, new = before.scores(pixels, compiled), after.scores(pixels, compiled)
        for name, values in old.items():
            assert new[name].shape[1] == values.shape[1] + 1 and np.array_equal(new[name][:, :-1], values), name
    assert np.array_equal(after.thresholds[:-1], before.thresholds)
    assert np.array_equal(after.temperatures[:-1], before.temperatures)
    assert after.run.tags[:-1] == before.run.tags and after.run.tags[-1].name == NAME and after.run.tags[-1].count == 30


@uncompiled()
def test_it_is_predicted_for_new_pictures_that_have_it(emoji_data, added, tmp_path):
    tagger = Tagger.open(added[0])
    write_pictures(emoji_data, tmp_path / "with", 60, True)
    write_pictures(emoji_data, tmp_path / "without", 60, False)
    predicted = [
        [NAME in tags for tags in tagger.tag(sorted((tmp_path / kind).iterdir(), key=lambda path: int(path.stem))[30:])]
        for kind in ("with", "without")
    ]
    assert np.mean(predicted[0]) > 0.8 and np.mean(predicted[1]) < 0.2
    facts = json.loads((added[0] / "taught.json").read_text())[NAME]
    area, low, high = facts["auc_roc"]
    assert 0.8 < low <= area <= high <= 1.05 and f"expected AUC {area:.3f}" in added[1]


@pytest.mark.slow
def test_evaluation_works_as_before(emoji_data, emoji_run, added):
    before, after = (program("eval.py", folder, "--data", emoji_data, "--split", "val") for folder in (emoji_run, added[0]))
    assert after.returncode == 0 and "1 of the 13 tags" in after.stderr, after.stderr
    assert after.stdout.replace(str(added[0]), "") == before.stdout.replace(str(emoji_run), "")
    tagger = Tagger.open(added[0])
    done = program("eval.py", added[0], "--calibrate", "--target", "recall=0.8", "--split", "val")
    assert done.returncode == 0, done.stderr
    again = Tagger.open(added[0])
    assert tagger.thresholds[-1] == again.thresholds[-1] and tagger.temperatures[-1] == again.temperatures[-1] == 1
    assert not np.array_equal(tagger.thresholds[:-1], again.thresholds[:-1])


@pytest.mark.slow
def test_it_is_exported(added):
    done = program("export.py", "--run", added[0], "--format", "suite")
    assert done.returncode == 0, done.stderr
    assert Tagger.open(added[0] / "export" / "suite" / "model.onnx").run.tags[-1].name == NAME


@pytest.mark.slow
def test_added_again_it_is_replaced_and_a_second_one_added(emoji_run, added, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(added[0], folder)
    network = run_folder.load_network(folder / "model.keras")
    teach_tag.teach("second", added[2], folder, None, None)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    expected = network.predict_on_batch(pixels)["logit"]
    tagger = Tagger.open(folder)
    assert [tag.name for tag in tagger.run.tags[-2:]] == [NAME, "second"]
    assert np.array_equal(tagger.network.predict_on_batch(pixels)["logit"][:, :-1], expected)
    (added[2] / "0.png").rename(tmp_path / "0.png")
    teach_tag.teach(NAME, added[2], folder, None, None)
    (tmp_path / "0.png").rename(added[2] / "0.png")
    assert [tag.count for tag in Tagger.open(folder).run.tags[-2:]] == [29, 30]


class Killed(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("module, function", [(files, "write_json"), (records, "write_tags"), (run_folder, "save_network")])
def test_killed_while_files_are_written_the_run_works_as_before(emoji_run, added, tmp_path, monkeypatch, module, function):
    shutil.copytree(emoji_run, tmp_path / "run")
    written = getattr(module, function)

    def kill(*arguments):
        if function != "save_network":
            written(*arguments)
        raise Killed

    monkeypatch.setattr(module, function, kill)
    with pytest.raises(Killed):
        teach_tag.teach(NAME, added[2], tmp_path / "run", None, None)
    before, after = Tagger.open(emoji_run), Tagger.open(tmp_path / "run")
    assert after.run.tags == before.run.tags and np.array_equal(after.thresholds, before.thresholds)
    monkeypatch.undo()
    teach_tag.teach(NAME, added[2], tmp_path / "run", None, None)
    assert Tagger.open(tmp_path / "run").run.tags[-1].name == NAME


@uncompiled()
def test_a_tag_that_cannot_be_added_is_named(emoji_run, emoji_data, added, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(emoji_run, run)
    trained = records.read_tags(run / "tags.csv")[0].name
    with pytest.raises(InputError, match="was not trained with"):
        teach_tag.teach(trained, added[2], run, None, None)
    write_pictures(emoji_data, tmp_path / "few", 3, True)
    with pytest.raises(InputError, match=r"needs at least 10 pictures.*Received: 3"):
        teach_tag.teach("new", tmp_path / "few", run, None, None)
    done = program("train.py", "--teach", "new", added[2], "--run", run, "--epochs", 3)
    assert done.returncode == 1 and "--teach NAME FOLDER trains nothing but" in done.stderr
    assert not (run / "taught.json").exists()


def drawn(random, number: int, shift: float = 0.0, channels: int = 20) -> Examples:
    """Pictures that differ, with four channels of their features shifted."""
    thumbnails = [random.integers(0, 256, 192, np.uint8).tobytes() for _ in range(number)]
    features = random.normal(size=(number, channels)) + shift * (np.arange(channels) < 4)
    return Examples([str(index) for index in range(number)], features.astype(np.float32), thumbnails)


def test_random_features_are_expected_to_give_a_guess():
    random = np.random.default_rng(0)
    area, low, high = fit_tag(drawn(random, 50), drawn(random, 200), 0).expected["auc_roc"]
    assert low < 0.5 < 0.65 and area < 0.65 and high - low > 0.1
    correlation, low, _ = fit_values(drawn(random, 150), random.normal(size=150)).expected["spearman"]
    assert low < 0 and correlation < 0.25


def test_the_figures_expected_are_those_of_new_pictures_and_the_probabilities_are_frequencies():
    """Two kinds of pictures whose features overlap; the negatives are a twentieth of those that they stand for."""
    random = np.random.default_rng(1)
    head = fit_tag(drawn(random, 200, 0.8), drawn(random, 1000), 20000)
    new = [drawn(random, 20000, shift).features @ head.weights + head.bias for shift in (0.8, 0.0)]
    area = np.mean(new[0][:5000, None] > new[1][None, :5000])
    assert head.expected["auc_roc"][1] - 0.01 < area < head.expected["auc_roc"][2] + 0.01
    probability = 1 / (1 + np.exp(-np.concatenate([new[0][:200], new[1]])))
    assert 120 < probability.sum() < 300  # 200 of the 20,200 have the tag


def test_near_duplicates_of_positives_are_no_negatives():
    random = np.random.default_rng(2)
    positives, negatives = drawn(random, 30, 3.0), drawn(random, 50)
    clean = fit_tag(positives, negatives, 0)
    mixed = Examples(
        negatives.names + positives.names[:20],
        np.r_[negatives.features, positives.features[:20]],
        negatives.thumbnails + positives.thumbnails[:20],
    )
    assert np.allclose(fit_tag(positives, mixed, 0).weights, clean.weights, atol=1e-4)


def test_a_number_is_predicted_as_a_rank():
    random = np.random.default_rng(3)
    direction = random.normal(size=20)

    def graded(number: int) -> tuple[Examples, np.ndarray]:
        examples = drawn(random, number)
        return examples, np.exp(examples.features @ direction + random.normal(size=number))  # a few are far from the others

    head = fit_values(*graded(200))
    examples, values = graded(2000)
    predicted = 1 / (1 + np.exp(-(examples.features @ head.weights + head.bias)))
    ranks = [np.argsort(np.argsort(part)) / 2000 for part in (predicted, values)]
    found = np.corrcoef(*ranks)[0, 1]
    correlation, low, high = head.expected["spearman"]
    assert low - 0.02 < found < high + 0.02 and 0.8 < low < correlation < high
    assert np.isclose(np.abs(predicted - ranks[1]).mean(), head.expected["rank_error"], atol=0.02)


@uncompiled()
def test_a_numeric_column_is_added_and_predicted_for_every_picture(emoji_run, emoji_data, tmp_path):
    """How dark a picture was made."""
    shutil.copytree(emoji_run, tmp_path / "run")
    write_pictures(emoji_data, tmp_path / "pictures", 60, False)
    shades = np.random.default_rng(4).uniform(0.3, 1, 60)
    for path in (tmp_path / "pictures").iterdir():
        pixels = np.array(Image.open(path), np.float32) * shades[int(path.stem)]
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    rows = "".join(f"{index}.png,{10 * shade:.2f}\n" for index, shade in enumerate(shades[:50]))
    (tmp_path / "table.csv").write_text(f"id,brightness\n{rows}")
    options = ("--run", tmp_path / "run", "--values", tmp_path / "table.csv")
    done = program("train.py", "--teach", "brightness", tmp_path / "pictures", *options)
    assert done.returncode == 0 and "expected Spearman's correlation 0." in done.stdout, done.stderr
    assert "a number for 50 of 60 pictures" in done.stderr
    new = [tmp_path / "pictures" / f"{index}.png" for index in range(50, 60)]
    predicted = [tags["brightness"] for tags in Tagger.open(tmp_path / "run").tag(new)]
    assert np.corrcoef(predicted, shades[50:])[0, 1] > 0.5
    done = program("test.py", new[0], "--run", tmp_path / "run", "--sidecar", "overwrite", "--threshold", 0)
    assert done.returncode == 0 and "brightness" not in new[0].with_suffix(".txt").read_text(), done.stderr
    done = program("train.py", "--teach", "weight", tmp_path / "pictures", *options)
    assert done.returncode == 1 and "expected a first line with id, weight" in done.stderr


@pytest.mark.slow
def test_search_and_the_training_command_work_after_a_tag_is_added(emoji_data, emoji_run, added, tmp_path):
    """Sentences are searched as before, and the run's own training command knows it still."""
    run, pictures = tmp_path / "run", tmp_path / "pictures"
    shutil.copytree(emoji_run, run)
    write_pictures(emoji_data, pictures, 12, False)
    for options in (("--align",), ("--index", pictures)):
        done = program("search.py", *options, "--run", run)
        assert done.returncode == 0, done.stderr
    before = json.loads(program("search.py", "a flag", "--run", run, "--json").stdout)
    for name in ("model.keras", "tags.csv", "thresholds.csv", "taught.json"):
        shutil.copy(added[0] / name, run)
    done = program("search.py", "a flag", "--run", run)
    assert done.returncode == 1 and "python search.py --index" in done.stderr and "Traceback" not in done.stderr
    done = program("search.py", "--index", "--run", run)
    assert done.returncode == 0 and "12 new or changed" in done.stdout, done.stderr
    after = json.loads(program("search.py", "a flag", "--run", run, "--json").stdout)
    assert [found["file"] for found in after] == [found["file"] for found in before]
    for found, known in zip(after, before, strict=True):  # Keras embedded the one, and the exported network the other
        assert abs(found["score"] - known["score"]) < 0.001
    config = run_folder.load(run).config
    done = program("train.py", "--data", emoji_data, "--run", run, *as_options(config))
    assert done.returncode == 0 and "trained already" in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["two, three", "two\nthree", "  "])
def test_a_name_that_would_be_two_is_refused(emoji_run, tmp_path, name):
    with pytest.raises(InputError, match="without commas"):
        teach_tag.teach(name, tmp_path, emoji_run, None, None)


@pytest.mark.parametrize(
    ("table", "expected", "message"),
    [
        (None, "cannot be read: No such file", ""),
        ("id,brightness\n", "received 0", ""),
        ("brightness,id\n5\n", "received 0", ""),
        ("id;brightness\n0.png;x\n1.png;1,5\n2.png;7\n", "received 1", "line 2: 0.png: 'x' is not a number"),
        (f"id,brightness\n{'x' * 200_000},1\n", "received 0", ""),
    ],
    ids=["missing", "header alone", "short line", "no number", "long cell"],
)
@uncompiled()
def test_an_unusable_table_is_named(added, tmp_path, capsys, table, expected, message):
    path = tmp_path / "table.csv"
    if table is not None:
        path.write_text(table)
    with pytest.raises(InputError, match=f"table.csv.*{expected}"):
        teach_tag.teach("brightness", added[2], added[0], None, path)
    assert message in capsys.readouterr().err
