"""A page and a table of the least certain labels for people to decide, and a reader of these decisions.

The page saves the answers as `decisions.csv`, with the columns `id,tag,decision`. Alternatively, people fill in the column
`decision` of `review.csv`. A decision is `yes` (the picture has the tag), `no`, or empty (undecided).
"""

import csv
from html import escape
from pathlib import Path

from common.errors import InputError, counted, cut, say
from common.files import write_csv
from dataset import records
from dataset.tag_text import NOT_IN_TAGS
from evaluation.report import page
from evaluation.report.html import breakable
from evaluation.report.pictures import embedded, grid
from labels.cleaning import Cleaning

COLUMNS = ("id", "tag", "decision")
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
        f"<h1>Uncertain labels of {escape(data.name)}</h1>"
        f"<p>The {counted(len(pairs), 'label')} that cleaning changes most, the "
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
        InputError: the file is missing, is not a table of decisions, or contradicts itself.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or (), [(reader.line_num, row) for row in reader]
    except OSError as error:
        expected = "expected decisions.csv of a review page, or review.csv filled in"
        raise InputError(f"{path} cannot be read ({error.strerror}): {expected}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a table in UTF-8. Received: {error}") from None
    if not set(COLUMNS) <= set(columns):
        received = cut(",".join(columns)) or "an empty file"
        raise InputError(f"{path}: expected the columns {','.join(COLUMNS)}, separated by commas. Received: {received}")
    answers: dict[tuple[str, str], tuple[bool, int]] = {}
    for line, row in rows:
        where = f"{path}, line {line}"
        post_id, tag, decision = _cells(row, where)
        if decision.lower() not in ANSWERS:
            received = f"{cut(post_id)}, {cut(tag)}: expected yes, no or nothing. Received: {cut(decision)!r}"
            raise InputError(f"{where}, {received}")
        if (answer := ANSWERS[decision.lower()]) is None:
            continue
        before, first = answers.setdefault((post_id, tag), (answer, line))
        if before is not answer:
            both = f"{cut(post_id)}, {cut(tag)}: line {first} says {'yes' if before else 'no'}"
            raise InputError(f"{where}, {both}, and this line {decision}: remove one of them")
    if not answers:
        undecided = counted(len(rows), "row is undecided", "rows are undecided") if rows else "there are no rows"
        say(f"{path} has no decisions: {undecided}")
    return {pair: answer for pair, (answer, _) in answers.items()}


def _cells(row: dict, where: str) -> tuple[str, str, str]:
    """Return id, tag and decision of a row; raise an InputError that says what is wrong with it.

    Args:
        row: the row. `csv.DictReader` puts None where cells are missing, and further cells under None.
        where: the file and the line, for the message.
    """
    cells = [cell for cell in row.values() if isinstance(cell, str)] + row.get(None, [])
    received = f"correct the line or remove it. Received: {cut(','.join(cells))!r}"
    post_id, tag, decision = (row[column] for column in COLUMNS)
    if missing := [column for column in COLUMNS if row[column] is None]:
        raise InputError(f"{where}: the row is too short, it has no {' and no '.join(missing)}: {received}")
    if any(cell.strip() for cell in row.get(None, [])):
        columns = counted(len(row) - 1, "column")
        raise InputError(f"{where}: {counted(len(cells), 'cell')} in a table of {columns} (quote commas): {received}")
    if empty := [column for column, cell in (("id", post_id), ("tag", tag)) if not cell.strip()]:
        raise InputError(f"{where}: expected the id of a picture and a tag, but {' and '.join(empty)} is empty: {received}")
    if "\0" in post_id or NOT_IN_TAGS.search(tag.strip()):  # a line break is one, after a quote without an end
        raise InputError(f"{where}: expected the id of a picture and a tag without control characters: {received}")
    return post_id, tag.strip(), decision.strip()
