"""Tags added to a finished run from 50 pictures each, beside a run that was trained with them.

    python -m benchmarks teach --data data/openmoji

It holds tags out, trains without them, adds each with `train.py --teach` from some training pictures that have it and some
that lack it, and compares AUC-ROC on the test split with a run trained with all tags. Result: teach.json.
"""

import argparse
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import trials
from benchmarks.ablation import DEFAULT
from benchmarks.reporting import Table, as_json, report
from benchmarks.trials import Trial
from common import files
from common.errors import InputError, say
from dataset import records
from dataset.relabel import check_output_folder, data_fingerprint
from evaluation.metrics import metrics
from inference.tagger import Tagger
from training.teach_tag import MAX_NEGATIVES

MIN_TEST_POSITIVES = 5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folder, epochs, and how many tags are added from how many pictures."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of both runs (default: 4)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")
    parser.add_argument("--tags", type=int, default=10, help="tags held out and added (default: 10)")
    parser.add_argument("--positives", type=int, default=50, help="pictures that each tag is learned from (default: 50)")


def measure(options: argparse.Namespace) -> None:
    """Hold tags out, train, add them and compare; what is made is kept under data/.bench and runs/bench."""
    names = held_out_tags(options.data, options.tags, options.positives)
    short_name = options.data.resolve().name
    reduced = Path("data") / ".bench" / f"{short_name}-without-{options.tags}-of-{options.positives}"
    write_without_tags(options.data, reduced, names)
    both = [Trial(data, DEFAULT, (), options.epochs, 0) for data in (options.data, reduced)]
    if failed := [figures for figures in trials.run_all(both, options.jobs).values() if isinstance(figures, str)]:
        raise InputError(failed[0])
    full, before = (trial.folder for trial in both)
    after = before.with_name(f"{before.name}-taught")
    if not after.exists():
        shutil.copytree(before, after)
    seconds = {name: teach(options.data, name, options.positives, after) for name in names}
    num_pictures, same = same_logits(before, after, reduced)
    print(f"logits of the other tags on {num_pictures} pictures: {'the same bits' if same else 'NOT the same'}")
    figures = {
        "options": as_json(options),
        "taught": auc_by_tag(after, options.data),
        "fully_trained": auc_by_tag(full, options.data),
        "expected": files.read_json(after / "taught.json"),
        "seconds": seconds,
        "others_unchanged": same,
    }
    report("teach", table(figures), figures)


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each added tag, and their mean."""
    rows, added = [], []
    for name, seconds in figures["seconds"].items():
        full_auc, positives = figures["fully_trained"][name]
        row = [name, f"{positives}", f"{seconds:.0f}"]
        if name in figures["expected"]:
            auc, low, high = figures["expected"][name]["auc_roc"]
            row += [f"{auc:.3f}", f"{low:.3f} to {high:.3f}", f"{figures['taught'][name][0]:.3f}"]
            added.append((auc, figures["taught"][name][0], full_auc))
        else:
            row += ["no better", "than a guess:", "not added"]
        rows.append([*row, f"{full_auc:.3f}"])
    expected, after, full = (f"{mean:.3f}" for mean in np.mean(added, axis=0)) if added else ("", "", "")
    mean_seconds = np.mean([*figures["seconds"].values()])
    rows.append(["mean", "", f"{mean_seconds:.0f}", expected, "", after, full])
    return Table(
        ["tag", "test positives", "seconds", "expected AUC", "95 % range", "AUC, added", "AUC, fully trained"], rows
    )


def held_out_tags(data: Path, number: int, positives: int) -> list[str]:
    """Return tags with enough training and test pictures, spread evenly from rare to frequent.

    Args:
        data: folder made by download.py.
        number: how many tags, if there are enough.
        positives: training pictures that each of them has at least.
    """
    tags = records.read_tags(data / "tags.csv")
    in_test = np.bincount([tag for record in records.read(data, "test") for tag in record.tags], minlength=len(tags))
    candidates = [
        tag for tag, count in zip(tags, in_test, strict=True) if tag.count >= positives and count >= MIN_TEST_POSITIVES
    ]
    candidates.sort(key=lambda tag: tag.count)
    positions = np.linspace(0, len(candidates) - 1, min(number, len(candidates))).astype(int)
    return [candidates[position].name for position in positions]


def write_without_tags(data: Path, out: Path, names: list[str]) -> None:
    """Write a copy of a data folder without some tags; a copy that is there already is kept."""
    facts = {"from": data_fingerprint(data), "without": names}
    if check_output_folder(out, facts):
        return
    tags = records.read_tags(data / "tags.csv")
    kept = [index for index, tag in enumerate(tags) if tag.name not in names]
    new_index = {old: new for new, old in enumerate(kept)}
    with files.atomic_folder(out) as partial:
        for split in records.SPLITS:
            for path in records.shard_paths(data, split):
                with records.writer(partial / path.name) as write:
                    for record in records.read_shard(path):
                        labels = {new_index[tag]: label for tag, label in record.labels.items() if tag in new_index}
                        write(replace(record, labels=labels))
        records.write_tags(partial / "tags.csv", [tags[index] for index in kept])
        files.write_json(partial / "manifest.json", files.read_json(data / "manifest.json") | {"relabelled": facts})


def teach(data: Path, name: str, positives: int, folder: Path) -> float:
    """Add a tag to a run from the first training pictures that have it and the first that lack it; return the seconds."""
    index = [tag.name for tag in records.read_tags(data / "tags.csv")].index(name)
    home = Path("data") / ".bench" / "taught" / data.resolve().name / name
    home.mkdir(parents=True, exist_ok=True)
    for has_tag, most in ((True, positives), (False, MAX_NEGATIVES)):
        images = (record.image for record in records.read(data, "train") if (index in record.tags) == has_tag)
        (home / str(has_tag)).mkdir(exist_ok=True)
        for number, image in zip(range(most), images, strict=False):
            (home / str(has_tag) / f"{number}.jpg").write_bytes(image)
    options = ["--teach", name, str(home / "True"), "--negatives", str(home / "False"), "--run", str(folder)]
    started = time.perf_counter()
    if error := trials.program("train.py", options, 1):
        say(error)
    return time.perf_counter() - started


def auc_by_tag(folder: Path, data: Path) -> dict[str, tuple[float, int]]:
    """Return for each tag of a run its AUC-ROC on the test split and the number of test pictures that have it."""
    tagger, pictures = Tagger.open(folder), list(records.read(data, "test"))
    logits = tagger.scores(np.stack([tagger.pixels(record.image) for record in pictures]))["logit"]  # (pictures, tags)
    index = {tag.name: position for position, tag in enumerate(records.read_tags(data / "tags.csv"))}
    auc = {}
    for column, tag in zip(logits.T, tagger.run.tags, strict=True):
        labels = np.array([index[tag.name] in record.tags for record in pictures])
        auc[tag.name] = float(metrics.auc_roc(*metrics.counts_by_score(labels, column))), int(labels.sum())
    return auc


def same_logits(before: Path, after: Path, data: Path) -> tuple[int, bool]:
    """Return the number of test pictures, and whether both runs give the tags of the first the same scores, bit by bit."""
    old, new = Tagger.open(before), Tagger.open(after)
    pixels = np.stack([old.pixels(record.image) for record in records.read(data, "test")])
    old_scores, new_scores = (tagger.scores(pixels) for tagger in (old, new))
    same = [np.array_equal(new_scores[name][:, : values.shape[1]], values) for name, values in old_scores.items()]
    return len(pixels), all(same)
