"""Training a run: the network, its optimizer and cycle, what is kept at each epoch's end, and how it goes on."""

import contextlib
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from command import InputError, say
from dataset import pipeline, records
from model import metrics, runs
from model.config import Config
from model.runs import Run
from model.schedule import CycledSGD, OneCycle
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
    images = {split: int(counts["written"]) for split, counts in manifest["splits"].items()}
    run = Run(
        folder=folder,
        config=config,
        tags=records.read_tags(data / "tags.csv"),
        data=str(data),
        stored_size=int(manifest["options"]["size"]),
        train_images=images["train"],
    )
    if (folder / "config.json").exists():
        differences = _differences(runs.load(folder), run)
        if differences:
            raise InputError(
                f"{folder} holds a run with other options ({'; '.join(differences)}): give another --run, or delete it"
            )
    batch_size = min(config.batch_size, run.train_images)
    return Plan(run, data, images["val"], batch_size, run.train_images // batch_size)


def _differences(before: Run, now: Run) -> list[str]:
    old, new = before.config.as_dict(), now.config.as_dict()
    differences = [f"{name} was {old[name]} and is now {new[name]}" for name in new if old[name] != new[name]]
    if (before.tags, before.train_images) != (now.tags, now.train_images):
        differences.append(f"it was trained on {before.data} and other tags or images")
    return differences


def check_vocabulary(run: Run, data: Path) -> None:
    """Refuse data whose tags are not the run's.

    Raises:
        InputError: they differ in name or order.
    """
    names = [tag.name for tag in records.read_tags(data / "tags.csv")]
    if names != [tag.name for tag in run.tags]:
        raise InputError(
            f"{data} has other tags than {run.folder} was trained on ({len(names):,} and {len(run.tags):,}): expected "
            f"the folder it was trained on, {run.data}"
        )


def build_network(run: Run) -> TaggerNetwork:
    """A network with fresh weights, drawn from the run's seed."""
    keras.utils.set_random_seed(run.config.seed)
    network = TaggerNetwork(len(run.tags), run.config.as_dict())
    network.start_at(run.frequencies)
    return network


def build_optimizer(config: Config, total_steps: int) -> CycledSGD:
    """SGD on one cycle: the momentum is lowest where the learning rate is highest."""
    first, last = (share * config.learning_rate for share in (config.first_learning_rate, config.last_learning_rate))
    rate = OneCycle(first, config.learning_rate, last, total_steps, config.warmup, config.cycle)
    momentum = OneCycle(config.momentum, config.lowest_momentum, config.momentum, total_steps, config.warmup, config.cycle)
    limits = {"global_clipnorm": config.clip_norm or None, "weight_decay": config.weight_decay or None}
    return CycledSGD(rate, momentum, **limits)


def train(plan: Plan, network: TaggerNetwork) -> None:
    """Train to the last epoch, keeping a checkpoint at each epoch's end, and write `model.keras`.

    Args:
        plan: what to do.
        network: fresh from `build_network`, or compiled, from the checkpoint.

    Raises:
        InputError: the loss stopped being finite.
    """
    run, config = plan.run, plan.run.config
    first_epoch = epochs_done(plan, network)
    batches = pipeline.training_batches(
        plan.data,
        num_tags=len(run.tags),
        image_size=config.image_size,
        resize=config.resize,
        batch_size=plan.batch_size,
        augmentation=pipeline.Augmentation(
            config.flip, config.vertical_flip, config.shift, config.zoom, config.colour, config.rotation
        ),
        seed=config.seed,
        first_epoch=first_epoch,
        epochs=config.epochs,
    )
    if not network.compiled:
        network.compile(optimizer=build_optimizer(config, plan.total_steps), jit_compile=_compiles_well())
    with contextlib.redirect_stdout(sys.stderr):  # Keras' progress bar
        network.fit(
            batches,
            initial_epoch=first_epoch,
            epochs=config.epochs,
            steps_per_epoch=plan.steps_per_epoch,
            shuffle=False,
            callbacks=[
                StopAtNonFinite(),
                Validation(plan),
                Keep(run.folder, first_epoch),
                keras.callbacks.TensorBoard(run.folder / "logs", write_graph=False),
            ],
        )
    runs.save_thresholds(run, _thresholds(plan, network))
    # A copy without the optimizer: half the size, and nothing in it but the network.
    finished = TaggerNetwork.from_config(network.get_config())
    finished.set_weights(network.get_weights())
    runs.save_network(finished, run.folder / "model.keras")
    (run.folder / "checkpoint.keras").unlink(missing_ok=True)


def score(
    network: TaggerNetwork, data: Path, split: str, config: Config, batch_size: int = 64, show_progress: bool = False
) -> dict:
    """What the network says of a whole split, in its order.

    Returns:
        `probability` float32 and `labels` bool, both (images, tags); `id` and `image`, lists of the post ids and the
        encoded pictures.
    """
    batches = pipeline.evaluation_batches(data, split, network.num_tags, config.image_size, config.resize, batch_size)
    probabilities, labels, ids, encoded = [], [], [], []
    with tqdm(unit=" images", desc=split, dynamic_ncols=True, disable=not show_progress) as progress:
        for batch in batches.as_numpy_iterator():
            probabilities.append(keras.ops.convert_to_numpy(network.predict_on_batch(batch["pixels"])["probability"]))
            labels.append(batch["labels"] > 0.5)
            ids += [name.decode() for name in batch["id"]]
            encoded += list(batch["image"])
            progress.update(len(batch["id"]))
    if not ids:
        raise InputError(f"the {split} split of {data} is empty")
    return {
        "probability": np.concatenate(probabilities),
        "labels": np.concatenate(labels),
        "id": ids,
        "image": encoded,
    }


def _thresholds(plan: Plan, network: TaggerNetwork) -> np.ndarray:
    """One threshold for all tags, where the validation split's micro F1 is highest: float (tags,)."""
    if not plan.val_images:
        return np.full(len(plan.run.tags), 0.5)
    scores = score(network, plan.data, "val", plan.run.config)
    return np.full(len(plan.run.tags), metrics.best_f1_threshold(scores["labels"], scores["probability"]))


class Validation(keras.callbacks.Callback):
    """Adds the exact figures of the validation split to an epoch's log, for all callbacks after it."""

    def __init__(self, plan: Plan):
        super().__init__()
        self.plan = plan

    def on_epoch_end(self, epoch, logs=None):
        if self.plan.val_images:
            scores = score(self.model, self.plan.data, "val", self.plan.run.config)
            if not np.isfinite(scores["probability"]).all():
                raise _diverged(self.model, "the network gives what is no number")
            figures = metrics.ranking(scores["labels"], scores["probability"])
            logs.update({f"val_{name}": value for name, value in figures.items()})


class StopAtNonFinite(keras.callbacks.Callback):
    """Ends training when the loss is infinite or not a number."""

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise _diverged(self.model, f"the loss is {logs['loss']}")


def _diverged(network: TaggerNetwork, what: str) -> InputError:
    step, rate = int(network.optimizer.iterations), float(network.optimizer.learning_rate)
    return InputError(
        f"{what} after step {step} (learning rate {rate:.3g}): try a lower --learning-rate in another --run; the last "
        "finished epoch is kept"
    )


class Keep(keras.callbacks.Callback):
    """Keeps `history.csv` and the checkpoint at each epoch's end, each whole or not at all."""

    def __init__(self, folder: Path, first_epoch: int):
        super().__init__()
        self.folder = folder
        self.rows = runs.read_history(folder)[:first_epoch]

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        rate, momentum = self.model.optimizer.learning_rate, self.model.optimizer.current_momentum()
        seconds = time.monotonic() - self.started  # validation included
        row = {"epoch": epoch + 1, **logs, "learning_rate": float(rate), "momentum": float(momentum), "seconds": seconds}
        self.rows.append({name: value if name == "epoch" else f"{value:.6g}" for name, value in row.items()})
        runs.save_history(self.folder, self.rows)
        runs.save_network(self.model, self.folder / "checkpoint.keras")


def resume(folder: Path) -> TaggerNetwork | None:
    """The network and optimizer of an interrupted run, or None where it has no usable checkpoint."""
    path = folder / "checkpoint.keras"
    if not path.exists():
        return None
    try:
        return runs.load_network(path)
    except InputError as error:
        say(f"{error}; starting from the beginning")
        return None


def epochs_done(plan: Plan, network: TaggerNetwork) -> int:
    """Whole epochs that a network has been trained for: 0 for a fresh one."""
    return int(network.optimizer.iterations) // plan.steps_per_epoch if network.compiled else 0


def describe(plan: Plan, network: TaggerNetwork) -> str:
    """What the run will do, for people, a fact a line."""
    run, config = plan.run, plan.run.config
    done = epochs_done(plan, network)
    facts = {
        "device": _device(),
        "data": f"{plan.data}: {run.train_images:,} training and {plan.val_images:,} validation images",
        "tags": f"{len(run.tags):,}, {run.frequencies.sum():.1f} an image",
        "network": f"{config.preset}, {config.image_size} px, {network.count_params():,} parameters",
        "steps": f"{plan.total_steps:,} ({config.epochs} epochs of {plan.steps_per_epoch:,} at batch {plan.batch_size})",
        "memory": f"about {estimated_memory(network, plan.batch_size) / 2**30:.1f} GiB for a step",
        "run": f"{run.folder}" + (f", going on after epoch {done}" if done else ""),
    }
    return "\n".join(f"{name:<8} {fact}" for name, fact in facts.items())


def _device() -> str:
    """The backend and the device it will train on."""
    backend = keras.backend.backend()
    devices = keras.distribution.list_devices("gpu") or keras.distribution.list_devices("cpu")
    return f"{', '.join(devices)} ({backend})"


def estimated_memory(network: TaggerNetwork, batch_size: int) -> int:
    """Bytes that a training step needs, roughly: weights, gradients and momentum, and what the backward pass keeps.

    Every layer's output is held for the backward pass, in float32, and as much again is in use around the step's widest
    point.
    """
    held = sum(math.prod(layer.output.shape[1:]) for layer in network.layers if hasattr(layer.output, "shape"))
    return 4 * (3 * network.count_params() + 2 * batch_size * held)


def _compiles_well() -> bool | str:
    """Whether XLA pays: on CPUs, TensorFlow's own kernels convolve faster than XLA's."""
    if keras.backend.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))
