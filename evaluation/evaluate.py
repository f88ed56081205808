"""Evaluate a run on a split: all that eval.py prints, writes to `metrics.json` and shows in the report."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import files
from common.errors import InputError, say
from dataset import records
from dataset.records import CATEGORIES, NUMBER, RATING
from evaluation import score as scoring
from evaluation.leaks import leaks
from evaluation.metrics import all_metrics, bootstrap, metrics, micro_counts, tag_vectors
from evaluation.metrics.all_metrics import Figures
from evaluation.metrics.calibration import Calibration, Target, default_calibration, fit
from evaluation.ratings import rating_figures, without_ratings
from evaluation.score import Scores
from inference.tagger import Tagger
from model import run_folder
from model.run_folder import Run

BUCKETS = (32, 128, 512)  # training positives at which a bucket of tags begins, besides 0
GROUPED = ("auc_roc", "average_precision", "f1")  # figures that are also computed by bucket and by category


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a run on a split.

    Attributes:
        tagger: the run.
        data, split: the data folder and its split.
        tags: the tags that both the run and the data have, in the data's order.
        thresholds: the probability from which each of these tags is predicted, float32 (tags,).
        scores: the predictions for the split.
        weights: float32 (images, 1 + resamples), see `evaluation.metrics.bootstrap`.
        figures: the figures of the run.
        frequencies: the same figures, without resamples, of the baseline, see `frequency_figures`.
        ratings: see `ratings.rating_figures`; None without ratings. All other attributes are without them.
        leaks: near-duplicates between the split and the others: (position in the split, the other picture's split and id),
            the most similar first.
    """

    tagger: Tagger
    data: Path
    split: str
    tags: list[records.Tag]
    thresholds: np.ndarray
    scores: Scores
    weights: np.ndarray
    figures: Figures
    frequencies: Figures
    ratings: dict | None
    leaks: list[tuple[int, str, str]]


def evaluate(tagger: Tagger, data: Path, split: str) -> Evaluation:
    """Score a split and compute all figures, with progress on standard error.

    Raises:
        InputError: the data folder has other tags, or is damaged.
    """
    outputs, scores = score(tagger, data, split, tagger.temperatures)
    ratings = rating_figures([tagger.run.tags[output] for output in outputs], scores)
    outputs, scores = without_ratings(tagger.run, outputs, scores)
    tags, thresholds = [tagger.run.tags[output] for output in outputs], tagger.thresholds[outputs]
    vectors = load_or_learn_vectors(tagger.run, tags, data)
    figures, weights = run_figures(tagger.run, thresholds, scores, vectors)
    frequencies = frequency_figures(tagger.run.frequencies[outputs], scores, vectors)
    return Evaluation(
        tagger, data, split, tags, thresholds, scores, weights, figures, frequencies, ratings, leaks(data, split)
    )


def score(tagger: Tagger, data: Path, split: str, temperatures: np.ndarray | float) -> tuple[np.ndarray, Scores]:
    """Score a split with a run at the given temperatures, with progress on standard error.

    Returns:
        The run's output for each tag of the data, int (tags of the data,), and the scores of these outputs.

    Raises:
        InputError: the data folder has other tags, or is damaged, or the run predicts NaN.
    """
    run = tagger.run
    outputs = run.outputs_for(data)
    if unknown := len(run.tags) - len(outputs):
        say(f"{unknown:,} of the {len(run.tags):,} tags of {run.folder} do not occur in {data} and are left out")
    scores = scoring.score(tagger.network, data, split, run.config, temperatures, outputs=outputs)
    if not scores.are_finite():
        raise InputError(f"{run.folder} predicts NaN for pictures of {data}: train it again")
    return outputs, scores


def calibrate(tagger: Tagger, data: Path, target: Target, labels_required: bool = True) -> Calibration:
    """Fit temperature and thresholds of a run on the validation split, and write them into the run folder.

    `calibration.json` is written first, and then `thresholds.csv`, which decides the tags that a run predicts. A tag that
    the data does not have keeps its threshold and its temperature. A tag of the category `number` has a value for every
    picture: it takes no part, and has the threshold 0 and the temperature 1. Ratings take no part either, because one of
    them is always predicted; they get the temperature of the tags.

    Args:
        tagger: the run, with the network that will be served.
        data: the data folder.
        target: what the thresholds are chosen for.
        labels_required: whether a validation split without labels is an error; otherwise every threshold is then one half.

    Raises:
        InputError: the validation split is missing, or has no labels, or other tags.
    """
    run = tagger.run
    is_number, is_rating = (np.array([tag.category == kind for tag in run.tags]) for kind in (NUMBER, RATING))
    takes_part = ~is_number & ~is_rating
    thresholds, temperatures = tagger.thresholds.astype(float), tagger.temperatures.copy()
    if not labels_required and (not takes_part.any() or not scoring.number_of_images(data, "val")):
        calibration = default_calibration(len(run.tags), target)
    else:
        outputs, scores = score(tagger, data, "val", temperatures=1.0)
        scores = scores.of_tags(takes_part[outputs])
        if labels_required and not scores.labels.any():
            raise InputError(f"the val split of {data} has no labels: thresholds are chosen by them")
        calibration = fit(scores.labels, scores.probability, scores.groups, target)
        fitted = outputs[takes_part[outputs]]
        thresholds[fitted], temperatures[outputs] = calibration.thresholds, calibration.temperature
    files.write_json(run.folder / "calibration.json", calibration.facts())
    thresholds, temperatures = np.where(is_number, 0.0, thresholds), np.where(is_number, 1.0, temperatures)
    run_folder.save_thresholds(run, thresholds, temperatures)
    return calibration


def run_figures(run: Run, thresholds: np.ndarray, scores: Scores, vectors: np.ndarray) -> tuple[Figures, np.ndarray]:
    """Return the figures of a run's scores, and the weights of the resamples."""
    weights = bootstrap.group_weights(scores.groups, scores.labels.shape[1])
    global_threshold = run_folder.load_calibration(run).get("global_threshold", float(np.median(thresholds)))
    if scores.labels.size > micro_counts.EXACT_PAIRS:
        say(f"computing figures of {scores.labels.size:,} pairs of image and tag: a minute for every 100 to 200 million")
    figures = all_metrics.compute(
        scores.labels, scores.probability, thresholds, global_threshold, weights, scores.predictive_variance, vectors
    )
    return figures, weights


def frequency_figures(frequencies: np.ndarray, scores: Scores, vectors: np.ndarray) -> Figures:
    """Return the figures of a baseline that gives every image the tags' training frequencies as probabilities.

    It predicts the same tags for every image: the most frequent ones, as many as have the best expected micro F1.

    Args:
        frequencies: the share of training images with each tag, (tags,).
        scores: give the labels.
        vectors: (tags, dimensions), see `tag_vectors`.
    """
    # Expected F1 of the k most frequent tags: 2 Σ f / (k + all f).
    ordered = np.sort(frequencies)[::-1]
    expected = 2 * np.cumsum(ordered) / (np.arange(1, len(ordered) + 1) + ordered.sum())
    threshold = np.float32(ordered[np.argmax(expected)])
    constant = np.broadcast_to(frequencies.astype(np.float32), scores.labels.shape)
    once = np.ones((len(constant), 1), np.float32)
    thresholds = np.full(len(frequencies), threshold)
    return all_metrics.compute(scores.labels, constant, thresholds, threshold, once, vectors=vectors)


def load_or_learn_vectors(run: Run, tags: list[records.Tag], data: Path) -> np.ndarray:
    """Return the tag vectors of the run folder, or learn them from the training shards if it has none for these tags."""
    path = run.folder / "tag_vectors.npy"
    own = records.read_tags(run.folder / "tags.csv")[: len(tags)] == tags
    vectors = tag_vectors.load(path, len(tags)) if own else None
    if vectors is None:
        rows = (np.array(record.tags, int) for record in records.read(data, "train"))
        vectors = tag_vectors.learn((row[row < len(tags)] for row in rows), len(tags))  # ratings stand after the tags
        if own:
            tag_vectors.save(path, vectors)
    return vectors


def summary(evaluation: Evaluation) -> dict:
    """Return the content of `metrics.json`, which `evaluation/metrics.schema.json` describes."""
    figures, scores, run = evaluation.figures, evaluation.scores, evaluation.tagger.run
    positives = scores.positives()
    gain = figures.values["f1_macro"] - figures.values["f1_macro_global_threshold"]
    return {
        "run": str(run.folder),
        "data": str(evaluation.data),
        "split": evaluation.split,
        "images": len(scores.ids),
        "groups": len(np.unique(scores.groups)),
        "groups_known": scores.grouped,
        "tags": len(positives),
        "tags_without_positives": int(np.sum(positives == 0)),
        "positives": int(positives.sum()),
        "resamples": evaluation.weights.shape[1] - 1,
        "pooled_ranking": "exact" if figures.exact else "histogram",
        **{name: rounded_figure(figures.values[name]) for name in metrics.DEFINITIONS if name in figures.values},
        "intervals": {
            name: bounded_interval(figures.values[name]) for name in metrics.DEFINITIONS if name in figures.values
        },
        "tag_frequencies": {
            name: rounded_figure(evaluation.frequencies.values[name])
            for name in metrics.DEFINITIONS
            if name in evaluation.frequencies.values
        },
        "by_frequency": _macro_figures(evaluation, buckets(evaluation.tags)),
        "by_category": _macro_figures(evaluation, categories(evaluation.tags)),
        **({"ratings": evaluation.ratings} if evaluation.ratings else {}),
        "thresholds": run_folder.load_calibration(run)
        | {"gain_in_f1_macro": rounded_figure(gain), "interval": [_rounded(edge) for edge in bootstrap.interval(gain)]},
        "near_duplicates": {
            "images": len({position for position, *_ in evaluation.leaks}),
            "pairs": [
                {"id": str(scores.ids[position]), "other_split": split, "other_id": post_id}
                for position, split, post_id in evaluation.leaks
            ],
        },
    }


def _macro_figures(evaluation: Evaluation, kinds: dict[str, np.ndarray]) -> dict:
    """Return, for each kind of tags, how many there are, how many have positives, and macro figures with intervals."""
    result = {}
    positives = evaluation.scores.positives()
    for kind, chosen in kinds.items():
        values = {f"{name}_macro": metrics.mean_over_tags(evaluation.figures.by_tag[name][chosen]) for name in GROUPED}
        counted = int(np.count_nonzero(positives[chosen]))
        result[kind] = {"tags": int(chosen.sum()), "tags_with_positives": counted} | {
            name: [rounded_figure(vector), *bounded_interval(vector)] for name, vector in values.items()
        }
    return result


def tag_ranges(evaluation: Evaluation) -> np.ndarray:
    """Return the interval of each tag's average precision, see `bootstrap.tag_intervals`: (tags, 2)."""
    average = evaluation.figures.by_tag["average_precision"]
    return bootstrap.tag_intervals(average, evaluation.scores.labels, evaluation.scores.groups)


def buckets(tags: list[records.Tag]) -> dict[str, np.ndarray]:
    """Return the kinds of tags by training positives: name ▶ bool (tags,), without empty kinds."""
    counts = np.array([tag.count for tag in tags])
    bucket_of_tag = np.searchsorted(BUCKETS, counts, "right")
    names = [f"under {BUCKETS[0]}", *(f"{a} to {b - 1}" for a, b in itertools.pairwise(BUCKETS))]
    names.append(f"{BUCKETS[-1]} and more")
    return {name: bucket_of_tag == bucket for bucket, name in enumerate(names) if (bucket_of_tag == bucket).any()}


def categories(tags: list[records.Tag]) -> dict[str, np.ndarray]:
    """Return the kinds of tags by category: name ▶ bool (tags,), without empty kinds."""
    names = {value: name for name, value in CATEGORIES.items()}
    category_of_tag = np.array([names.get(tag.category, str(tag.category)) for tag in tags])
    return {name: category_of_tag == name for name in sorted(set(category_of_tag))}


def rounded_figure(values: np.ndarray) -> float | None:
    """Return the figure of all images, from (1 + resamples,); None where it is undefined."""
    return _rounded(values[0])


def bounded_interval(values: np.ndarray) -> list[float | None]:
    """Return the interval of a figure that is at most 1."""
    low, high = bootstrap.interval(values)
    return [_rounded(low), _rounded(min(high, 1.0) if high == high else high)]


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
