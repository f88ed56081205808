"""Batches from shards, beside a bare loop of the same decoder, and beside the pipeline that was published in 2021."""

import argparse
import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import tensorflow as tf

from benchmarks.measuring import given, report, side_by_side
from command import InputError
from dataset import images, pipeline, records
from dataset.cache import open_cache
from model.memory import available_memory

RESIZE = "pad"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--image-size", type=int, default=224, help="default: 224")
    parser.add_argument("--batch-size", type=int, default=32, help="default: 32")
    parser.add_argument("--images", type=int, default=2048, help="a round (default: 2048)")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")


def measure(options: argparse.Namespace) -> None:
    """Draw as many pictures from each in turns; processor time beside the rate, which other programs do not change."""
    size, batch_size = options.image_size, options.batch_size
    num_tags = len(records.read_tags(options.data / "tags.csv"))
    encoded = [record.image for record in itertools.islice(records.read(options.data, "train"), options.images)]
    if len(encoded) < batch_size:
        raise InputError(f"{options.data} has {len(encoded)} training pictures: a batch takes {batch_size}")
    steps = len(encoded) // batch_size
    encoded = encoded[: steps * batch_size]

    def bare():
        parts = [encoded[at : at + batch_size] for at in range(0, len(encoded), batch_size)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(lambda part: [images.network_input(data, size, RESIZE) for data in part], parts):
                pass

    def batches(augmentation, cache=None):
        dataset = pipeline.training_batches(
            options.data, num_tags, size, RESIZE, batch_size, augmentation, 0, 0, 10**6, cache=cache
        )
        return dataset.as_numpy_iterator()

    plain = pipeline.Augmentation(flip=False)
    cache = open_cache(options.data, "memory", size, RESIZE, plain.only_mirrors, available_memory())
    streams = {
        "pipeline": batches(plain),
        "pipeline, augmented": batches(pipeline.Augmentation(True, False, 0.08, 0.15, 0.15)),
        "pipeline, --cache memory": batches(plain, cache),
        "pipeline of 2021": _pipeline_of_2021(options.data, num_tags, size, batch_size).as_numpy_iterator(),
    }
    processor: dict[str, list[float]] = {}

    def timed(name, task):
        def run():
            started = time.process_time()
            task()
            processor.setdefault(name, []).append(time.process_time() - started)

        return run

    tasks = {"bare loop": timed("bare loop", bare)}
    for name, stream in streams.items():
        tasks[name] = timed(name, lambda stream=stream: [next(stream) for _ in range(steps)])
    seconds = side_by_side(tasks, options.rounds)
    rows, figures = [], {}
    for name, value in seconds.items():
        milliseconds = 1000 * sorted(processor[name][1:])[options.rounds // 2] / len(encoded)
        ratios = [seconds[other] / value for other in ("bare loop", "pipeline of 2021")]
        rows.append([name, f"{len(encoded) / value:,.0f}", f"{milliseconds:.2f}", *(f"{ratio:.2f}" for ratio in ratios)])
        figures[name] = {"images_per_second": len(encoded) / value, "processor_ms_per_image": milliseconds}
    kilobytes = sum(map(len, encoded)) / len(encoded) / 1000
    print(f"{options.data}, {kilobytes:.0f} kB a picture ▶ {size} px, {os.cpu_count()} cores, batch {batch_size}")
    titles = ["input", "images/s", "processor ms/image", "x bare loop", "x 2021"]
    facts = {"options": given(options), "streams": figures}
    report(f"input-{options.data.resolve().name}-{size}", titles, rows, facts)


def _pipeline_of_2021(folder: Path, num_tags: int, image_size: int, batch_size: int) -> tf.data.Dataset:
    """Shards one after the other in blocks of 256 records, decoded at full size, by four parallel maps."""

    def parse(record):
        example = records.decode(record, num_tags)
        pixels = tf.io.decode_jpeg(example["image"], channels=3)
        return tf.image.resize_with_pad(pixels, image_size, image_size), example["labels"]

    paths = tf.data.Dataset.from_tensor_slices([str(path) for path in records.shard_paths(folder, "train")])
    dataset = paths.repeat().interleave(tf.data.TFRecordDataset, cycle_length=1, block_length=256)
    return dataset.map(parse, num_parallel_calls=4).batch(batch_size).prefetch(1)
