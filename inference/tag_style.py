"""The form in which predicted tags are written: which ones, in what order and in what spelling."""

import re
from dataclasses import dataclass, field

from dataset.tag_text import is_emoticon


@dataclass(frozen=True)
class Style:
    """The changes to a picture's tags before they are written.

    Attributes:
        exclude: tags to leave out.
        replace: tag ▶ text that is written instead.
        prefix: texts that are written first for every picture.
        by_name: sort by name instead of by probability.
        spaces: replace underscores by spaces, but not in emoticons such as `o_o`.
        escape: write `\\(` for `(`, as prompts of image generators need it.
    """

    exclude: frozenset[str] = frozenset()
    replace: dict[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    by_name: bool = False
    spaces: bool = False
    escape: bool = False

    def apply(self, tags: dict[str, float]) -> dict[str, float]:
        """Return written tag ▶ value, in the order of writing.

        If two tags are written the same, the value of the first counts. A text that only `prefix` adds has the value 1.
        """
        values: dict[str, float] = {}
        for name, value in tags.items():
            if name not in self.exclude:
                values.setdefault(self.replace.get(name, name), value)
        order = sorted(values) if self.by_name else values
        first = dict.fromkeys(self.prefix, 1.0)
        return {self._spell(name): value for name, value in (first | {name: values[name] for name in order}).items()}

    def _spell(self, name: str) -> str:
        if self.spaces and not is_emoticon(name):
            name = name.replace("_", " ")
        return re.sub(r"([()])", r"\\\1", name) if self.escape else name
