"""What longer training brings: figures of the test split against the seconds of the whole command.

    python -m benchmarks training_time --data data/openmoji

The default from scratch, and from ImageNet's weights, with several numbers of epochs; each run has a cycle of its own. They
run one after the other on all cores. Results: training_time-FOLDER.json, and a chart, training_time-FOLDER.svg.
"""

import argparse
import statistics
from pathlib import Path

from benchmarks import chart, trials
from benchmarks.peers import PRETRAINED_ROWS
from benchmarks.reporting import RESULTS, Table, report
from benchmarks.trials import Trial

# Name of a series ▶ options of train.py. The runs from ImageNet are shared with `peers`.
SERIES = {"default, from scratch": ""} | PRETRAINED_ROWS
COLUMNS = {name: trials.COLUMNS[name] for name in ("average_precision_macro", "auc_roc_macro")} | {"seconds": "seconds"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folder, numbers of epochs and seeds."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 4, 6, 8], help="default: 1 2 4 6 8")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind, with seeds 0, 1, … (default: 3)")


def measure(options: argparse.Namespace) -> None:
    """Train each series with each number of epochs and every seed; print a table and draw the chart."""
    runs = {
        f"{name}, {epochs} epoch{'s' if epochs > 1 else ''}": [
            Trial(options.data, name, tuple(choices.split()), epochs, seed) for seed in range(options.seeds)
        ]
        for name, choices in SERIES.items()
        for epochs in options.epochs
    }
    results = trials.run_all([run for row in runs.values() for run in row], jobs=1)
    rows = {name: [_figures(results[run]) for run in row] for name, row in runs.items()}
    figures = {"epochs": options.epochs, "rows": rows}
    name = f"training_time-{options.data.resolve().name}"
    report(name, table(figures), figures)
    path = RESULTS / f"{name}.svg"
    path.write_text(_chart(figures), encoding="utf-8")
    print(f"{path}")


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each series and number of epochs."""
    return trials.table(figures["rows"], COLUMNS)


def _figures(result: dict | str) -> dict | str:
    """Return the figures of a run that are stored: those of the columns, with the seconds of the whole command."""
    if isinstance(result, str):
        return result
    return {name: result[name] for name in COLUMNS} | {"seconds": result["command_seconds"]}


def _chart(figures: dict) -> str:
    """Return an SVG chart with a line for each series: means over the seeds, without the rows that failed."""
    panels: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for key in ("average_precision_macro", "auc_roc_macro"):
        lines = panels[COLUMNS[key]] = {name: [] for name in SERIES}
        for row, results in figures["rows"].items():
            finished = [result for result in results if not isinstance(result, str)]
            if finished:
                point = tuple(statistics.mean(result[name] for result in finished) for name in ("seconds", key))
                lines[row.rpartition(", ")[0]].append(point)
    return chart.curves("Test split, against the seconds of training", "seconds", panels)
