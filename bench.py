"""Measured, side by side.

    python bench.py recipes --data data/openmoji --epochs 6

trains the default recipe and a plain ResNet of the same size on the same data, and prints what each is worth on the test
split.

    python bench.py select

makes an export of six million posts in data/.bench (2 GB, some 20 minutes the first time), chooses 1,024 tags of 512 posts
from it, and prints how long that takes and how much memory, beside Python's own csv module on the same file, and how many
posts the two samplings need. The figures go to bench/select.json as well.
"""

import csv
import datetime
import gzip
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
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
    parser.add_argument("subject", choices=("recipes", "select"), help="what to measure")
    parser.add_argument("--data", type=Path, help="recipes: folder made by download.py")
    parser.add_argument("--epochs", type=int, default=6, help="default: 6")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds 0, 1, … (default: 1)")
    parser.add_argument("--recipes", nargs="+", default=["default", "plain"], help="default: default plain")
    parser.add_argument("--posts", type=int, default=6_000_000, help="select: of the export (default: %(default)s)")
    given = parser.parse_args()
    if given.subject == "select":
        measure_selection(given.posts)
    elif given.data is None:
        raise InputError("bench.py recipes needs --data DIR, a folder made by download.py")
    else:
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


def measure_selection(num_posts: int) -> None:
    """Read an export and choose from it, each in a process of its own, and print time, peak memory and posts needed."""
    from dataset.boards.make_large_export import write_export
    from dataset.records import write_json

    paths = write_export(Path("data") / ".bench" / f"export-{num_posts}", num_posts)
    measured = {
        name: _alone(function, paths)
        for name, function in {"csv.DictReader": _read_with_csv, "read": _read, "select": _select}.items()
    }
    baseline = measured["csv.DictReader"]["seconds"]
    print(f"{num_posts:,} posts, {paths['posts'].stat().st_size / 1e9:.2f} GB gzipped")
    print(f"{'':<16}{'seconds':>10}{'CPU s':>10}{'times':>8}{'peak MB':>10}")
    for name, figures in measured.items():
        ratio = baseline / figures["seconds"]
        print(
            f"{name:<16}{figures['seconds']:>10.1f}{figures['cpu_seconds']:>10.1f}{ratio:>8.1f}{figures['peak_mb']:>10,.0f}"
        )
    print(f"{'sampling':<16}{'posts':>10}{'share':>8}{'artists':>10}{'largest':>10}{'month':>8}")
    samplings = measured["select"]["samplings"]
    for name, figures in samplings.items():
        share = figures["posts"] / samplings["e6tag"]["posts"]
        print(
            f"{name:<16}{figures['posts']:>10,}{share:>8.2f}{figures['artists']:>10,}"
            f"{figures['largest_artist']:>10,}{figures['largest_month']:>8,}"
        )
    Path("bench").mkdir(exist_ok=True)
    write_json(Path("bench") / "select.json", {"machine": _machine(), "posts": num_posts} | measured)


def _alone(function, *arguments) -> dict:
    """Call a function in a fresh process; what it returns, with its time and peak memory, imports included."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measured, function, *arguments).result()


def _measured(function, *arguments) -> dict:
    started = time.perf_counter()
    found = function(*arguments) or {}
    figures = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time(), "peak_mb": float("nan")}
    return figures | found  # what it measured itself counts


def _peak_mb() -> float:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _read_with_csv(paths: dict[str, Path]) -> dict:
    csv.field_size_limit(2**31 - 1)
    tags = 0
    with gzip.open(paths["posts"], "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            tags += len(row["tag_string"].split())
    return {"tags": tags, "peak_mb": _peak_mb()}


def _board(paths: dict[str, Path]):
    """The board e621 with an export that is there already."""
    from dataset.boards.e621 import SITE_URL, Access, E621Board
    from dataset.boards.sieve import Filters

    board = E621Board(Access(SITE_URL, "bench", None, Path()), Filters())
    board.read_export(paths)
    return board


def _read(paths: dict[str, Path]) -> dict:
    return {"posts": len(_board(paths).catalogue().ids), "peak_mb": _peak_mb()}


def _select(paths: dict[str, Path]) -> dict:
    from dataset.selection import Options, select

    options = Options(
        board="e621", images=None, csv=None, tags=1024, positives=512, min_positives=1, size=320, seed=0, val=5.0, test=5.0,
        categories=["general"],
    )  # fmt: skip
    started = time.perf_counter()
    board = _board(paths)
    selection = select(board, options)
    figures = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time(), "peak_mb": _peak_mb()}
    catalogue = board.catalogue()
    samplings = {"cover": _about(selection, catalogue)}
    samplings["e6tag"] = _about(select(board, replace(options, sampling="e6tag")), catalogue)
    board.catalogue = lambda: replace(catalogue, artists=None, months=None)
    samplings["cover, no spread"] = _about(select(board, options), catalogue)
    return figures | {"samplings": samplings}


def _about(selection, catalogue) -> dict:
    """How many posts a selection has, and how they are spread."""
    import numpy as np

    place = {post_id: number for number, post_id in enumerate(catalogue.ids)}
    posts = [place[int(entry.post.id)] for entries in selection.entries.values() for entry in entries]
    artists = Counter(catalogue.artists[posts].tolist())
    months = np.unique(catalogue.months[posts], return_counts=True)[1]
    return {
        "posts": len(posts),
        "artists": len(artists),
        "largest_artist": max(number for artist, number in artists.items() if artist >= 0),
        "largest_month": int(months.max()),
    }


def _machine() -> dict:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else None
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": memory and round(memory, 1),
        "python": platform.python_version(),
        "date": datetime.date.today().isoformat(),
    }


if __name__ == "__main__":
    run(main, when_interrupted="Finished runs are kept under runs/bench/: the same command goes on.")
