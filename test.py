"""Tag pictures: files, folders, patterns, addresses, the clipboard ▶ tags with probabilities, best first."""

import re
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from command import InputError, Parser, run, say

CATEGORIES = ("general", "artist", "contributor", "copyright", "character", "species", "invalid", "meta", "lore", "number")
MODES = ("skip", "append", "overwrite")


def main() -> None:
    """Tag the pictures given; a bad one is named and the others go on."""
    given = parser().parse_args()
    if given.undo is not None:
        take_back(given)
        return
    if given.threshold is not None and not 0 <= given.threshold <= 1:
        raise InputError(f"--threshold has to be between 0 and 1. Received: {given.threshold}")
    if given.top is not None and given.top < 1:
        raise InputError(f"--top has to be at least 1. Received: {given.top}")
    if given.uncertainty and (given.csv or given.danbooru or given.sidecar or given.keywords):
        raise InputError("--uncertainty is given as text or with --json, and in no other format")
    from model import inputs, keywords

    if given.keywords:
        keywords.exiv2()
    style = style_of(given)
    arguments = given.images + (inputs.read_list(given.list) if given.list else [])
    sources = [*inputs.find(arguments), *(inputs.clipboard() if given.clipboard else [])]
    if not sources:
        raise InputError("no picture given: python test.py image.png")
    tagger = load(given.run)
    check(tagger, given, style)
    write = writer(given)
    heat_maps: Counter[str] = Counter()
    bad = 0
    for prediction in progress(tagger.predict(sources), len(sources)):
        if hasattr(prediction, "reason"):
            problem = f"{prediction.source.name}: {prediction.reason}"
        else:
            problem = write(prediction.source, describe(tagger, prediction, given, style))
            if given.explain:
                explain(tagger, prediction, given.explain, heat_maps)
        if problem:
            say(f"error: {problem}")
            bad += 1
    write(None, None)
    if bad:
        raise InputError(f"{bad} of {len(sources)} pictures were not tagged")


def parser() -> Parser:
    """The options of the command line."""
    options = Parser(__doc__)
    what = options.add_argument_group("pictures")
    what.add_argument(
        "images", nargs="*", metavar="IMAGE", help="file, folder, pattern, http address, or - (standard input)"
    )
    what.add_argument("--list", metavar="FILE", help="file that names pictures, one a line; - for standard input")
    what.add_argument("--clipboard", action="store_true", help="the picture, file or link in the clipboard")
    what.add_argument("--run", type=Path, help="run folder, or an exported model.onnx (default: the newest under runs/)")

    which = options.add_argument_group("which tags")
    which.add_argument("--threshold", type=float, help="lowest probability shown (default: the run's own, tag by tag)")
    which.add_argument("--top", type=int, help="show at most this many tags a picture")
    which.add_argument("--category", nargs="+", choices=CATEGORIES, help="show tags of these categories only")
    which.add_argument("--exclude", nargs="+", metavar="TAG", default=[], help="leave these tags out")

    how = options.add_argument_group("how they are written")
    how.add_argument("--replace", nargs="+", metavar="TAG=WORDS", default=[], help="write something else for a tag")
    how.add_argument("--prefix", nargs="+", metavar="TAG", default=[], help="put these first, whatever the picture")
    how.add_argument("--by-name", action="store_true", help="sort by name")
    how.add_argument("--spaces", action="store_true", help="spaces for underscores, but not in emoticons")
    how.add_argument("--escape", action="store_true", help=r"\( and \) for parentheses")

    where = options.add_argument_group("where to").add_mutually_exclusive_group()
    where.add_argument("--json", action="store_true", help="print one array of {file, tags}")
    where.add_argument("--csv", action="store_true", help="print file,tag,probability")
    where.add_argument("--danbooru", action="store_true", help="print the same without header, as Danbooru imports it")
    where.add_argument("--sidecar", choices=MODES, help="write a .txt beside each file; what to do where one is")
    where.add_argument("--keywords", choices=MODES, help="write them into each file; what to do where some are")
    where.add_argument("--undo", metavar="FOLDER", help="take back the last --sidecar or --keywords in a folder")

    more = options.add_argument_group("more about a picture")
    more.add_argument(
        "--uncertainty", action="store_true", help="how far each probability may be off (a standard deviation)"
    )
    more.add_argument("--explain", metavar="TAG", help="save NAME.TAG.png, which shows where the tag was seen")
    return options


def load(path: Path | None):
    """The tagger."""
    from model import runs
    from model.predict import Tagger

    return Tagger.load(path or runs.newest(Path("runs"), "model.keras", "train.py"))


def check(tagger, given, style) -> None:
    """Refuse what this run cannot do."""
    tags = tagger.run.tags
    asked = {*style.exclude, *style.replace, given.explain} - {None}
    if unknown := asked - {tag.name for tag in tags}:
        raise InputError(f"{min(unknown)} is none of the run's {len(tags)} tags")
    there = {CATEGORIES[tag.category] for tag in tags}
    if given.category and there.isdisjoint(given.category):
        raise InputError(f"--category {' '.join(given.category)}: the run's tags are {', '.join(sorted(there))}")
    if given.explain and not hasattr(tagger.network, "get_layer"):
        raise InputError("--explain needs gradients, which an ONNX file has not: give --run the run folder")


def progress(predictions, number: int):
    """The predictions, with a bar where there are many and nothing else is on the screen."""
    if number <= 32 or sys.stdout.isatty():
        return predictions
    from tqdm import tqdm

    return tqdm(predictions, total=number, unit=" images", dynamic_ncols=True, disable=None)


def style_of(given):
    """How tags are to be written."""
    from model.output import Style

    if wrong := [pair for pair in given.replace if not re.match(r"[^=]+=\s*\S", pair)]:
        raise InputError(f"--replace takes TAG=WORDS. Received: {wrong[0]}")
    words = dict(pair.split("=", 1) for pair in given.replace)
    return Style(frozenset(given.exclude), words, tuple(given.prefix), given.by_name, given.spaces, given.escape)


def describe(tagger, prediction, given, style) -> dict:
    """What is printed of one picture: `file`, `tags`, and what else was asked for."""
    categories = given.category
    if (given.sidecar or given.keywords) and not categories:
        categories = [name for name in CATEGORIES if name != "number"]  # which is said of every picture
    wanted = frozenset(map(CATEGORIES.index, categories)) if categories else None

    def tags_of(probability) -> dict[str, float]:
        return tagger.choose(probability, given.threshold, given.top, wanted)

    tags = tags_of(prediction.probability)
    result = {"file": prediction.source.name, "tags": style.apply(tags)}
    if given.uncertainty:
        doubt = dict(zip((tag.name for tag in tagger.run.tags), prediction.uncertainty.tolist(), strict=True))
        result["uncertainty"] = replace(style, prefix=()).apply({name: round(doubt[name], 4) for name in tags})
    if len(prediction.seconds) > 1:
        frames = zip(prediction.seconds, prediction.scores["probability"], strict=True)
        result["timeline"] = [{"seconds": seconds, "tags": style.apply(tags_of(row))} for seconds, row in frames]
    return result


def writer(given):
    """A function that takes each picture's source and result, None for both at the end, and gives what went wrong."""
    from model import annotations, output

    results, written, sources, session = [], [], {}, f"{time.time():.3f}"

    def annotate(source, result) -> str | None:
        if source is None:
            what = "pictures" if given.keywords else ".txt files"
            back = "; test.py --undo FOLDER takes them back" if any(written) else ""
            say(f"{sum(written)} of {len(written)} {what} written{back}")
            return None
        if source.path is None:
            return f"{source.name} is no file: nothing is written for it"
        path = source.path if given.keywords else source.path.with_suffix(".txt")
        if (other := sources.setdefault(path, source.path)) != source.path:
            return f"{source.name}: {path} is for {other}"
        try:
            written.append(annotations.write(path, list(result["tags"]), given.keywords or given.sidecar, session))
        except ValueError as error:
            return f"{path}: {error}"
        except OSError as error:
            return f"{path}: {error.strerror}"
        return None

    def at_the_end(source, result) -> None:
        if source is not None:
            results.append(result)
        elif given.json:
            print(output.as_json(results))
        else:
            output.write_csv(results, sys.stdout, given.danbooru)

    if given.sidecar or given.keywords:
        return annotate
    if given.json or given.csv or given.danbooru:
        return at_the_end
    return lambda source, result: source and print(output.text(result), flush=True)


def explain(tagger, prediction, tag: str, saved: Counter) -> None:
    """Save the frame in which a tag is likeliest with its heat map over it, in the working directory.

    Args:
        tagger, prediction, tag: of what.
        saved: how often each name has been used; pictures of one name in several folders are numbered.
    """
    from model import heat

    index = [entry.name for entry in tagger.run.tags].index(tag)
    frame = prediction.frames[prediction.scores["probability"][:, index].argmax()]
    [heat_map] = heat.heat_map(tagger.network, frame[None], index)
    name = re.sub(r"[^\w.-]", "_", f"{Path(prediction.source.name).stem}.{tag}.png")
    saved[name] += 1
    if saved[name] > 1:
        name = f"{saved[name]}-{name}"
    heat.overlay(frame, heat_map).save(name)
    say(f"{prediction.source.name}: {tag} {prediction.probability[index]:.3f}, see {name}")


def take_back(given) -> None:
    """Undo the last --sidecar or --keywords."""
    from model import annotations

    if not given.undo or not Path(given.undo).is_dir():
        raise InputError(f"--undo needs a folder. Received: {given.undo!r}")
    if given != parser().parse_args(["--undo", given.undo]):
        raise InputError("--undo FOLDER goes with no other option and no picture")
    restored, changed = annotations.undo(Path(given.undo))
    if not restored and not changed:
        raise InputError(f"nothing to undo in {given.undo}")
    for path in changed:
        say(f"{path} has been changed since: left alone")
    print(f"{restored} files are as they were before")


if __name__ == "__main__":
    run(main)
