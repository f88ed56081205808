"""All runs side by side."""

import csv
from pathlib import Path

from command import InputError
from dataset import records
from model import checkpoints, runs

COLUMNS = ("run", "preset", "recipe", "image px", "tags", "epochs", "loss", "val mAP", "test mAP", "minutes", "state")


def table(folder: Path) -> str:
    """The runs anywhere under a folder, the newest last, aligned for a terminal.

    Raises:
        InputError: there is none.
    """
    found = sorted(folder.rglob("config.json"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise InputError(f"nothing under {folder}/ yet: train.py makes it")
    rows = [COLUMNS, *(_row(path.parent) for path in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(folder: Path) -> tuple[str, ...]:
    try:
        run, history = runs.load(folder), runs.read_history(folder)
        minutes = sum(float(row.get("seconds", 0)) for row in history) / 60
    except (InputError, OSError, csv.Error, TypeError, ValueError) as error:
        return (str(folder), *[""] * (len(COLUMNS) - 2), f"cannot be read: {error}")
    last = history[-1] if history else {}
    done = (folder / "model.keras").exists()
    state = "trained" if done else "can go on" if checkpoints.paths(folder) else "begun"
    return (
        str(folder),
        run.config.preset,
        run.config.recipe,
        str(run.config.image_size),
        str(len(run.tags)),
        f"{len(history)}/{run.config.epochs}",
        _figure(last.get("loss")),
        _figure(last.get("val_average_precision_macro")),
        _figure(_tested(folder)),
        f"{minutes:.1f}",
        state,
    )


def _tested(folder: Path) -> float | None:
    """mAP on the test split, where eval.py has been there."""
    try:
        values = records.read_json(folder / "metrics.json")
    except InputError:
        return None
    return values.get("average_precision_macro") if values.get("split") == "test" else None


def _figure(value: str | float | None) -> str:
    return "" if value is None else f"{float(value):.4g}"
