"""SiLU (Hendrycks & Gimpel, arXiv 1606.08415), whose gradient is fast on a CPU too."""

import functools
from collections.abc import Callable

import keras
from keras import layers

from model import devices


@keras.saving.register_keras_serializable(package="e6tag")
class Activation(layers.Activation):
    """Keras' layer. When TensorFlow trains on a CPU, XLA computes the gradient of SiLU in one pass over the memory.

    TensorFlow itself needs six passes for it, and computes the sigmoid of bfloat16 slowly. Outputs are the same; gradients
    are computed in float32 and rounded at the end.
    """

    def call(self, inputs, training=None):
        if training and self.activation is keras.activations.silu and devices.tensorflow_on_cpu():
            return _silu()(inputs)
        return super().call(inputs)


@functools.cache
def _silu() -> Callable:
    """Return TensorFlow's SiLU with a gradient that XLA computes, or as it is where TensorFlow was built without XLA."""
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def gradient(inputs, upstream):
        x, sigmoid = tf.cast(inputs, tf.float32), tf.sigmoid(tf.cast(inputs, tf.float32))
        return tf.cast(tf.cast(upstream, tf.float32) * sigmoid * (1 + x * (1 - sigmoid)), inputs.dtype)

    try:
        with tf.init_scope():  # not in the graph of a step that is being built
            gradient(tf.zeros(1), tf.zeros(1))
    except tf.errors.OpError:
        return tf.nn.silu

    @tf.custom_gradient
    def silu(inputs):
        def gradient_of_inputs(upstream):
            # Compiled for each shape, in 0.05 s: many layers have as many values, and few the same shape.
            flat = gradient(tf.reshape(inputs, [-1]), tf.reshape(upstream, [-1]))
            return tf.reshape(flat, tf.shape(inputs))

        return tf.nn.silu(inputs), gradient_of_inputs

    return silu
