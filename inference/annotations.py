"""Write tags into pictures or into text files beside them, and undo it.

Before a file is changed, its old and its new tags are added to a journal in the folder, one line of JSON for each file.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from common.files import atomic_write, partial_path
from dataset.tag_text import TEXT_SUFFIXES
from inference import keywords, sidecars

JOURNAL = ".e6tag-written.jsonl"


def write(path: Path, tags: list[str], mode: str, session: str, separator: str = "comma") -> bool:
    """Write the tags of one picture.

    Args:
        path: a text file, which gets the tags as text, or a picture, which gets them as keywords.
        tags: tags in the form in which they are to be written.
        mode: what to do if the file has tags already: `skip` the file, `append` the tags that it lacks, or `overwrite` them.
        session: name of this call of test.py; names sort by time, and `undo` undoes the last one.
        separator: what separates the tags of text files that have no sign of it, one of `tag_text.SEPARATORS`.

    Returns:
        Whether anything was written. No file is made for a picture without tags.

    Raises:
        ValueError, OSError: the file cannot be read or changed; it is left alone.
    """
    storage = _storage_for(path)
    data = path.read_bytes() if path.exists() else None
    before = storage.read(data)
    if mode == "skip" and _is_tagged(before):
        return False
    if not tags and before is None:
        return False
    existing = before if mode == "append" else None
    if isinstance(existing, str):
        after = sidecars.merge_tags(tags, existing, separator)
    else:
        after = storage.merge_tags(tags, existing)
    if after == before:
        return False
    content = storage.replace_tags(data, after)
    after = storage.read(content) if storage is sidecars else after  # with the mark of its encoding
    with (path.parent / JOURNAL).open("a", encoding="utf-8") as journal:
        # Starts a new line, because a crash may have cut off the last one.
        journal.write("\n" + json.dumps({"session": session, "file": path.name, "before": before, "after": after}))
        journal.flush()
        os.fsync(journal.fileno())  # the old tags must be on the disk before they are replaced
    _replace(path, content)
    return True


def has_tags(path: Path) -> bool:
    """Return whether `write` with the mode `skip` leaves a file alone: it has keywords, or is a text file with a tag.

    Raises:
        ValueError, OSError: the file cannot be read.
    """
    return path.exists() and _is_tagged(_storage_for(path).read(path.read_bytes()))


def undo(folder: Path) -> tuple[int, list[Path], dict[Path, str]]:
    """Undo the last session in a folder and its subfolders, each file on its own.

    Returns:
        The number of restored files; the files left alone because they were changed since; and for each file that could not
        be read or written the reason. Both kinds stay in the journal, and are tried again when `undo` is called again.
    """
    journals, failed = {}, {}
    for path in folder.rglob(JOURNAL):
        try:
            journals[path] = list(read_journal(path))
        except OSError as error:
            failed[path] = str(error.strerror)
    sessions = (line["session"] for lines in journals.values() for line in lines if not line.get("left"))
    last = max(sessions, default=None)
    restored, changed = 0, []
    for journal, lines in journals.items():
        rest = [line for line in lines if line["session"] != last and not line.get("left")]
        for line in reversed([line for line in lines if line["session"] == last or line.get("left")]):
            path = journal.parent / line["file"]
            try:
                partial_path(path).unlink(missing_ok=True)
                is_restored = _restore(path, line["before"], line["after"])
            except ValueError:
                is_restored = False
            except OSError as error:
                failed[path] = str(error.strerror)
                rest.append(line)
                continue
            if is_restored is False:
                changed.append(path)
                rest.append(line | {"left": True})  # does not keep earlier sessions from being undone
            restored += is_restored is True
        try:
            _replace(journal, "".join(json.dumps(line) + "\n" for line in rest).encode() if rest else None)
        except OSError as error:
            failed[journal] = str(error.strerror)
    return restored, list(dict.fromkeys(changed)), failed


def _restore(path: Path, before, after) -> bool | None:
    """Restore the old tags. Return False if the file was changed since, None if the session was stopped before it wrote."""
    data = path.read_bytes() if path.is_file() else None
    current = _storage_for(path).read(data)
    if current == before:
        return None
    if current != after:
        return False
    _replace(path, _storage_for(path).replace_tags(data, before))
    return True


def _is_tagged(before: str | list[str] | None) -> bool:
    """Return whether the text of a text file, or the keywords of a picture, hold a tag."""
    return sidecars.has_tags(before) if isinstance(before, str) else bool(before)


def _storage_for(path: Path):
    return sidecars if path.suffix in TEXT_SUFFIXES else keywords


def read_journal(journal: Path) -> Iterator[dict]:
    """Yield the entries of a journal, in order: `session`, `file`, `before` and `after`; see `write`."""
    for text in journal.read_text(encoding="utf-8", errors="replace").split("\n"):
        with contextlib.suppress(json.JSONDecodeError):  # cut off by a crash, before its file was changed
            line = json.loads(text)
            if isinstance(line, dict) and _is_entry(line):
                yield line


def _is_entry(line: dict) -> bool:
    """Return whether a line says what `undo` needs, of a file in the journal's own folder."""
    session, name = line.get("session"), line.get("file")
    if not isinstance(session, str) or not isinstance(name, str):
        return False
    return Path(name).name == name and {"before", "after"} <= line.keys()


def _replace(path: Path, data: bytes | None) -> None:
    """Replace a file's content in one step; None deletes the file."""
    if data is None:
        path.unlink()
        return
    with atomic_write(path, "wb") as file:
        file.write(data)
