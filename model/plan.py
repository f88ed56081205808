"""What a training run will do, known and said before it starts."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

from command import InputError
from dataset import pipeline, records
from dataset.cache import Cache, open_cache
from dataset.soft_targets import SoftTargets
from model import devices, runs
from model.checkpoints import Position
from model.config import Config
from model.memory import available_memory, estimated_memory
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
        steps_per_update: steps whose gradients make one update of the weights.
        cache: the training pictures, if they are decoded already.
        soft_targets: what the teacher says of them, if the run has one.
    """

    run: Run
    data: Path
    val_images: int
    batch_size: int
    steps_per_update: int
    cache: Cache | None = None
    soft_targets: SoftTargets | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps an epoch: as many as make whole updates."""
        return self.run.train_images // (self.batch_size * self.steps_per_update) * self.steps_per_update

    @property
    def total_updates(self) -> int:
        """Updates of the weights in the whole run."""
        return self.steps_per_epoch // self.steps_per_update * self.run.config.epochs

    @property
    def augmentation(self) -> pipeline.Augmentation:
        """What is done to a training picture."""
        return pipeline.Augmentation(
            **{entry.name: getattr(self.run.config, entry.name) for entry in fields(pipeline.Augmentation)}
        )

    def batches(self, epoch: int, step: int, end_epoch: int, when_ready: Callable[[int], None] | None = None):
        """The batches from a step of an epoch until `end_epoch` epochs are complete; see `pipeline.training_batches`."""
        config = self.run.config
        return pipeline.training_batches(
            self.data,
            num_tags=len(self.run.tags),
            image_size=config.image_size,
            resize=config.resize,
            batch_size=self.batch_size,
            augmentation=self.augmentation,
            seed=config.seed,
            first_epoch=epoch,
            epochs=end_epoch,
            first_step=step,
            steps_per_epoch=self.steps_per_epoch,
            when_ready=when_ready,
            cache=self.cache,
            soft_targets=self.soft_targets,
        )

    def with_cache(self, where: str) -> "Plan":
        """The same with the training pictures decoded in `memory` or on `disk`, where it is not `none`."""
        if where == "none":
            return self
        config, fitted = self.run.config, self.augmentation.only_mirrors
        with pipeline.damage_named(self.data, "train"):
            cache = open_cache(self.data, where, config.image_size, config.resize, fitted, available_memory())
        return replace(self, cache=cache)


def plan_run(data: Path, folder: Path, config: Config, num_devices: int = 1) -> Plan:
    """Look at the data and at what the run folder holds already.

    Args:
        num_devices: that share a batch.

    Raises:
        InputError: the data folder is missing or unfinished, or the run folder holds a run of another configuration.
    """
    if not (data / "manifest.json").is_file():
        raise InputError(f"--data: {data} is no folder that download.py made: run download.py, or give the folder it named")
    manifest = records.read_json(data / "manifest.json")
    if not manifest.get("complete"):
        raise InputError(f"{data} is unfinished: run its download.py command again")
    try:
        train_images, val_images = (int(manifest["splits"][split]["written"]) for split in ("train", "val"))
        stored_size = int(manifest["options"]["size"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{data / 'manifest.json'} is no manifest of download.py: {error!r}") from None
    tags = records.read_tags(data / "tags.csv")
    if not tags or train_images < 1:
        raise InputError(f"{data} has {len(tags):,} tags and {train_images:,} training pictures: download it again")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--run: {folder} is a file; expected a folder, or a name that is not taken")
    run = Run(folder, config, tags, str(data), stored_size, train_images)
    if (folder / "config.json").exists():
        differences = _differences(runs.load(folder), run)
        if differences:
            raise InputError(
                f"{folder} holds a run with other options ({'; '.join(differences)}): give another --run, or delete it"
            )
    elif (folder / "model.keras").exists():
        raise InputError(f"{folder} holds a model.keras that is of no run, for there is no config.json: give another --run")
    batch_size = min(config.batch_size, run.train_images)
    if batch_size % num_devices:
        raise InputError(f"{num_devices} devices cannot share a batch of {batch_size}: give a multiple as --batch-size")
    steps_per_update = min(max(1, config.effective_batch // batch_size), run.train_images // batch_size)
    return Plan(run, data, val_images, batch_size, steps_per_update)


def _differences(before: Run, now: Run) -> list[str]:
    old, new = before.config.as_dict(), now.config.as_dict()
    differences = [f"{name} was {old[name]} and is now {new[name]}" for name in new if old[name] != new[name]]
    trained = len(now.tags)  # train.py --teach has added others since
    same_tags = before.tags[:trained] == now.tags and before.taught().issuperset(tag.name for tag in before.tags[trained:])
    if not same_tags or before.train_images != now.train_images:
        differences.append(f"it was trained on {before.data} and other tags or images")
    return differences


def describe(plan: Plan, network: TaggerNetwork, position: Position) -> str:
    """What the run will do, for people, a fact a line."""
    run, config = plan.run, plan.run.config
    added_up = f", {plan.steps_per_update} of them an update" if plan.steps_per_update > 1 else ""
    going_on = f", going on after epoch {position.epoch}" + (f" and {position.step:,} steps" if position.step else "")
    frozen = f", frozen for {config.frozen_epochs} of {config.epochs} epochs" if config.frozen_epochs else ""
    facts = {
        "device": f"{devices.name()}, {config.precision}",
        "data": f"{plan.data}: {run.train_images:,} training and {plan.val_images:,} validation images",
        "tags": f"{len(run.tags):,}, {run.frequencies.sum():.1f} an image",
        "network": f"{config.preset}, {config.image_size} px, {network.count_params():,} parameters"
        + (f"; trunk of {config.init}{frozen}" if config.init else ""),
        "steps": f"{config.epochs} epochs of {plan.steps_per_epoch:,} at batch {plan.batch_size}{added_up}",
        "memory": f"about {estimated_memory(network, plan.batch_size) / 2**30:.1f} GiB for a step",
        "run": f"{run.folder}" + (going_on if position != Position() else ""),
    }
    if config.teacher:
        temperature = f"temperature {config.teacher_temperature:g}"
        facts["teacher"] = f"{config.teacher}, weight {config.teacher_weight:g}, {temperature}"
    return "\n".join(f"{name:<8} {fact}" for name, fact in facts.items())
