"""What a user points at ▶ encoded pictures: files, folders, patterns, addresses, standard input, the clipboard, a list."""

import glob
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from command import InputError
from dataset import images
from dataset.images import ImageError

SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".apng", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".ppm", ".pgm"}
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")  # in other formats a further image is a page, a preview or the other eye's
TIMEOUT_SECONDS = 30
MOST_FRAMES = 1000  # of an animation, that are looked through; fewer where they are large


@dataclass(frozen=True)
class Source:
    """A picture that can be read.

    Attributes:
        name: what the user called it.
        read: gives the encoded picture; raises ImageError or OSError.
        path: the file, if it is one.
    """

    name: str
    read: Callable[[], bytes]
    path: Path | None = None


def find(arguments: Iterable[str]) -> Iterator[Source]:
    """The pictures that arguments name, in order; what cannot be read says so when it is read.

    Args:
        arguments: files, folders (with all folders in them), patterns such as `*.png`, http(s) addresses, and `-` for
            one picture on standard input.
    """
    for argument in arguments:
        if argument == "-":
            yield Source("-", lambda: sys.stdin.buffer.read(images.MAX_FILE_BYTES))
        elif argument.find("://") > 1:  # C:// is a disk
            yield Source(argument, partial(download, argument))
        elif os.path.isdir(argument):  # noqa: PTH112 (Path's raises where a name is too long)
            yield from _files(argument, sorted(Path(argument).rglob("*")), "no picture in this folder")
        elif glob.has_magic(argument) and not os.path.exists(argument):  # noqa: PTH110 (the same)
            found = sorted(map(Path, glob.glob(argument, recursive=True)))  # noqa: PTH207 (Path's takes no absolute pattern)
            yield from _files(argument, found, "no picture fits")
        else:
            yield file(argument)


def file(path: str | Path) -> Source:
    """A picture in a file."""
    path = Path(path)
    return Source(str(path), partial(images.read_file, path), path)


def read_list(path: str) -> list[str]:
    """The lines of a list of arguments; `-` for standard input.

    Raises:
        InputError: it is no text.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no list of pictures, one a line, in UTF-8: {error}") from None
    lines = text.removeprefix("\ufeff").replace("\0", "\n").splitlines()  # Windows' mark; what `find -print0` writes
    return [line for line in lines if line.strip()]


def download(address: str) -> bytes:
    """The picture at an address.

    Raises:
        ImageError: it cannot be had, or is larger than any picture that can be decoded.
    """
    import requests

    try:
        with requests.get(address, stream=True, timeout=TIMEOUT_SECONDS) as answer:
            answer.raise_for_status()
            data = io.BytesIO()
            for part in answer.iter_content(2**16):
                if data.tell() + len(part) > images.MAX_FILE_BYTES:
                    raise ImageError(f"the file is larger than {images.MAX_FILE_BYTES // 2**20} MiB")
                data.write(part)
            return data.getvalue()
    except (requests.RequestException, ValueError) as error:  # of an address of which no host's name can be made
        while error.__context__:  # the outer ones only repeat the address and the libraries' names
            error = error.__context__
        raise ImageError(f"cannot be fetched: {error}") from None


def clipboard() -> list[Source]:
    """The picture, files or link in the desktop's clipboard.

    Raises:
        InputError: there is none, or the desktop does not let programs read it.
    """
    from PIL import ImageGrab

    try:
        content = ImageGrab.grabclipboard()
    except (NotImplementedError, OSError) as error:
        raise InputError(f"the clipboard cannot be read: {error}") from None
    if isinstance(content, list):
        return list(find(content))
    if content is not None:
        file = io.BytesIO()
        content.save(file, "PNG")
        return [Source("clipboard", file.getvalue)]
    try:
        import tkinter

        window = tkinter.Tk()
        window.withdraw()
        text = window.clipboard_get()
        window.destroy()
    except Exception:  # no Tk, no display, or no text
        text = ""
    if not text.strip():
        raise InputError("the clipboard holds no picture, file or link")
    return list(find([text.strip()]))


def frames(data: bytes, most: int) -> list[tuple[float, bytes]]:
    """Frames of an animation, evenly over its length, each with its time in seconds; a still picture is its own one frame.

    Only as many frames are looked through as a picture of the largest size has pixels.

    Raises:
        ImageError: the picture cannot be read.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=ANIMATED)
        animated = getattr(image, "is_animated", False) and image.width * image.height <= images.MAX_PIXELS
    except Exception:  # another format, or none: reading it as a still picture gives the reason
        animated = False
    if not animated:
        return [(0.0, data)]
    reach = min(MOST_FRAMES, max(1, images.MAX_PIXELS // (image.width * image.height)))
    try:
        starts = list(_starts(image, reach))
        number = min(most, len(starts))
        return [(starts[index], _frame(image, index)) for index in (i * len(starts) // number for i in range(number))]
    except Exception as error:  # a damaged file can raise almost anything inside a decoder
        raise ImageError(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from error


def _starts(image: Image.Image, reach: int) -> Iterator[float]:
    """When each of the first frames begins, in seconds."""
    seconds = 0.0
    for index in range(reach):
        try:
            image.seek(index)
        except EOFError:
            return
        image.load()  # some formats know a frame's duration only then
        yield round(seconds, 3)
        seconds += image.info.get("duration", 100) / 1000


def _frame(image: Image.Image, index: int) -> bytes:
    image.seek(index)
    file = io.BytesIO()
    image.convert("RGBA").save(file, "PNG", compress_level=1)
    return file.getvalue()


def _files(argument: str, paths: list[Path], if_none: str) -> Iterator[Source]:
    found = [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not found:
        yield Source(argument, partial(_fail, if_none))
    for path in found:
        yield file(path)


def _fail(reason: str) -> bytes:
    raise ImageError(reason)
