"""Training runs for comparisons, made by train.py and eval.py themselves; each is kept in a folder under runs/bench/."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reporting import Table
from common.errors import say
from common.files import read_json, write_json
from common.progress import progress
from model.config import Config
from model.run_folder import read_history

HOME = Path("runs/bench")
ROOT = Path(__file__).parent.parent
# Name of a figure of a trial ▶ title of its column.
COLUMNS = {
    "val_average_precision_macro": "val mAP",
    "average_precision_macro": "mAP",
    "auc_roc_macro": "macro AUC",
    "auc_roc_micro": "micro AUC",
    "expected_calibration_error": "cal. error",
}


@dataclass(frozen=True)
class Trial:
    """One run of train.py and eval.py.

    Attributes:
        data: data folder that it is trained and tested on.
        name: the table row that it belongs to.
        options: options of train.py.
        epochs: passes over the training split.
        seed: seed of weights, order and augmentation.
    """

    data: Path
    name: str
    options: tuple[str, ...]
    epochs: int
    seed: int

    @property
    def folder(self) -> Path:
        """The run folder."""
        return HOME / f"{self.data.resolve().name}-{self.name.replace(' ', '-')}-{self.epochs}-{self.seed}"


def run_all(trials: list[Trial], jobs: int) -> dict[Trial, dict | str]:
    """Train and evaluate the trials whose folders are not finished yet.

    Args:
        trials: what to train.
        jobs: how many at once; they share the cores. Two runs with one core each finish sooner than one after the other with
            both cores.

    Returns:
        For each trial its figures on the test split, from `history.csv`, and `command_seconds`, the seconds of the whole
        command (of its last part, if it was interrupted); or the line with which it failed.
    """
    with (
        ThreadPoolExecutor(jobs) as pool,
        progress(total=len(trials), unit="runs", description="runs") as bar,
    ):

        def run(trial: Trial) -> dict | str:
            figures = _figures(trial, jobs)
            if isinstance(figures, str):
                say(f"{trial.folder} failed: {figures}")
            bar.update()
            return figures

        return dict(zip(trials, pool.map(run, trials), strict=True))


def training_options(trial: Trial) -> list[str]:
    """Return the options of train.py for a trial."""
    folders = ["--data", str(trial.data), "--run", str(trial.folder)]
    return [*folders, "--no-onnx", *trial.options, "--epochs", str(trial.epochs), "--seed", str(trial.seed)]


def _figures(trial: Trial, jobs: int) -> dict | str:
    metrics, command = trial.folder / "metrics.json", trial.folder / "command.json"
    defaults = Config().as_dict()
    if not command.exists():
        started = time.monotonic()
        if error := program("train.py", training_options(trial), jobs):
            return error
        write_json(command, {"command_seconds": time.monotonic() - started, "defaults": defaults})
    facts = read_json(command)
    if facts.get("defaults") != defaults:
        return f"{trial.folder} was trained when other options were the default: delete it"
    if not metrics.exists() and (error := program("eval.py", [str(trial.folder), "--data", str(trial.data)], jobs)):
        return error
    history = read_history(trial.folder)
    seconds = sum(float(row["seconds"]) for row in history)
    key = "val_average_precision_macro"  # of the weights or of their average, whichever became model.keras
    best = max(float(history[-1].get(name, 0)) for name in (key, f"averaged_{key}"))
    return read_json(metrics) | {
        "command_seconds": facts["command_seconds"],
        key: best,
        "seconds": seconds,
    }


def program(script: str, options: list[str], jobs: int) -> str:
    """Run one of the suite's commands on its share of the cores; return its last line if it failed, else an empty string."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = os.environ | {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    command = [sys.executable, str(ROOT / script), *options]
    done = subprocess.run(command, capture_output=True, env=environment, text=True, errors="replace", check=False)
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return last.removeprefix("error: ") if done.returncode else ""


def to_store(figures: dict | str) -> dict | str:
    """Return the figures of a trial that a result file holds: those of `COLUMNS`, and the seconds of training."""
    return figures if isinstance(figures, str) else {name: figures[name] for name in (*COLUMNS, "seconds")}


def by_row(results: dict[Trial, dict | str]) -> dict[str, list[dict | str]]:
    """Group results by table row, in the order of the trials."""
    rows: dict[str, list[dict | str]] = {}
    for trial, figures in results.items():
        rows.setdefault(trial.name, []).append(figures)
    return rows


def table(rows: dict[str, list[dict | str]], columns: dict[str, str]) -> Table:
    """Return a table with one row for each name.

    A cell is the mean over the runs and half of their range; of seconds only the mean, of epochs the first run's. A row with
    a failed run says "failed": the reason is on standard error and in the JSON.
    """
    cells = []
    for name, results in rows.items():
        finished = [figures for figures in results if not isinstance(figures, str)]
        if len(finished) < len(results):
            cells.append([name, "failed", *[""] * (len(columns) - 1)])
        else:
            cells.append([name, *(_cell(key, [figures[key] for figures in finished]) for key in columns)])
    return Table(["", *columns.values()], cells)


def _cell(key: str, values: list[float]) -> str:
    if key == "epochs":
        return f"{values[0]:,.3g}"
    mean, spread = sum(values) / len(values), (max(values) - min(values)) / 2
    if key == "seconds":
        return f"{mean:,.0f}"
    return f"{mean:.3f}" + (f" ±{spread:.3f}" if len(values) > 1 else "")
