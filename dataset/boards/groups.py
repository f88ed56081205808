"""Groups of pictures that belong together: variants of one picture, and pages of one story."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Protocol

from common.errors import say
from dataset.near_duplicates import connected_components

MAX_PAGES = 64  # larger pools are collections on a subject, and not stories


class Linked(Protocol):
    """What has a name, and names its parent and its pools; see `collection.Annotation`."""

    @property
    def key(self) -> str: ...
    @property
    def parent(self) -> str: ...
    @property
    def pools(self) -> tuple[str, ...]: ...


def group_names(posts: Iterable[Linked]) -> dict[str, str]:
    """Return post ▶ name of its group, the first by name of the posts that are linked with it.

    A post is linked with its parent, whether that is in the collection or not, and with other pages of a pool.
    """
    parents, pages = {}, defaultdict(list)
    for post in posts:
        if post.key:
            parents[post.key] = post.parent
            for pool in post.pools:
                pages[pool].append(post.key)
    root_of = {key: _root(key, parents) for key in parents}
    stories = [sorted({root_of[key] for key in keys}) for keys in pages.values() if len(keys) <= MAX_PAGES]
    if large := len(pages) - len(stories):
        say(f"{large:,} pools have more than {MAX_PAGES} pictures: collections, whose pictures may be in different splits")
    pairs = [(story[0], other) for story in stories for other in story[1:]]
    components = connected_components(dict.fromkeys(root_of.values()), pairs)
    first_of = {root: min(members) for members in components for root in members}
    return {key: first_of[root] for key, root in root_of.items()}


def _root(key: str, parents: Mapping[str, str]) -> str:
    """Return the first of a chain of parents; of a circular one, the first by name."""
    path = [key]
    while parent := parents.get(path[-1], ""):
        if parent in path:
            return min(path[path.index(parent) :])
        path.append(parent)
    return path[-1]
