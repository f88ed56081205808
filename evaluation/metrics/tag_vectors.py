"""A vector for each tag, learned from which tags occur together: tags of similar meaning get similar vectors.

The positive pointwise mutual information of the training tags' co-occurrence is reduced by a truncated singular value
decomposition (Levy & Goldberg, Neural Word Embedding as Implicit Matrix Factorization, 2014), which random projection
computes (Halko et al., arXiv 0909.4061): 10,000 tags take seconds.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import atomic_write

DIMENSIONS = 64
OVERSAMPLING = 16  # directions beyond those that are returned: makes the decomposition more accurate, as iterations do
ITERATIONS = 4


def learn(tags_by_image: Iterable[np.ndarray], num_tags: int) -> np.ndarray:
    """Learn the vectors.

    Args:
        tags_by_image: the indices of each training image's tags.
        num_tags: size of the vocabulary.

    Returns:
        float32 (tags, dimensions) of length 1; 0 for a tag that never occurs with another one.
    """
    information = np.zeros((num_tags, num_tags), np.float32)  # counts at first; each row is then replaced
    for tags in tags_by_image:
        information[np.ix_(tags, tags)] += 1
    np.fill_diagonal(information, 0)
    counts = information.sum(axis=1)
    total = max(counts.sum(), 1.0)
    for row, count in zip(information, counts, strict=True):
        together = row > 0
        row[together] = np.maximum(np.log(row[together] * total / (count * counts[together])), 0)
    # Singular vectors of a symmetric matrix, from its product with a few random directions.
    directions = np.random.default_rng(0).standard_normal((num_tags, min(num_tags, DIMENSIONS + OVERSAMPLING)), np.float32)
    for _ in range(ITERATIONS):
        directions, _ = np.linalg.qr(information @ directions)  # (tags, directions)
    _, values, right = np.linalg.svd(directions.T @ information, full_matrices=False)
    vectors = right[:DIMENSIONS].T * np.sqrt(values[:DIMENSIONS])  # (tags, dimensions)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 1e-6)


def min_max_cosine(labels: np.ndarray, predicted: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return, for each image, the smallest over its true tags of the cosine of the nearest predicted tag.

    Args:
        labels, predicted: bool (images, tags).
        vectors: (tags, dimensions), of length 1.

    Returns:
        float64 (images,), 1 where every true tag is predicted, NaN where an image has no tag.
    """
    values = np.full(len(labels), np.nan)
    for image, (truth, chosen) in enumerate(zip(labels, predicted, strict=True)):
        if truth.any():
            missed = vectors[truth & ~chosen]
            if len(missed) and chosen.any():
                values[image] = (missed @ vectors[chosen].T).max(axis=1).min()
            else:
                values[image] = not len(missed)
    return values


def load(path: Path, num_tags: int) -> np.ndarray | None:
    """Return the vectors of a file, or None where it does not exist.

    Raises:
        InputError: the file is damaged or belongs to other tags.
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
    """Write the vectors to a file."""
    with atomic_write(path, "wb") as file:
        np.save(file, vectors, allow_pickle=False)
