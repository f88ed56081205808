"""The chart of a learning-rate range test: the loss against the learning rate."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.files import atomic_path

SIZE, MARGIN = (900, 540), 70  # pixels


def write(path: Path, rates: np.ndarray, losses: np.ndarray, proposed: float) -> None:
    """Write the chart as a PNG file.

    Args:
        path: the file.
        rates: learning rates in ascending order, (steps,).
        losses: the loss at each of them, (steps,).
        proposed: the proposed maximum, which is marked.
    """
    with atomic_path(path) as partial:
        draw(rates, losses, proposed).save(partial)


def draw(rates: np.ndarray, losses: np.ndarray, proposed: float) -> Image.Image:
    """Return the chart, with a logarithmic axis of learning rates; arguments as for `write`."""
    picture = Image.new("RGB", SIZE, "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(16)
    width, height = (side - 2 * MARGIN for side in SIZE)
    low, high = math.log10(rates[0]), math.log10(rates[-1])
    bottom, top = losses.min() - 0.05 * np.ptp(losses), losses.max() + 0.05 * np.ptp(losses)

    def pixel(rate: float, loss: float) -> tuple[float, float]:
        across = (math.log10(rate) - low) / max(high - low, 1e-9)
        return MARGIN + width * across, MARGIN + height * (top - loss) / max(top - bottom, 1e-9)

    for exponent in range(math.floor(low), math.ceil(high) + 1):
        for digit in (1, 3):
            rate = digit * 10.0**exponent
            if low <= math.log10(rate) <= high:
                x, _ = pixel(rate, bottom)
                pen.line((x, MARGIN, x, MARGIN + height), fill="lightgray")
                pen.text((x, MARGIN + height + 8), f"{rate:g}", fill="black", font=font, anchor="mt")
    for loss in np.linspace(losses.min(), losses.max(), 5):
        _, y = pixel(rates[0], loss)
        pen.line((MARGIN, y, MARGIN + width, y), fill="lightgray")
        pen.text((MARGIN - 8, y), f"{loss:.3g}", fill="black", font=font, anchor="rm")
    pen.line([pixel(rate, loss) for rate, loss in zip(rates, losses, strict=True)], fill="navy", width=3)
    x, _ = pixel(proposed, bottom)
    pen.line((x, MARGIN, x, MARGIN + height), fill="firebrick", width=2)
    pen.text((x, MARGIN - 8), f"proposed maximum {proposed:g}", fill="firebrick", font=font, anchor="mb")
    pen.text((MARGIN + width / 2, SIZE[1] - 12), "learning rate", fill="black", font=font, anchor="mb")
    pen.text((12, MARGIN - 30), "loss", fill="black", font=font, anchor="lm")
    return picture
