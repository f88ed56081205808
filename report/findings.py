"""What in a split is worth looking at: pure functions of labels, scores and groups."""

from dataclasses import dataclass

import numpy as np

CONFUSABLE_TAGS = 500  # wrongly given tags that are looked at, the most frequent first
BLOCK_IMAGES = 1024


@dataclass(frozen=True)
class Mistake:
    """A decision that the tagger is sure of and the labels deny: positions of the image and of the tag."""

    image: int
    tag: int


@dataclass(frozen=True)
class Confusion:
    """Two tags that occur together, of which one is given wrongly where only the other is true.

    Attributes:
        true, given: positions of the tags.
        images: images with the first and without the second.
        wrongly: how many of them were given the second.
        elsewhere: share of the images without either that were given the second.
    """

    true: int
    given: int
    images: int
    wrongly: int
    elsewhere: float


def best_and_worst(
    overlap: np.ndarray, error: np.ndarray, labels: np.ndarray, groups: np.ndarray, number: int
) -> tuple[list[int], list[int]]:
    """Images whose best-scored tags are most, and least, the true ones.

    Args:
        overlap: of the N best-scored and the N true tags, (images,); NaN where an image has no tag.
        error: decides between equal ones, lower is better, (images,).
        labels: bool (images, tags).
        groups: (images,).
        number: how many of each, at most.

    Returns:
        Positions of the best, the best first, and of the worst, the worst first: no two of one group or with the same tags.
    """
    order = [int(index) for index in np.lexsort((error, -overlap)) if not np.isnan(overlap[index])]
    seen = set()

    def varied(candidates: list[int]) -> list[int]:
        chosen = []
        for index in candidates:
            facts = {("group", str(groups[index])), ("tags", labels[index].tobytes())}
            if len(chosen) < number and not facts & seen:
                chosen.append(index)
                seen.update(facts)
        return chosen

    return varied(order), varied(order[::-1])


def confident_mistakes(
    labels: np.ndarray, probability: np.ndarray, groups: np.ndarray, number: int, most_a_tag: int = 2
) -> tuple[list[Mistake], list[Mistake]]:
    """Tags with the highest scores that the labels lack, and tags with the lowest scores that they have.

    Args:
        labels: bool (images, tags).
        probability: float (images, tags).
        groups: (images,); one mistake of each is enough.
        number: how many of each kind, at most.
        most_a_tag: how many of them may be about one tag.

    Returns:
        Perhaps missing labels, and perhaps wrong ones, the surest first.
    """
    kinds = []
    for labelled in (False, True):
        images, tags = _surest(labels, probability, labelled, 200 * number)
        chosen, seen, of_tag = [], set(), {}
        for image, tag in zip(images.tolist(), tags.tolist(), strict=True):
            if len(chosen) < number and groups[image] not in seen and of_tag.get(tag, 0) < most_a_tag:
                chosen.append(Mistake(image, tag))
                seen.add(groups[image])
                of_tag[tag] = of_tag.get(tag, 0) + 1
        kinds.append(chosen)
    return kinds[0], kinds[1]


def confusions(
    labels: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, number: int, fewest: int = 3
) -> list[Confusion]:
    """Pairs of tags that occur together and are confused, those that cost most wrong tags first.

    Args:
        labels: bool (images, tags).
        probability: float (images, tags).
        thresholds: (tags,), the probability from which a tag is given.
        number: how many, at most.
        fewest: wrongly given tags that a pair must have.
    """
    blocks = [slice(start, start + BLOCK_IMAGES) for start in range(0, len(labels), BLOCK_IMAGES)]
    all_wrong = sum(np.sum((probability[rows] >= thresholds) & ~labels[rows], axis=0) for rows in blocks)
    given = np.argsort(-all_wrong, kind="stable")[:CONFUSABLE_TAGS]
    wrongly = np.zeros((labels.shape[1], len(given)))  # images with the one tag that were wrongly given the other
    together = np.zeros_like(wrongly)
    for rows in blocks:
        truth, said = labels[rows].T.astype(np.float32), probability[rows][:, given] >= thresholds[given]
        wrongly += truth @ (said & ~labels[rows][:, given]).astype(np.float32)
        together += truth @ labels[rows][:, given].astype(np.float32)
    positives = labels.sum(axis=0)
    images = positives[:, None] - together
    others = len(labels) - images - positives[given]
    elsewhere = (all_wrong[given] - wrongly) / np.maximum(others, 1)
    excess = np.where((together > 0) & (wrongly >= fewest), wrongly - images * elsewhere, 0)
    found = []
    for pair in np.argsort(-excess, axis=None, kind="stable")[:number]:
        tag, column = np.unravel_index(pair, excess.shape)
        if excess[tag, column] > 0:
            counts = int(images[tag, column]), int(wrongly[tag, column])
            found.append(Confusion(int(tag), int(given[column]), *counts, float(elsewhere[tag, column])))
    return found


def _surest(labels: np.ndarray, scores: np.ndarray, labelled: bool, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and tags of the lowest scores among labels, or the highest among the others, without sorting all of them."""
    sign = 1 if labelled else -1
    found = []
    for start in range(0, len(scores), BLOCK_IMAGES):
        rows = slice(start, start + BLOCK_IMAGES)
        block = np.where(labels[rows] == labelled, sign * scores[rows], np.inf).ravel()
        lowest = np.argpartition(block, min(number, len(block) - 1))[:number]
        lowest = lowest[np.isfinite(block[lowest])]
        found.append((block[lowest], lowest + start * scores.shape[1]))
    keys, places = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return np.unravel_index(places[np.lexsort((places, keys))][:number], scores.shape)
