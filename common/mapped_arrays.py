"""Arrays that are larger than the memory should be: in a temporary file, from which the system reads what is used."""

import contextlib
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

MEMORY_BYTES = 2**28  # a smaller array is kept in memory


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path) -> np.ndarray:
    """Return an array of zeros, in memory if it is small, otherwise in a file that vanishes with the array.

    Args:
        shape, dtype: of the array.
        folder: where the file is made; made if missing. If it cannot be written, the system's temporary folder is used.

    Raises:
        OSError: the disk is full.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= MEMORY_BYTES:
        return np.zeros(shape, dtype)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    writable = folder if os.access(folder, os.W_OK) else None
    with tempfile.TemporaryFile(dir=writable) as file:  # the mapping keeps the file until the array is gone
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):  # otherwise a full disk would end the process later, without a message
            os.posix_fallocate(file.fileno(), 0, size)
        return np.ndarray(shape, dtype, mmap.mmap(file.fileno(), size))


def read_rows(rows: slice, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return some rows of several arrays, after the memory of what was read of them before is given back."""
    for array in arrays:
        release(array)
    return tuple(array[rows] for array in arrays)


def release(array: np.ndarray) -> None:
    """Give back the memory of an array of `zeros` that is in a file, and read its values there when they are used again.

    Call it after each block of work, or else the whole file comes to count as memory of this process. It does nothing for
    other arrays, and on Windows.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(base, "madvise"):
        base.madvise(mmap.MADV_DONTNEED)
