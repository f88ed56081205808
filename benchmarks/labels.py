"""What wrong training labels cost, what clean.py gives back, and what a teacher gives a student: on clean test labels."""

import argparse
import statistics
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import trials
from benchmarks.ablation import FIRST
from benchmarks.measuring import report
from benchmarks.noisy_labels import noisy
from benchmarks.trials import Trial
from command import InputError
from dataset.records import read
from model.label_rules import RULES

FIGURES = {"average_precision_macro": "mAP", "auc_roc_macro": "macro AUC"}
# Student's t for 95 % by number of runs: https://www.itl.nist.gov/div898/handbook/eda/section3/eda3672.htm
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to train, on what, how long and how often."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--student-size", type=int, default=32, help="default: 32")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 9), help="runs of each, 1 to 8 (default: 3)")
    parser.add_argument(
        "--noise", type=float, nargs="*", default=[0.2, 0.4], help="shares of wrong labels (default: 0.2 0.4)"
    )
    parser.add_argument("--folds", type=int, default=4, help="of clean.py (default: 4)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train everything, with each seed its own noise, order and weights; what is finished is kept under runs/bench/."""
    rows: dict[str, list[Trial]] = defaultdict(list)  # a run a seed

    def add(row: str, data: Path, seed: int, name: str = FIRST, of_train: tuple[str, ...] = ()) -> Trial:
        rows[row].append(Trial(data, name, of_train, options.epochs, seed))
        return rows[row][-1]

    before, small = [], ("--image-size", str(options.student_size))
    for seed in range(options.seeds):
        teacher = add("labels as they are", options.data, seed)
        noise = [(share, noisy(options.data, share, seed)) for share in options.noise]
        before += [teacher, *(add(f"noise {share:g}", data, seed) for share, data in noise)]
        for share, data in noise:
            for rule in RULES:
                add(f"noise {share:g} {rule}", _cleaned(data, rule), seed)
        add("student", options.data, seed, f"student {options.student_size}", small)
        taught = (*small, "--teacher", str(teacher.folder))
        add("student taught", options.data, seed, f"student {options.student_size} taught", taught)
    results = trials.run_all(before, options.jobs)
    with ThreadPoolExecutor(options.jobs) as pool:
        for error in pool.map(lambda run: _clean(run, options), (run for run in before if run.data != options.data)):
            if error:
                raise InputError(error)
    results |= trials.run_all([run for runs in rows.values() for run in runs if run not in results], options.jobs)
    print(f"{options.data}, {options.epochs} epochs, {options.seeds} seeds; ±: 95 % range of the mean over seeds")
    _table({row: [_of(run, results[run], options.data) for run in runs] for row, runs in rows.items()})


def _cleaned(data: Path, rule: str) -> Path:
    """The folder that clean.py makes of another."""
    return data.with_name(f"{data.name}-{rule}")


def _clean(run: Trial, options: argparse.Namespace) -> str:
    """Clean a run's data by each rule; what clean.py says last where it fails."""
    for rule in RULES:
        out = _cleaned(run.data, rule)
        what = {"--run": run.folder, "--data": run.data, "--out": out}
        how = {"--rule": rule, "--folds": options.folds, "--review": 0}
        words = [str(word) for pair in (what | how).items() for word in pair]
        if not out.exists() and (error := trials.program("clean.py", words, options.jobs)):
            return error
    return ""


def _of(run: Trial, figures: dict | str, truth: Path) -> dict[str, float]:
    """A run's figures, and how wrong its training labels are."""
    if isinstance(figures, str):
        raise InputError(f"{run.folder}: {figures}")
    return {name: figures[name] for name in FIGURES} | {"wrong": _wrong(truth, run.data)}


def _wrong(truth: Path, data: Path) -> float:
    """The training labels' squared distances from the true ones, added up, for each true label."""
    if data == truth:
        return 0.0
    distance = labels = 0.0
    for true, given in zip(read(truth, "train"), read(data, "train"), strict=True):
        tags = true.labels.keys() | given.labels.keys()
        distance += sum((true.labels.get(tag, 0) - given.labels.get(tag, 0)) ** 2 for tag in tags)
        labels += sum(true.labels.values())
    return distance / labels


def _table(of_name: dict[str, list[dict[str, float]]]) -> None:
    """Print a row for each name, sorted, with what it gains over the name that it begins with."""
    rows = []
    for name in sorted(of_name):
        found, before = of_name[name], of_name.get(name.rpartition(" ")[0])
        cells = [_mean_and_interval([figures[key] for figures in found]) for key in FIGURES]
        gained = ""
        if before:
            key = "average_precision_macro"
            gained = _mean_and_interval([now[key] - then[key] for now, then in zip(found, before, strict=True)], "+")
        rows.append([name, f"{statistics.mean(figures['wrong'] for figures in found):.2f}", *cells, gained])
    report("labels", ["", "wrong", *FIGURES.values(), "mAP gained"], rows, {"rows": of_name})


def _mean_and_interval(values: list[float], sign: str = "") -> str:
    text = f"{statistics.mean(values):{sign}.3f}"
    if len(values) == 1:
        return text
    return f"{text} ±{T[len(values)] * statistics.stdev(values) / len(values) ** 0.5:.3f}"
