"""Checkpoints: the complete state of an unfinished run, so that a resumed run equals an uninterrupted one.

A checkpoint, `checkpoint-STEP.npz`, holds every variable of the network (including the states of its random generators) and
of the optimizer (momentum, average of the weights, summed gradients, and the number of updates, which determines learning
rate and momentum), and the running loss of the epoch. It also holds the position in the run, which together with the seed
determines the order of the pictures and their augmentation. The last two checkpoints are kept. An older one is deleted only
after the newer one is completely on the disk.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common import files
from common.errors import InputError, say
from model import process_group

KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class TrainingPosition:
    """The position between two steps of a run.

    Attributes:
        epoch: number of complete epochs, validation included.
        step: number of steps taken in the next epoch.
    """

    epoch: int = 0
    step: int = 0


class NotFinite(Exception):
    """A variable has a value that is not finite; the message names the variable."""


def save(folder: Path, network: keras.Model, position: TrainingPosition, steps_per_epoch: int) -> None:
    """Write a checkpoint, and delete all but the last two.

    Args:
        folder: the run folder.
        network: the compiled network.
        position: the position in the run.
        steps_per_epoch: for the name of the file, which has the number of steps since the start.

    Raises:
        NotFinite: a variable is not finite; nothing was written.
    """
    arrays: dict[str, Any] = {"position": np.array([position.epoch, position.step])}
    for name, variable in _variables(network).items():
        arrays[name] = keras.ops.convert_to_numpy(variable)
        if not np.isfinite(arrays[name]).all():
            raise NotFinite(f"{variable.path} is not finite")
    path = folder / f"checkpoint-{position.epoch * steps_per_epoch + position.step:09}.npz"
    with files.atomic_write(path, "wb") as file:
        np.savez(file, **arrays)
    for older in paths(folder)[:-KEPT_CHECKPOINTS]:
        older.unlink()


def restore(folder: Path, network: keras.Model) -> TrainingPosition:
    """Restore a network from the newest complete checkpoint. A damaged checkpoint is named and deleted.

    In a group of processes, the first one reads the checkpoint, and the others get its values.

    Args:
        folder: the run folder.
        network: built and compiled for this run; unchanged if there is no checkpoint.

    Returns:
        The position of the checkpoint, or that of a fresh start.

    Raises:
        InputError: the checkpoint belongs to another network.
    """
    variables = _variables(network)
    arrays = {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}
    position = TrainingPosition()
    if process_group.group.index == 0 and (found := _newest(folder)):
        position, arrays = found
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        if shapes != {name: array.shape for name, array in arrays.items()}:
            problem = f"the checkpoint in {folder} belongs to another network or version of e6tag"
            raise InputError(f"{problem}: delete {folder}, or give another --run")
    place, arrays = process_group.broadcast([np.array([position.epoch, position.step], np.int32), arrays])
    if place.any():
        for name, variable in variables.items():
            variable.assign(arrays[name])
    return TrainingPosition(*map(int, place))


def _newest(folder: Path) -> tuple[TrainingPosition, dict[str, np.ndarray]] | None:
    """Return the position and the arrays of the newest checkpoint that is not damaged, and delete the damaged ones."""
    for partial in folder.glob(f"{files.PARTIAL}checkpoint-*"):
        partial.unlink()
    for path in reversed(paths(folder)):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            position = TrainingPosition(*map(int, arrays.pop("position")))
        except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            say(f"{path} is damaged ({error}) and was deleted: continuing from the one before it, or from the start")
            path.unlink()
            continue
        return position, arrays
    return None


def paths(folder: Path) -> list[Path]:
    """Return the paths of the checkpoints in a run folder, oldest first."""
    return sorted(folder.glob("checkpoint-*.npz"))


def _variables(network: keras.Model) -> dict[str, keras.Variable]:
    """Return all variables of a compiled network under the names that they have in a checkpoint."""
    if not network.optimizer.built:  # if built twice, a loss-scaling optimizer would have its variables twice
        network.optimizer.build(network.trainable_variables)
    groups = {
        "network": network.variables,
        "optimizer": network.optimizer.variables,
        "running": network.metrics_variables,
    }
    return {f"{group}-{index:04}": variable for group, members in groups.items() for index, variable in enumerate(members)}
