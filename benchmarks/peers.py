"""The default recipe beside other trainers' recipes and networks, for as many epochs and for as much time.

    python -m benchmarks peers --data data/openmoji data/openclipart
    python -m benchmarks peers --data data/openmoji data/openclipart --pretrained

All see the same shards, one after the other on all cores. Without `--pretrained`, all start from random weights:
"DeepDanbooru" is its trainer's recipe on this suite's plain ResNet, and "torchvision ResNet-18" needs torch and torchvision.
With it, all start from EfficientNet-Lite0 as trained on ImageNet, see `benchmarks.fine_tuning`. Rows whose packages are
missing fail with a line. Results: peers[-pretrained]-FOLDER-equal-epochs.json and -equal-time.json for each folder.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks import fine_tuning, foreign, trials
from benchmarks.reporting import Table, report
from benchmarks.trials import HOME, Trial
from common.errors import InputError, say
from common.files import read_json, write_json

OURS = "default recipe"  # named otherwise than in `ablation`, whose runs share the cores and are slower
E6TAG = "e6tag recipe"
# DeepDanbooru trains the plain ResNet with Adam at a constant rate and a loss averaged over tags. Only the e6tag recipe
# averages the loss, so this is that recipe with all its other settings replaced.
DEEPDANBOORU = (
    "--recipe e6tag --batch-size 32 --activation relu --noise none --loss bce --head pool --optimizer adamw "
    "--weight-decay 0 --learning-rate 0.001 --first-learning-rate 1 --last-learning-rate 1 --momentum 0.9 "
    "--lowest-momentum 0.9 --clip-norm 0"
)
# Row ▶ options of train.py. The first row of each group is the one whose seconds the others get.
ROWS = {OURS: "", E6TAG: "--recipe e6tag", "ResNet SGD": "--recipe plain", "DeepDanbooru": DEEPDANBOORU}
PRETRAINED_ROWS = {"default, from ImageNet": "--preset lite0 --init imagenet"}
# Row ▶ function of data folder, epochs and seed.
FOREIGN: dict[str, Callable[[Path, float, int], dict]] = {
    "Keras ResNet-50": partial(foreign.train, foreign.keras_resnet50),
    "torchvision ResNet-18": partial(foreign.train, foreign.torchvision_resnet18),
}
PRETRAINED_FOREIGN: dict[str, Callable[[Path, float, int], dict]] = {
    "fastai": fine_tuning.fastai,
    "animetimm": fine_tuning.animetimm,
    "animetimm, rate 0.001": partial(fine_tuning.animetimm, rate=0.001),
    "logistic regression": fine_tuning.logistic_regression,
}
MAX_SEEDS = {"Keras ResNet-50": 1}  # for equal epochs, of a network that takes several times as long
# Row in a stored result ▶ what it was.
RENAMED = {"e6tag": "lean recipe", "2021 recipe": "e6tag recipe, scale trained"}
COLUMNS = {
    "average_precision_macro": "mAP",
    "auc_roc_macro": "macro AUC",
    "auc_roc_micro": "micro AUC",
    "epochs": "epochs",
    "seconds": "seconds",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folders, epochs, seeds and rows."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders made by download.py")
    parser.add_argument("--pretrained", action="store_true", help="the rows that start from ImageNet's weights")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, … (default: 3)")
    rows = [*ROWS, *FOREIGN, *PRETRAINED_ROWS, *PRETRAINED_FOREIGN]
    parser.add_argument("--rows", nargs="+", choices=rows, metavar="ROW", help=f"some of: {'; '.join(rows)}")


def measure(options: argparse.Namespace) -> None:
    """Train every row for the same epochs, then the others again for as many seconds as the default took."""
    group = [*PRETRAINED_ROWS, *PRETRAINED_FOREIGN] if options.pretrained else [*ROWS, *FOREIGN]
    ours = group[0]
    if unknown := set(options.rows or []) - set(group):
        raise InputError(f"--rows: expected some of {'; '.join(group)}. Received: {'; '.join(sorted(unknown))}")
    names = [name for name in group if name == ours or not options.rows or name in options.rows]
    for data in options.data:
        equal_epochs = {
            name: _row(data, name, options.epochs, min(options.seeds, MAX_SEEDS.get(name, options.seeds))) for name in names
        }
        if failures := [figures for figures in equal_epochs[ours] if isinstance(figures, str)]:
            raise InputError(f"{ours} failed on {data}: {failures[0]}")
        seconds = _mean(equal_epochs[ours], "seconds")
        equal_time = {
            name: row if name == ours else _in_time(data, name, row, seconds, options.seeds)
            for name, row in equal_epochs.items()
        }
        for what, rows in {"epochs": equal_epochs, "time": equal_time}.items():
            print(f"{data}: test split, equal {what}, mean of {options.seeds} seeds ± half their range")
            figures = {"epochs": options.epochs, "rows": rows}
            kind = "peers-pretrained" if options.pretrained else "peers"
            report(f"{kind}-{data.resolve().name}-equal-{what}", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each trainer."""
    return trials.table({RENAMED.get(name, name): row for name, row in figures["rows"].items()}, COLUMNS)


def _in_time(data: Path, name: str, row: list[dict | str], seconds: float, seeds: int) -> list[dict | str]:
    """Train a row again for about `seconds`; train.py trains whole epochs, and at least one."""
    if any(isinstance(figures, str) for figures in row) or not _mean(row, "epochs"):
        return row
    epochs = seconds * _mean(row, "epochs") / _mean(row, "seconds")
    return _row(data, name, max(1, round(epochs)) if name in ROWS else epochs, seeds)


def _mean(row: list[dict | str], key: str) -> float:
    """Return the mean of a figure over the runs that did not fail."""
    return statistics.mean(figures[key] for figures in row if not isinstance(figures, str))


def _row(data: Path, name: str, epochs: float, seeds: int) -> list[dict | str]:
    """Return one trainer's figures after so many epochs, with seeds 0, 1, …"""
    options = (ROWS | PRETRAINED_ROWS).get(name)
    if options is None:
        return [_foreign_figures(data, name, epochs, seed) for seed in range(seeds)]
    runs = [Trial(data, name, tuple(options.split()), int(epochs), seed) for seed in range(seeds)]
    results = trials.run_all(runs, jobs=1)
    # The others' seconds contain what they compute before the first epoch.
    seconds = "command_seconds" if name in PRETRAINED_ROWS else "seconds"
    return [
        figures
        if isinstance(figures, str)
        else {key: figures[key] for key in COLUMNS if key in figures} | {"epochs": run.epochs, "seconds": figures[seconds]}
        for run, figures in results.items()
    ]


def _foreign_figures(data: Path, name: str, epochs: float, seed: int) -> dict | str:
    """Return the figures of another library's network, from a file under runs/bench/ if it was trained before."""
    path = HOME / f"{data.resolve().name}-{name.replace(' ', '-')}-{epochs:.3g}-{seed}.json"
    if not path.exists():
        say(f"{name} on {data}, seed {seed}: {epochs:.3g} epochs")
        try:
            figures = (FOREIGN | PRETRAINED_FOREIGN)[name](data, epochs, seed)
        except InputError as error:
            return str(error)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, figures)
    return read_json(path)
