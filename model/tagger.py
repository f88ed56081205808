"""The network: uint8 pixels in, the probability of each tag out."""

import keras
from keras import layers, ops

from heteroscedastic import HeteroscedasticSigmoid
from model import losses
from model.config import ARCHITECTURES, Config
from model.head import AttentionPooling
from model.resnet import trunk

LOSSES = {  # of each tag; `robust` puts the adaptive robust loss over it
    "bce": losses.binary_cross_entropy,
    "focal": losses.focal,
    "robust": losses.focal,
    "asymmetric": losses.asymmetric,
}


@keras.saving.register_keras_serializable(package="e6tag")
class TaggerNetwork(keras.Model):
    """A ResNet trunk, a global head, and a noise layer over the tags, with its loss.

    The layer named `features` gives the embedding. No width but the output's depends on the number of tags.

    Args:
        num_tags: outputs.
        config: the run's configuration as a dictionary (`Config.as_dict`).

    Input:
        uint8 or float (batch, image_size, image_size, 3), values 0 to 255, RGB.

    Output:
        A dictionary of float32 (batch, num_tags): `probability`, its log-odds `logit`, and `variance`, how far the
        probability itself is uncertain.
    """

    def __init__(self, num_tags: int, config: dict, **kwargs):
        settings = Config(**config)
        architecture = ARCHITECTURES[settings.preset]
        side = settings.image_size
        image = keras.Input((side, side, 3), dtype="uint8", name="image")
        x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescale")(image)
        x = trunk(
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
        super().__init__(inputs=image, outputs=_scores(x, num_tags, settings), **kwargs)
        self.num_tags = num_tags
        self.config = config
        self.robust = None
        if settings.loss == "robust":
            self.robust = losses.AdaptiveRobust(name="robust")
            self.robust.build()

    def start_at(self, frequencies) -> None:
        """Set the output bias to the log-odds of the tags' frequencies in the training split, (num_tags,)."""
        output = self.get_layer("tags")
        dense = output.mean_layer if isinstance(output, HeteroscedasticSigmoid) else output
        dense.bias.assign(losses.log_odds(frequencies))

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
        return {"num_tags": self.num_tags, "config": self.config, "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def _scores(features, num_tags: int, settings: Config) -> dict:
    """(batch, channels) ▶ a dictionary of (batch, num_tags)."""
    if settings.noise == "none":
        logit = layers.Dense(num_tags, dtype="float32", name="tags")(features)
        probability = layers.Activation("sigmoid", dtype="float32", name="probability")(logit)
        return {
            "probability": probability,
            "logit": logit,
            "variance": layers.Rescaling(0.0, dtype="float32", name="variance")(logit),
        }
    return HeteroscedasticSigmoid(
        num_tags,
        num_factors=settings.num_factors if settings.noise == "low-rank" else 0,
        temperature=settings.temperature,
        num_samples=settings.noise_samples,
        seed=settings.seed,
        dtype="float32",
        name="tags",
    )(features)
