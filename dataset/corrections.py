"""People's corrections of labels, in a table beside the data folder, which outlives the folder.

`data/NAME-corrections.csv` belongs to `data/NAME`. A row holds one decision about one picture and one tag, and where it came
from. download.py applies the table when it makes the folder, and improve.py adds to it.
"""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from common.errors import InputError, cut
from common.files import write_csv
from dataset.records import NUMBER, RATING

COLUMNS = ("md5", "id", "tag", "decision", "source", "time")
ANSWERS = {"yes": True, "no": False}


@dataclass(frozen=True)
class Correction:
    """What a person decided about one tag of one picture.

    Attributes:
        md5: MD5 of the picture's original file; empty if unknown.
        id: id of its post; empty if unknown. At least one of the two is known.
        tag: name of the tag.
        has_tag: whether the picture has it.
        source: the file that the decision was read from, or `text beside the picture`.
        time: when it was made, in UTC, as `time_of` writes it; sorts by time.
    """

    md5: str
    id: str
    tag: str
    has_tag: bool
    source: str
    time: str


def time_of(seconds: float) -> str:
    """Return seconds since 1970-01-01 as a text that sorts by time, such as 2026-11-26T20:43:12.123Z."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def table_path(data: Path) -> Path:
    """Return the table of corrections of a data folder, which may not exist."""
    folder = data if data.name not in ("", "..") else data.resolve()
    return folder.with_name(f"{folder.name}-corrections.csv")


def read_table(path: Path) -> list[Correction]:
    """Read a table of corrections; return an empty list if there is none.

    Raises:
        InputError: the file is not such a table.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or (), [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a table in UTF-8. Received: {error}") from None
    if rows and not set(COLUMNS[:4]) <= set(columns):
        received = cut(",".join(columns))
        raise InputError(f"{path}: expected the columns {','.join(COLUMNS)}, separated by commas. Received: {received}")
    corrections = []
    for line, row in rows:
        md5, post_id, tag, decision, source, time = (row.get(column) or "" for column in COLUMNS)
        if not tag or not (md5 or post_id):
            received = cut(",".join(cell for cell in row.values() if isinstance(cell, str)))
            empty = "the tag is" if md5 or post_id else "both are"
            expected = f"expected a tag, and an md5 or an id, but {empty} empty"
            raise InputError(f"{path}, line {line}: {expected}: correct the line or remove it. Received: {received!r}")
        if decision.strip().lower() not in ANSWERS:
            expected = f"{cut(tag)}: expected yes or no: correct the line"
            raise InputError(f"{path}, line {line}, {expected}. Received: {cut(decision)!r}")
        corrections.append(Correction(md5, post_id, tag, ANSWERS[decision.strip().lower()], source or "", time or ""))
    return corrections


def write_table(path: Path, corrections: Iterable[Correction]) -> None:
    """Write a table of corrections, ordered by picture and tag."""
    ordered = sorted(corrections, key=lambda correction: (correction.id, correction.md5, correction.tag))
    rows = ((each.md5, each.id, each.tag, "yes" if each.has_tag else "no", each.source, each.time) for each in ordered)
    write_csv(path, COLUMNS, rows)


def merge(known: Iterable[Correction], new: Iterable[Correction]) -> list[Correction]:
    """Return the last decision about each picture and tag; of two with the same time, the known one.

    Args:
        known: the corrections that a table holds.
        new: further ones, perhaps the same again.
    """
    last: dict[tuple[str, str], Correction] = {}
    for correction in (*known, *new):
        key = (correction.md5 or f"id {correction.id}", correction.tag)
        if key not in last or correction.time > last[key].time:
            last[key] = correction
    return list(last.values())


class Decisions:
    """Corrections by picture, which are found by MD5 or by id.

    Args:
        corrections: at most one for each picture and tag, see `merge`.
    """

    def __init__(self, corrections: Iterable[Correction]):
        self._by_md5: dict[str, dict[str, bool]] = {}
        self._by_id: dict[str, dict[str, bool]] = {}
        self.added: set[str] = set()  # tags that a picture has by one of them
        for correction in corrections:
            self.added |= {correction.tag} if correction.has_tag else set()
            known, name = (self._by_md5, correction.md5) if correction.md5 else (self._by_id, correction.id)
            known.setdefault(name, {})[correction.tag] = correction.has_tag
            if correction.id:
                self._by_id.setdefault(correction.id, {}).setdefault(correction.tag, correction.has_tag)

    def decided_about(self, post_id: str, md5: str) -> dict[str, bool]:
        """Return tag ▶ whether the picture has it, for the tags that people decided."""
        return self._by_id.get(post_id, {}) | self._by_md5.get(md5, {})


def correctable(names: Iterable[str], categories: Iterable[int]) -> dict[str, int]:
    """Return tag ▶ row of the tags of a data folder, without columns of numbers and ratings, which are no yes or no.

    Args:
        names, categories: name and category of each row of `tags.csv`.
    """
    rows = enumerate(zip(names, categories, strict=True))
    return {name: row for row, (name, category) in rows if category not in (NUMBER, RATING)}


def corrected_labels(
    labels: Mapping[int, float], decisions: Mapping[str, bool], rows: Mapping[str, int]
) -> dict[int, float]:
    """Return the labels of a picture after people's decisions, which have the last word.

    Args:
        labels: tag index ▶ label.
        decisions: tag ▶ whether the picture has it; other tags than those of `rows` are ignored.
        rows: tag ▶ index.
    """
    decided = {rows[tag]: has_tag for tag, has_tag in decisions.items() if tag in rows}
    unchanged = {tag: label for tag, label in labels.items() if tag not in decided}
    return dict(sorted((unchanged | {tag: 1.0 for tag, has_tag in decided.items() if has_tag}).items()))


def digest_of(corrections: Iterable[Correction], left_out: Iterable[str] = ()) -> str:
    """Return a hash of decisions, which does not depend on their order, source or time.

    Args:
        corrections: the decisions.
        left_out: ids of the pictures that are left out because of decisions, see `restricted_ids`.
    """
    decisions: list = sorted((each.md5, each.id, each.tag, each.has_tag) for each in corrections)
    return hashlib.md5(repr(decisions + sorted(left_out)).encode(), usedforsecurity=False).hexdigest()
