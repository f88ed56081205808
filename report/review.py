"""The labels that are most in doubt, for a person to decide: a page and a table, and the decisions read back.

The page saves its answers as `decisions.csv`, which has the columns `id,tag,decision`; the column `decision` of `review.csv`
can be filled in instead. A decision is `yes`, the picture has the tag, or `no`; without one, nothing is decided.
"""

import csv
from html import escape
from pathlib import Path

from command import InputError
from dataset import records
from model.cleaning import Cleaning
from report import page
from report.pictures import embedded, grid
from report.sections import breakable

ANSWERS = {"yes": True, "no": False, "": None}


def write(folder: Path, data: Path, found: Cleaning, number: int) -> Path:
    """Write `review.csv` and `review.html`.

    Args:
        folder: where.
        data: folder whose training split has the pictures.
        found: the labels.
        number: of those to show.

    Returns:
        The page's path.
    """
    doubts = found.doubts(number)
    partial = folder / "review.partial"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "tag", "given", "probability", "label", "decision"))
        for row, tag in doubts:
            numbers = (f"{values[row, tag]:.3f}" for values in (found.probability, found.cleaned))
            writer.writerow((found.ids[row], found.tags[tag], int(found.given[row, tag]), *numbers, ""))
    partial.replace(folder / "review.csv")
    pictures = records.images_of(data, "train", {found.ids[row] for row, _ in doubts})
    body = (
        f"<h1>Labels of {escape(data.name)} in doubt</h1><p>The {len(doubts):,} that change most, the most doubtful first. "
        "Does the picture have the tag? What you leave open keeps the label that clean.py gave it.</p>"
        '<p><button id="save" disabled>Save decisions.csv</button> <span id="decided"></span></p>'
        + grid((_card(found, row, tag, pictures[found.ids[row]]) for row, tag in doubts), "picture")
    )
    return page.save(folder / "review.html", f"Labels of {data.name} in doubt", body, "review.js")


def _card(found: Cleaning, row: int, tag: int, picture: bytes) -> str:
    said = "labelled" if found.given[row, tag] else "not labelled"
    answers = "".join(f'<button data-answer="{answer}" aria-pressed="false">{answer}</button> ' for answer in ("yes", "no"))
    return (
        f'{embedded(picture)}<span class="claim">{breakable(found.tags[tag])}?</span>'
        f'<span class="quiet">{said}; networks: {found.probability[row, tag]:.3f}</span>'
        f'<div class="doubt" data-id="{escape(found.ids[row])}" data-tag="{escape(found.tags[tag])}">{answers}</div>'
    )


def read_decisions(path: Path) -> dict[tuple[str, str], bool]:
    """What a person decided: (id of the picture, tag) ▶ whether it has the tag.

    Raises:
        InputError: the file is missing, or is something else.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        expected = "expected decisions.csv of a review page, or review.csv filled in"
        raise InputError(f"{path} cannot be read ({error.strerror}): {expected}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a table in UTF-8. Received: {error}") from None
    answers = {}
    for number, row in enumerate(rows, 1):
        post_id, tag, decision = (row.get(column) for column in ("id", "tag", "decision"))
        if post_id is None or tag is None or decision is None:
            columns = ",".join(map(str, row))
            raise InputError(f"{path}: expected the columns id,tag,decision, separated by commas. Received: {columns}")
        if decision.strip().lower() not in ANSWERS:
            raise InputError(f"{path}, row {number}, {post_id}, {tag}: expected yes, no or nothing. Received: {decision!r}")
        answers[post_id, tag] = ANSWERS[decision.strip().lower()]
    return {pair: answer for pair, answer in answers.items() if answer is not None}
