"""Parts of a data folder: several machines build one part each, and their files are joined in one folder.

Shards of different parts have different names. The tables and the manifest of a part have its number in their names, until
all parts are in one folder and are joined.
"""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from common import files
from common.errors import InputError
from dataset import implications, records
from dataset.records import SPLITS
from dataset.rule_proposals import TrainingLabels, propose

TABLES = ("manifest.json", "tags.csv", "quarantine.csv")


@dataclass(frozen=True)
class Part:
    """A numbered part of a sample; part 1 of 1 is the whole.

    Attributes:
        index: number of the part, from 1.
        count: number of parts.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read `2/4`.

        Raises:
            ValueError: the text is not a part.
        """
        index, count = map(int, text.split("/"))
        if not 1 <= index <= count:
            raise ValueError(text)
        return cls(index, count)

    def name(self, table: str) -> str:
        """Return the name of this part's file: `manifest-2-of-4.json` for `manifest.json`. The whole has the plain name."""
        path = Path(table)
        return f"{path.stem}-{self.index}-of-{self.count}{path.suffix}" if self.count > 1 else table

    def all_parts(self) -> list["Part"]:
        """Return all parts of the sample that this one belongs to."""
        return [replace(self, index=index) for index in range(1, self.count + 1)]


WHOLE = Part()


def parts_in(folder: Path) -> list[Part]:
    """Return the complete parts in a folder."""
    complete_parts = []
    for path in sorted(folder.glob("manifest-*-of-*.json")):
        index, _, count = path.stem.removeprefix("manifest-").partition("-of-")
        if index.isdecimal() and count.isdecimal() and files.read_json(path).get("complete"):
            complete_parts.append(Part(int(index), int(count)))
    return complete_parts


def join(folder: Path, part: Part) -> dict:
    """Join the tables and manifests of all parts into those of the whole, and return its manifest.

    Raises:
        InputError: a part is missing, or parts belong to different samples.
    """
    parts = part.all_parts()
    manifests = [files.read_json(folder / each.name("manifest.json")) for each in parts]
    first = manifests[0]
    for each, manifest in zip(parts, manifests, strict=True):
        for fact in ("options", "selection"):
            if manifest[fact] != first[fact]:
                raise InputError(
                    f"{folder}: parts 1 and {each.index} of {each.count} differ in their {fact}: make them with the same "
                    "options from the same export (copy data/.exports to every machine)"
                )
    tables = [records.read_tags(folder / each.name("tags.csv")) for each in parts]
    tags = [replace(rows[0], count=sum(tag.count for tag in rows)) for rows in zip(*tables, strict=True)]
    records.write_tags(folder / "tags.csv", tags)
    labels = TrainingLabels(((record.group, record.tags) for record in records.read(folder, "train")), len(tags))
    implications.write(folder, propose(tags, labels))
    records.write_quarantine(folder / "quarantine.csv", (row for each in parts for row in _quarantine(folder, each)))
    splits = {
        split: {name: sum(manifest["splits"][split][name] for manifest in manifests) for name in first["splits"][split]}
        for split in SPLITS
    }
    alike = {name: sum(manifest["alike"][name] for manifest in manifests) for name in first["alike"]}
    whole = first | {"splits": splits, "alike": alike, "rejected": sum(manifest["rejected"] for manifest in manifests)}
    whole["ratings"] = sorted({rating for manifest in manifests for rating in manifest.get("ratings", ["unknown"])})
    whole["decode_version"] = min(manifest.get("decode_version", 1) for manifest in manifests)
    whole.pop("part")
    files.write_json(folder / "manifest.json", whole)
    remove_tables(folder)
    return whole


def remove_tables(folder: Path) -> None:
    """Remove the tables and manifests of joined parts."""
    for table in TABLES:
        for path in folder.glob(f"{Path(table).stem}-*-of-*{Path(table).suffix}"):
            path.unlink()


def _quarantine(folder: Path, part: Part) -> list[tuple[str, str]]:
    """Read `quarantine.csv` of a part."""
    with (folder / part.name("quarantine.csv")).open(newline="", encoding="utf-8") as file:
        return [(row["id"], row["reason"]) for row in csv.DictReader(file)]
