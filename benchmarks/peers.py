"""The default recipe beside other trainers' recipes and networks, for as many epochs and for as much time.

    python -m benchmarks peers --data data/openmoji data/openclipart

All start from random weights on the same shards, one at a time on all cores. "DeepDanbooru" is its trainer's recipe on this
suite's plain ResNet; "torchvision ResNet-18" needs torch and torchvision, and its row fails without them. Results:
peers-FOLDER-equal-epochs.json and peers-FOLDER-equal-time.json for each folder.
"""

import argparse
import statistics
from pathlib import Path

from benchmarks import foreign, trials
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
# Row ▶ options of train.py.
ROWS = {OURS: "", E6TAG: "--recipe e6tag", "ResNet SGD": "--recipe plain", "DeepDanbooru": DEEPDANBOORU}
FOREIGN = {"Keras ResNet-50": foreign.keras_resnet50, "torchvision ResNet-18": foreign.torchvision_resnet18}
MAX_SEEDS = {"Keras ResNet-50": 1}  # for equal epochs, of a network that takes several times as long
RENAMED = {"e6tag": OURS, "2021 recipe": E6TAG}  # row in a stored result ▶ its name today
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
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, … (default: 3)")
    rows = [*ROWS, *FOREIGN]
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows, metavar="ROW", help=f"some of: {', '.join(rows)}")


def measure(options: argparse.Namespace) -> None:
    """Train every row for the same epochs, then the others again for as many seconds as the default recipe took."""
    names = [OURS, *(name for name in options.rows if name != OURS)]
    for data in options.data:
        equal_epochs = {
            name: _row(data, name, options.epochs, min(options.seeds, MAX_SEEDS.get(name, options.seeds))) for name in names
        }
        if failures := [figures for figures in equal_epochs[OURS] if isinstance(figures, str)]:
            raise InputError(f"{OURS} failed on {data}: {failures[0]}")
        seconds = _mean(equal_epochs[OURS], "seconds")
        equal_time = {name: _in_time(data, name, row, seconds, options.seeds) for name, row in equal_epochs.items()}
        for what, rows in {"epochs": equal_epochs, "time": equal_time}.items():
            print(f"{data}: test split, equal {what}, mean of {options.seeds} seeds ± half their range")
            figures = {"epochs": options.epochs, "rows": rows}
            report(f"peers-{data.resolve().name}-equal-{what}", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each trainer."""
    return trials.table({RENAMED.get(name, name): row for name, row in figures["rows"].items()}, COLUMNS)


def _in_time(data: Path, name: str, row: list[dict | str], seconds: float, seeds: int) -> list[dict | str]:
    """Train a row again for about `seconds`; train.py trains whole epochs, and at least one."""
    if name == OURS or any(isinstance(figures, str) for figures in row):
        return row
    epochs = seconds * _mean(row, "epochs") / _mean(row, "seconds")
    return _row(data, name, epochs if name in FOREIGN else max(1, round(epochs)), seeds)


def _mean(row: list[dict | str], key: str) -> float:
    """Return the mean of a figure over the runs that did not fail."""
    return statistics.mean(figures[key] for figures in row if not isinstance(figures, str))


def _row(data: Path, name: str, epochs: float, seeds: int) -> list[dict | str]:
    """Return one trainer's figures after so many epochs, with seeds 0, 1, …"""
    if name in FOREIGN:
        return [_foreign_figures(data, name, epochs, seed) for seed in range(seeds)]
    runs = [Trial(data, name, tuple(ROWS[name].split()), int(epochs), seed) for seed in range(seeds)]
    results = trials.run_all(runs, jobs=1)
    return [
        figures
        if isinstance(figures, str)
        else {key: figures[key] for key in COLUMNS if key != "epochs"} | {"epochs": run.epochs}
        for run, figures in results.items()
    ]


def _foreign_figures(data: Path, name: str, epochs: float, seed: int) -> dict | str:
    """Return the figures of another library's network, from a file under runs/bench/ if it was trained before."""
    path = HOME / f"{data.resolve().name}-{name.replace(' ', '-')}-{epochs:.3g}-{seed}.json"
    if not path.exists():
        say(f"{name} on {data}, seed {seed}: {epochs:.3g} epochs")
        try:
            figures = foreign.train(FOREIGN[name], data, epochs, seed)
        except InputError as error:
            return str(error)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, figures)
    return read_json(path)
