"""Nearest-neighbour search: exact for few vectors, by a graph (HNSW, the library usearch) for many."""

from typing import Protocol

import numpy as np

MAX_EXACT_VECTORS = 20_000  # `python -m benchmarks search` shows from which number on the graph is faster
EXPANSION_ADD, EXPANSION_SEARCH = 128, 512  # candidates that the graph considers: more give a better recall and take longer


class Neighbours(Protocol):
    """Unit vectors that can be searched."""

    def nearest(self, vector: np.ndarray, max_results: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of the nearest vectors and their cosines to `vector` (dimensions,), the nearest first."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays from which `load` makes the same object."""
        ...


class Exact:
    """Compares a query with all vectors.

    Args:
        vectors: unit vectors, float32 (rows, dimensions).
    """

    def __init__(self, vectors: np.ndarray):
        self.vectors = vectors

    def nearest(self, vector: np.ndarray, max_results: int) -> tuple[np.ndarray, np.ndarray]:
        cosines = self.vectors @ vector
        number = min(max_results, len(cosines))
        rows = np.argpartition(-cosines, number - 1)[:number] if number else np.zeros(0, int)
        rows = rows[np.argsort(-cosines[rows], kind="stable")]
        return rows, cosines[rows]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"vectors": self.vectors}


class Graph:
    """Follows a graph of neighbours (Malkov & Yashunin, arXiv 1603.09320). Vectors are stored in 16 bits.

    Args:
        index: a `usearch.index.Index` of inner products whose keys are rows.
    """

    def __init__(self, index):
        self.index = index
        index.expansion_search = EXPANSION_SEARCH

    @classmethod
    def build(cls, vectors: np.ndarray) -> "Graph":
        """Build the graph of vectors (rows, dimensions), which takes minutes for a million."""
        from usearch.index import Index

        index = Index(ndim=vectors.shape[1], metric="ip", dtype="f16", expansion_add=EXPANSION_ADD)
        index.add(np.arange(len(vectors)), vectors)
        return cls(index)

    def nearest(self, vector: np.ndarray, max_results: int) -> tuple[np.ndarray, np.ndarray]:
        matches = self.index.search(vector, max_results)
        return matches.keys.astype(np.int64), 1 - matches.distances

    def arrays(self) -> dict[str, np.ndarray]:
        return {"graph": np.frombuffer(self.index.save(), np.uint8)}


def build(vectors: np.ndarray) -> Neighbours:
    """Return the faster search for this number of vectors (rows, dimensions)."""
    return Exact(vectors) if len(vectors) <= MAX_EXACT_VECTORS else Graph.build(vectors)


def load(arrays: dict[str, np.ndarray]) -> Neighbours:
    """Return the object whose `arrays` these are."""
    if "vectors" in arrays:
        return Exact(arrays["vectors"])
    from usearch.index import Index

    return Graph(Index.restore(arrays["graph"].tobytes()))
