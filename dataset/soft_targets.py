"""What a teacher says of every training picture, kept in a file of the run that learns from it."""

import zipfile
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
        source: what they were computed from.
    """

    ids: np.ndarray
    probability: np.ndarray
    source: str = ""

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
            np.savez(file, ids=self.ids, probability=self.probability, source=self.source)
        partial.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path, source: str) -> "SoftTargets | None":
        """Read what `save` wrote; None where that was computed from something else, or is missing or damaged."""
        try:
            with np.load(folder / FILE, allow_pickle=False) as file:
                found = cls(file["ids"], file["probability"], str(file["source"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        return found if found.source == source else None
