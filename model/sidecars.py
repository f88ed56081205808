"""Tags in a .txt beside each picture, as trainers of image generators read them, and the way back.

What a run of test.py writes is first noted in the folder's journal, a line a file with what was there before.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

JOURNAL = ".e6tag-sidecars.jsonl"
MODES = ("skip", "append", "overwrite")


def write(picture: Path, tags: list[str], mode: str, session: str) -> bool:
    """Write a picture's tags beside it, separated by commas.

    Args:
        picture: `a.png` gets `a.txt`.
        tags: as they are to be written.
        mode: what to do where `a.txt` is: `skip` it, `append` those tags that it lacks, or `overwrite` it.
        session: what `undo` undoes at once.

    Returns:
        Whether anything was written.

    Raises:
        UnicodeDecodeError, OSError: what is there is not text in UTF-8, or it cannot be written; it is left alone.
    """
    path = picture.with_suffix(".txt")
    if mode == "skip" and path.exists():
        return False
    before = path.read_bytes().decode() if path.exists() else None  # bytes, so that line ends stay what they are
    if before is not None and mode == "append":
        there = [tag.strip() for tag in before.replace("\n", ",").split(",") if tag.strip()]
        tags = there + [tag for tag in tags if tag not in there]
    after = ", ".join(tags) + "\n"
    if after == before:
        return False
    with (path.parent / JOURNAL).open("a", encoding="utf-8") as journal:  # begins a line: the one before may be torn
        journal.write("\n" + json.dumps({"session": session, "file": path.name, "before": before, "after": after}))
    _write(path, after)
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
            before = None if line["before"] is None else line["before"].encode()
            now = path.read_bytes() if path.is_file() else None
            if now == before:  # the session was stopped before it wrote this file
                continue
            if now != line["after"].encode():
                changed.append(path)
                continue
            restored += 1
            if before is None:
                path.unlink()
            else:
                _write(path, line["before"])
        rest = [line for line in lines if line["session"] != last]
        if rest:
            _write(journal, "".join(json.dumps(line) + "\n" for line in rest))
        else:
            journal.unlink()
    return restored, changed


def _lines(journal: Path) -> Iterator[dict]:
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):  # torn when the session was killed: its file was not yet written
            yield json.loads(line)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


def _write(path: Path, content: str) -> None:
    _partial(path).write_bytes(content.encode())
    _partial(path).replace(path)
