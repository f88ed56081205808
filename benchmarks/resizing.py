"""How fast libraries shrink a decoded picture, beside Pillow, which the suite uses.

    pip install opencv-python-headless pyvips-binary pyvips
    python -m benchmarks resizing --data data/openmoji-320

A library that is not installed is left out with a line. Only those that use all pixels of an area, as Pillow's antialiased
filter does, could take its place: a filter that looks at four pixels loses lines and adds patterns. Result: resizing.json.
"""

import argparse
import importlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import simplejpeg
import tensorflow as tf
from PIL import Image

from benchmarks.measuring import side_by_side
from benchmarks.reporting import Table, as_json, report
from common.errors import InputError, say
from dataset import records

PILLOW, DECODING = "Pillow, antialiased bilinear", "decoding alone, libjpeg-turbo"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folder and the sizes."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--image-size", type=int, default=224, help="side of the network's input, in pixels (default: 224)")
    parser.add_argument("--images", type=int, default=64, help="images a round (default: 64)")
    parser.add_argument("--rounds", type=int, default=9, help="how often each is timed (default: 9)")


def measure(options: argparse.Namespace) -> None:
    """Shrink the same pictures with each library, in turns and with one thread."""
    size = options.image_size
    encoded = [record.image for record in itertools.islice(records.read(options.data, "train"), options.images)]
    if not encoded:
        raise InputError(f"{options.data} has no training pictures: give a folder made by download.py")
    pictures = [simplejpeg.decode_jpeg(data) for data in encoded]
    resizers = dict(_resizers(size))
    expected = [resizers[PILLOW](pixels) for pixels in pictures]
    tasks: dict[str, Callable] = {DECODING: lambda: [simplejpeg.decode_jpeg(data) for data in encoded]}
    for name, resize in resizers.items():
        tasks[name] = lambda resize=resize: [resize(pixels) for pixels in pictures]
    seconds = side_by_side(tasks, options.rounds)
    figures = {"options": as_json(options), "milliseconds": {}, "difference": {}}
    for name, value in seconds.items():
        figures["milliseconds"][name] = 1000 * value / len(pictures)
        if name in resizers:
            pairs = zip(map(resizers[name], pictures), expected, strict=True)
            figures["difference"][name] = float(np.mean([np.abs(one.astype(int) - other).mean() for one, other in pairs]))
    report("resizing", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each library."""
    rows = []
    for name, milliseconds in figures["milliseconds"].items():
        difference = figures["difference"].get(name)
        ratio = f"{figures['milliseconds'][PILLOW] / milliseconds:.2f}" if difference is not None else ""
        rows.append([name, f"{milliseconds:.2f}", ratio, "" if difference is None else f"{difference:.2f}"])
    return Table(["", "ms/image", "times faster than Pillow", "mean difference, of 255"], rows)


def _resizers(size: int) -> Iterator[tuple[str, Callable[[np.ndarray], np.ndarray]]]:
    """Yield functions that shrink uint8 (side, side, 3) to (size, size, 3), with their names."""
    yield PILLOW, lambda pixels: np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))
    yield "Pillow, box", lambda pixels: np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX))

    def with_tensorflow(antialias: bool) -> Callable[[np.ndarray], np.ndarray]:
        def resize(pixels):
            resized = tf.image.resize(pixels, (size, size), antialias=antialias)
            return tf.cast(tf.round(resized), tf.uint8).numpy()

        return resize

    yield "TensorFlow, antialiased bilinear", with_tensorflow(True)
    yield "TensorFlow, four pixels", with_tensorflow(False)
    if (cv2 := _installed("cv2", "opencv-python-headless")) is not None:
        cv2.setNumThreads(1)
        yield "OpenCV, area", lambda pixels: cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)
        yield "OpenCV, four pixels", lambda pixels: cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
    if (pyvips := _installed("pyvips", "pyvips-binary pyvips")) is not None:

        def with_vips(pixels):
            image = pyvips.Image.new_from_array(pixels)
            return image.resize(size / image.width, vscale=size / image.height, kernel="linear").numpy()

        yield "libvips, linear", with_vips


def _installed(module: str, packages: str) -> ModuleType | None:
    """Return a module, or say how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError:
        say(f"left out: pip install {packages}")
        return None
