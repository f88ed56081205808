"""Tables of figures, printed in the terminal, and the JSON files under benchmarks/results/ that hold the figures."""

import argparse
import json
import os
import platform
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from common.files import read_json, write_json

RESULTS = Path("benchmarks") / "results"  # in the project folder, which is the working folder
LIBRARIES = ("keras", "tensorflow", "jax", "torch", "numpy", "pillow", "opencv-python-headless", "pyvips-binary")


@dataclass(frozen=True)
class Table:
    """One table: a title for each column, and rows of cells. The first column names the row, the others hold numbers."""

    titles: list[str]
    rows: list[list[str]]

    def as_text(self) -> str:
        """Return the table for a terminal: the first column left-aligned, the others right-aligned."""
        widths = [max(map(len, column)) for column in zip(self.titles, *self.rows, strict=True)]
        lines = []
        for row in [self.titles, *self.rows]:
            first, *others = zip(row, widths, strict=True)
            lines.append("  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip())
        return "\n".join(lines)

    def as_markdown(self) -> str:
        """Return the table in Markdown, with the same alignment."""
        rule = ["---", *["---:"] * (len(self.titles) - 1)]
        return "\n".join(f"| {' | '.join(row)} |" for row in [self.titles, rule, *self.rows])


def report(name: str, table: Table, figures: dict) -> None:
    """Print a table, and write its figures and the machine to `benchmarks/results/NAME.json`."""
    print(table.as_text())
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"subject": name, "machine": machine(), "figures": figures})
    print(f"{path}")


def stored(name: str) -> tuple[dict, dict]:
    """Return the figures and the machine that `benchmarks/results/NAME.json` holds."""
    result = read_json(RESULTS / f"{name}.json")
    return result["figures"], result["machine"]


def as_json(options: argparse.Namespace) -> dict:
    """Return a subject's options as JSON can hold them: paths become strings."""
    return json.loads(json.dumps(vars(options), default=str))


def machine() -> dict:
    """Return when and on what a measurement was made: date, device, its number format, load, system and versions."""
    from model import devices

    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "device": devices.describe(),
        "number format": devices.precision("auto"),
        "gpu": devices.gpu_model(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
