"""Figures of the ratings, a group of tags of which exactly one holds: kept apart from the averages over tags."""

import numpy as np

from dataset.records import Tag
from evaluation.metrics import bootstrap
from evaluation.score import Scores
from inference.ratings import rating_mask
from model.run_folder import Run


def without_ratings(run: Run, outputs: np.ndarray, scores: Scores) -> tuple[np.ndarray, Scores]:
    """Return the outputs and the scores of the tags that are no ratings.

    Args:
        run: the run, whose ratings are left out.
        outputs: its output for each tag of the scores, int (tags,).
        scores: of these tags.
    """
    kept = rating_mask(run.tags)[outputs] == 0
    if kept.all():
        return outputs, scores
    return outputs[kept], scores.of_tags(kept)


def rating_figures(tags: list[Tag], scores: Scores) -> dict | None:
    """Return the figures of the ratings as `metrics.json` has them; None if no picture is rated.

    The predicted rating of a picture is the most probable one. Pictures without exactly one rating are left out.
    """
    columns = np.flatnonzero(rating_mask(tags))
    labels, probability = scores.labels[:, columns], scores.probability[:, columns]  # (images, ratings)
    rated = labels.sum(axis=1) == 1
    if not rated.any():
        return None
    true, predicted = labels[rated].argmax(axis=1), probability[rated].argmax(axis=1)
    confusion = np.zeros((len(columns), len(columns)), int)
    np.add.at(confusion, (true, predicted), 1)
    weights = bootstrap.group_weights(scores.groups[rated], len(columns))  # (images, 1 + resamples)
    right = (true == predicted).astype(np.float32)
    accuracy = right @ weights / weights.sum(axis=0)  # (1 + resamples,)
    recalls = np.diag(confusion) / np.maximum(confusion.sum(axis=1), 1)
    low, high = bootstrap.interval(accuracy)
    return {
        "images": int(rated.sum()),
        "accuracy": round(float(accuracy[0]), 6),
        "accuracy_interval": [round(float(low), 6), round(float(high), 6)],
        "accuracy_of_the_most_frequent": round(float(np.bincount(true).max() / len(true)), 6),
        "recall_macro": round(float(recalls[confusion.any(axis=1)].mean()), 6),
        "confusion": {
            tags[column].name: dict(zip((tags[other].name for other in columns), row, strict=True))
            for column, row in zip(columns, confusion.tolist(), strict=True)
        },
    }
