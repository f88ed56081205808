"""The e6tag recipe, other readings of it, the errors of its code of 2021, and the time that `lean` needs to be as good.

    python -m benchmarks published --data data/openmoji

It trains every row with every seed, one at a time on all cores. What is no option of train.py is put into this process
before training. Result: published-FOLDER.json.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import keras
from keras import ops

import train
from benchmarks import trials
from benchmarks.peers import E6TAG
from benchmarks.peers import ROWS as PEERS
from benchmarks.reporting import Table, report
from benchmarks.stability import resized
from benchmarks.trials import Trial
from common import files
from common.errors import InputError, say
from model import losses, network
from training.recipes import RECIPES


def focal_over_the_mean(labels, logits):
    """Return each tag's focal weight times the mean cross-entropy of all the picture's tags, as the code of 2021 did.

    Args:
        labels, logits: (batch, tags).

    Returns:
        The loss, (batch, tags).
    """
    weight = losses.focal(labels, logits) / ops.maximum(losses.binary_cross_entropy(labels, logits), 1e-12)
    return weight * ops.mean(losses.binary_cross_entropy(labels, logits), axis=-1, keepdims=True)


@dataclass(frozen=True)
class Change:
    """A change of the recipe.

    Attributes:
        options: options of train.py.
        loss: replaces the focal loss under the robust loss.
        settings: settings of `model.config.Config` that replace those of the recipe.
    """

    options: str = ""
    loss: Callable = losses.focal
    settings: dict = field(default_factory=dict)


EPOCHS = 4  # the recipe's own
# The code turned pictures by up to 90° and mirrored half of them top to bottom. With the left-right mirroring, which stays
# on, that is the same distribution as a turn by up to 180°.
TURNED = "--rotation 180 --colour 0.25"
TRAINED, ROOTED = {"robust_travel": 1.0}, {"rooted_residual": True}
ROWS = {
    E6TAG: Change(),
    "residual with the root": Change(settings=ROOTED),
    "shape and scale trained": Change(settings=TRAINED),
    "trained, with the root": Change(settings=TRAINED | ROOTED),
    "focal loss without robust loss": Change("--loss focal"),
    "focal weight over the mean": Change(loss=focal_over_the_mean),
    "turned and upside down": Change(TURNED),
    "over the mean, turned": Change(TURNED, focal_over_the_mean),
}
SHORT = {
    "lean, one epoch": 1.0,
    "lean, one epoch on half of the pictures": 0.5,
}  # ▶ share of the training pictures, from the first on
COLUMNS = trials.COLUMNS | {"seconds": "seconds"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folder and the seeds."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, … (default: 3)")


def measure(options: argparse.Namespace) -> None:
    """Train every row with every seed for the recipe's four epochs, print a table and store the figures."""
    runs = {
        Trial(options.data, name, (*PEERS[E6TAG].split(), *change.options.split()), EPOCHS, seed): change
        for name, change in ROWS.items()
        for seed in range(options.seeds)
    }
    images = files.read_json(options.data / "manifest.json")["splits"]["train"]["written"]
    for name, share in SHORT.items():
        data = options.data if share == 1 else resized(options.data, None, round(share * images))
        runs |= {Trial(data, name, ("--recipe", "lean"), 1, seed): Change() for seed in range(options.seeds)}
    failed = {trial: line for trial, change in runs.items() if (line := _train(trial, change))}
    results = failed | trials.run_all([trial for trial in runs if trial not in failed], jobs=1)
    rows = trials.by_row({trial: results[trial] for trial in runs})
    print(f"{options.data}: test split, mean of {options.seeds} seeds ± half their range")
    figures = {"epochs": EPOCHS, "rows": {name: [trials.to_store(one) for one in row] for name, row in rows.items()}}
    report(f"published-{options.data.resolve().name}", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each change or combination of changes."""
    return trials.table(figures["rows"], COLUMNS)


def _train(trial: Trial, change: Change) -> str:
    """Train in this process with a change; return the line with which it failed, else an empty string.

    A finished run is reused, an unfinished one goes on. A run is found by the name of its row: a change that is changed
    needs another name.
    """
    if (trial.folder / "model.keras").exists():
        return ""
    say(f"{trial.folder}")
    keras.utils.clear_session()
    arguments_before = sys.argv
    sys.argv = ["train.py", *trials.training_options(trial)]
    try:
        with changed(change):
            train.main()
    except InputError as line:
        return str(line)
    finally:
        sys.argv = arguments_before
    return ""


@contextmanager
def changed(change: Change) -> Iterator[None]:
    """Build networks with the change while the context lasts."""
    with patch.dict(network.LOSSES, robust=change.loss), patch.dict(RECIPES["e6tag"], change.settings):
        yield
