"""One cycle of learning rate and momentum (Smith & Topin, arXiv 1708.07120), and SGD that follows it."""

import math

import keras
from keras import ops


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
        return self.first + (self.peak - self.first) * up + (self.last - self.peak) * down

    def _ease(self, share):
        return share if self.form == "triangle" else 0.5 - 0.5 * ops.cos(math.pi * share)

    def get_config(self):
        names = ("first", "peak", "last", "total_steps", "warmup", "form")
        return {name: getattr(self, name) for name in names}


@keras.saving.register_keras_serializable(package="e6tag")
class CycledSGD(keras.optimizers.Optimizer):
    """SGD with Nesterov momentum where the momentum, too, may follow a schedule.

    Keras' own SGD takes the momentum as a Python number, which is compiled into the step; here it is computed in the
    step from the iteration count, under every backend and XLA alike.

    Args:
        learning_rate: number or schedule.
        momentum: number or schedule.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, name="cycled_sgd", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        if isinstance(momentum, dict):
            momentum = keras.saving.deserialize_keras_object(momentum)
        self.momentum = momentum

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.velocities = self.add_optimizer_variables(variables, "velocity")

    def current_momentum(self):
        """The momentum of the step about to be taken."""
        return self.momentum(self.iterations) if callable(self.momentum) else self.momentum

    def update_step(self, gradient, variable, learning_rate):
        gradient = ops.cast(gradient, variable.dtype)
        learning_rate = ops.cast(learning_rate, variable.dtype)
        momentum = ops.cast(self.current_momentum(), variable.dtype)
        velocity = self.velocities[self._get_variable_index(variable)]
        step = momentum * velocity - learning_rate * gradient
        self.assign(velocity, step)
        self.assign_add(variable, momentum * step - learning_rate * gradient)

    def get_config(self):
        momentum = self.momentum
        if isinstance(momentum, keras.optimizers.schedules.LearningRateSchedule):
            momentum = keras.saving.serialize_keras_object(momentum)
        return super().get_config() | {"momentum": momentum}
