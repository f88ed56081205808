"""The table of all runs that `train.py --list` prints."""

import csv
from pathlib import Path

from common import files
from common.errors import InputError
from model import run_folder
from training import checkpoints

COLUMNS = ("run", "preset", "recipe", "image px", "tags", "epochs", "loss", "val mAP", "test mAP", "minutes", "state")


def table(folder: Path) -> str:
    """Return a table of all runs in a folder and its subfolders, the newest last, aligned for a terminal.

    Raises:
        InputError: there are no runs.
    """
    paths = sorted(folder.rglob("config.json"), key=lambda path: path.stat().st_mtime_ns)
    if not paths:
        raise InputError(f"nothing under {folder}/ yet: train.py makes it")
    rows = [COLUMNS, *(_row(path.parent) for path in paths)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(folder: Path) -> tuple[str, ...]:
    try:
        run, history = run_folder.load(folder), run_folder.read_history(folder)
        minutes = sum(float(row.get("seconds", 0)) for row in history) / 60
    except (InputError, OSError, csv.Error, TypeError, ValueError) as error:
        return (str(folder), *[""] * (len(COLUMNS) - 2), f"cannot be read: {error}")
    last = history[-1] if history else {}
    trained = (folder / "model.keras").exists()
    state = "trained" if trained else "can be resumed" if checkpoints.paths(folder) else "started"
    return (
        str(folder),
        run.config.preset,
        run.config.recipe,
        str(run.config.image_size),
        str(len(run.tags)),
        f"{len(history)}/{run.config.epochs}",
        _figure(last.get("loss")),
        _figure(last.get("val_average_precision_macro")),
        _figure(_test_map(folder)),
        f"{minutes:.1f}",
        state,
    )


def _test_map(folder: Path) -> float | None:
    """Return mAP on the test split, or None before eval.py has computed it."""
    try:
        values = files.read_json(folder / "metrics.json")
    except InputError:
        return None
    return values.get("average_precision_macro") if values.get("split") == "test" else None


def _figure(value: str | float | None) -> str:
    return "" if value is None else f"{float(value):.4g}"
