"""Corrections that people made in the text files beside their pictures, for a data folder of a board with texts.

What test.py wrote into these files is no correction. Its journal (`inference.annotations`) has the text of each file before
and after, so that its tags are told from people's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.errors import say
from dataset.boards.board import open_board
from dataset.boards.folder import paths_beside
from dataset.build.selection import Options
from dataset.corrections import Correction, time_of
from dataset.tag_text import TagReader, without_namespace
from inference.annotations import JOURNAL, read_journal

WITH_TEXTS = ("folder", "hydrus")  # boards whose pictures have their tags in a text file
SOURCE = "text beside the picture"
Names = frozenset[str]


@dataclass
class Written:
    """What test.py did to the text of a picture: the tags that it added, those that it removed, and all of the last time."""

    added: Names = frozenset()
    removed: Names = frozenset()
    last: Names = frozenset()


def edits(options: Mapping, labels: Mapping[str, Names], tags: Iterable[str]) -> list[Correction]:
    """Return the tags that people added to or removed from the texts since a data folder was made from them.

    A picture whose text is gone or empty is left out: nobody says that it has none of its tags.

    Args:
        options: the options of download.py, from the manifest of the data folder.
        labels: id of each picture ▶ its tags in the data folder.
        tags: the tags that can be corrected.
    """
    if options.get("board") not in WITH_TEXTS or options.get("csv"):
        return []
    made_with = Options(**options)
    if missing := [folder for folder in made_with.image_folders if not folder.is_dir()]:
        say(f"{missing[0]}, a folder of the pictures, is not there: the texts beside the pictures are not compared")
        return []
    settings = made_with.board_settings()
    spelling = {_key(tag): tag for tag in tags}  # underscores may have become spaces since, where most texts have them
    current, texts = {}, {}
    for post in open_board(made_with.board, settings).posts():
        current[post.id] = _known(post.tags, spelling)
        found = [path for path in paths_beside(Path(post.source)) if path.is_file()]
        if found and post.id in labels:  # otherwise the picture has its tags from a copy of it
            texts[post.id] = found[0]
    reader = settings.reader or TagReader()
    written = _written_by_program(set(texts.values()), reader, spelling)
    corrections = []
    for post_id, path in sorted(texts.items()):
        now, before, program = current[post_id], labels[post_id] & set(spelling.values()), written.get(path, Written())
        answers = dict.fromkeys(now - before - program.added, True)
        answers |= dict.fromkeys((before | program.last) - now - program.removed, False)
        time = time_of(path.stat().st_mtime)
        corrections += [Correction("", post_id, tag, answer, SOURCE, time) for tag, answer in sorted(answers.items())]
    return corrections


def _written_by_program(paths: set[Path], reader: TagReader, spelling: Mapping[str, str]) -> dict[Path, Written]:
    """Return what test.py did to each text that it wrote."""
    cells: list[tuple[str, str]] = []
    owners: list[Path] = []
    for folder in sorted({path.parent for path in paths}):
        journal = folder / JOURNAL
        for line in read_journal(journal) if journal.is_file() else ():
            if (path := folder / line["file"]) in paths:
                owners.append(path)
                cells += [(str(path), line[side] or "") for side in ("before", "after")]
    names = [_known((without_namespace(name)[1] for name in of_cell), spelling) for of_cell in reader.read(cells)]
    written: dict[Path, Written] = {}
    for path, before, after in zip(owners, names[::2], names[1::2], strict=True):
        program = written.setdefault(path, Written())
        program.added |= after - before
        program.removed |= before - after
        program.last = after
    return written


def _known(names: Iterable[str], spelling: Mapping[str, str]) -> Names:
    """Return the tags of the data folder among some names."""
    return frozenset(spelling[key] for key in map(_key, names) if key in spelling)


def _key(tag: str) -> str:
    return tag.replace("_", " ").lower()
