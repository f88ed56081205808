"""Tags in a .txt beside each picture, as trainers of image generators read them, and the way back.

What a run of test.py writes is first noted in the folder's journal, a line a file with what was there before.
"""

import json
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
    """
    path = picture.with_suffix(".txt")
    before = path.read_text(encoding="utf-8") if path.exists() else None
    if before is not None and mode == "skip":
        return False
    if before is not None and mode == "append":
        there = [tag.strip() for tag in before.replace("\n", ",").split(",") if tag.strip()]
        tags = there + [tag for tag in tags if tag not in there]
    after = ", ".join(tags) + "\n"
    if after == before:
        return False
    with (path.parent / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write(json.dumps({"session": session, "file": path.name, "before": before, "after": after}) + "\n")
    _write(path, after)
    return True


def undo(folder: Path) -> tuple[int, list[Path]]:
    """Take back what the last session wrote in a folder and the folders in it.

    Returns:
        The number of files put back, and those left alone because they have been changed since.
    """
    journals = {path: [json.loads(line) for line in path.open(encoding="utf-8")] for path in folder.rglob(JOURNAL)}
    last = max((line["session"] for lines in journals.values() for line in lines), default=None)
    restored, changed = 0, []
    for journal, lines in journals.items():
        for line in reversed([line for line in lines if line["session"] == last]):
            path = journal.parent / line["file"]
            now = path.read_text(encoding="utf-8") if path.exists() else None
            if now == line["before"]:  # the session was stopped before it wrote this file
                continue
            if now != line["after"]:
                changed.append(path)
                continue
            restored += 1
            if line["before"] is None:
                path.unlink()
            else:
                _write(path, line["before"])
        rest = [line for line in lines if line["session"] != last]
        if rest:
            _write(journal, "".join(json.dumps(line) + "\n" for line in rest))
        else:
            journal.unlink()
    return restored, changed


def _write(path: Path, content: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)
