"""The Huffman codes of a JPEG, read without making pixels of them, as ITU-T T.81 (1992) defines them in F.2.2 and G.2."""

from array import array
from collections.abc import Iterator

import numpy as np

CODE_BITS = 16  # of the longest code
NO_CODE_BITS = 2**40  # instead of the length of a code that a table lacks: leads behind the end of any scan
COEFFICIENTS = 64  # of a block


class DamagedScan(Exception):
    """The data do not follow their own tables; the message is a short reason."""


class Bits:
    """The bits of one scan, or of the part of it between two restart markers.

    Attributes:
        windows: uint16 (bits,), the 16 bits that begin at each bit.
    """

    def __init__(self, data: bytes):
        data = data.replace(b"\xff\x00", b"\xff")
        self._size = 8 * len(data)
        padded = np.frombuffer(data + bytes(3), np.uint8).astype(np.uint32)
        three_bytes = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
        self.windows = (three_bytes[:, None] >> np.arange(8, 0, -1, dtype=np.uint32) & 0xFFFF).reshape(-1).astype(np.uint16)

    def codes(self, table: np.ndarray) -> array:
        """Return the code that begins at each bit: its length times 256, plus its symbol."""
        return array("q", table[self.windows].tobytes())  # a loop reads it faster than an array of NumPy

    def finish(self, position: int) -> None:
        """Raise an error unless a position is within the last byte or at its end."""
        if not 0 <= self._size - position < 8:
            raise DamagedScan("a scan that ends early" if position > self._size else "bytes left over in a scan")


def read_tables(segment: bytes) -> Iterator[tuple[int, np.ndarray]]:
    """Yield class and number of each Huffman table in one byte, and the table: int64 (65536,), see `Bits.codes`."""
    while segment:
        counts = segment[1:17]
        symbols = np.frombuffer(segment[17 : 17 + sum(counts)], np.uint8)
        lengths = np.repeat(np.arange(1, CODE_BITS + 1), list(counts))[: len(symbols)]
        codes = np.repeat(lengths << 8 | symbols, 1 << (CODE_BITS - lengths))
        if len(codes) > 1 << CODE_BITS:
            raise DamagedScan("a table with too many codes")
        table = np.full(1 << CODE_BITS, NO_CODE_BITS << 8)
        table[: len(codes)] = codes
        yield segment[0], table
        segment = segment[17 + len(symbols) :]


def read_whole_blocks(bits: Bits, tables: dict[int, np.ndarray], blocks: list[int]) -> int:
    """Read the blocks of a JPEG that is not progressive, and return the position of the bit behind them.

    Args:
        bits: the data.
        tables: the Huffman tables.
        blocks: for each block, the number of its tables.
    """
    codes = {numbers: (bits.codes(tables[numbers >> 4]), bits.codes(tables[0x10 | numbers & 15])) for numbers in set(blocks)}
    position = 0
    for numbers in blocks:
        constants, others = codes[numbers]
        code = constants[position]
        position += (code >> 8) + (code & 0xFF)
        index = 1
        while index < COEFFICIENTS:
            code = others[position]
            zeros, length = code >> 4 & 15, code & 15
            position += (code >> 8) + length
            if not length and zeros < 15:
                break
            index += zeros + 1
        if index > COEFFICIENTS:
            raise DamagedScan("a block of too many coefficients")
    return position


def read_constants(bits: Bits, tables: dict[int, np.ndarray], blocks: list[int]) -> int:
    """Read the first bits of the constant coefficients of a progressive JPEG; see `read_whole_blocks`."""
    codes = {numbers: bits.codes(tables[numbers >> 4]) for numbers in set(blocks)}
    position = 0
    for numbers in blocks:
        code = codes[numbers][position]
        position += (code >> 8) + (code & 0xFF)
    return position


def read_coefficients(bits: Bits, table: np.ndarray, nonzero: list[int], blocks: range, band: tuple[int, int]) -> int:
    """Read the first bits of the coefficients of a progressive JPEG, and return the position of the bit behind them.

    Args:
        bits: the data.
        table: the Huffman table.
        nonzero: for each block, the coefficients that earlier scans made nonzero, as bits; completed here.
        blocks: numbers of the blocks.
        band: first and last coefficient.
    """
    codes, windows = bits.codes(table), bits.windows
    position = empty_blocks = 0
    for block in blocks:
        if empty_blocks:
            empty_blocks -= 1
            continue
        index = band[0]
        while index <= band[1]:
            code = codes[position]
            zeros, length = code >> 4 & 15, code & 15
            position += code >> 8
            if length:
                index += zeros + 1
                nonzero[block] |= 1 << (index - 1)
                position += length
            elif zeros == 15:
                index += 16
            else:
                empty_blocks = (1 << zeros) - 1 + (int(windows[position]) >> (16 - zeros))
                position += zeros
                break
        if index > band[1] + 1:
            raise DamagedScan("a block of too many coefficients")
    return position


def refine_coefficients(bits: Bits, table: np.ndarray, nonzero: list[int], blocks: range, band: tuple[int, int]) -> int:
    """Read one more bit of the coefficients; see `read_coefficients`."""
    codes, windows = bits.codes(table), bits.windows
    position = empty_blocks = 0
    for block in blocks:
        known, index = nonzero[block], band[0]
        while index <= band[1] and not empty_blocks:
            code = codes[position]
            zeros, length = code >> 4 & 15, code & 15
            position += code >> 8
            if not length and zeros < 15:
                empty_blocks = (1 << zeros) + (int(windows[position]) >> (16 - zeros))
                position += zeros
                break
            position += length  # 1, the sign, or 0
            while known >> index and index <= band[1] and (zeros or known >> index & 1):
                if known >> index & 1:
                    position += 1
                else:
                    zeros -= 1
                index += 1
            if not known >> index:  # nothing more to refine: the zeros are passed over at once
                index += zeros
            if length:
                nonzero[block] |= 1 << index
            index += 1
        if empty_blocks:
            empty_blocks -= 1
            if known >> index:
                position += (known >> index & ((1 << max(0, band[1] + 1 - index)) - 1)).bit_count()
    return position
