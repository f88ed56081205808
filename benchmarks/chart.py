"""An SVG chart of differences from the default recipe: a dot for the mean, and a line for the range over seeds."""

from html import escape

ROW, TOP, LABELS, PANEL, GAP = 22, 52, 180, 300, 30  # pixels
COLOURS = ("#0b62a4", "#d1602c", "#3a8f5c")  # one for each data folder
BACKGROUND, INK, GRID = "#ffffff", "#222222", "#dddddd"


def differences(title: str, rows: list[str], panels: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Draw the chart.

    Args:
        title: title of the chart.
        rows: row names, from top to bottom.
        panels: title of a panel ▶ name of a folder ▶ name of a row ▶ differences, one for each seed; a failed run has none.

    Returns:
        An SVG document.
    """
    folders = list(dict.fromkeys(folder for panel in panels.values() for folder in panel))
    width, height = LABELS + len(panels) * (PANEL + GAP), TOP + ROW * len(rows) + 40
    parts = [f'<rect width="{width}" height="{height}" fill="{BACKGROUND}"/>', _text(12, 18, title, weight="bold")]
    for position, folder in enumerate(folders):
        x = LABELS + 150 * position
        parts += [f'<circle cx="{x}" cy="34" r="4" fill="{COLOURS[position]}"/>', _text(x + 10, 38, folder)]
    parts += [_text(LABELS - 10, TOP + ROW * (row + 0.5) + 4, name, "end") for row, name in enumerate(rows)]
    for number, (name, panel) in enumerate(panels.items()):
        left = LABELS + number * (PANEL + GAP)
        parts += _panel(left, name, rows, {folder: panel.get(folder, {}) for folder in folders})
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    return f'{head} role="img" font-family="sans-serif" font-size="12" fill="{INK}">{"".join(parts)}</svg>\n'


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
