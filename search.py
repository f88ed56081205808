"""Search your pictures by a picture or by a sentence, and find duplicates.

python search.py --align                           once for each run: learn to search by sentences
python search.py --index pictures/                 read all pictures; later: the new and changed ones
python search.py picture.png                       the most similar pictures
python search.py "someone crying with laughter"    the pictures that fit a sentence
python search.py --duplicates                      pictures that are the same or nearly the same
"""

import argparse
import json
from pathlib import Path

from command import Parser, run
from common.errors import InputError, say
from common.processes import import_quietly, use_cpu
from common.progress import progress
from model import onnx_session
from retrieval import sheet

DEFAULT_RESULTS = 12


def main() -> None:
    """Do the one thing that the options name: align, index, search or list duplicates."""
    options = make_parser().parse_args()
    check(options)
    from inference.tagger import model_file
    from model import run_folder

    path = options.run or run_folder.newest(Path("runs"), "model.keras", "train.py")
    index = options.into or model_file(path).parent / "index"
    if options.duplicates:
        print_duplicates(options, index)
        return
    if options.device == onnx_session.CPU:
        use_cpu()
    if options.align:
        import_quietly("keras")
        import_quietly("tensorflow")
    from retrieval.joint_space import JointSpace

    space = JointSpace(path, options.device)
    if options.align:
        align(options, space)
    elif options.index is not None:
        update_index(options, space, index)
    else:
        print_matches(options, space, index)


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "query", nargs="?", metavar="PICTURE or SENTENCE", help="file, http address, - (standard input), or a sentence"
    )
    parser.add_argument("--run", type=Path, help="run folder, or an exported model.onnx (default: the newest under runs/)")
    parser.add_argument("--device", choices=onnx_session.PROVIDERS, help="what computes (default: a GPU, else the CPU)")
    parser.add_argument("--index", nargs="*", metavar="PLACE", help="files and folders to add to the index; update it")
    parser.add_argument("--into", type=Path, help="folder of the index (default: index/ beside the model)")
    parser.add_argument("--align", action="store_true", help="learn to search by sentences")
    parser.add_argument("--data", type=Path, help="with --align: folder made by download.py (default: the run's)")
    parser.add_argument(
        "--text",
        default="wordllama",
        help="with --align: the text encoder, wordllama (default) or a folder with an ONNX encoder",
    )
    parser.add_argument("--duplicates", action="store_true", help="list indexed pictures that are the same or nearly so")
    parser.add_argument(
        "--top", type=int, default=DEFAULT_RESULTS, help=f"largest number of results (default: {DEFAULT_RESULTS})"
    )
    parser.add_argument("--strict", action="store_true", help="refuse new pictures that are cut short, instead of warning")
    parser.add_argument("--json", action="store_true", help="print one array of {file, score, seconds}")
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="also save the results as one picture")
    return parser


def check(options) -> None:
    """Reject options that are invalid or do not go together."""
    if options.top < 1:
        raise InputError(f"--top has to be at least 1. Received: {options.top}")
    actions = [options.query is not None, options.align, options.index is not None, options.duplicates]
    if sum(actions) != 1:
        raise InputError("expected one of a picture, a sentence, --index, --align and --duplicates (see search.py --help)")
    if options.sheet and options.query is None:
        raise InputError("--sheet shows search results: it needs a picture or a sentence to search by")
    if options.sheet and not options.sheet.parent.is_dir():
        raise InputError(f"--sheet {options.sheet}: there is no folder {options.sheet.parent}")


def align(options, space) -> None:
    """Learn the joint space, and print its evaluation."""
    from retrieval import alignment

    data = options.data or Path(space.run.data)
    print(f"test split of {data}: {alignment.summary(alignment.align(space, data, options.text))}")
    say(f"{space.folder} is written. Next: python search.py --index pictures/")


def update_index(options, space, index: Path) -> None:
    """Bring the index up to date, and print what has changed."""
    from retrieval import picture_index

    def with_progress(pictures, number: int):
        return progress(pictures, total=number, unit="images", description="indexing")

    update = picture_index.update(index, space, options.index, with_progress, options.strict)
    for file, reason in update.unreadable:
        say(f"cannot be read: {file}: {reason}")
    print(f"{index}: {update.pictures:,} pictures; {update.read:,} new or changed, {update.removed:,} removed")


def print_matches(options, space, index: Path) -> None:
    """Print the pictures nearest to a picture or a sentence."""
    from retrieval import query
    from retrieval.picture_index import PictureIndex

    matches = query.search(space, PictureIndex(index, space.version), options.query, options.top, options.strict)
    if options.json:
        print(json.dumps([query.as_json(match) for match in matches], ensure_ascii=False, indent=1))
    else:
        print("\n".join(map(query.as_line, matches)))
    if options.sheet:
        sheet.write_matches(options.sheet, matches)
        say(f"see {options.sheet}")


def print_duplicates(options, index: Path) -> None:
    """Print the sets of duplicates, with a blank line between two sets."""
    from retrieval import picture_index
    from retrieval.query import display_path

    sets = [list(map(display_path, paths)) for paths in picture_index.duplicates(index)]
    if options.json:
        print(json.dumps(sets, ensure_ascii=False, indent=1))
        return
    print("\n\n".join("\n".join(paths) for paths in sets))
    say(f"{sum(map(len, sets)):,} pictures in {len(sets):,} sets")


if __name__ == "__main__":
    run(main, when_interrupted="The same command continues.")
