"""Progress of long work: a bar on a terminal, or a line every half minute in a log or a pipe."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0  # time between two lines in a log


def progress(
    iterable: Iterable | None = None,
    *,
    unit: str,
    description: str = "",
    total: int | None = None,
    initial: int = 0,
    scaled: bool = False,
    leave: bool = True,
) -> "tqdm | LogProgress":
    """Return a progress display on standard error: what is done, the rate and the remaining time.

    Args:
        iterable: the items; without them, call `update` of the display.
        unit: name of the counted things; `B` for bytes.
        description: name of the work.
        total: number of items; by default the length of the iterable, if it has one.
        initial: number of items that were done before.
        scaled: write thousands as k and millions as M.
        leave: leave the completed bar on the terminal.
    """
    options: dict[str, Any] = {"total": total, "initial": initial, "unit": unit if unit == "B" else f" {unit}"}
    if sys.stderr.isatty():
        options |= {"desc": description, "unit_scale": scaled, "leave": leave, "smoothing": 0.05, "dynamic_ncols": True}
        return tqdm(iterable, **options)
    return LogProgress(iterable, prefix=description, unit_scale=scaled, **options)


def say_above(message: str) -> None:
    """Print a message on standard error, above any progress bars on the terminal."""
    tqdm.write(message, sys.stderr)


class LogProgress:
    """The part of tqdm's interface that e6tag uses, printed as lines. Work shorter than `LINE_SECONDS` prints nothing.

    Args:
        iterable: the items, or None.
        total: number of items; None if unknown.
        initial: number of items that were done before.
        meter: further arguments of `tqdm.format_meter`.
    """

    def __init__(self, iterable: Iterable | None, total: int | None, initial: float, **meter):
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        self.iterable, self.total, self.n, self.initial, self.meter = iterable, total, initial, initial, meter
        self.started = self.printed = time.monotonic()

    def __iter__(self) -> Iterator:
        with self:
            for item in self.iterable or ():
                yield item
                self.update()

    def __enter__(self) -> "LogProgress":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def update(self, count: float = 1) -> None:
        """Count items as done, and print a line if the last one is older than `LINE_SECONDS`."""
        self.n += count
        if time.monotonic() - self.printed >= LINE_SECONDS:
            self.print_line()

    def set_description(self, description: str) -> None:
        """Change the name of the work."""
        self.meter["prefix"] = description

    def set_postfix_str(self, text: str, refresh: bool = False) -> None:
        """Set the text at the end of a line."""
        self.meter["postfix"] = text

    def print_line(self) -> None:
        """Print a line now."""
        self.printed = time.monotonic()
        elapsed = self.printed - self.started
        total: Any = self.total  # tqdm's types do not admit None
        line = tqdm.format_meter(self.n, total, elapsed, initial=self.initial, **self.meter)
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Print the last line, if another was printed before."""
        if self.printed > self.started:
            self.print_line()
            self.started = self.printed  # a second call prints nothing
