"""Hidden labels that a person's answers bring back, and what a run learns from them, for several orders of questions.

    python -m benchmarks improve --data data/openmoji

With each seed it hides a share of the training labels, trains, and lets an oracle answer the questions of each order: as
improve.py proposes them, the most probable tags without a label, the most uncertain predictions, random ones. After some
numbers of answers, the run learns from them as with improve.py. Test labels are complete. Result: improve.json.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import trials
from benchmarks.ablation import DEFAULT
from benchmarks.labels import T, mean_and_range
from benchmarks.noisy_labels import noisy_folder
from benchmarks.reporting import Table, report
from benchmarks.trials import Trial
from common.errors import InputError
from dataset import records
from dataset.corrections import Correction, Decisions, digest_of
from dataset.relabel import check_output_folder, data_fingerprint
from inference.tagger import Tagger
from labels import improvement
from labels.predictions import Predictions, load_or_predict
from labels.proposals import propose
from model import run_folder
from model.config import as_options

ORDERS = ("proposed", "most probable", "most uncertain", "random")
CACHE = ("--cache", "memory")  # the batches are the same
BEFORE, WITHOUT, ALL = "before", "no answers", "no label hidden"
FIGURES = {"average_precision_macro": "mAP", "auc_roc_macro": "macro AUC"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the data folder, the numbers of answers, seeds, the share of hidden labels and what is trained."""
    parser.add_argument("--data", type=Path, required=True, help="folder made by download.py")
    parser.add_argument("--answers", type=int, nargs="+", default=[500, 2000, 8000], help="default: 500 2000 8000")
    orders = ("proposed", "most uncertain", "random")
    parser.add_argument("--orders", nargs="+", choices=ORDERS, default=orders, help=f"default: {', '.join(orders)}")
    parser.add_argument("--seeds", type=int, default=3, choices=range(1, max(T) + 1), help="runs of each row (default: 3)")
    parser.add_argument("--hidden", type=float, default=0.3, help="share of the training labels hidden (default: 0.3)")
    parser.add_argument("--epochs", type=int, default=4, help="of the run that learns from the answers (default: 4)")
    parser.add_argument("--image-size", type=int, default=32, help="side of the input, in pixels (default: 32)")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once (default: 2)")


def measure(options: argparse.Namespace) -> None:
    """Train every row; each seed hides other labels. Finished runs under runs/bench/ are reused."""
    size = ("--image-size", str(options.image_size), *CACHE)
    before = []
    for seed in range(options.seeds):
        hidden = noisy_folder(options.data, "missing", options.hidden, seed)
        before.append(Trial(hidden, f"{DEFAULT} {options.image_size}", size, options.epochs, seed))
    results = trials.run_all(before, options.jobs)
    rows: dict[str, list[tuple[Trial, Found]]] = {BEFORE: [(trial, Found(0, 0)) for trial in before]}
    for trial in before:
        if isinstance(failure := results[trial], str):
            raise InputError(f"{trial.folder}: {failure}")
        for row, data, found in _folders(trial, options):
            rows.setdefault(row, []).append((_learning(trial, data), found))
    results |= trials.run_all(
        [trial for of_row in rows.values() for trial, _ in of_row if trial not in results], options.jobs
    )
    figures = {
        "answers": options.answers,
        "rows": {row: [_figures(trial, results[trial], found) for trial, found in of_row] for row, of_row in rows.items()},
    }
    print(f"{options.data}, {options.hidden:.0%} hidden, {options.image_size} px; ±: 95 % range of the mean over seeds")
    report(
        "improve" if options.data.name == "openmoji" else f"improve-{options.data.resolve().name}", table(figures), figures
    )


class Found(NamedTuple):
    """How many hidden labels answers brought back, and of how many tags."""

    labels: int
    tags: int


def _folders(before: Trial, options: argparse.Namespace) -> list[tuple[str, Path, Found]]:
    """Make the data folder of each row: its name, the folder, and the hidden labels that the answers brought back."""
    tagger = Tagger.open(before.folder)
    predicted, tags = (
        load_or_predict(tagger, before.data),
        [tag.name for tag in records.read_tags(options.data / "tags.csv")],
    )
    true = np.zeros(predicted.labels.shape, bool)
    for position, record in enumerate(records.read(options.data, "train")):
        true[position, record.tags] = True
    hidden = true & ~predicted.labels
    every = list(zip(*np.nonzero(hidden), strict=True))
    asked = {WITHOUT: ([], [0]), ALL: (every, [len(every)])}
    asked |= {
        order: (_pairs(order, predicted, max(options.answers), before.seed), options.answers) for order in options.orders
    }
    made = []
    for order, (pairs, numbers) in asked.items():
        for number in numbers:
            row = order if order in (WITHOUT, ALL) else f"{order}, {number:,}"
            answered = [(int(picture), int(tag)) for picture, tag in pairs[:number]]
            corrections = [_answer(predicted, pair, tags, true) for pair in answered]
            out = before.data.with_name(f"{before.folder.name}-{order.replace(' ', '-')}-{number}")
            facts = {"corrections": digest_of(corrections), "tags": sorted({each.tag for each in corrections})}
            if not check_output_folder(out, {"from": data_fingerprint(before.data)} | facts):
                improvement.write_data(before.data, out, Decisions(corrections), facts)
            found = [tag for picture, tag in answered if hidden[picture, tag]]
            made.append((row, out, Found(len(found), len(set(found)))))
    return made


def _pairs(order: str, predicted: Predictions, number: int, seed: int) -> list[tuple[int, int]]:
    """Return the pairs of picture and tag that are asked about, in order."""
    probability, shape = predicted.probability.astype(np.float32), predicted.labels.shape
    if order == "proposed":
        proposals = propose(predicted.labels, probability, predicted.features, np.ones(shape, bool), number)
        return [(each.picture, each.tag) for each in proposals]
    if order == "random":
        positions = np.random.default_rng(seed).permutation(probability.size)[:number]
    else:
        without_label = np.where(predicted.labels, 0, probability)
        key = -without_label if order == "most probable" else np.abs(probability - 0.5)
        positions = np.argsort(key, axis=None, kind="stable")[:number]
    return list(zip(*np.unravel_index(positions, shape), strict=True))


def _answer(predicted: Predictions, pair: tuple[int, int], tags: list[str], true: np.ndarray) -> Correction:
    picture, tag = pair
    return Correction("", str(predicted.ids[picture]), tags[tag], bool(true[pair]), "oracle", "")


def _learning(before: Trial, data: Path) -> Trial:
    """Return the run that learns from the answers, as improve.py trains it where many labels change, in all rows alike."""
    config = improvement.training_config(run_folder.load(before.folder), few=False)
    return Trial(data, "improved", (*as_options(config), *CACHE), config.epochs, before.seed)


def _figures(trial: Trial, figures: dict | str, found: Found) -> dict:
    """Return a trial's figures on the test split, and the hidden labels that the answers brought back.

    Raises:
        InputError: the trial failed.
    """
    if isinstance(figures, str):
        raise InputError(f"{trial.folder}: {figures}")
    return {name: figures[name] for name in FIGURES} | found._asdict()


def table(figures: dict) -> Table:
    """Return the table of a result, with the mAP that each row gains, seed by seed, over the run that learned without
    answers and over as many answers to random questions."""
    cells, rows = [], figures["rows"]
    for row, runs in rows.items():
        found = (f"{sum(run[key] for run in runs) / len(runs):,.0f}" for key in Found._fields)
        order, _, number = row.rpartition(", ")
        at_random = rows.get(f"random, {number}") if order and order != "random" else None
        gains = [_gain(runs, others) for others in (rows[WITHOUT] if row != WITHOUT else None, at_random)]
        cells.append([row, *found, *(mean_and_range([run[key] for run in runs]) for key in FIGURES), *gains])
    return Table(
        ["answers of an oracle", "labels found", "of tags", *FIGURES.values(), "over no answers", "over random"], cells
    )


def _gain(runs: list[dict], others: list[dict] | None) -> str:
    """Return the mean difference in mAP from other runs of the same seeds, with its range; nothing without them."""
    if others is None:
        return ""
    key = "average_precision_macro"
    return mean_and_range([run[key] - other[key] for run, other in zip(runs, others, strict=True)], "+")
