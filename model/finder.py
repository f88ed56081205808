"""The learning-rate range test (Smith, arXiv 1506.01186): the loss while the learning rate rises from step to step."""

import csv
import math
from pathlib import Path

import keras
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from command import InputError
from dataset import pipeline
from model import reuse
from model.optimizers import build_optimizer
from model.plan import Plan
from model.tagger import TaggerNetwork

STEPS = 100
RANGE = (0.01, 30.0)  # of the configured maximum: what is tried
SMOOTHING_STEPS = 5
FEWEST = 2 * SMOOTHING_STEPS  # from which something can be said
DIVERGED = 1.5  # times the lowest loss so far: no use to go on
STILL_LOW = 0.1  # of what the loss fell by: so much above the lowest counts as still low
SHARE_OF_HIGHEST = 0.5  # what is proposed, of the highest rate at which the loss is still low
SIZE, MARGIN = (900, 540), 70


def range_test(plan: Plan, network: TaggerNetwork) -> tuple[np.ndarray, np.ndarray]:
    """Train for some steps, each at a higher learning rate than the one before, until the loss runs away.

    Args:
        plan: of the run whose maximum is looked for; nothing is written.
        network: fresh; it is no longer afterwards.

    Returns:
        Learning rates and losses, smoothed, float64 (steps,) each.

    Raises:
        InputError: already the lowest are too high.
    """
    config = plan.run.config
    first, last = (factor * config.learning_rate for factor in RANGE)
    rates = keras.optimizers.schedules.ExponentialDecay(first, STEPS - 1, last / first)
    network.compile(optimizer=build_optimizer(config, rates, config.lowest_momentum), jit_compile=network.jit_compile)
    reuse.begin_phase(config, network, 0)
    tried, losses, smoothed = [], [], []
    epochs = math.ceil(STEPS / (plan.run.train_images // plan.batch_size))
    batches = plan.batches(0, 0, epochs).take(STEPS).as_numpy_iterator()
    bar = tqdm(batches, total=STEPS, unit=" steps", desc="learning rates", disable=None)
    with pipeline.damage_named(plan.data, "train"):
        for step, (pixels, labels) in enumerate(bar):
            network.reset_metrics()
            loss = network.train_on_batch(pixels, labels)
            if not math.isfinite(loss):
                break
            tried.append(first * (last / first) ** (step / (STEPS - 1)))
            losses.append(float(loss))
            smoothed.append(np.mean(losses[-SMOOTHING_STEPS:]))
            if smoothed[-1] > DIVERGED * min(smoothed) and len(smoothed) > SMOOTHING_STEPS:
                break
    if len(tried) <= FEWEST:
        raise InputError(
            f"the loss ran away within {len(tried) + 1} steps, from a learning rate of {first:.3g} on: try a lower "
            f"--learning-rate than {config.learning_rate:g}"
        )
    return np.array(tried), np.array(smoothed)


def proposal(rates: np.ndarray, losses: np.ndarray) -> float:
    """A maximum for the cycle: half of the highest rate at which the loss is still low."""
    highest = rates[losses <= losses.min() + STILL_LOW * (losses[0] - losses.min())][-1]
    return float(f"{SHARE_OF_HIGHEST * highest:.2g}")


def save(folder: Path, rates: np.ndarray, losses: np.ndarray) -> Path:
    """Write `learning_rates.csv` and the plot, `learning_rates.png`; the plot's path."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "learning_rates.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("learning_rate", "loss"))
        writer.writerows((f"{rate:.6g}", f"{loss:.6g}") for rate, loss in zip(rates, losses, strict=True))
    path = folder / "learning_rates.png"
    plot(rates, losses).save(path)
    return path


def plot(rates: np.ndarray, losses: np.ndarray) -> Image.Image:
    """The loss against the learning rate, which is logarithmic, with the proposal."""
    picture = Image.new("RGB", SIZE, "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    width, height = (side - 2 * MARGIN for side in SIZE)
    low, high = math.log10(rates[0]), math.log10(rates[-1])
    bottom, top = losses.min() - 0.05 * np.ptp(losses), losses.max() + 0.05 * np.ptp(losses)

    def at(rate: float, loss: float) -> tuple[float, float]:
        across = (math.log10(rate) - low) / max(high - low, 1e-9)
        return MARGIN + width * across, MARGIN + height * (top - loss) / max(top - bottom, 1e-9)

    for exponent in range(math.floor(low), math.ceil(high) + 1):
        for digit in (1, 3):
            rate = digit * 10.0**exponent
            if low <= math.log10(rate) <= high:
                x, _ = at(rate, bottom)
                draw.line((x, MARGIN, x, MARGIN + height), fill="lightgray")
                draw.text((x, MARGIN + height + 8), f"{rate:g}", fill="black", font=font, anchor="mt")
    for loss in np.linspace(losses.min(), losses.max(), 5):
        _, y = at(rates[0], loss)
        draw.line((MARGIN, y, MARGIN + width, y), fill="lightgray")
        draw.text((MARGIN - 8, y), f"{loss:.3g}", fill="black", font=font, anchor="rm")
    draw.line([at(rate, loss) for rate, loss in zip(rates, losses, strict=True)], fill="navy", width=3)
    best = proposal(rates, losses)
    x, _ = at(best, bottom)
    draw.line((x, MARGIN, x, MARGIN + height), fill="firebrick", width=2)
    draw.text((x, MARGIN - 8), f"proposed maximum {best:g}", fill="firebrick", font=font, anchor="mb")
    draw.text((MARGIN + width / 2, SIZE[1] - 12), "learning rate", fill="black", font=font, anchor="mb")
    draw.text((12, MARGIN - 30), "loss", fill="black", font=font, anchor="lm")
    return picture
