"""What a board says about its tags: categories, aliases, implications."""

from array import array
from collections.abc import Iterable
from pathlib import Path

from dataset.boards.export import read_rows

IN_FORCE = frozenset(("active", "processing", "queued"))
UNKNOWN_CATEGORY = -1


class TagRules:
    """Written tag ▶ the tags that it stands for, as numbers.

    Args:
        tags: (id, name, category) of every tag.
        aliases: (antecedent, consequent): the first is another spelling of the second.
        implications: (antecedent, consequent): a post with the first has the second as well.

    Attributes:
        names: number ▶ tag.
        categories: number ▶ number of the tag's category.
    """

    def __init__(
        self,
        tags: Iterable[tuple[int, str, int]],
        aliases: Iterable[tuple[str, str]],
        implications: Iterable[tuple[str, str]],
    ):
        self.names: list[str] = []
        self.categories = array("b")
        # Id × 16 + category: a board has a million tags, and this is half of what pairs take.
        self._facts = {name: tag_id * 16 + category for tag_id, name, category in tags}
        self._aliases = dict(aliases)
        self._implied: dict[str, set[str]] = {}
        for antecedent, consequent in implications:
            self._implied.setdefault(self.resolve(antecedent), set()).add(self.resolve(consequent))
        self._numbers: dict[str, int] = {}

    @classmethod
    def read(cls, tags: Path, aliases: Path, implications: Path) -> "TagRules":
        """Read the three files of an export.

        Raises:
            InputError: one is damaged.
        """
        return cls(
            (
                (int(tag_id), name, int(category))
                for tag_id, name, category in read_rows(tags, ("id", "name", "category"))
                if tag_id.isdecimal() and category.isdecimal() and int(category) < 16
            ),
            _in_force(aliases),
            _in_force(implications),
        )

    def resolve(self, name: str) -> str:
        """The tag that a name is an alias of, over any number of steps; of aliases in a circle, the first by name."""
        path = [name]
        while (following := self._aliases.get(path[-1])) is not None:
            if following in path:
                return min(path[path.index(following) :])
            path.append(following)
        return path[-1]

    def category(self, name: str) -> int:
        """The number of a tag's category, or `UNKNOWN_CATEGORY`: posts may have tags newer than the list of tags."""
        return self._facts[name] % 16 if name in self._facts else UNKNOWN_CATEGORY

    def tag_id(self, name: str) -> int | None:
        """The board's number of a tag."""
        return self._facts[name] // 16 if name in self._facts else None

    def meaning(self, name: str) -> tuple[int, ...]:
        """The numbers of a written tag's tag, first, and of all that this implies."""
        return tuple(map(self._number, self._closure(name)))

    def implied(self, name: str) -> tuple[str, ...]:
        """All tags that a tag implies, over any number of steps."""
        return self._closure(name)[1:]

    def _closure(self, name: str) -> tuple[str, ...]:
        tags = {self.resolve(name): None}
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


def _in_force(path: Path) -> Iterable[tuple[str, str]]:
    for antecedent, consequent, status in read_rows(path, ("antecedent_name", "consequent_name", "status")):
        if status in IN_FORCE:
            yield antecedent, consequent
