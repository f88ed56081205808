"""One cycle of learning rate and momentum (Smith & Topin, arXiv 1708.07120), and SGD that follows it."""

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
        return self.first + (self.peak - self.first) * up + (self.last - self.peak) * down

    def _ease(self, share):
        return share if self.form == "triangle" else 0.5 - 0.5 * ops.cos(math.pi * share)

    def get_config(self):
        names = ("first", "peak", "last", "total_steps", "warmup", "form", "cycles")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="e6tag")
class CycledSGD(keras.optimizers.Optimizer):
    """SGD with Nesterov momentum where the momentum, too, may follow a schedule.

    Keras' own SGD takes the momentum as a Python number, which is compiled into the step; here it is computed in the
    step from the iteration count, under every backend and XLA alike.

    Args:
        learning_rate: number or schedule.
        momentum: number or schedule.
        average: share of itself that a running average of the weights keeps at each update; 0 for no average. Keras' own
            (`use_ema`) also averages between the updates of an accumulated gradient, and takes the weights' place when
            `fit` ends.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, average=0.0, name="cycled_sgd", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        if isinstance(momentum, dict):
            momentum = keras.saving.deserialize_keras_object(momentum)
        self.momentum = momentum
        self.average = average

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.velocities = self.add_optimizer_variables(variables, "velocity")
            self.averages = self.add_optimizer_variables(variables, "average") if self.average else []

    def _get_current_learning_rate(self):
        # Keras counts each step of an accumulated gradient, and would be through with the cycle too early.
        if isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            return self._learning_rate(self.iterations)
        return super()._get_current_learning_rate()

    def current_momentum(self):
        """The momentum of the update about to be made."""
        return self.momentum(self.iterations) if callable(self.momentum) else self.momentum

    def update_step(self, gradient, variable, learning_rate):
        gradient = ops.cast(gradient, variable.dtype)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        momentum = ops.cast(self.current_momentum(), variable.dtype)
        index = self._get_variable_index(variable)
        step = momentum * self.velocities[index] - learning_rate * gradient
        self.assign(self.velocities[index], step)
        self.assign_add(variable, momentum * step - learning_rate * gradient)
        if self.average:
            # Shorter at first, so that it forgets where training started: the mean of the weights so far, at most.
            updates = ops.cast(self.iterations, variable.dtype)
            kept = ops.minimum(self.average, updates / (updates + 1))
            self.assign(self.averages[index], kept * self.averages[index] + (1 - kept) * variable)

    def get_config(self):
        momentum = self.momentum
        if isinstance(momentum, keras.optimizers.schedules.LearningRateSchedule):
            momentum = keras.saving.serialize_keras_object(momentum)
        return super().get_config() | {"momentum": momentum, "average": self.average}


def cycles(config: Config, updates: int) -> tuple[OneCycle, OneCycle]:
    """Learning rate and momentum of a run of so many updates: the momentum is lowest where the learning rate is highest."""
    form = (updates, config.warmup, config.cycle, config.cycles)
    peak = config.learning_rate
    rate = OneCycle(config.first_learning_rate * peak, peak, config.last_learning_rate * peak, *form)
    return rate, OneCycle(config.momentum, config.lowest_momentum, config.momentum, *form)
