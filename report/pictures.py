"""The parts of the page that show pictures, as HTML with the pictures inside."""

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from dataset import images, records
from model.evaluation import Evaluation
from report import findings

SHOWN = 6  # of each kind
PAIRS_SHOWN = 12
MOST_TAGS = 8  # under a picture
THUMBNAIL = 160  # pixels


def best_and_worst(evaluation: Evaluation) -> str:
    """The pictures that the run knows best, and those that it knows worst."""
    scores, by_image = evaluation.scores, evaluation.figures.by_image
    best, worst = findings.best_and_worst(by_image["top_n_iou"], by_image["brier"], scores.labels, scores.groups, SHOWN)
    found = encoded(evaluation.data, {evaluation.split: {str(scores.ids[index]) for index in (*best, *worst)}})

    def shown(indices: list[int]) -> str:
        cards = (
            f"<div class=picture>{_image(found[evaluation.split, str(scores.ids[index])])}<ul>{_tags(evaluation, index)}</ul></div>"
            for index in indices
        )
        return f'<div class="pictures">{"".join(cards)}</div>'

    return (
        '<p class="note">By how many of the N best-scored tags are among the N true ones; no two of a group or with the same tags. Under each, '
        'its tags: <span class="right">given rightly</span>, <span class="wrong">given wrongly</span>, '
        f'<span class="missed">missed</span>, with probabilities.</p><h3>Best</h3>{shown(best)}<h3>Worst</h3>{shown(worst)}'
    )


def confident_mistakes(evaluation: Evaluation) -> str:
    """Where the run is surest that the labels are wrong."""
    scores = evaluation.scores
    names = [tag.name for tag in evaluation.tagger.run.tags]
    missing, wrong = findings.confident_mistakes(scores.labels, scores.probability, scores.groups, SHOWN)
    found = encoded(evaluation.data, {evaluation.split: {str(scores.ids[one.image]) for one in (*missing, *wrong)}})

    def shown(mistakes: list[findings.Mistake], kind: str) -> str:
        cards = []
        for one in mistakes:
            truth = ", ".join(names[tag] for tag in np.flatnonzero(scores.labels[one.image])) or "none"
            cards.append(
                f"<div class=picture>{_image(found[evaluation.split, str(scores.ids[one.image])])}"
                f'<span class="claim {kind}">{escape(names[one.tag])} {scores.probability[one.image, one.tag]:.3f}</span>'
                f"<span class=quiet>{escape(str(scores.ids[one.image]))}; labels: {escape(truth)}</span></div>"
            )
        return f'<div class="pictures">{"".join(cards)}</div>' if cards else "<p>None.</p>"

    return (
        "<p class=\"note\">The surest wrong decisions. Some are the tagger's mistakes, some the labels'.</p>"
        f"<h3>Perhaps missing labels: given, not labelled</h3>{shown(missing, 'wrong')}"
        f"<h3>Perhaps wrong labels: labelled, score next to nothing</h3>{shown(wrong, 'missed')}"
    )


def near_duplicates(evaluation: Evaluation) -> str:
    """Pictures of the split that are nearly those of another."""
    if not evaluation.duplicates:
        return f"<p>No picture of the {escape(evaluation.split)} split is nearly the same as one of another split.</p>"
    nearest = {}
    for pair in evaluation.duplicates:
        nearest.setdefault(pair[0], pair)
    shown = list(nearest.values())[:PAIRS_SHOWN]
    ids = evaluation.scores.ids
    wanted = {evaluation.split: {str(ids[position]) for position, *_ in shown}}
    for _, split, post_id, _ in shown:
        wanted.setdefault(split, set()).add(post_id)
    found = encoded(evaluation.data, wanted)
    cards = "".join(
        f"<div class=pair><div>{_image(found[evaluation.split, str(ids[position])])}{_image(found[split, post_id])}</div>"
        f"{escape(str(ids[position]))} and {escape(post_id)} ({split})</div>"
        for position, split, post_id, _ in shown
    )
    more = f" The {len(shown)} nearest are shown; <code>metrics.json</code> names all." if len(nearest) > len(shown) else ""
    return (
        f"<p>{len(nearest):,} of {len(ids):,} pictures are nearly the same, in structure and colours, as one of another split.{more}"
        " Pictures that belong together should share a group, and with it a split.</p>"
        f'<div class="pairs">{cards}</div>'
    )


def encoded(data: Path, wanted: dict[str, set[str]]) -> dict[tuple[str, str], bytes]:
    """The encoded pictures of some posts: (split, id) ▶ bytes."""
    found = {}
    for split, ids in wanted.items():
        left = set(ids)
        for record in records.read(data, split) if left else ():
            if record.id in left:
                found[split, record.id] = record.image
                left.remove(record.id)
                if not left:
                    break
    return found


def _image(data: bytes) -> str:
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
    names = [tag.name for tag in evaluation.tagger.run.tags]
    order = np.argsort(-probability)
    given = [(tag, "right" if labels[tag] else "wrong") for tag in order if accepted[tag]]
    missed = [(tag, "missed") for tag in order if labels[tag] and not accepted[tag]]
    kept = given[: max(MOST_TAGS - len(missed), MOST_TAGS // 2)]
    lines = [
        f'<li class="{kind}">{escape(names[tag])} {probability[tag]:.2f}</li>' for tag, kind in (kept + missed)[:MOST_TAGS]
    ]
    if more := len(given) + len(missed) - len(lines):
        lines.append(f'<li class="quiet">and {more} more</li>')
    return "".join(lines)
