"""The form in which predicted tags are written: which ones, in what order and in what spelling."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from common.errors import InputError
from dataset.tag_names import TagNames
from dataset.tag_text import is_emoticon


@dataclass(frozen=True)
class Style:
    """The changes to a picture's tags before they are written.

    Attributes:
        exclude: tags to leave out.
        replace: tag ▶ text that is written instead.
        top: largest number of tags, after these were left out and replaced; None for all.
        prefix, suffix: texts that are written first, and last, for every picture, as they are.
        by_name: sort by name instead of by probability.
        spaces: replace underscores by spaces, but not in emoticons such as `o_o`.
        escape: write `\\(` for `(`, as prompts of image generators need it.
    """

    exclude: frozenset[str] = frozenset()
    replace: dict[str, str] = field(default_factory=dict)
    top: int | None = None
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()
    by_name: bool = False
    spaces: bool = False
    escape: bool = False

    def apply(self, tags: dict[str, float]) -> dict[str, float]:
        """Return written tag ▶ value, in the order of writing.

        If two tags are written the same, the value of the first counts. A text that only `prefix` or `suffix` adds has the
        value 1.
        """
        chosen: dict[str, float] = {}
        for name, value in tags.items():
            if name not in self.exclude:
                chosen.setdefault(self.replace.get(name, name), value)
        names = list(chosen)[: self.top]
        values: dict[str, float] = {}
        for name in sorted(names) if self.by_name else names:
            values.setdefault(self._spell(name), chosen[name])
        fixed = {*self.prefix, *self.suffix}
        order = [*self.prefix, *(name for name in values if name not in fixed), *self.suffix]
        return {name: values.get(name, 1.0) for name in order}

    def _spell(self, name: str) -> str:
        if self.spaces and not is_emoticon(name):
            name = name.replace("_", " ")
        return re.sub(r"([()])", r"\\\1", name) if self.escape else name


def parse_replacements(pairs: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Return tag ▶ words from texts such as `long_hair=hair`. Where a tag has `=` itself, as `=_=`, the longest counts.

    Raises:
        InputError: a text is something else, or its tag is not known.
    """
    words: dict[str, str] = {}
    for pair in pairs:
        ends = [position for position, sign in enumerate(pair) if sign == "=" and position and pair[position + 1 :].strip()]
        if not ends:
            raise InputError(f"--replace takes TAG=WORDS. Received: {pair}")
        end = max((end for end in ends if pair[:end] in known or is_emoticon(pair[:end])), default=ends[0])
        words |= dict.fromkeys(TagNames((pair[:end],)).among(known, "--replace"), pair[end + 1 :])
    return words
