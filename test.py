"""Tag pictures: images and a run ▶ tags with probabilities, best first."""

import itertools
import json
from pathlib import Path

from command import InputError, Parser, import_quietly, run, say

BATCH = 32


def main() -> None:
    """Tag the pictures given; a bad one is named and the others go on."""
    parser = Parser(__doc__)
    parser.add_argument("images", type=Path, nargs="*", metavar="IMAGE", help="picture files")
    parser.add_argument("--run", type=Path, help="run folder (default: the newest under runs/)")
    parser.add_argument("--threshold", type=float, help="lowest probability shown (default: the run's own)")
    parser.add_argument("--top", type=int, help="show at most this many tags a picture")
    parser.add_argument("--json", action="store_true", help="print one array of {file, tags}")
    given = parser.parse_args()
    if not given.images:
        raise InputError("no picture given: python test.py image.png")
    if given.threshold is not None and not 0 <= given.threshold <= 1:
        raise InputError(f"--threshold has to be between 0 and 1. Received: {given.threshold}")
    if given.top is not None and given.top < 1:
        raise InputError(f"--top has to be at least 1. Received: {given.top}")

    import_quietly("keras")
    import numpy as np

    from model import runs
    from model.predict import Tagger

    tagger = Tagger.load(given.run or runs.newest(Path("runs"), "model.keras", "train.py"))
    results = []
    pictures = readable(tagger, given.images)
    while batch := list(itertools.islice(pictures, BATCH)):
        rows = tagger.probabilities(np.stack([pixels for _, pixels in batch]))
        for (path, _), row in zip(batch, rows, strict=True):
            results.append({"file": str(path), "tags": tagger.choose(row, given.threshold, given.top)})
            if not given.json:
                print_tags(results[-1])
    if given.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    if len(results) < len(given.images):
        raise InputError(f"{len(given.images) - len(results)} of {len(given.images)} pictures could not be read")


def readable(tagger, paths: list[Path]):
    """Yield each picture that can be read, as its path and the network's input; name the others."""
    from dataset.images import ImageError, read_file

    for path in paths:
        try:
            yield path, tagger.pixels(read_file(path))
        except ImageError as error:
            say(f"error: {path}: {error}")
        except OSError as error:
            say(f"error: {path}: {error.strerror or error}")


def print_tags(result: dict) -> None:
    """One picture's tags, aligned."""
    print(result["file"])
    width = max(map(len, result["tags"]), default=0)
    for name, probability in result["tags"].items():
        print(f"  {name:<{width}}  {probability:.3f}")
    if not result["tags"]:
        print("  no tag reaches the threshold (--threshold lowers it)")


if __name__ == "__main__":
    run(main)
