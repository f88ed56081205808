"""Recipes trained and evaluated as a user would, on the same data, with what each is worth on the test split."""

import argparse
import subprocess
import sys
from pathlib import Path

from command import InputError, say

SHOWN = {
    "average_precision_macro": "mAP",
    "auc_roc_macro": "macro AUC",
    "average_precision_micro": "micro AP",
    "auc_roc_micro": "micro AUC",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """What to train, on what, how long and how often."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--epochs", type=int, default=4, help="default: 4")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds 0, 1, … (default: 1)")
    parser.add_argument("--recipes", nargs="+", default=["default", "plain"], help="default: default plain")


def measure(options: argparse.Namespace) -> None:
    """Compare the recipes; finished runs are kept under runs/bench/ and not trained again."""
    compare_recipes(options.data, options.recipes, options.epochs, options.seeds)


def compare_recipes(data: Path, recipes: list[str], epochs: int, seeds: int) -> None:
    """Train and evaluate each recipe with each seed, as a user would, and print mean and spread."""
    from dataset.records import read_json
    from model.runs import read_history

    figures = {recipe: [] for recipe in recipes}
    for seed in range(seeds):
        for recipe in recipes:
            folder = Path("runs") / "bench" / f"{data.resolve().name}-{recipe}-{epochs}-{seed}"
            options = ["--data", str(data), "--run", str(folder), "--recipe", recipe]
            _program("train.py", *options, "--epochs", str(epochs), "--seed", str(seed))
            _program("eval.py", str(folder), "--data", str(data))
            trained = sum(float(row["seconds"]) for row in read_history(folder))
            figures[recipe].append(read_json(folder / "metrics.json") | {"seconds": trained})
    baseline = figures[recipes[0]][0]["tag_frequencies"]
    print(f"test split of {data}, {epochs} epochs, seeds: {seeds}")
    print("".join([f"{'':<16}", *(f"{title:>16}" for title in SHOWN.values()), f"{'seconds':>10}"]))
    for recipe, runs in figures.items():
        seconds = sum(values["seconds"] for values in runs) / len(runs)
        print("".join([f"{recipe:<16}", *(_mean_and_range([r[key] for r in runs]) for key in SHOWN), f"{seconds:>10.0f}"]))
    print("".join([f"{'tag frequencies':<16}", *(_mean_and_range([baseline[key]]) for key in SHOWN)]))


def _mean_and_range(values: list[float]) -> str:
    mean, spread = sum(values) / len(values), (max(values) - min(values)) / 2
    return f"{f'{mean:.3f}' + (f' ±{spread:.3f}' if len(values) > 1 else ''):>16}"


def _program(script: str, *options: str) -> None:
    """Run one of the suite's commands; its progress is shown, its results are not."""
    say(f"$ python {script} {' '.join(options)}")
    path = Path(__file__).parent.parent / script
    if subprocess.run([sys.executable, str(path), *options], stdout=subprocess.DEVNULL, check=False).returncode:
        raise InputError(f"{script} failed, for the reason above")
