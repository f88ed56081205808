"""Training runs for comparison, made with the suite's own programs; a folder each under runs/bench/, which is kept."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from command import say
from dataset.records import read_json
from model.runs import read_history

HOME = Path("runs/bench")
ROOT = Path(__file__).parent.parent
# Key in the figures of a trial ▶ title of its column.
SHOWN = {
    "val_average_precision_macro": "val mAP",
    "average_precision_macro": "mAP",
    "auc_roc_macro": "macro AUC",
    "auc_roc_micro": "micro AUC",
    "expected_calibration_error": "cal. error",
    "images_per_second": "images/s",
}


@dataclass(frozen=True)
class Trial:
    """One run of train.py and eval.py.

    Attributes:
        data: the data folder.
        name: of the row it belongs to.
        options: for train.py.
        epochs, seed: likewise.
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
    """Train and evaluate what is not there yet.

    Args:
        trials: what to do.
        jobs: how many at once; they share the cores. Two runs on a core each are done sooner than one after the other on
            two, and their images a second compare as well.

    Returns:
        The figures of each on the test split, with those of `history.csv`, or the line with which it failed.
    """
    with (
        ThreadPoolExecutor(jobs) as pool,
        tqdm(total=len(trials), unit=" runs", desc="runs", disable=None, dynamic_ncols=True) as bar,
    ):

        def run(trial: Trial) -> dict | str:
            figures = _figures(trial, jobs)
            if isinstance(figures, str):
                say(f"{trial.folder} failed: {figures}")
            bar.update()
            return figures

        return dict(zip(trials, pool.map(run, trials), strict=True))


def training_options(trial: Trial) -> list[str]:
    """With which train.py trains it."""
    folders = ["--data", str(trial.data), "--run", str(trial.folder)]
    return [*folders, *trial.options, "--epochs", str(trial.epochs), "--seed", str(trial.seed)]


def _figures(trial: Trial, jobs: int) -> dict | str:
    made = trial.folder / "metrics.json"
    evaluation = [str(trial.folder), "--data", str(trial.data)]
    for script, options in (("train.py", training_options(trial)), ("eval.py", evaluation)):
        if script == "eval.py" and made.exists():
            continue
        if error := program(script, options, jobs):
            return error
    history = read_history(trial.folder)
    seconds = sum(float(row["seconds"]) for row in history)
    key = "val_average_precision_macro"  # of the weights or of their average, whichever became the run
    chosen = max(float(history[-1].get(name, 0)) for name in (key, f"averaged_{key}"))
    return read_json(made) | {
        key: chosen,
        "seconds": seconds,
        "images_per_second": float(history[-1]["images_per_second"]),
    }


def program(script: str, options: list[str], jobs: int) -> str:
    """Run one of the suite's commands on a share of the cores; what it says last if it fails, else nothing."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = os.environ | {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    command = [sys.executable, str(ROOT / script), *options]
    done = subprocess.run(command, capture_output=True, env=environment, text=True, errors="replace", check=False)
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return last.removeprefix("error: ") if done.returncode else ""


def shown(figures: dict | str) -> dict | str:
    """Of a trial's figures, those of the tables, and the seconds it trained."""
    return figures if isinstance(figures, str) else {name: figures[name] for name in (*SHOWN, "seconds")}


def rows_of(results: dict[Trial, dict | str]) -> dict[str, list[dict | str]]:
    """The results by row, in the order of the trials."""
    rows: dict[str, list[dict | str]] = {}
    for trial, figures in results.items():
        rows.setdefault(trial.name, []).append(figures)
    return rows


def cells(rows: dict[str, list[dict | str]], shown: dict[str, str] = SHOWN) -> list[list[str]]:
    """For a table: mean and half of the range of each row's figures, but the highest of images a second, which other
    programs only ever lower, the mean of seconds, and the epochs of the first. A row of which a run failed says so; the
    reason is on standard error and in the JSON."""
    table = []
    for name, results in rows.items():
        if any(isinstance(figures, str) for figures in results):
            table.append([name, "failed", *[""] * (len(shown) - 1)])
        else:
            table.append([name, *(_cell(key, [figures[key] for figures in results]) for key in shown)])
    return table


def _cell(key: str, values: list[float]) -> str:
    if key == "images_per_second":
        return f"{max(values):,.0f}"
    if key == "epochs":
        return f"{values[0]:,.3g}"
    mean, spread = sum(values) / len(values), (max(values) - min(values)) / 2
    if key == "seconds":
        return f"{mean:,.0f}"
    return f"{mean:.3f}" + (f" ±{spread:.3f}" if len(values) > 1 else "")
