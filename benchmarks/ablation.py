"""What each part of the default recipe contributes: one change at a time, on the same data with the same seeds.

    python -m benchmarks ablation --data data/openmoji data/openclipart
    python -m benchmarks ablation --data data/openmoji data/openclipart --noise 0.4 \\
        --rows default "diagonal noise" "low-rank noise 8" focal "robust focal"

It trains every row with every seed on every folder and evaluates it on the test split. `--noise` first makes a share of the
training labels wrong, anew for each seed; validation and test labels stay correct. Results: for each folder
ablation-FOLDER[-noise-SHARE].json, and a chart of the differences, ablation[-noise-SHARE].svg.
"""

import argparse
from pathlib import Path

from benchmarks import chart, trials
from benchmarks.noisy_labels import noisy_folder
from benchmarks.reporting import RESULTS, Table, report, stored
from benchmarks.trials import Trial
from common.errors import InputError

DEFAULT = "default"
# Row ▶ options of train.py.
ROWS = {
    DEFAULT: "",
    "silu": "--activation silu",
    "global average pooling": "--head pool",
    "diagonal noise": "--noise diagonal",
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
    "weight average": "--ema-decay 0.99",
    "no flips": "--no-flip",
    "shift and zoom": "--shift 0.08 --zoom 0.15",
    "colours": "--colour 0.15",
    "all augmentation": "--shift 0.08 --zoom 0.15 --colour 0.15 --rotation 5",
    "squish": "--resize squish",
    "crop": "--resize crop",
}
# Row in a stored result ▶ its name today.
RENAMED = {
    "pooling alone": "global average pooling",
    "average": "weight average",
    "1000 noise samples": "1000 noise samples (removed)",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folders, epochs, seeds, rows and label noise."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders made by download.py")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, … (default: 3)")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW", help=f"some of: {', '.join(ROWS)}")
    parser.add_argument("--noise", type=float, default=0.0, help="share of the training labels that are made wrong")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train every row with every seed on every folder; print a table and store the figures for each folder."""
    if unknown := set(options.rows) - set(ROWS):
        raise InputError(f"--rows: expected some of {', '.join(ROWS)}. Received: {', '.join(sorted(unknown))}")
    folder_of_trial = {
        Trial(noisy_folder(data, options.noise, seed), name, tuple(ROWS[name].split()), options.epochs, seed): data
        for seed in range(options.seeds)
        for name in options.rows
        for data in options.data
    }
    results = trials.run_all(list(folder_of_trial), options.jobs)
    wrong_labels = f"{options.noise:.0%} of the training labels wrong, " if options.noise else ""
    suffix = f"-noise-{options.noise:g}" if options.noise else ""
    rows_of_folder = {}
    for data in options.data:
        rows = trials.by_row({trial: figures for trial, figures in results.items() if folder_of_trial[trial] == data})
        rows_of_folder[data] = rows
        print(f"{data}: {wrong_labels}test split, {options.epochs} epochs, mean of {options.seeds} seeds ± half their range")
        to_store = {name: [trials.to_store(figures) for figures in row] for name, row in rows.items()}
        figures = {"epochs": options.epochs, "noise": options.noise, "rows": to_store}
        report(f"ablation-{data.resolve().name}{suffix}", table(figures), figures)
    if DEFAULT in options.rows:
        path = RESULTS / f"ablation{suffix}.svg"
        path.write_text(_chart(rows_of_folder, f"{wrong_labels}{options.epochs} epochs"), encoding="utf-8")
        print(f"{path}")


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each change."""
    return trials.table({RENAMED.get(name, name): row for name, row in figures["rows"].items()}, trials.COLUMNS)


def table_by_noise(folder: str) -> Table:
    """Return mAP and macro AUC of one folder for each share of wrong labels, from the three stored results."""
    results = [(0, f"ablation-{folder}")] + [(share, f"ablation-{folder}-noise-{share / 100:g}") for share in (20, 40)]
    rows_by_share = {share: stored(name)[0]["rows"] for share, name in results}
    cells = []
    for name in rows_by_share[40]:
        cells.append([RENAMED.get(name, name)])
        for key in ("average_precision_macro", "auc_roc_macro"):
            for rows in rows_by_share.values():
                cells[-1] += trials.table({name: rows[name]}, {key: ""}).rows[0][1:]
    titles = [f"{title}, {share} % wrong" for title in ("mAP", "AUC") for share in rows_by_share]
    return Table(["", *titles], cells)


def _chart(rows_of_folder: dict[Path, dict[str, list[dict | str]]], conditions: str) -> str:
    """Return an SVG chart of each change's differences from the default, seed by seed, in mAP and macro AUC."""
    panels = {}
    for key in ("average_precision_macro", "auc_roc_macro"):
        panels[trials.COLUMNS[key]] = {
            data.name: {name: _differences(row, rows[DEFAULT], key) for name, row in rows.items() if name != DEFAULT}
            for data, rows in rows_of_folder.items()
        }
    names = [name for name in next(iter(rows_of_folder.values())) if name != DEFAULT]
    return chart.differences(f"One change at a time, {conditions}, test split", names, panels)


def _differences(row: list[dict | str], default: list[dict | str], key: str) -> list[float]:
    pairs = zip(row, default, strict=True)
    return [one[key] - other[key] for one, other in pairs if not isinstance(one, str) and not isinstance(other, str)]
