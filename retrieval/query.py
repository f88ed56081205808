"""Search an index by a picture or by a sentence."""

import os
from pathlib import Path

import numpy as np

from common.errors import InputError
from dataset import picture_files
from inference import sources
from inference.frames import Unreadable, read_ahead
from retrieval.joint_space import JointSpace
from retrieval.picture_index import Match, PictureIndex


def search(space: JointSpace, index: PictureIndex, query: str, max_results: int, strict: bool = False) -> list[Match]:
    """Return the indexed pictures nearest to a query, the nearest first.

    Args:
        space: joint space of the run.
        index: index that was made with it.
        query: a file, an http(s) address, `-` for a picture on standard input, or else a sentence.
        max_results: largest number of results. A picture that is the query is not among them.
        strict: refuse a picture that is cut short.

    Raises:
        InputError: the query is empty, a folder, or a picture that cannot be read.
    """
    if not query.strip():
        raise InputError("expected a picture or a sentence to search by, received nothing")
    if os.path.isdir(query) and Path(query).name != query:  # noqa: PTH112 (as below)
        raise InputError(f"{query} is a folder: python search.py --index {query} adds its pictures")
    if not _names_a_picture(query):
        return search_by_sentence(space, index, query, max_results)
    source = next(sources.find([query], strict))
    [picture] = read_ahead([source], space.tagger.read)
    if isinstance(picture, Unreadable):
        raise InputError(f"{query}: {picture.reason}")
    best: dict[Path, Match] = {}
    for vector in space.embed_pictures(np.stack(picture.frames)):
        for match in index.nearest(vector, max_results + 1):
            best[match.path] = max(match, best.get(match.path, match), key=lambda match: match.score)
    itself = source.path and source.path.resolve()
    others = (match for match in best.values() if match.path.resolve() != itself)
    return sorted(others, key=lambda match: -match.score)[:max_results]


def search_by_sentence(space: JointSpace, index: PictureIndex, sentence: str, max_results: int) -> list[Match]:
    """Return the indexed pictures nearest to a sentence, the nearest first."""
    return index.nearest(space.embed_sentences([sentence])[0], max_results)


def display_path(path: Path) -> str:
    """Return a path relative to the working directory if it is below it, and unchanged otherwise."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def as_json(match: Match) -> dict:
    """Return a match in the form for `--json`."""
    return {"file": display_path(match.path), "score": round(match.score, 4), "seconds": round(match.seconds, 3)}


def as_line(match: Match) -> str:
    """Return a match as a line for a terminal."""
    seconds = f"  at {match.seconds:.1f} s" if match.seconds else ""
    return f"{match.score:6.3f}  {display_path(match.path)}{seconds}"


def _names_a_picture(query: str) -> bool:
    """Whether a query is a file, an address, standard input, or ends like the name of a picture file."""
    is_file = os.path.isfile(query)  # noqa: PTH113 (Path's raises if a sentence is too long for a name)
    return query == "-" or is_file or query.find("://") > 1 or picture_files.is_picture(Path(query))
