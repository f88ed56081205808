"""The argument parser and the exit handling that all e6tag commands share.

A command prints results on standard output, and progress and messages on standard error. It exits with 0, or with 1 after
a one-line error message.
"""

import argparse
import contextlib
import errno
import io
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from common.errors import InputError, say
from dataset.tag_text import is_emoticon

ADDRESS = re.compile(r"[a-z][a-z0-9+]+:[/\\]", re.IGNORECASE)  # gs://, s3://; a drive of Windows has one letter


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a bad argument in one line, with exit code 1."""

    def __init__(self, description: str | None):
        super().__init__(description=description, allow_abbrev=False)

    def _parse_optional(self, arg_string: str):
        """Take a face such as `-_-` for a tag, not for an option."""
        is_option = arg_string in self._option_string_actions or re.fullmatch(r"--?\w", arg_string)
        return None if is_emoticon(arg_string) and not is_option else super()._parse_optional(arg_string)

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Where a path is expected, take file:///folder for one, and refuse another address, such as gs://bucket."""
        if action.type is Path and arg_string.lower().startswith("file://"):
            from urllib.request import url2pathname  # takes time to import

            arg_string = url2pathname(arg_string[len("file://") :])
        if action.type is Path and ADDRESS.match(arg_string):
            name = "/".join(action.option_strings) or action.dest
            self.error(f"{name} {arg_string}: expected a path, received an address: mount it")
        return super()._get_value(action, arg_string)

    def error(self, message: str) -> NoReturn:
        """Raise an InputError instead of printing the usage."""
        raise InputError(f"{message} (see {self.prog} --help)")


def run(main: Callable[[], None], when_interrupted: str = "") -> NoReturn:
    """Run a command's `main` and end the process with its exit code and message.

    Args:
        main: the command; takes no arguments.
        when_interrupted: sentence added to the message after Ctrl-C: what is left behind, and how to continue.
    """
    if sys.stdout is None:  # closed by the shell (>&-)
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 (a stream for the rest of the process)
    # A scheduler or `kill` ends a command as Ctrl-C does, so that its output is whole.
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold anything, also where the console is not UTF-8
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()
        _end(0)
    except InputError as error:
        _end(1, f"error: {error}")
    except KeyboardInterrupt:
        _end(1, f"interrupted. {when_interrupted}".rstrip())
    except BrokenPipeError:  # the reader of the output (head, less) has ended
        os._exit(1)
    except OSError as error:  # for example a full disk or a read-only folder: the system's message and the file's name
        if error.errno == errno.ENOSPC:
            _end(1, "error: the disk is full: make room, and run the same command again")
        _end(1, f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except Exception:  # a bug
        traceback.print_exc()
        _end(1)


def _interrupt(*_) -> None:
    """Act as after Ctrl-C, also where that is ignored, as under nohup."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _end(code: int, line: str = "") -> NoReturn:
    """Exit without cleanup: data pipeline threads that wait for Python's lock could block a normal exit."""
    if line:
        say(" ".join(line.split()))
    with contextlib.suppress(OSError):  # results printed before an error; after a full disk they cannot be written
        sys.stdout.flush()
    os._exit(code)
