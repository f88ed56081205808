"""An index of pictures on disk: the vectors of each file in the joint space, so that no file is read twice.

pictures.sqlite  size, time, MD5, thumbnail and vectors of each file, one vector for each frame that is used; written every
                 few pictures, so that a command that was killed can continue
nearest.npz      the same vectors in the form for searching, written when the database is complete
"""

import contextlib
import hashlib
import os
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.files import atomic_write, only_writer
from dataset.near_duplicates import connected_components, near_duplicate_pairs, thumbnail
from inference import sources
from inference.frames import FRAMES, Unreadable, in_batches, read_ahead, read_frames
from inference.sources import Source
from model.run_folder import Run
from retrieval import neighbours
from retrieval.joint_space import JointSpace

BATCH = 32  # pictures that are embedded and stored together
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
    """A search result.

    Attributes:
        path: path of the picture.
        score: cosine of the angle between the vectors of the picture and the query.
        seconds: time at which the nearest frame begins; 0 for a still picture.
        number: number of the picture in its index.
    """

    path: Path
    score: float
    seconds: float
    number: int


@dataclass(frozen=True)
class Update:
    """The result of an update.

    Attributes:
        pictures: number of readable pictures in the index.
        read: number of files that were new or changed.
        removed: number of files that were removed from the index because they no longer exist.
        unreadable: path and reason of each file that cannot be read.
    """

    pictures: int
    read: int
    removed: int
    unreadable: list[tuple[str, str]]


@dataclass(frozen=True)
class _Picture:
    """The facts of a file, and the network's input for its frames."""

    md5: str
    thumbnail: bytes
    seconds: list[float]
    frames: list[np.ndarray]


class PictureIndex:
    """An index, opened for searching.

    Args:
        folder: folder of the index.
        version: version of the joint space that the index has to belong to; see `retrieval.joint_space.JointSpace`.

    Raises:
        InputError: the index is missing or damaged, or belongs to another joint space.
    """

    def __init__(self, folder: Path, version: str):
        path = folder / "nearest.npz"
        if not path.exists():
            raise InputError(f"no pictures are indexed at {folder}: python search.py --index pictures/ adds them")
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = dict(stored)
            self._owners, self._seconds = arrays["owners"], arrays["seconds"]
            index_version = str(arrays["version"])
            self._neighbours = neighbours.load(arrays)
        except (ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged ({error!r}): delete {folder} and index again") from None
        except ModuleNotFoundError as error:
            raise InputError(f"an index of this size needs {error.name}: pip install -r requirements-search.txt") from None
        if index_version != version:
            raise InputError(
                f"the index at {folder} was made with another network or joint space. Run: python search.py --index"
            )
        self._folder = folder

    def __len__(self) -> int:
        return len(np.unique(self._owners))

    def nearest(self, vector: np.ndarray, max_results: int) -> list[Match]:
        """Return the pictures nearest to a vector (dimensions,), the nearest first."""
        rows, cosines = self._neighbours.nearest(vector, max_results * FRAMES)
        best: dict[int, tuple[float, float]] = {}
        for row, cosine in zip(rows.tolist(), cosines.tolist(), strict=True):
            best.setdefault(int(self._owners[row]), (cosine, float(self._seconds[row])))
        matches = []
        with _database(self._folder) as database:
            for number, (cosine, seconds) in best.items():
                path = _path(database, number)
                if path and len(matches) < max_results:  # the picture may have been removed since
                    matches.append(Match(path, cosine, seconds, number))
        return matches

    def path(self, number: int) -> Path | None:
        """Return the path of the picture with this number, or None."""
        with _database(self._folder) as database:
            return _path(database, number)


def update(folder: Path, space: JointSpace, arguments: list[str], with_progress: Callable, strict: bool = False) -> Update:
    """Bring an index up to date: read files that are new or changed, and remove those that no longer exist.

    Args:
        folder: folder of the index, which is created if missing.
        space: joint space of the run.
        arguments: files, folders and patterns to add to those that the index has already.
        with_progress: function of an iterator over pictures and their number that returns an iterator over the same
            pictures, for a progress bar.
        strict: refuse new and changed pictures that are cut short.

    Raises:
        InputError: an argument is not a file on disk, or another command writes the index.
    """
    with only_writer(folder), _database(folder) as database:
        _clear_if_other_version(database, space.version)
        paths = _files(database, arguments)
        rows = database.execute("SELECT path, bytes, mtime_ns FROM pictures").fetchall()
        indexed = {Path(os.fsdecode(path)): tuple(stamp) for path, *stamp in rows}
        missing = [path for path in indexed if not path.is_file()]
        stamps = {path: stamp for path in paths if (stamp := _stamp(path)) != indexed.get(path)}
        if missing or stamps:
            _set(database, "stale", "yes")
        database.executemany("DELETE FROM pictures WHERE path = ?", [(os.fsencode(path),) for path in missing])
        database.commit()
        pictures = read_ahead((sources.file(path, strict) for path in stamps), partial(_read_picture, space.run))
        for batch in in_batches(with_progress(pictures, len(stamps)), BATCH):
            _store(database, space, batch, stamps)
        if _get(database, "stale") == "yes" or not (folder / "nearest.npz").exists():
            _write_nearest(folder, database, space.version)
            _set(database, "stale", "no")
            database.commit()
        problems = database.execute("SELECT path, problem FROM pictures WHERE problem IS NOT NULL ORDER BY path").fetchall()
        [total] = database.execute("SELECT count(*) FROM pictures WHERE problem IS NULL").fetchone()
    return Update(total, len(stamps), len(missing), [(os.fsdecode(path), problem) for path, problem in problems])


def duplicates(folder: Path) -> list[list[Path]]:
    """Return sets of indexed pictures that are equal or nearly so, the largest set first; see `dataset.near_duplicates`."""
    if not (folder / "pictures.sqlite").exists():
        raise InputError(f"no pictures are indexed at {folder}: python search.py --index pictures/ adds them")
    with _database(folder) as database:
        rows = database.execute("SELECT path, md5, thumbnail FROM pictures WHERE problem IS NULL ORDER BY path").fetchall()
    first: dict[str, int] = {}
    equal = [(first.setdefault(md5, number), number) for number, (_, md5, _) in enumerate(rows)]
    sets = connected_components(range(len(rows)), [*equal, *near_duplicate_pairs([pixels for *_, pixels in rows])])
    paths = [[Path(os.fsdecode(rows[number][0])) for number in members] for members in sets if len(members) > 1]
    return sorted(paths, key=len, reverse=True)


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
    row = database.execute("SELECT path FROM pictures WHERE id = ?", (number,)).fetchone()
    return Path(os.fsdecode(row[0])) if row else None


def _get(database: sqlite3.Connection, name: str) -> str | None:
    row = database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return row and row[0]


def _set(database: sqlite3.Connection, name: str, value: str) -> None:
    database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _clear_if_other_version(database: sqlite3.Connection, version: str) -> None:
    """Remove all pictures if their vectors come from another network or other projections."""
    if _get(database, "version") != version:
        database.execute("DELETE FROM pictures")
        _set(database, "version", version)
        _set(database, "stale", "yes")
        database.commit()


def _files(database: sqlite3.Connection, arguments: list[str]) -> list[Path]:
    """Return the pictures in the places that the index has and in those that the arguments add to it."""
    old = [os.fsdecode(path) for (path,) in database.execute("SELECT path FROM places")]
    new = [str(Path(argument).absolute()) if "://" not in argument else argument for argument in arguments]
    if not old and not new:
        raise InputError("--index needs the files or folders of your pictures: python search.py --index pictures/")
    paths: dict[Path, None] = {}
    for place in dict.fromkeys([*old, *new]):
        for source in sources.find([place]):
            if source.path and source.path.is_file():
                paths[source.path] = None
            elif place in new:
                raise InputError(f"--index takes files and folders of pictures. There is no picture at {source.name}")
    database.executemany("INSERT OR IGNORE INTO places VALUES (?)", [(os.fsencode(place),) for place in new])
    return list(paths)


def _stamp(path: Path) -> tuple[int, int]:
    """Return a file's size and time of change, which tell whether it has changed."""
    try:
        status = path.stat()
    except OSError:  # deleted since: reading the file gives the error
        return 0, 0
    return status.st_size, status.st_mtime_ns


def _read_picture(run: Run, source: Source) -> tuple[Source, _Picture]:
    data = source.read_whole()
    frames = read_frames(run, data)
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    seconds, pixels = [frame.seconds for frame in frames], [frame.pixels for frame in frames]
    return source, _Picture(md5, thumbnail(frames[0].stored), seconds, pixels)


def _store(database: sqlite3.Connection, space: JointSpace, batch: list, stamps: dict[Path, tuple[int, int]]) -> None:
    """Embed a batch of pictures and store it in one transaction; `stamps` were taken before the files were read."""
    pixels = [frame for item in batch if not isinstance(item, Unreadable) for frame in item[1].frames]
    vectors = iter(space.embed_pictures(np.stack(pixels)).astype(np.float16)) if pixels else iter(())
    for item in batch:
        source, picture = (item.source, None) if isinstance(item, Unreadable) else item
        facts = (None, None, item.reason) if picture is None else (picture.md5, picture.thumbnail, None)
        assert source.path is not None  # `_files` returns only files
        path = os.fsencode(source.path)
        database.execute("DELETE FROM pictures WHERE path = ?", (path,))
        added = database.execute(
            "INSERT INTO pictures (path, bytes, mtime_ns, md5, thumbnail, problem) VALUES (?, ?, ?, ?, ?, ?)",
            (path, *stamps[source.path], *facts),
        )
        for seconds in picture.seconds if picture else ():
            row = (added.lastrowid, seconds, next(vectors).tobytes())
            database.execute("INSERT INTO frames VALUES (?, ?, ?)", row)
    database.commit()


def _write_nearest(folder: Path, database: sqlite3.Connection, version: str) -> None:
    """Write `nearest.npz`, or delete it if no picture is left."""
    rows = database.execute("SELECT picture, seconds, vector FROM frames ORDER BY rowid").fetchall()
    if not rows:
        (folder / "nearest.npz").unlink(missing_ok=True)
        return
    owners, seconds, stored = zip(*rows, strict=True)
    vectors = np.frombuffer(b"".join(stored), np.float16).reshape(len(rows), -1).astype(np.float32)
    arrays: dict[str, Any] = neighbours.build(vectors).arrays()
    with atomic_write(folder / "nearest.npz", "wb") as file:
        np.savez(
            file,
            owners=np.array(owners, np.int64),
            seconds=np.array(seconds, np.float32),
            version=np.array(version),
            **arrays,
        )
