"""Batches from shards, beside a bare loop of Pillow and beside the pipeline published in 2021.

    python -m benchmarks input --data data/openmoji-320
    python -m benchmarks input --data data/openmoji --image-size 64

The bare loop decodes and resizes with Pillow on all cores and does nothing else. Result: input-FOLDER-SIZE.json.
"""

import argparse
import io
import itertools
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks.measuring import side_by_side
from benchmarks.reporting import Table, as_json, report, stored
from common.errors import InputError
from dataset import images, pipeline, records
from dataset.augmentation import Augmentation
from dataset.cache import open_cache
from training.memory import available_memory

RESIZE = "pad"
BARE, OLD = "bare loop", "pipeline of 2021"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folder and the sizes."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--image-size", type=int, default=224, help="side of the network's input, in pixels (default: 224)")
    parser.add_argument("--batch-size", type=int, default=32, help="images a batch (default: 32)")
    parser.add_argument("--images", type=int, default=2048, help="images a round (default: 2048)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is timed (default: 5)")


def measure(options: argparse.Namespace) -> None:
    """Read the same number of pictures from each, in turns. Other programs change the rate, but not the processor time."""
    size, batch_size = options.image_size, options.batch_size
    num_tags = len(records.read_tags(options.data / "tags.csv"))
    encoded = [record.image for record in itertools.islice(records.read(options.data, "train"), options.images)]
    if len(encoded) < batch_size:
        raise InputError(f"{options.data} has {len(encoded)} training pictures: a batch takes {batch_size}")
    steps = len(encoded) // batch_size
    encoded = encoded[: steps * batch_size]

    def with_pillow(data):
        image = Image.open(io.BytesIO(data))
        scale = size / max(image.size)
        if scale < 1:
            image.draft("RGB", (math.ceil(image.width * scale), math.ceil(image.height * scale)))
        return np.array(images.fit(image.convert("RGB"), size, RESIZE))

    def bare():
        parts = [encoded[at : at + batch_size] for at in range(0, len(encoded), batch_size)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(lambda part: [with_pillow(data) for data in part], parts):
                pass

    def batches(augmentation, cache=None):
        data = pipeline.TrainingData(options.data, num_tags, size, RESIZE, batch_size, augmentation, cache=cache)
        return iter(pipeline.training_batches(data, 0, 10**6))

    plain = Augmentation(flip=False)
    cache = open_cache(options.data, "memory", size, RESIZE, plain.only_mirrors, available_memory())
    streams = {
        "pipeline": batches(plain),
        "pipeline, augmented": batches(Augmentation(shift=0.08, zoom=0.15, colour=0.15)),
        "pipeline, --cache memory": batches(plain, cache),
        OLD: _pipeline_of_2021(options.data, num_tags, size, batch_size).as_numpy_iterator(),
    }
    processor: dict[str, list[float]] = {}

    def timed(name, task):
        def run():
            started = time.process_time()
            task()
            processor.setdefault(name, []).append(time.process_time() - started)

        return run

    tasks = {BARE: timed(BARE, bare)}
    for name, stream in streams.items():
        tasks[name] = timed(name, lambda stream=stream: [next(stream) for _ in range(steps)])
    seconds = side_by_side(tasks, options.rounds)
    streams_figures = {}
    for name, value in seconds.items():
        milliseconds = 1000 * sorted(processor[name][1:])[options.rounds // 2] / len(encoded)
        streams_figures[name] = {"images_per_second": len(encoded) / value, "processor_ms_per_image": milliseconds}
    kilobytes = sum(map(len, encoded)) / len(encoded) / 1000
    print(f"{options.data}, {kilobytes:.0f} kB a picture ▶ {size} px, {os.cpu_count()} cores, batch {batch_size}")
    figures = {"options": as_json(options), "streams": streams_figures}
    report(f"input-{options.data.resolve().name}-{size}", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each source of batches."""
    streams, rows = figures["streams"], []
    for name, stream in streams.items():
        rate = stream["images_per_second"]
        ratios = [f"{rate / streams[other]['images_per_second']:.2f}" for other in (BARE, OLD)]
        rows.append([name, f"{rate:,.0f}", f"{stream['processor_ms_per_image']:.2f}", *ratios])
    return Table(["input", "images/s", "processor ms/image", "times bare loop", "times 2021"], rows)


def table_of_sizes(names: list[str]) -> Table:
    """Return one table of several stored results: the pipeline's rate and ratios for each stored size and image size."""
    rows = []
    for name in names:
        figures, _ = stored(name)
        by_stream = {row[0]: row[1:] for row in table(figures).rows}
        (rate, _, bare, old), cached = by_stream["pipeline"], by_stream["pipeline, --cache memory"][3]
        rows.append([figures["options"]["data"], f"{figures['options']['image_size']}", rate, bare, old, cached])
    return Table(["shards", "network, px", "images/s", "times bare loop", "times 2021", "cached, times 2021"], rows)


def _pipeline_of_2021(folder: Path, num_tags: int, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Return the batches of 2021: shards one after the other in blocks of 256 records, decoded at full size by four parallel
    maps."""

    def parse(record):
        example = records.decode(record, num_tags)
        pixels = tf.io.decode_jpeg(example["image"], channels=3)
        return tf.image.resize_with_pad(pixels, image_size, image_size), example["labels"]

    paths = tf.data.Dataset.from_tensor_slices([str(path) for path in records.shard_paths(folder, "train")])
    dataset = paths.repeat().interleave(tf.data.TFRecordDataset, cycle_length=1, block_length=256)
    return dataset.map(parse, num_parallel_calls=4).batch(batch_size).prefetch(1)
