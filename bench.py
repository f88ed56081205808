"""Measured, side by side.

    python bench.py recipes --data data/openmoji --epochs 6

trains the default recipe and a plain ResNet of the same size on the same data, and prints what each is worth on the test
split.

    python bench.py metrics

computes every figure of eval.py, with ranges, from made-up scores of 50,000 images and 10,000 tags, and keeps time and
memory in bench/metrics.json.
"""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from command import InputError, Parser, run, say

SHOWN = {
    "average_precision_macro": "mAP",
    "auc_roc_macro": "macro AUC",
    "average_precision_micro": "micro AP",
    "auc_roc_micro": "micro AUC",
}


def main() -> None:
    """Run the subject asked for."""
    parser = Parser("Measure, side by side.")
    parser.add_argument("subject", choices=("recipes", "metrics"), help="what to measure")
    parser.add_argument("--data", type=Path, help="recipes: folder made by download.py")
    parser.add_argument("--epochs", type=int, default=6, help="default: 6")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds 0, 1, … (default: 1)")
    parser.add_argument("--recipes", nargs="+", default=["default", "plain"], help="default: default plain")
    parser.add_argument("--images", type=int, default=50_000, help="metrics: default 50,000")
    parser.add_argument("--tags", type=int, default=10_000, help="metrics: default 10,000")
    given = parser.parse_args()
    if given.subject == "metrics":
        measure_metrics(given.images, given.tags)
        return
    if not given.data:
        raise InputError("recipes are compared on data: give --data")
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


def measure_metrics(images: int, tags: int) -> None:
    """Time every figure on made-up scores, and keep the times and the most memory that the process had."""
    import resource

    import numpy as np

    from dataset.records import write_json
    from model import figures, resampling, tag_vectors

    random = np.random.default_rng(0)
    seconds, cpu_seconds, started = {}, {}, (time.monotonic(), time.process_time())

    def lap(name: str) -> None:
        nonlocal started
        now = time.monotonic(), time.process_time()
        seconds[name], cpu_seconds[name] = (round(end - start, 1) for start, end in zip(started, now, strict=True))
        started = now

    made_up = "making up scores (not counted)"
    frequencies = np.minimum(0.3, 3 / np.arange(1, tags + 1)).astype(np.float32)  # some thirty tags an image
    labels, probability = np.empty((images, tags), bool), np.empty((images, tags), np.float32)
    variance = np.empty((images, tags), np.float16)
    vectors = tag_vectors.learn((np.flatnonzero(random.random(tags) < frequencies) for _ in range(images)), tags)
    lap("tag vectors")
    for row in range(images):
        labels[row] = random.random(tags, np.float32) < frequencies
        logits = np.log(frequencies) + random.standard_normal(tags, np.float32) + 3 * labels[row]
        probability[row] = 1 / (1 + np.exp(-logits))
        variance[row] = probability[row] * (1 - probability[row]) * random.random(tags, np.float32)
    lap(made_up)
    weights = resampling.group_weights(random.integers(0, max(1, images * 3 // 4), images), tags)
    found = figures.compute(labels, probability, np.full(tags, 0.3), 0.3, weights, variance, vectors)
    lap("figures of the run")
    constant = np.broadcast_to(frequencies, labels.shape)
    figures.compute(labels, constant, np.full(tags, 0.3), 0.3, weights[:, :1], vectors=vectors)
    lap("figures of frequencies")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform == "linux" else 1)
    print(f"{images:,} images, {tags:,} tags, {int(labels.sum()):,} labels, {weights.shape[1] - 1} resamples")
    print(f"{'':<32}{'seconds':>9}{'CPU':>9}")
    for name in seconds:
        print(f"{name:<32}{seconds[name]:>9.1f}{cpu_seconds[name]:>9.1f}")
    counted, cpu_counted = (sum(times.values()) - times[made_up] for times in (seconds, cpu_seconds))
    print(f"{'together':<32}{counted:>9.1f}{cpu_counted:>9.1f}  of 300 s")
    print(f"{'memory, GB':<32}{peak / 1e9:>9.2f}{'':>9}  of 4; {labels.nbytes * 7 / 1e9:.2f} of them the scores")
    result = {
        "images": images,
        "tags": tags,
        "resamples": weights.shape[1] - 1,
        "pooled_ranking": "exact" if found.exact else "histogram",
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "seconds_together": round(counted, 1),
        "cpu_seconds_together": round(cpu_counted, 1),
        "peak_bytes": peak,
        "machine": machine(),
    }
    Path("bench").mkdir(exist_ok=True)
    write_json(Path("bench") / "metrics.json", result)


def machine() -> dict:
    """What the figures were measured on."""
    import numpy

    model = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
    }


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
