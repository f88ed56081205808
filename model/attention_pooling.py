"""The global head: one vector for the whole picture, from the feature map of its positions."""

import math

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="e6tag")
class AttentionPooling(layers.Layer):
    """Global average pooling plus a residual: multi-head attention of the pooled vector over the positions of the map.

    The last projection of the residual starts at zero, so that training starts from global average pooling. With any other
    start, short runs were worse than with global average pooling. Attention: Vaswani et al., arXiv 1706.03762; instead
    of pooling: Bello et al., arXiv 1904.09925, and CLIP's pooling head, arXiv 2103.00020.

    No tensor is used more than twice. TensorFlow adds the gradients of three uses in an order that depends on which of its
    threads is faster, so that two runs on several cores would differ by rounding.

    Args:
        num_heads: number of attention heads.
        head_size: number of channels of each head.

    Input:
        (batch, height, width, channels).

    Output:
        (batch, channels).
    """

    def __init__(self, num_heads: int = 8, head_size: int = 32, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.head_size = head_size

    def build(self, input_shape):
        channels, inner = input_shape[-1], self.num_heads * self.head_size
        self.norm = layers.LayerNormalization(dtype=self.dtype_policy, name="norm")
        self.query = layers.Dense(inner, use_bias=False, dtype=self.dtype_policy, name="query")
        self.key = layers.Dense(inner, use_bias=False, dtype=self.dtype_policy, name="key")
        self.value = layers.Dense(inner, use_bias=False, dtype=self.dtype_policy, name="value")
        self.project = layers.Dense(channels, kernel_initializer="zeros", dtype=self.dtype_policy, name="project")
        self.norm.build((None, None, channels))
        self.query.build((None, channels))
        self.key.build((None, None, channels))
        self.value.build((None, None, channels))
        self.project.build((None, inner))
        super().build(input_shape)

    def call(self, feature_map):
        pooled = ops.mean(feature_map, axis=(1, 2))  # (batch, channels)
        weights, value = self.attend(feature_map)
        attended = ops.einsum("bhp,bphs->bhs", weights, value)  # (batch, heads, size)
        return pooled + self.project(ops.reshape(attended, (-1, self.num_heads * self.head_size)))

    def contributions(self, feature_map):
        """Return what each position adds to the output, (batch, height, width, channels).

        The output is the sum over the positions, and the bias of the projection.
        """
        _, height, width, _ = feature_map.shape
        weights, value = self.attend(feature_map)
        attended = ops.einsum("bhp,bphs->bphs", weights, value)  # (batch, positions, heads, size)
        attended = ops.reshape(attended, (-1, height, width, self.num_heads * self.head_size))
        return feature_map / (height * width) + ops.matmul(attended, self.project.kernel)

    def attend(self, feature_map):
        """Return the attention weights and the values of the positions.

        Args:
            feature_map: (batch, height, width, channels).

        Returns:
            The weights (batch, num_heads, positions), which sum to 1 over the positions, and the values
            (batch, positions, num_heads, head_size).
        """
        _, height, width, channels = feature_map.shape
        standard = self._standardised(ops.reshape(feature_map, (-1, height * width, channels)))
        positions = self._scaled(standard)  # (batch, positions, channels)
        query = self.query(self._scaled(ops.mean(standard, axis=1)))  # (batch, heads * size)
        query = ops.reshape(query, (-1, self.num_heads, self.head_size))  # (batch, heads, size)
        shape = (-1, height * width, self.num_heads, self.head_size)  # (batch, positions, heads, size)
        key, value = (ops.reshape(layer(positions), shape) for layer in (self.key, self.value))
        scores = ops.einsum("bhs,bphs->bhp", query, key) / math.sqrt(self.head_size)
        return ops.softmax(scores, axis=-1), value

    def _standardised(self, x):
        """Return x, (batch, positions, channels), with mean 0 and variance 1 at each position, in float32."""
        x = ops.cast(x, "float32")
        centred = x - ops.mean(x, axis=-1, keepdims=True)
        return centred / ops.sqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + self.norm.epsilon)

    def _scaled(self, x):
        """Return x, (…, channels), with the scale and offset of the layer normalisation."""
        return ops.cast(x * self.norm.gamma + self.norm.beta, self.compute_dtype)

    def compute_output_spec(self, feature_map):
        return keras.KerasTensor((feature_map.shape[0], feature_map.shape[-1]), self.compute_dtype)

    def get_config(self):
        return super().get_config() | {"num_heads": self.num_heads, "head_size": self.head_size}


def contributions(head: layers.Layer, feature_map):
    """Return what each position adds to the output of a global head, average pooling or `AttentionPooling`.

    Args:
        head: the head.
        feature_map: (batch, height, width, channels).

    Returns:
        (batch, height, width, channels).
    """
    if isinstance(head, AttentionPooling):
        return head.contributions(feature_map)
    _, height, width, _ = feature_map.shape
    return feature_map / (height * width)
