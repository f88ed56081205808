"""Damage of a JPEG that its decoder fills in: whether the codes of each scan end where the data of the scan end.

After a wrong bit, Huffman codes are read at wrong places. libjpeg then fills the picture with something, and counts a
warning that Pillow does not show. Here the bits are counted instead. A wrong bit within the value of a coefficient does not
change their number, and stays unnoticed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dataset.jpeg_codes import (
    COEFFICIENTS,
    Bits,
    DamagedScan,
    read_coefficients,
    read_constants,
    read_tables,
    read_whole_blocks,
    refine_coefficients,
)

HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive; others are not checked
OTHER_FRAMES = {0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
TABLES, END, SCAN, RESTART = 0xC4, 0xD9, 0xDA, 0xDD
END_OF_SCAN = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
RESTART_MARKER = re.compile(rb"\xff[\xd0-\xd7]")


class _NotChecked(Exception):
    """The JPEG is of a kind that is not checked."""


@dataclass
class _Component:
    """One colour plane.

    Attributes:
        across, down: sampling factors.
        columns, rows: size in blocks, without those that only fill up an interleaved scan.
        nonzero: for each block, the coefficients that earlier scans made nonzero, as bits.
    """

    across: int
    down: int
    columns: int = 0
    rows: int = 0
    nonzero: list[int] = field(default_factory=list)


@dataclass
class _Frame:
    """The picture's size in units of an interleaved scan, and its components by their identifiers."""

    progressive: bool
    units: int
    components: dict[int, _Component]


def scan_problem(data: bytes) -> str:
    """Return what is wrong with the compressed data of a JPEG, in a few words, or an empty text.

    Takes about 2 s for each megabyte.

    Args:
        data: a whole file that a decoder accepts. Arithmetic codes and lossless JPEG are not checked.
    """
    try:
        _read_scans(data)
    except _NotChecked:
        return ""
    except DamagedScan as error:
        return str(error)
    except (IndexError, KeyError, ValueError):  # what is read beyond its end, or for a header that makes no sense
        return "a header that is damaged"
    return ""


def _read_scans(data: bytes) -> None:
    frame: _Frame | None = None
    tables: dict[int, np.ndarray] = {}
    interval = 0
    for marker, segment, scan in _segments(data):
        if marker in OTHER_FRAMES:
            raise _NotChecked
        if marker in HUFFMAN_FRAMES:
            frame = _read_frame(segment, progressive=marker == 0xC2)
        elif marker == TABLES:
            tables.update(read_tables(segment))
        elif marker == RESTART:
            interval = int.from_bytes(segment[:2], "big")
        elif marker == SCAN:
            if frame is None:
                raise DamagedScan("a scan before the header of the picture")
            _read_scan(frame, segment, scan, tables, interval)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield marker, content and, for a scan, its compressed data, up to the end of the picture."""
    position = 2
    while True:
        if data[position] != 0xFF:
            raise DamagedScan("bytes between two segments")
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        if marker == END:
            return
        end = position + 1 + int.from_bytes(data[position + 1 : position + 3], "big")
        segment, scan = data[position + 3 : end], b""
        if marker == SCAN:
            found = END_OF_SCAN.search(data, end)
            if not found:
                raise DamagedScan("a scan without an end")
            scan, end = data[end : found.start()], found.start()
        yield marker, segment, scan
        position = end


def _read_frame(segment: bytes, progressive: bool) -> _Frame:
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    if not height:  # a later marker has it
        raise _NotChecked
    parts = [segment[start : start + 3] for start in range(6, 6 + 3 * segment[5], 3)]
    components = {part[0]: _Component(part[1] >> 4, part[1] & 15) for part in parts}
    across = max(component.across for component in components.values())
    down = max(component.down for component in components.values())
    if not across or not down:
        raise DamagedScan("a component without size")
    for component in components.values():
        component.columns = _ceil(_ceil(width * component.across, across), 8)
        component.rows = _ceil(_ceil(height * component.down, down), 8)
        component.nonzero = [0] * (component.columns * component.rows)
    return _Frame(progressive, _ceil(width, 8 * across) * _ceil(height, 8 * down), components)


def _read_scan(frame: _Frame, segment: bytes, scan: bytes, tables: dict[int, np.ndarray], interval: int) -> None:
    """Read one scan.

    Args:
        frame: the picture that it belongs to.
        segment: its header: components, their tables, first and last coefficient, and bits of precision.
        scan: its data.
        tables: the Huffman tables so far.
        interval: number of units between two restart markers; 0: there are none.
    """
    number = segment[0]
    chosen = [(frame.components[segment[1 + 2 * part]], segment[2 + 2 * part]) for part in range(number)]
    first, last, precision = segment[1 + 2 * number : 4 + 2 * number]
    alone, numbers = chosen[0]
    units = frame.units if number > 1 else alone.columns * alone.rows
    # The table of each block of a unit, by a number that contains those of its constant and of its other coefficients.
    unit = [numbers] if number == 1 else [tables_of for part, tables_of in chosen for _ in range(part.across * part.down)]
    pieces = RESTART_MARKER.split(scan)
    if len(pieces) != (_ceil(units, interval) if interval else 1):
        raise DamagedScan("a wrong number of restart markers")
    for piece, start in zip(pieces, range(0, units, interval or units), strict=True):
        bits, blocks = Bits(piece), range(start, min(start + (interval or units), units))
        try:
            if not frame.progressive:
                end = read_whole_blocks(bits, tables, unit * len(blocks))
            elif first:
                read = refine_coefficients if precision >> 4 else read_coefficients
                end = read(bits, tables[0x10 | numbers & 15], alone.nonzero, blocks, (first, min(last, COEFFICIENTS - 1)))
            elif precision >> 4:
                end = len(unit) * len(blocks)
            else:
                end = read_constants(bits, tables, unit * len(blocks))
        except IndexError:
            raise DamagedScan("a scan that ends early") from None
        bits.finish(end)


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)
