"""What rules about tags change in predictions, and how many planted rules are learned from labels.

    python -m benchmarks implied --run runs/openmoji runs/openclipart --data data/openmoji data/openclipart

Rules are those of the run, or else what download.py would write. Predictions with each `--implied` of test.py are compared
with those by thresholds alone, on the same resamples of the test split. The three ways of making probabilities obey the
rules are compared on the validation split, whose thresholds are fitted on the other half of its groups.

Result: implied.json.
"""

import argparse
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.reporting import Table, as_json, report
from common.numbers import log_odds, sigmoid
from dataset import records
from dataset.implications import closure, implied_indices, implied_pairs, lowered, raised
from dataset.records import Tag
from dataset.rule_proposals import TrainingLabels, learn, propose
from evaluation.compare import difference
from evaluation.evaluate import score
from evaluation.metrics import bootstrap, metrics
from evaluation.metrics.calibration import Target, fit
from evaluation.score import Scores
from inference.implied import CONSTRAIN, DROP, MODES, TagLogic
from inference.tagger import Tagger

PLANTED_TAGS, PLANTED_RULES, CHAINED_RULES = 200, 50, 10
PLANTED_PICTURES = (500, 2000, 8000, 32000)
MISSING = 0.02  # share of the implied labels that people forgot
LOWER_BOUNDS = (0.95, 0.9, 0.8, 0.7)  # of the share of a tag's pictures for which an implication holds
ALONE = "thresholds alone"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the runs and their data folders."""
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="run folders")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="the data folder of each")


def measure(options: argparse.Namespace) -> None:
    """Measure runs and planted rules, print the tables and write the figures."""
    runs = {run.name: measure_run(run, data) for run, data in zip(options.run, options.data, strict=True)}
    planted = [planted_figures(pictures) for pictures in PLANTED_PICTURES]
    figures = {"options": as_json(options), "runs": runs, "planted": planted}
    for other_table in (table_of_learned, table_of_solutions, table_of_planted):
        print(other_table(figures).as_text(), end="\n\n")
    report("implied", table(figures), figures)


def measure_run(run: Path, data: Path) -> dict:
    """Return the figures of one run, on the validation and the test split of its data."""
    tagger = Tagger.open(run)
    outputs, scores = score(tagger, data, "test", tagger.temperatures)
    tags = [tagger.run.tags[output] for output in outputs]
    validation = score(tagger, data, "val", tagger.temperatures)[1]
    pictures = ((record.group or record.id, record.tags) for record in records.read(data, "train"))
    labels = TrainingLabels(pictures, len(tags))
    rules = propose(tags, labels) if tagger.run.rules is None else tagger.run.rules
    logic = TagLogic(tags, rules)
    chosen = scores.probability >= tagger.thresholds[outputs]
    weights = bootstrap.group_weights(scores.groups, len(tags))
    predicted = {ALONE: chosen} | {mode: predictions(logic, mode, scores, tagger.thresholds[outputs]) for mode in MODES}
    alone = [f1_macro(scores.labels, chosen, weights), tags_per_picture(chosen, weights)]
    modes = {}
    for mode, tags_of_pictures in predicted.items():
        own = [f1_macro(scores.labels, tags_of_pictures, weights), tags_per_picture(tags_of_pictures, weights)]
        (f1, number), (f1_change, number_change) = own, [mine - other for mine, other in zip(own, alone, strict=True)]
        modes[mode] = {
            "f1_macro": [float(f1[0]), difference(f1_change)],
            "tags_per_picture": [float(number[0]), difference(number_change)],
            "inconsistent_pictures": None if mode == DROP else float(inconsistent(logic, tags_of_pictures).mean()),
        }
    return {
        "data": data.name,
        "implications": len(implied_pairs(rules)),
        "groups": len(logic.groups),
        "images": len(scores.ids),
        "learned": learned_figures(tags, labels, validation.labels),
        "modes": modes,
        "solutions": solutions(logic, validation),
    }


def predictions(logic: TagLogic, mode: str, scores: Scores, thresholds: np.ndarray) -> np.ndarray:
    """Return the tags that a mode gives, bool (images, tags)."""
    probability = logic.constrained(scores.probability) if mode == CONSTRAIN else scores.probability
    _, closed = logic.close(probability, probability >= thresholds)
    if mode == DROP:
        for row in closed:
            remaining = logic.without_implied(np.flatnonzero(row).tolist())
            row[:] = False
            row[remaining] = True
    return closed


def solutions(logic: TagLogic, scores: Scores) -> dict[str, float]:
    """Return the macro F1 of each way of making probabilities obey the rules, on the validation split.

    The thresholds of a picture are fitted on the groups of the other half, before the rules are applied, as those of a run.
    """
    half = np.array([zlib.crc32(group.encode()) % 2 for group in scores.groups])
    limits = np.empty(scores.labels.shape)
    for fitted in (0, 1):
        rows = half == fitted
        calibration = fit(scores.labels[rows], scores.probability[rows], scores.groups[rows], Target("f1"))
        limits[~rows] = sigmoid(log_odds(calibration.thresholds) * calibration.temperature)  # at the run's temperature
    once = np.ones((len(half), 1), np.float32)
    up, down = raised(scores.probability, logic.implied), lowered(scores.probability, logic.implied)
    ways = {
        "raised": up,
        "lowered": down,
        "midway": logic.constrained(scores.probability),
    }
    result = {ALONE: float(f1_macro(scores.labels, scores.probability >= limits, once)[0])}
    for name, probability in {"add": scores.probability, **ways}.items():
        _, closed = logic.close(probability, probability >= limits)
        result[name] = float(f1_macro(scores.labels, closed, once)[0])
    return result


def f1_macro(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the macro F1 of all images and of each resample, (1 + resamples,)."""
    true_positives, count, positives = (
        values.T.astype(np.float32) @ weights for values in (labels & predicted, predicted, labels)
    )
    return metrics.mean_over_tags(np.where(positives > 0, metrics.f_beta(true_positives, count, positives), np.nan))


def tags_per_picture(predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean number of tags of all images and of each resample, (1 + resamples,)."""
    return predicted.sum(axis=1) @ weights / weights.sum(axis=0)


def inconsistent(logic: TagLogic, predicted: np.ndarray) -> np.ndarray:
    """Return which images have a tag without one that it implies, or two tags of a group, bool (images,)."""
    wrong = np.zeros(len(predicted), bool)
    for tag, others in enumerate(logic.implied):
        wrong |= predicted[:, tag] & ~predicted[:, others].all(axis=1)
    for group in logic.groups:
        wrong |= predicted[:, group].sum(axis=1) > 1
    return wrong


def learned_figures(tags: Sequence[Tag], labels: TrainingLabels, validation: np.ndarray) -> dict[str, dict]:
    """Return, for each lower bound, how many implications are learned, and how often labels that they imply are missing.

    Args:
        tags, labels: as for `learn`.
        validation: labels of the validation split, bool (images, tags).
    """
    figures = {}
    for at_least in LOWER_BOUNDS:
        rules = learn(tags, labels, at_least)
        implied = implied_indices(tags, rules)
        total = sum(int(validation[:, tag].sum()) * len(others) for tag, others in enumerate(implied))
        missing = sum(int((validation[:, [tag]] & ~validation[:, others]).sum()) for tag, others in enumerate(implied))
        figures[str(at_least)] = {"rules": len(rules), "implied_labels": total, "missing_labels": missing}
    return figures


def planted_labels(pictures: int, seed: int = 0) -> tuple[list[Tag], TrainingLabels, set[tuple[str, str]]]:
    """Return tags, labels in which implications are planted, and all pairs that follow from these.

    Of the 200 tags, which 0.5 to 10 % of the pictures have for no reason, 50 imply another one; ten of these rules lead to
    a tag that implies a further one. Two percent of the implied labels are missing.
    """
    random = np.random.default_rng(seed)
    names = [f"tag {index}" for index in range(PLANTED_TAGS)]
    effects = random.integers(PLANTED_RULES, PLANTED_TAGS, PLANTED_RULES)
    effects[:CHAINED_RULES] = np.arange(CHAINED_RULES) + CHAINED_RULES
    frequencies = np.exp(random.uniform(np.log(0.005), np.log(0.1), PLANTED_TAGS))
    labels = random.random((pictures, PLANTED_TAGS)) < frequencies
    for cause in range(PLANTED_RULES):  # a chained rule comes before the one that continues it
        labels[:, effects[cause]] |= labels[:, cause] & (random.random(pictures) >= MISSING)
    implied = closure((names[cause], names[effect]) for cause, effect in enumerate(effects.tolist()))
    tags = [Tag(index, name, 0, int(count)) for index, (name, count) in enumerate(zip(names, labels.sum(0), strict=True))]
    rows = ((str(number), np.flatnonzero(row).tolist()) for number, row in enumerate(labels))
    return tags, TrainingLabels(rows, PLANTED_TAGS), {(tag, other) for tag, others in implied.items() for other in others}


def planted_figures(pictures: int) -> dict:
    """Return precision and recall of the implications that are learned from planted labels."""
    tags, labels, planted = planted_labels(pictures)
    learned = {(tag, other) for tag, others in closure(implied_pairs(learn(tags, labels))).items() for other in others}
    right = len(learned & planted)
    precision = right / len(learned) if learned else None
    return {"pictures": pictures, "learned": len(learned), "precision": precision, "recall": right / len(planted)}


def table(figures: dict) -> Table:
    """Return what each mode gives for each run, with differences from thresholds alone and their 95 % ranges."""
    rows = []
    for run, values in figures["runs"].items():
        for mode, (f1, number, wrong) in ((mode, result.values()) for mode, result in values["modes"].items()):
            changes = ["" if mode == ALONE else _range(change, digits) for (_, change), digits in ((f1, 3), (number, 2))]
            cells = [f"{f1[0]:.3f}", changes[0], f"{number[0]:.2f}", changes[1], "" if wrong is None else f"{wrong:.1%}"]
            rows.append([f"{run}, {mode}", *cells])
    return Table(["", "macro F1", "change", "tags a picture", "change", "pictures against a rule"], rows)


def table_of_solutions(figures: dict) -> Table:
    """Return the macro F1 of each way of making probabilities obey the rules, on the validation splits."""
    runs = figures["runs"]
    names = list(next(iter(runs.values()))["solutions"])
    rows = [[run, *(f"{values['solutions'][name]:.4f}" for name in names)] for run, values in runs.items()]
    means = [np.mean([values["solutions"][name] for values in runs.values()]) for name in names]
    return Table(["", *names], [*rows, ["mean", *(f"{mean:.4f}" for mean in means)]])


def table_of_learned(figures: dict) -> Table:
    """Return what is learned with other lower bounds, and how much of it the validation labels contradict."""
    boards = {values["data"]: values["learned"] for values in figures["runs"].values()}
    rows = [
        [f"{board}, at least {bound}", *(f"{values[key]:,}" for key in ("rules", "implied_labels", "missing_labels"))]
        for board, bounds in boards.items()
        for bound, values in bounds.items()
    ]
    return Table(["", "implications learned", "labels they imply", "of these missing"], rows)


def table_of_planted(figures: dict) -> Table:
    """Return how many planted implications are learned."""
    rows = [
        [
            f"{row['pictures']:,}",
            f"{row['learned']:,}",
            "" if row["precision"] is None else f"{row['precision']:.2f}",
            f"{row['recall']:.2f}",
        ]
        for row in figures["planted"]
    ]
    return Table(["training pictures", "learned", "precision", "recall"], rows)


def _range(change: list[float], digits: int) -> str:
    """Return a difference with its 95 % range."""
    value, low, high = change
    return f"{value:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"
