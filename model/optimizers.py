"""Optimizers whose momentum follows a cycle: SGD, AdamW and Muon."""

import math

import keras
from keras import ops

from model.config import Config
from model.tagger import OUTPUTS


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
        share = self.shares[index] if self.shares else 1.0
        if share:  # the step of what is frozen would cost as much as any, and be 0
            values = (gradient, learning_rate * share, self.momentum_now)
            gradient, rate, momentum = (ops.cast(value, variable.dtype) for value in values)
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
            self.squares = [
                self.add_optimizer_variables([variable], "square")[0] if self.has_square(variable) else None
                for variable in variables
            ]

    def has_square(self, variable) -> bool:
        """Whether a mean of a variable's squared gradient is kept: whether its steps are Adam's."""
        return True

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


@keras.saving.register_keras_serializable(package="e6tag")
class CycledMuon(CycledAdamW):
    """Muon (Jordan et al., kellerjordan.github.io/posts/muon): of the gradient's mean, a matrix, only the directions count.

    The step is the nearest orthogonal matrix, so that rare directions are learned as fast as common ones; a convolution's
    kernel (height, width, in, out) is the matrix (height · width · in, out). Biases, normalisation and output layers, in
    which a tag should not depend on the others, are AdamW's. The step has the size that AdamW's usually has, so that both
    have one learning rate (Liu et al., arXiv 2502.16982); Keras' own Muon leaves kernels of convolutions to AdamW.

    Args:
        outputs: what the paths of the output layers' variables begin with.
    """

    SIZE = 0.2  # root of the mean square of a step of AdamW, roughly
    ITERATIONS = 3  # five measured no better, and cost two thirds more

    def __init__(self, learning_rate=0.004, momentum=0.95, average=0.0, decay=0.0, outputs=(), **kwargs):
        super().__init__(learning_rate, momentum, average, decay, **kwargs)
        self.outputs = tuple(outputs)

    def has_square(self, variable) -> bool:
        # A depthwise kernel (height, width, channels, 1) is many filters of one channel, and no matrix.
        is_matrix = len(variable.shape) > 1 and variable.shape[-1] > 1
        return not is_matrix or variable.path.startswith(self.outputs)

    def change(self, gradient, variable, rate, momentum, index: int):
        if self.squares[index] is not None:
            return super().change(gradient, variable, rate, momentum, index)
        velocity = momentum * self.velocities[index] + (1 - momentum) * gradient
        self.assign(self.velocities[index], velocity)
        ahead = ops.reshape(momentum * velocity + (1 - momentum) * gradient, (-1, variable.shape[-1]))
        size = self.SIZE * math.sqrt(max(ahead.shape))
        step = size * ops.reshape(ops.cast(orthogonal(ahead, self.ITERATIONS), variable.dtype), variable.shape)
        return -rate * (step + self.decay * variable)

    def get_config(self):
        return super().get_config() | {"outputs": self.outputs}


def orthogonal(matrix, iterations: int):
    """Nearly the nearest orthogonal matrix: the singular vectors stay, and the singular values approach 1.

    By Newton and Schulz's iteration with Jordan's coefficients, which raise small values fast and leave all but the smallest
    between 0.7 and 1.2; products only, in the precision of the network.

    Args:
        matrix: tensor (rows, columns).
        iterations: each raises small singular values by a factor of up to 3.4.
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else ops.transpose(matrix)  # (less, more)
    x = ops.cast(x / (ops.norm(x) + 1e-7), keras.config.dtype_policy().compute_dtype)  # all singular values at most 1
    for _ in range(iterations):
        gram = ops.matmul(x, ops.transpose(x))  # (less, less)
        x = 3.4445 * x + ops.matmul(-4.7750 * gram + 2.0315 * ops.matmul(gram, gram), x)
    return x if wide else ops.transpose(x)


def build_optimizer(config: Config, rate, momentum, steps_per_update: int = 1) -> Cycled:
    """A run's optimizer, for a learning rate and a momentum, each a number or a schedule.

    Args:
        steps_per_update: whose gradients are added up.
    """
    shared = {
        "average": config.average,
        "global_clipnorm": config.clip_norm or None,
        "gradient_accumulation_steps": steps_per_update if steps_per_update > 1 else None,
    }
    if config.optimizer == "muon":
        return CycledMuon(rate, momentum, decay=config.weight_decay, outputs=OUTPUTS, **shared)
    if config.optimizer == "adamw":
        return CycledAdamW(rate, momentum, decay=config.weight_decay, **shared)
    return CycledSGD(rate, momentum, **shared)
