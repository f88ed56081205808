"""Near-duplicate pictures: download.py puts them into one split, eval.py counts those that remain in different splits.

A thumbnail has 8 x 8 pixels. Two pictures are near-duplicates if their thumbnails, with the mean of each channel subtracted,
correlate almost perfectly and their colours are similar. Rescaled, re-encoded and lightly cropped copies are, and so are
drawings that differ in a detail. Nearly blank pictures have no near-duplicates.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
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
    pixels = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(thumbnails), 3 * SIDE_PIXELS**2)
    squares, deviates = np.zeros((pixels.shape[1], pixels.shape[1]), np.float32), np.zeros(len(pixels), bool)
    for block in _blocks(len(pixels)):
        vectors, lengths = _unit_vectors(pixels[block])
        deviates[block] = lengths > MIN_DEVIATION * pixels.shape[1] ** 0.5
        squares += vectors[deviates[block]].T @ vectors[deviates[block]]
    # The distance of two unit vectors with this correlation bounds their distance on every axis. On the axis along which
    # the pictures vary most, each is compared only with those that are near enough.
    reach = (2 - 2 * min_correlation) ** 0.5 + 1e-4
    axis = np.linalg.eigh(squares)[1][:, -1]
    position = np.concatenate([np.zeros(0), *(_unit_vectors(pixels[block])[0] @ axis for block in _blocks(len(pixels)))])
    candidates = np.flatnonzero(deviates)
    candidates = candidates[np.argsort(position[candidates], kind="stable")]
    position, pixels = position[candidates], pixels[candidates]
    pairs = []
    for block in _blocks(len(candidates)):
        vectors, _ = _unit_vectors(pixels[block])
        end = int(np.searchsorted(position, position[block.stop - 1] + reach))
        for others in _blocks(end, block.start):
            correlation = vectors @ _unit_vectors(pixels[others])[0].T  # (pictures of the block, others)
            for row, column in np.argwhere(correlation >= min_correlation).tolist():
                one, two = block.start + row, others.start + column
                if one < two and np.abs(pixels[one].astype(np.int16) - pixels[two]).mean() <= MAX_COLOUR_DIFFERENCE:
                    numbers = sorted((int(candidates[one]), int(candidates[two])))
                    pairs.append((-float(correlation[row, column]), numbers[0], numbers[1]))
    return [(one, two) for _, one, two in sorted(pairs)]


def _unit_vectors(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return thumbnails without the mean of each channel, scaled to length 1, and their lengths before.

    Args:
        pixels: uint8 (pictures, 192).

    Returns:
        float32 (pictures, 192), zeros where the length is 0, and float32 (pictures,).
    """
    channels = pixels.reshape(len(pixels), SIDE_PIXELS**2, 3)
    vectors = (channels - channels.mean(axis=1, keepdims=True, dtype=np.float32)).reshape(pixels.shape)
    lengths = np.linalg.norm(vectors, axis=1)
    return vectors / np.maximum(lengths, 1e-6)[:, None], lengths


def _blocks(end: int, start: int = 0) -> Iterator[slice]:
    """Yield slices of `BLOCK_PICTURES` pictures, so that memory does not grow with the number of all pictures."""
    for first in range(start, end, BLOCK_PICTURES):
        yield slice(first, min(first + BLOCK_PICTURES, end))


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
