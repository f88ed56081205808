"""Near-duplicate pictures: download.py puts them into one split, eval.py counts those that remain in different splits.

A thumbnail has 8 x 8 pixels. Two pictures are near-duplicates if their thumbnails, with the mean of each channel subtracted,
correlate almost perfectly and their colours are similar. Rescaled, re-encoded and lightly cropped copies are, and so are
drawings that differ in a detail. Nearly blank pictures have no near-duplicates.
"""

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
from PIL import Image

T = TypeVar("T")

SIDE_PIXELS = 8
MIN_CORRELATION = 0.998
MAX_COLOUR_DIFFERENCE = 12.0  # mean absolute difference over pixels and channels, of 255
MIN_DEVIATION = 3.0  # standard deviation within channels, of 255; below it, a picture is nearly blank
BLOCK_PICTURES = 1024


def thumbnail(jpeg: bytes) -> bytes:
    """Return the thumbnail of a JPEG: 8 x 8 RGB pixels, one byte for each channel."""
    # Decoded at full scale: at reduced JPEG scales, the rounding at the edges depends on the size.
    with Image.open(io.BytesIO(jpeg)) as image:
        return image_thumbnail(image.convert("RGB"))


def image_thumbnail(image: Image.Image) -> bytes:
    """Return the thumbnail of an RGB picture; see `thumbnail`."""
    return image.resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BOX).tobytes()


def near_duplicate_pairs(thumbnails: Sequence[bytes], min_correlation: float = MIN_CORRELATION) -> list[tuple[int, int]]:
    """Return pairs of near-duplicates, the highest correlation first; each pair begins with the lower position.

    Args:
        thumbnails: one for each picture; see `thumbnail`.
        min_correlation: lowest correlation of the thumbnails of a pair.
    """
    pixels = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), SIDE_PIXELS**2, 3)  # (pictures, 64, 3)
    centred = pixels - pixels.mean(axis=1, keepdims=True, dtype=np.float32)
    vectors = centred.reshape(len(pixels), 3 * SIDE_PIXELS**2)  # (pictures, 192)
    lengths = np.linalg.norm(vectors, axis=1)
    candidates = np.flatnonzero(lengths > MIN_DEVIATION * vectors.shape[1] ** 0.5)
    vectors = vectors[candidates] / lengths[candidates, None]  # (candidates, 192)
    # The distance of two unit vectors with this correlation bounds their distance on every axis. On the axis along which
    # the pictures vary most, each is compared only with those that are near enough.
    reach = (2 - 2 * min_correlation) ** 0.5 + 1e-4
    position = vectors @ np.linalg.eigh(vectors.T @ vectors)[1][:, -1]
    order = np.argsort(position, kind="stable")
    vectors, position, candidates = vectors[order], position[order], candidates[order]
    pairs = []
    for first in range(0, len(candidates), BLOCK_PICTURES):
        block = slice(first, min(first + BLOCK_PICTURES, len(candidates)))
        end = np.searchsorted(position, position[block.stop - 1] + reach)
        correlation = vectors[block] @ vectors[first:end].T  # (pictures of the block, pictures within reach)
        for row, other in np.argwhere(correlation >= min_correlation).tolist():
            if row < other:
                one, two = sorted((int(candidates[first + row]), int(candidates[first + other])))
                if np.abs(pixels[one].astype(np.int16) - pixels[two]).mean() <= MAX_COLOUR_DIFFERENCE:
                    pairs.append((-float(correlation[row, other]), one, two))
    return [(one, two) for _, one, two in sorted(pairs)]


def merge_splits(groups: Sequence[str], splits: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """Return the split of each post after groups that share near-duplicates are put into one split.

    Joined groups go to the split of most of their posts, so that few posts change; ties go to test, then to validation.

    Args:
        groups: name of the group of each post.
        splits: original split of each post, the same for all posts of a group.
        pairs: positions of posts whose pictures are near-duplicates.
    """
    components = connected_components(dict.fromkeys(groups), ((groups[one], groups[two]) for one, two in pairs))
    leader = {group: members[0] for members in components for group in members}
    votes: dict[str, Counter] = {}
    for group, split in zip(groups, splits, strict=True):
        votes.setdefault(leader[group], Counter())[split] += 1
    held_out_first = ("test", "val", "train")
    winner = {group: max(held_out_first, key=counts.__getitem__) for group, counts in votes.items()}
    return [winner[leader[group]] for group in groups]


def connected_components(members: Iterable[T], pairs: Iterable[tuple[T, T]]) -> list[list[T]]:
    """Return the connected components of a graph, each in the order of the members; a member without a pair is one too."""
    leader = {member: member for member in members}

    def find(member: T) -> T:
        while leader[member] != member:
            leader[member] = member = leader[leader[member]]
        return member

    for one, two in pairs:
        leader[find(two)] = find(one)
    sets: dict[T, list[T]] = {}
    for member in leader:
        sets.setdefault(find(member), []).append(member)
    return list(sets.values())
