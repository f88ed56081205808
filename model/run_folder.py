"""Reading and writing of the run folder `runs/NAME/`.

config.json      configuration of the run, and facts about its data: folder, stored size, number of training images
tags.csv         the vocabulary, as in the data folder
implications.csv rules about the tags, as in the data folder; edited rules hold from the next prediction on
model.keras      the network, uncompiled
model.onnx       the same network for ONNX Runtime, which starts faster; see `inference.onnx_network`
checkpoint-*.npz state of an unfinished run, see `training.checkpoints`
thresholds.csv   for each tag the lowest probability when it is predicted, and the temperature that divides its logit
calibration.json how temperature and thresholds were chosen
taught.json      expected figures of each tag added by train.py --teach; these tags are the last ones of tags.csv
added_tags/      each of these tags as a file for other runs with the same trunk, see `inference.added_tags`
tag_vectors.npy  one vector for each tag, see `evaluation.metrics.tag_vectors`
history.csv      one row for each epoch
logs/            curves and pictures for TensorBoard
"""

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import files
from common.errors import InputError
from common.processes import import_quietly
from dataset import implications, records
from model.config import Config, from_dict

if TYPE_CHECKING:
    import keras  # takes seconds to import, and is not needed for an exported run


@dataclass(frozen=True)
class Run:
    """The contents of a run folder without the network.

    Attributes:
        folder: the run folder.
        config: configuration of the training.
        tags: the vocabulary; `count` is the number of positives in the training split.
        data: the data folder that the run was trained on.
        stored_size: short side of the stored pictures, in pixels; new pictures are first resized to it.
        train_images: number of images in the training split.
        decode_version: the `images.DECODE_VERSION` that made the pictures of the data folder.
        rules: the rules of `implications.csv`; None if there is none, and the tags' own `implies` holds.
    """

    folder: Path
    config: Config
    tags: list[records.Tag]
    data: str
    stored_size: int
    train_images: int
    decode_version: int = 1  # of runs that do not say
    rules: tuple[implications.Rule, ...] | None = None

    def outputs_for(self, data: Path) -> np.ndarray:
        """Return the index of the output that predicts each tag of a data folder.

        The run may have more tags than the data, such as those that train.py --teach added.

        Args:
            data: the data folder.

        Returns:
            int (tags of the data,).

        Raises:
            InputError: the data has a tag that the run does not have.
        """
        position = {tag.name: index for index, tag in enumerate(self.tags)}
        names = [tag.name for tag in records.read_tags(data / "tags.csv")]
        if unknown := [name for name in names if name not in position]:
            raise InputError(
                f"{data} has other tags than {self.folder} was trained on ({len(unknown):,} of {len(names):,}, such as "
                f"{unknown[0]}): expected the folder it was trained on, {self.data}"
            )
        return np.array([position[name] for name in names])

    @property
    def frequencies(self) -> np.ndarray:
        """The fraction of training images that have each tag, float64 (tags,)."""
        return np.array([tag.count for tag in self.tags]) / self.train_images

    @property
    def batch_size(self) -> int:
        """Images per training step: the configured number, or the whole training split if that is smaller."""
        return min(self.config.batch_size, self.train_images)

    @property
    def steps_per_update(self) -> int:
        """Number of steps whose gradients are summed for an update of the weights."""
        return min(max(1, self.config.effective_batch // self.batch_size), self.train_images // self.batch_size)

    @property
    def updates_per_epoch(self) -> int:
        """Number of updates of the weights in an epoch."""
        return self.train_images // (self.batch_size * self.steps_per_update)

    def added_outputs(self) -> set[str]:
        """Return the names of the outputs that train.py --teach added, or was about to add when it was killed."""
        path = self.folder / "taught.json"
        return set(files.read_json(path)) if path.exists() else set()

    def save(self) -> None:
        """Write `config.json` and `tags.csv`, and `implications.csv` unless it is there: it may have been edited."""
        self.folder.mkdir(parents=True, exist_ok=True)
        records.write_tags(self.folder / "tags.csv", self.tags)
        if self.rules is not None and not (self.folder / implications.FILE).exists():
            implications.write(self.folder, self.rules)
        facts = {"data": self.data, "stored_size": self.stored_size, "train_images": self.train_images}
        facts |= {"decode_version": self.decode_version}
        files.write_json(self.folder / "config.json", {"config": self.config.as_dict()} | facts)


def load(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        InputError: the folder is missing or damaged, or another version wrote it.
    """
    if not folder.is_dir():
        raise InputError(f"no run folder at {folder}: train.py makes one")
    content, tags = files.read_json(folder / "config.json"), records.read_tags(folder / "tags.csv")
    rules = implications.read(folder, tags)
    try:
        return Run(
            folder=folder,
            config=from_dict(content["config"]),
            tags=tags,
            data=str(content["data"]),
            stored_size=_positive(content["stored_size"]),
            train_images=_positive(content["train_images"]),
            decode_version=_positive(content.get("decode_version", 1)),
            rules=rules,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / 'config.json'} is not the configuration of a run: {error!r}") from None


def _positive(value) -> int:
    if int(value) < 1:
        raise ValueError(f"expected at least 1, received {value}")
    return int(value)


def save_thresholds(run: Run, thresholds: np.ndarray, temperatures: np.ndarray) -> None:
    """Write `thresholds.csv`, which decides the tags that a run predicts.

    Args:
        run: the run.
        thresholds: the lowest probability of each tag when predicted, at its temperature, float (tags,).
        temperatures: divisor of each tag's logit, float (tags,).
    """
    rows = zip((tag.name for tag in run.tags), thresholds, temperatures, strict=True)
    values = ((name, f"{threshold:.6g}", f"{temperature:.6g}") for name, threshold, temperature in rows)
    files.write_csv(run.folder / "thresholds.csv", ("name", "threshold", "temperature"), values)


def load_thresholds(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Read `thresholds.csv`.

    Returns:
        The thresholds and the divisors of the logits, float32 (tags,) each.

    Raises:
        InputError: the file is missing or damaged, or lacks a tag.
    """
    path = run.folder / "thresholds.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = {row["name"]: row for row in csv.DictReader(file)}
        chosen = [rows[tag.name] for tag in run.tags]
        thresholds = np.array([row["threshold"] for row in chosen], np.float32)
        # Earlier versions did not write a temperature.
        temperatures = np.array([row.get("temperature", 1) for row in chosen], np.float32)
        if not (np.isfinite(thresholds).all() and np.isfinite(temperatures).all() and (temperatures > 0).all()):
            raise ValueError("a number out of range")
        return thresholds, temperatures
    except FileNotFoundError:
        raise InputError(f"{path} is missing: has its training finished?") from None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error!r}): expected name,threshold,temperature for every tag") from None


def load_calibration(run: Run) -> dict:
    """Read `calibration.json`; return an empty dictionary for a run of an earlier version, which lacks the file.

    Raises:
        InputError: the file is damaged.
    """
    path = run.folder / "calibration.json"
    facts = files.read_json(path) if path.exists() else {}
    if facts and not {"target", "temperature", "global_threshold", "strength", "cross_validated"} <= facts.keys():
        raise InputError(f"{path} is damaged: eval.py --calibrate writes it again")
    return facts


def save_history(folder: Path, rows: list[dict]) -> None:
    """Write `history.csv`, one row for each epoch."""
    columns = list(rows[-1])
    files.write_csv(folder / "history.csv", columns, ([row.get(column, "") for column in columns] for row in rows))


def read_history(folder: Path) -> list[dict]:
    """Read the rows of `history.csv`; return an empty list if the file is missing."""
    path = folder / "history.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def newest(folder: Path, holding: str, made_by: str) -> Path:
    """Return the subfolder whose file `holding` is the newest.

    Args:
        folder: where to search.
        holding: name of the file that the subfolder has to contain.
        made_by: the script that makes such folders, for the error message.

    Raises:
        InputError: no subfolder contains the file.
    """
    found = sorted(folder.glob(f"*/{holding}"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise InputError(f"nothing under {folder}/ yet: {made_by} makes it")
    return found[-1].parent


def save_network(network: "keras.Model", path: Path) -> None:
    """Write a network to a `.keras` file, atomically."""
    with files.atomic_path(path) as partial:
        network.save(partial)


def check_network(path: Path) -> None:
    """Check that a `.keras` file is a complete archive, without reading the network.

    Raises:
        InputError: the file is missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path} is missing: has its training finished?")
    if not zipfile.is_zipfile(path):
        damage = f"{path} is damaged: expected a whole .keras file, received {path.stat().st_size:,} bytes"
        raise InputError(f"{damage}: delete it and run the same train.py command again")


def digest(path: Path) -> str:
    """Return the checksums of what a `.keras` file holds, without reading all of it; empty if it is missing or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return " ".join(f"{entry.CRC:08x}" for entry in archive.infolist() if entry.filename != "metadata.json")
    except (OSError, zipfile.BadZipFile):
        return ""


def load_network(path: Path) -> "keras.Model":
    """Read a network from a `.keras` file. Nothing is unpickled and no code from the file runs.

    Raises:
        InputError: the file is missing or damaged, or holds another kind of model.
    """
    check_network(path)
    import_quietly("keras")
    import keras

    from model.network import TaggerNetwork

    try:
        network = keras.saving.load_model(path, safe_mode=True)
    except Exception as error:  # the readers of zip, HDF5 and JSON raise many kinds
        raise InputError(f"{path} cannot be read as a network: {error}") from None
    if not isinstance(network, TaggerNetwork):
        raise InputError(f"{path} holds {type(network).__name__}: expected a network saved by train.py")
    return network
