"""What happens around the steps of a run: watching it, keeping it, stopping it, validating it."""

import math
import signal
import sys
import time

import keras
import numpy as np
from tqdm import tqdm

from command import InputError
from model import averaging, checkpoints, metrics, runs, schedule
from model.checkpoints import Position
from model.plan import Plan
from model.scoring import Scores, score

LOOK_SECONDS = 1.0


class Callbacks(keras.callbacks.CallbackList):
    """Keras' list of callbacks makes a Python number of the loss after each step, and so waits for the device; this one
    hands it on as it is."""

    def on_train_batch_begin(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class Watch(keras.callbacks.Callback):
    """Shows how fast a run goes and what it waits for, and stops it when the loss is no finite number.

    The device works on steps while the next are handed to it. Only `look`, about once a second and before anything is
    kept, waits until it is done.

    Args:
        plan: what the run does.
        start: where it begins or goes on.
    """

    def __init__(self, plan: Plan, start: Position):
        super().__init__()
        self.plan = plan
        self.epoch, self.step = start.epoch, start.step
        self.loss, self.looks = math.nan, 0
        self.bar = tqdm(
            total=plan.steps_per_epoch * plan.run.config.epochs * plan.batch_size,
            initial=(start.epoch * plan.steps_per_epoch + start.step) * plan.batch_size,
            unit=" images",
            unit_scale=True,
            smoothing=0.05,
            dynamic_ncols=True,
        )

    def batch_is_ready(self, index: int) -> None:
        """To be called by the pipeline as soon as a batch, counted from the start of `fit`, could be taken."""
        self.ready[index] = time.monotonic()

    def on_train_begin(self, logs=None):
        self.ready = {}  # batch ▶ seconds
        self.taken = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.bar.set_description(f"epoch {epoch + 1}/{self.plan.run.config.epochs}")
        self.images, self.seconds, self.waited = 0, 0.0, 0.0
        self.losses = []  # of the steps since the last look, on the device
        self.looked = self.asked = time.monotonic()
        self.awaited = 0.0  # seconds since the last look for which no batch was ready

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        self.awaited += max(0.0, self.ready.pop(self.taken, 0.0) - self.asked)
        self.losses.append(logs["loss"])
        self.step, self.taken = self.step + 1, self.taken + 1
        self.bar.update(self.plan.batch_size)
        self.asked = now
        if self.taken == 1:  # it was compiled first, and only then the first batch asked for: not a matter of speed
            self.awaited = 0.0
            self.look()
            self.images, self.seconds, self.waited = 0, 0.0, 0.0
        elif now - self.looked > LOOK_SECONDS:
            self.look()

    def look(self) -> None:
        """Wait for the device; add up what was done since the last look.

        Raises:
            InputError: a loss was not finite.
        """
        if not self.losses:
            return
        handed_over = time.monotonic()
        loss = float(keras.ops.convert_to_numpy(self.losses[-1]))
        now = time.monotonic()
        if not math.isfinite(loss):  # of the epoch so far, so it stays so
            values = [float(keras.ops.convert_to_numpy(value)) for value in self.losses]
            first = next(index for index, value in enumerate(values) if not math.isfinite(value))
            raise self.diverged(f"the loss is {values[first]}", self.step - len(values) + first + 1)
        seconds = now - self.looked
        # While a batch was awaited, the device may have been at work on earlier steps. A step takes it at most as long
        # as it still needed after the last was handed over, so that it was idle at least for the rest.
        idle = max(0.0, seconds - len(self.losses) * (now - handed_over))
        self.waited += min(self.awaited, idle)
        self.seconds += seconds
        self.images += len(self.losses) * self.plan.batch_size
        self.bar.set_postfix_str(f"loss {loss:.4g}, waiting for data {self.waited / self.seconds:.0%}", refresh=False)
        self.losses, self.awaited = [], 0.0
        self.looked = self.asked = now
        self.loss, self.looks = loss, self.looks + 1

    def speed(self) -> dict[str, float]:
        """Images a second and share of time spent waiting for data, of this epoch's steps until the last look."""
        seconds = self.seconds or math.inf
        return {"images_per_second": self.images / seconds, "waiting": self.waited / seconds}

    def on_epoch_end(self, epoch, logs=None):
        self.look()
        logs.update(self.speed())
        self.step = 0

    def diverged(self, what: str, step: int | None = None) -> InputError:
        """The error to raise where a run has diverged."""
        step = self.step if step is None else step
        taken = self.epoch * self.plan.steps_per_epoch + step
        cycle, _ = schedule.cycles(self.plan.run.config, self.plan.total_updates)
        rate = float(cycle((taken - 1) // self.plan.steps_per_update))
        kept = "; checkpoints from before are kept" if checkpoints.paths(self.plan.run.folder) else ""
        return InputError(
            f"{what} after step {taken:,} (epoch {self.epoch + 1}, learning rate {rate:.3g}): try --learning-rate "
            f"{self.plan.run.config.learning_rate / 3:.2g} in another --run{kept}"
        )


class Validation(keras.callbacks.Callback):
    """Adds the exact figures of the validation split to an epoch's log, for all callbacks after it.

    Attributes:
        scores: of the last validation, or None.
    """

    def __init__(self, plan: Plan, watch: Watch):
        super().__init__()
        self.plan, self.watch = plan, watch
        self.scores = None

    def on_epoch_end(self, epoch, logs=None):
        if not self.plan.val_images:
            return
        self.scores = self._score(logs, "val")
        if averaging.has_average(self.model):
            with averaging.averaged(self.plan, self.model):
                self._score(logs, "averaged_val")

    def _score(self, logs: dict, prefix: str) -> Scores:
        scores = score(self.model, self.plan.data, "val", self.plan.run.config)
        if not np.isfinite(scores.probability).all():
            raise self.watch.diverged("the network gives what is no number", self.plan.steps_per_epoch)
        figures = metrics.ranking(scores.labels, scores.probability)
        logs.update({f"{prefix}_{name}": value for name, value in figures.items()})
        return scores


class Keep(keras.callbacks.Callback):
    """Keeps checkpoints, every few minutes and at each epoch's end, and `history.csv`; ends the run when asked to.

    Args:
        plan: what the run does.
        watch: asked before anything is kept.
        network: as it will go on.
        start: where the run goes on.
        minutes: between two checkpoints.
    """

    def __init__(self, plan: Plan, network: keras.Model, watch: Watch, start: Position, minutes: float):
        super().__init__()
        self.plan, self.watch, self.minutes = plan, watch, minutes
        # The running loss of a broken epoch, which `fit` sets to 0 before it goes on.
        self.running = [keras.ops.convert_to_numpy(v) for v in network.metrics_variables] if start.step else []
        self.rows = runs.read_history(plan.run.folder)[: start.epoch]
        self.stop = False
        self.kept = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()
        if self.running:
            for variable, value in zip(self.model.metrics_variables, self.running, strict=True):
                variable.assign(value)
            self.running = []

    def on_train_batch_end(self, batch, logs=None):
        due = self.stop or time.monotonic() - self.kept > 60 * self.minutes
        if due and self.watch.step < self.plan.steps_per_epoch:  # else the epoch's end is kept in a moment
            self.watch.look()
            self._save(Position(self.watch.epoch, self.watch.step))

    def on_epoch_end(self, epoch, logs=None):
        updates = (epoch + 1) * self.plan.steps_per_epoch // self.plan.steps_per_update
        cycles = schedule.cycles(self.plan.run.config, self.plan.total_updates)
        rate, momentum = (float(cycle(updates)) for cycle in cycles)
        seconds = time.monotonic() - self.started  # validation included
        row = {"epoch": epoch + 1, **logs, "learning_rate": rate, "momentum": momentum, "seconds": seconds}
        tqdm.write(_sentence(row), sys.stderr)
        self.rows.append({name: value if name == "epoch" else f"{value:.6g}" for name, value in row.items()})
        runs.save_history(self.plan.run.folder, self.rows)
        self._save(Position(epoch + 1, 0))

    def _save(self, position: Position) -> None:
        try:
            checkpoints.save(self.plan.run.folder, self.model, position, self.plan.steps_per_epoch)
        except checkpoints.NotFinite as error:
            raise self.watch.diverged(str(error), self.plan.steps_per_epoch if not position.step else None) from None
        self.kept = time.monotonic()
        if self.stop:
            raise KeyboardInterrupt

    def ask_to_stop(self, signal_number, frame) -> None:
        """Handle a signal: stop when the step, and a validation that is going on, is done; at once the second time."""
        signal.signal(signal_number, signal.default_int_handler)
        self.stop = True
        tqdm.write("stopping after this step; again: at once, without the steps since the last checkpoint", sys.stderr)


def _sentence(row: dict[str, float]) -> str:
    """What an epoch came to, for people."""
    shown = {
        "loss": "loss",
        "val_auc_roc_macro": "validation AUC",
        "val_average_precision_macro": "mAP",
        "averaged_val_average_precision_macro": "averaged mAP",
    }
    figures = [f"{title} {row[name]:.4g}" for name, title in shown.items() if name in row]
    speed = f"{row['images_per_second']:.0f} images/s, {row['waiting']:.0%} waiting for data, {row['seconds']:.0f} s"
    return f"epoch {row['epoch']}: {', '.join(figures)}; {speed}"
