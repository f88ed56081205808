"""The error for mistakes that a user can correct, and functions that print messages and write numbers and texts in them."""

import os
import shlex
import subprocess
import sys


class InputError(Exception):
    """An input of the user that cannot be used: an option, a file or a folder.

    The message is one line. It names the input, what was expected, what was received and what to do.
    """


def command(*words: object) -> str:
    """Return a command as it is pasted into a terminal, for a message."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def cut(text: str) -> str:
    """Return a text as messages show it, of at most 60 characters."""
    return text if len(text) <= 60 else f"{text[:59]}…"


def short(value: object) -> str:
    """Return a value as messages show it: in Python's notation, of at most 60 characters."""
    return cut(repr(value))


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number and what it counts, such as `1 picture` and `2,000 pictures`, for a message.

    Args:
        number: how many.
        one: the words for one.
        many: those for several; empty: `one` and an s.
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def say(message: str) -> None:
    """Print a message for the user on standard error."""
    print(message, file=sys.stderr, flush=True)
