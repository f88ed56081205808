"""Pictures, mistakes and confused tags for the report, chosen by functions of labels, scores and groups alone."""

from dataclasses import dataclass

import numpy as np

from common.mapped_arrays import read_rows

CONFUSABLE_TAGS = 500  # tags with the most false positives; only these are examined for confusions
BLOCK_IMAGES = 1024


@dataclass(frozen=True)
class Mistake:
    """A confident decision that contradicts the labels: positions of the image and of the tag."""

    image: int
    tag: int


@dataclass(frozen=True)
class Confusion:
    """Two tags that occur together, of which one is predicted wrongly where only the other is true.

    Attributes:
        true, predicted: positions of the tags.
        images: number of images with the first tag and without the second.
        false_positives: for how many of these images the second tag is predicted.
        elsewhere: share of the images without either tag for which the second is predicted.
    """

    true: int
    predicted: int
    images: int
    false_positives: int
    elsewhere: float


def best_and_worst(
    overlap: np.ndarray, error: np.ndarray, labels: np.ndarray, groups: np.ndarray, number: int
) -> tuple[list[int], list[int]]:
    """Return the images whose tags with the highest scores agree most, and least, with the true tags.

    Args:
        overlap: intersection over union of the N tags with the highest scores and the N true tags, (images,); NaN for an
            image without a tag.
        error: decides between images of equal overlap, lower is better, (images,).
        labels: bool (images, tags).
        groups: (images,).
        number: how many images of each kind, at most.

    Returns:
        Positions of the best, the best first, and of the worst, the worst first: no two of one group or with the same tags.
    """
    order = [int(index) for index in np.lexsort((error, -overlap)) if not np.isnan(overlap[index])]
    seen = set()

    def choose(candidates: list[int]) -> list[int]:
        chosen = []
        for index in candidates:
            keys = {("group", str(groups[index])), ("tags", labels[index].tobytes())}
            if len(chosen) < number and not keys & seen:
                chosen.append(index)
                seen.update(keys)
        return chosen

    return choose(order), choose(order[::-1])


def confident_mistakes(
    labels: np.ndarray, probability: np.ndarray, groups: np.ndarray, number: int, max_per_tag: int = 2
) -> tuple[list[Mistake], list[Mistake]]:
    """Return the pairs of image and tag with the highest scores among those without a label, and the lowest with one.

    Args:
        labels: bool (images, tags).
        probability: float (images, tags).
        groups: (images,); at most one mistake of a group is returned.
        number: how many mistakes of each kind, at most.
        max_per_tag: how many of them may concern one tag.

    Returns:
        Labels that may be missing, and labels that may be wrong, the most confident mistake first.
    """
    kinds = []
    for labelled in (False, True):
        images, tags = _most_confident(labels, probability, labelled, 200 * number)
        chosen, seen, count_of_tag = [], set(), {}
        for image, tag in zip(images.tolist(), tags.tolist(), strict=True):
            if len(chosen) < number and groups[image] not in seen and count_of_tag.get(tag, 0) < max_per_tag:
                chosen.append(Mistake(image, tag))
                seen.add(groups[image])
                count_of_tag[tag] = count_of_tag.get(tag, 0) + 1
        kinds.append(chosen)
    return kinds[0], kinds[1]


def confusions(
    labels: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, number: int, min_count: int = 3
) -> list[Confusion]:
    """Return pairs of tags that occur together and are confused, the pair with the most false positives first.

    Args:
        labels: bool (images, tags).
        probability: float (images, tags).
        thresholds: (tags,), the probability from which a tag is predicted.
        number: how many pairs, at most.
        min_count: false positives that a pair must have.
    """
    blocks = [slice(start, start + BLOCK_IMAGES) for start in range(0, len(labels), BLOCK_IMAGES)]
    all_wrong, positives = np.zeros(labels.shape[1], np.int64), np.zeros(labels.shape[1], np.int64)
    for rows in blocks:
        truth, scores = read_rows(rows, labels, probability)
        all_wrong += np.sum((scores >= thresholds) & ~truth, axis=0)
        positives += truth.sum(axis=0)
    columns = np.argsort(-all_wrong, kind="stable")[:CONFUSABLE_TAGS]
    wrong = np.zeros((labels.shape[1], len(columns)))  # images with the row's tag and a false positive of the column's tag
    together = np.zeros_like(wrong)
    for rows in blocks:
        truth, scores = read_rows(rows, labels, probability)
        predicted = scores[:, columns] >= thresholds[columns]
        wrong += truth.T.astype(np.float32) @ (predicted & ~truth[:, columns]).astype(np.float32)
        together += truth.T.astype(np.float32) @ truth[:, columns].astype(np.float32)
    images = positives[:, None] - together
    others = len(labels) - images - positives[columns]
    elsewhere = (all_wrong[columns] - wrong) / np.maximum(others, 1)
    excess = np.where((together > 0) & (wrong >= min_count), wrong - images * elsewhere, 0)
    pairs = []
    for pair in np.argsort(-excess, axis=None, kind="stable")[:number]:
        tag, column = np.unravel_index(pair, excess.shape)
        if excess[tag, column] > 0:
            counts = int(images[tag, column]), int(wrong[tag, column])
            pairs.append(Confusion(int(tag), int(columns[column]), *counts, float(elsewhere[tag, column])))
    return pairs


def _most_confident(labels: np.ndarray, scores: np.ndarray, labelled: bool, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images and tags of the lowest scores with a label, or the highest without, and avoid sorting all scores."""
    sign = 1 if labelled else -1
    parts = []
    for start in range(0, len(scores), BLOCK_IMAGES):
        rows = slice(start, start + BLOCK_IMAGES)
        truth, part = read_rows(rows, labels, scores)
        block = np.where(truth == labelled, sign * part, np.inf).ravel()
        lowest = np.argpartition(block, min(number, len(block) - 1))[:number]
        lowest = lowest[np.isfinite(block[lowest])]
        parts.append((block[lowest], lowest + start * scores.shape[1]))
    keys, places = (np.concatenate(values) for values in zip(*parts, strict=True))
    rows_found, columns_found = np.unravel_index(places[np.lexsort((places, keys))][:number], scores.shape)
    return rows_found, columns_found
