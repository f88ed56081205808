"""The default recipe where there are few or many tags, images, images a step and pixels, its learning rate left alone."""

import argparse
import itertools
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks import trials
from benchmarks.measuring import report
from command import say
from dataset import records
from dataset.records import Record, Tag
from model.runs import read_history


@dataclass(frozen=True)
class Size:
    """What a row is trained on, and how.

    Attributes:
        tags, images: of the training split; None for what the folder has.
        options: for train.py.
        epochs: few where there is much.
    """

    tags: int | None = None
    images: int | None = None
    options: str = ""
    epochs: int = 4


ROWS = {
    "as it is": Size(),
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
    # The published rates belong to a loss averaged over tags; a sum is as many times larger as there are tags.
    "2021 recipe": Size(options="--recipe e6tag"),
    **{
        f"2021 recipe, summed over {tags} tags": Size(tags=tags, options="--recipe e6tag --reduction sum")
        for tags in (12, 32, 64, 128)
    },
}

SHOWN = {"loss": "loss", "val_auc_roc_macro": "val macro AUC", "val_average_precision_macro": "val mAP"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """On what, and which rows."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=f"of: {'; '.join(ROWS)}")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train every row once and say how it ended; what is made is kept under data/.bench and runs/bench."""
    short = options.data.resolve().name
    with ThreadPoolExecutor(options.jobs) as pool:
        ends = list(pool.map(lambda name: _train(options.data, short, name, ROWS[name], options.jobs), options.rows))
    rows = []
    for name, end in zip(options.rows, ends, strict=True):
        figures = [end, *[""] * len(SHOWN)] if isinstance(end, str) else ["trained", *(f"{end[key]:.3g}" for key in SHOWN)]
        rows.append([name, *figures])
    facts = {"data": str(options.data), "rows": dict(zip(options.rows, ends, strict=True))}
    report("stability", ["", "", *SHOWN.values()], rows, facts)


def _train(data: Path, short: str, name: str, size: Size, jobs: int) -> dict | str:
    """The last row of a run's history, or the line with which it ended."""
    folder = trials.HOME / f"{short}-stability-{name.replace(' ', '-')}"
    sized = resized(data, size.tags, size.images)
    say(f"{name}: {folder}")
    given = ["--data", str(sized), "--run", str(folder), "--epochs", str(size.epochs), *size.options.split()]
    if error := trials.program("train.py", given, jobs):
        return error.partition(":")[0]
    last = read_history(folder)[-1]
    return {key: float(last[key]) for key in SHOWN}


def resized(data: Path, tags: int | None, images: int | None) -> Path:
    """A data folder with another number of tags or training images; the same one if neither is given.

    Pictures come again and again until there are enough. So do tags, each time on a random half of the pictures that have
    them, so that they are about as frequent and as hard to tell as real ones.
    """
    if not tags and not images:
        return data
    names = records.read_tags(data / "tags.csv")
    tags = tags or len(names)
    manifest = records.read_json(data / "manifest.json")
    out = Path("data") / ".bench" / f"{data.resolve().name}-{tags}-tags-{images or 'all'}-images"
    if out.exists():
        return out
    random = np.random.default_rng(0)
    counts = np.zeros(tags, int)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    written = {}
    for split in records.SPLITS:
        found = _repeated(data, split, images if split == "train" else None)
        with records.writer(partial / f"{split}-00000-of-00001.tfrecord") as write:
            written[split] = {"written": 0}
            for record in found:
                labels = _retagged(record, len(names), tags, random)
                write(replace(record, labels=labels))
                written[split]["written"] += 1
                if split == "train":
                    counts[list(labels)] += 1
    kept = [names[index % len(names)] for index in range(tags)]
    made = [Tag(index, f"{tag.name}_{index}", tag.category, int(counts[index])) for index, tag in enumerate(kept)]
    records.write_tags(partial / "tags.csv", made)
    records.write_json(partial / "manifest.json", manifest | {"splits": written})
    partial.replace(out)
    return out


def _repeated(data: Path, split: str, images: int | None) -> Iterator[Record]:
    if images is None:
        yield from records.read(data, split)
        return
    rounds = ((number, record) for number in itertools.count() for record in records.read(data, split))
    for number, record in itertools.islice(rounds, images):
        yield replace(record, id=f"{record.id}-{number}")


def _retagged(record: Record, before: int, tags: int, random: np.random.Generator) -> dict[int, float]:
    """Tag ▶ label where tag `index` is a half of tag `index % before`, or all of it where that is the same."""
    labels = {tag: 1.0 for tag in record.tags if tag < tags}
    for tag in record.tags:
        further = range(tag + before, tags, before)
        labels |= {index: 1.0 for index, draw in zip(further, random.random(len(further)), strict=True) if draw < 0.5}
    return labels
