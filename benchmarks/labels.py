"""Wrong training labels, before and after clean.py, and a student with and without a teacher; test labels are correct.

    python -m benchmarks labels --data data/openmoji

With each seed it makes a share of the training labels wrong, trains, cleans the labels by each rule and trains again. It
also trains a student of a smaller image size, alone and with the full-size run as its teacher. Result: labels.json.
"""

import argparse
import statistics
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import trials
from benchmarks.ablation import DEFAULT
from benchmarks.noisy_labels import noisy_folder
from benchmarks.reporting import Table, report
from benchmarks.trials import Trial
from common.errors import InputError
from dataset.records import read
from labels.label_rules import RULES

FIGURES = {"average_precision_macro": "mAP", "auc_roc_macro": "macro AUC"}
# Student's t for 95 %, by number of runs: https://www.itl.nist.gov/div898/handbook/eda/section3/eda3672.htm
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}
ORIGINAL, STUDENT, WITH_TEACHER = "original labels", "student", "student with teacher"
RENAMED = {"labels as they are": ORIGINAL, "student taught": WITH_TEACHER}  # row in a stored result ▶ its name today
BASELINES = {WITH_TEACHER: STUDENT}  # row ▶ the row it is compared with; a cleaned row: the noise it was cleaned of


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folder, epochs, seeds, shares of wrong labels and the student's size."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--student-size", type=int, default=32, help="image size of the student, in pixels (default: 32)")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 9), help="runs of each row, 1 to 8 (default: 3)")
    parser.add_argument(
        "--noise", type=float, nargs="*", default=[0.2, 0.4], help="shares of wrong labels (default: 0.2 0.4)"
    )
    parser.add_argument("--folds", type=int, default=4, help="networks that clean.py trains (default: 4)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train every row; each seed has its own noise, order and weights. Finished runs under runs/bench/ are reused."""
    rows: dict[str, list[Trial]] = defaultdict(list)  # one trial for each seed

    def add(row: str, data: Path, seed: int, name: str = DEFAULT, training_options: tuple[str, ...] = ()) -> Trial:
        rows[row].append(Trial(data, name, training_options, options.epochs, seed))
        return rows[row][-1]

    before_cleaning, small = [], ("--image-size", str(options.student_size))
    for seed in range(options.seeds):
        teacher = add(ORIGINAL, options.data, seed)
        noisy = [(share, noisy_folder(options.data, "wrong", share, seed)) for share in options.noise]
        before_cleaning += [teacher, *(add(f"noise {share:g}", data, seed) for share, data in noisy)]
        for share, data in noisy:
            for rule in RULES:
                add(f"noise {share:g} {rule}", _cleaned(data, rule), seed)
        add(STUDENT, options.data, seed, f"student {options.student_size}", small)
        with_teacher = (*small, "--teacher", str(teacher.folder))
        add(WITH_TEACHER, options.data, seed, f"student {options.student_size} with teacher", with_teacher)
    results = trials.run_all(before_cleaning, options.jobs)
    with ThreadPoolExecutor(options.jobs) as pool:
        noisy_trials = (trial for trial in before_cleaning if trial.data != options.data)
        for error in pool.map(lambda trial: _clean(trial, options), noisy_trials):
            if error:
                raise InputError(error)
    results |= trials.run_all([run for runs in rows.values() for run in runs if run not in results], options.jobs)
    print(f"{options.data}, {options.epochs} epochs, {options.seeds} seeds; ±: 95 % range of the mean over seeds")
    figures = {"rows": {row: [_figures(run, results[run], options.data) for run in runs] for row, runs in rows.items()}}
    report("labels", table(figures), figures)


def _cleaned(data: Path, rule: str) -> Path:
    """Return the folder that clean.py makes of a data folder by a rule."""
    return data.with_name(f"{data.name}-{rule}")


def _clean(trial: Trial, options: argparse.Namespace) -> str:
    """Clean a trial's data by each rule; return clean.py's last line if it failed, else an empty string."""
    for rule in RULES:
        out = _cleaned(trial.data, rule)
        folders = {"--run": trial.folder, "--data": trial.data, "--out": out}
        settings = {"--rule": rule, "--folds": options.folds, "--review": 0}
        arguments = [str(word) for pair in (folders | settings).items() for word in pair]
        if not out.exists() and (error := trials.program("clean.py", arguments, options.jobs)):
            return error
    return ""


def _figures(trial: Trial, figures: dict | str, correct: Path) -> dict[str, float]:
    """Return a trial's figures on the test split and how wrong its training labels are.

    Raises:
        InputError: the trial failed.
    """
    if isinstance(figures, str):
        raise InputError(f"{trial.folder}: {figures}")
    return {name: figures[name] for name in FIGURES} | {"wrong": _distance(correct, trial.data)}


def _distance(correct: Path, data: Path) -> float:
    """Return the sum of the squared distances of the training labels from the correct ones, for each correct label."""
    if data == correct:
        return 0.0
    distance = num_labels = 0.0
    for true, given in zip(read(correct, "train"), read(data, "train"), strict=True):
        tags = true.labels.keys() | given.labels.keys()
        distance += sum((true.labels.get(tag, 0) - given.labels.get(tag, 0)) ** 2 for tag in tags)
        num_labels += sum(true.labels.values())
    return distance / num_labels


def table(figures: dict) -> Table:
    """Return the table of a result, with the mAP that each row gains over its baseline, seed by seed."""
    rows = {RENAMED.get(name, name): runs for name, runs in figures["rows"].items()}
    cells = []
    for name in sorted(rows, key=lambda name: (name != ORIGINAL, name)):
        runs, baseline = rows[name], rows.get(BASELINES.get(name, name.rpartition(" ")[0]))
        row = [name, f"{statistics.mean(run['wrong'] for run in runs):.2f}"]
        row += [mean_and_range([run[key] for run in runs]) for key in FIGURES]
        key = "average_precision_macro"
        gains = [now[key] - before[key] for now, before in zip(runs, baseline, strict=True)] if baseline else []
        cells.append([*row, mean_and_range(gains, "+") if gains else ""])
    return Table(["", "wrong", *FIGURES.values(), "mAP gained"], cells)


def mean_and_range(values: list[float], sign: str = "") -> str:
    """Return the mean of some runs and, with several, half of its 95 % range, as text."""
    text = f"{statistics.mean(values):{sign}.3f}"
    if len(values) == 1:
        return text
    return f"{text} ±{T[len(values)] * statistics.stdev(values) / len(values) ** 0.5:.3f}"
