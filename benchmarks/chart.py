"""SVG charts: differences from the default recipe, and figures against time."""

import math
from html import escape

ROW, TOP, LABELS, PANEL, GAP = 22, 52, 180, 300, 30  # pixels
HEIGHT, AXIS = 220, 56  # of the panels with curves, and room for the numbers at their left
STEPS = tuple(factor * 10.0**power for power in range(-3, 5) for factor in (1, 2, 5))  # between two lines of a grid
COLOURS = ("#0b62a4", "#d1602c", "#3a8f5c")  # one for each data folder, or curve
BACKGROUND, INK, GRID = "#ffffff", "#222222", "#dddddd"


def differences(title: str, rows: list[str], panels: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Draw differences from the default: a dot for the mean of a row, and a line for the range over its seeds.

    Args:
        title: title of the chart.
        rows: row names, from top to bottom.
        panels: title of a panel ▶ name of a folder ▶ name of a row ▶ differences, one for each seed; a failed run has none.

    Returns:
        An SVG document.
    """
    folders = list(dict.fromkeys(folder for panel in panels.values() for folder in panel))
    parts = _legend(LABELS, folders)
    parts += [_text(LABELS - 10, TOP + ROW * (row + 0.5) + 4, name, "end") for row, name in enumerate(rows)]
    for number, (name, panel) in enumerate(panels.items()):
        left = LABELS + number * (PANEL + GAP)
        parts += _panel(left, name, rows, {folder: panel.get(folder, {}) for folder in folders})
    return _document(title, LABELS + len(panels) * (PANEL + GAP), TOP + ROW * len(rows) + 40, parts)


def curves(title: str, x_title: str, panels: dict[str, dict[str, list[tuple[float, float]]]]) -> str:
    """Draw curves.

    Args:
        title: title of the chart.
        x_title: what the horizontal axis shows. It starts at 0.
        panels: title of a panel ▶ name of a curve ▶ its points.

    Returns:
        An SVG document.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    parts = _legend(AXIS, names)
    for number, (panel_title, panel) in enumerate(panels.items()):
        parts += _curves(AXIS + number * (PANEL + AXIS), panel_title, x_title, [panel.get(name, []) for name in names])
    return _document(title, len(panels) * (PANEL + AXIS) + GAP, TOP + HEIGHT + 40, parts)


def _curves(left: float, title: str, x_title: str, all_points: list[list[tuple[float, float]]]) -> list[str]:
    """Return the SVG elements of one panel with curves, whose left edge is at `left` pixels."""
    xs, ys = ([point[axis] for points in all_points for point in points] or [1] for axis in (0, 1))
    last = max(xs) * 1.05
    x_step, y_step = _step(last / 4), _step((max(ys) - min(ys)) / 4)
    low, high = y_step * math.floor(min(ys) / y_step), y_step * math.ceil(max(ys) / y_step)
    bottom = TOP + HEIGHT

    def place(x: float, y: float) -> tuple[float, float]:
        return left + PANEL * x / last, bottom - HEIGHT * (y - low) / max(high - low, y_step)

    parts = []
    for tick in range(int(last / x_step) + 1):
        x, _ = place(tick * x_step, low)
        parts.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="{GRID}"/>')
        parts.append(_text(x, bottom + 15, f"{tick * x_step:g}", "middle"))
    for tick in range(round((high - low) / y_step) + 1):
        _, y = place(0, low + tick * y_step)
        parts.append(f'<path d="M{left} {y:.1f}h{PANEL}" stroke="{GRID}"/>')
        parts.append(_text(left - 6, y + 4, f"{low + tick * y_step:.3g}", "end"))
    parts.append(_text(left + PANEL / 2, bottom + 32, f"{title} against {x_title}", "middle"))
    for points, colour in zip(all_points, COLOURS, strict=False):
        places = [place(*point) for point in sorted(points)]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts += [f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>'] if places else []
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
    return parts


def _step(least: float) -> float:
    """Return the smallest step of a grid that is at least `least`."""
    return next(step for step in STEPS if step >= least or step == STEPS[-1])


def _document(title: str, width: float, height: float, parts: list[str]) -> str:
    """Return an SVG document with a title and other elements."""
    background = f'<rect width="{width}" height="{height}" fill="{BACKGROUND}"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [background, _text(12, 18, title, weight="bold"), *parts]
    return f'{head} role="img" font-family="sans-serif" font-size="12" fill="{INK}">{"".join(parts)}</svg>\n'


def _legend(left: float, names: list[str]) -> list[str]:
    """Return the SVG elements that name the colours."""
    parts = []
    for position, name in enumerate(names):
        x = left + 150 * position
        parts += [f'<circle cx="{x}" cy="34" r="4" fill="{COLOURS[position]}"/>', _text(x + 10, 38, name)]
    return parts


def _panel(left: float, name: str, rows: list[str], folders: dict[str, dict[str, list[float]]]) -> list[str]:
    """Return the SVG elements of one panel, whose left edge is at `left` pixels."""
    all_values = [value for by_row in folders.values() for values in by_row.values() for value in values]
    reach = max(0.01, *map(abs, all_values)) * 1.05 if all_values else 0.01
    bottom = TOP + ROW * len(rows)

    def x_of(value: float) -> float:
        return left + PANEL * (value + reach) / (2 * reach)

    step = next(step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if reach / step < 3.5 or step == 0.5)
    parts = []
    for tick in range(-int(reach / step), int(reach / step) + 1):
        x = x_of(tick * step)
        parts.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="{GRID if tick else INK}"/>')
        parts.append(_text(x, bottom + 15, f"{tick * step:+.3g}" if tick else "0", "middle"))
    parts.append(_text(x_of(0), bottom + 32, f"{name}: difference from the default", "middle"))
    for position, by_row in enumerate(folders.values()):
        for row, values in ((rows.index(row), values) for row, values in by_row.items() if values):
            y = TOP + ROW * (row + 0.5) + 5 * (position - (len(folders) - 1) / 2)
            mean = sum(values) / len(values)
            parts.append(f'<path d="M{x_of(min(values)):.1f} {y}H{x_of(max(values)):.1f}" stroke="{COLOURS[position]}"/>')
            parts.append(f'<circle cx="{x_of(mean):.1f}" cy="{y}" r="3.5" fill="{COLOURS[position]}"/>')
    return parts


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
