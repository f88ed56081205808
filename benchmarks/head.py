"""Parameters, memory and time of a training step by the number of tags, beside a head like the one of 2021.

    KERAS_BACKEND=jax python -m benchmarks head
    KERAS_BACKEND=jax python -m benchmarks head --preset base --tags 1024 8192

The head of 2021 has a layer as wide as the number of tags before the output. Result: head-PRESET.json.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np
from keras import layers

from benchmarks.measuring import side_by_side, use_xla
from benchmarks.reporting import Table, as_json, report
from heteroscedastic import HeteroscedasticSigmoid
from model import devices
from model.config import Config
from model.network import TaggerNetwork
from model.presets import PRESETS
from training.memory import estimated_memory
from training.optimizers import build_optimizer
from training.recipes import resolve

DEFAULT, BOTTLENECK, OLD = "default", "--bottleneck", "head of 2021"
# Head in a stored result ▶ its name today.
RENAMED = {"e6tag": DEFAULT, "--output-rank 128": f"{BOTTLENECK} 128", "2021": OLD}
MOST_PARAMETERS = 300_000_000  # larger networks are counted, but not built and timed


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the preset, the numbers of tags and the batch size."""
    parser.add_argument("--preset", choices=tuple(PRESETS), default="tiny", help="network (default: tiny)")
    parser.add_argument(
        "--tags", type=int, nargs="+", default=[1024, 4096, 16384, 65536], help="numbers of tags (default: 1k 4k 16k 64k)"
    )
    parser.add_argument("--rank", type=int, default=128, help="width of the bottleneck (default: 128)")
    parser.add_argument("--batch-size", type=int, default=12, help="images a step (default: 12)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is timed (default: 3)")


def measure(options: argparse.Namespace) -> None:
    """Time a step of the whole network with each head and each number of tags."""
    config = resolve({"preset": options.preset, "recipe": "lean", "precision": devices.precision("auto")})
    devices.use_precision(config.precision)
    build = {
        DEFAULT: lambda tags: TaggerNetwork(tags, config.as_dict()),
        f"{BOTTLENECK} {options.rank}": lambda tags: TaggerNetwork(tags, replace(config, bottleneck=options.rank).as_dict()),
        OLD: lambda tags: _with_head_of_2021(config, tags),
    }
    steps: dict[tuple[str, int], Callable] = {}
    heads: dict[tuple[str, int], dict[str, float]] = {}
    for head, make in build.items():
        for tags in options.tags:
            heads[head, tags] = {"parameters": _parameters(config, head, options.rank, tags)}
            if heads[head, tags]["parameters"] < MOST_PARAMETERS:
                network, steps[head, tags] = _step(config, make(tags), tags, options.batch_size)
                assert network.count_params() == heads[head, tags]["parameters"]
                heads[head, tags]["bytes"] = estimated_memory(network, options.batch_size)
    for key, seconds in side_by_side(steps, options.rounds).items():
        heads[key]["seconds"] = seconds
    print(f"{devices.describe()}, {options.preset}, {config.image_size} px, batch {options.batch_size}")
    figures = {"options": as_json(options), "heads": {f"{head}, {tags}": values for (head, tags), values in heads.items()}}
    report(f"head-{options.preset}", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each head and number of tags, beside the same head's smallest number."""
    heads: dict[str, dict[int, dict]] = {}
    for key, values in figures["heads"].items():
        name, _, tags = key.rpartition(", ")
        heads.setdefault(RENAMED.get(name, name), {})[int(tags)] = values
    rows = []
    for name, by_tags in heads.items():
        fewest = min(by_tags)
        rows += [[name, f"{tags:,}", *_cells(by_tags, tags, fewest)] for tags in by_tags]
    titles = ["head", "tags", "parameters", "for each more tag", "GiB", "ms/step", f"times {fewest:,} tags"]
    return Table(titles, rows)


def _parameters(config: Config, head: str, rank: int, tags: int) -> int:
    """Return the parameters of a whole network with one of the heads, without building it."""
    smallest = TaggerNetwork(1, config.as_dict())
    features = smallest.get_layer("features").output.shape[-1]
    rest = smallest.count_params() - smallest.get_layer("tags").count_params()
    if head == OLD:
        return rest + tags * (features + 1) + 2 * tags * (tags + 1)
    return rest + tags * (features + 1) if head == DEFAULT else rest + features * rank + tags * (rank + 1)


def _step(config: Config, network: keras.Model, tags: int, batch_size: int) -> tuple[keras.Model, Callable]:
    """Return the compiled network and a function that makes a training step."""
    network.compile(
        optimizer=build_optimizer(config, config.learning_rate, config.momentum, updates=1000),
        loss=None if isinstance(network, TaggerNetwork) else keras.losses.BinaryCrossentropy(from_logits=True),
        jit_compile=use_xla(),
    )
    network.optimizer.build(network.trainable_variables)
    pixels = np.zeros((batch_size, config.image_size, config.image_size, 3), np.uint8)
    labels = np.zeros((batch_size, tags), np.float32)
    return network, lambda: network.train_on_batch(pixels, labels)


def _with_head_of_2021(config: Config, tags: int) -> keras.Model:
    """Return the same trunk with a layer as wide as the number of tags before the output, which makes it quadratic."""
    trunk = TaggerNetwork(1, config.as_dict()).trunk()
    hidden = layers.Dense(tags, activation="silu", dtype="float32", name="tags_hidden")(trunk.output)
    return keras.Model(trunk.input, HeteroscedasticSigmoid(tags, dtype="float32", name="tags")(hidden)["logit"])


def _cells(by_tags: dict[int, dict], tags: int, fewest: int) -> list[str]:
    """Return parameters, parameters for each more tag, GiB, milliseconds a step, and the ratio to the fewest tags' step."""
    values, first = by_tags[tags], by_tags[fewest]
    more = f"{(values['parameters'] - first['parameters']) / (tags - fewest):,.0f}" if tags != fewest else ""
    if "seconds" not in values:
        return [f"{values['parameters']:,}", more, "", "", ""]
    times = [f"{1000 * values['seconds']:,.1f}", f"{values['seconds'] / first['seconds']:.2f}"]
    return [f"{values['parameters']:,}", more, f"{values['bytes'] / 2**30:.2f}", *times]
