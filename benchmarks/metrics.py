"""All figures of eval.py with their ranges, from synthetic scores of a large test set: time and memory.

    python -m benchmarks metrics

The aim is at most five minutes and 4 GiB for 50,000 images and 10,000 tags. Result: metrics.json.
"""

import argparse
import sys
import time

import numpy as np

from benchmarks.reporting import Table, report
from common.mapped_arrays import read_rows
from evaluation.metrics import all_metrics, bootstrap, tag_vectors
from evaluation.score import quantized_variance

MAX_SECONDS, MAX_BYTES = 300, 4 * 2**30


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the size of the test set."""
    parser.add_argument("--images", type=int, default=50_000, help="images of the test set (default: 50,000)")
    parser.add_argument("--tags", type=int, default=10_000, help="number of tags (default: 10,000)")


def measure(options: argparse.Namespace) -> None:
    """Compute the figures of a run and of the tags' frequencies; the time to make the synthetic scores is not counted."""
    import resource  # not on Windows

    images, tags = options.images, options.tags
    random = np.random.default_rng(0)
    frequencies = np.minimum(0.3, 3 / np.arange(1, tags + 1)).astype(np.float32)  # some thirty tags an image
    labels, probability, variance = (np.empty((images, tags), dtype) for dtype in (bool, np.float32, np.uint8))
    fill_with_scores(labels, probability, variance, frequencies, random)
    groups = random.integers(0, max(1, images * 3 // 4), images)
    thresholds = np.full(tags, 0.3)

    laps = [("", time.monotonic(), time.process_time())]

    def lap(name: str) -> None:
        laps.append((name, time.monotonic(), time.process_time()))

    vectors = tag_vectors.learn((np.flatnonzero(row) for row in labels), tags)
    lap("tag vectors")
    weights = bootstrap.group_weights(groups, tags)
    result = all_metrics.compute(labels, probability, thresholds, 0.3, weights, variance, vectors)
    lap("figures of the run")
    constant = np.broadcast_to(frequencies, labels.shape)
    all_metrics.compute(labels, constant, thresholds, 0.3, weights[:, :1], vectors=vectors)
    lap("figures of frequencies")
    times = {name: (wall - laps[i][1], cpu - laps[i][2]) for i, (name, wall, cpu) in enumerate(laps[1:])}
    print(f"{images:,} images, {tags:,} tags, {int(labels.sum()):,} labels, {weights.shape[1] - 1} resamples")
    figures = {
        "images": images,
        "tags": tags,
        "resamples": weights.shape[1] - 1,
        "pooled_ranking": "exact" if result.exact else "histogram",
        "seconds": {name: round(wall, 1) for name, (wall, _) in times.items()},
        "cpu_seconds": {name: round(cpu, 1) for name, (_, cpu) in times.items()},
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform == "linux" else 1),
    }
    report("metrics", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each part, their sum, and the peak memory."""
    seconds, cpu_seconds, peak = figures["seconds"], figures["cpu_seconds"], figures["peak_bytes"]
    rows = [[name, f"{seconds[name]:.1f}", f"{cpu_seconds[name]:.1f}", ""] for name in seconds]
    total, total_cpu = sum(seconds.values()), sum(cpu_seconds.values())
    rows.append(["together", f"{total:.1f}", f"{total_cpu:.1f}", f"{total / MAX_SECONDS:.2f} of {MAX_SECONDS} s"])
    rows.append(["memory, GiB", f"{peak / 2**30:.2f}", "", f"{peak / MAX_BYTES:.2f} of {MAX_BYTES / 2**30:g} GiB"])
    return Table(["", "seconds", "processor seconds", "of the limit"], rows)


def fill_with_scores(
    labels: np.ndarray, probability: np.ndarray, variance: np.ndarray, frequencies: np.ndarray, random: np.random.Generator
) -> None:
    """Generate what a network would predict.

    Args:
        labels, probability, variance: bool, float32 and uint8 (images, tags), see `score.Scores`; they are overwritten.
        frequencies: share of the images with each tag, float32 (tags,).
        random: the source of the random numbers.
    """
    tags = len(frequencies)
    for row in range(len(labels)):
        [truth], [scores], [variances] = read_rows(slice(row, row + 1), labels, probability, variance)
        truth[:] = random.random(tags, np.float32) < frequencies
        logits = np.log(frequencies) + random.standard_normal(tags, np.float32) + 3 * truth
        scores[:] = 1 / (1 + np.exp(-logits))
        variances[:] = quantized_variance(scores * (1 - scores) * random.random(tags, np.float32))
