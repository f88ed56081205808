"""What a training run will do, known and said before it starts."""

import math
from dataclasses import dataclass
from pathlib import Path

import keras

from command import InputError
from dataset import records
from model import runs
from model.config import Config
from model.runs import Run
from model.tagger import TaggerNetwork


@dataclass(frozen=True)
class Plan:
    """What a run will do, known before it starts.

    Attributes:
        run: the run.
        data: the data folder.
        val_images: images in the validation split.
        batch_size: images a step: the configured number, or the whole training split if that is smaller.
        steps_per_epoch: optimizer steps an epoch.
    """

    run: Run
    data: Path
    val_images: int
    batch_size: int
    steps_per_epoch: int

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.run.config.epochs


def plan_run(data: Path, folder: Path, config: Config) -> Plan:
    """Look at the data and at what the run folder holds already.

    Raises:
        InputError: the data folder is missing or unfinished, or the run folder holds a run of another configuration.
    """
    manifest = records.read_json(data / "manifest.json")
    if not manifest.get("complete"):
        raise InputError(f"{data} is unfinished: run its download.py command again")
    try:
        train_images, val_images = (int(manifest["splits"][split]["written"]) for split in ("train", "val"))
        stored_size = int(manifest["options"]["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{data / 'manifest.json'} is no manifest of download.py: {error!r}") from None
    tags = records.read_tags(data / "tags.csv")
    run = Run(folder, config, tags, str(data), stored_size, train_images)
    if (folder / "config.json").exists():
        differences = _differences(runs.load(folder), run)
        if differences:
            raise InputError(
                f"{folder} holds a run with other options ({'; '.join(differences)}): give another --run, or delete it"
            )
    batch_size = min(config.batch_size, run.train_images)
    return Plan(run, data, val_images, batch_size, run.train_images // batch_size)


def _differences(before: Run, now: Run) -> list[str]:
    old, new = before.config.as_dict(), now.config.as_dict()
    differences = [f"{name} was {old[name]} and is now {new[name]}" for name in new if old[name] != new[name]]
    if (before.tags, before.train_images) != (now.tags, now.train_images):
        differences.append(f"it was trained on {before.data} and other tags or images")
    return differences


def describe(plan: Plan, network: TaggerNetwork, epochs_done: int) -> str:
    """What the run will do, for people, a fact a line."""
    run, config = plan.run, plan.run.config
    facts = {
        "device": _device(),
        "data": f"{plan.data}: {run.train_images:,} training and {plan.val_images:,} validation images",
        "tags": f"{len(run.tags):,}, {run.frequencies.sum():.1f} an image",
        "network": f"{config.preset}, {config.image_size} px, {network.count_params():,} parameters",
        "steps": f"{plan.total_steps:,} ({config.epochs} epochs of {plan.steps_per_epoch:,} at batch {plan.batch_size})",
        "memory": f"about {estimated_memory(network, plan.batch_size) / 2**30:.1f} GiB for a step",
        "run": f"{run.folder}" + (f", going on after epoch {epochs_done}" if epochs_done else ""),
    }
    return "\n".join(f"{name:<8} {fact}" for name, fact in facts.items())


def _device() -> str:
    """The backend and the device it will train on."""
    backend = keras.backend.backend()
    devices = keras.distribution.list_devices("gpu") or keras.distribution.list_devices("cpu")
    return f"{', '.join(devices)} ({backend})"


def estimated_memory(network: TaggerNetwork, batch_size: int) -> int:
    """Bytes that a training step needs, roughly: weights, gradients and momentum, and every layer's output in float32, held
    for the backward pass.

    Measured as growth of the process on a CPU: 2.0 GiB where this says 2.1 (`base`, batch 12), 0.5 where it says 0.3
    (`tiny`, batch 64); a GPU's convolutions take working space on top.
    """
    held = sum(math.prod(layer.output.shape[1:]) for layer in network.layers if hasattr(layer.output, "shape"))
    return 4 * (3 * network.count_params() + batch_size * held)
