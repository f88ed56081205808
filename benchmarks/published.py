"""The recipe of 2021 as it was meant, with the errors of its code put back, and how soon the default is better."""

import argparse
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import keras
from keras import ops

import train
from benchmarks import trials
from benchmarks.measuring import report
from benchmarks.peers import ROWS as PEERS
from benchmarks.stability import resized
from benchmarks.trials import Trial
from command import InputError, say
from dataset import records
from model import losses, tagger


def focal_over_the_mean(labels, logits):
    """Focal loss of each tag whose cross-entropy is that of all the picture's tags: what the code of 2021 computed.

    Args:
        labels, logits: (batch, tags).

    Returns:
        The loss, (batch, tags).
    """
    weight = losses.focal(labels, logits) / ops.maximum(losses.binary_cross_entropy(labels, logits), 1e-12)
    return weight * ops.mean(losses.binary_cross_entropy(labels, logits), axis=-1, keepdims=True)


def residual_not_rooted(loss: Callable) -> Callable:
    """A loss under which the robust one's residual √(2 loss) is the loss itself, as in 2021: small ones hardly count."""
    return lambda labels, logits: ops.square(loss(labels, logits)) / 2


@dataclass(frozen=True)
class Error:
    """What the code of 2021 did otherwise.

    Attributes:
        options: for train.py, where it has them.
        loss: in place of the focal loss under the robust one.
        parameter_rate: of the robust loss' shape and scale, as a share of the network's; None leaves it.
    """

    options: str = ""
    loss: Callable = losses.focal
    parameter_rate: float | None = None


EPOCHS = 4  # the recipe's own
RECIPE = "2021 recipe"  # shared with bench.py peers, and so are its runs
TURNED = "--vertical-flip --rotation 90 --colour 0.25"
ROWS = {
    RECIPE: Error(),
    "focal weight over the mean": Error(loss=focal_over_the_mean),
    "upside down, turned": Error(TURNED),
    "shape and scale fixed": Error(parameter_rate=0.0),
    "residual not rooted": Error(loss=residual_not_rooted(losses.focal)),
    "fixed, not rooted": Error(loss=residual_not_rooted(losses.focal), parameter_rate=0.0),
    "fixed, not rooted, mean": Error(loss=residual_not_rooted(focal_over_the_mean), parameter_rate=0.0),
    "fixed, not rooted, turned": Error(TURNED, residual_not_rooted(losses.focal), 0.0),
    "all four": Error(TURNED, residual_not_rooted(focal_over_the_mean), 0.0),
    "no robust loss": Error("--loss focal"),
}
SHORT = {"default, one epoch": 1.0, "default, one epoch of half": 0.5}  # ▶ share of the training pictures, the first


def add_options(parser: argparse.ArgumentParser) -> None:
    """On what, and how often."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, … (default: 3)")


def measure(options: argparse.Namespace) -> None:
    """Train every row with every seed for the recipe's four epochs, one at a time on all cores; a table and a JSON."""
    runs = {
        Trial(options.data, name, (*PEERS[RECIPE].split(), *error.options.split()), EPOCHS, seed): error
        for name, error in ROWS.items()
        for seed in range(options.seeds)
    }
    images = records.read_json(options.data / "manifest.json")["splits"]["train"]["written"]
    for name, share in SHORT.items():
        data = options.data if share == 1 else resized(options.data, None, round(share * images))
        runs |= {Trial(data, name, (), 1, seed): Error() for seed in range(options.seeds)}
    failed = {trial: line for trial, error in runs.items() if (line := _train(trial, error))}
    results = failed | trials.run_all([trial for trial in runs if trial not in failed], jobs=1)
    rows = trials.rows_of({trial: results[trial] for trial in runs})
    columns = {name: title for name, title in trials.SHOWN.items() if name != "images_per_second"} | {"seconds": "seconds"}
    print(f"{options.data}: test split, mean of {options.seeds} seeds ± half their range")
    facts = {"epochs": EPOCHS, "rows": {name: [trials.shown(figures) for figures in row] for name, row in rows.items()}}
    report(f"published-{options.data.resolve().name}", ["", *columns.values()], trials.cells(rows, columns), facts)


def _train(trial: Trial, error: Error) -> str:
    """In this process, where the error is; the line with which it failed, else nothing. An unfinished run goes on.

    Runs are known by the names of their rows alone: an error that is changed needs another name.
    """
    if (trial.folder / "model.keras").exists():
        return ""
    say(f"{trial.folder}")
    keras.utils.clear_session()
    before = sys.argv
    sys.argv = ["train.py", *trials.training_options(trial)]
    try:
        with put_back(error):
            train.main()
    except InputError as line:
        return str(line)
    finally:
        sys.argv = before
    return ""


@contextmanager
def put_back(error: Error) -> Iterator[None]:
    """While it lasts, networks are built with the error."""
    robust, loss = losses.AdaptiveRobust, tagger.LOSSES["robust"]
    tagger.LOSSES["robust"] = error.loss
    if error.parameter_rate is not None:
        losses.AdaptiveRobust = functools.partial(robust, parameter_rate=error.parameter_rate)
    try:
        yield
    finally:
        losses.AdaptiveRobust, tagger.LOSSES["robust"] = robust, loss
