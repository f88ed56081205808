"""Tag pictures (files, folders, patterns, addresses, the clipboard), and print or write their tags with probabilities."""

import sys
from pathlib import Path

from command import Parser, run
from common.errors import InputError, say
from common.processes import interrupted_only_after
from common.progress import progress
from dataset.records import CATEGORIES
from dataset.tag_text import TEXT_SUFFIXES
from inference import implied
from model import onnx_session

MODES = ("skip", "append", "overwrite")
MAX_PICTURES_WITHOUT_PROGRESS = 32


def main() -> None:
    """Tag the pictures. Name those that cannot be tagged, and continue with the others."""
    options = make_parser().parse_args()
    if options.undo is not None:
        undo(options)
        return
    check(options)
    from inference.sources import clipboard, find, read_list

    names = options.images + (read_list(options.list) if options.list else [])
    pictures = [*find(names, options.strict), *(clipboard(options.strict) if options.clipboard else [])]
    if not pictures:
        raise InputError("no picture to tag: pictures come first, or after --. Example: python test.py image.png")
    writer, errors, given = make_writer(options), [], len(pictures)
    if options.sidecar or options.keywords:
        pictures, errors = writer.select(pictures)
        for error in errors:
            say(f"error: {error}")
    try:
        if pictures:
            errors += tag(pictures, writer, options)
    finally:
        writer.finish()
    if errors:
        raise InputError(f"{len(errors)} of {given} pictures were not tagged")


def tag(pictures: list, writer, options) -> list[str]:
    """Predict and write the tags of pictures; return what went wrong, one line for a picture."""
    from dataset import images
    from inference.frames import Unreadable
    from inference.writers import OverlayWriter

    tagger = open_tagger(options)
    results = make_result_builder(options, tagger)
    results.check(tagger)
    if difference := images.version_difference(tagger.run.decode_version, f"the training data of {tagger.run.folder}"):
        say(difference)
    heat_maps = OverlayWriter(tagger, options.explain) if options.explain else None
    predictions = tagger.predict(pictures)
    if len(pictures) > MAX_PICTURES_WITHOUT_PROGRESS and not sys.stdout.isatty():
        predictions = progress(predictions, total=len(pictures), unit="images")
    errors = []
    for prediction in predictions:
        if isinstance(prediction, Unreadable):
            error = f"{prediction.source.name}: {prediction.reason}"
        else:
            result = results.build(tagger, prediction)
            with interrupted_only_after():
                error = writer.write(prediction.source, result)
            if heat_maps and not error:
                try:
                    say(heat_maps.write(prediction))
                except OSError as problem:
                    error = f"{prediction.source.name}: its heat map cannot be written: {problem.strerror}"
        if error:
            say(f"error: {error}")
            errors.append(error)
    return errors


def make_parser() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(__doc__)
    inputs = parser.add_argument_group("pictures")
    inputs.add_argument(
        "images", nargs="*", metavar="IMAGE", help="file, folder, pattern, http address, or - (standard input)"
    )
    inputs.add_argument("--list", metavar="FILE", help="text file with one picture on each line; - for standard input")
    inputs.add_argument("--clipboard", action="store_true", help="tag the picture, files or link in the clipboard")
    inputs.add_argument("--strict", action="store_true", help="refuse pictures that are cut short, instead of warning")
    inputs.add_argument("--run", type=Path, help="run folder, or an exported model.onnx (default: the newest under runs/)")
    inputs.add_argument("--added-tags", nargs="+", type=Path, metavar="FILE", default=[], help="files of train.py --teach")
    inputs.add_argument("--device", choices=onnx_session.PROVIDERS, help="what computes (default: a GPU, else the CPU)")

    selection = parser.add_argument_group("selection of tags")
    selection.add_argument("--threshold", type=float, help="lowest probability (default: the run's threshold of each tag)")
    selection.add_argument("--top", type=int, help="largest number of tags for each picture (default: all)")
    selection.add_argument("--category", nargs="+", choices=CATEGORIES, help="only tags of these categories")
    selection.add_argument(
        "--exclude",
        nargs="+",
        metavar="TAG",
        default=[],
        help="leave out these; also patterns, or @FILE (one on a line)",
    )

    selection.add_argument(
        "--implied",
        choices=implied.MODES,
        default=implied.ADD,
        help="tags that follow from others: add them, constrain all probabilities by them, or drop them (default: add)",
    )

    style = parser.add_argument_group("form of tags")
    style.add_argument("--replace", nargs="+", metavar="TAG=WORDS", default=[], help="write WORDS instead of TAG")
    style.add_argument("--prefix", nargs="+", metavar="TEXT", default=[], help="write these first for every picture")
    style.add_argument("--suffix", nargs="+", metavar="TEXT", default=[], help="write these last for every picture")
    style.add_argument("--file-name", action="store_true", help="write the file's name as a tag, without its suffix")
    style.add_argument("--by-name", action="store_true", help="sort by name instead of by probability")
    style.add_argument("--spaces", action="store_true", help="spaces instead of underscores, but not in emoticons")
    style.add_argument("--escape", action="store_true", help=r"\( and \) instead of parentheses")

    group = parser.add_argument_group("output")
    output = group.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one array of {file, tags}")
    output.add_argument("--jsonl", action="store_true", help="print the same objects, each on a line")
    output.add_argument("--csv", action="store_true", help="print file,tag,probability")
    output.add_argument("--danbooru", action="store_true", help="print the same without header, as Danbooru imports it")
    output.add_argument("--sidecar", choices=MODES, help="write a text file beside each; what to do if there is one")
    output.add_argument("--keywords", choices=MODES, help="write keywords into each file; what to do if there are some")
    output.add_argument("--undo", metavar="FOLDER", help="undo the last --sidecar or --keywords in a folder")

    group.add_argument("--extension", choices=TEXT_SUFFIXES, help="suffix of the text files of --sidecar (default: .txt)")

    more = parser.add_argument_group("more about a prediction")
    more.add_argument("--uncertainty", action="store_true", help="add the standard deviation of each probability")
    more.add_argument("--explain", metavar="TAG", help="save NAME.TAG.png, a heat map of where the network sees the tag")
    return parser


def check(options) -> None:
    """Reject options that are invalid or do not go together, before the network is loaded."""
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise InputError(f"--threshold has to be between 0 and 1. Received: {options.threshold}")
    if options.top is not None and options.top < 1:
        raise InputError(f"--top has to be at least 1. Received: {options.top}")
    if options.uncertainty and (options.csv or options.danbooru or options.sidecar or options.keywords):
        raise InputError("--uncertainty works with text, --json and --jsonl only")
    if options.extension and not options.sidecar:
        raise InputError("--extension goes with --sidecar")
    if options.keywords:
        from inference import keywords

        keywords.exiv2()


def open_tagger(options):
    """Return the tagger of a run, by default of the newest one, with the tags of --added-tags."""
    from inference.added_tags import with_added_tags
    from inference.tagger import Tagger
    from model import run_folder

    path = options.run or run_folder.newest(Path("runs"), "model.keras", "train.py")
    return with_added_tags(Tagger.open(path, options.device, onnx=True), options.added_tags)


def make_result_builder(options, tagger):
    """Return what turns a prediction of a tagger into a result."""
    from dataset.tag_names import TagNames
    from inference.ratings import DANBOORU_RATINGS
    from inference.results import ResultBuilder
    from inference.tag_style import Style, parse_replacements

    names = [tag.name for tag in tagger.run.tags]
    style = Style(
        exclude=frozenset(TagNames.read(options.exclude).among(names, "--exclude")),
        replace=(DANBOORU_RATINGS if options.danbooru else {}) | parse_replacements(options.replace, names),
        top=options.top,
        prefix=tuple(options.prefix),
        suffix=tuple(options.suffix),
        by_name=options.by_name,
        spaces=options.spaces,
        escape=options.escape,
    )
    categories = options.category
    # Every picture has a number and a rating: captions need neither, and Danbooru has ratings of its own names.
    unneeded = ("number", "rating") if options.sidecar or options.keywords else ("number",) if options.danbooru else ()
    if unneeded and not categories:
        categories = [name for name in CATEGORIES if name not in unneeded]
    return ResultBuilder(style, options.threshold, categories, options.uncertainty, options.file_name, options.implied)


def make_writer(options):
    """Return what prints or writes the results."""
    from inference import writers

    if options.sidecar or options.keywords:
        mode, suffix = options.keywords or options.sidecar, options.extension or ".txt"
        return writers.AnnotationWriter(mode, bool(options.keywords), suffix)
    if options.csv or options.danbooru:
        return writers.CsvWriter(options.danbooru)
    return writers.JsonWriter(options.jsonl) if options.json or options.jsonl else writers.TextWriter()


def undo(options) -> None:
    """Undo the last --sidecar or --keywords."""
    from inference import annotations

    if not options.undo or not Path(options.undo).is_dir():
        raise InputError(f"--undo needs a folder. Received: {options.undo!r}")
    if options != make_parser().parse_args(["--undo", options.undo]):
        raise InputError("--undo FOLDER goes with no other option and no picture")
    restored, changed, failed = annotations.undo(Path(options.undo))
    if not restored and not changed and not failed:
        raise InputError(f"nothing to undo in {options.undo}")
    for path in changed:
        say(f"{path} was changed since: left alone")
    for path, reason in failed.items():
        say(f"error: {path}: {reason}")
    print(f"{restored} files restored")
    if failed:
        raise InputError(f"{len(failed)} were not: make them writable, and run the same command again")


if __name__ == "__main__":
    run(main)
