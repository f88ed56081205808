"""All that an unfinished run is between two of its steps, kept so that it goes on as if it had never stopped.

A checkpoint, `checkpoint-STEP.npz`, holds every variable: of the network (the state of its random generators among them),
of the optimizer (momentum, average, sums of gradients, and the count of updates, from which the cycle follows), and the
running loss of the epoch; and the position, from which with the seed the order of the pictures and their augmentation
follow. The last two are kept: the older one goes only when the newer is whole on disk.
"""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from command import InputError, say
from dataset import soft_targets

KEPT = 2


@dataclass(frozen=True)
class Position:
    """How far a run has come.

    Attributes:
        epoch: epochs that are complete, validation included.
        step: steps taken in the epoch after those.
    """

    epoch: int = 0
    step: int = 0


class NotFinite(Exception):
    """A variable holds what is no finite number; the message names it."""


def save(folder: Path, network: keras.Model, position: Position, steps_per_epoch: int) -> None:
    """Write a checkpoint, and remove those before the last two.

    Args:
        folder: the run folder.
        network: compiled.
        position: what has been done.
        steps_per_epoch: for the file's name, which counts steps.

    Raises:
        NotFinite: nothing was written.
    """
    arrays = {"position": np.array([position.epoch, position.step])}
    for name, variable in _variables(network).items():
        arrays[name] = keras.ops.convert_to_numpy(variable)
        if not np.isfinite(arrays[name]).all():
            raise NotFinite(f"{variable.path} is not finite")
    path = folder / f"checkpoint-{position.epoch * steps_per_epoch + position.step:09}.npz"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())  # the name must not reach the disk before the content does
    partial.replace(path)
    for older in paths(folder)[:-KEPT]:
        older.unlink()


def restore(folder: Path, network: keras.Model) -> Position:
    """Set a network to the newest whole checkpoint; a damaged one is named, removed, and the one before it taken.

    Args:
        folder: the run folder.
        network: as built and compiled for this run; unchanged where there is no checkpoint.

    Raises:
        InputError: a whole checkpoint is of another network.
    """
    for partial in folder.glob("checkpoint-*.partial"):
        partial.unlink()
    for path in reversed(paths(folder)):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            position = Position(*map(int, arrays.pop("position")))
        except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            say(f"{path} is damaged ({error}) and removed: going on from the one before it, or from the beginning")
            path.unlink()
            continue
        _set(network, arrays, path)
        return position
    return Position()


def remove(folder: Path) -> None:
    """Remove what a finished run does not need: the checkpoints, and a teacher's targets."""
    for path in (*paths(folder), folder / soft_targets.FILE):
        if path.exists():  # what is not there cannot be removed from a disk that may only be read
            path.unlink()


def paths(folder: Path) -> list[Path]:
    """The checkpoints of a run folder, oldest first."""
    return sorted(folder.glob("checkpoint-*.npz"))


def _set(network: keras.Model, arrays: dict[str, np.ndarray], path: Path) -> None:
    variables = _variables(network)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise InputError(f"{path} is of another network or version of e6tag: delete {path.parent}, or give another --run")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _variables(network: keras.Model) -> dict[str, keras.Variable]:
    if not network.optimizer.built:  # Keras would add a loss-scaling optimizer's variables once more
        network.optimizer.build(network.trainable_variables)
    groups = {
        "network": network.variables,
        "optimizer": network.optimizer.variables,
        "running": network.metrics_variables,
    }
    return {f"{group}-{index:04}": variable for group, found in groups.items() for index, variable in enumerate(found)}
