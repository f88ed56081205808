"""An exported network in other programs' tagging code: the tags that they give, beside those of test.py.

    python -m benchmarks frontends PICTURES --run runs/openmoji/export/model.onnx --make data/openmoji

PICTURES are folders. --make fills the first one, if it does not exist, with 50 pictures of ten kinds. Programs that are not
installed are skipped: `dghs-imgutils`, `waifutagger`, `wd14-tagger-api`, `szurubooru-toolkit`, and those whose steps need
`opencv-python-headless`. So are the readers of `timm/`, `cl/` and `saved_model/`, where the export lacks them. Result:
frontends.json.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from benchmarks import mixed_pictures
from benchmarks.front_end_packages import PACKAGED
from benchmarks.front_ends import REBUILT, THRESHOLD, Tags
from benchmarks.other_formats import OTHER_FORMATS
from benchmarks.reporting import Table, report
from common.errors import InputError, say
from dataset import picture_files
from inference.tagger import Tagger

TITLES = ["loads", "same tags", "tags", "of one only", "twice", "not of the run", "pictures with other tags"]
TAG_COUNTS = ("tags", "differ", "twice", "unknown")
LONGEST_ERROR = 60  # characters in the table


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the folders of pictures and the export."""
    parser.add_argument("pictures", type=Path, nargs="+", help="folders of pictures")
    parser.add_argument("--run", type=Path, required=True, help="model.onnx, with selected_tags.csv beside it")
    parser.add_argument("--number", type=int, default=100, help="pictures of each folder (default: 100)")
    make_help = "make the first folder from the test pictures of this data folder"
    parser.add_argument("--make", type=Path, metavar="DATA", help=make_help)


def measure(options: argparse.Namespace) -> None:
    """Print, for each program, whether it loads the export and how its tags differ from those of the suite."""
    if options.make:
        mixed_pictures.make(options.pictures[0], options.make)
    files = [folder / name for folder in options.pictures for name in picture_files.find(folder).names[: options.number]]
    tagger = Tagger.open(options.run)
    known = {_readable(tag.name) for tag in tagger.run.tags}
    ours = {file: set(map(_readable, tags)) for file, tags in zip(files, tagger.tag(files, THRESHOLD), strict=True)}
    rows = []
    for name, load in (PACKAGED | REBUILT | OTHER_FORMATS).items():
        try:
            rows.append({"front_end": name} | compare(load, options.run.parent, ours, known))
        except InputError as error:
            say(f"{name}: {error}")
    figures = {"pictures": len(files), "rows": rows}
    report("frontends", table(figures), figures)


def compare(load: Callable[[Path], Tags], folder: Path, ours: dict[Path, set[str]], known: set[str]) -> dict:
    """Return how a program's tags differ from the suite's.

    Args:
        load: opens the export.
        folder: the folder of the export.
        ours: picture ▶ the suite's tags, with spaces.
        known: the run's tags, with spaces.

    Returns:
        `error`: why the program tags no picture, or nothing.
        Numbers of pictures: `same`, with the same tags; `failed`, with an error; `differ_by_kind`, others, by their folder.
        Numbers of tags: `tags`, of either; `differ`, of one only; `twice`, written again for the same picture; `unknown`,
        not of the run.
    """
    counts, differ_by_kind, errors = Counter[str](), Counter[str](), []
    try:
        tags_of = load(folder)
    except InputError:
        raise
    except Exception as error:  # each program fails in its own way, which is the result
        return {"error": _short(error)}
    for picture, our_tags in ours.items():
        try:
            written = [_readable(tag) for tag in tags_of(picture)]
        except Exception as error:
            errors.append(_short(error))
            continue
        their_tags = set(written)
        counts["same"] += their_tags == our_tags
        counts["tags"] += len(their_tags | our_tags)
        counts["differ"] += len(their_tags ^ our_tags)
        counts["twice"] += len(written) - len(their_tags)
        counts["unknown"] += len(their_tags - known)
        if their_tags != our_tags:
            differ_by_kind[picture.parent.name] += 1
    if len(errors) == len(ours):
        return {"error": errors[0]}
    numbers = {name: counts[name] for name in ("same", *TAG_COUNTS)}
    return {"error": "", **numbers, "failed": len(errors), "differ_by_kind": dict(differ_by_kind)}


def table(figures: dict) -> Table:
    """Return the table of a result: one row for each program."""
    rows = []
    for row in figures["rows"]:
        if row["error"]:
            rows.append([row["front_end"], row["error"], *[""] * (len(TITLES) - 1)])
            continue
        loads = f"yes, but {row['failed']} pictures" if row["failed"] else "yes"
        numbers = [f"{row['same']} of {figures['pictures']}", *(f"{row[name]:,}" for name in TAG_COUNTS)]
        kinds = ", ".join(f"{kind} {number}" for kind, number in row["differ_by_kind"].items())
        rows.append([row["front_end"], loads, *numbers, kinds])
    return Table(["", *TITLES], rows)


def _readable(tag: str) -> str:
    """Return a tag with spaces: some programs replace underscores."""
    return tag.replace("_", " ")


def _short(error: Exception) -> str:
    """Return an error in one line; of a missing file, its name without the folder."""
    if isinstance(error, FileNotFoundError):
        return f"{Path(error.filename).name} is missing" if error.filename else str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:LONGEST_ERROR]
