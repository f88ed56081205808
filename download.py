"""Choose a balanced sample of a board's posts and store it as TFRecord shards.

    python download.py --user NAME
    python download.py --board openmoji
    python download.py --board folder --images ~/pictures --csv tags.csv --out data/mine

Ctrl-C stops it at any time: the same command continues where it stopped.
"""

import argparse
import csv
import datetime
import os
import re
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from command import Parser, run
from common.errors import InputError, say
from dataset.boards.board import BOARDS, open_board
from dataset.build.parts import Part
from dataset.records import CATEGORIES
from dataset.tag_text import SEPARATORS, TagReader

if TYPE_CHECKING:
    from dataset.boards.e621 import Access
    from dataset.boards.post_filter import Filters

FILTERS = ("ratings", "exclude", "default_exclude", "min_score", "min_tags", "after", "before")
E621_ARGUMENTS = ("user", "board_url", "rate", *FILTERS)


def main() -> None:
    """Check the arguments, build the data folder or continue it, and print a summary."""
    arguments = parse_arguments()
    out = arguments.out or Path("data") / arguments.board

    from dataset.boards.tag_table import Columns
    from dataset.build.build import build
    from dataset.build.selection import Options

    access, filters = e621_settings(arguments, out) if arguments.board == "e621" else (None, None)
    images, table = (str(path) if path else None for path in (arguments.images, arguments.csv))
    options = Options(
        board=arguments.board,
        images=images,
        csv=table,
        tags=arguments.tags,
        positives=arguments.positives,
        min_positives=arguments.min_positives,
        size=arguments.size,
        seed=arguments.seed,
        val=arguments.val,
        test=arguments.test,
        categories=sorted(set(arguments.categories), key=CATEGORIES.__getitem__),
        sampling=arguments.sampling,
        posts=sys.maxsize if arguments.numbers else arguments.posts,
        board_url=access.url if access else None,
        filters={name: value for name, value in asdict(filters).items() if name != "typed"} if filters else None,
        numbers=arguments.numbers or None,
        separator=arguments.separator,
        keep_case=arguments.keep_case or None,
        id_column=arguments.id_column,
        tags_column=arguments.tags_column,
        strict=arguments.strict or None,
    )
    columns = Columns(arguments.numbers, arguments.id_column or "", arguments.tags_column or "")
    reader = TagReader(arguments.separator or "", arguments.keep_case)
    say(
        f"{arguments.board} ▶ {out}: up to {options.tags:,} tags of at least {options.min_positives:,} groups, "
        f"{options.positives:,} posts wanted for each"
    )
    manifest = build(
        lambda: open_board(
            arguments.board, arguments.images, arguments.csv, access, filters, columns, reader, arguments.strict
        ),
        options,
        out,
        arguments.dry_run,
        arguments.part,
    )
    if manifest:
        report(out, manifest)


def parse_arguments() -> argparse.Namespace:
    """Read and check the command line.

    Raises:
        InputError: an argument is unknown or out of range.
    """
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--board", choices=BOARDS, default="e621", help="where pictures and tags come from (default %(default)s)"
    )
    parser.add_argument("--images", type=Path, metavar="DIR", help="your images, for --board folder")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="CSV or JSON of ids and tags; without it, .txt beside images"
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
    parser.add_argument("--out", type=Path, metavar="DIR", help="the data folder to write (default data/BOARD)")
    add_selection_arguments(parser)
    parser.add_argument("--part", type=part, default="1/1", metavar="I/N", help="make part I of N, for several machines")
    parser.add_argument("--dry-run", action="store_true", help="print what would be downloaded, and stop")
    parser.add_argument(
        "--size", type=int, default=320, help="short side of stored images at most, in pixels (default %(default)s)"
    )
    add_e621_arguments(parser)
    arguments = parser.parse_args()
    check_arguments(arguments)
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


def add_e621_arguments(parser: Parser) -> None:
    """Add the options of the board e621: how to reach it, and which of its posts are eligible."""
    group = parser.add_argument_group("--board e621")
    group.add_argument("--user", metavar="NAME", help="your name on the site, which requires it (default $E6TAG_USER)")
    group.add_argument("--board-url", metavar="URL", help="a site with the same interface (default https://e621.net)")
    group.add_argument(
        "--rate", type=float, help="requests per second to each host, 0: no limit (default 2, or the limit of robots.txt)"
    )
    group.add_argument("--ratings", nargs="+", choices=("s", "q", "e"), help="safe, questionable, explicit (default s)")
    group.add_argument(
        "--exclude",
        nargs="+",
        metavar="TAG",
        help="leave out posts with any of these, besides comic: tags, patterns, or @FILE with one on each line",
    )
    group.add_argument(
        "--no-default-exclude", dest="default_exclude", action="store_false", default=None, help="do not leave out comic"
    )
    group.add_argument("--min-score", type=int, metavar="N", help="leave out posts with a lower score")
    group.add_argument("--min-tags", type=int, metavar="N", help="leave out posts with fewer tags")
    group.add_argument("--after", type=day, metavar="DATE", help="leave out posts before this day, such as 2020-12-31")
    group.add_argument("--before", type=day, metavar="DATE", help="leave out posts from this day on")


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raise an InputError if an argument is out of range or does not belong to the board."""
    for name in ("tags", "positives", "min_positives", "size"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be 1 or more, received {getattr(arguments, name)}")
    if arguments.posts < 0:
        raise InputError(f"--posts must be 0 or more, received {arguments.posts}")
    if arguments.out and arguments.out.exists() and not arguments.out.is_dir():
        raise InputError(f"--out {arguments.out} is a file: expected a folder, or the name of a new one")
    if not (arguments.val >= 0 and arguments.test >= 0 and arguments.val + arguments.test < 100):
        raise InputError(
            "--val and --test are percentages, 0 or more, and must leave something for training: "
            f"received {arguments.val:g} and {arguments.test:g}"
        )
    for name in ("numbers", "id_column", "tags_column", "separator", "keep_case", "strict"):
        if arguments.board != "folder" and getattr(arguments, name):
            option = name.replace("_", "-")
            raise InputError(f"--{option} belongs to --board folder, received --board {arguments.board}")
    e621_only = [name for name in E621_ARGUMENTS if getattr(arguments, name) is not None]
    if e621_only and arguments.board != "e621":
        option = e621_only[0].replace("default_exclude", "no_default_exclude").replace("_", "-")
        raise InputError(f"--{option} belongs to --board e621, received --board {arguments.board}")


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


def e621_settings(arguments: argparse.Namespace, out: Path) -> "tuple[Access, Filters]":
    """Return how to reach the board and which posts are eligible, with defaults for missing arguments.

    The export is cached beside the data folders, in `.exports`, because several data folders use the same one.

    Raises:
        InputError: an argument is out of range.
    """
    from dataset.boards.e621 import SITE_URL, Access
    from dataset.boards.post_filter import EXCLUDED_BY_DEFAULT, Filters
    from dataset.tag_names import TagNames

    url = (arguments.board_url or SITE_URL).rstrip("/")
    parts = urlsplit(url)
    try:
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port is not a number, or out of range
        usable = False
    if not usable:
        raise InputError(f"--board-url must be like https://e621.net, received {url!r}")
    rate = arguments.rate
    if rate is not None and not 0 <= rate < float("inf"):
        raise InputError(f"--rate must be 0 or more requests a second, received {rate:g}")
    user = arguments.user or os.environ.get("E6TAG_USER", "")
    cache = out.parent / ".exports" / re.sub(r"[^\w.-]", "_", parts.netloc + parts.path)
    names = ("min_score", "min_tags", "after", "before")
    filters = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.ratings:
        filters["ratings"] = sorted(set(arguments.ratings))
    excluded = TagNames.read(arguments.exclude or ())
    by_default = () if arguments.default_exclude is False else EXCLUDED_BY_DEFAULT
    every_name = sorted({*excluded.typed, *excluded.listed, *by_default})
    return Access(url, user, rate, cache), Filters(exclude=every_name, typed=excluded.typed, **filters)


def report(out: Path, manifest: dict) -> None:
    """Print a summary of a data folder."""
    from dataset.records import read_tags

    print(f"{'split':<8}{'images':>10}{'labels':>12}{'per image':>11}{'quarantined':>13}{'shards':>8}")
    for split, counts in manifest["splits"].items():
        mean = counts["labels"] / counts["written"] if counts["written"] else 0
        print(
            f"{split:<8}{counts['written']:>10,}{counts['labels']:>12,}{mean:>11.1f}"
            f"{counts['quarantined']:>13,}{counts['shards']:>8,}"
        )
    part = Part.parse(manifest.get("part", "1/1"))
    tags = sorted(read_tags(out / part.name("tags.csv")), key=lambda tag: (tag.count, tag.name))
    images = manifest["splits"]["train"]["written"]
    if everywhere := [tag.name for tag in tags if tag.count >= max(images - 1, 1) and tag.category != CATEGORIES["number"]]:
        say(f"warning: all training images, or all but one, have {', '.join(everywhere)}: that cannot be learned")
    print(f"\n{len(tags):,} tags; fewest training images: " + ", ".join(f"{tag.name} {tag.count:,}" for tag in tags[:5]))
    if gone := sum(counts["gone"] for counts in manifest["splits"].values()):
        print(f"{gone:,} pictures are no longer on the board")
    for reason, number in manifest["skipped"].items():
        print(f"{number:,} skipped: {reason}")
    if (near_duplicates := manifest.get("alike", {})).get("pictures"):
        pictures, moved = near_duplicates["pictures"], near_duplicates["moved"]
        print(f"{pictures:,} pictures resemble one of another group; {moved:,} pictures were moved to the same split")
    with (out / part.name("quarantine.csv")).open(newline="", encoding="utf-8") as file:
        # The kind of reason, without the details after it.
        reasons = Counter(re.split(r"[:(]", row["reason"])[0].strip() for row in csv.DictReader(file))
    for reason, number in reasons.most_common(5):
        print(f"{number:,} quarantined: {reason}")
    if manifest["attribution"]:
        print(manifest["attribution"])
    if part.count > 1:
        say(f"part {manifest['part']} is complete; when all parts are in one folder, the command without --part joins them")


if __name__ == "__main__":
    run(main, when_interrupted="Run the same command again to continue.")
