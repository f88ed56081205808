"""Optimizers whose learning rate and momentum follow schedules: SGD, AdamW and Muon."""

import math
from typing import Any

import keras
from keras import ops

from model.config import Config
from model.network import OUTPUTS, ROBUST


class Cycled(keras.optimizers.Optimizer):
    """Base class of the optimizers: momentum on a schedule, an average of the weights, and learning rates by variable.

    Keras' own SGD takes the momentum as a Python number, which is compiled into the step. Here it is computed in the step
    from the number of updates, under every backend and under XLA.

    Args:
        learning_rate: number or schedule.
        momentum: number or schedule.
        ema_decay: decay of the exponential moving average of the weights (for example 0.999); 0: off. At update n, counted
            from 0, the decay is at most n / (n + 1), so that the average does not remember the initial weights. Keras' own
            average (`use_ema`) also averages between the steps of an accumulated gradient, and replaces the weights when
            `fit` ends.
        own_rates: prefix of the paths of some variables ▶ their own learning rate. They follow their plain gradient with it,
            whatever the optimizer does with other variables, and neither count towards the norm that is limited nor are
            scaled by the limit. An optimizer that divides a gradient by its size would undo a factor of the gradient.

    Attributes:
        lr_multipliers: a factor of the learning rate for each trainable variable, in their order; None: 1 for all. A
            variable with factor 0 is not updated at all. The factors are compiled into the step: after a change, the step
            has to be compiled again.
        velocities: the mean of the gradients (SGD: the last step), one for each variable.
        averages: the average of the weights, one for each variable; empty if `ema_decay` is 0.
    """

    def __init__(self, learning_rate=0.01, momentum=0.9, ema_decay=0.0, own_rates: dict[str, float] | None = None, **kwargs):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.own_rates = own_rates or {}
        if isinstance(momentum, dict):
            momentum = keras.saving.deserialize_keras_object(momentum)
        self.momentum = momentum
        self.ema_decay = ema_decay
        self.lr_multipliers: list[float] | None = None

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.velocities = self.add_optimizer_variables(variables, "velocity")
            self._own = [
                next((rate for prefix, rate in self.own_rates.items() if variable.path.startswith(prefix)), None)
                for variable in variables
            ]
            self.averages = self.add_optimizer_variables(variables, "average") if self.ema_decay else []

    def _get_current_learning_rate(self):
        # Keras would count the steps of an accumulated gradient, and the cycle would end too early.
        if isinstance(self._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            return self._learning_rate(self.iterations)
        return super()._get_current_learning_rate()

    def current_momentum(self):
        """Return the momentum of the next update."""
        return self.momentum(self.iterations) if callable(self.momentum) else self.momentum

    def apply(self, grads, trainable_variables=None):
        # Frozen weights get None from TensorFlow and zeros from JAX; use zeros.
        if trainable_variables is not None:
            pairs = zip(grads, trainable_variables, strict=True)
            grads = [ops.zeros_like(variable) if gradient is None else gradient for gradient, variable in pairs]
        self.begin_update()
        super().apply(grads, trainable_variables)

    def begin_update(self) -> None:
        """Compute the values that all variables share. Computed for each variable, compiling would take twice as long."""
        self.update_momentum = self.current_momentum()

    def _clip_gradients(self, grads):
        others = [
            gradient if rate is None else ops.zeros_like(gradient) for gradient, rate in zip(grads, self._own, strict=True)
        ]
        clipped = super()._clip_gradients(others)
        return [other if rate is None else own for own, other, rate in zip(grads, clipped, self._own, strict=True)]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        multiplier = self.lr_multipliers[index] if self.lr_multipliers else 1.0
        if self._own[index] is not None:
            self.assign_sub(variable, self._own[index] * multiplier * gradient)
        elif multiplier:  # computing a step of 0 would cost as much as any other
            values = (gradient, learning_rate * multiplier, self.update_momentum)
            gradient, rate, momentum = (ops.cast(value, variable.dtype) for value in values)
            self.assign_add(variable, self.change(gradient, variable, rate, momentum, index))
        if self.ema_decay:
            # The limit makes the first averages plain means, which do not remember the initial weights.
            updates = ops.cast(self.iterations, variable.dtype)
            decay = ops.minimum(self.ema_decay, updates / (updates + 1))
            average = self.averages[index]
            self.assign(average, decay * average + (1 - decay) * variable)

    def change(self, gradient, variable, rate, momentum, index: int):
        """Return what is added to a variable, and update its velocity.

        Args:
            gradient: of the variable, in its shape.
            variable: the variable.
            rate: learning rate, scalar.
            momentum: scalar.
            index: position of the variable in `velocities`.
        """
        raise NotImplementedError

    def get_config(self):
        momentum = self.momentum
        if isinstance(momentum, keras.optimizers.schedules.LearningRateSchedule):
            momentum = keras.saving.serialize_keras_object(momentum)
        return super().get_config() | {"momentum": momentum, "ema_decay": self.ema_decay, "own_rates": self.own_rates}


@keras.saving.register_keras_serializable(package="e6tag")
class CycledSGD(Cycled):
    """SGD with Nesterov momentum."""

    def change(self, gradient, variable, rate, momentum, index: int):
        step = momentum * self.velocities[index] - rate * gradient
        self.assign(self.velocities[index], step)
        return momentum * step - rate * gradient


@keras.saving.register_keras_serializable(package="e6tag")
class CycledAdamW(Cycled):
    """Adam with decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101). The momentum is its first beta.

    Args:
        learning_rate, momentum, ema_decay: as for `Cycled`.
        decay: decoupled weight decay of matrices and kernels, multiplied by the learning rate. Biases and normalisation have
            none.
    """

    SECOND_BETA, EPSILON = 0.999, 1e-7

    def __init__(self, learning_rate=0.001, momentum=0.9, ema_decay=0.0, decay=0.0, **kwargs):
        super().__init__(learning_rate, momentum, ema_decay, **kwargs)
        self.decay = decay

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.squares: list[Any] = [
                self.add_optimizer_variables([variable], "square")[0] if self.has_square(variable) else None
                for variable in variables
            ]

    def has_square(self, variable) -> bool:
        """Return whether a variable is updated by Adam, and so has a mean of its squared gradient."""
        return True

    def begin_update(self) -> None:
        super().begin_update()
        # Both means start at zero and are divided by these to correct the bias. For a momentum that changes, the first is
        # an approximation, which is about 1 after a hundred updates.
        updates = ops.cast(self.iterations + 1, "float32")
        self.bias_corrections = [1 - ops.power(beta, updates) for beta in (self.update_momentum, self.SECOND_BETA)]

    def change(self, gradient, variable, rate, momentum, index: int):
        velocity = momentum * self.velocities[index] + (1 - momentum) * gradient
        square = self.SECOND_BETA * self.squares[index] + (1 - self.SECOND_BETA) * ops.square(gradient)
        self.assign(self.velocities[index], velocity)
        self.assign(self.squares[index], square)
        first, second = (ops.cast(correction, variable.dtype) for correction in self.bias_corrections)
        step = velocity / first / (ops.sqrt(square / second) + self.EPSILON)
        if len(variable.shape) > 1:
            step = step + self.decay * variable
        return -rate * step

    def get_config(self):
        return super().get_config() | {"decay": self.decay}


@keras.saving.register_keras_serializable(package="e6tag")
class CycledMuon(CycledAdamW):
    """Muon (Jordan et al., kellerjordan.github.io/posts/muon): the step is the orthogonalised mean of the gradients.

    The step is the orthogonal matrix nearest to the mean, so that rare directions are learned as fast as common ones. The
    kernel of a convolution, (height, width, in, out), is treated as the matrix (height · width · in, out). AdamW updates
    biases, normalisation and output layers: in an output layer, a tag should not depend on the other tags. The step is
    scaled to the usual size of AdamW's, so that both have the same learning rate (Liu et al., arXiv 2502.16982). Keras' own
    Muon leaves the kernels of convolutions to AdamW.

    Args:
        learning_rate, momentum, ema_decay, decay: as for `CycledAdamW`.
        outputs: prefixes of the paths of the output layers' variables.
    """

    SIZE = 0.2  # approximate root mean square of a step of AdamW
    ITERATIONS = 3  # five were not better, and cost two thirds more

    def __init__(self, learning_rate=0.004, momentum=0.95, ema_decay=0.0, decay=0.0, outputs=(), **kwargs):
        super().__init__(learning_rate, momentum, ema_decay, decay, **kwargs)
        self.outputs = tuple(outputs)

    def has_square(self, variable) -> bool:
        # A depthwise kernel (height, width, channels, 1) is not a matrix but many filters of one channel.
        is_matrix = len(variable.shape) > 1 and variable.shape[-1] > 1
        return not is_matrix or variable.path.startswith(self.outputs)

    def change(self, gradient, variable, rate, momentum, index: int):
        if self.squares[index] is not None:
            return super().change(gradient, variable, rate, momentum, index)
        velocity = momentum * self.velocities[index] + (1 - momentum) * gradient
        self.assign(self.velocities[index], velocity)
        nesterov = ops.reshape(momentum * velocity + (1 - momentum) * gradient, (-1, variable.shape[-1]))  # (rows, columns)
        size = self.SIZE * math.sqrt(max(nesterov.shape))
        orthogonal = ops.cast(newton_schulz_orthogonalize(nesterov, self.ITERATIONS), variable.dtype)
        step = size * ops.reshape(orthogonal, variable.shape)
        return -rate * (step + self.decay * variable)

    def get_config(self):
        return super().get_config() | {"outputs": self.outputs}


def newton_schulz_orthogonalize(matrix, iterations: int):
    """Return approximately the nearest orthogonal matrix: the same singular vectors, with singular values near 1.

    This is the Newton-Schulz iteration with Jordan's coefficients (kellerjordan.github.io/posts/muon). They raise small
    singular values fast, and bring all but the smallest between 0.7 and 1.2. It needs only matrix products, which are
    computed in the number format of the network.

    Each iteration multiplies the matrix from the left by a polynomial of its product with its own transpose. Polynomials of
    one matrix commute, so that they can be multiplied by each other first, and then once by the matrix. The result is the
    same but for rounding. With three iterations and a long side of at least 1.5 short ones, that takes fewer operations, for
    a kernel of three by three pixels half as many.

    Args:
        matrix: tensor (rows, columns).
        iterations: number of iterations; each multiplies small singular values by up to 3.4.

    Returns:
        Tensor (rows, columns), in the number format of the network.
    """
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else ops.transpose(matrix)  # (short side, long side)
    x = ops.cast(x / (ops.norm(x) + 1e-7), keras.config.dtype_policy().compute_dtype)  # all singular values at most 1
    short, long = x.shape
    identity = ops.eye(short, dtype=x.dtype)
    gram, product = ops.matmul(x, ops.transpose(x)), identity  # both (short side, short side)
    for _ in range(iterations):
        polynomial = 3.4445 * identity - 4.7750 * gram + 2.0315 * ops.matmul(gram, gram)
        if long >= 1.5 * short:
            product = ops.matmul(polynomial, product)
            gram = ops.matmul(polynomial, ops.matmul(polynomial, gram))
        else:
            x = ops.matmul(polynomial, x)
            gram = ops.matmul(x, ops.transpose(x))
    x = ops.matmul(product, x) if long >= 1.5 * short else x
    return x if wide else ops.transpose(x)


def build_optimizer(config: Config, rate, momentum, updates: int, steps_per_update: int = 1) -> Cycled:
    """Return the optimizer of a run.

    The learning rate of shape and scale of the robust loss is `config.robust_travel` divided by the number of updates: their
    gradients are at most about 1, so that this is how far they move in a run of any length. At a rate that does not depend
    on the length, the scale of a long run shrinks until only the easiest examples count.

    Args:
        config: the configuration of the run.
        rate: learning rate, a number or a schedule.
        momentum: a number or a schedule.
        updates: number of updates in the whole run.
        steps_per_update: number of steps whose gradients are summed for an update.
    """
    arguments: dict[str, Any] = {
        "ema_decay": config.ema_decay,
        "own_rates": {ROBUST: config.robust_travel / updates} if config.loss == "robust" else None,
        "global_clipnorm": config.clip_norm or None,
        "gradient_accumulation_steps": steps_per_update if steps_per_update > 1 else None,
    }
    if config.optimizer == "muon":
        return CycledMuon(rate, momentum, decay=config.weight_decay, outputs=OUTPUTS, **arguments)
    if config.optimizer == "adamw":
        return CycledAdamW(rate, momentum, decay=config.weight_decay, **arguments)
    return CycledSGD(rate, momentum, **arguments)
