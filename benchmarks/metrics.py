"""All figures of eval.py with their ranges, from synthetic scores of a large test set: time and memory.

    python -m benchmarks metrics

The aim is at most five minutes and 4 GiB for 50,000 images and 10,000 tags. Result: metrics.json.
"""

import argparse
import sys
import time

import numpy as np

from benchmarks.reporting import Table, report
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
    labels, probability, variance = _synthetic_scores(images, frequencies, random)
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


def _synthetic_scores(images: int, frequencies: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return labels, bool, probabilities, float32, and quantized predictive variances, uint8, each (images, tags)."""
    tags = len(frequencies)
    labels, probability = np.empty((images, tags), bool), np.empty((images, tags), np.float32)
    variance = np.empty((images, tags), np.uint8)
    for row in range(images):
        labels[row] = random.random(tags, np.float32) < frequencies
        logits = np.log(frequencies) + random.standard_normal(tags, np.float32) + 3 * labels[row]
        probability[row] = 1 / (1 + np.exp(-logits))
        variance[row] = quantized_variance(probability[row] * (1 - probability[row]) * random.random(tags, np.float32))
    return labels, probability, variance
