"""The nearest of many vectors: exactly where they are few, by a graph of neighbours (HNSW, usearch) where they are many."""

from typing import Protocol

import numpy as np

EXACT_UP_TO = 20_000  # vectors: `bench.py search` shows from where on the graph is faster
EXPANSION_ADD, EXPANSION_SEARCH = 128, 512  # vectors looked at: recall against time


class Neighbours(Protocol):
    """Vectors of length 1 among which the nearest are looked for."""

    def near(self, vector: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows and the cosines of the nearest, nearest first; at most so many."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """What `opened` needs."""
        ...


class Exact:
    """All are compared.

    Args:
        vectors: float32 (rows, dimensions), of length 1.
    """

    def __init__(self, vectors: np.ndarray):
        self.vectors = vectors

    def near(self, vector: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        cosines = self.vectors @ vector
        most = min(most, len(cosines))
        rows = np.argpartition(-cosines, most - 1)[:most] if most else np.zeros(0, int)
        rows = rows[np.argsort(-cosines[rows], kind="stable")]
        return rows, cosines[rows]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"vectors": self.vectors}


class Graph:
    """A graph of near ones is followed; see Malkov & Yashunin, arXiv 1603.09320. It keeps vectors in 16 bits.

    Args:
        index: a `usearch.index.Index` of inner products, whose keys are rows.
    """

    def __init__(self, index):
        self.index = index
        index.expansion_search = EXPANSION_SEARCH

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Graph":
        """The graph of vectors (rows, dimensions): minutes for a million."""
        from usearch.index import Index

        index = Index(ndim=vectors.shape[1], metric="ip", dtype="f16", expansion_add=EXPANSION_ADD)
        index.add(np.arange(len(vectors)), vectors)
        return cls(index)

    def near(self, vector: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
        found = self.index.search(vector, most)
        return found.keys.astype(np.int64), 1 - found.distances

    def arrays(self) -> dict[str, np.ndarray]:
        return {"graph": np.frombuffer(self.index.save(), np.uint8)}


def of(vectors: np.ndarray) -> Neighbours:
    """The faster way to look among vectors (rows, dimensions)."""
    return Exact(vectors) if len(vectors) <= EXACT_UP_TO else Graph.of(vectors)


def opened(arrays: dict[str, np.ndarray]) -> Neighbours:
    """What `arrays` was taken of."""
    if "vectors" in arrays:
        return Exact(arrays["vectors"])
    from usearch.index import Index

    return Graph(Index.restore(arrays["graph"].tobytes()))
