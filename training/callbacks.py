"""Callbacks of a training run: progress and speed, validation, checkpoints, and stopping on request."""

import math
import signal
import time

import keras
import numpy as np

from common.errors import InputError
from common.progress import progress, say_above
from evaluation.metrics import metrics
from evaluation.ratings import without_ratings
from evaluation.score import Scores, score
from model import devices, one_cycle, process_group, run_folder
from training import checkpoints, weight_average
from training.checkpoints import TrainingPosition
from training.plan import Plan

SYNCHRONIZE_SECONDS = 1.0


class Callbacks(keras.callbacks.CallbackList):
    """A list of callbacks that passes the loss on as a tensor.

    Keras' own list converts the loss to a Python number after each step, and so waits for the device.
    """

    def on_train_batch_begin(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        for callback in self.callbacks:
            callback.on_train_batch_end(batch, logs)


class ProgressAndSpeed(keras.callbacks.Callback):
    """Shows progress, speed and the time spent waiting for data, and stops the run when the loss is not finite.

    The device works on earlier steps while later ones are queued. Only `synchronize`, about once a second and before each
    checkpoint, waits until the device is done.

    Args:
        plan: the plan of the run.
        start: where the run starts or continues.
    """

    def __init__(self, plan: Plan, start: TrainingPosition):
        super().__init__()
        self.plan = plan
        self.epoch, self.step = start.epoch, start.step
        self.loss, self.synchronizations = math.nan, 0
        self.bar = progress(
            total=plan.steps_per_epoch * plan.run.config.epochs * plan.batch_size,
            initial=(start.epoch * plan.steps_per_epoch + start.step) * plan.batch_size,
            unit="images",
            scaled=True,
        )

    def batch_is_ready(self, index: int) -> None:
        """Note the time at which a batch, counted from the start of `fit`, is ready. The input pipeline calls this."""
        self.ready[index] = time.monotonic()

    def on_train_begin(self, logs=None):
        self.ready = {}  # number of a batch ▶ time, in seconds
        self.steps_of_fit = 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.bar.set_description(f"epoch {epoch + 1}/{self.plan.run.config.epochs}")
        self._reset_speed()
        self.losses = []  # of the steps since the last synchronization, on the device
        self.synchronized_at = self.requested_at = time.monotonic()
        self.no_batch_seconds = 0.0  # since the last synchronization

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        self.no_batch_seconds += max(0.0, self.ready.pop(self.steps_of_fit, 0.0) - self.requested_at)
        self.losses.append(logs["loss"])
        self.step, self.steps_of_fit = self.step + 1, self.steps_of_fit + 1
        self.bar.update(self.plan.batch_size)
        self.requested_at = now
        if self.steps_of_fit == 1:  # its time is that of compiling the step, which does not count as speed
            self.no_batch_seconds = 0.0
            self.synchronize()
            self._reset_speed()
        elif now - self.synchronized_at > SYNCHRONIZE_SECONDS:
            self.synchronize()

    def _reset_speed(self) -> None:
        self.images, self.seconds, self.waiting_seconds = 0, 0.0, 0.0

    def synchronize(self) -> None:
        """Wait for the device, check the loss, and update the figures of speed.

        Raises:
            InputError: a loss was not finite.
        """
        if not self.losses:
            return
        queued_at = time.monotonic()
        loss = float(keras.ops.convert_to_numpy(self.losses[-1]))
        now = time.monotonic()
        if not math.isfinite(loss):  # a running mean of the epoch: once NaN, always NaN
            values = [float(keras.ops.convert_to_numpy(value)) for value in self.losses]
            first = next(index for index, value in enumerate(values) if not math.isfinite(value))
            raise self.diverged(f"the loss is {values[first]}", self.step - len(values) + first + 1)
        seconds = now - self.synchronized_at
        # While no batch was ready, the device may still have worked on earlier steps. A step takes at most as long as the
        # device needed to finish after the last step was queued; the device was idle for at least the rest of the time.
        idle = max(0.0, seconds - len(self.losses) * (now - queued_at))
        self.waiting_seconds += min(self.no_batch_seconds, idle)
        self.seconds += seconds
        self.images += len(self.losses) * self.plan.batch_size
        waiting = self.waiting_seconds / self.seconds
        self.bar.set_postfix_str(f"loss {loss:.4g}, waiting for data {waiting:.0%}", refresh=False)
        self.losses, self.no_batch_seconds = [], 0.0
        self.synchronized_at = self.requested_at = now
        self.loss, self.synchronizations = loss, self.synchronizations + 1

    def speed(self) -> dict[str, float]:
        """Return images per second and the fraction of time spent waiting for data, in this epoch so far."""
        seconds = self.seconds or math.inf
        return {"images_per_second": self.images / seconds, "waiting": self.waiting_seconds / seconds}

    def on_epoch_end(self, epoch, logs=None):
        self.synchronize()
        logs.update(self.speed())
        self.step = 0

    def diverged(self, problem: str, step: int | None = None) -> InputError:
        """Return the error to raise when the run has diverged.

        Args:
            problem: what is not finite, in words.
            step: number of steps of this epoch until then; all taken so far if None.
        """
        step = self.step if step is None else step
        total_steps = self.epoch * self.plan.steps_per_epoch + step
        learning_rate, _ = one_cycle.cycles(self.plan.run.config, self.plan.total_updates)
        rate = float(learning_rate((total_steps - 1) // self.plan.steps_per_update))
        kept = "; the earlier checkpoints are kept" if checkpoints.paths(self.plan.run.folder) else ""
        return InputError(
            f"{problem} after step {total_steps:,} (epoch {self.epoch + 1}, learning rate {rate:.3g}): try --learning-rate "
            f"{self.plan.run.config.learning_rate / 3:.2g} in another --run{kept}"
        )


class Validation(keras.callbacks.Callback):
    """Adds the exact figures of the validation split to the logs at the end of each epoch, for the callbacks after it.

    Args:
        plan: the plan of the run.
        progress: makes the error message when the run has diverged.

    Attributes:
        scores: scores of the last validation, or None.
    """

    def __init__(self, plan: Plan, progress: ProgressAndSpeed):
        super().__init__()
        self.plan, self.progress = plan, progress
        self.scores: Scores | None = None
        self.copy: keras.Model | None = None

    def on_epoch_end(self, epoch, logs=None):
        if not self.plan.val_images:
            return
        with devices.own_devices():
            self.copy = network = devices.own_copy(self.model, self.copy)
            self.scores = self._score(network, logs, "val")
            if weight_average.has_average(self.model):
                with weight_average.averaged(self.plan, network, self.model):
                    self._score(network, logs, "averaged_val")

    def _score(self, network: keras.Model, logs: dict, prefix: str) -> Scores:
        scores = score(network, self.plan.data, "val", self.plan.run.config, together=True)
        if not scores.are_finite():
            raise self.progress.diverged("the predictions are not finite", self.plan.steps_per_epoch)
        run = self.plan.run
        _, tag_scores = without_ratings(run, np.arange(len(run.tags)), scores)
        figures = metrics.ranking(tag_scores.labels, tag_scores.probability)
        logs.update({f"{prefix}_{name}": value for name, value in figures.items()})
        return scores


class CheckpointCallback(keras.callbacks.Callback):
    """Writes checkpoints every few minutes and at the end of each epoch, and `history.csv`; stops the run on a signal.

    Args:
        plan: the plan of the run.
        network: as restored, before `fit` is called.
        progress: its position is written, after it has checked the loss.
        start: where the run starts or continues.
        minutes: time between two checkpoints.
    """

    def __init__(
        self, plan: Plan, network: keras.Model, progress: ProgressAndSpeed, start: TrainingPosition, minutes: float
    ):
        super().__init__()
        self.plan, self.progress, self.minutes = plan, progress, minutes
        # The running loss of an interrupted epoch: `fit` resets it, so it is put back when the epoch begins.
        self.running_loss = [keras.ops.convert_to_numpy(v) for v in network.metrics_variables] if start.step else []
        self.rows = run_folder.read_history(plan.run.folder)[: start.epoch]
        self.stop = False  # this process was asked to stop
        self.stop_agreed = process_group.Vote()
        self.stopping = False  # all processes stop after the same step
        self.saved_at = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_began_at = time.monotonic()
        if self.running_loss:
            for variable, value in zip(self.model.metrics_variables, self.running_loss, strict=True):
                variable.assign(value)
            self.running_loss = []

    def on_train_batch_end(self, batch, logs=None):
        self.stopping = self.stop_agreed(self.stop)
        due = self.stopping or time.monotonic() - self.saved_at > 60 * self.minutes
        if due and self.progress.step < self.plan.steps_per_epoch:  # after the last step, on_epoch_end saves
            self.progress.synchronize()
            self._save(TrainingPosition(self.progress.epoch, self.progress.step))

    def on_epoch_end(self, epoch, logs=None):
        updates = (epoch + 1) * self.plan.steps_per_epoch // self.plan.steps_per_update
        schedules = one_cycle.cycles(self.plan.run.config, self.plan.total_updates)
        rate, momentum = (float(schedule(updates)) for schedule in schedules)
        seconds = time.monotonic() - self.epoch_began_at  # validation included
        row = {"epoch": epoch + 1, **logs, "learning_rate": rate, "momentum": momentum, "seconds": seconds}
        say_above(_describe_epoch(row))
        self.rows.append({name: value if name == "epoch" else f"{value:.6g}" for name, value in row.items()})
        if process_group.group.index == 0:
            run_folder.save_history(self.plan.run.folder, self.rows)
        self.stopping = self.stop_agreed(self.stop)
        self._save(TrainingPosition(epoch + 1, 0))

    def _save(self, position: TrainingPosition) -> None:
        if process_group.group.index == 0:
            try:
                checkpoints.save(self.plan.run.folder, self.model, position, self.plan.steps_per_epoch)
            except checkpoints.NotFinite as error:
                raise self.progress.diverged(str(error), self.plan.steps_per_epoch if not position.step else None) from None
        self.saved_at = time.monotonic()
        if self.stopping:
            process_group.group.end()
            raise KeyboardInterrupt

    def ask_to_stop(self, signal_number, frame) -> None:
        """Handle a signal: stop after the current step or validation. A second signal stops at once."""
        signal.signal(signal_number, signal.default_int_handler)
        self.stop = True
        say_above("stopping after this step; press again to stop at once and lose the steps since the last checkpoint")


def _describe_epoch(row: dict[str, float]) -> str:
    titles = {
        "loss": "loss",
        "val_auc_roc_macro": "validation AUC",
        "val_average_precision_macro": "mAP",
        "averaged_val_average_precision_macro": "averaged mAP",
    }
    figures = [f"{title} {row[name]:.4g}" for name, title in titles.items() if name in row]
    speed = f"{row['images_per_second']:.0f} images/s, {row['waiting']:.0%} waiting for data, {row['seconds']:.0f} s"
    return f"epoch {row['epoch']}: {', '.join(figures)}; {speed}"
