"""The error for mistakes that a user can correct, and the function that prints messages."""

import sys


class InputError(Exception):
    """An input of the user that cannot be used: an option, a file or a folder.

    The message is one line. It names the input, what was expected, what was received and what to do.
    """


def say(message: str) -> None:
    """Print a message for the user on standard error."""
    print(message, file=sys.stderr, flush=True)
