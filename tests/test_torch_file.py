"""PyTorch's old file format: what is read out of it, and what is refused."""

import collections
import hashlib
import os
import pickle
import sys
import types

import numpy as np
import pytest

from common.errors import InputError
from model.torch_file import MAGIC_NUMBER, PROTOCOL, read_tensors


class Storage:
    """The numbers of tensors, which follow the pickles in the file."""

    def __init__(self, key: str, values: list[float]):
        self.key, self.values = key, np.array(values, np.float32)


class Tensor:
    """A view of a storage, pickled as PyTorch pickles a tensor."""

    def __init__(self, storage, offset, shape, strides):
        self.view = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.view


class TorchPickler(pickle.Pickler):
    """Writes a storage as a reference to its numbers."""

    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", sys.modules["torch"].FloatStorage, value.key, "cpu", len(value.values), None)
        return None


class Command:
    """Runs a command when it is unpickled freely."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file of tensors, without PyTorch; returns its path and checksum."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
    utils._rebuild_tensor_v2 = types.FunctionType((lambda *_: None).__code__, {}, "_rebuild_tensor_v2")
    utils._rebuild_tensor_v2.__module__, utils._rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def write(tensors, *storages, magic=MAGIC_NUMBER):
        path = tmp_path / "weights.pth"
        with path.open("wb") as file:
            for value in (magic, PROTOCOL, {"little_endian": True}, tensors, [storage.key for storage in storages]):
                TorchPickler(file, 2).dump(value)
            for storage in storages:
                file.write(len(storage.values).to_bytes(8, "little") + storage.values.tobytes())
        return path, hashlib.sha256(path.read_bytes()).hexdigest()

    return write


def test_tensors_are_views_of_their_numbers(write):
    one, other = Storage("7", range(6)), Storage("1", [0.5])
    named = {"matrix": Tensor(one, 0, (2, 3), (1, 2)), "end": Tensor(one, 4, (2,), (1,)), "scalar": Tensor(other, 0, (), ())}
    found = read_tensors(*write(collections.OrderedDict(named), one, other))
    assert list(found) == ["matrix", "end", "scalar"]
    assert found["matrix"].tolist() == [[0, 2, 4], [1, 3, 5]] and found["end"].tolist() == [4, 5] and found["scalar"] == 0.5


def test_nothing_is_run(write, tmp_path):
    storage = Storage("1", [1.0])
    hostile = Command(f"touch {tmp_path / 'was_run'}")
    for tensors in (hostile, collections.OrderedDict(a=hostile), collections.OrderedDict(a=Tensor(hostile, 0, (1,), (1,)))):
        with pytest.raises(InputError, match=r"weights\.pth is not a file of tensors.*system, which is not allowed"):
            read_tensors(*write(tensors, storage))
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    "offset, shape, strides",
    [
        (0, (7,), (1,)),
        (-1, (1,), (1,)),
        (5, (2,), (1,)),
        (3, (3,), (-1,)),
        (0, (2, 2), (1, 5)),
        (2**70, (1,), (1,)),
        (0, (9999999, 9999999), (0, 0)),
    ],
)
def test_a_view_outside_its_numbers_is_refused(write, offset, shape, strides):
    storage = Storage("1", range(6))
    with pytest.raises(InputError, match="does not lie inside its numbers"):
        read_tensors(*write(collections.OrderedDict(a=Tensor(storage, offset, shape, strides)), storage))


def test_another_or_a_damaged_file_is_named(write):
    storage = Storage("1", range(6))
    tensors = collections.OrderedDict(a=Tensor(storage, 0, (6,), (1,)))
    path, checksum = write(tensors, storage)
    whole = path.read_bytes()
    with pytest.raises(InputError, match=r"weights\.pth has the SHA-256 .*install its package again"):
        read_tensors(path, "0" * 64)
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="is not a file of tensors"):
            read_tensors(path, hashlib.sha256(whole[:length]).hexdigest())
    with pytest.raises(InputError, match="another format"):
        read_tensors(*write(tensors, storage, magic=5))
    path.unlink()
    with pytest.raises(InputError, match="No such file"):
        read_tensors(path, checksum)
