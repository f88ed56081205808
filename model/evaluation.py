"""A run on a split: everything that eval.py prints, keeps in `metrics.json` and shows in the report."""

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import InputError, say
from dataset import duplicates, records
from dataset.boards import CATEGORIES
from model import figures, metrics, pooled, resampling, runs, scoring, tag_vectors
from model.calibration import Calibration, Target, as_probability, fit, log_odds
from model.figures import Figures
from model.predict import Tagger
from model.scoring import Scores

BUCKETS = (32, 128, 512)  # training positives at which a bucket of tags begins, besides 0
NEARLY = 0.99  # correlation of near-duplicates: looser than download.py's, which has joined what is all but the same
GROUPED = ("auc_roc", "average_precision", "f1")  # figures that are also given by bucket and by category


@dataclass(frozen=True)
class Evaluation:
    """What came out of a run on a split.

    Attributes:
        tagger: the run.
        data, split: what it was evaluated on.
        scores: what it said.
        weights: the resamples, see `resampling`.
        figures: of the run.
        frequencies: the same figures, without resamples, of a predictor that gives every image the tags' training
            frequencies, and as given tags the list that then has the best micro F1.
        leaks: pictures of the split that are nearly those of other splits: (position in the split, the other's split and
            id), the nearest first.
    """

    tagger: Tagger
    data: Path
    split: str
    scores: Scores
    weights: np.ndarray
    figures: Figures
    frequencies: Figures
    leaks: list[tuple[int, str, str]]


def evaluate(tagger: Tagger, data: Path, split: str) -> Evaluation:
    """Score a split and compute all figures, with progress on standard error.

    Raises:
        InputError: the data folder is of other tags, or damaged.
    """
    tagger, scores = score(tagger, data, split, tagger.temperature)
    run = tagger.run
    vectors = vectors_of(run, data)
    found, weights = run_figures(tagger, scores, vectors)
    return Evaluation(
        tagger,
        data,
        split,
        scores,
        weights,
        found,
        frequency_figures(run.frequencies, scores, vectors),
        leaks(data, split),
    )


def score(tagger: Tagger, data: Path, split: str, temperature: float) -> tuple[Tagger, Scores]:
    """What a run says of a split, with progress on standard error.

    Returns:
        The run as if it had the data's tags alone, in the data's order, but for its network; and what it says.

    Raises:
        InputError: the data folder is of other tags, or damaged, or the run says what is no number.
    """
    outputs, run = scoring.outputs_for(tagger.run, data), tagger.run
    if len(outputs) < len(run.tags):
        say(
            f"{len(run.tags) - len(outputs):,} of the {len(run.tags):,} tags of {run.folder} are unknown in {data}: left out"
        )
    scores = scoring.score(tagger.network, data, split, run.config, temperature, show_progress=True, outputs=outputs)
    if not np.isfinite(scores.probability).all():
        raise InputError(f"{run.folder} says what is no number of pictures of {data}: train it again")
    run = replace(run, tags=[run.tags[index] for index in outputs])
    return replace(tagger, run=run, thresholds=tagger.thresholds[outputs]), scores


def calibrate(tagger: Tagger, data: Path, target: Target) -> Calibration:
    """Fit temperature and thresholds on the validation split, and write them into the run folder.

    Raises:
        InputError: there is no validation split, or it has no labels, or other tags.
    """
    known, scores = score(tagger, data, "val", temperature=1.0)
    if not scores.labels.any():
        raise InputError(f"the val split of {data} has no labels: thresholds are chosen by them")
    calibration = fit(scores.labels, scores.probability, scores.groups, target)
    # Tags that the data does not know are given from the same logit on as before.
    logits = log_odds(tagger.thresholds) * (tagger.temperature / calibration.temperature)
    chosen = dict(zip((tag.name for tag in known.run.tags), calibration.thresholds, strict=True))
    kept = zip((tag.name for tag in tagger.run.tags), as_probability(logits), strict=True)
    calibration = replace(calibration, thresholds=np.array([chosen.get(name, threshold) for name, threshold in kept]))
    runs.save_calibration(tagger.run, calibration)
    return calibration


def run_figures(tagger: Tagger, scores: Scores, vectors: np.ndarray) -> tuple[Figures, np.ndarray]:
    """The figures of scores, and the weights of the resamples."""
    weights = resampling.group_weights(scores.groups, scores.labels.shape[1])
    one = runs.load_facts(tagger.run).get("global_threshold", float(np.median(tagger.thresholds)))
    if scores.labels.size > pooled.EXACT_PAIRS:
        say(f"figures of {scores.labels.size:,} pairs of image and tag: a minute for every hundred million or two")
    given = (scores.labels, scores.probability, tagger.thresholds, one, weights, scores.doubt, vectors)
    return figures.compute(*given), weights


def frequency_figures(frequencies: np.ndarray, scores: Scores, vectors: np.ndarray) -> Figures:
    """The figures of a predictor that looks at no picture.

    Args:
        frequencies: the share of training images with each tag, (tags,).
    """
    # The k most frequent tags are given to every image; expected F1 is 2 Σ f / (k + all f).
    ordered = np.sort(frequencies)[::-1]
    expected = 2 * np.cumsum(ordered) / (np.arange(1, len(ordered) + 1) + ordered.sum())
    threshold = np.float32(ordered[np.argmax(expected)])
    constant = np.broadcast_to(frequencies.astype(np.float32), scores.labels.shape)
    once = np.ones((len(constant), 1), np.float32)
    thresholds = np.full(len(frequencies), threshold)
    return figures.compute(scores.labels, constant, thresholds, threshold, once, vectors=vectors)


def vectors_of(run: runs.Run, data: Path) -> np.ndarray:
    """The vectors of a run's tags: its own; learned from the training shards where it has none yet, or other tags."""
    path = run.folder / "tag_vectors.npy"
    own = records.read_tags(run.folder / "tags.csv")[: len(run.tags)] == run.tags
    vectors = tag_vectors.load(path, len(run.tags)) if own else None
    if vectors is None:
        vectors = tag_vectors.learn((np.array(record.tags, int) for record in records.read(data, "train")), len(run.tags))
        if own:
            tag_vectors.save(path, vectors)
    return vectors


def leaks(data: Path, split: str) -> list[tuple[int, str, str]]:
    """Near-duplicates between a split and the others, see `Evaluation`."""
    found, thumbnails = [], []
    for name in records.SPLITS:
        stored = records.read(data, name)
        for record in tqdm(stored, desc=f"near-duplicates, {name}", unit=" images", leave=False, disable=None):
            found.append((name, record.id))
            thumbnails.append(duplicates.thumbnail(record.image))
    first = next((number for number, (name, _) in enumerate(found) if name == split), 0)
    across = []
    for pair in duplicates.alike(thumbnails, NEARLY):
        for one, other in (pair, pair[::-1]):
            if found[one][0] == split != found[other][0]:
                across.append((one - first, *found[other]))
    return across


def summary(evaluation: Evaluation) -> dict:
    """What `metrics.json` holds; `report/metrics.schema.json` describes it."""
    found, scores, run = evaluation.figures, evaluation.scores, evaluation.tagger.run
    positives = scores.labels.sum(axis=0)
    gain = found.values["f1_macro"] - found.values["f1_macro_global_threshold"]
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
        "pooled_ranking": "exact" if found.exact else "histogram",
        **{name: number(found.values[name]) for name in metrics.DEFINITIONS if name in found.values},
        "intervals": {name: bounded_interval(found.values[name]) for name in metrics.DEFINITIONS if name in found.values},
        "tag_frequencies": {
            name: number(evaluation.frequencies.values[name])
            for name in metrics.DEFINITIONS
            if name in evaluation.frequencies.values
        },
        "by_frequency": _by_kind(evaluation, buckets(run.tags)),
        "by_category": _by_kind(evaluation, categories(run.tags)),
        "thresholds": runs.load_facts(run)
        | {"gain_in_f1_macro": number(gain), "interval": [_plain(edge) for edge in resampling.interval(gain)]},
        "near_duplicates": {
            "images": len({position for position, *_ in evaluation.leaks}),
            "pairs": [
                {"id": str(scores.ids[position]), "other_split": split, "other_id": post_id}
                for position, split, post_id in evaluation.leaks
            ],
        },
    }


def _by_kind(evaluation: Evaluation, kinds: dict[str, np.ndarray]) -> dict:
    """Macro figures of some of the tags: kind ▶ how many tags count, and figure ▶ value and interval."""
    result = {}
    for kind, chosen in kinds.items():
        values = {f"{name}_macro": metrics.mean_over_tags(evaluation.figures.by_tag[name][chosen]) for name in GROUPED}
        counted = int(evaluation.scores.labels[:, chosen].any(axis=0).sum())
        result[kind] = {"tags": int(chosen.sum()), "tags_with_positives": counted} | {
            name: [number(vector), *bounded_interval(vector)] for name, vector in values.items()
        }
    return result


def tag_ranges(evaluation: Evaluation) -> np.ndarray:
    """The interval of each tag's average precision, see `resampling.tag_intervals`: (tags, 2)."""
    average = evaluation.figures.by_tag["average_precision"]
    return resampling.tag_intervals(average, evaluation.scores.labels, evaluation.scores.groups)


def buckets(tags: list[records.Tag]) -> dict[str, np.ndarray]:
    """Kinds of tags by their training positives: name ▶ bool (tags,); empty ones are left out."""
    counts = np.array([tag.count for tag in tags])
    number_of = np.searchsorted(BUCKETS, counts, "right")
    names = [f"under {BUCKETS[0]}", *(f"{a} to {b - 1}" for a, b in itertools.pairwise(BUCKETS))]
    names.append(f"{BUCKETS[-1]} and more")
    return {name: number_of == bucket for bucket, name in enumerate(names) if (number_of == bucket).any()}


def categories(tags: list[records.Tag]) -> dict[str, np.ndarray]:
    """Kinds of tags by their category: name ▶ bool (tags,); empty ones are left out."""
    names = {value: name for name, value in CATEGORIES.items()}
    of_tag = np.array([names.get(tag.category, str(tag.category)) for tag in tags])
    return {name: of_tag == name for name in sorted(set(of_tag))}


def number(values: np.ndarray) -> float | None:
    """The figure of all images, None where it is undefined."""
    return _plain(values[0])


def bounded_interval(values: np.ndarray) -> list[float | None]:
    """The interval of a figure that is at most 1."""
    low, high = resampling.interval(values)
    return [_plain(low), _plain(min(high, 1.0) if high == high else high)]


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
