"""Small charts as inline SVG. The page's style sheet gives the colours: every part has a class."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 340, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 36  # LEFT is more where the numbers of the axis are long
TITLE_WIDTH, DIGIT_WIDTH, GAP = 18, 7, 6  # of the vertical axis; the width of a digit is that of the widest usual font
MAX_POINTS = 200  # of a line: more are not visible
SPARK_WIDTH, SPARK_HEIGHT = 96, 22


@dataclass(frozen=True)
class Line:
    """A line of a chart: its name in the key, its points, its class (`run`, `other`, `chance`), and whether it has dots."""

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    kind: str = "run"
    dots: bool = False


def line_chart(
    title: str, x_label: str, y_label: str, lines: list[Line], x_range: tuple | None = None, y_range: tuple | None = None
) -> str:
    """Return a figure with axes, grid, lines and a key, as HTML.

    Args:
        title, x_label, y_label: as plain text.
        lines: the lines; at least one has a point.
        x_range, y_range: lowest and highest value shown; None: those of the points.
    """
    x_range = x_range or _extent([value for line in lines for value in line.x])
    y_range = y_range or _extent([value for line in lines for value in line.y])

    numbers = {value: _short(value) for value in _ticks(*y_range)}
    left = max(LEFT, TITLE_WIDTH + DIGIT_WIDTH * max(map(len, numbers.values())) + GAP)

    def place(x, y) -> str:
        right = left + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - left - RIGHT)
        down = HEIGHT - BOTTOM - (y - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)
        return f"{right:.1f},{down:.1f}"

    parts = []
    for value, number in numbers.items():
        x, y = place(x_range[0], value).split(",")
        parts.append(f'<line class="grid" x1="{x}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - GAP}" y="{float(y) + 4:.1f}" text-anchor="end">{number}</text>')
    for value in _ticks(*x_range):
        x, y = place(value, y_range[0]).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 15:.1f}" text-anchor="middle">{_short(value)}</text>')
    for line in lines:
        points = [place(x, y) for x, y in _decimate(line.x, line.y)]
        parts.append(f'<polyline class="line {line.kind}" points="{" ".join(points)}"/>')
        if line.dots:
            parts += ['<circle class="dot {}" r="3" cx="{}" cy="{}"/>'.format(line.kind, *p.split(",")) for p in points]
    middle = (left + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(
        f'<text transform="translate(10 {(HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
    key = "".join(f'<span class="key {line.kind}">{escape(line.name)}</span>' for line in lines if line.name)
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{drawing}<div class="keys">{key}</div></figure>'


def sparkline(positives: np.ndarray, negatives: np.ndarray, threshold: float) -> str:
    """Return two histograms of a tag's scores, scaled to the same height, with a mark at the threshold, as SVG.

    Args:
        positives, negatives: counts by bin, (bins,).
        threshold: position of the mark, as a share of the width.
    """

    def area(counts: np.ndarray, kind: str) -> str:
        if not counts.sum():
            return ""
        width = SPARK_WIDTH / len(counts)
        tops = SPARK_HEIGHT * (1 - counts / counts.max())
        steps = "".join(f"L{bin * width:.0f} {top:.0f}H{(bin + 1) * width:.0f}" for bin, top in enumerate(tops))
        return f'<path class="{kind}" d="M0 {SPARK_HEIGHT}{steps}V{SPARK_HEIGHT}Z"/>'

    mark = f'<path class="mark" d="M{threshold * SPARK_WIDTH:.1f} 0V{SPARK_HEIGHT}"/>'
    drawing = area(negatives, "without") + area(positives, "with") + mark
    return f'<svg class="spark" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" aria-hidden="true">{drawing}</svg>'


def _decimate(x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> list[tuple[float, float]]:
    """Return points at even distances along the line, so that steep parts keep enough of them."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if len(x) <= MAX_POINTS:
        return list(zip(x, y, strict=True))
    spans = [np.ptp(values) or 1 for values in (x, y)]
    length = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) / spans[0] + np.abs(np.diff(y)) / spans[1])])
    chosen = np.unique(np.searchsorted(length, np.linspace(0, length[-1], MAX_POINTS)).clip(0, len(x) - 1))
    return list(zip(x[chosen], y[chosen], strict=True))


def _extent(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    """Return four to eight round values."""
    step = 10 ** np.floor(np.log10((high - low) / 4))
    step *= next(factor for factor in (5, 2, 1) if (high - low) / (step * factor) >= 3 or factor == 1)
    return [float(value) for value in np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) * step]


def _short(value: float) -> str:
    return f"{value:.3g}" if value else "0"
