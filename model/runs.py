"""The run folder `runs/NAME/`: the one place where it is written and read.

config.json      the run's configuration, and what the data was (tags, stored size, training frequencies' basis)
tags.csv         the vocabulary, as in the data folder
model.keras      the network, uncompiled: all that prediction needs
checkpoint-*.npz everything that an unfinished run goes on from; see model.checkpoints
thresholds.csv   the probability from which each tag is given, and the temperature that makes the probabilities
calibration.json how they were chosen
taught.json      of each tag added by train.py --teach, the last ones of tags.csv: what is expected of it
tag_vectors.npy  a vector for each tag, see `model.tag_vectors`
history.csv      one row an epoch
logs/            for TensorBoard
"""

import csv
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from command import InputError, import_quietly
from dataset import records
from dataset.boards import CATEGORIES
from model.calibration import Calibration
from model.config import Config, from_dict

if TYPE_CHECKING:
    import keras  # takes seconds to import, and an exported run is read without it


@dataclass(frozen=True)
class Run:
    """A run folder's contents without the network.

    Attributes:
        folder: where it is.
        config: how it was trained.
        tags: the vocabulary; `count` is a tag's positives in the training split.
        data: the data folder it was trained on.
        stored_size: short side of the stored pictures, in pixels; new pictures are brought to it first.
        train_images: images in the training split.
    """

    folder: Path
    config: Config
    tags: list[records.Tag]
    data: str
    stored_size: int
    train_images: int

    @property
    def frequencies(self) -> np.ndarray:
        """The share of training images that have each tag, float64 (tags,)."""
        return np.array([tag.count for tag in self.tags]) / self.train_images

    def taught(self) -> set[str]:
        """Names of the outputs that train.py --teach added, or was about to add when it was killed."""
        path = self.folder / "taught.json"
        return set(records.read_json(path)) if path.exists() else set()

    def save(self) -> None:
        """Write `config.json` and `tags.csv`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        records.write_tags(self.folder / "tags.csv", self.tags)
        facts = {"data": self.data, "stored_size": self.stored_size, "train_images": self.train_images}
        records.write_json(self.folder / "config.json", {"config": self.config.as_dict()} | facts)


def load(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        InputError: it is missing, damaged or from another version.
    """
    if not folder.is_dir():
        raise InputError(f"no run folder at {folder}: train.py makes one")
    content = records.read_json(folder / "config.json")
    try:
        return Run(
            folder=folder,
            config=from_dict(content["config"]),
            tags=records.read_tags(folder / "tags.csv"),
            data=str(content["data"]),
            stored_size=_positive(content["stored_size"]),
            train_images=_positive(content["train_images"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / 'config.json'} is not a run's configuration: {error!r}") from None


def _positive(value) -> int:
    if int(value) < 1:
        raise ValueError(f"expected at least 1, received {value}")
    return int(value)


def save_calibration(run: Run, calibration: Calibration) -> None:
    """Write `calibration.json`, and then `thresholds.csv`, which alone decides what a run says."""
    records.write_json(run.folder / "calibration.json", calibration.facts())
    # A number is said of every picture.
    is_number = [tag.category == CATEGORIES["number"] for tag in run.tags]
    save_thresholds(run, np.where(is_number, 0.0, calibration.thresholds), calibration.temperature)


def save_thresholds(run: Run, thresholds: np.ndarray, temperature: float) -> None:
    """Write `thresholds.csv`."""
    partial = run.folder / "thresholds.partial"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("name", "threshold", "temperature"))
        for tag, threshold in zip(run.tags, thresholds, strict=True):
            writer.writerow((tag.name, f"{threshold:.6g}", f"{temperature:.6g}"))
    partial.replace(run.folder / "thresholds.csv")


def load_thresholds(run: Run) -> tuple[np.ndarray, float]:
    """Read `thresholds.csv`: thresholds, float32 (tags,), and the temperature of the probabilities that they are for.

    Raises:
        InputError: it is missing, or not of this run's tags.
    """
    path = run.folder / "thresholds.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["name"]: row for row in csv.DictReader(file)}
        chosen = [rows[tag.name] for tag in run.tags]
        thresholds = np.array([row["threshold"] for row in chosen], np.float32)
        temperature = float(chosen[0].get("temperature", 1))  # runs of earlier versions have none
        if not (np.isfinite(thresholds).all() and 0 < temperature < np.inf):
            raise ValueError("a number out of range")
        return thresholds, temperature
    except FileNotFoundError:
        raise InputError(f"{path} is missing: has its training finished?") from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error!r}): expected name,threshold,temperature for every tag") from None


def load_facts(run: Run) -> dict:
    """What `calibration.json` says of the thresholds; nothing for a run of an earlier version."""
    path = run.folder / "calibration.json"
    facts = records.read_json(path) if path.exists() else {}
    if facts and not {"target", "temperature", "global_threshold", "strength", "cross_validated"} <= facts.keys():
        raise InputError(f"{path} is damaged: eval.py --calibrate writes it")
    return facts


def save_history(folder: Path, rows: list[dict]) -> None:
    """Write `history.csv`, a row an epoch."""
    partial = folder / "history.partial"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[-1], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(folder / "history.csv")


def read_history(folder: Path) -> list[dict]:
    """The rows of `history.csv`, none if there is no such file."""
    path = folder / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def newest(folder: Path, holding: str, made_by: str) -> Path:
    """The folder below `folder` whose file `holding` is the newest.

    Raises:
        InputError: there is none.
    """
    found = sorted(folder.glob(f"*/{holding}"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise InputError(f"nothing under {folder}/ yet: {made_by} makes it")
    return found[-1].parent


def save_network(network: "keras.Model", path: Path) -> None:
    """Write a network to a `.keras` file that appears under its name only when complete."""
    partial = path.with_suffix(".partial.keras")
    network.save(partial)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())  # the checkpoints go when it is there
    partial.replace(path)


def check_network(path: Path) -> None:
    """Look at a `.keras` file without reading it.

    Raises:
        InputError: it is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: has its training finished?")
    if not zipfile.is_zipfile(path):
        damage = f"{path} is damaged: expected a whole .keras file, received {path.stat().st_size:,} bytes"
        raise InputError(f"{damage}: delete it and run the same train.py command again")


def load_network(path: Path) -> "keras.Model":
    """Read a `.keras` file; nothing in it is unpickled and no code in it runs.

    Raises:
        InputError: the file is missing, damaged or of another kind.
    """
    check_network(path)
    import_quietly("keras")
    import keras

    from model.tagger import TaggerNetwork

    try:
        network = keras.saving.load_model(path, safe_mode=True)
    except Exception as error:  # a damaged zip, HDF5 or JSON inside raises whatever its reader raises
        raise InputError(f"{path} cannot be read as a network: {error}") from None
    if not isinstance(network, TaggerNetwork):
        raise InputError(f"{path} holds {type(network).__name__}: expected a network saved by train.py")
    return network
