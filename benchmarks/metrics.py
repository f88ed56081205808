"""Every figure of eval.py, with ranges, from made-up scores of a large test set: time and memory."""

import argparse
import sys
import time

import numpy as np

from benchmarks.measuring import report
from model import figures, resampling, tag_vectors
from model.scoring import doubt_of

SECONDS, BYTES = 300, 4 * 2**30  # that it may take


def add_options(parser: argparse.ArgumentParser) -> None:
    """How large the test set is."""
    parser.add_argument("--images", type=int, default=50_000, help="default: 50,000")
    parser.add_argument("--tags", type=int, default=10_000, help="default: 10,000")


def measure(options: argparse.Namespace) -> None:
    """Compute the figures of the run and of the tags' frequencies; making up the scores is not counted."""
    import resource  # not on Windows

    images, tags = options.images, options.tags
    random = np.random.default_rng(0)
    frequencies = np.minimum(0.3, 3 / np.arange(1, tags + 1)).astype(np.float32)  # some thirty tags an image
    labels, probability = np.empty((images, tags), bool), np.empty((images, tags), np.float32)
    doubt = np.empty((images, tags), np.uint8)
    for row in range(images):
        labels[row] = random.random(tags, np.float32) < frequencies
        logits = np.log(frequencies) + random.standard_normal(tags, np.float32) + 3 * labels[row]
        probability[row] = 1 / (1 + np.exp(-logits))
        doubt[row] = doubt_of(probability[row] * (1 - probability[row]) * random.random(tags, np.float32))
    groups = random.integers(0, max(1, images * 3 // 4), images)
    thresholds = np.full(tags, 0.3)

    laps = [("", time.monotonic(), time.process_time())]

    def lap(name: str) -> None:
        laps.append((name, time.monotonic(), time.process_time()))

    vectors = tag_vectors.learn((np.flatnonzero(row) for row in labels), tags)
    lap("tag vectors")
    weights = resampling.group_weights(groups, tags)
    found = figures.compute(labels, probability, thresholds, 0.3, weights, doubt, vectors)
    lap("figures of the run")
    constant = np.broadcast_to(frequencies, labels.shape)
    figures.compute(labels, constant, thresholds, 0.3, weights[:, :1], vectors=vectors)
    lap("figures of frequencies")
    times = {name: (wall - laps[i][1], cpu - laps[i][2]) for i, (name, wall, cpu) in enumerate(laps[1:])}
    together = tuple(sum(values) for values in zip(*times.values(), strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1024 if sys.platform == "linux" else 1)
    rows = [[name, f"{wall:.1f}", f"{cpu:.1f}", ""] for name, (wall, cpu) in times.items()]
    rows.append(["together", f"{together[0]:.1f}", f"{together[1]:.1f}", f"{together[0] / SECONDS:.2f} of {SECONDS} s"])
    rows.append(["memory, GiB", f"{peak / 2**30:.2f}", "", f"{peak / BYTES:.2f} of {BYTES / 2**30:g} GiB"])
    print(f"{images:,} images, {tags:,} tags, {int(labels.sum()):,} labels, {weights.shape[1] - 1} resamples")
    values = {
        "images": images,
        "tags": tags,
        "resamples": weights.shape[1] - 1,
        "pooled_ranking": "exact" if found.exact else "histogram",
        "seconds": {name: round(wall, 1) for name, (wall, _) in times.items()},
        "cpu_seconds": {name: round(cpu, 1) for name, (_, cpu) in times.items()},
        "peak_bytes": peak,
    }
    report("metrics", ["", "seconds", "CPU", "of the limit"], rows, values)
