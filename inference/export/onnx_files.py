"""ONNX files, in the conventions of several programs.

model.onnx          of the WD taggers: float32 (batch, side, side, 3), BGR, 0 to 255 ▶ `predictions_sigmoid`, `embedding`
timm/model.onnx     of multi-label taggers made with timm: float32 (batch, 3, side, side), RGB, -1 to 1 ▶ `prediction`,
                    `embedding`, `logits`
cl/model.onnx       of the CL taggers: float32 (batch, 3, side, side), BGR, -1 to 1 ▶ `logits`
suite/model.onnx    of test.py, serve.py and search.py: the network's own image size; all tags of the run, numbers too; the
                    further outputs of `inference.onnx_network`. train.py writes such a file into the run folder as well
trunk/trunk.onnx    the same input ▶ `embedding`

Many front ends send pictures of 448 px, whatever the network's size is: the graphs average their pixels.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import onnx
from keras import ops

from inference import onnx_network
from inference.added_tags import trunk_fingerprint
from inference.export.front_end_files import Row, front_end_rows, write_cl_files, write_timm_files, write_wd_files
from inference.export.model_card import card_text
from inference.export.plain_network import plain_network
from inference.onnx_network import CONTRIBUTIONS, EMBEDDING, INPUT, LOGIT, PROBABILITIES, TAG_WEIGHTS, VARIANCE
from inference.tagger import Tagger

SMALLEST = 1e-7  # probability of a placeholder, where the output is a logit

Reader = Callable[[np.ndarray], np.ndarray]  # RGB, uint8 (batch, size, size, 3) ▶ float32 (batch, tags or channels)


def write_wd(tagger: Tagger, path: Path, side: int) -> None:
    """Write `model.onnx` and the files beside it.

    Args:
        tagger: run to export.
        path: file to write.
        side: side of the pictures that the graph takes, in pixels, at least the network's image size.
    """
    rows = front_end_rows(tagger)
    image = keras.Input((side, side, 3), name=INPUT)
    outputs = _outputs(tagger, _averaged(image, side, tagger)[..., ::-1])
    tensors = {PROBABILITIES: _row_values(outputs["probability"], rows), EMBEDDING: outputs["embedding"]}
    index_of = {row.index: column for column, row in enumerate(rows) if row.index is not None}
    _convert(tagger, image, tensors, path, _metadata(tagger, index_of))
    write_wd_files(tagger, rows, path.parent)


def write_timm(tagger: Tagger, path: Path, side: int) -> None:
    """Write `timm/model.onnx` and the files beside it; the arguments are those of `write_wd`."""
    rows = front_end_rows(tagger, own_categories=True)
    image = keras.Input((3, side, side), name=INPUT)
    outputs = _outputs(tagger, _averaged(ops.transpose(image, (0, 2, 3, 1)), side, tagger) * 127.5 + 127.5)
    probability = _row_values(outputs["probability"], rows)
    tensors = {"prediction": probability, EMBEDDING: outputs["embedding"], "logits": _log_odds(probability)}
    _convert(tagger, image, tensors, path)
    write_timm_files(tagger, rows, side, path.parent)


def write_cl(tagger: Tagger, path: Path, side: int) -> None:
    """Write `cl/model.onnx` and the file beside it; the arguments are those of `write_wd`."""
    rows = front_end_rows(tagger, own_categories=True)
    image = keras.Input((3, side, side), name=INPUT)
    averaged = _averaged(ops.transpose(image, (0, 2, 3, 1)), side, tagger)
    outputs = _outputs(tagger, averaged[..., ::-1] * 127.5 + 127.5)
    _convert(tagger, image, {"logits": _log_odds(_row_values(outputs["probability"], rows))}, path)
    write_cl_files(rows, path.parent)


def write_suite(tagger: Tagger, path: Path) -> None:
    """Write `suite/model.onnx`, or the `model.onnx` of a run folder."""
    side = tagger.run.config.image_size
    image = keras.Input((side, side, 3), name=INPUT)
    outputs = _outputs(tagger, image[..., ::-1], for_suite=True)
    columns = {index: index for index in range(len(tagger.run.tags))}
    tensors = {PROBABILITIES: outputs["probability"], EMBEDDING: outputs["embedding"]}
    tensors |= {name: outputs[name] for name in (LOGIT, VARIANCE, CONTRIBUTIONS) if name in outputs}
    _convert(tagger, image, tensors, path, _metadata(tagger, columns), {TAG_WEIGHTS: tagger.network.tag_weights})


def write_trunk(tagger: Tagger, path: Path) -> None:
    """Write `trunk/trunk.onnx`."""
    side = tagger.run.config.image_size
    image = keras.Input((side, side, 3), name=INPUT)
    _convert(tagger, image, {EMBEDDING: _outputs(tagger, image[..., ::-1])[EMBEDDING]}, path)


def read_suite(path: Path) -> Reader:
    """Return a function that computes the run's probabilities with `suite/model.onnx`."""
    return Tagger.open(path).probabilities


def read_trunk(path: Path) -> Reader:
    """Return a function that computes the embedding with `trunk/trunk.onnx`."""
    session = _session(path)
    return lambda pixels: session.run(None, {INPUT: pixels[..., ::-1].astype(np.float32)})[0]


def read_rows(path: Path, rows: Sequence[Row], num_tags: int) -> Reader:
    """Return a function that computes the run's probabilities as front ends do, from the first output of a file.

    Args:
        path: a file of `write_wd`, `write_timm` or `write_cl`.
        rows: those of the file.
        num_tags: number of tags of the run. Those without a row get the probability 0.
    """
    session = _session(path)
    shape, output = session.get_inputs()[0].shape, session.get_outputs()[0].name
    channels_first = shape[1] == 3

    def read(pixels: np.ndarray) -> np.ndarray:
        image = onnx_network.enlarge(pixels, shape[2]).astype(np.float32)  # (batch, side, side, 3)
        if output in (PROBABILITIES, "logits"):
            image = image[..., ::-1]
        if channels_first:
            image = np.moveaxis(image, -1, 1) / 127.5 - 1
        values = session.run([output], {INPUT: np.ascontiguousarray(image)})[0]
        if output == "logits":
            values = 1 / (1 + np.exp(-values))
        probability = np.zeros((len(values), num_tags), np.float32)
        for column, row in enumerate(rows):
            if row.index is not None:
                probability[:, row.index] = values[:, column]
        return probability

    return read


def _metadata(tagger: Tagger, columns: dict[int, int]) -> str:
    return onnx_network.metadata(tagger.run, tagger.thresholds, tagger.temperatures, columns, trunk_fingerprint(tagger))


def _session(path: Path):
    import onnxruntime

    return onnxruntime.InferenceSession(path)


def _log_odds(probability):
    clipped = ops.clip(probability, SMALLEST, 1 - SMALLEST)
    return ops.log(clipped) - ops.log(1 - clipped)


def _row_values(probability, rows: Sequence[Row]):
    """Return the probability of each row: (batch, tags) ▶ (batch, rows)."""
    with_zero = ops.pad(probability, ((0, 0), (0, 1)))  # (batch, tags + 1), the last is 0
    return ops.take(with_zero, [-1 if row.index is None else row.index for row in rows], axis=1)


def _averaged(image, side: int, tagger: Tagger):
    """Average neighbouring pixels: (batch, side, side, 3) ▶ (batch, image_size, image_size, 3) of the tagger's network."""
    image_size = tagger.run.config.image_size
    if side == image_size:
        return image
    matrix = onnx_network.averaging_matrix(side, image_size)  # (image_size, side)
    rows = ops.matmul(matrix, ops.reshape(image, (-1, side, side * 3)))  # (batch, image_size, side * 3)
    columns = ops.matmul(matrix, ops.reshape(rows, (-1, side, 3)))  # (batch * image_size, image_size, 3)
    return ops.reshape(columns, (-1, image_size, image_size, 3))


def _outputs(tagger: Tagger, image, for_suite: bool = False) -> dict:
    """Return the outputs of `plain_network` for RGB, 0 to 255, float32 (batch, image_size, image_size, 3)."""
    network = plain_network(tagger, for_suite)
    after_rescaling = keras.Model(network.get_layer("rescale").output, network.output)
    return after_rescaling(network.get_layer("rescale")(image))


def _convert(
    tagger: Tagger, image, tensors: dict, path: Path, metadata: str = "", constants: dict[str, np.ndarray] | None = None
) -> None:
    """Write a network to ONNX with a free batch dimension, named outputs, the model card and the suite's metadata.

    Args:
        tagger: run to export.
        image: the input of the network.
        tensors: its outputs by name.
        path: file to write.
        metadata: of `onnx_network.metadata`.
        constants: further outputs by name, which are the same for every input.
    """
    network = keras.Model(image, list(tensors.values()))
    network(np.zeros((1, *image.shape[1:]), np.float32))  # Keras exports only networks that have been called
    path.parent.mkdir(exist_ok=True)
    network.export(path, format="onnx", verbose=False)
    model = onnx.load(path)
    graph = model.graph
    for value, name in zip(graph.output, tensors, strict=True):
        graph.node.append(onnx.helper.make_node("Identity", [value.name], [name]))
        value.name = name
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for name, value in (constants or {}).items():
        graph.initializer.append(onnx.numpy_helper.from_array(value, f"constant_{name}"))
        graph.node.append(onnx.helper.make_node("Identity", [f"constant_{name}"], [name]))
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape))
    model.doc_string = card_text(tagger)
    if metadata:
        onnx.helper.set_model_props(model, {onnx_network.METADATA: metadata})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
