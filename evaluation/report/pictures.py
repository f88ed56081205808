"""The sections of the report that show pictures, as HTML with the pictures inside."""

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from dataset import images, records
from evaluation.evaluate import Evaluation
from evaluation.report import findings
from evaluation.report.html import breakable

SHOWN = 6  # of each kind
PAIRS_SHOWN = 12
MAX_TAGS = 8  # under a picture
THUMBNAIL = 160  # pixels

Encoded = dict[tuple[str, str], bytes]  # (split, id) ▶ an encoded picture


def best_and_worst(evaluation: Evaluation) -> str:
    """Return the section of the pictures with the best and the worst predictions."""
    scores, by_image = evaluation.scores, evaluation.figures.by_image
    overlap, error = by_image["top_n_iou"], by_image["brier"]
    best, worst = findings.best_and_worst(overlap, error, scores.labels, scores.groups, SHOWN)
    pictures = _pictures_at(evaluation, [*best, *worst])

    def shown(positions: list[int]) -> str:
        cards = (f"{_image(pictures, evaluation, index)}<ul>{_tags(evaluation, index)}</ul>" for index in positions)
        return grid(cards, "picture")

    return (
        '<p class="note">Ordered by how many of the N tags with the highest scores are among the N true tags; no two '
        'pictures are of one group or have the same tags. Tags with their probabilities: <span class="right">predicted and '
        'true</span>, <span class="wrong">predicted and not true</span>, <span class="missed">missed</span>.</p>'
        f"<h3>Best</h3>{shown(best)}<h3>Worst</h3>{shown(worst)}"
    )


def confident_mistakes(evaluation: Evaluation) -> str:
    """Return the section of the most confident decisions that contradict the labels."""
    scores = evaluation.scores
    names = [breakable(tag.name) for tag in evaluation.tags]
    missing, wrong = findings.confident_mistakes(scores.labels, scores.probability, scores.groups, SHOWN)
    pictures = _pictures_at(evaluation, [mistake.image for mistake in (*missing, *wrong)])

    def card(mistake: findings.Mistake, kind: str) -> str:
        image, tag = mistake.image, mistake.tag
        truth = ", ".join(names[other] for other in np.flatnonzero(scores.labels[image])) or "none"
        return (
            f"{_image(pictures, evaluation, image)}"
            f'<span class="claim {kind}">{names[tag]} {scores.probability[image, tag]:.3f}</span>'
            f'<span class="quiet">{escape(str(scores.ids[image]))}; labels: {truth}</span>'
        )

    return (
        '<p class="note">The most confident wrong decisions. In some the tagger is wrong, in others the label.</p>'
        "<h3>Labels that may be missing: high score, no label</h3>"
        + grid((card(mistake, "wrong") for mistake in missing), "picture")
        + "<h3>Labels that may be wrong: label, very low score</h3>"
        + grid((card(mistake, "missed") for mistake in wrong), "picture")
    )


def near_duplicates(evaluation: Evaluation) -> str:
    """Return the section of the pictures that are nearly the same as one of another split."""
    if not evaluation.leaks:
        return f"<p>No picture of the {escape(evaluation.split)} split is nearly the same as one of another split.</p>"
    nearest = {}
    for pair in evaluation.leaks:
        nearest.setdefault(pair[0], pair)
    shown = list(nearest.values())[:PAIRS_SHOWN]
    ids = evaluation.scores.ids
    pictures = _pictures_at(evaluation, [position for position, *_ in shown])
    for split in {split for _, split, *_ in shown}:
        others = {post_id for _, other_split, post_id in shown if other_split == split}
        pictures |= _read(evaluation, split, others)
    cards = (
        f"<div>{_image(pictures, evaluation, position)}{embedded(pictures[split, post_id])}</div>"
        f"{escape(str(ids[position]))} and {escape(post_id)} ({split})"
        for position, split, post_id in shown
    )
    more = (
        f"The {len(shown)} most similar are shown; <code>metrics.json</code> lists all." if len(nearest) > len(shown) else ""
    )
    return (
        f"<p>{len(nearest):,} of {len(ids):,} pictures have nearly the same structure and colours as one of another "
        f"split. Variants of a picture should be in one group, and so in one split. {more}</p>{grid(cards, 'pair')}"
    )


def _pictures_at(evaluation: Evaluation, positions: list[int]) -> Encoded:
    """Read the evaluated pictures at some positions."""
    return _read(evaluation, evaluation.split, {str(evaluation.scores.ids[position]) for position in positions})


def _read(evaluation: Evaluation, split: str, ids: set[str]) -> Encoded:
    return {(split, post_id): data for post_id, data in records.images_by_id(evaluation.data, split, ids).items()}


def grid(cards, kind: str) -> str:
    """Return cards side by side; `kind` is their class, `picture` or `pair`."""
    inside = "".join(f'<div class="{kind}">{card}</div>' for card in cards)
    return f'<div class="{kind}s">{inside}</div>' if inside else "<p>None.</p>"


def _image(pictures: Encoded, evaluation: Evaluation, position: int) -> str:
    return embedded(pictures[evaluation.split, str(evaluation.scores.ids[position])])


def embedded(data: bytes) -> str:
    """Return an `img` element with a small JPEG inside."""
    picture = images.decode(data)
    if max(picture.size) > THUMBNAIL:
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        small = io.BytesIO()
        picture.save(small, "JPEG", quality=85)
        data = small.getvalue()
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'


def _tags(evaluation: Evaluation, image: int) -> str:
    """Return the predicted tags of one picture, highest score first, and the missed ones."""
    labels, probability = evaluation.scores.labels[image], evaluation.scores.probability[image]
    accepted = probability >= evaluation.thresholds
    order = np.argsort(-probability)
    predicted = [(tag, "right" if labels[tag] else "wrong") for tag in order if accepted[tag]]
    missed = [(tag, "missed") for tag in order if labels[tag] and not accepted[tag]]
    shown = (predicted[: max(MAX_TAGS - len(missed), MAX_TAGS // 2)] + missed)[:MAX_TAGS]
    names = [breakable(tag.name) for tag in evaluation.tags]
    lines = [f'<li class="{kind}">{names[tag]} {probability[tag]:.2f}</li>' for tag, kind in shown]
    if more := len(predicted) + len(missed) - len(shown):
        lines.append(f'<li class="quiet">and {more} more</li>')
    return "".join(lines)
