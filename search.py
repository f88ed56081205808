"""Find pictures by a picture or by a sentence, and pictures that are there twice.

python search.py --align                           once: teach the run which words belong to what it sees
python search.py --index pictures/                 look at all pictures; again: at new and changed ones
python search.py picture.png                       the pictures most like it
python search.py "someone crying with laughter"    the pictures that fit a sentence
python search.py --duplicates                      pictures that are the same or look alike
"""

import argparse
import json
from pathlib import Path

from command import InputError, Parser, import_quietly, run, say

SHOWN = 12


def main() -> None:
    """Do what the options ask for."""
    given = parser().parse_args()
    if given.top < 1:
        raise InputError(f"--top has to be at least 1. Received: {given.top}")
    actions = [given.query is not None, given.align, given.index is not None, given.duplicates]
    if sum(actions) != 1:
        raise InputError("expected one of a picture, a sentence, --index, --align and --duplicates (see search.py --help)")
    if given.sheet and given.query is None:
        raise InputError("--sheet is a picture of what was found: give it with a picture or a sentence")
    if given.sheet and not given.sheet.parent.is_dir():
        raise InputError(f"--sheet {given.sheet}: there is no folder {given.sheet.parent}")
    from model import runs

    path = given.run or runs.newest(Path("runs"), "model.keras", "train.py")
    model = path if path.suffix == ".onnx" else path / "model.keras"
    index = given.into or model.parent / "index"
    if given.duplicates:
        show_duplicates(given, index)
        return
    if given.align:
        import_quietly("keras")
        import_quietly("tensorflow")
    from model.joint import JointSpace

    space = JointSpace(model)
    if given.align:
        align(given, space)
    elif given.index is not None:
        bring_up_to_date(given, space, index)
    else:
        show_matches(given, space, index)


def parser() -> Parser:
    """The options of the command line."""
    options = Parser(__doc__)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("query", nargs="?", metavar="PICTURE or SENTENCE", help="file, http address, - ; or words")
    options.add_argument("--run", type=Path, help="run folder, or an exported model.onnx (default: the newest under runs/)")
    options.add_argument(
        "--index", nargs="*", metavar="PLACE", help="files and folders to add to the index, if any; update it"
    )
    options.add_argument("--into", type=Path, help="folder of the index (default: index/ beside the model)")
    options.add_argument("--align", action="store_true", help="learn to find pictures by sentences")
    options.add_argument("--data", type=Path, help="of --align: folder made by download.py (default: the run's)")
    options.add_argument(
        "--text",
        default="wordllama",
        help="of --align: the text tower, wordllama (default) or a folder with an ONNX encoder",
    )
    options.add_argument("--duplicates", action="store_true", help="list indexed pictures that are the same or look alike")
    options.add_argument("--top", type=int, default=SHOWN, help=f"show at most this many pictures (default: {SHOWN})")
    options.add_argument("--json", action="store_true", help="print one array of {file, score}")
    options.add_argument("--sheet", type=Path, metavar="FILE.png", help="also save a picture of what was found")
    return options


def align(given, space) -> None:
    """Learn the joint space, and say what it is worth."""
    from model import alignment

    data = given.data or Path(space.run.data)
    print(f"test split of {data}: {alignment.summary(alignment.align(space, data, given.text))}")
    say(f"{space.folder} is written. Next: python search.py --index pictures/")


def bring_up_to_date(given, space, index: Path) -> None:
    """Index pictures."""
    from tqdm import tqdm

    from model import picture_index

    def show(pictures, number: int):
        return tqdm(pictures, total=number, unit=" images", desc="index", dynamic_ncols=True)

    done = picture_index.update(index, space, given.index, show)
    for file, reason in done.unreadable:
        say(f"cannot be read: {file}: {reason}")
    print(f"{index}: {done.pictures:,} pictures; {done.looked_at:,} were new or changed, {done.dropped:,} have gone")


def show_matches(given, space, index: Path) -> None:
    """Print what is nearest to a picture or a sentence."""
    from model import search
    from model.picture_index import PictureIndex

    found = search.search(space, PictureIndex(index, space.version), given.query, given.top)
    if given.json:
        print(json.dumps([search.facts(match) for match in found], ensure_ascii=False, indent=1))
    else:
        print("\n".join(map(search.line, found)))
    if given.sheet:
        from report import contact_sheet

        contact_sheet.write_matches(given.sheet, found)
        say(f"see {given.sheet}")


def show_duplicates(given, index: Path) -> None:
    """Print the sets of pictures that are the same or look alike, a blank line between two sets."""
    from model import picture_index
    from model.search import shown

    sets = [list(map(shown, paths)) for paths in picture_index.duplicates(index)]
    if given.json:
        print(json.dumps(sets, ensure_ascii=False, indent=1))
        return
    print("\n\n".join("\n".join(paths) for paths in sets))
    say(f"{sum(map(len, sets)):,} pictures in {len(sets):,} sets")


if __name__ == "__main__":
    run(main, when_interrupted="The same command goes on.")
