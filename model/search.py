"""A picture or a sentence ▶ the indexed pictures nearest to it."""

import os
from pathlib import Path

import numpy as np

from command import InputError
from model import inputs
from model.joint import JointSpace
from model.picture_index import Match, PictureIndex
from model.predict import Unreadable, read_ahead


def search(space: JointSpace, index: PictureIndex, query: str, most: int) -> list[Match]:
    """Search by what the user typed.

    Args:
        space: the run.
        index: made with it.
        query: a file, an http(s) address, `-` for a picture on standard input, or else a sentence.
        most: pictures wanted; one that is searched by is none of them.

    Raises:
        InputError: it is nothing that can be searched by.
    """
    if not query.strip():
        raise InputError("expected a picture or a sentence to search by, received nothing")
    if os.path.isdir(query) and Path(query).name != query:  # noqa: PTH112 (as below)
        raise InputError(f"{query} is a folder: python search.py --index {query} adds its pictures")
    if not _names_a_picture(query):
        return by_sentence(space, index, query, most)
    source = next(inputs.find([query]))
    [picture] = read_ahead([source], space.tagger.read)
    if isinstance(picture, Unreadable):
        raise InputError(f"{query}: {picture.reason}")
    best: dict[Path, Match] = {}
    for vector in space.pictures(np.stack(picture.frames)):
        for match in index.near(vector, most + 1):
            best[match.path] = max(match, best.get(match.path, match), key=lambda match: match.score)
    itself = source.path and source.path.resolve()
    others = (match for match in best.values() if match.path.resolve() != itself)
    return sorted(others, key=lambda match: -match.score)[:most]


def by_sentence(space: JointSpace, index: PictureIndex, sentence: str, most: int) -> list[Match]:
    """The pictures that fit a sentence best."""
    return index.near(space.sentences([sentence])[0], most)


def shown(path: Path) -> str:
    """A file's path, from the working directory where it is below it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def facts(match: Match) -> dict:
    """A match for JSON."""
    return {"file": shown(match.path), "score": round(match.score, 4), "seconds": round(match.seconds, 3)}


def line(match: Match) -> str:
    """A match for a terminal."""
    moment = f"  at {match.seconds:.1f} s" if match.seconds else ""
    return f"{match.score:6.3f}  {shown(match.path)}{moment}"


def _names_a_picture(query: str) -> bool:
    """Whether it is a file or an address, or was meant for one: a name that ends as pictures do."""
    is_file = os.path.isfile(query)  # noqa: PTH113 (Path's raises where a sentence is too long for a name)
    return query == "-" or is_file or query.find("://") > 1 or Path(query).suffix.lower() in inputs.SUFFIXES
