"""Looking for the nearest of many vectors: all of them compared, and the graph that search.py uses where they are many."""

import argparse
import time

import numpy as np

from benchmarks.measuring import given, report
from model import neighbours
from model.joint import unit
from model.predict import FRAMES

ASKED = 12 * FRAMES  # rows that search.py asks for to show twelve pictures
SIZES = [1000, 10_000, 20_000, 100_000]
TOPICS = 2000  # around which vectors lie, as pictures do
SPREAD = 0.6  # of a vector about its topic, as a share of the topic's length


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--vectors", type=int, nargs="+", default=SIZES, help="default: to 100,000")
    parser.add_argument("--dimensions", type=int, default=256, help="default: 256")
    parser.add_argument("--queries", type=int, default=200, help="default: 200")


def measure(options: argparse.Namespace) -> None:
    """Take the processor time of both. Half of the queries lie near a vector, as pictures do, half between topics, as
    sentences do."""
    rows, figures = [], {}
    for number in options.vectors:
        random = np.random.default_rng(0)
        topics = random.standard_normal((TOPICS, options.dimensions), np.float32)
        around = SPREAD * random.standard_normal((number, options.dimensions), np.float32)
        vectors = unit(topics[random.integers(TOPICS, size=number)] + around)
        between = topics[random.integers(TOPICS, size=(2, options.queries))].sum(axis=0)
        queries = unit(vectors[random.integers(number, size=options.queries)] * len(topics[0]) ** 0.5 + between)
        queries[::2] = unit(vectors[random.integers(number, size=len(queries[::2]))] + around[: len(queries[::2])] * 0.01)

        exact = neighbours.Exact(vectors)
        started = time.process_time()
        graph = neighbours.Graph.of(vectors)
        built = time.process_time() - started
        truth, exact_seconds = _ask(exact, queries)
        found, graph_seconds = _ask(graph, queries)
        recall = float(np.mean([np.isin(one, other).mean() for one, other in zip(truth, found, strict=True)]))
        size = sum(array.nbytes for array in graph.arrays().values())
        figures[number] = {
            "exact_seconds": exact_seconds,
            "graph_seconds": graph_seconds,
            "recall": recall,
            "build_seconds": built,
            "bytes": size,
        }
        times = (f"{1000 * seconds:.2f}" for seconds in (exact_seconds, graph_seconds))
        rows.append([f"{number:,} vectors", *times, f"{recall:.3f}", f"{built:.1f}", f"{size / 1e6:.0f}"])
    titles = [f"nearest {ASKED}", "exact ms", "graph ms", "recall", "build s", "graph MB"]
    report("search", titles, rows, {"options": given(options), "vectors": figures})


def _ask(way: neighbours.Neighbours, queries: np.ndarray) -> tuple[list[np.ndarray], float]:
    """The nearest rows to each query, and the median processor seconds of one."""
    found, seconds = [], []
    for query in queries:
        started = time.process_time()
        rows, _ = way.near(query, ASKED)
        seconds.append(time.process_time() - started)
        found.append(rows)
    return found, float(np.median(seconds))
