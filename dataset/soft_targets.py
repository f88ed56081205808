"""What a teacher says of every training picture, kept in a file of the run that learns from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

FILE = "soft_targets.npz"  # in the run folder, until the run is finished


@dataclass(frozen=True)
class SoftTargets:
    """Probabilities by picture.

    Attributes:
        ids: of the training pictures, text (pictures,), in the order of the shards and of the records in them.
        probability: float16 (pictures, tags).
    """

    ids: np.ndarray
    probability: np.ndarray

    @cached_property
    def _rows(self) -> dict[bytes, int]:
        return {name.encode(): row for row, name in enumerate(self.ids.tolist())}

    def of_ids(self, ids: Iterable[bytes]) -> np.ndarray:
        """float32 (pictures, tags)."""
        return self.of_numbers([self._rows[name] for name in ids])

    def of_numbers(self, numbers: Iterable[int]) -> np.ndarray:
        """float32 (pictures, tags), by position in the split."""
        return self.probability[np.asarray(numbers)].astype(np.float32)

    def save(self, folder: Path) -> None:
        """Write the file, which appears when whole."""
        partial = (folder / FILE).with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, ids=self.ids, probability=self.probability)
        partial.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> "SoftTargets":
        """Read what `save` wrote."""
        with np.load(folder / FILE, allow_pickle=False) as file:
            return cls(file["ids"], file["probability"])
