"""Pictures that are nearly the same, in structure and in colours, whatever their size and encoding."""

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

SIDE = 16  # a hash has SIDE² bits
MARGIN = 4  # of brightness, of 255
BLOCK_PAIRS = 2**22
DISTANCE = 8  # bits of 256 that may differ
FEWEST_BITS = 8  # a plain picture, whose hash has fewer, is like every other
COLOURS_SIDE = 8
COLOURS_DISTANCE = 8  # mean difference of the colours that is allowed, of 255


def dhash(image: Image.Image) -> np.ndarray:
    """The difference hash of an RGB picture (Krawetz, "Kind of Like That", 2013): uint64 (4,), 256 bits.

    The picture is shrunk to 17 × 16 gray pixels; a bit is set where the right one of two neighbours is clearly brighter: the
    noise that encoding leaves on plain parts sets none.
    """
    gray = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX), np.int16)
    return np.packbits(gray[:, 1:] > gray[:, :-1] + MARGIN).view(np.uint64)


def colours(image: Image.Image) -> np.ndarray:
    """The picture as 8 × 8 pixels, uint8 (192,): plain pictures, as flags, differ in colours alone."""
    return np.asarray(image.resize((COLOURS_SIDE, COLOURS_SIDE), Image.Resampling.BOX)).reshape(-1)


def fingerprints(pictures: Iterable[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """Hashes, uint64 (pictures, 4), and colours, uint8 (pictures, 192)."""
    rows = [(dhash(picture), colours(picture)) for picture in pictures]
    hashes, shades = zip(*rows, strict=True) if rows else ((), ())
    return np.array(hashes, np.uint64).reshape(-1, SIDE * SIDE // 64), np.array(shades, np.uint8).reshape(len(rows), -1)


def pairs_within(first: np.ndarray, second: np.ndarray, distance: int = DISTANCE) -> Iterator[tuple[int, int, int]]:
    """Pairs of hashes that differ in few bits. Every pair is compared, a hundred million of them in a second or two.

    Args:
        first, second: uint64 (pictures, 4).
        distance: the most bits that may differ.

    Yields:
        Position in `first`, position in `second`, number of bits that differ.
    """
    rows = max(1, BLOCK_PAIRS // max(1, len(second)))
    for start in range(0, len(first), rows):
        block = first[start : start + rows]
        differing = np.zeros((len(block), len(second)), np.uint16)
        for word in range(first.shape[1]):
            differing += np.bitwise_count(block[:, word, None] ^ second[None, :, word])
        for row, column in np.argwhere(differing <= distance):
            yield start + int(row), int(column), int(differing[row, column])


def near_duplicates(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> list[tuple[int, int, int]]:
    """Pairs of `fingerprints` that are near in both hash and colours, the nearest first; as of `pairs_within`."""
    (hashes, shades), (other_hashes, other_shades) = first, second
    found = [
        (row, column, bits)
        for row, column, bits in pairs_within(hashes, other_hashes)
        if np.bitwise_count(hashes[row]).sum() >= FEWEST_BITS
        and np.abs(shades[row].astype(int) - other_shades[column]).mean() <= COLOURS_DISTANCE
    ]
    return sorted(found, key=lambda pair: pair[2])
