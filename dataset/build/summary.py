"""The summary of a data folder that is complete."""

import csv
import re
from collections import Counter
from pathlib import Path

from common.errors import cut, say
from dataset.build.parts import Part
from dataset.records import CATEGORIES, read_tags


def print_summary(out: Path, manifest: dict) -> None:
    """Print what a data folder holds, and what was left out.

    Args:
        out: the folder.
        manifest: its manifest.
    """
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
        say(f"warning: all training images, or all but one, have {', '.join(map(cut, everywhere))}: that cannot be learned")
    print(
        f"\n{len(tags):,} tags; fewest training images: " + ", ".join(f"{cut(tag.name)} {tag.count:,}" for tag in tags[:5])
    )
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
