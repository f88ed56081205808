"""Tagging new pictures: from a file's bytes to the network's input, and through the network."""

import argparse
import io

import keras
import numpy as np
from PIL import Image

from benchmarks.measuring import forward_flops, given, peak_flops, report, side_by_side
from dataset import images
from model import devices
from model.config import PRESETS, resolve
from model.tagger import TaggerNetwork


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="default: tiny")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8, 32], help="default: 1 8 32")
    parser.add_argument("--tags", type=int, default=1024, help="default: 1024")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")


def measure(options: argparse.Namespace) -> None:
    """Time pictures of two sizes and batches of several."""
    config = resolve({"preset": options.preset})
    side = config.image_size
    network = TaggerNetwork(options.tags, config.as_dict())
    peer = keras.applications.ResNet50(weights=None, input_shape=(side, side, 3), classes=options.tags)
    tasks, sizes, flops = {}, {}, {}
    for pixels in (320, 1280):
        picture = _picture(pixels)
        name = f"JPEG of {pixels} px ▶ input"
        tasks[name] = lambda picture=picture: images.network_input(images.normalise(picture, 320), side, config.resize)
        sizes[name] = 1
    for title, tagger in ((f"e6tag {options.preset}", network), ("Keras ResNet-50", peer)):
        for batch_size in options.batch_sizes:
            batch = np.zeros((batch_size, side, side, 3), np.uint8)
            name = f"{title}, batch {batch_size}"
            tasks[name] = lambda tagger=tagger, batch=batch: tagger.predict_on_batch(batch)
            sizes[name], flops[name] = batch_size, forward_flops(tagger)
    seconds = side_by_side(tasks, options.rounds)
    peak = peak_flops("float32")
    rows, figures = [], {}
    for name, value in seconds.items():
        rate = sizes[name] / value
        used = flops[name] * rate / peak if name in flops else None
        rows.append([name, f"{1000 * value:,.2f}", f"{rate:,.1f}", "" if used is None else f"{used:.1%}"])
        figures[name] = {"seconds": value, "images_per_second": rate, "share_of_peak": used}
    print(f"{devices.name()}, float32, {side} px, {options.tags:,} tags; peak {peak / 1e12:.3f} TFLOP/s")
    report("predict", ["prediction", "ms", "images/s", "of peak"], rows, {"options": given(options), "tasks": figures})


def _picture(side: int) -> bytes:
    """Smooth shapes with some noise, as JPEG."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse, np.int16) + random.integers(-12, 13, (side, side, 3))
    encoded = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()
