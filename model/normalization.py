"""Batch normalisation (Ioffe & Szegedy, arXiv 1502.03167) that is not slower than the convolutions beside it."""

import keras
from keras import layers, ops

from model import devices


@keras.saving.register_keras_serializable(package="e6tag")
class BatchNormalization(layers.BatchNormalization):
    """Keras' layer, which trains as one operation where TensorFlow computes on a CPU.

    Keras writes it as some twenty operations in float32. XLA makes one of them; without XLA they take a third of a training
    step and more. Weights, statistics, gradients and predictions are the same.
    """

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable and mask is None and devices.own_kernels()):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        output, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,  # (batch, height, width, channels)
            scale=ops.convert_to_tensor(self.gamma),
            offset=ops.convert_to_tensor(self.beta),
            mean=ops.zeros((0,)),
            variance=ops.zeros((0,)),
            epsilon=self.epsilon,
        )
        # It estimates the variance of what the batch is drawn from, where Keras keeps that of the batch itself.
        values = ops.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), "float32")
        variance *= ops.maximum(values - 1, 1) / values
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + now * (1 - self.momentum))
        return output
