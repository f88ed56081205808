"""Parameters, memory and time of a training step against the number of tags, beside a head like that of 2021."""

import argparse
from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
from keras import layers

from benchmarks.measuring import given, report, side_by_side, use_xla
from heteroscedastic import HeteroscedasticSigmoid
from model import devices
from model.config import PRESETS, Config, resolve
from model.memory import estimated_memory
from model.optimizers import build_optimizer
from model.tagger import TaggerNetwork

OWN, NARROW, OLD = "e6tag", "--output-rank", "2021"
MOST_PARAMETERS = 300_000_000  # of a network that is made and timed


def add_options(parser: argparse.ArgumentParser) -> None:
    """Sizes."""
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="default: tiny")
    parser.add_argument("--tags", type=int, nargs="+", default=[1024, 4096, 16384, 65536], help="default: 1k 4k 16k 64k")
    parser.add_argument("--rank", type=int, default=128, help="of the narrow output (default: 128)")
    parser.add_argument("--batch-size", type=int, default=12, help="default: 12")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")


def measure(options: argparse.Namespace) -> None:
    """Time the whole network's step with each head at each number of tags."""
    config = resolve({"preset": options.preset, "precision": devices.precision("auto")})
    devices.use_precision(config.precision)
    build = {
        OWN: lambda tags: TaggerNetwork(tags, config.as_dict()),
        f"{NARROW} {options.rank}": lambda tags: TaggerNetwork(tags, replace(config, output_rank=options.rank).as_dict()),
        OLD: lambda tags: _with_head_of_2021(config, tags),
    }
    steps, figures = {}, {}
    for head, make in build.items():
        for tags in options.tags:
            figures[head, tags] = {"parameters": _parameters(config, head, options.rank, tags)}
            if figures[head, tags]["parameters"] < MOST_PARAMETERS:
                network, steps[head, tags] = _step(config, make(tags), tags, options.batch_size)
                assert network.count_params() == figures[head, tags]["parameters"]
                figures[head, tags]["bytes"] = estimated_memory(network, options.batch_size)
    for key, seconds in side_by_side(steps, options.rounds).items():
        figures[key]["seconds"] = seconds
    rows = [[head, f"{tags:,}", *_cells(figures, head, tags, options.tags[0])] for head, tags in figures]
    print(f"{devices.name()}, {options.preset}, {config.image_size} px, batch {options.batch_size}")
    titles = ["head", "tags", "parameters", "a tag more", "GiB", "ms/step", f"x {options.tags[0]:,}"]
    tables = {f"{head}, {tags}": values for (head, tags), values in figures.items()}
    report(f"head-{options.preset}", titles, rows, {"options": given(options), "heads": tables})


def _parameters(config: Config, head: str, rank: int, tags: int) -> int:
    """Of a whole network with some head, without making it."""
    smallest = TaggerNetwork(1, config.as_dict())
    features = smallest.get_layer("features").output.shape[-1]
    rest = smallest.count_params() - smallest.get_layer("tags").count_params()
    if head == OLD:
        return rest + tags * (features + 1) + 2 * tags * (tags + 1)
    return rest + tags * (features + 1) if head == OWN else rest + features * rank + tags * (rank + 1)


def _step(config: Config, network: keras.Model, tags: int, batch_size: int) -> tuple[keras.Model, Callable]:
    """A network, compiled, and a function that makes a step of its training."""
    network.compile(
        optimizer=build_optimizer(config, config.learning_rate, config.momentum),
        loss=None if isinstance(network, TaggerNetwork) else keras.losses.BinaryCrossentropy(from_logits=True),
        jit_compile=use_xla(),
    )
    network.optimizer.build(network.trainable_variables)
    pixels = np.zeros((batch_size, config.image_size, config.image_size, 3), np.uint8)
    labels = np.zeros((batch_size, tags), np.float32)
    return network, lambda: network.train_on_batch(pixels, labels)


def _with_head_of_2021(config: Config, tags: int) -> keras.Model:
    """The same trunk with a layer as wide as the tags before the output: quadratic in them."""
    trunk = TaggerNetwork(1, config.as_dict()).trunk()
    hidden = layers.Dense(tags, activation="silu", dtype="float32", name="tags_hidden")(trunk.output)
    return keras.Model(trunk.input, HeteroscedasticSigmoid(tags, dtype="float32", name="tags")(hidden)["logit"])


def _cells(figures: dict, head: str, tags: int, first_tags: int) -> list[str]:
    """Parameters, those of a tag more, GiB, milliseconds a step, and times those of the first."""
    own, first = figures[head, tags], figures[head, first_tags]
    more = f"{(own['parameters'] - first['parameters']) / (tags - first_tags):,.0f}" if tags != first_tags else ""
    if "seconds" not in own:
        return [f"{own['parameters']:,}", more, "", "", ""]
    times = own["seconds"] / first["seconds"]
    return [f"{own['parameters']:,}", more, f"{own['bytes'] / 2**30:.2f}", f"{1000 * own['seconds']:,.1f}", f"{times:.2f}"]
