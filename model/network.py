"""The network: from uint8 pixels to the probability of each tag, and its loss."""

from collections.abc import Callable
from functools import cached_property

import keras
import numpy as np
from keras import layers, ops

from common import numbers
from heteroscedastic import HeteroscedasticSigmoid
from model import losses, pretrained, resnet, trunk_file
from model.attention_pooling import AttentionPooling, contributions
from model.config import Config, from_dict
from model.presets import ARCHITECTURES

EMBEDDING = "features"  # name of the layer whose output is the embedding
ROBUST = "robust"  # name of the robust loss, and prefix of the names of its weights
TAGS = "tags"  # name of the output layer
OUTPUTS = (TAGS, "bottleneck", "added_output")  # prefixes of the names of the layers after the embedding
# The loss of each tag for every `--loss`. With `robust`, `losses.AdaptiveRobust` is applied to it.
LOSSES = {
    "bce": losses.binary_cross_entropy,
    "focal": losses.focal,
    "robust": losses.focal,
    "asymmetric": losses.asymmetric,
}


@keras.saving.register_keras_serializable(package="e6tag")
class TaggerNetwork(keras.Model):
    """A trunk, a global head, and an output layer with or without noise, with the loss.

    The output of the layer named `features` is the embedding. Only the width of the output depends on the number of tags.

    Args:
        num_tags: number of outputs.
        config: the run's configuration as a dictionary (`Config.as_dict`).
        num_added_outputs: how many of the outputs, the last ones, were added by `training.teach_tag`. Each is a separate
            layer, so that the other outputs are still computed by the same operations, to the same bits.
        trunk: for preset `file`, the layers of the trunk, as `to_json` of a Keras model returns them.

    Input:
        uint8 or float (batch, image_size, image_size, 3), values 0 to 255, RGB.

    Output:
        A dictionary of float32 (batch, num_tags): `probability`, its log-odds `logit` and, with a noise layer, `variance`,
        the variance of the probability.
    """

    def __init__(self, num_tags: int, config: dict, num_added_outputs: int = 0, trunk: str = "", **kwargs):
        settings = from_dict(config)
        image, x = _trunk(settings, trunk)
        has_feature_map = len(x.shape) == 4
        x = _embedding(x, settings)  # (batch, channels)
        scores = _scores(x, num_tags - num_added_outputs, settings)
        added = [_added_output(x, f"added_output{position + 1}") for position in range(num_added_outputs)]
        if added:
            scores = {name: ops.concatenate([part[name] for part in (scores, *added)], axis=-1) for name in scores}
        super().__init__(inputs=image, outputs=scores, **kwargs)
        self.num_tags = num_tags
        self.num_added_outputs = num_added_outputs
        self.trunk_structure = trunk
        self.has_feature_map = has_feature_map
        self.config = settings.as_dict()
        self.frozen = ("", "")  # arguments of `freeze`
        self.call_frozen: Callable | None = None
        self.robust = None
        if settings.loss == "robust":
            self.robust = losses.AdaptiveRobust(settings.rooted_residual, dtype="float32", name=ROBUST)
            self.robust.build()

    def init_output_bias(self, frequencies) -> None:
        """Set the output bias to the log-odds of the tags' frequencies in the training split, (num_tags,)."""
        output = self.get_layer("tags")
        dense = output.mean_layer if isinstance(output, HeteroscedasticSigmoid) else output
        dense.bias.assign(numbers.log_odds(np.asarray(frequencies, np.float64), 1e-6))

    @property
    def embedding_width(self) -> int:
        """Number of channels of the embedding."""
        return self.get_layer(EMBEDDING).output.shape[-1]

    def trunk(self) -> keras.Model:
        """Return the model from pixels to embedding, which shares the layers of this network.

        It maps (batch, image_size, image_size, 3) to (batch, channels).
        """
        return keras.Model(self.input, self.get_layer(EMBEDDING).output)

    @property
    def tag_weights(self) -> np.ndarray:
        """Weights of the embedding's channels in each tag's logit, without noise: float32 (channels, num_tags)."""
        output = self.get_layer(TAGS)
        dense = output.mean_layer if isinstance(output, HeteroscedasticSigmoid) else output
        weights = ops.convert_to_numpy(dense.kernel)
        if self.config["bottleneck"]:
            weights = ops.convert_to_numpy(self.get_layer("bottleneck").kernel) @ weights
        added = [self.get_layer(f"added_output{position + 1}").kernel for position in range(self.num_added_outputs)]
        return np.concatenate([weights, *map(ops.convert_to_numpy, added)], axis=1)

    def contributions(self, pixels: np.ndarray) -> np.ndarray:
        """Return what each position of the feature map adds to the embedding.

        Args:
            pixels: uint8 (batch, image_size, image_size, 3).

        Returns:
            float32 (batch, height, width, channels).
        """
        return ops.convert_to_numpy(self._to_contributions(pixels, training=False))

    def embed(self, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the embeddings, float32 (batch, channels), and a dictionary of `logit`, float32 (batch, num_tags).

        The graph is compiled for each size of a batch.

        Args:
            pixels: uint8 (batch, image_size, image_size, 3).
        """
        features, logit = map(np.asarray, self._to_embedding.predict_on_batch(pixels))
        return features.astype(np.float32), {"logit": logit}

    @cached_property
    def _to_embedding(self) -> keras.Model:
        return keras.Model(self.input, [self.get_layer(EMBEDDING).output, self.output["logit"]])

    @cached_property
    def _to_contributions(self) -> keras.Model:
        head = self.get_layer(EMBEDDING)
        return keras.Model(self.input, contributions(head, head.input))

    def with_added_outputs(self, weights: np.ndarray, biases: np.ndarray, position: int | None = None) -> "TaggerNetwork":
        """Return a copy of the network with added outputs, new or replaced.

        Args:
            weights: weights of the embedding's channels, (outputs, channels).
            biases: added to the logits, (outputs,).
            position: which of the added outputs is the first of these; None: they come after all that there are.
        """
        first = self.num_added_outputs if position is None else position
        num_added_outputs = max(self.num_added_outputs, first + len(weights))
        num_tags = self.num_tags - self.num_added_outputs + num_added_outputs
        copy = TaggerNetwork(num_tags, self.config, num_added_outputs, self.trunk_structure)
        for layer in self.layers:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
        if self.robust is not None and copy.robust is not None:
            copy.robust.set_weights(self.robust.get_weights())
        for index, (row, bias) in enumerate(zip(weights, biases, strict=True), first + 1):
            copy.get_layer(f"added_output{index}").set_weights([row[:, None], np.array([bias])])
        return copy

    def stage_ends(self) -> list[str]:
        """Return the names of the layers with which the stages of the trunk end, from the first on.

        A stage is residual blocks whose outputs have the same shape. Layers before a block that have another shape belong to
        the stage after them.
        """
        ends = {
            layer.output.shape[1:]: layer.name
            for layer in self.trunk().layers
            if isinstance(layer, layers.Add | resnet.Recomputed)
        }
        names = {layer.name for layer in self.layers}
        activations = {name: name.removesuffix("_add") + "_out" for name in ends.values()}  # of the ResNet, after its sums
        return [activations[name] if activations[name] in names else name for name in ends.values()]

    def freeze(self, end: str, start: str = "") -> None:
        """Train only the layers after one of them; those up to it are frozen, including batch-norm statistics.

        The weights remain trainable for Keras, so that optimizer and checkpoints have the same variables in all states.

        Args:
            end: name of the last frozen layer. Empty: no layer is frozen.
            start: name of a layer before it, or of the same, whose outputs the training batches hold. Empty: they hold
                pictures.
        """
        if (end, start) == self.frozen:
            return  # so that a run that resumes within an epoch does not compile the step twice
        self.frozen, self.call_frozen = (end, start), None
        if end:
            first, boundary = self.get_layer(start).output if start else self.input, self.get_layer(end).output
            frozen = keras.Model(first, boundary) if start != end else None
            trained = keras.Model(boundary, self.output)

            def call_frozen(x):
                x = ops.cast(x, first.dtype)
                if frozen is not None:
                    x = frozen(x, training=False)
                return trained(ops.stop_gradient(x), training=True)

            self.call_frozen = call_frozen  # a closure: as attributes, Keras would track the layers of both models twice
        if start:
            self.input_spec = None  # Keras would expect pictures
        self.train_function = None  # the compiled step is for one of these states

    def call(self, inputs, training=None, mask=None):
        if self.call_frozen is None or not training:
            return super().call(inputs, training=training, mask=mask)
        return self.call_frozen(inputs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Return the loss: the mean over images of the sum over tags.

        With a sum, the gradient of a tag does not depend on the number of tags.

        Args:
            y: the labels, (batch, tags), or labels and the teacher's probabilities, (batch, 2, tags).
            y_pred: the network's output.
        """
        logits = y_pred["logit"]  # (batch, tags)
        labels, soft_targets = ops.cast(y, logits.dtype), None
        if len(labels.shape) == 3:
            labels, soft_targets = labels[:, 0], labels[:, 1]  # (batch, tags) each
        smoothing = self.config["label_smoothing"]
        per_tag = LOSSES[self.config["loss"]](labels * (1 - smoothing) + smoothing / 2, logits)
        likelihood = 0.0
        if self.robust is not None:
            likelihood = self.robust.likelihood_term(per_tag)
            per_tag = self.robust(per_tag)  # (batch, tags)
        if soft_targets is not None:
            weight, temperature = self.config["teacher_weight"], self.config["teacher_temperature"]
            # The factor makes up for the gradient, which shrinks with the square of the temperature.
            distillation = temperature**2 * losses.binary_cross_entropy(soft_targets, logits / temperature)
            per_tag = (1 - weight) * per_tag + weight * distillation
        return likelihood + ops.mean(per_tag if self.config["reduction"] == "mean" else ops.sum(per_tag, axis=-1))

    def get_config(self):
        arguments = {"num_tags": self.num_tags, "config": self.config, "num_added_outputs": self.num_added_outputs}
        return arguments | {"trunk": self.trunk_structure, "name": self.name, "trainable": self.trainable}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        if "num_taught" in config:  # the name in earlier versions
            config = dict(config)
            config["num_added_outputs"] = config.pop("num_taught")
        return cls(**config)


def _trunk(settings: Config, structure: str):
    """Return the input of a network, uint8 (batch, side, side, 3), and the output of its trunk."""
    side, architecture = settings.image_size, ARCHITECTURES[settings.preset]
    if structure:
        model = trunk_file.with_pixels(structure, side, settings.pixels)
        return model.input, model.output
    image = keras.Input((side, side, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="rescale")(image)
    if settings.preset in pretrained.PRETRAINED:
        return image, pretrained.trunk(x, settings.preset)
    return image, resnet.trunk(
        x,
        architecture.widths,
        architecture.depths,
        architecture.stem_stride,
        settings.activation,
        settings.gradient_checkpointing,
    )


def _embedding(x, settings: Config):
    """Return the embedding, (batch, channels), of a trunk's output: a feature map, tokens, or an embedding already."""
    architecture = ARCHITECTURES[settings.preset]
    if len(x.shape) == 2:
        return layers.Activation("linear", name=EMBEDDING)(x)
    if len(x.shape) == 3:
        x = layers.Reshape((x.shape[1], 1, x.shape[2]), name="tokens")(x)  # (batch, tokens, 1, channels)
    if settings.head == "attention":
        return AttentionPooling(architecture.num_heads, architecture.head_size, name=EMBEDDING)(x)
    return layers.GlobalAveragePooling2D(name=EMBEDDING)(x)


def _added_output(features, name: str) -> dict:
    """Return the scores of one added output, without noise: (batch, channels) ▶ a dictionary of (batch, 1)."""
    logit = layers.Dense(1, dtype="float32", name=name)(features)
    return {"probability": ops.sigmoid(logit), "logit": logit, "variance": ops.zeros_like(logit)}


def _scores(features, num_tags: int, settings: Config) -> dict:
    """Return the scores of the trained tags: (batch, channels) ▶ a dictionary of (batch, num_tags)."""
    if settings.bottleneck:
        features = layers.Dense(settings.bottleneck, use_bias=False, name="bottleneck")(features)  # (batch, width)
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
