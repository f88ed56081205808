"""A board's rules about tags: categories, aliases, implications."""

from array import array
from collections.abc import Iterable
from pathlib import Path

from common.errors import InputError, say, short
from dataset.boards.database_export import read_rows
from dataset.tag_text import NOT_IN_TAGS

ACTIVE_STATUSES = frozenset(("active", "processing", "queued"))
UNKNOWN_CATEGORY = -1


class TagRules:
    """Expands a tag of a post into the tags that it stands for, and numbers these tags.

    Args:
        tags: (id, name, category) of every tag.
        aliases: (antecedent, consequent): the first is another spelling of the second.
        implications: (antecedent, consequent): a post with the first also has the second.

    Attributes:
        names: the tags, by number.
        categories: the numbers of their categories, by number of the tag.
    """

    def __init__(
        self,
        tags: Iterable[tuple[int, str, int]],
        aliases: Iterable[tuple[str, str]],
        implications: Iterable[tuple[str, str]],
    ):
        self.names: list[str] = []
        self.categories = array("b")
        # Id × 16 + category: for a million tags, this needs half of the memory of pairs.
        self._ids_and_categories = {name: tag_id * 16 + category for tag_id, name, category in tags}
        self._aliases = dict(aliases)
        self._implied: dict[str, set[str]] = {}
        for antecedent, consequent in implications:
            self._implied.setdefault(self.resolve(antecedent), set()).add(self.resolve(consequent))
        self._numbers: dict[str, int] = {}

    @classmethod
    def read(cls, tags: Path, aliases: Path, implications: Path) -> "TagRules":
        """Read the three files of an export.

        Raises:
            InputError: a file is damaged.
        """
        return cls(
            (
                (int(tag_id), name, int(category))
                for tag_id, name, category in read_rows(tags, ("id", "name", "category"))
                if tag_id.isdecimal() and category.isdecimal() and int(category) < 16
            ),
            _active_pairs(aliases),
            _active_pairs(implications),
        )

    def known_names(self) -> set[str]:
        """Return the names of all tags and their aliases."""
        return {*self._ids_and_categories, *self._aliases}

    def resolve(self, name: str) -> str:
        """Return the tag that a name is an alias of, directly or indirectly; for circular aliases, the first by name."""
        if name not in self._aliases:  # most names
            return name
        path = [name]
        while (following := self._aliases.get(path[-1])) is not None:
            if following in path:
                return min(path[path.index(following) :])
            path.append(following)
        return path[-1]

    def category(self, name: str) -> int:
        """Return the number of a tag's category, or `UNKNOWN_CATEGORY`: posts may have tags newer than the list of tags."""
        known = self._ids_and_categories.get(name)
        return UNKNOWN_CATEGORY if known is None else known % 16

    def set_category(self, name: str, category: int) -> None:
        """Tell the category of a tag whose number is not known; the first that is told counts."""
        self._ids_and_categories.setdefault(name, category)

    def tag_id(self, name: str) -> int | None:
        """Return the board's number of a tag, or None."""
        return self._ids_and_categories[name] // 16 if name in self._ids_and_categories else None

    def expand(self, name: str) -> tuple[int, ...]:
        """Return the number of the tag that a name stands for, and then the numbers of all tags that it implies."""
        return tuple(map(self._number, self._closure(name)))

    def implied(self, name: str) -> tuple[str, ...]:
        """Return all tags that a tag implies, directly or indirectly."""
        return self._closure(name)[1:]

    def _closure(self, name: str) -> tuple[str, ...]:
        resolved = self.resolve(name)
        if resolved not in self._implied:  # most tags
            return (resolved,)
        tags = {resolved: None}
        waiting = list(tags)
        while waiting:
            for implied in sorted(self._implied.get(waiting.pop(), ())):
                if implied not in tags:
                    tags[implied] = None
                    waiting.append(implied)
        return tuple(tags)

    def _number(self, name: str) -> int:
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
            self.categories.append(self.category(name))
        return number


def read_rules(aliases: str | None, implications: str | None) -> TagRules:
    """Read a board's tables of aliases and implications: Parquet, JSON lines or CSV; None: there is none.

    Raises:
        InputError: a table cannot be read, or lacks a column.
    """
    pairs = [_pairs_in_table(Path(path)) if path else [] for path in (aliases, implications)]
    if several := len(pairs[0]) - len(dict(pairs[0])):
        say(f"{aliases}: aliases of a name that has another one later: {several:,}, which are not used")
    return TagRules((), *pairs)


def _pairs_in_table(path: Path) -> list[tuple[str, str]]:
    from dataset.boards.table_files import read_batches  # pyarrow takes time to import

    if not path.exists():
        raise InputError(f"{path} is missing: expected a board's table of tags")
    columns = ("antecedent_name", "consequent_name", "status")
    rules: dict[tuple[str, str], None] = {}
    total, unusable = 0, []
    for batch in read_batches(path, frozenset(columns)):
        batch = batch.rename_columns([name.lower() for name in batch.schema.names])
        if missing := [name for name in columns[:2] if name not in batch.schema.names]:
            raise InputError(f"{path} lacks the column {missing[0]}; its columns are {', '.join(batch.schema.names)[:200]}")
        for row in batch.to_pylist():
            total += 1
            pair = [str(row[name] or "").strip().replace(" ", "_") for name in columns[:2]]
            if not all(pair) or NOT_IN_TAGS.search("".join(pair)):
                unusable.append(" ▶ ".join(short(row[name]) for name in columns[:2]))
            elif str(row.get("status") or "active").strip().lower() in ACTIVE_STATUSES:
                rules[pair[0], pair[1]] = None
    say(f"{path}: {len(rules):,} of {total:,} rows are rules that hold")
    if unusable:
        say(f"{path}: rows without two names of tags: {len(unusable):,}, which are not used, such as {unusable[0]}")
    return list(rules)


def _active_pairs(path: Path) -> Iterable[tuple[str, str]]:
    for antecedent, consequent, status in read_rows(path, ("antecedent_name", "consequent_name", "status")):
        if status in ACTIVE_STATUSES:
            yield antecedent, consequent
