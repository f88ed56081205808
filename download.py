"""Choose a balanced sample of a board's posts and store it as TFRecord shards.

    python download.py --user NAME
    python download.py --board openmoji
    python download.py --board folder --images ~/pictures --csv tags.csv --out data/mine

    python download.py --board gallery-dl --images ~/gallery-dl --out data/mine
    python download.py --add --out data/mine

Ctrl-C stops it at any time: the same command continues where it stopped.
"""

import argparse
import datetime
import os
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from command import Parser, run
from common.errors import InputError, say
from dataset.boards.board import BOARDS, COLLECTIONS, Settings, open_board
from dataset.build.parts import Part
from dataset.records import CATEGORIES, RATINGS
from dataset.tag_text import SEPARATORS

if TYPE_CHECKING:
    from dataset.build.selection import Options

# Options ▶ the boards that have them.
BOARDS_OF = {
    ("user", "board_url", "rate", "default_exclude"): ("e621",),
    ("ratings", "exclude", "min_score", "min_tags", "after", "before"): ("e621", *COLLECTIONS),
    ("images", "strict"): COLLECTIONS,
    ("keep_case",): ("folder", "gallery-dl", "hydrus", "webdataset"),
    ("table",): ("folder", "table"),
    ("numbers", "id_column", "tags_column"): ("folder",),
    ("separator",): ("folder", "table", "webdataset"),
    ("tags_path",): ("hydrus",),
    ("aliases", "implications"): COLLECTIONS,
}


def main() -> None:
    """Check the arguments, build the data folder, continue it or add to it, and print a summary."""
    arguments = parse_arguments()
    out = arguments.out or Path("data") / arguments.board

    from dataset.build.add import add, recorded_options
    from dataset.build.build import build
    from dataset.build.summary import print_summary

    options = recorded_options(out).with_images(arguments.images) if arguments.add else options_from(arguments)
    if arguments.add and arguments.board not in (options.board, "e621"):
        raise InputError(f"--add: {out} was made with --board {options.board}, received --board {arguments.board}")
    settings = board_settings(options, arguments, out)
    say(
        f"{options.board} ▶ {out}: up to {options.tags:,} tags of at least {options.min_positives:,} groups, "
        f"{options.positives:,} posts wanted for each"
    )
    if arguments.add:
        manifest = add(lambda: open_board(options.board, settings), options, out, arguments.dry_run)
    else:
        manifest = build(lambda: open_board(options.board, settings), options, out, arguments.dry_run, arguments.part)
    if manifest:
        print_summary(out, manifest)


def parse_arguments() -> argparse.Namespace:
    """Read and check the command line.

    Raises:
        InputError: an argument is unknown or out of range.
    """
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--board", choices=BOARDS, default="e621", help="where pictures and tags come from (default %(default)s)"
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", action="append", default=[], help="folder of your images; may be repeated"
    )
    parser.add_argument(
        "--table",
        "--csv",
        type=Path,
        metavar="FILE",
        help="for --board folder, CSV or JSON of ids and tags (without it, .txt beside images); for --board table, the "
        "board's own in Parquet, JSON lines or CSV",
    )
    parser.add_argument(
        "--tags-path", metavar="KEY/KEY", help="for --board hydrus, where the tags are in JSON sidecars (default tags)"
    )
    parser.add_argument("--id-column", metavar="NAME", help="the table's column with the names of your images")
    parser.add_argument("--tags-column", metavar="NAME", help="the table's column with their tags")
    parser.add_argument(
        "--numbers", nargs="+", default=[], metavar="COLUMN", help="columns of numbers to learn from all images"
    )
    parser.add_argument(
        "--separator", choices=SEPARATORS, help="what separates your tags (default: decided from all of them)"
    )
    parser.add_argument("--keep-case", action="store_true", help="leave capitals in your tags as they are")
    parser.add_argument(
        "--strict", action="store_true", help="leave out your images that are cut short, instead of using what is there"
    )
    for kind in ("aliases", "implications"):
        parser.add_argument(f"--{kind}", type=Path, metavar="FILE", help=f"a board's table of {kind} of your tags")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the data folder to write (default data/BOARD)")
    add_selection_arguments(parser)
    add_filter_arguments(parser)
    parser.add_argument(
        "--add",
        action="store_true",
        help="bring a complete data folder up to date, with its own options and the folders of --images added",
    )
    parser.add_argument("--part", type=part, default="1/1", metavar="I/N", help="make part I of N, for several machines")
    parser.add_argument("--dry-run", action="store_true", help="print what would be downloaded, and stop")
    parser.add_argument(
        "--size", type=int, default=320, help="short side of stored images at most, in pixels (default %(default)s)"
    )
    add_e621_arguments(parser)
    arguments = parser.parse_args()
    if arguments.add:
        check_only_images(arguments, parser)
        return arguments
    check_arguments(arguments, parser)
    return arguments


def add_selection_arguments(parser: Parser) -> None:
    """Add the options that decide which tags and posts are chosen, and their splits."""
    parser.add_argument("--tags", type=int, default=1024, help="number of tags, the most frequent (default %(default)s)")
    parser.add_argument("--positives", type=int, default=512, help="posts wanted for each tag (default %(default)s)")
    parser.add_argument(
        "--sampling",
        choices=("cover", "e6tag"),
        default="cover",
        help="cover: few posts with many tags each; e6tag: each post counts for its rarest tag (default %(default)s)",
    )
    parser.add_argument("--posts", type=int, default=0, help="smallest number of posts in total (default %(default)s)")
    parser.add_argument(
        "--min-positives",
        type=int,
        default=1,
        help="leave out tags with fewer training posts; variants of a picture count once (default %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed for the choice and the order of posts (default %(default)s)"
    )
    parser.add_argument(
        "--val", type=float, default=5.0, help="validation split, percent of the groups (default %(default)g)"
    )
    parser.add_argument("--test", type=float, default=5.0, help="test split, percent of the groups (default %(default)g)")
    parser.add_argument(
        "--categories",
        nargs="+",
        choices=CATEGORIES,
        default=["general"],
        metavar="CATEGORY",
        help=f"categories from which tags are chosen: {', '.join(CATEGORIES)} (default general)",
    )


def add_filter_arguments(parser: Parser) -> None:
    """Add the options that decide which posts are eligible, for all boards but openmoji."""
    group = parser.add_argument_group("which posts are eligible")
    names = ("s", "q", "e", "g", *RATINGS)
    group.add_argument(
        "--ratings",
        nargs="+",
        choices=names,
        metavar="RATING",
        help="letters of the board, or general, sensitive, safe, questionable, explicit (default s for e621, otherwise all)",
    )
    group.add_argument(
        "--exclude",
        nargs="+",
        metavar="TAG",
        help="leave out posts with any of these: tags, patterns, or @FILE with one on each line (e621: besides comic)",
    )
    group.add_argument("--min-score", type=int, metavar="N", help="leave out posts with a lower score")
    group.add_argument("--min-tags", type=int, metavar="N", help="leave out posts with fewer tags")
    group.add_argument("--after", type=day, metavar="DATE", help="leave out posts before this day, such as 2020-12-31")
    group.add_argument("--before", type=day, metavar="DATE", help="leave out posts from this day on")


def add_e621_arguments(parser: Parser) -> None:
    """Add the options of the board e621 alone."""
    group = parser.add_argument_group("--board e621")
    group.add_argument("--user", metavar="NAME", help="your name on the site, which requires it (default $E6TAG_USER)")
    group.add_argument("--board-url", metavar="URL", help="a site with the same interface (default https://e621.net)")
    group.add_argument(
        "--rate", type=float, help="requests per second to each host, 0: no limit (default 2, or the limit of robots.txt)"
    )
    group.add_argument(
        "--no-default-exclude", dest="default_exclude", action="store_false", default=None, help="do not leave out comic"
    )


def check_only_images(arguments: argparse.Namespace, parser: Parser) -> None:
    """Raise an InputError if --add comes with an option that belongs to the data folder already."""
    allowed = ("add", "board", "out", "images", "user", "rate", "dry_run", "part")
    given = [name for name, value in vars(arguments).items() if value != parser.get_default(name)]
    if others := [name for name in given if name not in allowed]:
        raise InputError(f"--add uses the options of the data folder: leave out --{others[0].replace('_', '-')}")


def check_arguments(arguments: argparse.Namespace, parser: Parser) -> None:
    """Raise an InputError if an argument is out of range or does not belong to the board."""
    for name in ("tags", "positives", "min_positives", "size"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be 1 or more, received {getattr(arguments, name)}")
    for name in ("posts", "min_tags"):
        if (getattr(arguments, name) or 0) < 0:
            raise InputError(f"--{name.replace('_', '-')} must be 0 or more, received {getattr(arguments, name)}")
    if arguments.out and arguments.out.exists() and not arguments.out.is_dir():
        raise InputError(f"--out {arguments.out} is a file: expected a folder, or the name of a new one")
    if not (arguments.val >= 0 and arguments.test >= 0 and arguments.val + arguments.test < 100):
        raise InputError(
            "--val and --test are percentages, 0 or more, and must leave something for training: "
            f"received {arguments.val:g} and {arguments.test:g}"
        )
    for names, boards in BOARDS_OF.items():
        given = [name for name in names if getattr(arguments, name) != parser.get_default(name)]
        if given and arguments.board not in boards:
            option = given[0].replace("default_exclude", "no_default_exclude").replace("_", "-")
            raise InputError(f"--{option} belongs to --board {' or '.join(boards)}, received --board {arguments.board}")


def part(text: str) -> Part:
    """Parse a part of the sample, for example 2/4."""
    try:
        return Part.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a part like 2/4, received {text!r}") from None


def day(text: str) -> str:
    """Check a date, and return it in ISO format, which the board uses."""
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a date like 2020-12-31, received {text!r}") from None


def options_from(arguments: argparse.Namespace) -> "Options":
    """Return the options of a data folder, with defaults for missing arguments.

    Raises:
        InputError: a file with tags to exclude cannot be read, or e621 has no such rating.
    """
    from dataset.boards.e621 import SITE_URL
    from dataset.boards.filters import Filters
    from dataset.build.selection import Options
    from dataset.tag_names import TagNames

    limits = {name: getattr(arguments, name) for name in ("min_score", "min_tags", "after", "before")}
    excluded, by_default = TagNames.read(arguments.exclude or ()), arguments.default_exclude is not False
    filters = Filters.asked(arguments.board, arguments.ratings or (), excluded, by_default, **limits)
    names = {field.name for field in fields(Options)} & vars(arguments).keys()
    values = {name: getattr(arguments, name) for name in names} | {
        "images": None,
        "csv": str(arguments.table) if arguments.table else None,
        "aliases": str(arguments.aliases) if arguments.aliases else None,
        "implications": str(arguments.implications) if arguments.implications else None,
        "categories": sorted(set(arguments.categories), key=CATEGORIES.__getitem__),
        "posts": sys.maxsize if arguments.numbers else arguments.posts,
        "board_url": (arguments.board_url or SITE_URL).rstrip("/") if arguments.board == "e621" else None,
        "filters": filters.as_recorded() if filters else None,
        "numbers": arguments.numbers or None,
        "keep_case": arguments.keep_case or None,
        "strict": arguments.strict or None,
    }
    return Options(**values).with_images(arguments.images)


def board_settings(options: "Options", arguments: argparse.Namespace, out: Path) -> Settings:
    """Return what the board needs to know.

    The export of e621 is cached beside the data folders, in `.exports`, because several data folders use the same one.

    Raises:
        InputError: an address or a rate cannot be used, or a table of rules cannot be read.
    """
    from dataset.boards.e621 import Access
    from dataset.tag_names import TagNames

    settings = options.board_settings()
    if settings.filters:  # names that are typed have to be those of tags; the manifest does not record how they were given
        typed = TagNames.read(arguments.exclude or ()).typed
        settings = replace(settings, filters=replace(settings.filters, typed=typed))
    if options.board_url:
        user, caches = arguments.user or os.environ.get("E6TAG_USER", ""), out.parent / ".exports"
        settings = replace(settings, access=Access.to(options.board_url, user, arguments.rate, caches))
    return settings


if __name__ == "__main__":
    run(main, when_interrupted="Run the same command again to continue.")
