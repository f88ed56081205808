"""Write a run in the formats that other programs load, and read each file back to compare it with the run.

model.onnx        with selected_tags.csv, in the convention of the WD taggers: float32 (batch, size, size, 3) in BGR, 0 to
                  255 ▶ probabilities; a second output is the embedding
trunk.onnx        the same input ▶ the embedding
saved_model/1/    for TensorFlow Serving: uint8 (batch, size, size, 3) in RGB ▶ probability, logit and, with a noise layer,
                  variance
model.tflite      uint8 (batch, size, size, 3) in RGB ▶ probability
model.int8.tflite the same with weights in eight bits, which is a quarter of the size
"""

import contextlib
import io
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from common.errors import InputError
from common.files import write_csv
from dataset import pipeline, records
from dataset.pipeline import Batches
from dataset.records import Tag
from inference import onnx_network
from inference.tagger import Tagger

CHARACTER, RATING = 4, 9  # categories that front ends of WD taggers know; all others are written as general, 0
# Front ends take the first four columns for ratings, by position. A run has no ratings, so these columns are 0.
RATINGS = [Tag(9999999 - i, name, RATING, 0) for i, name in enumerate(("general", "sensitive", "questionable", "explicit"))]
RATING_COLUMNS = len(RATINGS)

BATCH = 32
MAX_DIFFERENCE = 1e-3  # of probabilities; of embeddings, relative to their largest value

Reader = Callable[[np.ndarray], np.ndarray]  # RGB, uint8 (batch, size, size, 3) ▶ float32 (batch, tags or channels)


def column_order(tags: list[Tag]) -> tuple[list[int], list[int]]:
    """Return the order of the tags in the columns of `model.onnx` after the ratings: general tags, then characters.

    Returns:
        The index of the tag in each column after the ratings, and the column of each tag, in the order of the tags.
    """
    order = sorted(range(len(tags)), key=lambda index: tags[index].category == CHARACTER)
    columns = np.empty(len(tags), int)
    columns[order] = np.arange(RATING_COLUMNS, RATING_COLUMNS + len(tags))
    return order, columns.tolist()


def write_onnx(tagger: Tagger, path: Path) -> None:
    """Write `model.onnx` and, beside it, `selected_tags.csv`, both in the order: four ratings, general tags, characters."""
    import onnx

    order, columns = column_order(tagger.run.tags)
    image, outputs = _bgr_network(tagger)
    ratings = keras.ops.zeros_like(outputs["probability"][:, :1])  # (batch, 1)
    ordered = keras.ops.take(outputs["probability"], order, axis=1)
    probability = keras.ops.concatenate([ratings] * RATING_COLUMNS + [ordered], axis=1)  # (batch, 4 + tags)
    _convert_to_onnx(keras.Model(image, [probability, outputs["features"]]), path, ["probability", "embedding"])

    model = onnx.load(path)
    onnx.helper.set_model_props(
        model, {onnx_network.METADATA: onnx_network.metadata(tagger.run, tagger.thresholds, columns)}
    )
    onnx.save(model, path)
    tags = [*RATINGS, *(tagger.run.tags[index] for index in order)]
    categories = [tag.category if tag.category in (CHARACTER, RATING) else 0 for tag in tags]
    rows = ((tag.tag_id, tag.name, category, tag.count) for tag, category in zip(tags, categories, strict=True))
    write_csv(path.with_name("selected_tags.csv"), ("tag_id", "name", "category", "count"), rows)


def read_onnx(path: Path) -> Reader:
    """Return a function that computes the run's probabilities with `model.onnx`."""
    return Tagger.open(path).probabilities


def write_trunk(tagger: Tagger, path: Path) -> None:
    """Write `trunk.onnx`."""
    image, outputs = _bgr_network(tagger)
    _convert_to_onnx(keras.Model(image, outputs["features"]), path, ["embedding"])


def read_trunk(path: Path) -> Reader:
    """Return a function that computes the embedding with `trunk.onnx`."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return lambda pixels: session.run(None, {"input": pixels[..., ::-1].astype(np.float32)})[0]


def write_saved_model(tagger: Tagger, path: Path) -> None:
    """Write a SavedModel for TensorFlow Serving as version 1, with the names of the tags in `assets.extra`."""
    with _quiet():
        keras.Model(tagger.network.input, _outputs(tagger)).export(path / "1", format="tf_saved_model", verbose=False)
    (path / "1" / "assets.extra").mkdir()
    records.write_tags(path / "1" / "assets.extra" / "tags.csv", tagger.run.tags)


def read_saved_model(path: Path) -> Reader:
    """Return a function that computes the probabilities with the SavedModel's default signature."""
    saved_model = tf.saved_model.load(path / "1")  # kept in the closure, because it owns the weights
    return lambda pixels: saved_model.signatures["serving_default"](tf.constant(pixels))["probability"].numpy()


def write_litert(tagger: Tagger, path: Path, int8: bool = False) -> None:
    """Write a LiteRT (TensorFlow Lite) file.

    Args:
        tagger: run to export.
        path: file to write.
        int8: store the weights in eight bits. Activations stay in floating point, because the logarithms and divisions of
            the noise layer would lose all precision in eight bits.
    """
    with tempfile.TemporaryDirectory() as folder, _quiet():
        keras.Model(tagger.network.input, _outputs(tagger)["probability"]).export(
            folder, format="tf_saved_model", verbose=False
        )
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        if int8:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        path.write_bytes(converter.convert())


def write_litert_int8(tagger: Tagger, path: Path) -> None:
    """Write a LiteRT file with weights in eight bits."""
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


# Format ▶ file name, writer, reader.
FORMATS: dict[str, tuple[str, Callable[[Tagger, Path], None], Callable[[Path], Reader]]] = {
    "onnx": ("model.onnx", write_onnx, read_onnx),
    "trunk": ("trunk.onnx", write_trunk, read_trunk),
    "savedmodel": ("saved_model", write_saved_model, read_saved_model),
    "litert": ("model.tflite", write_litert, read_litert),
    "int8": ("model.int8.tflite", write_litert_int8, read_litert),
}


def read_pictures(tagger: Tagger, data: Path, number: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Return the first pictures of a data folder's test split and their labels.

    Returns:
        The split (another one, where there are no test pictures); uint8 (pictures, size, size, 3); and bool (pictures,
        tags).

    Raises:
        InputError: all splits are empty, or the folder has other tags than the run.
    """
    config = tagger.run.config
    outputs = tagger.run.outputs_for(data)
    for split in (split for split in reversed(records.SPLITS) if any(data.glob(f"{split}-*.tfrecord"))):
        batches = pipeline.evaluation_batches(data, split, len(outputs), config.image_size, config.resize, BATCH)
        for checked in Batches(batches.dataset.unbatch().take(number).batch(number), data, split):
            labels = np.zeros((len(checked["pixels"]), len(tagger.run.tags)), bool)
            labels[:, outputs] = checked["labels"] > 0.5
            return split, checked["pixels"], labels
    raise InputError(f"{data} has no pictures, and an export is checked on some")


@dataclass(frozen=True)
class Export:
    """An exported file and its comparison with the run.

    Attributes:
        summary: one line with the file, its size and its difference from the run.
        expected: output of the run for the pictures of the check, (pictures, tags or channels).
        received: output of the exported file for the same pictures.
    """

    summary: str
    expected: np.ndarray
    received: np.ndarray


def write_checked(tagger: Tagger, name: str, out: Path, pixels: np.ndarray) -> Export:
    """Write one of `FORMATS`, read it back, and give it its final name if its output equals that of the run.

    Args:
        tagger: run to export.
        name: name of the format.
        out: folder to write into.
        pixels: pictures from `read_pictures`.

    Raises:
        InputError: the outputs differ by more than `MAX_DIFFERENCE`.
    """
    file_name, write, read = FORMATS[name]
    expected = _in_batches(_embeddings(tagger) if name == "trunk" else tagger.probabilities, pixels)
    with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as folder:
        path = Path(folder) / file_name
        write(tagger, path)
        received = _in_batches(read(path), pixels)
        difference = float(np.abs(received - expected).max() / (np.abs(expected).max() if name == "trunk" else 1))
        files = [file for file in Path(folder).rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files) / 1e6
        summary = f"{out / file_name}  {size:.1f} MB  largest difference from the run: {difference:.1e}"
        if name != "int8" and not difference <= MAX_DIFFERENCE:
            raise InputError(f"{summary}: expected at most {MAX_DIFFERENCE}; nothing is written")
        for written in Path(folder).iterdir():
            final = out / written.name
            if final.is_dir():
                shutil.rmtree(final)
            written.replace(final)
    return Export(summary, expected, received)


def _in_batches(read: Reader, pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([read(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])


def _embeddings(tagger: Tagger) -> Reader:
    """Return a function that computes the embeddings with the run, for comparison with `trunk.onnx`."""
    trunk = keras.Model(tagger.network.input, tagger.network.get_layer("features").output)
    return lambda pixels: keras.ops.convert_to_numpy(trunk(pixels, training=False))


def _outputs(tagger: Tagger) -> dict:
    """Return the network's outputs, with logits and probabilities at the run's temperatures."""
    logit = tagger.network.output["logit"] / tagger.temperatures
    return tagger.network.output | {"logit": logit, "probability": keras.ops.sigmoid(logit)}


def _bgr_network(tagger: Tagger) -> tuple:
    """Return an input in BGR, float32 (batch, size, size, 3), and the outputs of the network for it, with `features`."""
    network, side = tagger.network, tagger.run.config.image_size
    after_rescaling = keras.Model(
        network.get_layer("rescale").output, _outputs(tagger) | {"features": network.get_layer("features").output}
    )
    image = keras.Input((side, side, 3), dtype="float32", name="input")
    return image, after_rescaling(network.get_layer("rescale")(image[..., ::-1]))


def _convert_to_onnx(network: keras.Model, path: Path, outputs: list[str]) -> None:
    """Write a network to ONNX with a free batch dimension and named outputs."""
    import onnx

    network(np.zeros((1, *network.input.shape[1:]), np.float32))  # Keras exports only networks that have been called
    with _quiet():
        network.export(path, format="onnx", verbose=False)
    model = onnx.load(path)
    graph = model.graph
    for value, name in zip(graph.output, outputs, strict=True):
        graph.node.append(onnx.helper.make_node("Identity", [value.name], [name]))
        value.name = name
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(model)
    onnx.save(model, path)


@contextlib.contextmanager
def _quiet():
    """Silence the converters, which print, warn and log a great deal."""
    tf.get_logger().setLevel("ERROR")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
