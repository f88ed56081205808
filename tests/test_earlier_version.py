"""A data folder and runs that the version before the rooms made (commit feb8503) load, resume and give the same numbers.

`earlier_version/` holds a data folder of 24 pictures; `begun`, a run killed after step 5 of 9; `added`, a finished run with
an output added by --teach; and `expected.npz`, what that version made of them: the weights and thresholds of the run that
it resumed and finished, and the scores of `added` for the test pictures.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from common import numbers
from dataset import records
from inference.tagger import Tagger
from model import presets, run_folder

HOME = Path(__file__).parent / "earlier_version"
# The fixture's networks have a few thousand weights, so that it is small; everything else is of the preset `tiny`.
SMALL = presets.Architecture((8, 8, 16, 16), (1, 1, 1, 1), 2, 2, 4)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A copy of the fixture, as the working directory."""
    shutil.copytree(HOME, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setitem(presets.ARCHITECTURES, "tiny", SMALL)
    return tmp_path / "home"


@pytest.fixture
def expected():
    with np.load(HOME / "expected.npz") as stored:
        return dict(stored)


def test_its_data_folder_is_read(home):
    read = {split: list(records.read(home / "data", split)) for split in records.SPLITS}
    assert {split: len(found) for split, found in read.items()} == {"train": 15, "val": 4, "test": 5}
    assert all(record.caption for record in read["train"])


def test_its_run_predicts_the_same(home, expected):
    tagger = Tagger.open(home / "added")
    assert tagger.run.tags[-1].name == "darkness" and tagger.run.added_outputs() == {"darkness"}
    pixels = np.stack([tagger.pixels(record.image) for record in records.read(home / "data", "test")])
    # Earlier versions gave the variance at temperature 1.
    expected["variance"] = numbers.rescaled_variance(expected["variance"], expected["logit"], expected["temperature"])
    for name, values in tagger.scores(pixels).items():
        assert np.allclose(values, expected[name], atol=1e-5), name
    assert np.allclose(tagger.thresholds, expected["thresholds"])
    assert np.allclose(tagger.temperatures, expected["temperature"])


@pytest.mark.slow
def test_its_unfinished_run_resumes_to_the_same_weights(home, expected, monkeypatch, policy):
    import train

    monkeypatch.setattr(sys, "argv", ["train.py", "--resume", "--run", "begun"])
    train.main()
    weights = run_folder.load_network(home / "begun" / "model.keras").get_weights()
    assert len(weights) == sum(name.startswith("weight-") for name in expected)
    # Shape and scale of the robust loss, the last two, had another learning rate; the network's loss follows from them.
    for index, value in enumerate(weights[:-2]):
        assert np.allclose(value, expected[f"weight-{index:03}"], atol=0.02), index
    assert len(run_folder.read_history(home / "begun")) == 3
