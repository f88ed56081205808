"""A vector for each tag, learned from which tags are given together: near where tags mean alike.

Positive pointwise mutual information of the training tags' co-occurrence, brought down by a truncated singular value
decomposition (Levy & Goldberg, Neural Word Embedding as Implicit Matrix Factorization, 2014), by random projection (Halko et
al., arXiv 0909.4061): what is needed of 10,000 tags takes seconds.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from command import InputError

DIMENSIONS = 64
EXTRA = 16  # more directions than are kept, and rounds of refining: accuracy of the decomposition
ROUNDS = 4


def learn(tags_by_image: Iterable[np.ndarray], num_tags: int) -> np.ndarray:
    """Learn the vectors.

    Args:
        tags_by_image: the indices of each training image's tags.
        num_tags: size of the vocabulary.

    Returns:
        float32 (tags, dimensions) of length 1; 0 for a tag that is never given beside another.
    """
    together = np.zeros((num_tags, num_tags), np.float32)  # becomes, row by row, the information
    for tags in tags_by_image:
        together[np.ix_(tags, tags)] += 1
    np.fill_diagonal(together, 0)
    share = together.sum(axis=1)
    total = max(share.sum(), 1.0)
    for row, alone in zip(together, share, strict=True):
        met = row > 0
        row[met] = np.maximum(np.log(row[met] * total / (alone * share[met])), 0)
    # Singular vectors of a symmetric matrix, from its product with a few random directions.
    directions = np.random.default_rng(0).standard_normal((num_tags, min(num_tags, DIMENSIONS + EXTRA)), np.float32)
    for _ in range(ROUNDS):
        directions, _ = np.linalg.qr(together @ directions)
    _, values, right = np.linalg.svd(directions.T @ together, full_matrices=False)
    vectors = right[:DIMENSIONS].T * np.sqrt(values[:DIMENSIONS])
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-6)


def min_max_cosine(labels: np.ndarray, given: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Of each true tag the cosine of the nearest given tag, and of these the smallest.

    Args:
        labels, given: bool (images, tags).
        vectors: (tags, dimensions), of length 1.

    Returns:
        float64 (images,), 1 where every true tag is given, NaN where an image has no tag.
    """
    values = np.full(len(labels), np.nan)
    for image, (truth, said) in enumerate(zip(labels, given, strict=True)):
        if truth.any():
            missed = vectors[truth & ~said]
            values[image] = (missed @ vectors[said].T).max(axis=1).min() if len(missed) and said.any() else not len(missed)
    return values


def load(path: Path, num_tags: int) -> np.ndarray | None:
    """The vectors that a run keeps, or None where it has none.

    Raises:
        InputError: the file is damaged or of other tags.
    """
    if not path.exists():
        return None
    try:
        vectors = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is damaged: delete it, and eval.py makes it again ({error})") from None
    if vectors.ndim != 2 or len(vectors) != num_tags:
        raise InputError(f"{path} is of other tags: delete it, and eval.py makes it again. Received: {vectors.shape}")
    return vectors


def save(path: Path, vectors: np.ndarray) -> None:
    """Write the vectors; the file appears under its name only when complete."""
    partial = path.with_suffix(".partial.npy")
    np.save(partial, vectors, allow_pickle=False)
    partial.replace(path)
