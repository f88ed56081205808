"""The outputs of a frozen part of a trunk for the training pictures, computed once and stored in the run folder."""

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.files import atomic_write

FILES = ("frozen_features.npy", "frozen_features.npz")  # values and index, in the run folder until training is complete


@dataclass(frozen=True)
class FrozenFeatures:
    """The outputs of a frozen part of a trunk.

    Attributes:
        ids: post ids, text (pictures,), in the order of the shards and of the records in them.
        values: float16 (pictures, views, …), read from the disk as they are needed. View 0 is the picture itself, view 1,
            if there is one, its mirror image.
    """

    ids: np.ndarray
    values: np.ndarray

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {name.encode(): row for row, name in enumerate(self.ids.tolist())}

    def by_ids(self, ids: Iterable[bytes], mirrored: np.ndarray) -> np.ndarray:
        """Return the features of posts, or of mirror images where `mirrored` (pictures,) is true: float16 (pictures, …)."""
        return self.by_positions(np.array([self._rows[name] for name in ids]), mirrored)

    def by_positions(self, positions: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        """Return the same for pictures by their positions in the split."""
        return self.values[positions, mirrored.astype(np.int64)]

    @classmethod
    def compute(cls, folder: Path, ids: list[str], shape: tuple[int, ...], source: str, parts: Iterator) -> "FrozenFeatures":
        """Write the files into a run folder, and open them.

        Args:
            folder: the run folder.
            ids: post ids, in the order of the shards and of the records in them.
            shape: views, and the shape of one output.
            source: identifies the frozen part and the pictures.
            parts: the values in the order of `ids`, as arrays (some pictures, views, …).
        """
        values_path, index_path = (folder / name for name in FILES)
        with atomic_write(values_path, "wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": (len(ids), *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                file.write(part.astype("<f2").tobytes())
        with atomic_write(index_path, "wb") as file:  # last, so that it is there only if the values are
            np.savez(file, ids=np.array(ids), source=source)
        return cls(np.array(ids), np.load(values_path, mmap_mode="r"))

    @classmethod
    def load(cls, folder: Path, source: str) -> "FrozenFeatures | None":
        """Open the files of a run folder. Return None if they are missing, damaged or computed from another source."""
        values_path, index_path = (folder / name for name in FILES)
        try:
            with np.load(index_path, allow_pickle=False) as index:
                ids, stored_source = index["ids"], str(index["source"])
            values = np.load(values_path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return cls(ids, values) if stored_source == source and len(values) == len(ids) else None
