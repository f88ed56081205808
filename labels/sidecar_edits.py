"""Corrections that people made in the text files beside their pictures, for a data folder of a board with texts.

What test.py wrote into these files is no correction. Its journal (`inference.annotations`) has the text of each file before
and after, so that its tags are told from people's. Edits that cannot be used are named.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError, counted, cut, say
from dataset.boards.annotation import Annotation
from dataset.boards.board import Board, Post, open_board
from dataset.boards.collection import Collection
from dataset.boards.folder import paths_beside
from dataset.build.restricted import NAMESPACE, matters
from dataset.build.selection import MAX_CAPTION_TAGS, VISIBLE_CATEGORIES, Options
from dataset.corrections import Correction, time_of
from dataset.records import CATEGORIES
from dataset.tag_text import TagReader, without_namespace
from inference.annotations import JOURNAL, read_journal

WITH_TEXTS = ("folder", "hydrus")  # boards whose pictures have their tags in a text file
SOURCE = "text beside the picture"
MEANT = "if they are meant so, say so in a table of --decisions"
SIGNS = re.compile(r"[,;|，；、،]")  # that separate tags
EXAMPLES = 5  # pictures that a message names, where each needs something else
Names = frozenset[str]


@dataclass
class Written:
    """What test.py did to the text of a picture: the tags that it added, those that it removed, and all of the last time."""

    added: Names = frozenset()
    removed: Names = frozenset()
    last: Names = frozenset()


def has_texts(options: Mapping) -> bool:
    """Return whether the pictures of a data folder have their tags in texts, from the options of download.py."""
    return options.get("board") in WITH_TEXTS and not options.get("csv")


def edits(
    options: Mapping,
    labels: Mapping[str, Names],
    tags: Iterable[str],
    captions: Mapping[str, str],
    known: Iterable[Correction] = (),
) -> list[Correction]:
    """Return the tags that people added to or removed from the texts since a data folder was made from them.

    A picture whose text is gone or empty is left out: nobody says that it has none of its tags. So is one whose text seems
    to have another separator than the others, see `_has_another_separator`, or lost all of its tags and has new ones. New
    tags are named, but are no corrections, except those that can make a picture restricted, see `restricted_ids`.

    Args:
        options: the options of download.py, from the manifest of the data folder.
        labels: id of each picture ▶ its tags in the data folder.
        tags: the tags that can be corrected.
        captions: id ▶ caption, which has the tags that the text had, also those that the data folder does not have.
        known: earlier corrections; those from texts are taken back where the text says otherwise now.
    """
    made_with = Options(**options)
    for folder in made_with.image_folders:
        if not folder.is_dir() or not any(folder.iterdir()):
            state = "is empty" if folder.is_dir() else "is not there"
            say(f"{folder}, a folder of the pictures, {state}: the texts beside the pictures are not compared")
            return []
    settings = made_with.board_settings()
    board = open_board(made_with.board, settings)
    posts = _posts(board, labels)
    texts = {post_id: path for post_id, post in posts.items() if (path := _text_of(post.source, made_with.board))}
    spelling = {_key(tag): tag for tag in tags}  # underscores may have become spaces since, where most texts have them
    correctable = frozenset(spelling.values())
    learnable = {CATEGORIES[name] for name in made_with.categories} & VISIBLE_CATEGORIES  # captions lack the others
    written = _written_by_program(set(texts.values()), settings.reader or TagReader(), spelling)
    earlier: dict[str, dict[str, bool]] = {}
    for each in known:
        if each.source == SOURCE:
            earlier.setdefault(each.id, {})[each.tag] = each.has_tag
    corrections, unclear, new_tags = [], [], []
    for post_id, path in sorted(texts.items()):
        names, program = posts[post_id].tags, written.get(path, Written())
        now, before = _spelled(names, spelling) & correctable, labels[post_id] & correctable
        taken_back = {tag for tag, answer in earlier.get(post_id, {}).items() if answer != (tag in now)}
        added = (now - before | now & taken_back) - program.added
        rejected = ((before | program.last | taken_back) & correctable) - now - program.removed
        unknown = _unknown(names, captions.get(post_id, ""), labels[post_id], spelling, program)
        new = [name for name in unknown if board.category(name) in learnable]
        if (rejected and new and not now) or _has_another_separator(unknown, rejected, spelling):
            unclear.append((path, names, rejected))
            continue
        new_tags += [(name, path) for name in new]
        answers, time = dict.fromkeys(added, True) | dict.fromkeys(rejected, False), time_of(path.stat().st_mtime)
        there = {*map(_key, names), NAMESPACE + posts[post_id].rating}
        undone = (tag for tag, answer in earlier.get(post_id, {}).items() if answer and tag not in correctable)
        answers = dict.fromkeys((tag for tag in undone if _key(tag) not in there), False) | answers
        answers |= dict.fromkeys(filter(matters, unknown), True)
        corrections += [Correction("", post_id, tag, answer, SOURCE, time) for tag, answer in sorted(answers.items())]
    _say_unused(unclear, new_tags, made_with.min_positives)
    return corrections + _of_restricted(board, labels, spelling)


def _of_restricted(board: Board, labels: Mapping[str, Names], spelling: Mapping[str, str]) -> list[Correction]:
    """Return why pictures of a data folder must not be used with the texts that they have now, as corrections.

    They are the tags that name a young character, and the rating, where the data folder has another or none.
    """
    found = []
    for post_id in sorted(_restricted(board).keys() & labels.keys()):
        post = _restricted(board)[post_id]
        path = _text_of(post.source, board.name) or Path(post.source)
        names = {spelling.get(_key(tag), tag) for tag in (*post.tags, *post.other_names) if matters(tag)}
        names |= {NAMESPACE + post.rating} - labels[post_id] if post.rating else set()
        time = time_of(path.stat().st_mtime)
        found += [Correction("", post_id, name, True, SOURCE, time) for name in sorted(names)]
    return found


def _restricted(board: Board) -> dict[str, Annotation]:
    return board.restricted if isinstance(board, Collection) else {}


def _posts(board: Board, labels: Mapping[str, Names]) -> dict[str, Post]:
    """Return the pictures of a data folder that are there with their tags, and name those that are not.

    Raises:
        InputError: a text has something that cannot be a tag.
    """
    try:
        posts = {post.id: post for post in board.posts() if post.id in labels}
    except InputError as error:
        if not board.skipped:  # otherwise all texts are gone or empty
            raise
        say(f"{error}: the texts beside the pictures are not compared")
        return {}
    unread = {name: reason for name, reason in board.rejected if name in labels and not reason.startswith("copy")}
    if unread:
        examples = [f"{name}: {reason}" for name, reason in unread.items()]
        more = f"; and {len(unread) - EXAMPLES:,} more" if len(unread) > EXAMPLES else ""
        number = counted(len(unread), "text")
        reasons = "; ".join(examples[:EXAMPLES]) + more
        say(f"{number} cannot be read, and edits there are not used ({reasons}): save as UTF-8, with tags as in the others")
    if gone := labels.keys() - posts.keys() - unread.keys() - _restricted(board).keys():
        number = counted(len(gone), "picture of the data folder is", "pictures of the data folder are")
        reasons = "it or its text is missing, renamed or empty, or the options of download.py leave it out now"
        say(f"{number} not compared with the text beside it, such as {min(gone)}: {reasons}")
    return posts


def _text_of(source: str, board: str) -> Path | None:
    """Return the text from which a picture has its tags; None if it has them from a copy of it."""
    image = Path(source)
    of_hydrus = [image.with_name(image.name + suffix) for suffix in (".txt", ".json")]
    return next((path for path in (of_hydrus if board == "hydrus" else paths_beside(image)) if path.is_file()), None)


def _unknown(names: Sequence[str], caption: str, before: Names, spelling: Mapping[str, str], program: Written) -> list[str]:
    """Return the tags of a text that people wrote since the data folder was made, and that it does not have.

    Args:
        names: the tags of the text.
        caption: of the picture: the words of all tags that its text had, of visible things.
        before: those of them that the data folder has.
        spelling: key ▶ tag of the data folder.
        program: what test.py did to the text.
    """
    keys = {name: _key(name) for name in names}
    new = {name: key for name, key in keys.items() if key not in spelling and key not in program.added}
    if not new or len(names) > MAX_CAPTION_TAGS:  # the caption lacks the others
        return []
    old = Counter(_key(caption).split()) - Counter(word for tag in before for word in _key(tag).split())
    return [name for name, key in new.items() if not Counter(key.split()) <= old]


def _has_another_separator(unknown: Sequence[str], rejected: Names, spelling: Mapping[str, str]) -> bool:
    """Return whether a text seems to be separated in another way than expected.

    One of its new tags then has in it a tag that the text lacks, as `red sky` has `red`; or it is several with a sign
    between them, as `red; sky`, one of which the data folder has.
    """
    keys = [_key(name) for name in unknown]
    if any(part.strip() in spelling for key in keys for part in SIGNS.split(key)):
        return True
    words = "|".join(re.escape(_key(tag)) for tag in rejected)
    return bool(words) and any(re.search(rf"(?<!\w)(?:{words})(?!\w)", key) for key in keys)


def _say_unused(
    unclear: Sequence[tuple[Path, Sequence[str], Names]], new: Sequence[tuple[str, Path]], min_positives: int
) -> None:
    """Name what people wrote that is not used.

    Args:
        unclear: texts that seem to have another separator; their tags as they were read, and those that they lack.
        new: pairs of a tag that the data folder does not have and the text that has it.
        min_positives: the number of groups of training pictures that a tag needs.
    """
    if unclear:
        path, names, lacking = unclear[0]
        number = counted(len(unclear), "text is", "texts are")
        lacks = f" and lacks {cut(', '.join(sorted(lacking)))}" if lacking else ""
        read = f"reads as {cut(' | '.join(names))!r}{lacks}"
        say(f"{number} not used, such as {path}, which {read}. Separate the tags as in the other texts; {MEANT}")
    if new:
        tag, path = new[0]
        names = counted(len({name for name, _ in new}), "new tag")
        pictures = counted(len({path for _, path in new}), "picture")
        enough = counted(min_positives, "training picture has", "training pictures have")
        where = f"such as {cut(tag)} in {path}: it stays in the text, and download.py --add brings it where {enough} it"
        say(f"{names} of {pictures} cannot be learned yet, {where}")


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
    read = reader.read(cells, [])
    names = [_spelled((without_namespace(name)[1] for name in of_cell), spelling) for of_cell in read]
    written: dict[Path, Written] = {}
    for path, before, after in zip(owners, names[::2], names[1::2], strict=True):
        program = written.setdefault(path, Written())
        program.added |= after - before
        program.removed |= before - after
        program.last = after
    return written


def _spelled(names: Iterable[str], spelling: Mapping[str, str]) -> Names:
    """Return tags spelled as in the data folder; those that it does not have become keys."""
    return frozenset(spelling.get(key, key) for key in map(_key, names))


def _key(tag: str) -> str:
    return tag.replace("_", " ").lower()
