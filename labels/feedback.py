"""People's feedback on predicted tags, stored in SQLite for the next training."""

import contextlib
import sqlite3
import threading
import time
from pathlib import Path

from common.errors import InputError

KINDS = ("seen", "added", "rejected")

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seconds REAL NOT NULL,     -- since 1970-01-01
    picture TEXT NOT NULL,     -- MD5 of the file
    tag TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('seen', 'added', 'rejected')),
    model TEXT NOT NULL        -- identifies the network and thresholds that predicted the tag
);
CREATE INDEX IF NOT EXISTS events_by_tag ON events (tag, kind);
"""


class Events:
    """A database of events: tags that people saw, added or rejected. Thread-safe.

    Args:
        path: the SQLite file; created if missing.
        model: stored as the model of each event.

    Raises:
        InputError: the file cannot be opened, or is not a database of events.
    """

    def __init__(self, path: Path, model: str):
        self._model = model
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(path, check_same_thread=False)
            self._database.executescript("PRAGMA journal_mode = WAL;" + SCHEMA)
        except sqlite3.Error as error:
            raise InputError(f"cannot write events to {path}: {error} (give another file with --events)") from None

    def add(self, picture: str, kinds: list[tuple[str, str]], withdrawn: list[str]) -> None:
        """Delete the verdicts on withdrawn tags of a picture, then store events of other tags.

        Args:
            picture: MD5 of the picture's file.
            kinds: pairs of a tag and one of `KINDS`.
            withdrawn: tags that are no longer added or rejected.
        """
        now = time.time()
        rows = [(now, picture, tag, kind, self._model) for tag, kind in kinds]
        delete = "DELETE FROM events WHERE picture = ? AND tag = ? AND kind != 'seen'"
        with self._lock, self._database:
            self._database.executemany(delete, [(picture, tag) for tag in withdrawn])
            self._database.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", rows)

    def by_tag(self) -> dict[str, dict[str, int]]:
        """Count the pictures of each event: tag ▶ kind ▶ number. The last verdict on a picture counts."""
        query = """
            SELECT tag, kind, COUNT(*) FROM (
                SELECT tag, kind, picture, MAX(rowid) FROM events WHERE kind != 'seen' GROUP BY tag, picture
                UNION ALL SELECT DISTINCT tag, kind, picture, 0 FROM events WHERE kind = 'seen'
            ) GROUP BY tag, kind
        """
        counts: dict[str, dict[str, int]] = {}
        with self._lock:
            for tag, kind, number in self._database.execute(query):
                counts.setdefault(tag, dict.fromkeys(KINDS, 0))[kind] = number
        return counts

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()


def verdicts(path: Path) -> dict[tuple[str, str], bool]:
    """Read the last verdicts: (MD5 of the picture's file, tag) ▶ whether the picture has the tag.

    Raises:
        InputError: the file is missing, or is not a database of events.
    """
    return {pair: has_tag for pair, (has_tag, _) in timed_verdicts(path).items()}


def timed_verdicts(path: Path) -> dict[tuple[str, str], tuple[bool, float]]:
    """Read the same with the time of each verdict, in seconds since 1970-01-01. Errors as above."""
    expected = "expected a file of marks, which serve.py --events and the page of improve.py write"
    if not path.is_file():
        raise InputError(f"{path} {'is not a file' if path.exists() else 'is missing'}: {expected}")
    query = "SELECT picture, tag, kind, seconds FROM events WHERE kind != 'seen' ORDER BY rowid"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute(query)
            return {(picture, tag): (kind == "added", float(seconds)) for picture, tag, kind, seconds in rows}
    except (sqlite3.Error, ValueError) as error:
        advice = "wait if another program writes it now, otherwise restore it from a copy or move it away"
        raise InputError(f"{path} cannot be read ({error}): {expected}; {advice}") from None
