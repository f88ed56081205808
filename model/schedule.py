"""One cycle of learning rate and momentum (Smith & Topin, arXiv 1708.07120)."""

import math

import keras
from keras import ops

from model.config import Config


@keras.saving.register_keras_serializable(package="e6tag")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """A value that goes from `first` to `peak` and on to `last` over `total_steps`.

    Args:
        first: value at step 0.
        peak: value at step `warmup * total_steps`.
        last: value at `total_steps` and after.
        total_steps: length of the cycle.
        warmup: share of the steps before the peak, 0 to 1.
        form: `triangle` (straight lines) or `cosine` (half waves).
        cycles: the whole is repeated this many times within `total_steps`.
    """

    def __init__(self, first: float, peak: float, last: float, total_steps: int, warmup: float, form: str, cycles: int = 1):
        super().__init__()
        if total_steps < 1 or not 0 <= warmup <= 1 or form not in ("triangle", "cosine") or cycles < 1:
            raise ValueError(
                "OneCycle needs total_steps >= 1, warmup in 0..1, form triangle or cosine and cycles >= 1. "
                f"Received: {total_steps=}, {warmup=}, {form=}, {cycles=}"
            )
        self.first, self.peak, self.last = first, peak, last
        self.total_steps, self.warmup, self.form, self.cycles = total_steps, warmup, form, cycles

    def __call__(self, step):
        length = self.total_steps / self.cycles
        step = ops.minimum(ops.cast(step, "float32"), float(self.total_steps))
        # The very last step belongs to the last cycle's end, not to the start of another.
        step = step - length * ops.minimum(ops.floor(step / length), float(self.cycles - 1))
        rise = self.warmup * length
        fall = length - rise
        up = self._ease(ops.minimum(step / rise, 1.0)) if rise else 1.0
        down = self._ease(ops.maximum((step - rise) / fall, 0.0)) if fall else 0.0
        value = self.first + (self.peak - self.first) * up + (self.last - self.peak) * down
        return ops.maximum(value, float(min(self.first, self.peak, self.last)))  # rounding may take it below

    def _ease(self, share):
        return share if self.form == "triangle" else 0.5 - 0.5 * ops.cos(math.pi * share)

    def get_config(self):
        names = ("first", "peak", "last", "total_steps", "warmup", "form", "cycles")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="e6tag")
class Then(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule and, from a step on, another, which begins there.

    Args:
        first, second: the schedules.
        step: at which the second begins.
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


def cycles(config: Config, updates: int) -> tuple[OneCycle | Then, OneCycle | Then]:
    """Learning rate and momentum of a run of so many updates: the momentum is lowest where the learning rate is highest.

    A run whose trunk is frozen at first goes through its cycle twice: until it is thawed, and after that.
    """
    frozen = updates * config.frozen_epochs // config.epochs
    if not 0 < frozen < updates:
        return _cycles(config, updates)
    phases = zip(_cycles(config, frozen), _cycles(config, updates - frozen), strict=True)
    rate, momentum = (Then(first, second, frozen) for first, second in phases)
    return rate, momentum


def _cycles(config: Config, updates: int) -> tuple[OneCycle, OneCycle]:
    form = (updates, config.warmup, config.cycle, config.cycles)
    peak = config.learning_rate
    rate = OneCycle(config.first_learning_rate * peak, peak, config.last_learning_rate * peak, *form)
    return rate, OneCycle(config.momentum, config.lowest_momentum, config.momentum, *form)
