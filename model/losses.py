"""Losses: binary cross-entropy, focal, asymmetric, and the general adaptive robust loss over focal."""

import keras
import numpy as np
from keras import ops

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
ASYMMETRIC_GAMMA, ASYMMETRIC_MARGIN = 4.0, 0.05


def binary_cross_entropy(labels, logits):
    """Cross-entropy of each tag, from logits: same shape as `logits`."""
    return ops.softplus(logits) - labels * logits


def focal(labels, logits, alpha: float = FOCAL_ALPHA, gamma: float = FOCAL_GAMMA):
    """Focal loss of each tag (Lin et al., arXiv 1708.02002).

    The weight of an easy example is taken tag by tag: a weight taken after averaging over tags would see a batch of rare
    tags as easy throughout.

    Args:
        labels: 0 or 1, or soft; any shape.
        logits: the same shape.
        alpha: weight of positives; negatives weigh 1 - alpha.
        gamma: how quickly examples lose weight as they become easy.

    Returns:
        The loss, in the same shape.
    """
    cross_entropy = binary_cross_entropy(labels, logits)
    probability = ops.sigmoid(logits)
    wrong = labels * (1 - probability) + (1 - labels) * probability
    # wrong ** gamma has no gradient at 0 for a fractional gamma; the floor keeps it finite.
    modulation = ops.power(ops.maximum(wrong, 1e-12), gamma)
    return (labels * alpha + (1 - labels) * (1 - alpha)) * modulation * cross_entropy


def asymmetric(labels, logits, gamma: float = ASYMMETRIC_GAMMA, margin: float = ASYMMETRIC_MARGIN):
    """Asymmetric loss of each tag (Ridnik et al., arXiv 2009.14119): cross-entropy of positives, a focal loss of negatives,
    none of negatives that are all but certain.

    Args:
        labels: 0 or 1, or soft; any shape.
        logits: the same shape.
        gamma: how quickly negatives lose weight as they become easy.
        margin: the probability below which a negative costs nothing.

    Returns:
        The loss, in the same shape.
    """
    wrong = ops.maximum(ops.sigmoid(logits) - margin, 0.0)  # of a negative
    negative = -ops.power(ops.maximum(wrong, 1e-12), gamma) * ops.log(1.0 - wrong)
    return labels * ops.softplus(-logits) + (1 - labels) * negative


def general_robust(squared_residual, alpha, scale):
    """General robust loss rho (Barron, arXiv 1701.03077, eq. 13) of a residual given by its square.

    Args:
        squared_residual: tensor, at least 0.
        alpha: shape; 2 is the squared error, 1 Charbonnier, 0 Cauchy, -2 Geman-McClure.
        scale: the residual at which the loss leaves its quadratic bowl, above 0.

    Returns:
        The loss, in the shape of `squared_residual`.
    """
    squared = squared_residual / ops.square(scale)
    # The formula is 0/0 at alpha 0 and 2 with finite limits; keeping off by 1e-6 reaches them to float32 precision.
    beta = ops.maximum(ops.abs(alpha - 2.0), 1e-6)
    alpha = ops.where(alpha >= 0, ops.maximum(alpha, 1e-6), ops.minimum(alpha, -1e-6))
    return beta / alpha * ops.expm1(alpha / 2 * ops.log1p(squared / beta))


def log_partition(alpha, num_nodes: int = 64):
    """log Z(alpha), where Z = ∫ exp(-rho(x, alpha, 1)) dx makes the robust loss a likelihood; alpha in [0, 2].

    Gauss-Legendre in t, x = 2t / (1 - t): differentiable in alpha, where the paper's implementation has a fitted spline.
    """
    t, weight = np.polynomial.legendre.leggauss(num_nodes)
    t, weight = (t + 1) / 2, weight / 2
    x = 2 * t / (1 - t)
    jacobian = 2 / (1 - t) ** 2
    rho = general_robust(ops.convert_to_tensor(x**2, "float32"), alpha, 1.0)  # (num_nodes,)
    log_weight = ops.convert_to_tensor(np.log(2 * weight * jacobian), "float32")  # 2: both signs of x
    return ops.logsumexp(log_weight - rho)


@keras.saving.register_keras_serializable(package="e6tag")
class AdaptiveRobust(keras.layers.Layer):
    """The general robust loss over a non-negative loss, with shape and scale as trained weights.

    The residual is x = √(2 loss), so that shape 2 and scale 1 give the loss back. Minimising the likelihood with the
    network would let it shrink the scale and blow up its own gradient: so the network sees scale² rho, whose bowl is the
    plain loss at any scale, and only shape and scale see the likelihood, at a slower rate.

    Args:
        parameter_rate: the learning rate of shape and scale, as a share of the network's.
    """

    def __init__(self, parameter_rate: float = 0.01, **kwargs):
        super().__init__(**kwargs)
        self.parameter_rate = parameter_rate

    def build(self, input_shape=None):
        self.shape_logit = self.add_weight(name="shape_logit", shape=(), initializer="zeros")
        self.log_scale = self.add_weight(name="log_scale", shape=(), initializer="zeros")
        super().build(input_shape)

    @property
    def alpha(self):
        """The shape, inside (0.001, 1.999), as in the paper's adaptive form."""
        return 0.001 + 1.998 * ops.sigmoid(ops.convert_to_tensor(self.shape_logit))

    @property
    def scale(self):
        """The scale, above 1e-5."""
        return ops.exp(ops.convert_to_tensor(self.log_scale)) + 1e-5

    def call(self, loss):
        """What the network sees: the robust loss of each element, in the shape of `loss`."""
        scale = ops.stop_gradient(self.scale)
        return ops.square(scale) * general_robust(2 * loss, ops.stop_gradient(self.alpha), scale)

    def likelihood_term(self, loss):
        """What shape and scale see: a scalar whose gradient is that of the mean likelihood, and whose value is 0, so that
        the loss reported stays comparable with the plain one."""
        likelihood = ops.mean(negative_log_likelihood(2 * ops.stop_gradient(loss), self.alpha, self.scale))
        return self.parameter_rate * (likelihood - ops.stop_gradient(likelihood))

    def get_config(self):
        return super().get_config() | {"parameter_rate": self.parameter_rate}


def negative_log_likelihood(squared_residual, alpha, scale):
    """-log of the density exp(-rho(x, alpha, scale)) / (scale Z(alpha)) (Barron, eq. 16), alpha in [0, 2]."""
    return general_robust(squared_residual, alpha, scale) + ops.log(scale) + log_partition(alpha)


def log_odds(probability: np.ndarray, floor: float = 1e-6) -> np.ndarray:
    """log(p / (1 - p)) in float64, with p kept off 0 and 1."""
    inside = np.clip(np.asarray(probability, np.float64), floor, 1 - floor)
    return np.log(inside) - np.log1p(-inside)
