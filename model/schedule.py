"""One cycle of learning rate and momentum (Smith & Topin, arXiv 1708.07120), and optimizers that follow it."""

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


class Cycled(keras.optimizers.Optimizer):
    """What the optimizers here share: a momentum that may follow a schedule, and an average of the weights.

    Keras' own SGD takes the momentum as a Python number, which is compiled into the step; here it is computed in the
    step from the iteration count, under every backend and XLA alike.

    Args:
        learning_rate: number or schedule.
        momentum: number or schedule.
        average: share of itself that a running average of the weights keeps at each update; 0 for no average. Keras' own
            (`use_ema`) also averages between the updates of an accumulated gradient, and takes the weights' place when
            `fit` ends.

    Attributes:
        shares: of the learning rate, one for each trainable variable; 1 for all if None. Compiled into the step.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, average=0.0, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        if isinstance(momentum, dict):
            momentum = keras.saving.deserialize_keras_object(momentum)
        self.momentum = momentum
        self.average = average
        self.shares: list[float] | None = None

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

    def apply(self, grads, trainable_variables=None):
        # Weights of a frozen trunk have none under TensorFlow, and zeros under JAX: the latter under both.
        if trainable_variables is not None:
            pairs = zip(grads, trainable_variables, strict=True)
            grads = [ops.zeros_like(variable) if gradient is None else gradient for gradient, variable in pairs]
        self.begin_update()
        super().apply(grads, trainable_variables)

    def begin_update(self) -> None:
        """Compute what is the same for all variables: once, for with each of them a step takes twice as long to compile."""
        self.momentum_now = self.current_momentum()

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        rate = learning_rate * self.shares[index] if self.shares else learning_rate
        gradient, rate, momentum = (ops.cast(value, variable.dtype) for value in (gradient, rate, self.momentum_now))
        self.assign_add(variable, self.change(gradient, variable, rate, momentum, index))
        if self.average:
            # Shorter at first, so that it forgets where training started: the mean of the weights so far, at most.
            updates = ops.cast(self.iterations, variable.dtype)
            kept = ops.minimum(self.average, updates / (updates + 1))
            average = self.averages[index]
            self.assign(average, kept * average + (1 - kept) * variable)

    def change(self, gradient, variable, rate, momentum, index: int):
        """What is added to a variable; `index` is its place in `velocities`."""
        raise NotImplementedError

    def get_config(self):
        momentum = self.momentum
        if isinstance(momentum, keras.optimizers.schedules.LearningRateSchedule):
            momentum = keras.saving.serialize_keras_object(momentum)
        return super().get_config() | {"momentum": momentum, "average": self.average}


@keras.saving.register_keras_serializable(package="e6tag")
class CycledSGD(Cycled):
    """SGD with Nesterov momentum."""

    def change(self, gradient, variable, rate, momentum, index: int):
        step = momentum * self.velocities[index] - rate * gradient
        self.assign(self.velocities[index], step)
        return momentum * step - rate * gradient


@keras.saving.register_keras_serializable(package="e6tag")
class CycledAdamW(Cycled):
    """Adam with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101); the momentum is its first beta.

    Args:
        decay: share of a matrix or kernel taken off at each update, at learning rate 1; nothing of biases and of
            normalisation.
    """

    SECOND_BETA, EPSILON = 0.999, 1e-7

    def __init__(self, learning_rate=0.001, momentum=0.9, average=0.0, decay=0.0, **kwargs):
        super().__init__(learning_rate, momentum, average, **kwargs)
        self.decay = decay

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.squares = self.add_optimizer_variables(variables, "square")

    def begin_update(self) -> None:
        super().begin_update()
        # Both means start at zero. For a momentum on a cycle this is near enough, and 1 after the first hundred updates.
        updates = ops.cast(self.iterations + 1, "float32")
        self.known = [1 - ops.power(beta, updates) for beta in (self.momentum_now, self.SECOND_BETA)]

    def change(self, gradient, variable, rate, momentum, index: int):
        velocity = momentum * self.velocities[index] + (1 - momentum) * gradient
        square = self.SECOND_BETA * self.squares[index] + (1 - self.SECOND_BETA) * ops.square(gradient)
        self.assign(self.velocities[index], velocity)
        self.assign(self.squares[index], square)
        of_velocity, of_square = (ops.cast(share, variable.dtype) for share in self.known)
        step = velocity / of_velocity / (ops.sqrt(square / of_square) + self.EPSILON)
        if len(variable.shape) > 1:
            step = step + self.decay * variable
        return -rate * step

    def get_config(self):
        return super().get_config() | {"decay": self.decay}


def optimizer(config: Config, rate, momentum, steps_per_update: int = 1) -> Cycled:
    """A run's optimizer, for a learning rate and a momentum, each a number or a schedule.

    Args:
        steps_per_update: whose gradients are added up.
    """
    shared = {
        "average": config.average,
        "global_clipnorm": config.clip_norm or None,
        "gradient_accumulation_steps": steps_per_update if steps_per_update > 1 else None,
    }
    if config.optimizer == "adamw":
        return CycledAdamW(rate, momentum, decay=config.weight_decay, **shared)
    return CycledSGD(rate, momentum, **shared)


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
