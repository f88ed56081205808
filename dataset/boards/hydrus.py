"""The board `hydrus`: files that hydrus exported, with its sidecars beside them.

The tags of `a.jpg` are in `a.jpg.txt`, one on each line, or in `a.jpg.json`. The namespaces `creator:`, `series:`,
`character:`, `species:`, `meta:` and `rating:` become categories and ratings; others stay a part of the tag.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from common.errors import say, short
from common.files import decode_text
from common.progress import progress
from dataset.boards.annotation import Annotation, from_tags, in_one_line, naming, spelled
from dataset.boards.collection import Collection
from dataset.boards.filters import Filters
from dataset.tag_text import TagReader, usable


class HydrusBoard(Collection):
    """Files with hydrus' sidecars; see `Board` for the interface.

    Args:
        folders, reader, filters, strict: see `Collection`.
        tags_path: keys that lead to the tags in a JSON sidecar, separated by slashes, such as `tags/downloader`.
    """

    name = "hydrus"

    def __init__(
        self,
        folders: Sequence[Path],
        tags_path: str = "tags",
        reader: TagReader | None = None,
        filters: Filters | None = None,
        strict: bool = False,
    ):
        super().__init__(folders, reader, filters, strict)
        self._tags_path = tags_path

    def where_tags_are(self) -> str:
        keys = f"the keys {self._tags_path} (--tags-path)"
        return f"{self._folders} has tags in a sidecar of hydrus beside it, such as a.jpg.txt, or a.jpg.json with {keys}"

    def annotations(self) -> Iterator[Annotation]:
        images, rejected, others = self._folders.find()
        self.rejected += rejected
        read, used = [], dict.fromkeys((".txt", ".json"), 0)
        one_line: list[Path] = []  # texts that seem to have all tags in one line
        for name, source in progress(images.items(), description="sidecars", unit="files", leave=False):
            path = Path(source)
            tags: list[str] = []
            try:
                for suffix in used:
                    sidecar = path.with_name(path.name + suffix)
                    if sidecar.is_file():
                        used[suffix] += 1
                        with naming(sidecar.name):
                            found = tags_in(sidecar, self._tags_path)
                        if len(found) == 1 and found[0].count(",") > 1:
                            one_line.append(sidecar)
                        tags += found
            except ValueError as error:
                self.rejected.append((name, f"sidecar cannot be used: {in_one_line(error)}"))
                tags = []
            except OSError as error:
                self.rejected.append((name, f"sidecar cannot be read: {error.strerror}"))
                tags = []
            read.append(replace(from_tags(tags), id=name, source=source))
        for suffix, number in used.items():
            if alone := others[suffix] - number:
                say(f"{alone:,} {suffix} files belong to no picture that can be read: sidecars are named like a.jpg{suffix}")
        if one_line:
            example = f"{len(one_line):,}, which is read as one tag, such as {one_line[0]}"
            say(f"sidecars with commas in a single line: {example}: --board folder reads such texts")
        yield from spelled(read, self._reader)


def tags_in(sidecar: Path, tags_path: str) -> list[str]:
    """Return the tags of a sidecar.

    Args:
        sidecar: the file.
        tags_path: keys that lead to the tags of a JSON file, separated by slashes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not text, or has something else than tags.
    """
    text = decode_text(sidecar.read_bytes())
    if sidecar.suffix == ".txt":
        tags: object = text.splitlines()
    else:
        tags = json.loads(text)
        for key in tags_path.split("/") if not isinstance(tags, list) else ():
            if not isinstance(tags, dict) or key not in tags:
                keys = ", ".join(map(str, tags)) if isinstance(tags, dict) else f"no keys but {short(tags)}"
                raise ValueError(f"expected the key {key} of --tags-path {tags_path}. Received: {keys[:100]}")
            tags = tags[key]
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f"expected a list of tags at --tags-path {tags_path}. Received: {short(tags)}")
    return usable(tags, "tags")
