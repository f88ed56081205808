"""Atomic writing of files and folders, JSON and CSV files, and the lock of a folder."""

import codecs
import contextlib
import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from common.errors import InputError

csv.field_size_limit(2**31 - 1)  # the limit of 131,072 is too low for very long tags, and for posts with very many
PARTIAL = ".partial-"  # prefix of the temporary name of an incomplete file or folder
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
MAX_SUFFIX = 16  # longer ones are part of a name with a dot, not the name of a format


@contextlib.contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder and with the same suffix; its file is renamed to `path` when the block ends.

    If the block raises, the temporary file is removed, and an earlier file of that name stays unchanged.

    Args:
        path: the final name. If it is a link, the file that it points to is replaced.
        durable: see `publish`.
    """
    partial = partial_path(path)
    try:
        yield partial
        publish(partial, path, durable)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def partial_path(path: Path) -> Path:
    """Return the temporary path of a file that is not complete yet, always the same one for the same path.

    It has the path's suffix, by which libraries choose a format. The rest of its name has one length, because a name may
    already be as long as the file system allows.
    """
    path = path.resolve()
    digest = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    return path.with_name(f"{PARTIAL}{digest}{path.suffix if len(path.suffix) < MAX_SUFFIX else ''}")


def publish(partial: Path, path: Path, durable: bool = True) -> None:
    """Rename a complete file to its final name, with the permissions of the file that it replaces, if any.

    Args:
        partial: the complete file, in the same folder as `path`.
        path: the final name.
        durable: wait until content and name are on the disk, so that files that it replaces may be deleted. False is for
            many small files that can be made again.
    """
    path = path.resolve()
    if path.exists():
        shutil.copymode(path, partial)
    if durable:
        with partial.open("rb+") as file:  # the name must not reach the disk before the content does
            os.fsync(file.fileno())
    partial.replace(path)
    if durable:
        flush_folder(path.parent)


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "w", durable: bool = True) -> Iterator[IO[Any]]:
    """Open a file for writing that gets its final name when the block ends; see `atomic_path`.

    Args:
        mode: `w` for UTF-8 text without translation of line ends, `wb` for bytes.
    """
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    with atomic_path(path, durable) as partial, partial.open(mode, **text) as file:
        yield file


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new, empty folder that is renamed to `path`, and replaces an earlier one, when the block ends.

    If the block raises, the folder stays under its temporary name until the next attempt removes it.
    """
    partial = path.with_name(PARTIAL + path.name)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Wait until the file names of a folder are on the disk."""
    if os.name != "posix":  # Windows cannot open a folder, and keeps a journal of names
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def decode_text(data: bytes, errors: str = "strict") -> str:
    """Return text in UTF-8, or in the encoding that its byte-order mark names; the mark is left out.

    Args:
        data: the content of a file.
        errors: as for `bytes.decode`.

    Raises:
        UnicodeDecodeError: it is not such text.
    """
    encoding = next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), "utf-8")
    return data.decode(encoding, errors)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable]) -> None:
    """Write a CSV file with a header, whose lines end with a line feed."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_json(path: Path, content: dict | list) -> None:
    """Write an object or a list as indented JSON."""
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Raises:
        InputError: the file is missing, or is not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: expected a folder made by download.py or train.py") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}: restore it from a copy, or make {path.parent} again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: expected a JSON object, received {type(content).__name__}")
    return content


@contextlib.contextmanager
def only_writer(folder: Path, lock: str = ".lock") -> Iterator[None]:
    """Hold the lock of a folder, so that one process at a time writes into it. The lock ends with the process.

    The lock file stays. If it were removed, one process could lock the removed file and another a new one.

    Args:
        folder: the folder; made if missing.
        lock: name of the lock file in the folder. Only processes that use the same name exclude each other.

    Raises:
        InputError: another process holds the lock.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    file_lock = FileLock(folder / lock, timeout=0)
    try:
        file_lock.acquire()
    except Timeout:
        raise InputError(f"another command is writing {folder} now: wait for it, or give another folder") from None
    try:
        yield
    finally:
        file_lock.release()
