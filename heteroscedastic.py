"""A sigmoid output layer that also predicts how uncertain each of its logits is.

Sigmoid factor analysis (Collier et al., "Correlated Input-Dependent Label Noise in Large-Scale Image Classification",
arXiv 2105.10305): the logits of an input are Gaussian. Their mean, the diagonal of their covariance and, optionally, a
low-rank part of it are linear in the features,

    z = (mean(x) + diagonal(x) ⊙ ε₁ + factors(x) ε₂) / temperature,   ε ~ N(0, I),

and the layer predicts E[sigmoid(z)]. Where the labels of a tag are noisy, the layer learns a large variance of its
logit: the prediction moves towards ½ and its gradient shrinks.

The paper averages 1,000 samples. The expectation needs no samples: it depends only on the mean and variance of each logit.
The logistic function is a scale mixture of normal distribution functions (Andrews & Mallows, 1974, J. R. Statist. Soc. B 36:
its scale is twice a Kolmogorov-Smirnov variable), and a normal distribution function under a Gaussian has a closed form:

    sigmoid(z) = E_λ[Φ(z/λ)]   ⇒   E[sigmoid(z)] = E_λ[Φ(μ / √(λ² + σ²))].

With ten Gauss nodes for λ, the error is 1e-8 at every μ and σ. Gauss-Hermite nodes in z fail for large variances: with 64 of
them the error is still 0.009 at σ = 13.
"""

import functools
import math

import keras
import numpy as np
from keras import ops

NUM_NODES = 10


@keras.saving.register_keras_serializable(package="e6tag")
class HeteroscedasticSigmoid(keras.layers.Layer):
    """Independent sigmoid outputs with input-dependent Gaussian noise on their logits.

    Args:
        units: number of outputs (tags).
        num_factors: rank of the covariance between tags; with 0, the noise of each tag is independent. Each output has
            `num_factors + 2` weights for each feature.
        temperature: divides the noisy logits.
        min_scale: added to the diagonal standard deviation so that it cannot vanish.
        num_samples: 0 for the exact expectation; otherwise the number of Monte Carlo samples that estimate it.
        bias_initializer: for the bias of the mean, such as the log-odds of the tags.
        seed: seed of the Monte Carlo samples.

    Input:
        (batch, features).

    Output:
        A dictionary of float32 tensors (batch, units): `probability` is E[sigmoid(z)], `logit` is its log-odds,
        precise even where the probability itself rounds to 0 or 1, and `variance` is Var[sigmoid(z)].

    Example:
        >>> layer = HeteroscedasticSigmoid(1024, num_factors=8)
        >>> layer(features)["probability"]  # (batch, 1024)
    """

    def __init__(
        self,
        units: int,
        num_factors: int = 0,
        temperature: float = 1.0,
        min_scale: float = 1e-3,
        num_samples: int = 0,
        bias_initializer="zeros",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if units < 1 or num_factors < 0 or num_samples < 0 or temperature <= 0 or min_scale < 0:
            raise ValueError(
                "HeteroscedasticSigmoid needs units >= 1, num_factors >= 0, num_samples >= 0, temperature > 0 and "
                f"min_scale >= 0. Received: {units=}, {num_factors=}, {num_samples=}, {temperature=}, {min_scale=}"
            )
        self.units = units
        self.num_factors = num_factors
        self.temperature = temperature
        self.min_scale = min_scale
        self.num_samples = num_samples
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.mean_layer = keras.layers.Dense(
            units, bias_initializer=self.bias_initializer, dtype=self.dtype_policy, name="mean_logit"
        )
        self.diagonal_layer = keras.layers.Dense(units, activation="softplus", dtype=self.dtype_policy, name="diagonal")
        self.factor_layer = (
            keras.layers.Dense(units * num_factors, dtype=self.dtype_policy, name="factors") if num_factors else None
        )

    def build(self, input_shape):
        for layer in (self.mean_layer, self.diagonal_layer, self.factor_layer):
            if layer is not None:
                layer.build(input_shape)
        super().build(input_shape)

    def call(self, inputs):
        if self.num_samples:
            return self._monte_carlo_estimate(inputs)
        mean, diagonal, factors = self.logit_distribution(inputs)
        variance = ops.square(diagonal)  # (batch, units)
        if factors is not None:
            variance += ops.sum(ops.square(factors), axis=-1)
        return expected_sigmoid(mean, ops.sqrt(variance))

    def logit_distribution(self, inputs):
        """Return the Gaussian distribution of the logits, divided by the temperature.

        Args:
            inputs: (batch, features).

        Returns:
            Mean (batch, units), standard deviation of the independent part (batch, units), and factor loadings
            (batch, units, num_factors) or None; the covariance is diag(deviation²) + loadings loadingsᵀ.
        """
        mean = ops.cast(self.mean_layer(inputs), "float32") / self.temperature
        diagonal = (ops.cast(self.diagonal_layer(inputs), "float32") + self.min_scale) / self.temperature
        if self.factor_layer is None:
            return mean, diagonal, None
        factors = ops.cast(self.factor_layer(inputs), "float32") / self.temperature  # (batch, units * num_factors)
        return mean, diagonal, ops.reshape(factors, (-1, self.units, self.num_factors))

    def sample(self, inputs, num_samples: int):
        """Draw samples from the joint distribution of all logits: (num_samples, batch, units)."""
        mean, diagonal, factors = self.logit_distribution(inputs)
        shape = (num_samples, *ops.shape(mean))  # (samples, batch, units)
        logits = mean + diagonal * keras.random.normal(shape, seed=self.seed_generator)
        if factors is not None:
            shape = (num_samples, ops.shape(mean)[0], self.num_factors)  # (samples, batch, factors)
            noise = keras.random.normal(shape, seed=self.seed_generator)
            logits += ops.einsum("buf,sbf->sbu", factors, noise)
        return logits

    def _monte_carlo_estimate(self, inputs):
        samples = ops.sigmoid(self.sample(inputs, self.num_samples))  # (samples, batch, units)
        probability = ops.mean(samples, axis=0)
        clipped = ops.clip(probability, 1e-7, 1 - 1e-7)  # so that the logit is finite
        return {
            "probability": probability,
            "logit": ops.log(clipped) - ops.log(1.0 - clipped),
            "variance": ops.var(samples, axis=0),
        }

    def compute_output_spec(self, inputs):
        shape = (inputs.shape[0], self.units)
        return {key: keras.KerasTensor(shape, "float32") for key in ("probability", "logit", "variance")}

    def get_config(self):
        return super().get_config() | {
            "units": self.units,
            "num_factors": self.num_factors,
            "temperature": self.temperature,
            "min_scale": self.min_scale,
            "num_samples": self.num_samples,
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "seed": self.seed,
        }


def expected_sigmoid(mean, stddev):
    """Return mean and variance of sigmoid(z) for z ~ N(mean, stddev²), to the precision of float32.

    Args:
        mean: tensor of any shape.
        stddev: tensor of the same shape, at least 0.

    Returns:
        A dictionary of `probability` E[sigmoid(z)], `logit` (its log-odds) and `variance` Var[sigmoid(z)].
    """
    sign = ops.where(mean >= 0, 1.0, -1.0)
    distance = mean * sign  # |mean|, with a gradient at 0 too
    # The logarithm of the probability of the less likely side does not underflow, so that positives with a predicted
    # probability near 0 still have a gradient.
    log_terms, slopes = [], []
    for scale, weight in zip(*logistic_mixture(NUM_NODES), strict=True):
        width = ops.sqrt(ops.square(stddev) + float(scale) ** 2)
        x = distance / width
        log_terms.append(_log_normal_tail(x) + math.log(weight))
        slopes.append(ops.exp(-0.5 * ops.square(x)) / width * (float(weight) / math.sqrt(2 * math.pi)))
    log_tail = ops.logsumexp(ops.stack(log_terms), axis=0)
    tail = ops.exp(log_tail)
    # sigmoid² = sigmoid - sigmoid', and E[sigmoid'(z)] is the derivative of E[sigmoid(z)] in the mean.
    variance = ops.maximum(tail * (1.0 - tail) - functools.reduce(ops.add, slopes), 0.0)
    return {
        "probability": ops.where(mean >= 0, 1.0 - tail, tail),
        "logit": sign * (ops.log(1.0 - tail) - log_tail),
        "variance": variance,
    }


def _log_normal_tail(x):
    """Return log Φ(-x) for x >= 0, with an error of at most 2e-6 up to x = 80.

    erfc(y) = t exp(-y² + P(t)) with t = 1 / (1 + y/2), where P is a minimax fit of degree 7 over t in (0, 1], made for
    this file.
    """
    y = x * math.sqrt(0.5)
    t = 1.0 / (1.0 + 0.5 * y)
    polynomial = 0.0
    for coefficient in (-0.1722078, 0.6936222, -0.9143557, 0.2832320, -0.0118374, 0.3878433, 0.9992002, -1.2654954):
        polynomial = polynomial * t + coefficient
    return math.log(0.5) + ops.log(t) - ops.square(y) + polynomial


@functools.cache
def logistic_mixture(num_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scales and weights of normal distribution functions with sigmoid(z) ≈ Σ weight Φ(z / scale).

    This is a Gauss quadrature in log λ for the density of λ (twice the Kolmogorov-Smirnov distribution). Its nodes are the
    eigenvalues of the Jacobi matrix (Golub & Welsch, 1969, Math. Comp. 23), from the Stieltjes recurrence on a fine grid.

    Args:
        num_nodes: number of terms; with 6, 8 and 10, the absolute error of the sigmoid is 1e-6, 9e-8 and 7e-9.

    Returns:
        float64 arrays (num_nodes,), scales ascending; the weights add up to 1.
    """
    log_v = np.linspace(math.log(0.15), math.log(5.0), 4001)
    v = np.exp(log_v)
    # Two series of the same density: `large` converges fast for large v, `small` for small v.
    k = np.arange(1, 60)[:, None]
    large = np.sum(8 * (-1.0) ** (k + 1) * k**2 * v * np.exp(-2 * k**2 * v**2), axis=0)
    a = (2 * k - 1) ** 2 * math.pi**2 / 8
    small = np.sum(math.sqrt(2 * math.pi) * np.exp(-a / v**2) * (2 * a / v**4 - 1 / v**2), axis=0)
    density = np.where(v < 0.7, small, large) * v
    density /= density.sum()

    diagonal, off_diagonal = np.zeros(num_nodes), np.zeros(num_nodes)
    previous, current, previous_norm = np.zeros_like(v), np.ones_like(v), 1.0
    for i in range(num_nodes):
        norm = np.sum(density * current**2)
        diagonal[i] = np.sum(density * log_v * current**2) / norm
        off_diagonal[i] = norm / previous_norm if i else 0.0
        previous, current = current, (log_v - diagonal[i]) * current - off_diagonal[i] * previous
        previous_norm = norm
    side = np.sqrt(off_diagonal[1:])
    nodes, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(side, 1) + np.diag(side, -1))
    return 2 * np.exp(nodes), vectors[0] ** 2
