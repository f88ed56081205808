"""Tagging new pictures: from a file's bytes to the network's input, and through the network.

    KERAS_BACKEND=jax python -m benchmarks predict

Result: predict.json.
"""

import argparse
import io
from collections.abc import Callable
from functools import partial

import keras
import numpy as np
from PIL import Image

from benchmarks.measuring import forward_flops, peak_flops, side_by_side
from benchmarks.reporting import Table, as_json, report
from dataset import images
from model import devices
from model.network import TaggerNetwork
from model.presets import PRESETS
from training.recipes import resolve


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the preset, the batch sizes and the number of tags."""
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="network (default: tiny)")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32], help="default: 1 8 32")
    parser.add_argument("--tags", type=int, default=1024, help="number of tags (default: 1024)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (default: 5)")


def measure(options: argparse.Namespace) -> None:
    """Time pictures of two sizes, and both networks with batches of several sizes."""
    config = resolve({"preset": options.preset})
    side = config.image_size
    network = TaggerNetwork(options.tags, config.as_dict())
    peer = keras.applications.ResNet50(weights=None, input_shape=(side, side, 3), classes=options.tags)
    tasks: dict[str, Callable[[], object]] = {}
    sizes, flops = {}, {}
    for pixels in (320, 1280):
        picture = _picture(pixels)
        name = f"JPEG of {pixels} px ▶ input"
        tasks[name] = partial(_to_input, picture, side, config.resize)
        sizes[name] = 1
    for title, tagger in ((f"e6tag {options.preset}", network), ("Keras ResNet-50", peer)):
        for batch_size in options.batch_sizes:
            batch = np.zeros((batch_size, side, side, 3), np.uint8)
            name = f"{title}, batch {batch_size}"
            tasks[name] = partial(tagger.predict_on_batch, batch)
            sizes[name], flops[name] = batch_size, forward_flops(tagger)
    seconds = side_by_side(tasks, options.rounds)
    peak = peak_flops("float32")
    tasks_figures = {}
    for name, value in seconds.items():
        rate = sizes[name] / value
        share = flops[name] * rate / peak if name in flops else None
        tasks_figures[name] = {"seconds": value, "images_per_second": rate, "share_of_peak": share}
    print(f"{devices.describe()}, float32, {side} px, {options.tags:,} tags; peak {peak / 1e12:.3f} TFLOP/s")
    figures = {"options": as_json(options), "tasks": tasks_figures}
    report("predict", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result."""
    rows = []
    for name, task in figures["tasks"].items():
        share = "" if task["share_of_peak"] is None else f"{task['share_of_peak']:.1%}"
        rows.append([name, f"{1000 * task['seconds']:,.2f}", f"{task['images_per_second']:,.1f}", share])
    return Table(["prediction", "ms", "images/s", "of peak"], rows)


def _to_input(picture: bytes, side: int, resize: str) -> np.ndarray:
    """Return a picture as the network sees it, after it was stored at 320 px."""
    return images.network_input(images.normalise(picture, 320), side, resize)


def _picture(side: int) -> bytes:
    """Return a JPEG of smooth shapes with some noise."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse, np.int16) + random.integers(-12, 13, (side, side, 3))
    encoded = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()
