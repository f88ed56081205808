"""A board's posts as columns: what choosing among millions of them needs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dataset.boards import Post
from dataset.sampling import Annotations


@dataclass(frozen=True)
class Catalogue:
    """Every post that may be chosen, in an order that does not change.

    Attributes:
        ids: their ids, text or numbers.
        groups: the names of their groups, text or numbers.
        annotations: their tags.
        post: position ▶ the post.
        artists: number of each post's artist, negative where it has none, (posts,); None where the board names none.
        months: when each was posted, as 202012, (posts,); None where the board does not say.
    """

    ids: Sequence
    groups: Sequence
    annotations: Annotations
    post: Callable[[int], Post]
    artists: np.ndarray | None = None
    months: np.ndarray | None = None


def catalogue_of(posts: Iterable[Post]) -> Catalogue:
    """The catalogue of a board whose posts all fit into memory."""
    posts = list(posts)
    annotations = Annotations.of(dict.fromkeys(post.tags) for post in posts)
    return Catalogue([post.id for post in posts], [post.group for post in posts], annotations, posts.__getitem__)
