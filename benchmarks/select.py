"""An export of millions of posts, read and chosen from, beside Python's own csv module on the same file.

The export is made up in data/.bench (2 GB and some 20 minutes for six million posts, the first time).
"""

import argparse
import csv
import gzip
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """How large the export is."""
    parser.add_argument("--posts", type=int, default=6_000_000, help="of the export (default: %(default)s)")


def measure(options: argparse.Namespace) -> None:
    """Read an export and choose from it, each in a process of its own, and print time, peak memory and posts needed."""
    from benchmarks.measuring import report, table
    from dataset.boards.make_large_export import write_export

    num_posts = options.posts
    paths = write_export(Path("data") / ".bench" / f"export-{num_posts}", num_posts)
    measured = {
        name: _alone(function, paths)
        for name, function in {"csv.DictReader": _read_with_csv, "read": _read, "select": _select}.items()
    }
    baseline = measured["csv.DictReader"]["seconds"]
    print(f"{num_posts:,} posts, {paths['posts'].stat().st_size / 1e9:.2f} GB gzipped")
    rows = [
        [
            name,
            f"{of['seconds']:.1f}",
            f"{of['cpu_seconds']:.1f}",
            f"{baseline / of['seconds']:.1f}",
            f"{of['peak_mb']:,.0f}",
        ]
        for name, of in measured.items()
    ]
    print(table(["", "seconds", "CPU s", "times", "peak MB"], rows))
    samplings = measured["select"]["samplings"]
    rows = [
        [name, f"{of['posts']:,}", f"{of['posts'] / samplings['e6tag']['posts']:.2f}"]
        + [f"{of[key]:,}" for key in ("artists", "largest_artist", "largest_month")]
        for name, of in samplings.items()
    ]
    report("select", ["sampling", "posts", "of e6tag", "artists", "largest", "month"], rows, {"posts": num_posts} | measured)


def _alone(function, *arguments) -> dict:
    """Call a function in a fresh process; what it returns, with its time and peak memory, imports included."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measured, function, *arguments).result()


def _measured(function, *arguments) -> dict:
    started = time.perf_counter()
    found = function(*arguments) or {}
    figures = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time(), "peak_mb": float("nan")}
    return figures | found  # what it measured itself counts


def _peak_mb() -> float:
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _read_with_csv(paths: dict[str, Path]) -> dict:
    csv.field_size_limit(2**31 - 1)
    tags = 0
    with gzip.open(paths["posts"], "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            tags += len(row["tag_string"].split())
    return {"tags": tags, "peak_mb": _peak_mb()}


def _board(paths: dict[str, Path]):
    """The board e621 with an export that is there already."""
    from dataset.boards.e621 import SITE_URL, Access, E621Board
    from dataset.boards.sieve import Filters

    board = E621Board(Access(SITE_URL, "bench", None, Path()), Filters())
    board.read_export(paths)
    return board


def _read(paths: dict[str, Path]) -> dict:
    return {"posts": len(_board(paths).catalogue().ids), "peak_mb": _peak_mb()}


def _select(paths: dict[str, Path]) -> dict:
    from dataset.selection import Options, select

    options = Options(
        board="e621", images=None, csv=None, tags=1024, positives=512, min_positives=1, size=320, seed=0, val=5.0, test=5.0,
        categories=["general"],
    )  # fmt: skip
    started = time.perf_counter()
    board = _board(paths)
    selection = select(board, options)
    figures = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time(), "peak_mb": _peak_mb()}
    catalogue = board.catalogue()
    samplings = {"cover": _about(selection, catalogue)}
    samplings["e6tag"] = _about(select(board, replace(options, sampling="e6tag")), catalogue)
    board.catalogue = lambda: replace(catalogue, artists=None, months=None)
    samplings["cover, no spread"] = _about(select(board, options), catalogue)
    return figures | {"samplings": samplings}


def _about(selection, catalogue) -> dict:
    """How many posts a selection has, and how they are spread."""
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
