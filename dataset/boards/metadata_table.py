"""The board `table`: a board's own table of posts (Parquet, JSON lines or CSV), and pictures named after their posts.

The columns are those of Danbooru's and e621's tables; see `SYNONYMS`. Pictures are called `ID.ext` or `MD5.ext`, in any
subfolders, such as the `NNNN/ID.ext` of large collections. Rows are filtered while they are read, so that a table of many
millions of rows needs little memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from common.errors import InputError
from common.progress import progress
from dataset.boards.board import Post
from dataset.boards.catalogue import Catalogue
from dataset.boards.filters import Filters
from dataset.boards.local_board import LocalBoard
from dataset.boards.post_filter import RATINGS, TagFilter, filter_rows
from dataset.boards.post_table import PostTable, roots
from dataset.boards.table_columns import SURVEYED, TAGS, WANTED, check_columns
from dataset.boards.table_files import read_batches
from dataset.boards.table_rows import MD5_DIGITS, Rows, learn_tags
from dataset.boards.table_tags import TagCells
from dataset.boards.tag_rules import TagRules, read_rules
from dataset.boards.visibility import names_young


class MetadataTableBoard(LocalBoard):
    """The posts of a table that have a picture and pass the filters; see `Board` for the interface.

    A post's id is the path of its picture relative to its folder.

    Args:
        folders, filters, strict: see `LocalBoard`.
        table: a Parquet, JSON lines or CSV file, or a folder of Parquet files.
        separator: what separates tags, one of `tag_text.SEPARATORS`; empty: decided from the rows that have a picture.

    Raises:
        InputError: a folder or the table is missing.
    """

    name = "table"

    def __init__(
        self,
        folders: Sequence[Path],
        table: Path | None,
        filters: Filters | None = None,
        strict: bool = False,
        separator: str = "",
    ):
        if table is None:
            raise InputError("--board table needs --table FILE, a table of posts in Parquet, JSON lines or CSV")
        if not table.exists():
            raise InputError(f"--table {table} is missing")
        super().__init__(folders, filters, strict)
        ratings = self._filters.ratings
        self._has_ratings = bool(ratings)  # asked for
        letters = [letter for letter, name in RATINGS.items() if not ratings or name in ratings]
        self._filters = replace(self._filters, ratings=letters)
        self._path = table
        self._tags = TagCells(separator)
        self._rules = TagRules((), (), ())
        self._table: PostTable | None = None
        self._images: dict[str, str] = {}
        self._names: dict[int, str] = {}  # id of a post ▶ id of its picture

    def posts(self) -> Iterator[Post]:
        catalogue = self.catalogue()
        yield from map(catalogue.post, range(len(catalogue.ids)))

    def catalogue(self) -> Catalogue:
        if self._table is None:
            self._table = self._read()
        catalogue = self._table.catalogue("")
        return replace(catalogue, post=lambda number: self._post(catalogue.post(number)))

    def category(self, tag: str) -> int:
        return max(0, self._rules.category(tag))

    def implied(self, tag: str) -> tuple[str, ...]:
        return self._rules.implied(tag)

    def read_rules(self, aliases: str | None, implications: str | None) -> None:
        """Read a board's tables of aliases and implications, which then hold for all tags. Raises InputError."""
        self._rules = read_rules(aliases, implications)

    def _post(self, post: Post) -> Post:
        """Return a post of the table with its picture. The MD5 of the file is computed when it is read."""
        name = self._names[int(post.id)]
        return replace(post, id=name, md5="", source=self._images[name])

    def _read(self) -> PostTable:
        """Read the rows that have a picture and pass the filters."""
        self._images, rejected, _ = self._folders.find()
        self.rejected += rejected
        try:
            columns: set[str] = set()

            def check(file: Path, names: list[str]) -> None:
                check_columns(file, names)
                columns.update(map(str.lower, names))

            number = 0
            rows = Rows(self._named_pictures(), self._tags)
            for batch in read_batches(self._path, SURVEYED, check):
                rows.survey(batch)
                columns |= set(map(str.lower, batch.schema.names))
                number += len(batch)
            if not number:
                raise InputError(f"{self._path} has no rows: expected one for each post, below the names of the columns")
            rows.decide(columns)
            self._sample_tags(rows)
            table = self._filtered(rows)
        except (pa.ArrowException, UnicodeDecodeError, ValueError) as error:
            raise InputError(f"{self._path} cannot be used: {' '.join(str(error).split())[:300]}") from None
        self._names = rows.picture_of_post
        table.groups.frombytes(roots(np.array(table.ids), *rows.links()).tobytes())
        self._report(table, rows)
        return table

    def _sample_tags(self, rows: Rows) -> None:
        """Decide what separates tags, from as many rows with a picture as are needed. They are read once more afterwards."""
        for batch in () if self._tags.is_decided else read_batches(self._path, TAGS):
            rows.sample(batch)
            if self._tags.is_decided:
                break
        self._tags.decide()

    def _filtered(self, rows: Rows) -> PostTable:
        """Return the rows that pass the filters."""
        table = PostTable(self._rules.names)
        if self._filters.exclude:  # patterns and misspelled names need to know the tags
            for batch in progress(read_batches(self._path, WANTED), description="tags", unit="blocks", leave=False):
                learn_tags(batch, self._rules, self._tags)
        tag_filter = TagFilter(self._rules, self._filters, names_young)
        with progress(unit="posts", scaled=True, description="posts") as bar:
            for batch in read_batches(self._path, WANTED):
                bar.update(len(batch))
                usable = rows.usable(batch, self._rules)
                usable = filter_rows(usable, self._filters, table.skipped)
                if len(usable):
                    kept, tagged = tag_filter.filter_rows(pa.Table.from_batches([usable]), table.skipped)
                    table.add(kept.combine_chunks(), tagged, np.array(self._rules.categories))
        return table

    def _named_pictures(self) -> dict[str, str]:
        """Return the id or the MD5 in the name of each picture ▶ its id. Of two with the same name, both are rejected."""
        names: dict[str, list[str]] = {}
        for name, path in self._images.items():
            stem = Path(path).stem.lower()
            if stem.isascii() and (stem.isdecimal() or _is_md5(stem)):
                names.setdefault(str(int(stem)) if stem.isdecimal() and len(stem) < MD5_DIGITS else stem, []).append(name)
            else:
                self.rejected.append((name, "its name is neither the id nor the MD5 of a post"))
        for stem, found in names.items():
            if len(found) > 1:
                self.rejected += [(name, f"{len(found)} pictures are called {stem}") for name in found]
        return {stem: found[0] for stem, found in names.items() if len(found) == 1}

    def _report(self, table: PostTable, rows: Rows) -> None:
        """Note what was left out, and print what could not be read.

        Raises:
            InputError: nothing is left.
        """
        rows.report()
        self.skipped = dict(sorted(table.skipped.items()))
        if rows.rejected:
            self.skipped["tags that cannot be read"] = len(rows.rejected)
        if without := rows.pictures_without_row():
            self.skipped["pictures without a row of the table"] = len(without)
            self.rejected += [(name, "no row of the table") for name in without]
        self.rejected += rows.rejected
        if rows.repeated:
            self.skipped["rows of a post that has a later row"] = rows.repeated
        if not len(table.ids):
            what = ", ".join(f"{number:,} {reason}" for reason, number in self.skipped.items())
            names = f"{len(self._images):,} pictures of {self._folders}"
            counts = ", ".join(f"{number:,} {name or 'not rated'}" for name, number in sorted(rows.ratings.items()))
            there = f"; their ratings: {counts}" if self._has_ratings and counts else ""
            damaged = "; {}: {}".format(*rows.rejected[0]) if rows.rejected else ""
            there += f"; without a row, for example: {without[0]}" if without else ""
            raise InputError(f"{self._path} has no row that can be used for one of the {names}: {what}{there}{damaged}")


def _is_md5(text: str) -> bool:
    return len(text) == MD5_DIGITS and not set(text) - set("0123456789abcdef")
