"""Reading what boards say about many posts: JSON sidecars and a Parquet table, beside plain loops of json and pyarrow.

    python -m benchmarks readers

The pictures, sidecars and the table are made in data/.bench the first time. Result: readers.json.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as parquet

from benchmarks.measuring_memory import in_own_process, peak_mb
from benchmarks.reporting import Table, report
from common.files import atomic_folder, atomic_path
from common.progress import progress
from dataset.boards.board import Settings, open_board

VOCABULARY = 50_000
TAGS_A_POST = 30
ROWS_AT_ONCE = 100_000
# The smallest PNG: readers of metadata do not decode it.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the numbers of posts."""
    parser.add_argument("--posts", type=int, default=200_000, help="posts with a sidecar (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=5_000_000, help="rows of the table (default: %(default)s)")


def measure(options: argparse.Namespace) -> None:
    """Read the sidecars and the table, each in a process of its own; print times and peak memory."""
    folder = Path("data") / ".bench"
    pictures, table_path = folder / f"sidecars-{options.posts}", folder / f"posts-{options.rows}.parquet"
    _write_sidecars(pictures, options.posts)
    _write_table(table_path, options.rows)
    tasks = {
        "json alone": (_json_loop, pictures),
        "--board gallery-dl": (_catalogue, "gallery-dl", pictures, None),
        "pyarrow alone": (_pyarrow_loop, table_path, options.posts),
        "--board table": (_catalogue, "table", pictures, table_path),
    }
    figures = {"posts": options.posts, "rows": options.rows}
    figures |= {"tasks": {name: in_own_process(*task) for name, task in tasks.items()}}
    report("readers", table(figures), figures)


def table(figures: dict) -> Table:
    """Return time and memory of each reader."""
    rows = []
    for name, values in figures["tasks"].items():
        cells = (f"{values['seconds']:.1f}", f"{values['cpu_seconds']:.1f}", f"{values['peak_mb']:,.0f}")
        rows.append([name, f"{values['posts']:,}", *cells])
    return Table(["", "posts", "seconds", "processor seconds", "peak MB"], rows)


def _catalogue(board: str, pictures: Path, path: Path | None) -> dict:
    """Read a collection as download.py does before it chooses posts."""
    catalogue = open_board(board, Settings([pictures], path)).catalogue()
    return {"posts": len(catalogue.ids), "peak_mb": peak_mb()}


def _json_loop(pictures: Path) -> dict:
    """Parse every sidecar and keep its tags."""
    posts = {}
    for parent, _, names in os.walk(pictures):
        for name in names:
            if name.endswith(".json"):
                posts[name] = json.loads(Path(parent, name).read_bytes())["tags"]
    return {"posts": len(posts), "peak_mb": peak_mb()}


def _pyarrow_loop(path: Path, posts: int) -> dict:
    """Read the rows that have a picture, and keep their ids and tags."""
    known = pa.array(range(posts), pa.int64())
    kept = []
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(2**15):
            kept.append(batch.filter(pc.is_in(batch["id"], known)).select(["id", "tag_string"]))
    return {"posts": sum(map(len, kept)), "peak_mb": peak_mb()}


def _tags(generator: np.random.Generator, posts: int) -> list[list[str]]:
    """Return tags of posts, as rare and as frequent as those of boards."""
    numbers = (generator.zipf(1.3, (posts, TAGS_A_POST)) - 1) % VOCABULARY
    return [[f"tag_{number}" for number in dict.fromkeys(row)] for row in numbers.tolist()]


def _write_sidecars(folder: Path, posts: int) -> None:
    if folder.exists():
        return
    generator = np.random.default_rng(0)
    with atomic_folder(folder) as partial:
        for first in progress(range(0, posts, 1000), unit="thousand", description="sidecars"):
            subfolder = partial / f"{first // 1000:04}"
            subfolder.mkdir()
            for number, tags in enumerate(_tags(generator, min(1000, posts - first)), first):
                post = {"category": "danbooru", "id": number, "rating": "gsqe"[number % 4], "score": number % 50}
                post |= {"parent_id": number - 1 if number % 7 == 1 else None, "is_deleted": False, "md5": f"{number:032x}"}
                post |= {"tag_string": " ".join(tags), "tags": tags, "tags_general": tags[2:], "tags_artist": tags[:2]}
                (subfolder / f"{number}.png").write_bytes(PNG)
                os.truncate(subfolder / f"{number}.png", 10_000 + number)  # files of distinct sizes, which need no disk
                (subfolder / f"{number}.png.json").write_text(json.dumps(post, indent=4))


def _write_table(path: Path, rows: int) -> None:
    if path.exists():
        return
    generator = np.random.default_rng(1)
    writer = None
    with atomic_path(path) as partial:
        for first in progress(range(0, rows, ROWS_AT_ONCE), unit="blocks", description=path.name):
            size = min(ROWS_AT_ONCE, rows - first)
            numbers = np.arange(first, first + size)
            tags = _tags(generator, size)
            columns = {
                "id": numbers,
                "created_at": np.datetime64("2010-01-01") + (numbers // 1000).astype("timedelta64[D]"),
                "md5": [f"{number:032x}" for number in numbers.tolist()],
                "rating": np.array(list("gsqe"))[numbers % 4],
                "score": numbers % 50,
                "image_width": np.full(size, 800),
                "image_height": np.full(size, 600),
                "parent_id": pa.array(np.where(numbers % 7 == 1, numbers - 1, 0), mask=numbers % 7 != 1),
                "is_deleted": numbers % 20 == 3,
                "tag_string": [" ".join(names) for names in tags],
                "tag_string_artist": [" ".join(names[:2]) for names in tags],
            }
            batch = pa.table(columns)
            writer = writer or parquet.ParquetWriter(partial, batch.schema)
            writer.write_table(batch)
        if writer:
            writer.close()
