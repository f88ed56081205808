"""Training a run: the network, its optimizer and cycle, what is kept at each epoch's end, and how it goes on."""

import contextlib
import math
import sys
import time
from pathlib import Path

import keras
import numpy as np

from command import InputError, say
from dataset import pipeline
from model import metrics, runs
from model.calibration import Calibration, Target, fit, nothing_known
from model.config import Config
from model.plan import Plan
from model.runs import Run
from model.schedule import CycledSGD, OneCycle
from model.scoring import score
from model.tagger import TaggerNetwork


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
    return CycledSGD(rate, momentum, global_clipnorm=config.clip_norm or None)


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
        # On a CPU, TensorFlow's own kernels convolve faster than what XLA makes of them.
        slow_xla = keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")
        network.compile(optimizer=build_optimizer(config, plan.total_steps), jit_compile=not slow_xla)
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
    runs.save_calibration(run, _calibration(plan, network))
    # A copy without the optimizer: half the size, and nothing in it but the network.
    finished = TaggerNetwork.from_config(network.get_config())
    finished.set_weights(network.get_weights())
    runs.save_network(finished, run.folder / "model.keras")
    (run.folder / "checkpoint.keras").unlink(missing_ok=True)


def _calibration(plan: Plan, network: TaggerNetwork) -> Calibration:
    """Temperature and thresholds from the validation split, where there is one."""
    target = Target("f1")
    if not plan.val_images:
        return nothing_known(len(plan.run.tags), target)
    scores = score(network, plan.data, "val", plan.run.config)
    return fit(scores.labels, scores.probability, scores.groups, target)


class Validation(keras.callbacks.Callback):
    """Adds the exact figures of the validation split to an epoch's log, for all callbacks after it."""

    def __init__(self, plan: Plan):
        super().__init__()
        self.plan = plan

    def on_epoch_end(self, epoch, logs=None):
        if self.plan.val_images:
            scores = score(self.model, self.plan.data, "val", self.plan.run.config)
            if not np.isfinite(scores.probability).all():
                raise _diverged(self.model, "the network gives what is no number")
            figures = metrics.ranking(scores.labels, scores.probability)
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
