"""What wrong training labels cost, what clean.py gives back, and what a teacher gives a student: on clean test labels."""

import argparse
import statistics
from pathlib import Path

from benchmarks.measuring import report
from benchmarks.noisy_labels import noisy_copy
from command import program
from dataset.records import read, read_json
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


def measure(options: argparse.Namespace) -> None:
    """Train everything, with each seed its own noise, order and weights; what is finished is kept under runs/bench/."""
    results: dict[str, list[dict]] = {}  # row of the table ▶ figures of each seed
    for seed in range(options.seeds):
        home = Path("runs") / "bench" / f"{options.data.resolve().name}-labels-{options.epochs}-{options.image_size}-{seed}"
        home.mkdir(parents=True, exist_ok=True)
        for title, figures in _of_seed(options, home, seed):
            results.setdefault(title, []).append(figures)
    rows = []
    for title, of_seeds in results.items():
        before = results[_compared_with(title)]
        cells = [_mean_and_range([each[name] for each in of_seeds]) for name in FIGURES]
        pairs = zip(of_seeds, before, strict=True)
        changes = [now["average_precision_macro"] - then["average_precision_macro"] for now, then in pairs]
        wrong = statistics.mean(each["wrong"] for each in of_seeds)
        rows.append([title, f"{wrong:.2f}", *cells, "" if before is of_seeds else _mean_and_range(changes, "+")])
    print(f"{options.data}, {options.epochs} epochs, {options.seeds} seeds; ±: 95 % range of the mean over seeds")
    report("labels", ["training labels", "wrong", *FIGURES.values(), "mAP gained"], rows, results)


def _of_seed(options: argparse.Namespace, home: Path, seed: int):
    """Yield a row's title and its figures, for each row of the table."""
    common = ["--epochs", str(options.epochs), "--seed", str(seed)]
    large = [*common, "--image-size", str(options.image_size)]
    yield "as they are", _figures(options.data, options.data, home / "run-0", large)
    for share in options.noise:
        noisy, run = home / f"data-{share}", home / f"run-{share}"
        noisy_copy(options.data, noisy, share, seed)
        yield f"{share:.0%} noise", _figures(options.data, noisy, run, large)
        for rule in RULES:
            cleaned, how = home / f"data-{share}-{rule}", ["--rule", rule, "--folds", str(options.folds)]
            program("clean.py", "--run", str(run), "--data", str(noisy), "--out", str(cleaned), *how)
            yield f"{share:.0%} noise, {rule}", _figures(options.data, cleaned, home / f"run-{share}-{rule}", large)
    small = [*common, "--image-size", str(options.student_size)]
    yield "student", _figures(options.data, options.data, home / "student", small)
    taught = [*small, "--teacher", str(home / "run-0")]
    yield "student, taught", _figures(options.data, options.data, home / "student-taught", taught)


def _figures(truth: Path, data: Path, folder: Path, options: list[str]) -> dict:
    """Train and evaluate a run: its figures on the test split, and how wrong its training labels are."""
    program("train.py", "--data", str(data), "--run", str(folder), *options)
    if not (folder / "metrics.json").exists():
        program("eval.py", str(folder), "--data", str(truth))
    values = read_json(folder / "metrics.json")
    return {name: values[name] for name in FIGURES} | {"wrong": _wrong(truth, data)}


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


def _compared_with(title: str) -> str:
    """The row that a row's gain is over: itself without what comes after the comma."""
    return title.split(", ")[0]


def _mean_and_range(values: list[float], sign: str = "") -> str:
    text = f"{statistics.mean(values):{sign}.3f}"
    if len(values) == 1:
        return text
    return f"{text} ±{T[len(values)] * statistics.stdev(values) / len(values) ** 0.5:.3f}"
