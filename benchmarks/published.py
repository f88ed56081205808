"""The e6tag recipe, with the errors of its code of 2021 put back one by one, and the time the default needs to be better.

    python -m benchmarks published --data data/openmoji

It trains every row with every seed, one at a time on all cores. Errors that are no option of train.py are put into this
process before training. Result: published-FOLDER.json.
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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


def focal_over_the_mean(labels, logits):
    """Return each tag's focal weight times the mean cross-entropy of all the picture's tags, as the code of 2021 did.

    Args:
        labels, logits: (batch, tags).

    Returns:
        The loss, (batch, tags).
    """
    weight = losses.focal(labels, logits) / ops.maximum(losses.binary_cross_entropy(labels, logits), 1e-12)
    return weight * ops.mean(losses.binary_cross_entropy(labels, logits), axis=-1, keepdims=True)


def residual_not_rooted(loss: Callable) -> Callable:
    """Return a loss that makes the robust residual √(2 loss) the loss itself, as in 2021: small losses hardly count."""
    return lambda labels, logits: ops.square(loss(labels, logits)) / 2


@dataclass(frozen=True)
class Error:
    """What the code of 2021 did otherwise.

    Attributes:
        options: options of train.py.
        loss: replaces the focal loss under the robust loss.
        parameter_rate: learning rate of the robust loss's shape and scale, as a share of the network's; None: unchanged.
    """

    options: str = ""
    loss: Callable = losses.focal
    parameter_rate: float | None = None


EPOCHS = 4  # the recipe's own
# The code turned pictures by up to 90° and mirrored half of them top to bottom. With the left-right mirroring, which stays
# on, that is the same distribution as a turn by up to 180°.
TURNED = "--rotation 180 --colour 0.25"
ROWS = {
    E6TAG: Error(),  # the same runs as in `peers`
    "focal weight over the mean": Error(loss=focal_over_the_mean),
    "turned and upside down": Error(TURNED),
    "shape and scale fixed": Error(parameter_rate=0.0),
    "residual without the root": Error(loss=residual_not_rooted(losses.focal)),
    "fixed, without the root": Error(loss=residual_not_rooted(losses.focal), parameter_rate=0.0),
    "fixed, without the root, over the mean": Error(loss=residual_not_rooted(focal_over_the_mean), parameter_rate=0.0),
    "fixed, without the root, turned": Error(TURNED, residual_not_rooted(losses.focal), 0.0),
    "all four": Error(TURNED, residual_not_rooted(focal_over_the_mean), 0.0),
    "focal loss without robust loss": Error("--loss focal"),
}
SHORT = {
    "default, one epoch": 1.0,
    "default, one epoch on half of the pictures": 0.5,
}  # ▶ share of the training pictures, from the first on
# Row in a stored result ▶ its name today.
RENAMED = {
    "2021 recipe": E6TAG,
    "upside down, turned": "turned and upside down",
    "residual not rooted": "residual without the root",
    "fixed, not rooted": "fixed, without the root",
    "fixed, not rooted, mean": "fixed, without the root, over the mean",
    "fixed, not rooted, turned": "fixed, without the root, turned",
    "no robust loss": "focal loss without robust loss",
    "default, one epoch of half": "default, one epoch on half of the pictures",
}
COLUMNS = {name: title for name, title in trials.COLUMNS.items() if name != "images_per_second"} | {"seconds": "seconds"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folder and the seeds."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, … (default: 3)")


def measure(options: argparse.Namespace) -> None:
    """Train every row with every seed for the recipe's four epochs, print a table and store the figures."""
    runs = {
        Trial(options.data, name, (*PEERS[E6TAG].split(), *error.options.split()), EPOCHS, seed): error
        for name, error in ROWS.items()
        for seed in range(options.seeds)
    }
    images = files.read_json(options.data / "manifest.json")["splits"]["train"]["written"]
    for name, share in SHORT.items():
        data = options.data if share == 1 else resized(options.data, None, round(share * images))
        runs |= {Trial(data, name, (), 1, seed): Error() for seed in range(options.seeds)}
    failed = {trial: line for trial, error in runs.items() if (line := _train(trial, error))}
    results = failed | trials.run_all([trial for trial in runs if trial not in failed], jobs=1)
    rows = trials.by_row({trial: results[trial] for trial in runs})
    print(f"{options.data}: test split, mean of {options.seeds} seeds ± half their range")
    figures = {"epochs": EPOCHS, "rows": {name: [trials.to_store(one) for one in row] for name, row in rows.items()}}
    report(f"published-{options.data.resolve().name}", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each error or combination of errors."""
    return trials.table({RENAMED.get(name, name): row for name, row in figures["rows"].items()}, COLUMNS)


def _train(trial: Trial, error: Error) -> str:
    """Train in this process with an error put back; return the line with which it failed, else an empty string.

    A finished run is reused, an unfinished one goes on. A run is found by the name of its row: an error that is changed
    needs another name.
    """
    if (trial.folder / "model.keras").exists():
        return ""
    say(f"{trial.folder}")
    keras.utils.clear_session()
    arguments_before = sys.argv
    sys.argv = ["train.py", *trials.training_options(trial)]
    try:
        with put_back(error):
            train.main()
    except InputError as line:
        return str(line)
    finally:
        sys.argv = arguments_before
    return ""


@contextmanager
def put_back(error: Error) -> Iterator[None]:
    """Build networks with the error while the context lasts."""
    robust: Callable = losses.AdaptiveRobust
    if error.parameter_rate is not None:
        robust = functools.partial(robust, parameter_rate=error.parameter_rate)
    with patch.dict(network.LOSSES, robust=error.loss), patch.object(losses, "AdaptiveRobust", robust):
        yield
