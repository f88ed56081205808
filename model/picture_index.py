"""An index of pictures on disk: what each looks like to a run, so that near ones are found without reading any again.

pictures.sqlite  of each file its size, time, MD5, thumbnail and vectors, one for each frame that is looked at; written every
                 few pictures, so that a run that is killed goes on
nearest.npz      the same vectors as they are searched, written when all are there
"""

import contextlib
import hashlib
import os
import sqlite3
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from command import InputError, only_writer
from dataset import images
from dataset.duplicates import alike, sets_of, thumbnail
from model import inputs, neighbours
from model.inputs import Source
from model.joint import JointSpace
from model.predict import FRAMES, Unreadable, read_ahead
from model.runs import Run

PICTURES_AT_ONCE = 32  # that are looked at, and kept
SCHEMA = """
    CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT);
    CREATE TABLE IF NOT EXISTS places (path BLOB PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS pictures (
        id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB UNIQUE, bytes INTEGER, mtime_ns INTEGER, md5 TEXT, thumbnail BLOB,
        problem TEXT
    );
    CREATE TABLE IF NOT EXISTS frames (
        picture INTEGER REFERENCES pictures ON DELETE CASCADE, seconds REAL, vector BLOB
    );
    CREATE INDEX IF NOT EXISTS frames_of ON frames (picture);
"""


@dataclass(frozen=True)
class Match:
    """A picture that was found.

    Attributes:
        path: of the file.
        score: cosine of the angle to what was looked for.
        seconds: of an animation, when the frame begins that is nearest.
        number: of the picture in its index.
    """

    path: Path
    score: float
    seconds: float
    number: int


@dataclass(frozen=True)
class Update:
    """What an update of the index did: numbers of pictures, and (file, reason) of those that cannot be read."""

    pictures: int
    looked_at: int
    dropped: int
    unreadable: list[tuple[str, str]]


@dataclass(frozen=True)
class _Seen:
    """A file's facts, and the network's input for its frames."""

    md5: str
    thumbnail: bytes
    seconds: list[float]
    frames: list[np.ndarray]


class PictureIndex:
    """The index in a folder, for searching.

    Args:
        folder: where it is.
        version: of the space that its vectors have to be of; see `model.joint.JointSpace`.

    Raises:
        InputError: there is none, it is of another space, or it is damaged.
    """

    def __init__(self, folder: Path, version: str):
        path = folder / "nearest.npz"
        if not path.exists():
            raise InputError(f"no pictures are indexed at {folder}: python search.py --index pictures/ adds them")
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = dict(stored)
            self._owners, self._seconds = arrays["owners"], arrays["seconds"]
            made_by = str(arrays["version"])
            self._neighbours = neighbours.opened(arrays)
        except (ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged ({error!r}): delete {folder} and index again") from None
        except ModuleNotFoundError as error:
            raise InputError(f"so large an index needs {error.name}: pip install -r requirements-search.txt") from None
        if made_by != version:
            raise InputError(f"the index at {folder} is of another network or joint space: python search.py --index")
        self._folder = folder

    def __len__(self) -> int:
        return len(np.unique(self._owners))

    def near(self, vector: np.ndarray, most: int) -> list[Match]:
        """The pictures nearest to a vector (dimensions,), nearest first, at most so many."""
        rows, cosines = self._neighbours.near(vector, most * FRAMES)
        best: dict[int, tuple[float, float]] = {}
        for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True):
            best.setdefault(int(self._owners[row]), (cosine, float(self._seconds[row])))
        matches = []
        with _database(self._folder) as database:
            for number, (cosine, seconds) in best.items():
                path = _path(database, number)
                if path and len(matches) < most:  # it may have been dropped since
                    matches.append(Match(path, cosine, seconds, number))
        return matches

    def path(self, number: int) -> Path | None:
        """The file of a picture, if the index has one of this number."""
        with _database(self._folder) as database:
            return _path(database, number)


def update(folder: Path, space: JointSpace, arguments: list[str], show: Callable) -> Update:
    """Bring an index up to date: look at files that are new or changed, and forget those that are no more.

    Args:
        folder: of the index; made if missing.
        space: the run.
        arguments: files, folders and patterns to add to those that the index has already.
        show: wraps the pictures that are looked at, whose number is its second argument, for a progress bar.

    Raises:
        InputError: an argument is no file on disk, or another command writes the index.
    """
    with only_writer(folder), _database(folder) as database:
        _of_this_space(database, space.version)
        paths = _files(database, arguments)
        rows = database.execute("SELECT path, bytes, mtime_ns FROM pictures").fetchall()
        known = {Path(os.fsdecode(path)): tuple(stamp) for path, *stamp in rows}
        gone = [path for path in known if not path.is_file()]
        stamps = {path: stamp for path in paths if (stamp := _stamp(path)) != known.get(path)}
        if gone or stamps:
            _set(database, "stale", "yes")
        database.executemany("DELETE FROM pictures WHERE path = ?", [(os.fsencode(path),) for path in gone])
        database.commit()
        for found in _in_batches(show(read_ahead(map(inputs.file, stamps), partial(_look, space.run)), len(stamps))):
            _keep(database, space, found, stamps)
        if _get(database, "stale") == "yes" or not (folder / "nearest.npz").exists():
            _write_nearest(folder, database, space.version)
            _set(database, "stale", "no")
            database.commit()
        problems = database.execute("SELECT path, problem FROM pictures WHERE problem IS NOT NULL ORDER BY path").fetchall()
        [total] = database.execute("SELECT count(*) FROM pictures WHERE problem IS NULL").fetchone()
    return Update(total, len(stamps), len(gone), [(os.fsdecode(path), problem) for path, problem in problems])


def duplicates(folder: Path) -> list[list[Path]]:
    """Sets of indexed pictures that are the same file or look alike, the largest set first; see `dataset.duplicates`."""
    if not (folder / "pictures.sqlite").exists():
        raise InputError(f"no pictures are indexed at {folder}: python search.py --index pictures/ adds them")
    with _database(folder) as database:
        rows = database.execute("SELECT path, md5, thumbnail FROM pictures WHERE problem IS NULL ORDER BY path").fetchall()
    first: dict[str, int] = {}
    same = [(first.setdefault(md5, number), number) for number, (_, md5, _) in enumerate(rows)]
    sets = sets_of(range(len(rows)), [*same, *alike([pixels for *_, pixels in rows])])
    found = [[Path(os.fsdecode(rows[number][0])) for number in members] for members in sets if len(members) > 1]
    return sorted(found, key=len, reverse=True)


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    path = folder / "pictures.sqlite"
    database = sqlite3.connect(path)
    try:
        database.executescript("PRAGMA foreign_keys = ON;" + SCHEMA)
        yield database
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} cannot be used ({error}): delete {folder} and index again") from None
    finally:
        database.close()


def _path(database: sqlite3.Connection, number: int) -> Path | None:
    found = database.execute("SELECT path FROM pictures WHERE id = ?", (number,)).fetchone()
    return Path(os.fsdecode(found[0])) if found else None


def _get(database: sqlite3.Connection, name: str) -> str | None:
    found = database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return found and found[0]


def _set(database: sqlite3.Connection, name: str, value: str) -> None:
    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _of_this_space(database: sqlite3.Connection, version: str) -> None:
    """Forget all pictures where they were looked at by another network or through other projections."""
    if _get(database, "version") != version:
        database.execute("DELETE FROM pictures")
        _set(database, "version", version)
        _set(database, "stale", "yes")
        database.commit()


def _files(database: sqlite3.Connection, arguments: list[str]) -> list[Path]:
    """The pictures in the places that the index has, and in those given now, which it keeps."""
    before = [os.fsdecode(path) for (path,) in database.execute("SELECT path FROM places")]
    given = [str(Path(argument).absolute()) if "://" not in argument else argument for argument in arguments]
    if not before and not given:
        raise InputError("--index needs the files or folders of your pictures: python search.py --index pictures/")
    found: dict[Path, None] = {}
    for place in dict.fromkeys([*before, *given]):
        for source in inputs.find([place]):
            if source.path and source.path.is_file():
                found[source.path] = None
            elif place in given:
                raise InputError(f"--index takes files and folders of pictures, and there is none here: {source.name}")
    database.executemany("INSERT OR IGNORE INTO places VALUES (?)", [(os.fsencode(place),) for place in given])
    return list(found)


def _stamp(path: Path) -> tuple[int, int]:
    """A file's size and time, which change when it does."""
    try:
        status = path.stat()
    except OSError:  # it has gone since: reading it says so
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _look(run: Run, source: Source) -> tuple[Source, _Seen]:
    """Read a file."""
    data = source.read()
    frames = inputs.frames(data, FRAMES)
    stored = [images.normalise(frame, run.stored_size) for _, frame in frames]
    pixels = [images.network_input(jpeg, run.config.image_size, run.config.resize) for jpeg in stored]
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return source, _Seen(md5, thumbnail(stored[0]), [seconds for seconds, _ in frames], pixels)


def _in_batches(found: Iterable) -> Iterator[list]:
    waiting: list = []
    for each in found:
        waiting.append(each)
        if len(waiting) == PICTURES_AT_ONCE:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _keep(database: sqlite3.Connection, space: JointSpace, found: list, stamps: dict[Path, tuple[int, int]]) -> None:
    """Look at pictures with the network, and keep what was seen, all of them or none; `stamps` are as before reading."""
    readable = [each for each in found if not isinstance(each, Unreadable)]
    pixels = [frame for _, seen in readable for frame in seen.frames]
    vectors = iter(space.pictures(np.stack(pixels)).astype(np.float16)) if pixels else iter(())
    for each in found:
        source, seen = (each.source, None) if isinstance(each, Unreadable) else each
        facts = (None, None, each.reason) if seen is None else (seen.md5, seen.thumbnail, None)
        path = os.fsencode(source.path)
        database.execute("DELETE FROM pictures WHERE path = ?", (path,))
        added = database.execute(
            "INSERT INTO pictures (path, bytes, mtime_ns, md5, thumbnail, problem) VALUES (?, ?, ?, ?, ?, ?)",
            (path, *stamps[source.path], *facts),
        )
        for seconds in seen.seconds if seen else ():
            row = (added.lastrowid, seconds, next(vectors).tobytes())
            database.execute("INSERT INTO frames VALUES (?, ?, ?)", row)
    database.commit()


def _write_nearest(folder: Path, database: sqlite3.Connection, version: str) -> None:
    """Write `nearest.npz`; where no picture is left, there is none."""
    rows = database.execute("SELECT picture, seconds, vector FROM frames ORDER BY rowid").fetchall()
    if not rows:
        (folder / "nearest.npz").unlink(missing_ok=True)
        return
    owners, seconds, vectors = zip(*rows, strict=True)
    vectors = np.frombuffer(b"".join(vectors), np.float16).reshape(len(rows), -1).astype(np.float32)
    whole = folder / "nearest.partial.npz"
    np.savez(
        whole,
        owners=np.array(owners, np.int64),
        seconds=np.array(seconds, np.float32),
        version=np.array(version),
        **neighbours.of(vectors).arrays(),
    )
    whole.replace(folder / "nearest.npz")
