"""Reading an export of millions of posts and choosing posts from it, beside Python's own csv module on the same file.

    python -m benchmarks select

The synthetic export is made in data/.bench the first time: 2 GB and some 20 minutes for six million posts. Result:
select.json.
"""

import argparse
import csv
import gzip
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from benchmarks.measuring_memory import in_own_process, peak_mb
from benchmarks.reporting import Table, report


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the size of the export."""
    parser.add_argument("--posts", type=int, default=6_000_000, help="posts of the export (default: %(default)s)")


def measure(options: argparse.Namespace) -> None:
    """Read an export and choose from it, each in a process of its own; print time, peak memory and the posts chosen."""
    from benchmarks.large_export import write_export

    paths = write_export(Path("data") / ".bench" / f"export-{options.posts}", options.posts)
    tasks = {"csv.DictReader": _read_with_csv, "read": _read, "select": _select}
    figures = {"posts": options.posts} | {name: in_own_process(task, paths) for name, task in tasks.items()}
    print(f"{options.posts:,} posts, {paths['posts'].stat().st_size / 1e9:.2f} GB gzipped")
    print(table(figures).as_text())
    report("select", table_of_samplings(figures), figures)


def table(figures: dict) -> Table:
    """Return time and memory of reading and choosing."""
    rows = []
    for name in ("csv.DictReader", "read", "select"):
        values = figures[name]
        times = f"{figures['csv.DictReader']['seconds'] / values['seconds']:.1f}"
        rows.append([name, f"{values['seconds']:.1f}", f"{values['cpu_seconds']:.1f}", times, f"{values['peak_mb']:,.0f}"])
    return Table(["", "seconds", "processor seconds", "times csv.DictReader", "peak MB"], rows)


def table_of_samplings(figures: dict) -> Table:
    """Return the number of posts that each way of sampling chooses, and how they are spread."""
    samplings, rows = figures["select"]["samplings"], []
    for name, values in samplings.items():
        spread = [f"{values[key]:,}" for key in ("artists", "largest_artist", "largest_month")]
        rows.append([name, f"{values['posts']:,}", f"{values['posts'] / samplings['e6tag']['posts']:.2f}", *spread])
    return Table(["sampling", "posts", "of e6tag's", "artists", "largest artist", "largest month"], rows)


def _read_with_csv(paths: dict[str, Path]) -> dict:
    tags = 0
    with gzip.open(paths["posts"], "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            tags += len(row["tag_string"].split())
    return {"tags": tags, "peak_mb": peak_mb()}


def _board(paths: dict[str, Path]):
    """Return the board e621 with an export that is already on the disk."""
    from dataset.boards.e621 import SITE_URL, Access, E621Board
    from dataset.boards.filters import Filters

    board = E621Board(Access(SITE_URL, "bench", None, Path()), Filters())
    board.read_export(paths)
    return board


def _read(paths: dict[str, Path]) -> dict:
    return {"posts": len(_board(paths).catalogue().ids), "peak_mb": peak_mb()}


def _select(paths: dict[str, Path]) -> dict:
    from dataset.build.selection import Options, select

    options = Options(
        board="e621", images=None, csv=None, tags=1024, positives=512, min_positives=1, size=320, seed=0, val=5.0, test=5.0,
        categories=["general"],
    )  # fmt: skip
    started = time.perf_counter()
    board = _board(paths)
    selection = select(board, options)
    figures = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time(), "peak_mb": peak_mb()}
    catalogue = board.catalogue()
    samplings = {"cover": _spread(selection, catalogue)}
    samplings["e6tag"] = _spread(select(board, replace(options, sampling="e6tag")), catalogue)
    board.catalogue = lambda: replace(catalogue, artists=None, months=None)
    samplings["cover, no spread"] = _spread(select(board, options), catalogue)
    return figures | {"samplings": samplings}


def _spread(selection, catalogue) -> dict:
    """Return how many posts a selection has, and how they are spread over artists and months."""
    import numpy as np

    place = {post_id: number for number, post_id in enumerate(catalogue.ids)}
    posts = [place[int(entry.post.id)] for entries in selection.entries.values() for entry in entries]
    artists = Counter(catalogue.artists[posts].tolist())
    months = np.unique(catalogue.months[posts], return_counts=True)[1]
    return {
        "posts": len(posts),
        "artists": len(artists),
        "largest_artist": max(number for artist, number in artists.items() if artist >= 0),
        "largest_month": int(months.max()),
    }
