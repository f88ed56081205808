"""The nearest of many vectors: an exact comparison with all of them, and the graph that search.py uses for many vectors.

    KERAS_BACKEND=jax python -m benchmarks search

Result: search.json.
"""

import argparse
import time

import numpy as np

from benchmarks.reporting import Table, as_json, report
from inference.frames import FRAMES
from retrieval import neighbours
from retrieval.joint_space import l2_normalize

NUM_NEAREST = 12 * FRAMES  # vectors that search.py asks for, to show twelve pictures
SIZES = [1000, 10_000, 20_000, 100_000]
TOPICS = 2000  # centres around which the vectors lie, as those of pictures do
SPREAD = 0.6  # distance of a vector from its topic, as a share of the topic's length


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the numbers of vectors, dimensions and queries."""
    parser.add_argument("--vectors", type=int, nargs="+", default=SIZES, help="default: 1,000 to 100,000")
    parser.add_argument("--dimensions", type=int, default=256, help="length of a vector (default: 256)")
    parser.add_argument("--queries", type=int, default=200, help="number of queries (default: 200)")


def measure(options: argparse.Namespace) -> None:
    """Measure the processor time of both. Half of the queries lie near a vector, as pictures do, and half between topics, as
    sentences do."""
    by_size = {}
    for number in options.vectors:
        random = np.random.default_rng(0)
        topics = random.standard_normal((TOPICS, options.dimensions), np.float32)
        around = SPREAD * random.standard_normal((number, options.dimensions), np.float32)
        vectors = l2_normalize(topics[random.integers(TOPICS, size=number)] + around)
        between = topics[random.integers(TOPICS, size=(2, options.queries))].sum(axis=0)
        queries = l2_normalize(vectors[random.integers(number, size=options.queries)] * len(topics[0]) ** 0.5 + between)
        queries[::2] = l2_normalize(
            vectors[random.integers(number, size=len(queries[::2]))] + around[: len(queries[::2])] * 0.01
        )

        exact = neighbours.Exact(vectors)
        started = time.process_time()
        graph = neighbours.Graph.build(vectors)
        built = time.process_time() - started
        truth, exact_seconds = _ask(exact, queries)
        found, graph_seconds = _ask(graph, queries)
        recall = float(np.mean([np.isin(one, other).mean() for one, other in zip(truth, found, strict=True)]))
        size = sum(array.nbytes for array in graph.arrays().values())
        by_size[number] = {
            "exact_seconds": exact_seconds,
            "graph_seconds": graph_seconds,
            "recall": recall,
            "build_seconds": built,
            "bytes": size,
        }
    figures = {"options": as_json(options), "vectors": by_size}
    report("search", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each number of vectors."""
    rows = []
    for number, values in figures["vectors"].items():
        times = [f"{1000 * values[key]:.2f}" for key in ("exact_seconds", "graph_seconds")]
        graph = [f"{values['recall']:.3f}", f"{values['build_seconds']:.1f}", f"{values['bytes'] / 1e6:.0f}"]
        rows.append([f"{int(number):,} vectors", *times, *graph])
    titles = [f"nearest {NUM_NEAREST}", "exact, ms", "graph, ms", "recall of the graph", "building it, s", "its size, MB"]
    return Table(titles, rows)


def _ask(way: neighbours.Neighbours, queries: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Return the nearest rows to each query, and the median processor seconds of a query."""
    found, seconds = [], []
    for query in queries:
        started = time.process_time()
        rows, _ = way.nearest(query, NUM_NEAREST)
        seconds.append(time.process_time() - started)
        found.append(rows)
    return found, float(np.median(seconds))
