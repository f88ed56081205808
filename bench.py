"""Measured, side by side.

    python bench.py recipes --data data/openmoji --epochs 6

trains the default recipe and a plain ResNet of the same size on the same data, and prints what each is worth on the test
split.

    python bench.py pointing --run runs/openmoji                          which heat maps point at the right place
    python bench.py serve --run runs/openmoji/export/model.onnx PICTURES  64 clients beside batches without a server
    python bench.py fuzz --run runs/openmoji/export/model.onnx PICTURES   10,000 requests that are wrong
"""

import importlib
import subprocess
import sys
from pathlib import Path

from command import InputError, Parser, import_quietly, run, say

SUBJECTS = ("pointing", "serve", "fuzz")  # a module each in benchmarks/

SHOWN = {
    "average_precision_macro": "mAP",
    "auc_roc_macro": "macro AUC",
    "average_precision_micro": "micro AP",
    "auc_roc_micro": "micro AUC",
}


def main() -> None:
    """Run the subject asked for."""
    parser = Parser("Measure, side by side.")
    if sys.argv[1:2] and sys.argv[1] in SUBJECTS:
        parser.add_argument("subject")
        import_quietly("keras")
        subject = importlib.import_module(f"benchmarks.{sys.argv[1]}")
        subject.add_options(parser)
        subject.measure(parser.parse_args())
        return
    parser.add_argument("subject", choices=("recipes", *SUBJECTS), help="what to measure")
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--epochs", type=int, default=6, help="default: 6")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds 0, 1, … (default: 1)")
    parser.add_argument("--recipes", nargs="+", default=["default", "plain"], help="default: default plain")
    given = parser.parse_args()
    compare_recipes(given.data, given.recipes, given.epochs, given.seeds)


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
    path = Path(__file__).parent / script
    if subprocess.run([sys.executable, str(path), *options], stdout=subprocess.DEVNULL, check=False).returncode:
        raise InputError(f"{script} failed, for the reason above")


if __name__ == "__main__":
    run(main, when_interrupted="Finished runs are kept under runs/bench/: the same command goes on.")
