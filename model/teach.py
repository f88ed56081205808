"""One tag more for a trained run, from a folder of pictures that have it: `train.py --teach`.

The trunk stays as it is: pictures become embeddings, and a logistic regression on them becomes one more output of the
network, a layer of its own beside the others, which say the same as before, to the bit. How strongly it is regularised
decides cross-validation, in which pictures that look alike are never on both sides. What it says there of pictures that it
has not seen gives the figures that are expected of it, its calibration (Platt, 1999: a slope and an intercept) and its
threshold.

A run works at any moment while it is taught: thresholds are found by name, rows of `tags.csv` for which the network has no
output are passed over (`model.predict`), and `model.keras` is replaced last.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from command import InputError, only_writer, say
from dataset import duplicates, records
from model import inputs, metrics, resampling, runs
from model.calibration import as_probability
from model.inputs import Source
from model.predict import Tagger, Unreadable
from model.runs import Run

FEWEST_POSITIVES = 10  # two for each fold
MOST_NEGATIVES = 2000  # more of them take longer and gain little
FOLDS = 5
INVERSE_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the regularisation, for standardised features
UNREGULARISED = 1e6
CHANCE = 0.5  # AUC-ROC of a guess


@dataclass(frozen=True)
class Examples:
    """Pictures as the trunk sees them.

    Attributes:
        features: their embeddings, float32 (pictures, channels).
        thumbnails: of their pixels, see `dataset.duplicates`.
    """

    features: np.ndarray
    thumbnails: list[bytes]


@dataclass(frozen=True)
class Head:
    """A tag's output and what is expected of it on new pictures.

    Attributes:
        weights: of the embedding's channels, float32 (channels,), for a logit at temperature 1.
        bias: added to it.
        threshold: the probability from which the tag is given, for the best F1.
        expected: in cross-validation: `auc_roc` and `average_precision` with their intervals, `precision` and `recall`
            at the threshold.
    """

    weights: np.ndarray
    bias: float
    threshold: float
    expected: dict


def teach(name: str, positives: Path, folder: Path, negatives: Path | None) -> str:
    """Add a tag to a run, or learn one anew that was added before.

    Args:
        name: of the tag.
        positives: a folder of pictures that have it.
        folder: the run.
        negatives: a folder of pictures that lack it; the run's training pictures if None.

    Returns:
        What is expected of the tag, in words.

    Raises:
        InputError: the run was trained with that tag, or the pictures are missing, too few or cannot be told apart.
    """
    with only_writer(folder):
        tagger = Tagger.load(folder)
        trained = [tag.name for tag in tagger.run.tags[: len(tagger.run.tags) - tagger.network.num_taught]]
        if not name.strip() or name in trained:
            raise InputError(f"--teach needs the name of a tag that {folder} was not trained with. Received: {name!r}")
        with_tag = embed(tagger, inputs.find([str(positives)]), f"with {name}")
        if len(with_tag.features) < FEWEST_POSITIVES:
            found = f"Received: {len(with_tag.features)} in {positives}"
            raise InputError(f"{name} needs {FEWEST_POSITIVES} pictures at least, and fifty are better. {found}")
        sources, represented = _negatives(tagger.run, negatives)
        without = embed(tagger, sources, f"without {name}")
        head = fit(with_tag, without, represented)
        low = head.expected["auc_roc"][1]
        if not low > CHANCE:
            raise InputError(
                f"{name} cannot be told from other pictures by this run's features ({described(head)}): not added"
            )
        say(f"{len(with_tag.features):,} pictures with {name}, {len(without.features):,} without")
        _write(tagger, name, head, len(with_tag.features))
    return f"{name}: {described(head)}"


def described(head: Head) -> str:
    """What is expected of a tag, in words."""
    expected = head.expected
    area, average = ("{:.3f} ({:.3f} to {:.3f})".format(*expected[key]) for key in ("auc_roc", "average_precision"))
    at_threshold = f"precision {expected['precision']:.2f} and recall {expected['recall']:.2f} from {head.threshold:.3f} on"
    return f"expected AUC {area}, average precision {average}; {at_threshold}"


def embed(tagger: Tagger, sources: Iterable[Source], title: str) -> Examples:
    """The embeddings of pictures, of animations the first frame's; what cannot be read is named and left out."""
    trunk = tagger.network.trunk()
    embedder = replace(tagger, network=keras.Model(trunk.input, {"features": trunk.output}))
    features, thumbnails = [], []
    for prediction in tqdm(embedder.predict(sources, most_frames=1), desc=title, unit=" images", disable=None):
        if isinstance(prediction, Unreadable):
            say(f"left out: {prediction.source.name}: {prediction.reason}")
            continue
        features.append(keras.ops.convert_to_numpy(prediction.scores["features"])[0].astype(np.float32))
        thumbnails.append(duplicates.thumbnail_of(Image.fromarray(prediction.frames[0])))
    return Examples(np.array(features), thumbnails)


def _negatives(run: Run, folder: Path | None) -> tuple[Iterable[Source], int]:
    """Pictures without the tag, and how many pictures they stand for (0: for themselves)."""
    if folder:
        return inputs.find([str(folder)]), 0
    if not (Path(run.data) / "manifest.json").exists():
        raise InputError(f"{run.data}, whose pictures lack the tag, is not there: give --negatives FOLDER")
    stored = itertools.islice(records.read(Path(run.data), "train"), MOST_NEGATIVES)  # shards are in a random order
    return (Source(record.id, partial(bytes, record.image)) for record in stored), run.train_images


def fit(positives: Examples, negatives: Examples, represented: int) -> Head:
    """A regularised logistic regression, how good it is expected to be, and its threshold.

    Args:
        positives, negatives: pictures with and without the tag; of the latter, those that look like one of the former are
            left out.
        represented: how many pictures the negatives are a sample of; 0 if they are all.

    Raises:
        InputError: no negative is left, or the positives are all one picture.
    """
    number = len(positives.features)
    groups = _groups([*positives.thumbnails, *negatives.thumbnails])
    kept = np.r_[np.ones(number, bool), ~np.isin(groups[number:], groups[:number])]
    labels = (np.arange(len(kept)) < number)[kept]
    features, groups = np.concatenate([positives.features, negatives.features])[kept], groups[kept]
    for what, of in (("pictures with the tag", groups[labels]), ("pictures without it", groups[~labels])):
        if len(np.unique(of)) < FOLDS:
            raise InputError(f"{what} have to be {FOLDS} different ones at least. Received: {len(np.unique(of))}")
    weights = np.where(labels, 1.0, max(1.0, represented / np.sum(~labels)))
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6
    features = (features - mean) / deviation
    logits = {strength: _out_of_fold(features, labels, groups, strength) for strength in INVERSE_STRENGTHS}
    losses = {strength: np.mean(np.logaddexp(0, np.where(labels, -values, values))) for strength, values in logits.items()}
    best = min(losses, key=losses.get)
    # Platt's scaling; with weights for the pictures that the negatives stand for, it corrects how frequent the tag is too.
    platt = _regression(UNREGULARISED).fit(logits[best][:, None], labels, weights)
    probability = as_probability(platt.decision_function(logits[best][:, None]))
    threshold, expected = _expected(labels, probability, weights, groups)
    model, slope = _regression(best).fit(features, labels), float(platt.coef_[0, 0])
    row = slope * model.coef_[0] / deviation
    bias = slope * model.intercept_[0] + platt.intercept_[0] - row @ mean
    return Head(row.astype(np.float32), float(bias), threshold, expected | {"inverse_strength": best})


def _groups(thumbnails: list[bytes]) -> np.ndarray:
    """A number for each picture, the same for those that look alike: (pictures,)."""
    groups = np.arange(len(thumbnails))
    for one, two in duplicates.alike(thumbnails):
        groups[groups == groups[two]] = groups[one]
    return groups


def _regression(inverse_strength: float) -> LogisticRegression:
    return LogisticRegression(C=inverse_strength, max_iter=1000)


def _out_of_fold(features: np.ndarray, labels: np.ndarray, groups: np.ndarray, inverse_strength: float) -> np.ndarray:
    """The logit of each picture by a regression on the folds that it is not in: (pictures,)."""
    logits = np.empty(len(labels))
    for seen, held_out in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, labels, groups):
        logits[held_out] = (
            _regression(inverse_strength).fit(features[seen], labels[seen]).decision_function(features[held_out])
        )
    return logits


def _expected(labels: np.ndarray, probability: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> tuple[float, dict]:
    """The threshold of the best F1, and the figures; pictures count by their weights (pictures,)."""
    order = np.argsort(probability)
    labels, weights = labels[order], weights[order]
    # (pictures, 1 + resamples); each picture is a level of its own.
    drawn = resampling.group_weights(groups[order], 1) * weights[:, None]
    positives, negatives = drawn * labels[:, None], drawn * ~labels[:, None]
    hits, said = (counts[:, 0] for counts in metrics.accepted_from(positives, negatives))
    best = int(np.argmax(metrics.f_beta(hits, said, hits[0])))
    of = (positives, negatives)
    figures = {"auc_roc": metrics.auc_roc(*of), "average_precision": metrics.average_precision(*of)}
    expected = {key: [float(values[0]), *resampling.interval(values)] for key, values in figures.items()}
    at_threshold = {"precision": float(hits[best] / said[best]), "recall": float(hits[best] / hits[0])}
    return float(probability[order][best]), expected | at_threshold


def _write(tagger: Tagger, name: str, head: Head, positives: int) -> None:
    """Add the tag to the run folder, `model.keras` last."""
    run, network = tagger.run, tagger.network
    names = [tag.name for tag in run.tags]
    place = names.index(name) if name in names else len(names)
    tag = records.Tag(max(tag.tag_id for tag in run.tags) + 1, name, 0, positives)
    tags = [*run.tags[:place], tag, *run.tags[place + 1 :]]
    thresholds = np.append(tagger.thresholds, 0.0)[: len(tags)]
    thresholds[place] = head.threshold
    network = network.with_taught(
        place - (network.num_tags - network.num_taught), head.weights * tagger.temperature, head.bias * tagger.temperature
    )
    taught = run.folder / "taught.json"
    facts = records.read_json(taught) if taught.exists() else {}
    records.write_json(taught, facts | {name: {"positives": positives, "threshold": head.threshold, **head.expected}})
    runs.save_thresholds(replace(run, tags=tags), thresholds, tagger.temperature)
    records.write_tags(run.folder / "tags.csv", tags)
    runs.save_network(network, run.folder / "model.keras")
