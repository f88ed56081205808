"""What wrong training labels cost, what clean.py gives back, and what a teacher gives a student: on clean test labels."""

import argparse
import statistics
from pathlib import Path

from benchmarks import trials
from benchmarks.measuring import report
from benchmarks.noisy_labels import noisy_copy
from benchmarks.trials import HOME, Trial
from command import InputError, program
from dataset.records import read
from model.label_rules import RULES

FIGURES = {"average_precision_macro": "mAP", "auc_roc_macro": "macro AUC"}
# Student's t for 95 % by number of runs: https://www.itl.nist.gov/div898/handbook/eda/section3/eda3672.htm
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to train, on what, how long and how often."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--image-size", type=int, default=64, help="of all but the student (default: 64)")
    parser.add_argument("--student-size", type=int, default=32, help="default: 32")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, 9), help="runs of each, 1 to 8 (default: 3)")
    parser.add_argument(
        "--noise", type=float, nargs="*", default=[0.2, 0.4], help="shares of wrong labels (default: 0.2 0.4)"
    )
    parser.add_argument("--folds", type=int, default=4, help="of clean.py (default: 4)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train everything, with each seed its own noise, order and weights; what is finished is kept under runs/bench/."""
    HOME.mkdir(parents=True, exist_ok=True)
    large, small = (("--image-size", str(side)) for side in (options.image_size, options.student_size))

    def trial(data: Path, name: str, of_train: tuple[str, ...], seed: int) -> Trial:
        return Trial(data, name, of_train, options.epochs, seed)

    first, then = [], []
    for seed in range(options.seeds):
        teacher = trial(options.data, "labels as they are", large, seed)
        first.append(teacher)
        for share in options.noise:
            noisy = HOME / f"{options.data.resolve().name}-noise-{share:g}-seed-{seed}"
            noisy_copy(options.data, noisy, share, seed)
            first.append(trial(noisy, f"noise {share:g}", large, seed))
        taught = (*small, "--teacher", str(teacher.folder))
        then += [trial(options.data, "student", small, seed), trial(options.data, "student taught", taught, seed)]
    results = trials.run_all(first, options.jobs)
    for run in first:
        for rule in RULES if run.data != options.data else ():
            cleaned = run.data.with_name(f"{run.data.name}-{rule}")
            of_clean = ("--rule", rule, "--folds", str(options.folds), "--review", "0")
            program("clean.py", "--run", str(run.folder), "--data", str(run.data), "--out", str(cleaned), *of_clean)
            then.append(trial(cleaned, f"{run.name} {rule}", large, run.seed))
    results |= trials.run_all(then, options.jobs)
    print(f"{options.data}, {options.epochs} epochs, {options.seeds} seeds; ±: 95 % range of the mean over seeds")
    _table({run: _of(run, figures, options.data) for run, figures in results.items()})


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


def _table(results: dict[Trial, dict[str, float]]) -> None:
    """Print a row for each name, sorted, with what it gains over the name that it begins with."""
    of_name: dict[str, list[dict[str, float]]] = {}
    for run, figures in results.items():
        of_name.setdefault(run.name, []).append(figures)
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
