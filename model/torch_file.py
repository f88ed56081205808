"""Tensors out of a file that PyTorch saved before version 1.6, without PyTorch and without running the file's code.

Such a file is a sequence of pickles, followed by the numbers of all tensors. A pickle may name any function, and reading it
calls that function. Here, only an ordered dictionary and a description of a tensor are allowed.
"""

import hashlib
import io
import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from common.errors import InputError

MAGIC_NUMBER, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class Storage:
    """The numbers of one or more tensors: their key in the file, and their type."""

    key: str
    dtype: np.dtype


@dataclass(frozen=True)
class Tensor:
    """A description of a tensor: a view of a storage, with offset and strides in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, values: np.ndarray) -> np.ndarray:
        """Return the tensor, given the numbers of its storage.

        Raises:
            pickle.UnpicklingError: the view does not lie inside the storage.
        """
        last = self.offset + sum((length - 1) * stride for length, stride in zip(self.shape, self.strides, strict=True))
        outside = min(self.offset, *self.shape, *self.strides, 0) < 0 or last >= len(values) or 0 in self.shape
        if outside or math.prod(self.shape) > len(values):  # strides of 0 would repeat numbers without limit
            raise pickle.UnpicklingError("a tensor does not lie inside its numbers")
        strides = [stride * values.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides).copy()


class RestrictedUnpickler(pickle.Unpickler):
    """Reads ordered dictionaries of descriptions of tensors, and refuses everything else."""

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return describe_tensor
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")

    def persistent_load(self, pid):
        _, dtype, key, _, _, view = pid
        if not isinstance(dtype, np.dtype) or view is not None:
            raise pickle.UnpicklingError("it has a storage of an unknown form")
        return Storage(str(key), dtype)


def describe_tensor(storage, offset, shape, strides, *_) -> Tensor:
    """Return the description of a tensor; takes the place of PyTorch's function of the same arguments."""
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def read_tensors(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Read a file of named tensors.

    Args:
        path: the file.
        sha256: its expected checksum, in hexadecimal.

    Returns:
        Name ▶ array, float32 or int64.

    Raises:
        InputError: the file cannot be read, has another checksum, or holds something else than tensors.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise InputError(f"{path} has the SHA-256 {found}, and not {sha256}: install its package again")
    try:
        return _read(io.BytesIO(content))
    except Exception as error:  # a damaged pickle raises errors of any kind
        raise InputError(f"{path} is not a file of tensors by PyTorch: {error}") from None


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    magic, protocol, _, tensors, keys = (RestrictedUnpickler(file).load() for _ in range(5))
    if (magic, protocol) != (MAGIC_NUMBER, PROTOCOL):
        raise pickle.UnpicklingError("it has another format")
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    values = {}
    for key in keys:
        dtype = storages[key].dtype
        size = int.from_bytes(file.read(8), "little")
        values[key] = np.frombuffer(file.read(size * dtype.itemsize), dtype, size)
    return {name: tensor.array(values[tensor.storage.key]) for name, tensor in tensors.items()}
