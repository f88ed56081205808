"""Tags taught to a run that was trained without them, from some pictures each, beside a run that was trained with them."""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import trials
from benchmarks.measuring import given, report
from benchmarks.trials import Trial
from command import InputError, say
from dataset import records
from dataset.relabel import made_already, source_of
from model import metrics
from model.predict import Tagger
from model.teach import MOST_NEGATIVES

FEWEST_TEST_POSITIVES = 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which tags, from how many pictures."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--epochs", type=int, default=4, help="of both runs (default: 4)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")
    parser.add_argument("--tags", type=int, default=10, help="held out and taught (default: 10)")
    parser.add_argument("--positives", type=int, default=50, help="pictures each is taught from (default: 50)")


def measure(options: argparse.Namespace) -> None:
    """Hold tags out, train, teach, and compare on the test split; what is made is kept under data/.bench and runs/bench."""
    names = held_out(options.data, options.tags, options.positives)
    short = options.data.resolve().name
    work = Path("data") / ".bench" / f"{short}-without-{options.tags}-of-{options.positives}"
    without_tags(options.data, work, names)
    both = [Trial(data, "default", (), options.epochs, 0) for data in (options.data, work)]
    if failed := [figures for figures in trials.run_all(both, options.jobs).values() if isinstance(figures, str)]:
        raise InputError(failed[0])
    full, less = (trial.folder for trial in both)
    taught = less.with_name(f"{less.name}-taught")
    if not taught.exists():
        shutil.copytree(less, taught)
    seconds = {name: teach(options.data, name, options.positives, taught) for name in names}
    of_full, of_taught = (by_tag(folder, options.data) for folder in (full, taught))
    facts = records.read_json(taught / "taught.json")
    rows = []
    for name in names:
        cells = (f"{of_full[name][1]}", f"{seconds[name]:.0f}")
        if name in facts:
            area, low, high = facts[name]["auc_roc"]
            cells += (f"{area:.3f}", f"{low:.3f} to {high:.3f}", f"{of_taught[name][0]:.3f}")
        else:
            cells += ("no better", "than a guess:", "not added")
        rows.append([name, *cells, f"{of_full[name][0]:.3f}"])
    added = [name for name in names if name in facts]
    means = [np.mean([of[name][0] for name in added]) for of in (of_taught, of_full)]
    expected = np.mean([facts[name]["auc_roc"][0] for name in added])
    rows.append(
        ["mean", "", f"{np.mean([*seconds.values()]):.0f}", f"{expected:.3f}", "", *(f"{mean:.3f}" for mean in means)]
    )
    titles = ["tag", "test positives", "seconds", "expected", "95 % range", "taught", "fully trained"]
    same = unchanged(less, taught, work)
    print(f"the other tags' logits of {same[0]} pictures: {'the same bits' if same[1] else 'NOT the same'}")
    figures = {
        "options": given(options),
        "taught": of_taught,
        "fully_trained": of_full,
        "expected": facts,
        "seconds": seconds,
    }
    report("teach", titles, rows, figures | {"others_unchanged": same[1]})


def held_out(data: Path, number: int, positives: int) -> list[str]:
    """Tags with so many training pictures and enough test pictures, spread evenly over how frequent they are."""
    tags = records.read_tags(data / "tags.csv")
    tested = np.bincount([tag for record in records.read(data, "test") for tag in record.tags], minlength=len(tags))
    enough = [
        tag for tag, known in zip(tags, tested, strict=True) if tag.count >= positives and known >= FEWEST_TEST_POSITIVES
    ]
    enough.sort(key=lambda tag: tag.count)
    return [enough[position].name for position in np.linspace(0, len(enough) - 1, min(number, len(enough))).astype(int)]


def without_tags(data: Path, out: Path, names: list[str]) -> None:
    """Write a data folder again without some tags; one that is there already is kept."""
    facts = {"from": source_of(data), "without": names}
    if made_already(out, facts):
        return
    tags = records.read_tags(data / "tags.csv")
    kept = [index for index, tag in enumerate(tags) if tag.name not in names]
    index_of = {old: new for new, old in enumerate(kept)}
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for split in records.SPLITS:
        for path in records.shard_paths(data, split):
            with records.writer(partial / path.name) as write:
                for record in records.read_shard(path):
                    labels = {index_of[tag]: label for tag, label in record.labels.items() if tag in index_of}
                    write(replace(record, labels=labels))
    records.write_tags(partial / "tags.csv", [tags[index] for index in kept])
    records.write_json(partial / "manifest.json", records.read_json(data / "manifest.json") | {"relabelled": facts})
    partial.replace(out)


def teach(data: Path, name: str, positives: int, folder: Path) -> float:
    """Teach a run a tag from the first training pictures that have it and those that lack it; the seconds that it took."""
    index = [tag.name for tag in records.read_tags(data / "tags.csv")].index(name)
    home = Path("data") / ".bench" / "taught" / data.resolve().name / name
    home.mkdir(parents=True, exist_ok=True)
    for has, most in ((True, positives), (False, MOST_NEGATIVES)):
        images = (record.image for record in records.read(data, "train") if (index in record.tags) == has)
        (home / str(has)).mkdir(exist_ok=True)
        for number, image in zip(range(most), images, strict=False):
            (home / str(has) / f"{number}.jpg").write_bytes(image)
    options = ["--teach", name, str(home / "True"), "--negatives", str(home / "False"), "--run", str(folder)]
    started = time.perf_counter()
    if error := trials.program("train.py", options, 1):
        say(error)
    return time.perf_counter() - started


def by_tag(folder: Path, data: Path) -> dict[str, tuple[float, int]]:
    """Of each of a run's tags its AUC-ROC on a test split, and how many of the pictures have it."""
    tagger, stored = Tagger.load(folder), list(records.read(data, "test"))
    logits = tagger.scores(np.stack([tagger.pixels(record.image) for record in stored]))["logit"]
    index = {tag.name: position for position, tag in enumerate(records.read_tags(data / "tags.csv"))}
    found = {}
    for column, tag in zip(logits.T, tagger.run.tags, strict=True):
        labels = np.array([index[tag.name] in record.tags for record in stored])
        found[tag.name] = float(metrics.auc_roc(*metrics.counts_by_level(labels, column))), int(labels.sum())
    return found


def unchanged(before: Path, after: Path, data: Path) -> tuple[int, bool]:
    """How many pictures of the test split were compared, and whether all that was said before is said after, bit by bit."""
    old, new = Tagger.load(before), Tagger.load(after)
    pixels = np.stack([old.pixels(record.image) for record in records.read(data, "test")])
    said, says = (tagger.scores(pixels) for tagger in (old, new))
    return len(pixels), all(np.array_equal(says[name][:, : values.shape[1]], values) for name, values in said.items())
