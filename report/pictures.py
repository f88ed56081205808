"""The parts of the page that show pictures, as HTML with the pictures inside."""

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from dataset import images, records
from model.evaluation import Evaluation
from report import findings
from report.sections import breakable

SHOWN = 6  # of each kind
PAIRS_SHOWN = 12
MOST_TAGS = 8  # under a picture
THUMBNAIL = 160  # pixels

Encoded = dict[tuple[str, str], bytes]  # (split, id) ▶ an encoded picture


def best_and_worst(evaluation: Evaluation) -> str:
    """The pictures that the run knows best, and those that it knows worst."""
    scores, by_image = evaluation.scores, evaluation.figures.by_image
    overlap, error = by_image["top_n_iou"], by_image["brier"]
    best, worst = findings.best_and_worst(overlap, error, scores.labels, scores.groups, SHOWN)
    found = _of_split(evaluation, [*best, *worst])

    def shown(positions: list[int]) -> str:
        cards = (f"{_image(found, evaluation, index)}<ul>{_tags(evaluation, index)}</ul>" for index in positions)
        return grid(cards, "picture")

    return (
        '<p class="note">By how many of the N best-scored tags are among the N true ones; no two of a group or with the '
        'same tags. Under each, its tags: <span class="right">given rightly</span>, <span class="wrong">given wrongly'
        '</span>, <span class="missed">missed</span>, with probabilities.</p>'
        f"<h3>Best</h3>{shown(best)}<h3>Worst</h3>{shown(worst)}"
    )


def confident_mistakes(evaluation: Evaluation) -> str:
    """Where the run is surest that the labels are wrong."""
    scores = evaluation.scores
    names = [breakable(tag.name) for tag in evaluation.tagger.run.tags]
    missing, wrong = findings.confident_mistakes(scores.labels, scores.probability, scores.groups, SHOWN)
    found = _of_split(evaluation, [mistake.image for mistake in (*missing, *wrong)])

    def card(mistake: findings.Mistake, kind: str) -> str:
        image, tag = mistake.image, mistake.tag
        truth = ", ".join(names[other] for other in np.flatnonzero(scores.labels[image])) or "none"
        return (
            f"{_image(found, evaluation, image)}"
            f'<span class="claim {kind}">{names[tag]} {scores.probability[image, tag]:.3f}</span>'
            f'<span class="quiet">{escape(str(scores.ids[image]))}; labels: {truth}</span>'
        )

    return (
        "<p class=\"note\">The surest wrong decisions. Some are the tagger's mistakes, some the labels'.</p>"
        "<h3>Perhaps missing labels: high score, not labelled</h3>"
        + grid((card(mistake, "wrong") for mistake in missing), "picture")
        + "<h3>Perhaps wrong labels: labelled, score next to nothing</h3>"
        + grid((card(mistake, "missed") for mistake in wrong), "picture")
    )


def near_duplicates(evaluation: Evaluation) -> str:
    """Pictures of the split that are nearly those of another."""
    if not evaluation.leaks:
        return f"<p>No picture of the {escape(evaluation.split)} split is nearly the same as one of another split.</p>"
    nearest = {}
    for pair in evaluation.leaks:
        nearest.setdefault(pair[0], pair)
    shown = list(nearest.values())[:PAIRS_SHOWN]
    ids = evaluation.scores.ids
    found = _of_split(evaluation, [position for position, *_ in shown])
    for split in {split for _, split, *_ in shown}:
        of_split = {post_id for _, of, post_id in shown if of == split}
        found |= _keyed(split, records.images_of(evaluation.data, split, of_split))
    cards = (
        f"<div>{_image(found, evaluation, position)}{embedded(found[split, post_id])}</div>"
        f"{escape(str(ids[position]))} and {escape(post_id)} ({split})"
        for position, split, post_id in shown
    )
    more = f"The {len(shown)} nearest are shown; <code>metrics.json</code> names all." if len(nearest) > len(shown) else ""
    return (
        f"<p>{len(nearest):,} of {len(ids):,} pictures are nearly the same, in structure and colours, as one of another "
        f"split. Pictures that belong together should share a group, and with it a split. {more}</p>{grid(cards, 'pair')}"
    )


def _of_split(evaluation: Evaluation, positions: list[int]) -> Encoded:
    ids = {str(evaluation.scores.ids[position]) for position in positions}
    return _keyed(evaluation.split, records.images_of(evaluation.data, evaluation.split, ids))


def _keyed(split: str, found: dict[str, bytes]) -> Encoded:
    return {(split, post_id): data for post_id, data in found.items()}


def grid(cards, kind: str) -> str:
    """Cards side by side, `picture` or `pair`."""
    inside = "".join(f'<div class="{kind}">{card}</div>' for card in cards)
    return f'<div class="{kind}s">{inside}</div>' if inside else "<p>None.</p>"


def _image(found: Encoded, evaluation: Evaluation, position: int) -> str:
    return embedded(found[evaluation.split, str(evaluation.scores.ids[position])])


def embedded(data: bytes) -> str:
    """An `img` with a small JPEG inside."""
    picture = images.decode(data)
    if max(picture.size) > THUMBNAIL:
        picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        small = io.BytesIO()
        picture.save(small, "JPEG", quality=85)
        data = small.getvalue()
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'


def _tags(evaluation: Evaluation, image: int) -> str:
    """The tags that one picture was given, best first, and those that it should have been given."""
    labels, probability = evaluation.scores.labels[image], evaluation.scores.probability[image]
    accepted = probability >= evaluation.tagger.thresholds
    order = np.argsort(-probability)
    given = [(tag, "right" if labels[tag] else "wrong") for tag in order if accepted[tag]]
    missed = [(tag, "missed") for tag in order if labels[tag] and not accepted[tag]]
    kept = (given[: max(MOST_TAGS - len(missed), MOST_TAGS // 2)] + missed)[:MOST_TAGS]
    names = [breakable(tag.name) for tag in evaluation.tagger.run.tags]
    lines = [f'<li class="{kind}">{names[tag]} {probability[tag]:.2f}</li>' for tag, kind in kept]
    if more := len(given) + len(missed) - len(kept):
        lines.append(f'<li class="quiet">and {more} more</li>')
    return "".join(lines)
