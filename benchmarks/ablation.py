"""What each choice of the default recipe is worth: one change at a time, on the same data, with the same seeds."""

import argparse
from pathlib import Path

from benchmarks import chart, trials
from benchmarks.measuring import report
from benchmarks.noisy_labels import noisy
from benchmarks.trials import Trial
from command import InputError

FIRST = "default"
# What is changed ▶ options of train.py.
ROWS = {
    FIRST: "",
    "silu": "--activation silu",
    "pooling alone": "--head pool",
    "diagonal noise": "--noise diagonal",
    "1000 noise samples": "--noise diagonal --noise-samples 1000",
    "low-rank noise 2": "--noise low-rank --num-factors 2",
    "low-rank noise 8": "--noise low-rank --num-factors 8",
    "low-rank noise 32": "--noise low-rank --num-factors 32",
    "focal": "--loss focal",
    "robust focal": "--loss robust",
    "asymmetric": "--loss asymmetric",
    "label smoothing": "--label-smoothing 0.1",
    "adamw": "--optimizer adamw",
    "sgd": "--optimizer sgd",
    "sgd, momentum 0.9": "--optimizer sgd --momentum 0.9 --lowest-momentum 0.9",
    "constant momentum": "--momentum 0.9 --lowest-momentum 0.9",
    "triangle": "--cycle triangle --warmup 0.5",
    "batch 16": "--batch-size 16",
    "batch 64": "--batch-size 64",
    "batch 128": "--batch-size 128",
    "average": "--average 0.99",
    "no flips": "--no-flip",
    "shift and zoom": "--shift 0.08 --zoom 0.15",
    "colours": "--colour 0.15",
    "all augmentation": "--shift 0.08 --zoom 0.15 --colour 0.15 --rotation 5",
    "squish": "--resize squish",
    "crop": "--resize crop",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """On what, how long, how often, and what."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders made by download.py")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, … (default: 3)")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW", help=f"some of: {', '.join(ROWS)}")
    parser.add_argument("--noise", type=float, default=0.0, help="share of the training labels that are made wrong")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train every row with every seed on every folder; a table for each folder, and all figures as JSON."""
    if unknown := set(options.rows) - set(ROWS):
        raise InputError(f"--rows: expected some of {', '.join(ROWS)}. Received: {', '.join(sorted(unknown))}")
    runs = {
        Trial(noisy(data, options.noise, seed), name, tuple(ROWS[name].split()), options.epochs, seed): data
        for seed in range(options.seeds)
        for name in options.rows
        for data in options.data
    }
    results = trials.run_all(list(runs), options.jobs)
    found = {}
    wrong = f"{options.noise:.0%} of the training labels wrong, " if options.noise else ""
    suffix = f"-noise-{options.noise:g}" if options.noise else ""
    for data in options.data:
        found[data] = trials.rows_of({trial: figures for trial, figures in results.items() if runs[trial] == data})
        print(f"{data}: {wrong}test split, {options.epochs} epochs, mean of {options.seeds} seeds ± half their range")
        kept = {name: [trials.shown(figures) for figures in row] for name, row in found[data].items()}
        facts = {"epochs": options.epochs, "noise": options.noise, "rows": kept}
        report(f"ablation-{data.resolve().name}{suffix}", ["", *trials.SHOWN.values()], trials.cells(found[data]), facts)
    if FIRST in options.rows:
        path = Path("bench") / f"ablation{suffix}.svg"
        path.write_text(_chart(found, f"{wrong}{options.epochs} epochs"), encoding="utf-8")
        print(f"{path}")


def _chart(found: dict[Path, dict[str, list[dict | str]]], how: str) -> str:
    """What each change is worth, seed by seed, in the figures that count."""
    panels = {}
    for key in ("average_precision_macro", "auc_roc_macro"):
        panels[trials.SHOWN[key]] = {
            data.name: {name: _differences(row, rows[FIRST], key) for name, row in rows.items() if name != FIRST}
            for data, rows in found.items()
        }
    names = [name for name in next(iter(found.values())) if name != FIRST]
    return chart.differences(f"One change at a time, {how}, test split", names, panels)


def _differences(row: list[dict | str], default: list[dict | str], key: str) -> list[float]:
    pairs = zip(row, default, strict=True)
    return [one[key] - other[key] for one, other in pairs if not isinstance(one, str) and not isinstance(other, str)]
