"""A trunk taken over by other pictures and tags, frozen and thawed, beside training from scratch in the same time."""

import argparse
from pathlib import Path

import keras
import numpy as np

from benchmarks import trials
from benchmarks.measuring import report, side_by_side, use_xla
from benchmarks.trials import Trial
from model import devices, reuse, schedule
from model.config import resolve
from model.tagger import TaggerNetwork

SHOWN = {name: trials.SHOWN[name] for name in ("average_precision_macro", "auc_roc_macro", "auc_roc_micro")}
SHOWN |= {"seconds": "seconds"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """On what, how long, and how often."""
    parser.add_argument("--data", type=Path, nargs=2, required=True, help="two folders made by download.py")
    parser.add_argument(
        "--epochs", type=int, default=4, help="from scratch; others get as many as take as long (default: 4)"
    )
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with seeds 0, 1, … (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")
    parser.add_argument("--rounds", type=int, default=20, help="of the steps that are timed (default: 20)")


def measure(options: argparse.Namespace) -> None:
    """Train each way in both directions, and evaluate; finished runs are kept under runs/bench/ and not trained again."""
    ratio = step_ratio(options.rounds)
    print(f"{devices.name()}: a step with the trunk frozen takes {1 / ratio:.2f} of the time")
    # As bench.py ablation calls them, whose runs from scratch are the same.
    seeds = range(options.seeds)
    scratch = {(data, seed): Trial(data, "default", (), options.epochs, seed) for data in options.data for seed in seeds}
    found = trials.run_all(list(scratch.values()), options.jobs)
    runs = []
    for data, other in (options.data, options.data[::-1]):
        for title, (ways, epochs) in arms(options.epochs, ratio).items():
            name = f"{title}, trunk of {other.resolve().name}"
            bases = {seed: str(scratch[other, seed].folder) for seed in seeds}
            runs += [Trial(data, name, ("--init", base, *ways), epochs, seed) for seed, base in bases.items()]
    found |= trials.run_all(runs, options.jobs)
    for data in options.data:
        of_data = {trial: figures for trial, figures in found.items() if trial.data == data}
        print(f"{data}, test split, seeds: {options.seeds}")
        facts = {str(trial.folder): trials.shown(figures) for trial, figures in of_data.items()}
        cells = trials.cells(trials.rows_of(of_data), SHOWN)
        report(
            f"transfer-{data.name}", ["", *SHOWN.values()], cells, {"options": vars(options), "ratio": ratio, "runs": facts}
        )


def arms(epochs: int, ratio: float) -> dict[str, tuple[tuple[str, ...], int]]:
    """Ways to use a trunk: options of train.py, and epochs that take about as long as so many from scratch.

    Args:
        epochs: from scratch.
        ratio: frozen epochs that take as long as one.
    """
    in_one = max(1, round(ratio))
    return {
        "frozen": (("--freeze",), max(1, round(epochs * ratio))),
        "frozen, then thawed": (("--unfreeze-after", str(in_one)), in_one + max(1, epochs - 1)),
        "trained at once": ((), epochs),
    }


def step_ratio(rounds: int) -> float:
    """How many times faster a training step is with the trunk frozen."""
    config = resolve({"init": "runs/base", "unfreeze_after": 1, "precision": devices.precision("auto")})
    devices.use_precision(config.precision)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (config.batch_size, config.image_size, config.image_size, 3), np.uint8)
    labels = (random.random((config.batch_size, 128)) < 0.03).astype(np.float32)
    steps = {}
    for epoch in (0, 1):
        network = TaggerNetwork(128, config.as_dict())
        network.compile(optimizer=schedule.optimizer(config, 0.01, 0.9), jit_compile=use_xla())
        reuse.begin_phase(config, network, epoch)
        steps[epoch] = lambda network=network: network.train_on_batch(pixels, labels)
    seconds = side_by_side(steps, rounds)
    keras.utils.clear_session()
    return seconds[1] / seconds[0]
