"""The default recipe with few or many tags, images, images a step and pixels, without a change to its learning rate.

    python -m benchmarks stability --data data/openmoji

It trains every row once and shows the validation split after the last epoch. Pictures that the folder lacks repeat its own;
tags that it lacks are drawn from its own, each on a random half of a real tag's pictures. Result: stability.json.
"""

import argparse
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import trials
from benchmarks.reporting import Table, report
from common import files
from common.errors import say
from dataset import records
from dataset.records import Record, Tag
from model.run_folder import read_history


@dataclass(frozen=True)
class Size:
    """What a row is trained on, and how.

    Attributes:
        tags: number of tags; None: as many as the folder has.
        images: number of training pictures; None: as many as the folder has.
        options: options of train.py.
        epochs: passes over the training split; fewer where an epoch takes long.
    """

    tags: int | None = None
    images: int | None = None
    options: str = ""
    epochs: int = 4


# The e6tag recipe's rates belong to a loss averaged over tags. The default recipe sums the loss, so this is the default
# recipe with all other settings of the e6tag recipe.
E6TAG_SUMMED = (
    "--batch-size 12 --activation silu --noise low-rank --loss robust --optimizer sgd --learning-rate 4 "
    "--first-learning-rate 0.025 --last-learning-rate 0.025 --cycle triangle --warmup 0.5 --momentum 0.99 "
    "--lowest-momentum 0.99 --clip-norm 0"
)
ROWS = {
    "default": Size(),
    "12 tags": Size(tags=12),
    "128 tags": Size(tags=128),
    "1,024 tags": Size(tags=1024),
    "8,192 tags": Size(tags=8192, epochs=2),
    "500 images": Size(images=500),
    "50,000 images": Size(images=50_000, epochs=1),
    "batch 8": Size(options="--batch-size 8"),
    "batch 256": Size(options="--batch-size 256"),
    "320 px, 500 images": Size(images=500, options="--image-size 320", epochs=2),
    "12 tags, 500 images, batch 256": Size(12, 500, "--batch-size 256"),
    "8,192 tags, batch 8": Size(8192, None, "--batch-size 8", 1),
    "e6tag recipe": Size(options="--recipe e6tag"),
    **{f"e6tag recipe, loss summed over {tags} tags": Size(tags=tags, options=E6TAG_SUMMED) for tags in (12, 32, 64, 128)},
}
COLUMNS = {"loss": "loss", "val_auc_roc_macro": "val macro AUC", "val_average_precision_macro": "val mAP"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folder and the rows."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=f"of: {'; '.join(ROWS)}")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train every row once; the folders that it makes under data/.bench and runs/bench are kept."""
    short_name = options.data.resolve().name
    with ThreadPoolExecutor(options.jobs) as pool:
        ends = list(pool.map(lambda name: _train(options.data, short_name, name, ROWS[name], options.jobs), options.rows))
    figures = {"data": str(options.data), "rows": dict(zip(options.rows, ends, strict=True))}
    report("stability", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result; a run that diverged has the message with which it ended."""
    rows = []
    for stored_name, end in figures["rows"].items():
        name = "default" if stored_name == "as it is" else stored_name
        name = name.replace("2021 recipe, ", "e6tag recipe, loss ").replace("2021 recipe", "e6tag recipe")
        if isinstance(end, str):
            rows.append([name, end, *[""] * len(COLUMNS)])
        else:
            rows.append([name, "trained", *(f"{end[key]:.3g}" if key == "loss" else f"{end[key]:.3f}" for key in COLUMNS)])
    return Table(["", "end", *COLUMNS.values()], rows)


def _train(data: Path, short_name: str, name: str, size: Size, jobs: int) -> dict | str:
    """Train a row; return the last row of its history, or the line with which it ended."""
    folder = trials.HOME / f"{short_name}-stability-{name.replace(' ', '-')}"
    sized = resized(data, size.tags, size.images)
    say(f"{name}: {folder}")
    arguments = ["--data", str(sized), "--run", str(folder), "--epochs", str(size.epochs), *size.options.split()]
    arguments.append("--no-onnx")
    if error := trials.program("train.py", arguments, jobs):
        return error.partition(":")[0]
    last = read_history(folder)[-1]
    return {key: float(last[key]) for key in COLUMNS}


def resized(data: Path, tags: int | None, images: int | None) -> Path:
    """Return a copy of a data folder with another number of tags or training images; the folder itself if neither is given.

    Pictures are repeated until there are enough. So are tags, each time on a random half of the pictures that have them, so
    that they are about as frequent and as hard to predict as real ones.
    """
    if not tags and not images:
        return data
    names = records.read_tags(data / "tags.csv")
    tags = tags or len(names)
    manifest = files.read_json(data / "manifest.json")
    out = Path("data") / ".bench" / f"{data.resolve().name}-{tags}-tags-{images or 'all'}-images"
    if out.exists():
        return out
    random = np.random.default_rng(0)
    counts = np.zeros(tags, int)
    with files.atomic_folder(out) as partial:
        written = {}
        for split in records.SPLITS:
            repeated = _repeated(data, split, images if split == "train" else None)
            with records.writer(partial / f"{split}-00000-of-00001.tfrecord") as write:
                written[split] = {"written": 0}
                for record in repeated:
                    labels = _retagged(record, len(names), tags, random)
                    write(replace(record, labels=labels))
                    written[split]["written"] += 1
                    if split == "train":
                        counts[list(labels)] += 1
        real_tags = [names[index % len(names)] for index in range(tags)]
        new_tags = [
            Tag(index, f"{tag.name}_{index}", tag.category, int(counts[index])) for index, tag in enumerate(real_tags)
        ]
        records.write_tags(partial / "tags.csv", new_tags)
        files.write_json(partial / "manifest.json", manifest | {"splits": written})
    return out


def _repeated(data: Path, split: str, images: int | None) -> Iterator[Record]:
    """Yield a split's records, again from the first one until there are `images`; None: once."""
    if images is None:
        yield from records.read(data, split)
        return
    rounds = ((number, record) for number in itertools.count() for record in records.read(data, split))
    for number, record in itertools.islice(rounds, images):
        yield replace(record, id=f"{record.id}-{number}")


def _retagged(record: Record, before: int, tags: int, random: np.random.Generator) -> dict[int, float]:
    """Return tag ▶ label, where tag `index` is a random half of tag `index % before`; a tag below `before` is unchanged."""
    labels = {tag: 1.0 for tag in record.tags if tag < tags}
    for tag in record.tags:
        further = range(tag + before, tags, before)
        labels |= {index: 1.0 for index, draw in zip(further, random.random(len(further)), strict=True) if draw < 0.5}
    return labels
