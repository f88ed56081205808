"""Files for TensorFlow Serving and LiteRT.

saved_model/1/            its signatures are listed in `write_saved_model`
litert/model.tflite       uint8 (batch, size, size, 3) in RGB ▶ `probability`, float32 (batch, tags)
litert/model.int8.tflite  the same with weights in eight bits, which is a quarter of the size

The names of the tags, in the order of the columns, are in `assets.extra/tags.csv` and in `labels.txt`: beside the LiteRT
file, and inside it, where readers of LiteRT's metadata look for it.
"""

import tempfile
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from dataset import records
from inference.export.onnx_files import Reader
from inference.export.plain_network import plain_network
from inference.tagger import Tagger

LABELS = "labels.txt"


def write_saved_model(tagger: Tagger, path: Path) -> None:
    """Write a SavedModel as version 1.

    Its signatures:
        serving_default: `image`, uint8 (batch, size, size, 3) in RGB ▶ `probability`, `logit` and, with a noise layer,
            `variance`, (batch, tags), and `embedding` (batch, channels).
        encoded: `image_bytes`, strings (batch,), each a JPEG, PNG, GIF, BMP or WebP file ▶ the same.
        tags: nothing ▶ `name` and `threshold`, (tags,).
    """
    network, config = plain_network(tagger), tagger.run.config
    names = tf.constant([tag.name for tag in tagger.run.tags])
    thresholds = tf.constant(tagger.thresholds, tf.float32)

    def from_pixels(image):
        return network(image, training=False)

    def from_encoded(image_bytes):
        size = config.image_size
        signature = tf.TensorSpec((size, size, 3), tf.uint8)
        return from_pixels(
            tf.map_fn(lambda data: decode(data, size, config.resize), image_bytes, fn_output_signature=signature)
        )

    archive = keras.export.ExportArchive()
    archive.track(network)
    pixels = tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8, "image")
    archive.add_endpoint("serving_default", from_pixels, input_signature=[pixels])
    archive.add_endpoint("encoded", from_encoded, input_signature=[tf.TensorSpec((None,), tf.string, "image_bytes")])
    archive.add_endpoint("tags", lambda: {"name": names, "threshold": thresholds}, input_signature=[])
    archive.write_out(path / "1", verbose=False)
    (path / "1" / "assets.extra").mkdir()
    records.write_tags(path / "1" / "assets.extra" / "tags.csv", tagger.run.tags)


def decode(data, size: int, resize: str):
    """Decode and resize one picture with TensorFlow, whose pixels differ a little from those of `images.network_input`.

    Args:
        data: the encoded file, a string tensor.
        size, resize: see `images.fit`.

    Returns:
        uint8 (size, size, 3).
    """
    image = tf.cast(tf.io.decode_image(data, channels=0, expand_animations=False), tf.float32)  # (height, width, 1 to 4)
    channels = tf.shape(image)[-1]
    has_alpha = channels % 2 == 0
    alpha = tf.cond(has_alpha, lambda: image[..., -1:] / 255, lambda: tf.ones_like(image[..., :1]))
    colour = tf.cond(channels < 3, lambda: tf.repeat(image[..., :1], 3, axis=-1), lambda: image[..., :3])
    # How much darker than white, because padding adds zeros.
    darkness = (255 - colour) * alpha  # (height, width, 3)
    side = (tf.reduce_max if resize == "pad" else tf.reduce_min)(tf.shape(darkness)[:2])
    if resize != "squish":
        darkness = tf.image.resize_with_crop_or_pad(darkness, side, side)
    darkness = tf.cond(
        side > size,
        lambda: tf.image.resize(darkness, (size, size), method="area"),
        lambda: tf.image.resize(darkness, (size, size), method="bilinear"),
    )
    return tf.cast(tf.ensure_shape(tf.round(255 - darkness), (size, size, 3)), tf.uint8)


def read_saved_model(path: Path) -> Reader:
    """Return a function that computes the probabilities with the SavedModel's default signature."""
    saved_model = tf.saved_model.load(path / "1")  # kept in the closure, because it owns the weights
    return lambda pixels: saved_model.signatures["serving_default"](tf.constant(pixels))["probability"].numpy()


def write_litert(tagger: Tagger, path: Path, int8: bool = False) -> None:
    """Write a LiteRT (TensorFlow Lite) file and its labels.

    Args:
        tagger: run to export.
        path: file to write.
        int8: store the weights in eight bits. Activations stay in floating point, because the logarithms and divisions of
            the noise layer would lose all precision in eight bits.
    """
    network = plain_network(tagger)
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        keras.Model(network.input, {"probability": network.output["probability"]}).export(
            folder, format="tf_saved_model", verbose=False
        )
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        path.write_bytes(converter.convert())
    labels = "".join(f"{tag.name}\n" for tag in tagger.run.tags)
    path.with_name(LABELS).write_text(labels, encoding="utf-8")
    with zipfile.ZipFile(path, "a") as archive:  # after the network: the place of files that belong to its metadata
        archive.writestr(zipfile.ZipInfo(LABELS), labels)  # ZipInfo's fixed date makes equal files equal


def write_litert_int8(tagger: Tagger, path: Path) -> None:
    """Write a LiteRT file with weights in eight bits, and its labels."""
    write_litert(tagger, path, int8=True)


def read_litert(path: Path) -> Reader:
    """Return a function that computes the probabilities with a LiteRT file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow warns that the interpreter will move to another package
        interpreter = tf.lite.Interpreter(str(path))
    image, probability = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def read(pixels: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(image, pixels.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image, pixels)
        interpreter.invoke()
        return interpreter.get_tensor(probability)

    return read
