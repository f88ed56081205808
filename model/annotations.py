"""Tags written beside pictures or into them, and the way back.

What a run of test.py writes is first noted in the folder's journal, a line a file with what was there before.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from model import keywords, sidecars

JOURNAL = ".e6tag-written.jsonl"


def write(path: Path, tags: list[str], mode: str, session: str) -> bool:
    """Write a picture's tags.

    Args:
        path: `a.txt`, which gets them as text, or a picture, which gets them as keywords.
        tags: as they are to be written.
        mode: what to do where there are some: `skip` the file, `append` those tags that it lacks, or `overwrite` them.
        session: what `undo` undoes at once.

    Returns:
        Whether anything was written.

    Raises:
        ValueError, OSError: what is there cannot be read or changed; it is left alone.
    """
    kind = _kind(path)
    data = path.read_bytes() if path.exists() else None
    before = kind.read(data)
    if mode == "skip" and before is not None:
        return False
    after = kind.content(tags, before if mode == "append" else None)
    if after == before:
        return False
    content = kind.changed(data, after)
    with (path.parent / JOURNAL).open("a", encoding="utf-8") as journal:  # begins a line: the one before may be torn
        journal.write("\n" + json.dumps({"session": session, "file": path.name, "before": before, "after": after}))
    _replace(path, content)
    return True


def undo(folder: Path) -> tuple[int, list[Path]]:
    """Take back what the last session wrote in a folder and the folders in it.

    Returns:
        The number of files put back, and those left alone because they have been changed since.
    """
    journals = {path: list(_lines(path)) for path in folder.rglob(JOURNAL)}
    last = max((line["session"] for lines in journals.values() for line in lines), default=None)
    restored, changed = 0, []
    for journal, lines in journals.items():
        for line in reversed([line for line in lines if line["session"] == last]):
            path = journal.parent / line["file"]
            _partial(path).unlink(missing_ok=True)
            try:
                done = _take_back(path, line["before"], line["after"])
            except ValueError:
                done = False
            if done is False:
                changed.append(path)
            restored += done is True
        rest = [line for line in lines if line["session"] != last]
        _replace(journal, "".join(json.dumps(line) + "\n" for line in rest).encode() if rest else None)
    return restored, changed


def _take_back(path: Path, before, after) -> bool | None:
    """Put back what was there; False if it has been changed since, None if the session was stopped before it wrote."""
    data = path.read_bytes() if path.is_file() else None
    now = _kind(path).read(data)
    if now == before:
        return None
    if now != after:
        return False
    _replace(path, _kind(path).changed(data, before))
    return True


def _kind(path: Path):
    return sidecars if path.suffix == ".txt" else keywords


def _lines(journal: Path) -> Iterator[dict]:
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # torn when the session was killed: its file was not yet written
            yield json.loads(line)


def _partial(path: Path) -> Path:
    path = path.resolve()  # of a link: beside what it leads to
    return path.with_name(path.name + ".partial")


def _replace(path: Path, data: bytes | None) -> None:
    """Give a file other content, at once and not before it is on the disk; without any, it goes."""
    if data is None:
        path.unlink()
        return
    partial = _partial(path)
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        shutil.copymode(path, partial)
    partial.replace(path.resolve())
