"""Tag the files of a hydrus client: print their tags, or write them to one of its tag services."""

import os
from functools import partial
from pathlib import Path

from command import Parser, run
from common.errors import InputError, say
from common.progress import progress, say_above
from dataset.records import CATEGORIES
from model import onnx_session

KEY_VARIABLE = "E6TAG_HYDRUS_KEY"


def main() -> None:
    """Search files, tag them, and print or write the tags. Name those that cannot be tagged, and continue."""
    options = parse_arguments()
    from inference.hydrus_client import HydrusClient

    client = HydrusClient(options.address, options.key or os.environ.get(KEY_VARIABLE, ""), options.remote)
    service = client.local_tag_service(options.service)
    files = client.search([*options.query, f"-{options.mark}"])
    if not files:
        say(f"no file of this search is without the tag {options.mark!r}: there is nothing to do")
        return
    errors = tag(client, service, files, options)
    if not options.write:
        say(f"nothing was written; --write gives these tags, and {options.mark!r}, to {len(files) - errors} files")
    if errors:
        raise InputError(f"{errors} of {len(files)} files were not tagged")


def tag(client, service: str, files: dict[int, str], options) -> int:
    """Predict and write the tags of files; return how many could not be tagged."""
    from dataset.tag_names import TagNames
    from inference.added_tags import with_added_tags
    from inference.frames import Unreadable
    from inference.hydrus_client import hydrus_names
    from inference.results import ResultBuilder
    from inference.sources import Source
    from inference.tag_style import Style
    from inference.tagger import Tagger
    from inference.writers import TextWriter
    from model import run_folder

    path = options.run or run_folder.newest(Path("runs"), "model.keras", "train.py")
    tagger = with_added_tags(Tagger.open(path, options.device, onnx=True), options.added_tags)
    excluded = TagNames.read(options.exclude).among([tag.name for tag in tagger.run.tags], "--exclude")
    style = Style(exclude=frozenset(excluded), replace=hydrus_names(tagger.run.tags), spaces=True)
    results = ResultBuilder(style, options.threshold, options.category)
    results.check(tagger)
    predictions = tagger.predict([Source(name, partial(client.read, number)) for number, name in files.items()])
    shown = progress(predictions, total=len(files), unit="files") if options.write else predictions
    errors = 0
    for number, prediction in zip(files, shown, strict=True):
        if isinstance(prediction, Unreadable):
            say_above(f"error: {prediction.source.name}: {prediction.reason}")
            errors += 1
            continue
        result = results.build(tagger, prediction)
        if not options.write:
            TextWriter().write(prediction.source, result)
            continue
        if result["tags"]:
            client.add_tags(number, service, list(result["tags"]), again=False)
        # The mark comes last: a file that an interruption left without it is tagged again.
        client.add_tags(number, service, [options.mark], again=True)
    return errors


def parse_arguments():
    """Return the options of the command line."""
    parser = Parser(__doc__)
    parser.add_argument("query", nargs="+", help='search of hydrus, each part one argument: "system:filetype is image" cat')
    parser.add_argument("--write", action="store_true", help="write the tags (default: print them)")
    parser.add_argument("--service", default="my tags", help="local tag service that gets the tags (default: my tags)")
    parser.add_argument("--mark", default="tagged by:e6tag", help="tag of files that are done (default: tagged by:e6tag)")
    parser.add_argument("--key", help=f"access key of the client API (default: the environment variable {KEY_VARIABLE})")
    parser.add_argument("--address", default="http://127.0.0.1:45869", help="of the client API (default: %(default)s)")
    parser.add_argument("--remote", action="store_true", help="allow an --address that is not this computer")
    parser.add_argument("--run", type=Path, help="run folder, or an exported model.onnx (default: the newest under runs/)")
    parser.add_argument("--added-tags", nargs="+", type=Path, metavar="FILE", default=[], help="files of train.py --teach")
    parser.add_argument("--device", choices=onnx_session.PROVIDERS, help="what computes (default: a GPU, else the CPU)")
    parser.add_argument("--threshold", type=float, help="lowest probability (default: the run's threshold of each tag)")
    categories = [name for name in CATEGORIES if name != "number"]  # numbers are predicted for every picture
    parser.add_argument("--category", nargs="+", choices=categories, default=categories, help="only these categories")
    parser.add_argument("--exclude", nargs="+", metavar="TAG", default=[], help="leave out these; patterns, or @FILE")
    options = parser.parse_args()
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise InputError(f"--threshold has to be between 0 and 1. Received: {options.threshold}")
    if not options.mark.strip() or options.mark.startswith(("-", "system:")) or "*" in options.mark:
        raise InputError(f"--mark has to be a plain tag. Received: {options.mark!r}")
    if not options.key and not os.environ.get(KEY_VARIABLE):
        raise InputError(f"give the access key of hydrus' client API with --key, or in {KEY_VARIABLE}")
    return options


if __name__ == "__main__":
    run(main, "Files that were written have their tags; the same command continues with the others.")
