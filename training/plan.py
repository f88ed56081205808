"""The plan of a training run: all sizes and counts, checked and printed before training starts."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from common import files
from common.errors import InputError
from dataset import implications, pipeline, records
from dataset.augmentation import Augmentation
from dataset.batches import Batches
from dataset.cache import Cache, open_cache
from dataset.frozen_features import FrozenFeatures
from dataset.soft_targets import SoftTargets
from model import devices, process_group, run_folder
from model.config import Config
from model.network import TaggerNetwork
from model.run_folder import Run
from training.checkpoints import TrainingPosition
from training.memory import available_memory, estimated_memory


@dataclass(frozen=True)
class Plan:
    """The plan of a training run.

    Attributes:
        run: run folder, configuration and tags.
        data: the data folder.
        val_images: number of images in the validation split.
        cache: the decoded training pictures, if they are cached.
        soft_targets: the teacher's probabilities, if the run has a teacher.
        features: the stored outputs of the part of the trunk that is frozen in all epochs, if they replace the pictures.
        implied: for each tag the indices of the tags that it implies, if their missing labels are added.
    """

    run: Run
    data: Path
    val_images: int
    cache: Cache | None = None
    soft_targets: SoftTargets | None = None
    features: FrozenFeatures | None = None
    implied: list[list[int]] | None = None

    @property
    def batch_size(self) -> int:
        """Images per step, see `Run.batch_size`."""
        return self.run.batch_size

    @property
    def steps_per_update(self) -> int:
        """Number of steps whose gradients are summed for an update of the weights."""
        return self.run.steps_per_update

    @property
    def steps_per_epoch(self) -> int:
        """Steps per epoch, a multiple of `steps_per_update`."""
        return self.run.updates_per_epoch * self.steps_per_update

    @property
    def total_updates(self) -> int:
        """Number of updates in the whole run."""
        return self.run.updates_per_epoch * self.run.config.epochs

    @property
    def augmentation(self) -> Augmentation:
        """The augmentation of the training pictures."""
        return Augmentation(**{entry.name: getattr(self.run.config, entry.name) for entry in fields(Augmentation)})

    def batches(
        self,
        epoch: int,
        step: int,
        end_epoch: int,
        when_ready: Callable[[int], None] | None = None,
        whole: bool = False,
    ) -> Batches:
        """Return the training batches from a step of an epoch until `end_epoch` epochs are complete.

        In a group of processes, these are this process' parts of the batches.

        Args:
            epoch, step, end_epoch, when_ready: see `pipeline.training_batches`.
            whole: return whole batches in any case.
        """
        config, group = self.run.config, process_group.group
        data = pipeline.TrainingData(
            folder=self.data,
            num_tags=len(self.run.tags),
            image_size=config.image_size,
            resize=config.resize,
            batch_size=self.batch_size,
            augmentation=self.augmentation,
            seed=config.seed,
            steps_per_epoch=self.steps_per_epoch,
            cache=self.cache,
            soft_targets=self.soft_targets,
            features=self.features,
            implied=self.implied,
            part=0 if whole else group.index,
            parts=1 if whole else group.count,
        )
        return pipeline.training_batches(data, epoch, end_epoch, step, when_ready)

    def data_facts(self) -> list:
        """Return what tells this data folder from others: names and sizes of its shards, its tags and its rules."""
        paths = [path for split in ("train", "val") for path in records.shard_paths(self.data, split)]
        return [[(path.name, path.stat().st_size) for path in paths], self.run.tags, self.run.rules, self.run.decode_version]

    def with_cache(self, where: str) -> "Plan":
        """Return the plan with decoded training pictures in `memory` or on `disk`; unchanged for `none`."""
        if where == "none":
            return self
        config, fitted = self.run.config, self.augmentation.only_mirrors
        cache = open_cache(self.data, where, config.image_size, config.resize, fitted, available_memory())
        return replace(self, cache=cache)


def read_manifest(data: Path) -> tuple[int, int, int]:
    """Return the number of training and of validation images of a data folder, and the size of the stored pictures.

    Raises:
        InputError: the data folder is missing or unfinished.
    """
    if not (data / "manifest.json").is_file():
        raise InputError(f"--data: {data} is not a folder made by download.py: run download.py, or give its --out folder")
    manifest = files.read_json(data / "manifest.json")
    if not manifest.get("complete"):
        raise InputError(f"{data} is unfinished: run its download.py command again")
    try:
        train_images, val_images = (int(manifest["splits"][split]["written"]) for split in ("train", "val"))
        return train_images, val_images, int(manifest["options"]["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{data / 'manifest.json'} is not a manifest written by download.py: {error!r}") from None


def plan_run(data: Path, folder: Path, config: Config, num_devices: int = 1) -> Plan:
    """Check the data folder and the run folder, and return the plan of a run.

    Args:
        data: the data folder.
        folder: the run folder, which may exist.
        config: the configuration.
        num_devices: number of devices that share a batch.

    Raises:
        InputError: the data folder is missing or unfinished, or the run folder holds a run with another configuration.
    """
    train_images, val_images, stored_size = read_manifest(data)
    tags = records.read_tags(data / "tags.csv")
    if not tags or train_images < 1:
        raise InputError(f"{data} has {len(tags):,} tags and {train_images:,} training pictures: download it again")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--run: {folder} is a file: give a folder, or a name that does not exist yet")
    rules = implications.read(data, tags)
    run = Run(folder, config, tags, str(data), stored_size, train_images, records.decode_version(data), rules)
    if (folder / "config.json").exists():
        cycles = files.read_json(folder / "config.json")["config"].get("cycles", 1)
        if cycles != 1 and not (folder / "model.keras").exists():
            raise InputError(f"{folder} was begun by an earlier version with --cycles {cycles}, which is no option any more")
        existing = run_folder.load(folder)
        differences = _differences(existing, run)
        if differences:
            raise InputError(
                f"{folder} holds a run with other options ({'; '.join(differences)}): give another --run, or delete it"
            )
        run = replace(run, rules=existing.rules)  # they may have been edited
    elif (folder / "model.keras").exists():
        raise InputError(f"{folder} holds a model.keras but no config.json, so it is not a run: give another --run")
    if run.batch_size % num_devices:
        shared_by = f"--devices, {num_devices}"
        if (processes := process_group.group.count) > 1:
            shared_by = f"all devices, {num_devices} in {processes} processes"
        raise InputError(f"--batch-size has to be a multiple of {shared_by}. Received: {run.batch_size}")
    return Plan(run, data, val_images)


def _differences(existing: Run, new: Run) -> list[str]:
    """Return the differences between an existing run and a new one in the same folder, in words."""
    old, now = existing.config.as_dict(), new.config.as_dict()
    differences = [f"{name} was {old[name]} and is now {now[name]}" for name in now if old[name] != now[name]]
    number = len(new.tags)  # train.py --teach may have added tags after these
    added = {tag.name for tag in existing.tags[number:]}
    same_tags = existing.tags[:number] == new.tags and added <= existing.added_outputs()
    if not same_tags or existing.train_images != new.train_images:
        differences.append(f"it was trained on {existing.data} with other tags or images")
    return differences


def _parameters(network: TaggerNetwork) -> int:
    """Return the number of weights. The bytes of an ONNX file are none."""
    return sum(math.prod(variable.shape) for variable in network.weights if variable.dtype != "uint8")


def _recipe(config: Config) -> str:
    """Return the settings that decide most, and depend on recipe, trunk and number of pictures."""
    noise = "no noise layer" if config.noise == "none" else f"{config.noise} noise layer"
    rates = f"{config.optimizer} at {config.learning_rate:g}"
    if config.init and not config.freeze:
        rates += f", {config.trunk_rate:g} of it for the trunk's first stage"
    return f"{rates}; {config.loss} loss, {noise}"


def describe(plan: Plan, network: TaggerNetwork, position: TrainingPosition) -> str:
    """Return a description of the run for the terminal, one fact on each line.

    Args:
        plan: the plan of the run.
        network: the compiled network.
        position: where the run starts or continues.
    """
    run, config = plan.run, plan.run.config
    accumulation = f", {plan.steps_per_update} steps per update" if plan.steps_per_update > 1 else ""
    resumed = f", resumed after epoch {position.epoch}" + (f" and {position.step:,} steps" if position.step else "")
    frozen = f", frozen for {config.frozen_epochs} of {config.epochs} epochs" if config.frozen_epochs else ""
    if config.frozen_stages and config.frozen_epochs < config.epochs:
        frozen += f", its first {config.frozen_stages} stages frozen in all epochs"
    facts = {
        "device": f"{devices.describe()}, {config.precision}",
        "data": f"{plan.data}: {run.train_images:,} training and {plan.val_images:,} validation images",
        "tags": f"{len(run.tags):,}, {run.frequencies.sum():.1f} per image",
        "network": f"{config.preset}, {config.image_size} px, {_parameters(network):,} parameters"
        + (f"; trunk of {config.init}{frozen}" if config.init else ""),
        "recipe": f"{config.recipe}: {_recipe(config)}",
        "steps": f"{config.epochs} epochs of {plan.steps_per_epoch:,} at batch {plan.batch_size}{accumulation}",
        "memory": f"about {estimated_memory(network, plan.batch_size) / 2**30:.1f} GiB for a step",
        "run": f"{run.folder}" + (resumed if position != TrainingPosition() else ""),
    }
    if config.teacher:
        temperature = f"temperature {config.teacher_temperature:g}"
        facts["teacher"] = f"{config.teacher}, weight {config.teacher_weight:g}, {temperature}"
    return "\n".join(f"{name:<8} {fact}" for name, fact in facts.items())
