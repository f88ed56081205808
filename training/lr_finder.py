"""The learning-rate range test (Smith, arXiv 1506.01186): the loss while the learning rate rises with each update."""

import math
from pathlib import Path

import keras
import numpy as np

from common.errors import InputError
from common.files import write_csv
from common.progress import progress
from evaluation.report import lr_chart
from model.network import TaggerNetwork
from training import distillation, transfer
from training.optimizers import build_optimizer
from training.plan import Plan
from training.train_run import build_network, compile_network

UPDATES = 100
RANGE = (0.01, 30.0)  # lowest and highest learning rate, as multiples of the configured maximum
SMOOTHED_UPDATES = 5  # each loss is the mean of so many updates
MIN_UPDATES = 2 * SMOOTHED_UPDATES  # too few to propose a maximum
DIVERGED = 1.5  # the test ends at a loss of this many times the lowest so far
STILL_LOW = 0.1  # a loss is still low up to this fraction of its total decrease above the lowest
PROPOSED_FRACTION = 0.5  # of the highest learning rate at which the loss is still low


def find_learning_rate(plan: Plan) -> str:
    """Run the range test for a run, write its results into the run folder, and return the proposed maximum in words.

    Raises:
        InputError: even the lowest learning rates are too high.
    """
    plan = distillation.with_teacher(plan)
    network = build_network(plan.run)
    compile_network(plan, network)
    transfer.load_trunk(plan.run, network)
    rates, losses = range_test(plan, network)
    chart = save(plan.run.folder, rates, losses)
    return f"{chart}: proposed --learning-rate {proposal(rates, losses):g}"


def range_test(plan: Plan, network: TaggerNetwork) -> tuple[np.ndarray, np.ndarray]:
    """Train for up to `UPDATES` updates, each with a higher learning rate than the one before, until the loss rises.

    Args:
        plan: the plan of the run; nothing is written.
        network: a fresh network, which is trained and cannot be used afterwards.

    Returns:
        Learning rates and smoothed losses, float64 (updates,) each.

    Raises:
        InputError: even the lowest learning rates are too high.
    """
    config = plan.run.config
    first, last = (factor * config.learning_rate for factor in RANGE)
    rates = keras.optimizers.schedules.ExponentialDecay(first, UPDATES - 1, last / first)
    optimizer = build_optimizer(config, rates, config.lowest_momentum, plan.total_updates, plan.steps_per_update)
    network.compile(optimizer=optimizer, jit_compile=network.jit_compile)
    network.optimizer.build(network.trainable_variables)  # built inside the step, they make TensorFlow trace it twice
    transfer.begin_phase(config, network, 0)
    tested_rates, losses, smoothed = [], [], []
    epochs = math.ceil(UPDATES * plan.steps_per_update / plan.steps_per_epoch)
    batches = iter(plan.batches(0, 0, epochs))
    for update in progress(range(UPDATES), unit="updates", description="learning rates"):
        network.reset_metrics()
        for _ in range(plan.steps_per_update):
            loss = network.train_on_batch(*next(batches))  # the mean since the metrics were reset
        if not math.isfinite(loss):
            break
        tested_rates.append(first * (last / first) ** (update / (UPDATES - 1)))
        losses.append(float(loss))
        smoothed.append(np.mean(losses[-SMOOTHED_UPDATES:]))
        if smoothed[-1] > DIVERGED * min(smoothed) and len(smoothed) > SMOOTHED_UPDATES:
            break
    if len(tested_rates) <= MIN_UPDATES:
        raise InputError(
            f"the loss diverged within {len(tested_rates) + 1} steps, from a learning rate of {first:.3g} on: try a lower "
            f"--learning-rate than {config.learning_rate:g}"
        )
    return np.array(tested_rates), np.array(smoothed)


def proposal(rates: np.ndarray, losses: np.ndarray) -> float:
    """Return a maximum for the cycle: half of the highest learning rate at which the loss is still low."""
    highest = rates[losses <= losses.min() + STILL_LOW * (losses[0] - losses.min())][-1]
    return float(f"{PROPOSED_FRACTION * highest:.2g}")


def save(folder: Path, rates: np.ndarray, losses: np.ndarray) -> Path:
    """Write `learning_rates.csv` and the chart `learning_rates.png`; return the path of the chart."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ((f"{rate:.6g}", f"{loss:.6g}") for rate, loss in zip(rates, losses, strict=True))
    write_csv(folder / "learning_rates.csv", ("learning_rate", "loss"), rows)
    path = folder / "learning_rates.png"
    lr_chart.write(path, rates, losses, proposal(rates, losses))
    return path
