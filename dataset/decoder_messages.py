"""Pillow and its libraries print nothing: what is wrong with a picture is in the error that names it."""

import contextlib
import ctypes
import functools
import logging
import warnings

from PIL import Image


@functools.cache
def silence() -> None:
    """Turn off the messages of Pillow, for the whole process, and of the libtiff that it uses.

    A filter for one call, as `warnings.catch_warnings` sets it, would not do: other threads change it meanwhile.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with contextlib.suppress(OSError, AttributeError, TypeError):  # a Pillow that was built in another way
        libtiff = ctypes.CDLL(Image.core.__file__)  # finds the functions of the libraries that it is linked with
        libtiff.TIFFSetErrorHandler(None)
        libtiff.TIFFSetWarningHandler(None)
