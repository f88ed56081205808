"""What each part of the default recipe contributes: each left out of the whole, on the same data with the same seeds.

    python -m benchmarks ablation --data data/openmoji data/openclipart data/emoji
    python -m benchmarks ablation --data data/openmoji data/openclipart data/emoji --wrong 0.4 --rows default \\
        "without noise layer" "without robust loss" lean

It trains every row with every seed on every folder and evaluates it on the test split. `--wrong` first makes a share of the
training labels wrong, `--missing` drops a share of them, anew for each seed; validation and test labels stay correct.
Results: for each folder ablation-FOLDER[-wrong-SHARE].json, and a chart of the differences, ablation[-wrong-SHARE].svg.
"""

import argparse
from pathlib import Path

from benchmarks import chart, trials
from benchmarks.noisy_labels import noisy_folder
from benchmarks.reporting import RESULTS, Table, report, stored
from benchmarks.trials import Trial
from common.errors import InputError

DEFAULT = "default"
# Row ▶ options of train.py. First a part of the whole is left out, then one is replaced or added.
ROWS = {
    DEFAULT: "",
    "without SiLU": "--activation relu",
    "without attention": "--head pool",
    "without noise layer": "--noise none",
    "without robust loss": "--loss focal",
    "without robust and focal loss": "--loss bce",
    "without orthogonal steps": "--optimizer sgd",
    "without cycle of momentum": "--momentum 0.9 --lowest-momentum 0.9",
    "without cycle": "--momentum 0.9 --lowest-momentum 0.9 --first-learning-rate 1 --last-learning-rate 1",
    "lean": "--recipe lean",
    "plain": "--recipe plain",
    "low-rank noise 8": "--noise low-rank --num-factors 8",
    "asymmetric": "--loss asymmetric",
    "label smoothing": "--label-smoothing 0.1",
    "adamw": "--optimizer adamw",
    "triangle": "--cycle triangle --warmup 0.5",
    "batch 16": "--batch-size 16",
    "batch 64": "--batch-size 64",
    "weight average": "--ema-decay 0.99",
    "no flips": "--no-flip",
    "shift and zoom": "--shift 0.08 --zoom 0.15",
    "colours": "--colour 0.15",
    "squish": "--resize squish",
    "crop": "--resize crop",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folders, epochs, seeds, rows and spoilt labels."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders made by download.py")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row, with seeds 0, 1, … (default: 3)")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), metavar="ROW", help=f"some of: {', '.join(ROWS)}")
    spoilt = parser.add_mutually_exclusive_group()
    spoilt.add_argument("--wrong", type=float, default=0.0, help="share of the training labels that are made wrong")
    spoilt.add_argument("--missing", type=float, default=0.0, help="share of the training labels that are dropped")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train every row with every seed on every folder; print a table and store the figures for each folder."""
    if unknown := set(options.rows) - set(ROWS):
        raise InputError(f"--rows: expected some of {', '.join(ROWS)}. Received: {', '.join(sorted(unknown))}")
    kind, share = ("missing", options.missing) if options.missing else ("wrong", options.wrong)
    folder_of_trial = {
        Trial(noisy_folder(data, kind, share, seed), name, tuple(ROWS[name].split()), options.epochs, seed): data
        for seed in range(options.seeds)
        for name in options.rows
        for data in options.data
    }
    results = trials.run_all(list(folder_of_trial), options.jobs)
    labels = f"{share:.0%} of the training labels {kind}, " if share else ""
    suffix = f"-{kind}-{share:g}" if share else ""
    rows_of_folder = {}
    for data in options.data:
        rows = trials.by_row({trial: figures for trial, figures in results.items() if folder_of_trial[trial] == data})
        rows_of_folder[data] = rows
        print(f"{data}: {labels}test split, {options.epochs} epochs, mean of {options.seeds} seeds ± half their range")
        to_store = {name: [trials.to_store(figures) for figures in row] for name, row in rows.items()}
        figures = {"epochs": options.epochs, kind: share, "rows": to_store}
        report(f"ablation-{data.resolve().name}{suffix}", table(figures), figures)
    if DEFAULT in options.rows:
        path = RESULTS / f"ablation{suffix}.svg"
        path.write_text(_chart(rows_of_folder, f"{labels}{options.epochs} epochs"), encoding="utf-8")
        print(f"{path}")


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each change."""
    return trials.table(figures["rows"], trials.COLUMNS)


def table_by_labels(results: dict[str, str], keys: dict[str, str]) -> Table:
    """Return some figures for several kinds of labels.

    Args:
        results: kind of labels ▶ name of a stored result. The last one has the columns of the table.
        keys: name of a figure ▶ its title.

    Returns:
        A table with a row for each figure and kind of labels, and a column for each row of the results.
    """
    rows_by_kind = {kind: stored(name)[0]["rows"] for kind, name in results.items()}
    *_, names = rows_by_kind.values()
    cells = [
        [f"{title}, {kind}", *(trials.table({name: rows[name]}, {key: ""}).rows[0][1] for name in names)]
        for key, title in keys.items()
        for kind, rows in rows_by_kind.items()
    ]
    return Table(["", *names], cells)


def _chart(rows_of_folder: dict[Path, dict[str, list[dict | str]]], conditions: str) -> str:
    """Return an SVG chart of each change's differences from the default, seed by seed, in mAP and macro AUC."""
    panels = {}
    for key in ("average_precision_macro", "auc_roc_macro"):
        panels[trials.COLUMNS[key]] = {
            data.name: {name: _differences(row, rows[DEFAULT], key) for name, row in rows.items() if name != DEFAULT}
            for data, rows in rows_of_folder.items()
        }
    names = [name for name in next(iter(rows_of_folder.values())) if name != DEFAULT]
    return chart.differences(f"Each part left out of the whole, {conditions}, test split", names, panels)


def _differences(row: list[dict | str], default: list[dict | str], key: str) -> list[float]:
    pairs = zip(row, default, strict=True)
    return [one[key] - other[key] for one, other in pairs if not isinstance(one, str) and not isinstance(other, str)]
