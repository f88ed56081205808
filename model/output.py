"""Tags as people want them written: which, in what order, how spelt, and in which file format."""

import csv
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TextIO

EMOTICON = re.compile(r"[^\w]*\w?[^\w]*_[^\w]*\w?[^\w]*")  # o_o, 0_0, >_<, <o>_<o>: at most one letter a side


@dataclass(frozen=True)
class Style:
    """What becomes of a picture's tags before they are written.

    Attributes:
        exclude: tags that are left out.
        replace: tag ▶ what is written instead.
        prefix: tags that are put first whatever the picture.
        by_name: sort by name; otherwise by probability.
        spaces: write spaces for underscores; `o_o` and its like stay.
        escape: write `\\(` for `(`, as prompts need it.
    """

    exclude: frozenset[str] = frozenset()
    replace: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    by_name: bool = False
    spaces: bool = False
    escape: bool = False

    def apply(self, tags: dict[str, float]) -> dict[str, float]:
        """Tag ▶ value, as it is written: the first of those written alike, and 1 for what `prefix` alone gives."""
        kept: dict[str, float] = {}
        for name, value in tags.items():
            if name not in self.exclude:
                kept.setdefault(self.replace.get(name, name), value)
        order = sorted(kept) if self.by_name else kept
        first = dict.fromkeys(self.prefix, 1.0)
        return {self._spell(name): value for name, value in (first | {name: kept[name] for name in order}).items()}

    def _spell(self, name: str) -> str:
        if self.spaces and not EMOTICON.fullmatch(name):
            name = name.replace("_", " ")
        return re.sub(r"([()])", r"\\\1", name) if self.escape else name


def text(result: dict) -> str:
    """One picture's tags, aligned."""
    tags, doubt = result["tags"], result.get("uncertainty", {})
    width = max(map(len, tags), default=0)
    lines = [result["file"]]
    for name, probability in tags.items():
        lines.append(f"  {name:<{width}}  {probability:.3f}" + (f" ± {doubt[name]:.3f}" if name in doubt else ""))
    if not tags:
        lines.append("  no tag reaches the threshold (--threshold lowers it)")
    return "\n".join(lines)


def as_json(results: Iterable[dict]) -> str:
    """One array of all pictures."""
    return json.dumps(list(results), indent=2, ensure_ascii=False)


def write_csv(results: Iterable[dict], file: TextIO, danbooru: bool = False) -> None:
    """A row a tag.

    Args:
        results: of the pictures.
        file: to write to.
        danbooru: as Danbooru imports it: without a header, and with a file's name without folder and suffix.
    """
    writer = csv.writer(file, lineterminator="\n")
    if not danbooru:
        writer.writerow(("file", "tag", "probability"))
    for result in results:
        name = PurePath(result["file"]).stem if danbooru else result["file"]
        writer.writerows((name, tag, probability) for tag, probability in result["tags"].items())
