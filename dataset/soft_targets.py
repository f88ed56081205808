"""A teacher's probabilities for the training pictures, stored in the run folder of the student."""

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.files import atomic_write

FILE = "soft_targets.npz"  # in the run folder until training is complete


@dataclass(frozen=True)
class SoftTargets:
    """A probability for each training picture and tag.

    Attributes:
        ids: post ids, text (pictures,), in the order of the shards and of the records in them.
        probability: float16 (pictures, tags).
        source: identifies the teacher and the data from which the probabilities were computed.
    """

    ids: np.ndarray
    probability: np.ndarray
    source: str = ""

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {name.encode(): row for row, name in enumerate(self.ids.tolist())}

    def by_ids(self, ids: Iterable[bytes]) -> np.ndarray:
        """Return the probabilities of posts, float32 (pictures, tags)."""
        return self.by_positions([self._rows[name] for name in ids])

    def by_positions(self, positions: Iterable[int]) -> np.ndarray:
        """Return the probabilities of pictures by their positions in the split, float32 (pictures, tags)."""
        return self.probability[np.asarray(positions)].astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write the file into a run folder."""
        with atomic_write(folder / FILE, "wb") as file:
            np.savez(file, ids=self.ids, probability=self.probability, source=self.source)

    @classmethod
    def load(cls, folder: Path, source: str) -> "SoftTargets | None":
        """Read the file of a run folder. Return None if it is missing, damaged or computed from another source."""
        try:
            with np.load(folder / FILE, allow_pickle=False) as file:
                targets = cls(file["ids"], file["probability"], str(file["source"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return targets if targets.source == source else None
