"""Choose a balanced sample of a board's posts and store it as TFRecord shards.

    python download.py --board openmoji
    python download.py --board folder --images ~/pictures --csv tags.csv --out data/mine

Stop it with Ctrl-C at any time: the same command goes on where it stopped.
"""

import argparse
import csv
import re
from collections import Counter
from pathlib import Path

from command import InputError, Parser, run, say
from dataset.boards import BOARDS, CATEGORIES, open_board


def main() -> None:
    arguments = parse_arguments()
    out = arguments.out or Path("data") / arguments.board

    from dataset.selection import Options
    from dataset.shards import build

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
        categories=sorted(set(arguments.categories), key=CATEGORIES.get),
    )
    say(
        f"{arguments.board} ▶ {out}: up to {options.tags:,} tags of at least {options.min_positives:,} groups, "
        f"{options.positives:,} posts wanted for each"
    )
    manifest = build(lambda: open_board(arguments.board, arguments.images, arguments.csv), options, out)
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
    parser.add_argument("--csv", type=Path, metavar="FILE", help="table of id and tags; without it, .txt beside images")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the data folder to write (default data/BOARD)")
    parser.add_argument("--tags", type=int, default=1024, help="how many tags, the most frequent (default %(default)s)")
    parser.add_argument(
        "--positives", type=int, default=512, help="posts wanted for each tag, rarest tags first (default %(default)s)"
    )
    parser.add_argument(
        "--min-positives",
        type=int,
        default=1,
        help="leave out tags of fewer training posts, variants counted once (default %(default)s)",
    )
    parser.add_argument(
        "--size", type=int, default=320, help="short side of stored images at most, in pixels (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the choice of posts and of their order (default %(default)s)"
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
        help=f"categories that tags are chosen from: {', '.join(CATEGORIES)} (default general)",
    )
    arguments = parser.parse_args()
    for name in ("tags", "positives", "min_positives", "size"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be 1 or more, received {getattr(arguments, name)}")
    if not (arguments.val >= 0 and arguments.test >= 0 and arguments.val + arguments.test < 100):
        raise InputError(
            "--val and --test are percentages, 0 or more, and must leave something for training: "
            f"received {arguments.val:g} and {arguments.test:g}"
        )
    return arguments


def report(out: Path, manifest: dict) -> None:
    """Print what a data folder holds."""
    from dataset.records import read_tags

    print(f"{'split':<8}{'images':>10}{'labels':>12}{'a picture':>11}{'quarantined':>13}{'shards':>8}")
    for split, counts in manifest["splits"].items():
        mean = counts["labels"] / counts["written"] if counts["written"] else 0
        print(
            f"{split:<8}{counts['written']:>10,}{counts['labels']:>12,}{mean:>11.1f}"
            f"{counts['quarantined']:>13,}{counts['shards']:>8,}"
        )
    tags = sorted(read_tags(out / "tags.csv"), key=lambda tag: (tag.count, tag.name))
    print(f"\n{len(tags):,} tags; fewest training images: " + ", ".join(f"{tag.name} {tag.count:,}" for tag in tags[:5]))
    for reason, number in manifest["skipped"].items():
        print(f"{number:,} skipped: {reason}")
    with (out / "quarantine.csv").open(newline="", encoding="utf-8") as file:
        # The kind of reason, without its particulars.
        reasons = Counter(re.split(r"[:(]", row["reason"])[0].strip() for row in csv.DictReader(file))
    for reason, number in reasons.most_common(5):
        print(f"{number:,} quarantined: {reason}")
    if manifest["attribution"]:
        print(manifest["attribution"])


if __name__ == "__main__":
    run(main, when_interrupted="Run the same command again to go on.")
