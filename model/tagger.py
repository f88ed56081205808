"""The network: uint8 pixels in, the probability of each tag out."""

import keras
import numpy as np
from keras import layers, ops

from heteroscedastic import HeteroscedasticSigmoid
from model import applications, losses, resnet
from model.config import ARCHITECTURES, Config
from model.head import AttentionPooling

OUTPUTS = ("tags", "narrow", "taught")  # what the names of the layers after the embedding begin with
LOSSES = {  # of each tag; `robust` puts the adaptive robust loss over it
    "bce": losses.binary_cross_entropy,
    "focal": losses.focal,
    "robust": losses.focal,
    "asymmetric": losses.asymmetric,
}


@keras.saving.register_keras_serializable(package="e6tag")
class TaggerNetwork(keras.Model):
    """A trunk, a global head, and an output with or without a noise layer, with its loss.

    The layer named `features` gives the embedding. No width but the output's depends on the number of tags.

    Args:
        num_tags: outputs.
        config: the run's configuration as a dictionary (`Config.as_dict`).
        num_taught: how many of the outputs, the last, were added by `model.teach`. Each is a layer of its own: the others
            are computed by the same operations as before, and so to the same bits.

    Input:
        uint8 or float (batch, image_size, image_size, 3), values 0 to 255, RGB.

    Output:
        A dictionary of float32 (batch, num_tags): `probability`, its log-odds `logit`, and, with a noise layer,
        `variance`, how far the probability itself is uncertain.
    """

    def __init__(self, num_tags: int, config: dict, num_taught: int = 0, **kwargs):
        settings = Config(**config)
        architecture = ARCHITECTURES[settings.preset]
        side = settings.image_size
        image = keras.Input((side, side, 3), dtype="uint8", name="image")
        x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescale")(image)
        if settings.preset in applications.BUILD:
            x = applications.trunk(x, settings.preset)
        else:
            x = resnet.trunk(
                x,
                architecture.widths,
                architecture.depths,
                architecture.stem_stride,
                settings.activation,
                settings.gradient_checkpointing,
            )
        if settings.head == "attention":
            x = AttentionPooling(architecture.num_heads, architecture.head_size, name="features")(x)
        else:
            x = layers.GlobalAveragePooling2D(name="features")(x)
        scores = _scores(x, num_tags - num_taught, settings)
        taught = [_taught(x, f"taught{position + 1}") for position in range(num_taught)]
        if taught:
            scores = {name: ops.concatenate([of[name] for of in (scores, *taught)], axis=-1) for name in scores}
        super().__init__(inputs=image, outputs=scores, **kwargs)
        self.num_tags = num_tags
        self.num_taught = num_taught
        self.config = config
        self.run_frozen = None
        self.robust = None
        if settings.loss == "robust":
            self.robust = losses.AdaptiveRobust(dtype="float32", name="robust")
            self.robust.build()

    def start_at(self, frequencies) -> None:
        """Set the output bias to the log-odds of the tags' frequencies in the training split, (num_tags,)."""
        output = self.get_layer("tags")
        dense = output.mean_layer if isinstance(output, HeteroscedasticSigmoid) else output
        dense.bias.assign(losses.log_odds(frequencies))

    def trunk(self) -> keras.Model:
        """Pixels ▶ embedding, (batch, image_size, image_size, 3) ▶ (batch, channels), with this network's own layers."""
        return keras.Model(self.input, self.get_layer("features").output)

    def with_taught(self, position: int, weights: np.ndarray, bias: float) -> "TaggerNetwork":
        """A copy in which a taught output, which may be one more than there are, has these weights, (channels,)."""
        num_taught = max(self.num_taught, position + 1)
        copy = TaggerNetwork(self.num_tags - self.num_taught + num_taught, self.config, num_taught)
        for layer in self.layers:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
        if self.robust is not None:
            copy.robust.set_weights(self.robust.get_weights())
        copy.get_layer(f"taught{position + 1}").set_weights([weights[:, None], np.array([bias])])
        return copy

    def freeze(self, frozen: bool) -> None:
        """Let training leave everything up to the embedding, statistics of normalisation among it, as it is, or no longer.

        The weights remain trainable to Keras, so that optimizer and checkpoints are the same before and after.
        """
        self.run_frozen = None
        if frozen:
            trunk, head = self.trunk(), keras.Model(self.get_layer("features").output, self.output)

            def run_frozen(image, training):
                return head(ops.stop_gradient(trunk(image, training=False)), training=training)

            self.run_frozen = run_frozen  # no attributes: Keras would save their layers once more
        self.train_function = None  # which is compiled for one of the two

    def call(self, inputs, training=None, mask=None):
        if self.run_frozen is None:
            return super().call(inputs, training=training, mask=mask)
        return self.run_frozen(inputs, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss averaged over images, and summed over tags so that a tag's gradient is the same among 12 and 12,000.

        `y` is (batch, tags), the labels, or (batch, 2, tags), the labels and a teacher's probabilities.
        """
        logits = y_pred["logit"]
        labels, taught = ops.cast(y, logits.dtype), None
        if len(labels.shape) == 3:
            labels, taught = labels[:, 0], labels[:, 1]
        smoothing = self.config["label_smoothing"]
        per_tag = LOSSES[self.config["loss"]](labels * (1 - smoothing) + smoothing / 2, logits)
        likelihood = 0.0
        if self.robust is not None:
            likelihood = self.robust.likelihood_term(per_tag)
            per_tag = self.robust(per_tag)  # (batch, tags)
        if taught is not None:
            weight, temperature = self.config["teacher_weight"], self.config["teacher_temperature"]
            # Its gradient shrinks with the square of the temperature.
            from_teacher = temperature**2 * losses.binary_cross_entropy(taught, logits / temperature)
            per_tag = (1 - weight) * per_tag + weight * from_teacher
        return likelihood + ops.mean(per_tag if self.config["reduction"] == "mean" else ops.sum(per_tag, axis=-1))

    def get_config(self):
        shape = {"num_tags": self.num_tags, "config": self.config, "num_taught": self.num_taught}
        return shape | {"name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def _taught(features, name: str) -> dict:
    """(batch, channels) ▶ a dictionary of (batch, 1), without noise."""
    logit = layers.Dense(1, dtype="float32", name=name)(features)
    return {"probability": ops.sigmoid(logit), "logit": logit, "variance": ops.zeros_like(logit)}


def _scores(features, num_tags: int, settings: Config) -> dict:
    """(batch, channels) ▶ a dictionary of (batch, num_tags)."""
    if settings.output_rank:
        features = layers.Dense(settings.output_rank, use_bias=False, name="narrow")(features)  # (batch, rank)
    if settings.noise == "none":
        logit = layers.Dense(num_tags, dtype="float32", name="tags")(features)
        return {"probability": layers.Activation("sigmoid", dtype="float32", name="probability")(logit), "logit": logit}
    return HeteroscedasticSigmoid(
        num_tags,
        num_factors=settings.num_factors if settings.noise == "low-rank" else 0,
        temperature=settings.temperature,
        num_samples=settings.noise_samples,
        seed=settings.seed,
        dtype="float32",
        name="tags",
    )(features)
