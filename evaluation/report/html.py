"""Small pieces of HTML that the parts of the report share."""

from html import escape

import numpy as np


def breakable(name: str) -> str:
    """Return a tag's name as HTML that a narrow column may break after an underscore."""
    return escape(name).replace("_", "_<wbr>")


def table(head: str, rows: list[str], kind: str = "", name: str = "") -> str:
    """Return a table inside a frame, in which it scrolls where it is too wide.

    Args:
        head: the cells of the first row, as HTML.
        rows: the other rows, as HTML.
        kind: a further class of the frame, such as `tall`.
        name: the id of the table.
    """
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    attribute = f' id="{name}"' if name else ""
    return f'<div class="wide {kind}"><table{attribute}>{body}</table></div>'


def figure(value: float | None) -> str:
    """Return a figure with three decimals; nothing where it is undefined."""
    return "" if value is None or np.isnan(value) else f"{value:.3f}"


def interval(edges) -> str:
    """Return the two ends of a range, cut to what a figure can reach; nothing where they are undefined."""
    low, high = edges
    return "" if low is None or np.isnan(low) else f"{max(low, 0) if high >= 0 else low:.3f} to {min(high, 1):.3f}"


def sortable_cell(value: float, before: str = "") -> str:
    """Return the table cell of a figure, by which page.js can sort; `before` is HTML in front of it."""
    return '<td data-v=""></td>' if np.isnan(value) else f'<td data-v="{value:.4f}">{before}{value:.3f}</td>'
