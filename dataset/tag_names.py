"""Tags that a user names on the command line: typed ones, patterns, and lists of them in files."""

import difflib
import fnmatch
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from common.errors import InputError, say
from common.files import decode_text
from dataset.tag_text import is_emoticon

NEAR_MATCHES = 3


@dataclass(frozen=True)
class TagNames:
    """Names of tags, or patterns such as `*_hair`.

    Attributes:
        typed: those of the command line, which have to exist.
        listed: those of files, which may hold more than a board or a run knows.
    """

    typed: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()

    @classmethod
    def read(cls, arguments: Iterable[str]) -> "TagNames":
        """Return the names among arguments, and for each argument `@FILE` the lines of the file.

        Raises:
            InputError: a file cannot be read as text.
        """
        typed: list[str] = []
        listed: list[str] = []
        for argument in arguments:
            if not argument.startswith("@") or is_emoticon(argument):  # @_@ is a tag
                typed.append(argument)
                continue
            try:
                lines = decode_text(Path(argument[1:]).read_bytes()).splitlines()
            except OSError as error:
                raise InputError(f"{argument}: expected @ and a file with one tag on each line: {error.strerror}") from None
            except UnicodeDecodeError as error:
                raise InputError(f"{argument}: expected text with one tag on each line. Received: {error}") from None
            listed += [line.strip() for line in lines if line.strip()]
        return cls(tuple(dict.fromkeys(typed)), tuple(dict.fromkeys(listed)))

    def among(self, known: Collection[str], option: str) -> set[str]:
        """Return the known tags that are named. Says how many names from files are not known.

        Args:
            known: tags in their usual spelling, with spaces or underscores.
            option: the option with the names, for messages.

        Raises:
            InputError: a typed name or pattern fits no known tag.
        """
        found = {name: _named(name, known) for name in (*self.typed, *self.listed)}
        for name in self.typed:
            if not found[name]:
                near = difflib.get_close_matches(name.lower(), known, NEAR_MATCHES, 0.7)
                hint = f": did you mean {' or '.join(near)}?" if near else ""
                raise InputError(f"{option}: {name} is not one of the {len(known):,} tags{hint}")
        if unknown := [name for name in self.listed if not found[name]]:
            say(f"{option}: {len(unknown):,} names are not known, such as {unknown[0]}")
        return set().union(*found.values())


def _named(name: str, known: Collection[str]) -> set[str]:
    """Return the tags that a name or pattern stands for. A tag that has the name itself comes before a pattern."""
    spellings = dict.fromkeys((name, name.replace(" ", "_"), name.replace("_", " ")))
    for spelling in spellings:
        if spelling in known:
            return {spelling}
    is_pattern = any(sign in name for sign in "*?[") and not ("_" in name and is_emoticon(name))  # *_* is a face
    return {tag for pattern in spellings for tag in fnmatch.filter(known, pattern)} if is_pattern else set()
