"""A page and a table of the least certain labels for people to decide, and a reader of these decisions.

The page saves the answers as `decisions.csv`, with the columns `id,tag,decision`. Alternatively, people fill in the column
`decision` of `review.csv`. A decision is `yes` (the picture has the tag), `no`, or empty (undecided).
"""

import csv
from html import escape
from pathlib import Path

from common.errors import InputError
from common.files import write_csv
from dataset import records
from evaluation.report import page
from evaluation.report.html import breakable
from evaluation.report.pictures import embedded, grid
from labels.cleaning import Cleaning

ANSWERS = {"yes": True, "no": False, "": None}


def write(folder: Path, data: Path, cleaning: Cleaning, number: int) -> Path:
    """Write `review.csv` and `review.html`.

    Args:
        folder: folder for both files.
        data: data folder whose training split has the pictures.
        cleaning: the labels before and after cleaning.
        number: number of labels to show.

    Returns:
        Path of the page.
    """
    pairs = cleaning.most_changed(number)
    rows = []
    for row, tag in pairs:
        numbers = (f"{values[row, tag]:.3f}" for values in (cleaning.probability, cleaning.cleaned))
        rows.append((cleaning.ids[row], cleaning.tags[tag], int(cleaning.observed[row, tag]), *numbers, ""))
    write_csv(folder / "review.csv", ("id", "tag", "given", "probability", "label", "decision"), rows)
    pictures = records.images_by_id(data, "train", {cleaning.ids[row] for row, _ in pairs})
    body = (
        f"<h1>Uncertain labels of {escape(data.name)}</h1><p>The {len(pairs):,} labels that cleaning changes most, the "
        "largest change first. Does the picture have the tag? Undecided labels keep the value that clean.py computed.</p>"
        '<p><button id="save" disabled>Save decisions.csv</button> <span id="decided"></span></p>'
        + grid((_card(cleaning, row, tag, pictures[cleaning.ids[row]]) for row, tag in pairs), "picture")
    )
    return page.save(folder / "review.html", f"Uncertain labels of {data.name}", body, Path(__file__).with_name("review.js"))


def _card(cleaning: Cleaning, row: int, tag: int, picture: bytes) -> str:
    post_id, name = cleaning.ids[row], cleaning.tags[tag]
    label = "labelled" if cleaning.observed[row, tag] else "not labelled"
    answers = "".join(f'<button data-answer="{answer}" aria-pressed="false">{answer}</button> ' for answer in ("yes", "no"))
    return (
        f'{embedded(picture)}<span class="claim">{breakable(name)}?</span>'
        f'<span class="quiet">{label}; networks: {cleaning.probability[row, tag]:.3f}</span>'
        f'<div class="question" data-id="{escape(post_id)}" data-tag="{escape(name)}">{answers}</div>'
    )


def read_decisions(path: Path) -> dict[tuple[str, str], bool]:
    """Read people's decisions: (id of the picture, tag) ▶ whether it has the tag. Undecided labels are left out.

    Raises:
        InputError: the file is missing, or is not a table of decisions.
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
        if not post_id.strip() or not tag.strip() or "\0" in post_id + tag:
            raise InputError(
                f"{path}, row {number}: expected the id of a picture and a tag: correct the row or remove it. "
                f"Received: {','.join(map(str, row.values()))!r}"
            )
        if decision.strip().lower() not in ANSWERS:
            raise InputError(f"{path}, row {number}, {post_id}, {tag}: expected yes, no or nothing. Received: {decision!r}")
        answers[post_id, tag] = ANSWERS[decision.strip().lower()]
    return {pair: answer for pair, answer in answers.items() if answer is not None}
