"""A data folder made by several machines: each makes a part, and the parts' files are put into one folder.

Shards of different parts have different names. Tables and manifest of a part carry its number, until all parts are there and
become one.
"""

import csv
from dataclasses import dataclass, replace
from pathlib import Path

from command import InputError
from dataset import records
from dataset.records import SPLITS

TABLES = ("manifest.json", "tags.csv", "quarantine.csv")


@dataclass(frozen=True)
class Part:
    """Which share of a sample a folder's files are about; 1 of 1 is the whole.

    Attributes:
        index: from 1.
        count: how many parts there are.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read `2/4`.

        Raises:
            ValueError: it is no such share.
        """
        index, count = map(int, text.split("/"))
        if not 1 <= index <= count:
            raise ValueError(text)
        return cls(index, count)

    def name(self, table: str) -> str:
        """`manifest.json` ▶ `manifest-2-of-4.json`; the plain name for the whole."""
        path = Path(table)
        return f"{path.stem}-{self.index}-of-{self.count}{path.suffix}" if self.count > 1 else table

    def of_same(self) -> list["Part"]:
        """All parts that make the whole with this one."""
        return [replace(self, index=index) for index in range(1, self.count + 1)]


WHOLE = Part()


def parts_in(folder: Path) -> list[Part]:
    """The parts that are complete in a folder."""
    found = []
    for path in sorted(folder.glob("manifest-*-of-*.json")):
        index, _, count = path.stem.removeprefix("manifest-").partition("-of-")
        if index.isdecimal() and count.isdecimal() and records.read_json(path).get("complete"):
            found.append(Part(int(index), int(count)))
    return found


def join(folder: Path, part: Part) -> dict:
    """Make the tables of the whole of those of all parts; the manifest of the whole.

    Raises:
        InputError: a part is missing, or parts are of different samples.
    """
    parts = part.of_same()
    manifests = [records.read_json(folder / each.name("manifest.json")) for each in parts]
    first = manifests[0]
    for each, manifest in zip(parts, manifests, strict=True):
        for fact in ("options", "selection"):
            if manifest[fact] != first[fact]:
                raise InputError(
                    f"{folder}: parts 1 and {each.index} of {each.count} differ in their {fact}: make them with the same "
                    "options from the same export (copy data/.exports to every machine)"
                )
    tables = [records.read_tags(folder / each.name("tags.csv")) for each in parts]
    rows = zip(*tables, strict=True)
    records.write_tags(folder / "tags.csv", [replace(tags[0], count=sum(tag.count for tag in tags)) for tags in rows])
    records.write_quarantine(folder / "quarantine.csv", (row for each in parts for row in _quarantine(folder, each)))
    splits = {
        split: {name: sum(manifest["splits"][split][name] for manifest in manifests) for name in first["splits"][split]}
        for split in SPLITS
    }
    alike = {name: sum(manifest["alike"][name] for manifest in manifests) for name in first["alike"]}
    whole = first | {"splits": splits, "alike": alike, "rejected": sum(manifest["rejected"] for manifest in manifests)}
    whole.pop("part")
    records.write_json(folder / "manifest.json", whole)
    remove_tables(folder)
    return whole


def remove_tables(folder: Path) -> None:
    """Remove the tables of parts that have become one."""
    for table in TABLES:
        for path in folder.glob(f"{Path(table).stem}-*-of-*{Path(table).suffix}"):
            path.unlink()


def _quarantine(folder: Path, part: Part) -> list[tuple[str, str]]:
    with (folder / part.name("quarantine.csv")).open(newline="", encoding="utf-8") as file:
        return [(row["id"], row["reason"]) for row in csv.DictReader(file)]
