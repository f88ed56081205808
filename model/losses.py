"""Losses: binary cross-entropy, focal, asymmetric, and the general adaptive robust loss over focal."""

import keras
import numpy as np
from keras import ops

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
ASYMMETRIC_GAMMA, ASYMMETRIC_MARGIN = 4.0, 0.05


def binary_cross_entropy(labels, logits):
    """Return the cross-entropy of each tag.

    Args:
        labels: 0 or 1, or probabilities; any shape.
        logits: the same shape.

    Returns:
        The loss, in the same shape.
    """
    return ops.softplus(logits) - labels * logits


def focal(labels, logits, alpha: float = FOCAL_ALPHA, gamma: float = FOCAL_GAMMA):
    """Return the focal loss of each tag (Lin et al., arXiv 1708.02002).

    The weight is computed for each tag. Computed from the average over the tags, it would be small for every picture,
    because most tags are rare and therefore easy.

    Args:
        labels: 0 or 1, or probabilities; any shape.
        logits: the same shape.
        alpha: weight of positives; the weight of negatives is 1 - alpha.
        gamma: how fast the weight of an example falls as it becomes easy.

    Returns:
        The loss, in the same shape.
    """
    cross_entropy = binary_cross_entropy(labels, logits)
    probability = ops.sigmoid(logits)
    error = labels * (1 - probability) + (1 - labels) * probability
    # error ** gamma has no finite gradient at 0 for gamma below 1; the floor keeps it finite.
    modulation = ops.power(ops.maximum(error, 1e-12), gamma)
    return (labels * alpha + (1 - labels) * (1 - alpha)) * modulation * cross_entropy


def asymmetric(labels, logits, gamma: float = ASYMMETRIC_GAMMA, margin: float = ASYMMETRIC_MARGIN):
    """Return the asymmetric loss of each tag (Ridnik et al., arXiv 2009.14119).

    It is the cross-entropy for positives, a focal loss for negatives, and 0 for negatives with a probability below `margin`.

    Args:
        labels: 0 or 1, or probabilities; any shape.
        logits: the same shape.
        gamma: how fast the weight of a negative falls as it becomes easy.
        margin: the probability below which a negative has no loss.

    Returns:
        The loss, in the same shape.
    """
    shifted = ops.maximum(ops.sigmoid(logits) - margin, 0.0)
    negative = -ops.power(ops.maximum(shifted, 1e-12), gamma) * ops.log(1.0 - shifted)
    return labels * ops.softplus(-logits) + (1 - labels) * negative


def general_robust(squared_residual, alpha, scale):
    """Return the general robust loss rho (Barron, arXiv 1701.03077, eq. 13) of a residual, from its square.

    Args:
        squared_residual: tensor, at least 0.
        alpha: shape; 2 is the squared error, 1 Charbonnier, 0 Cauchy, -2 Geman-McClure.
        scale: the residual up to which the loss is about quadratic, above 0.

    Returns:
        The loss, in the shape of `squared_residual`.
    """
    squared = squared_residual / ops.square(scale)
    # The formula is 0/0 at alpha 0 and 2, with finite limits. A distance of 1e-6 gives them to float32 precision.
    beta = ops.maximum(ops.abs(alpha - 2.0), 1e-6)
    alpha = ops.where(alpha >= 0, ops.maximum(alpha, 1e-6), ops.minimum(alpha, -1e-6))
    return beta / alpha * ops.expm1(alpha / 2 * ops.log1p(squared / beta))


def log_partition(alpha, num_nodes: int = 64):
    """Return log Z(alpha), where Z = ∫ exp(-rho(x, alpha, 1)) dx normalises the likelihood of the robust loss.

    The integral is a Gauss-Legendre quadrature in t with x = 2t / (1 - t), which is differentiable in alpha. The paper's
    implementation uses a fitted spline instead.

    Args:
        alpha: shape, scalar in [0, 2].
        num_nodes: nodes of the quadrature.

    Returns:
        A scalar tensor.
    """
    nodes, node_weights = np.polynomial.legendre.leggauss(num_nodes)
    t, weight = (nodes + 1) / 2, node_weights / 2
    x = 2 * t / (1 - t)
    jacobian = 2 / (1 - t) ** 2
    rho = general_robust(ops.convert_to_tensor(x**2, "float32"), alpha, 1.0)  # (num_nodes,)
    log_weight = ops.convert_to_tensor(np.log(2 * weight * jacobian), "float32")  # 2: both signs of x
    return ops.logsumexp(log_weight - rho)


@keras.saving.register_keras_serializable(package="e6tag")
class AdaptiveRobust(keras.layers.Layer):
    """The general robust loss of a non-negative loss, with shape and scale as trained weights.

    The residual is x = √(2 loss), so that shape 2 and scale 1 return the loss unchanged. The network does not minimise the
    negative log-likelihood: a shrinking scale would make its gradient arbitrarily large. It minimises scale² rho, which is
    about equal to the plain loss for small losses at any scale. Only shape and scale minimise the negative log-likelihood,
    with a learning rate of their own (`training.optimizers.build_optimizer`).

    Args:
        rooted: False takes the loss itself as the residual, as the code of 2021 did. Small losses then count less.

    Input, output:
        Losses of any shape.
    """

    def __init__(self, rooted: bool = True, **kwargs):
        super().__init__(**kwargs)
        self.rooted = rooted

    def build(self, input_shape=None):
        self.shape_logit = self.add_weight(name="shape_logit", shape=(), initializer="zeros")
        self.log_scale = self.add_weight(name="log_scale", shape=(), initializer="zeros")
        super().build(input_shape)

    @property
    def alpha(self):
        """The shape, between 0.001 and 1.999 as in the paper's adaptive form."""
        return 0.001 + 1.998 * ops.sigmoid(ops.convert_to_tensor(self.shape_logit))

    @property
    def scale(self):
        """The scale, above 1e-5."""
        return ops.exp(ops.convert_to_tensor(self.log_scale)) + 1e-5

    def call(self, loss):
        """Return the part of the loss that trains the network: the robust loss of each element, in the shape of `loss`."""
        scale = ops.stop_gradient(self.scale)
        return ops.square(scale) * general_robust(self._squared_residual(loss), ops.stop_gradient(self.alpha), scale)

    def likelihood_term(self, loss):
        """Return the part of the loss that trains shape and scale: a scalar with the gradient of the mean likelihood.

        Its value is 0, so that the reported loss remains comparable with the plain one.
        """
        squared_residual = self._squared_residual(ops.stop_gradient(loss))
        likelihood = ops.mean(negative_log_likelihood(squared_residual, self.alpha, self.scale))
        return likelihood - ops.stop_gradient(likelihood)

    def _squared_residual(self, loss):
        return 2 * loss if self.rooted else ops.square(loss)

    def get_config(self):
        return super().get_config() | {"rooted": self.rooted}


def negative_log_likelihood(squared_residual, alpha, scale):
    """Return -log of the density exp(-rho(x, alpha, scale)) / (scale Z(alpha)) (Barron, eq. 16), alpha in [0, 2]."""
    return general_robust(squared_residual, alpha, scale) + ops.log(scale) + log_partition(alpha)
