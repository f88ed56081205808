"""Ratings: a group of tags of which exactly one holds for each picture.

A data folder has them as tags of the category `rating` if its posts have at least two different ones. The network learns
each as a tag; what people see are their shares of the group's sum, which add up to 1.
"""

from collections.abc import Sequence

import numpy as np

from dataset.records import RATING, Tag

# Danbooru's names, whose rating:s is sensitive; what other boards call safe is general there.
DANBOORU_RATINGS = {
    "rating:general": "rating:g",
    "rating:safe": "rating:g",
    "rating:sensitive": "rating:s",
    "rating:questionable": "rating:q",
    "rating:explicit": "rating:e",
}
SMALLEST_SUM = 1e-30  # so that the shares are finite where all probabilities round to 0


def rating_mask(tags: Sequence[Tag]) -> np.ndarray:
    """Return which tags are ratings, 1 or 0: float32 (tags,)."""
    return np.array([tag.category == RATING for tag in tags], np.float32)


def normalise(probability, mask: np.ndarray):
    """Divide the probabilities of the ratings by their sum; those of other tags stay as they are.

    Args:
        probability: array of NumPy or tensor of Keras, (batch, tags).
        mask: from `rating_mask`, (tags,).
    """
    total = probability @ mask[:, np.newaxis] + SMALLEST_SUM  # (batch, 1)
    return probability / (total * mask + (1 - mask))
