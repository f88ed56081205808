"""Pictures that look alike: download.py keeps them on one side of the split, eval.py counts what is left across it.

A picture's thumbnail is 8 x 8 pixels. Two look alike where the thumbnails, each channel less its mean, correlate nearly
fully, and their colours are about the same: rescaled, re-encoded and lightly cropped copies do, and so do drawings that
differ in a detail. Nearly blank pictures have no such likeness.
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
MAX_COLOUR_DIFFERENCE = 12.0  # mean over thumbnail and channels, of 255
MIN_DEVIATION = 3.0  # of a thumbnail's pixels from their channel's mean, of 255; below, it is nearly blank
BLOCK_PICTURES = 1024


def thumbnail(jpeg: bytes) -> bytes:
    """The 8 x 8 RGB pixels of a JPEG, one byte a channel."""
    # Not decoded at a smaller scale, which JPEG allows: its rounding at the edges differs from size to size.
    with Image.open(io.BytesIO(jpeg)) as image:
        return thumbnail_of(image.convert("RGB"))


def thumbnail_of(image: Image.Image) -> bytes:
    """The same of an RGB picture."""
    return image.resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BOX).tobytes()


def alike(thumbnails: Sequence[bytes], min_correlation: float = MIN_CORRELATION) -> list[tuple[int, int]]:
    """Pairs of pictures that look alike, those that correlate most first; in each, the lower position first.

    Args:
        thumbnails: see `thumbnail`.
        min_correlation: of the thumbnails' pixels.
    """
    pixels = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), SIDE_PIXELS**2, 3)  # (pictures, 64, 3)
    centred = pixels - pixels.mean(axis=1, keepdims=True, dtype=np.float32)
    vectors = centred.reshape(len(pixels), 3 * SIDE_PIXELS**2)  # (pictures, 192)
    lengths = np.linalg.norm(vectors, axis=1)
    shown = np.flatnonzero(lengths > MIN_DEVIATION * vectors.shape[1] ** 0.5)
    vectors = vectors[shown] / lengths[shown, None]
    # Unit vectors that correlate so are no further apart than this, on any axis: on the one along which pictures differ
    # most, each is compared with the few that are near.
    reach = (2 - 2 * min_correlation) ** 0.5 + 1e-4
    position = vectors @ np.linalg.eigh(vectors.T @ vectors)[1][:, -1]
    order = np.argsort(position, kind="stable")
    vectors, position, shown = vectors[order], position[order], shown[order]
    pairs = []
    for first in range(0, len(shown), BLOCK_PICTURES):
        block = slice(first, min(first + BLOCK_PICTURES, len(shown)))
        end = np.searchsorted(position, position[block.stop - 1] + reach)
        correlation = vectors[block] @ vectors[first:end].T  # (pictures of the block, those within reach)
        for row, other in np.argwhere(correlation >= min_correlation).tolist():
            if row < other:
                one, two = sorted((int(shown[first + row]), int(shown[first + other])))
                if np.abs(pixels[one].astype(np.int16) - pixels[two]).mean() <= MAX_COLOUR_DIFFERENCE:
                    pairs.append((-float(correlation[row, other]), one, two))
    return [(one, two) for _, one, two in sorted(pairs)]


def joined_splits(groups: Sequence[str], splits: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """The split of each post where groups that have pictures alike are one.

    Joined groups go where most of their posts are, so that few posts move; of equals, to the split that is held out.

    Args:
        groups: name of each post's group.
        splits: the split of each post by itself, the same for all of a group.
        pairs: posts whose pictures look alike.
    """
    joined = sets_of(dict.fromkeys(groups), ((groups[one], groups[two]) for one, two in pairs))
    leader = {group: members[0] for members in joined for group in members}
    votes: dict[str, Counter] = {}
    for group, split in zip(groups, splits, strict=True):
        votes.setdefault(leader[group], Counter())[split] += 1
    held_out_first = ("test", "val", "train")
    winner = {group: max(held_out_first, key=counts.__getitem__) for group, counts in votes.items()}
    return [winner[leader[group]] for group in groups]


def sets_of(members: Iterable[T], pairs: Iterable[tuple[T, T]]) -> list[list[T]]:
    """The sets into which pairs join members, each in the members' order; one that is in no pair is a set of its own."""
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
