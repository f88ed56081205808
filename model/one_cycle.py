"""The schedules of learning rate and momentum: one cycle (Smith & Topin, arXiv 1708.07120)."""

import math

import keras
from keras import ops

from model.config import Config


@keras.saving.register_keras_serializable(package="e6tag")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule from `first` to `peak` and then to `last`.

    Args:
        first: value at step 0.
        peak: value at step `warmup * total_steps`.
        last: value at `total_steps` and after it.
        total_steps: length of the cycle, in updates.
        warmup: fraction of the steps before the peak, 0 to 1.
        form: `triangle` (straight lines) or `cosine` (half waves).
    """

    def __init__(self, first: float, peak: float, last: float, total_steps: int, warmup: float, form: str):
        super().__init__()
        if total_steps < 1 or not 0 <= warmup <= 1 or form not in ("triangle", "cosine"):
            raise ValueError(
                "OneCycle needs total_steps >= 1, warmup in 0..1 and form triangle or cosine. "
                f"Received: {total_steps=}, {warmup=}, {form=}"
            )
        self.first, self.peak, self.last = first, peak, last
        self.total_steps, self.warmup, self.form = total_steps, warmup, form

    def __call__(self, step):
        step = ops.minimum(ops.cast(step, "float32"), float(self.total_steps))
        rise = self.warmup * self.total_steps
        fall = self.total_steps - rise
        up = self._ease(ops.minimum(step / rise, 1.0)) if rise else 1.0
        down = self._ease(ops.maximum((step - rise) / fall, 0.0)) if fall else 0.0
        value = self.first + (self.peak - self.first) * up + (self.last - self.peak) * down
        return ops.maximum(value, float(min(self.first, self.peak, self.last)))  # rounding can give less

    def _ease(self, fraction):
        return fraction if self.form == "triangle" else 0.5 - 0.5 * ops.cos(math.pi * fraction)

    def get_config(self):
        names = ("first", "peak", "last", "total_steps", "warmup", "form")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="e6tag", name="Then")  # the name in earlier versions
class SequentialSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Two schedules, one after the other.

    Args:
        first: the schedule before `step`.
        second: the schedule from `step` on, where it is at its own step 0.
        step: the step of the change.
    """

    def __init__(self, first: OneCycle, second: OneCycle, step: int):
        super().__init__()
        self.first, self.second, self.step = first, second, step

    def __call__(self, step):
        step = ops.cast(step, "float32")
        return ops.where(step < self.step, self.first(step), self.second(ops.maximum(step - self.step, 0.0)))

    def get_config(self):
        phases = {"first": self.first, "second": self.second}
        return {name: keras.saving.serialize_keras_object(phase) for name, phase in phases.items()} | {"step": self.step}

    @classmethod
    def from_config(cls, config):
        first, second = (keras.saving.deserialize_keras_object(config[name]) for name in ("first", "second"))
        return cls(first, second, config["step"])


def cycles(config: Config, updates: int) -> tuple[OneCycle | SequentialSchedule, OneCycle | SequentialSchedule]:
    """Return the schedules of learning rate and momentum. The momentum is lowest where the learning rate is highest.

    A run that first freezes its trunk has two cycles: one with the frozen trunk and one after it.

    Args:
        config: the configuration of the run.
        updates: number of updates in the whole run.
    """
    frozen = updates * config.frozen_epochs // config.epochs
    if not 0 < frozen < updates:
        return _cycles(config, updates)
    phases = zip(_cycles(config, frozen), _cycles(config, updates - frozen), strict=True)
    rate, momentum = (SequentialSchedule(first, second, frozen) for first, second in phases)
    return rate, momentum


def _cycles(config: Config, updates: int) -> tuple[OneCycle, OneCycle]:
    form = (updates, config.warmup, config.cycle)
    peak = config.learning_rate
    rate = OneCycle(config.first_learning_rate * peak, peak, config.last_learning_rate * peak, *form)
    return rate, OneCycle(config.momentum, config.lowest_momentum, config.momentum, *form)
