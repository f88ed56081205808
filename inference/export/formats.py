"""Write a run in the formats that other programs load, and read each file back to compare it with the run.

What each format is for is at the top of `onnx_files`, `keras_files` and `tensorflow_files`.
"""

import contextlib
import io
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from common.errors import InputError
from dataset import records
from dataset.ordered_batches import ordered_batches
from inference.export import keras_files, onnx_files, tensorflow_files
from inference.export.front_end_files import front_end_rows
from inference.export.model_card import write_card
from inference.export.onnx_files import Reader
from inference.tagger import Tagger
from model.onnx_trunk import OnnxTrunk

BATCH = 32
MAX_DIFFERENCE = 1e-3  # of probabilities; of embeddings, relative to their largest value


@dataclass(frozen=True)
class Format:
    """A format of export.py.

    Attributes:
        file: name of the file or folder in the folder of the export.
        write: writes it to a path.
        read: returns a function that computes with it what the run computes.
    """

    file: str
    write: Callable[[Path], None]
    read: Callable[[Path], Reader]


def formats(tagger: Tagger, side: int) -> dict[str, Format]:
    """Return the formats by name; `side` as in `onnx_files.write_wd`."""
    num_tags, rows, own_rows = len(tagger.run.tags), front_end_rows(tagger), front_end_rows(tagger, own_categories=True)
    read_wd = partial(onnx_files.read_rows, rows=rows, num_tags=num_tags)
    read_own = partial(onnx_files.read_rows, rows=own_rows, num_tags=num_tags)
    return {
        "onnx": Format("model.onnx", partial(onnx_files.write_wd, tagger, side=side), read_wd),
        "timm": Format("timm/model.onnx", partial(onnx_files.write_timm, tagger, side=side), read_own),
        "cl": Format("cl/model.onnx", partial(onnx_files.write_cl, tagger, side=side), read_own),
        "run": Format("model.onnx", partial(onnx_files.write_suite, tagger), onnx_files.read_suite),
        "suite": Format("suite/model.onnx", partial(onnx_files.write_suite, tagger), onnx_files.read_suite),
        "trunk": Format("trunk/trunk.onnx", partial(onnx_files.write_trunk, tagger), onnx_files.read_trunk),
        "keras": Format("keras/model.keras", partial(keras_files.write_keras, tagger), keras_files.read_keras),
        "safetensors": Format(
            "safetensors/model.safetensors",
            partial(keras_files.write_safetensors, tagger),
            partial(keras_files.read_safetensors, tagger=tagger),
        ),
        "savedmodel": Format(
            "saved_model", partial(tensorflow_files.write_saved_model, tagger), tensorflow_files.read_saved_model
        ),
        "litert": Format(
            "litert/model.tflite", partial(tensorflow_files.write_litert, tagger), tensorflow_files.read_litert
        ),
        "int8": Format(
            "litert/model.int8.tflite", partial(tensorflow_files.write_litert_int8, tagger), tensorflow_files.read_litert
        ),
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
        for checked in ordered_batches(data, split, len(outputs), config.image_size, config.resize, number):
            labels = np.zeros((len(checked.records), len(tagger.run.tags)), bool)
            labels[:, outputs] = checked.labels > 0.5
            return split, checked.pixels, labels
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


def write_checked(tagger: Tagger, name: str, side: int, out: Path, pixels: np.ndarray) -> Export:
    """Write one of `formats`, read it back, and give it its final name if its output equals that of the run.

    Args:
        tagger: run to export.
        name: name of the format.
        side: see `onnx_files.write_wd`.
        out: folder to write into.
        pixels: pictures from `read_pictures`.

    Raises:
        InputError: the outputs differ by more than `MAX_DIFFERENCE`, or the trunk is an ONNX file.
    """
    if any(isinstance(layer, OnnxTrunk) for layer in tagger.network.layers):
        raise InputError(f"the trunk of {tagger.run.folder} is an ONNX file, which cannot be written into another file")
    chosen = formats(tagger, side)[name]
    final = out / chosen.file
    for left_over in out.glob(".partial-*"):  # of an export that was killed
        shutil.rmtree(left_over)
    for path in (final, *(out / parent for parent in final.relative_to(out).parents)):
        if path.exists() and path.is_dir() != (path != final or name == "savedmodel"):
            raise InputError(f"{path} is in the way: move it, or give another --out")
    expected = _in_batches(_embeddings(tagger) if name == "trunk" else tagger.probabilities, pixels)
    if name in ("onnx", "timm", "cl"):
        is_number = [tag.category == records.CATEGORIES["number"] for tag in tagger.run.tags]
        expected[:, is_number] = 0  # these files have no rows for numbers
    with tempfile.TemporaryDirectory(dir=out, prefix=".partial-") as folder:
        path = Path(folder) / chosen.file
        with _quiet():
            chosen.write(path)
        received = _in_batches(chosen.read(path), pixels)
        difference = float(np.abs(received - expected).max() / (np.abs(expected).max() if name == "trunk" else 1))
        files = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
        size = sum(file.stat().st_size for file in files) / 1e6
        summary = f"{out / chosen.file}  {size:.1f} MB  largest difference from the run: {difference:.1e}"
        if name != "int8" and not difference <= MAX_DIFFERENCE:
            raise InputError(f"{summary}: expected at most {MAX_DIFFERENCE}; nothing is written")
        _move_files(Path(folder), out)
    if name == "onnx":
        write_card(tagger, out)
    return Export(summary, expected, received)


def _move_files(source: Path, target: Path) -> None:
    """Give files their final names; a SavedModel replaces the one before as a whole, because it is one thing."""
    for path in source.iterdir():
        final = target / path.name
        if final.is_dir() and (path / "1").is_dir():
            shutil.rmtree(final)
        if path.is_dir() and final.is_dir():
            _move_files(path, final)
        else:
            path.replace(final)


def _in_batches(read: Reader, pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([read(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)])


def _embeddings(tagger: Tagger) -> Reader:
    """Return a function that computes the embeddings with the run, for comparison with `trunk.onnx`."""
    trunk = keras.Model(tagger.network.input, tagger.network.get_layer("features").output)
    return lambda pixels: keras.ops.convert_to_numpy(trunk(pixels, training=False))


@contextlib.contextmanager
def _quiet():
    """Silence the converters, which print, warn and log a great deal."""
    tf.get_logger().setLevel("ERROR")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
