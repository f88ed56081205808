"""What more pictures are worth: samples of a board by each rule, of several sizes, at equal training time.

    python -m benchmarks sampling --data data/emoji data/openclipart --positives 8 32

The training split of a folder stands for the board. It is sampled by each rule of `download.py --sampling`, by `cover` with
pictures at random up to the number that the published rule takes (`--posts`), and not at all. Every run has about as many
steps as the one with all pictures, and the same validation and test splits. Result: sampling-FOLDER.json.
"""

import argparse
import csv
import statistics
from pathlib import Path

import numpy as np

from benchmarks import trials
from benchmarks.ablation import DEFAULT
from benchmarks.reporting import Table, as_json, report
from benchmarks.trials import HOME, Trial
from dataset import records
from dataset.boards.catalogue import Annotations
from dataset.build.sampling import priorities, sample
from dataset.relabel import data_fingerprint, relabel

ALL = "all pictures"
RARE = 32  # tags with fewer training pictures on the board
COLUMNS = {
    "average_precision_macro": "mAP",
    "auc_roc_macro": "macro AUC",
    "rare": f"mAP, tags under {RARE}",
    "frequent": "mAP, other tags",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folders, numbers of positives, epochs and seeds."""
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders made by download.py")
    parser.add_argument("--positives", type=int, nargs="+", default=[8, 32], help="pictures for each tag (default: 8 32)")
    parser.add_argument("--epochs", type=int, default=4, help="with all pictures; samples have as many steps (default: 4)")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each sample, with seeds 0, 1, … (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Sample each folder in each way, train on the samples, and compare the networks on the test split."""
    for data in options.data:
        chosen_by_row = samples(data, options.positives)
        epochs = {row: max(1, round(options.epochs * len(chosen) / chosen.sum())) for row, chosen in chosen_by_row.items()}
        runs = {
            row: [Trial(sampled_folder(data, row, chosen), DEFAULT, (), epochs[row], seed) for seed in range(options.seeds)]
            for row, chosen in chosen_by_row.items()
        }
        results = trials.run_all([run for row in runs.values() for run in row], options.jobs)
        figures = {
            "options": as_json(options),
            "pictures": {row: int(chosen.sum()) for row, chosen in chosen_by_row.items()},
            "epochs": epochs,
            "rows": {row: [_figures(results[run], run, data) for run in of_row] for row, of_row in runs.items()},
        }
        print(f"{data}, test split, {options.seeds} seeds")
        report(f"sampling-{data.resolve().name}", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each sample."""
    inner = trials.table(figures["rows"], COLUMNS)
    sizes = {row: [f"{figures['pictures'][row]:,}", str(figures["epochs"][row])] for row in figures["rows"]}
    rows = [[row, *sizes[row], *cells] for row, *cells in inner.rows]
    return Table(["", "pictures", "epochs", *COLUMNS.values()], rows)


def samples(data: Path, numbers: list[int]) -> dict[str, np.ndarray]:
    """Return the samples: row of the table ▶ which training pictures belong to it, bool (pictures,).

    Args:
        data: folder made by download.py.
        numbers: numbers of pictures for each tag.
    """
    pictures = [(record.id, [str(tag) for tag in record.tags]) for record in records.read(data, "train")]
    annotations = Annotations.from_tags(tags for _, tags in pictures)
    priority = priorities((name for name, _ in pictures), seed=0, purpose="order")
    found = {ALL: np.ones(len(pictures), bool)}
    for positives in numbers:
        cover, published = (sample(annotations, priority, positives, rule) for rule in ("cover", "e6tag"))
        filled = sample(annotations, priority, positives, "cover", posts=int(published.sum()))
        rules = {"cover": cover, "e6tag": published, "cover, filled": filled}
        found |= {f"{positives} for each tag, {rule}": chosen for rule, chosen in rules.items()}
    return found


def sampled_folder(data: Path, row: str, chosen: np.ndarray) -> Path:
    """Return a copy of a data folder under runs/bench/ whose training split is a sample, or the folder if it is the whole.

    Args:
        data: folder made by download.py.
        row: name of the sample, which becomes part of the folder's name.
        chosen: which training pictures belong to it, bool (pictures,).
    """
    if chosen.all():
        return data
    HOME.mkdir(parents=True, exist_ok=True)
    out = HOME / f"{data.resolve().name}-{row.replace(',', '').replace(' ', '-')}"
    labels = [dict.fromkeys(map(int, record.tags), 1.0) for record in records.read(data, "train")]
    relabel(data, out, labels, {"from": data_fingerprint(data), "sample": row}, copies=chosen.astype(int).tolist())
    return out


def _figures(result: dict | str, run: Trial, data: Path) -> dict | str:
    """Return the figures of a run that are stored, and the mean average precision of rare tags and of the others.

    Args:
        result: what `trials.run_all` returns for the run.
        run: the run, whose evaluation has written a table of tags.
        data: the board, whose numbers of pictures tell which tags are rare.
    """
    stored = trials.to_store(result)
    if isinstance(stored, str):
        return stored
    counts = {tag.name: tag.count for tag in records.read_tags(data / "tags.csv")}
    found: dict[str, list[float]] = {"rare": [], "frequent": []}
    with (run.folder / "metrics_by_tag.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["average_precision"]:
                found["rare" if counts[row["name"]] < RARE else "frequent"].append(float(row["average_precision"]))
    return stored | {kind: statistics.mean(values) for kind, values in found.items()}
