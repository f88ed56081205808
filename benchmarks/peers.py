"""The default recipe beside other trainers' on the same shards: after as many epochs, and after as much time."""

import argparse
from pathlib import Path

from benchmarks import foreign, trials
from benchmarks.measuring import report
from benchmarks.trials import HOME, Trial
from command import InputError, say
from dataset.records import read_json, write_json

OURS = "e6tag"  # not as bench.py ablation calls it: its runs share the cores, and are slower
# What train.py can follow. Adam has a constant rate in DeepDanbooru's trainer.
CONSTANT = "--first-learning-rate 1 --last-learning-rate 1 --momentum 0.9 --lowest-momentum 0.9 --clip-norm 0"
ROWS = {
    OURS: "",
    "2021 recipe": "--recipe e6tag",
    "ResNet SGD": "--recipe plain",
    "DeepDanbooru": f"--recipe plain --reduction mean --optimizer adamw --weight-decay 0 --learning-rate 0.001 {CONSTANT}",
}
FOREIGN = {"Keras ResNet-50": foreign.keras_resnet50, "torchvision ResNet-18": foreign.torchvision_resnet18}
FEWER = {"Keras ResNet-50": 1}  # seeds for equal epochs, of what takes ten times as long
SHOWN = {
    "average_precision_macro": "mAP",
    "auc_roc_macro": "macro AUC",
    "auc_roc_micro": "micro AUC",
    "epochs": "epochs",
    "seconds": "seconds",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """On what, how long and how often."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders made by download.py")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, … (default: 3)")
    rows = [*ROWS, *FOREIGN]
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows, metavar="ROW", help=f"some of: {', '.join(rows)}")


def measure(options: argparse.Namespace) -> None:
    """Train all for the same epochs, one at a time on all cores, then the others for as long as ours took."""
    names = [OURS, *(name for name in options.rows if name != OURS)]
    for data in options.data:
        equal_epochs = {
            name: _row(data, name, options.epochs, min(options.seeds, FEWER.get(name, options.seeds))) for name in names
        }
        if failures := [figures for figures in equal_epochs[OURS] if isinstance(figures, str)]:
            raise InputError(f"{OURS} failed on {data}: {failures[0]}")
        seconds = sum(figures["seconds"] for figures in equal_epochs[OURS]) / options.seeds
        equal_time = {name: _in_time(data, name, row, seconds, options.seeds) for name, row in equal_epochs.items()}
        tables = {"epochs": equal_epochs, "time": equal_time}
        for equal, rows in tables.items():
            print(f"{data}: test split, equal {equal}, mean of {options.seeds} seeds ± half their range")
            titles = ["", *SHOWN.values()]
            facts = {"epochs": options.epochs, "rows": rows}
            report(f"peers-{data.resolve().name}-equal-{equal}", titles, trials.cells(rows, SHOWN), facts)


def _in_time(data: Path, name: str, row: list[dict | str], seconds: float, seeds: int) -> list[dict | str]:
    """A row again, trained for so many seconds: whole epochs of what train.py trains, and never less than one."""
    if name == OURS or any(isinstance(figures, str) for figures in row):
        return row
    epochs = seconds * sum(figures["epochs"] for figures in row) / sum(figures["seconds"] for figures in row)
    return _row(data, name, epochs if name in FOREIGN else max(1, round(epochs)), seeds)


def _row(data: Path, name: str, epochs: float, seeds: int) -> list[dict | str]:
    """The figures of one trainer after so many epochs, with seeds 0, 1, …"""
    if name in FOREIGN:
        return [_foreign(data, name, epochs, seed) for seed in range(seeds)]
    runs = [Trial(data, name, tuple(ROWS[name].split()), epochs, seed) for seed in range(seeds)]
    results = trials.run_all(runs, jobs=1)
    return [
        figures
        if isinstance(figures, str)
        else {key: figures[key] for key in SHOWN if key != "epochs"} | {"epochs": run.epochs}
        for run, figures in results.items()
    ]


def _foreign(data: Path, name: str, epochs: float, seed: int) -> dict | str:
    """The figures of a network that is not ours; kept, as the runs are."""
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
