"""The pictures that a user names: files, folders, patterns, addresses, standard input, the clipboard, a list."""

import glob
import io
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from common.errors import InputError
from common.files import decode_text
from dataset import bit_depth, decoder_messages, images, picture_files, picture_metadata, recovery
from dataset.images import ImageError

ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")  # in other formats, further images are pages, previews or stereo views
TIMEOUT_SECONDS = 30
MAX_FRAMES_DECODED = 1000  # of an animation; fewer if its frames are large


@dataclass(frozen=True)
class Source:
    """A picture that can be read.

    Attributes:
        name: the picture's name for messages, as the user wrote it.
        read: returns the encoded picture; raises ImageError or OSError.
        path: path of the file; None if the picture does not come from a file.
        strict: refuse a picture that is cut short, instead of using what is there of it.
    """

    name: str
    read: Callable[[], bytes]
    path: Path | None = None
    strict: bool = False

    def read_whole(self) -> bytes:
        """Return the encoded picture; of one that is cut short what is there, with a warning.

        Raises:
            ImageError, OSError: it cannot be read, or less than half of it is there.
        """
        return recovery.read_whole(self.read(), self.name, self.strict)


def find(arguments: Iterable[str], strict: bool = False) -> Iterator[Source]:
    """Yield the pictures that arguments name, in order. A picture that cannot be read raises when it is read, not here.

    Args:
        arguments: files, folders (with their subfolders), patterns such as `*.png`, http(s) addresses, and `-` for one
            picture on standard input.
        strict: see `Source`.
    """
    for argument in arguments:
        if argument == "-":
            yield Source("-", lambda: sys.stdin.buffer.read(images.MAX_FILE_BYTES), strict=strict)
        elif argument.find("://") > 1:  # C:// is a drive
            yield Source(argument, partial(download, argument), strict=strict)
        elif os.path.isdir(argument):  # noqa: PTH112 (Path's raises where a name is too long)
            found = picture_files.find(Path(argument))
            found.report()
            yield from _files(argument, [found.folder / name for name in found.names], "no picture in this folder", strict)
        elif glob.has_magic(argument) and not os.path.exists(argument):  # noqa: PTH110 (the same)
            matches = map(Path, glob.glob(argument, recursive=True))  # noqa: PTH207 (Path's takes no absolute pattern)
            files = sorted(path for path in matches if path.is_file())
            paths = [path for path in files if picture_files.is_picture(path)]
            others = Counter(path.suffix.lower() for path in files if not picture_files.is_picture(path))
            picture_files.PictureFiles(Path(argument), [], others, []).report()
            yield from _files(argument, paths, "no picture matches", strict)
        else:
            yield file(argument, strict)


def file(path: str | Path, strict: bool = False) -> Source:
    """Return the source for a picture file; `strict` as in `Source`."""
    path = Path(path)
    return Source(str(path), partial(images.read_file, path), path, strict)


def read_list(path: str) -> list[str]:
    """Return the arguments for `find` in a text file, one on each line or separated by NUL; `-` is standard input.

    Raises:
        InputError: the file is a picture, or damaged UTF-16.
    """
    if picture_files.is_picture(Path(path)):
        raise InputError(f"--list {path}: expected a text file with one picture on each line, not a picture")
    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        text = decode_text(data, "surrogateescape")  # names may hold any bytes
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text with one picture on each line. Received: {error}") from None
    # A name may hold every character that ends a line but a line feed, and with `find -print0` that as well.
    lines = text.split("\0") if "\0" in text else [line.removesuffix("\r") for line in text.split("\n")]
    return [line for line in lines if line.strip()]


def download(address: str) -> bytes:
    """Return the encoded picture at an address.

    Raises:
        ImageError: it cannot be fetched, or is larger than `images.MAX_FILE_BYTES`.
    """
    import requests

    if not re.match("https?://", address, re.IGNORECASE):
        raise ImageError(f"expected the path of a file, or an http address. Received: {address}")
    try:
        with requests.get(address, stream=True, timeout=TIMEOUT_SECONDS) as response:
            response.raise_for_status()
            data = io.BytesIO()
            for part in response.iter_content(2**16):
                if data.tell() + len(part) > images.MAX_FILE_BYTES:
                    raise ImageError(f"the file is larger than {images.MAX_FILE_BYTES // 2**20} MiB")
                data.write(part)
            return data.getvalue()
    except (requests.RequestException, ValueError) as error:  # ValueError: the host name is invalid
        cause: BaseException = error
        while cause.__context__:  # the outer errors only repeat the address and the names of libraries
            cause = cause.__context__
        raise ImageError(f"cannot be fetched: {cause}") from None


def clipboard(strict: bool = False) -> list[Source]:
    """Return the pictures in the desktop's clipboard: an image, files or a link; `strict` as in `Source`.

    Raises:
        InputError: it holds none of these, or the desktop does not let programs read it.
    """
    from PIL import ImageGrab

    try:
        content = ImageGrab.grabclipboard()
    except (NotImplementedError, OSError) as error:
        raise InputError(f"the clipboard cannot be read: {error}") from None
    if isinstance(content, list):
        return list(find(content, strict))
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
    return list(find([text.strip()], strict))


def frames(data: bytes, max_frames: int) -> list[tuple[float, bytes]]:
    """Return evenly spaced frames of an animation, or a still picture as its only frame.

    The frames that are decoded to find them have together at most as many pixels as the largest picture allowed.

    Args:
        data: content of an image file.
        max_frames: largest number of frames.

    Returns:
        For each frame the seconds at which it begins, and the encoded frame.

    Raises:
        ImageError: the picture cannot be read.
    """
    decoder_messages.silence()
    try:
        image = Image.open(io.BytesIO(picture_metadata.without_texts(data)), formats=ANIMATED)
        animated = getattr(image, "is_animated", False) and image.width * image.height <= images.MAX_PIXELS
    except Exception:  # another format or damaged: reading it as a still picture gives the reason
        animated = False
    if not animated:
        return [(0.0, data)]
    num_decoded = min(MAX_FRAMES_DECODED, max(1, images.MAX_PIXELS // (image.width * image.height)))
    try:
        starts = list(_frame_starts(image, num_decoded))
        number = min(max_frames, len(starts))
        return [(starts[index], _encode_frame(image, index)) for index in (i * len(starts) // number for i in range(number))]
    except Exception as error:  # decoders raise many kinds of errors for damaged files
        raise images.damage(data, error) from error


def _frame_starts(image: Image.Image, number: int) -> Iterator[float]:
    """Yield the seconds at which each of the first frames begins."""
    seconds = 0.0
    for index in range(number):
        try:
            image.seek(index)
        except EOFError:
            return
        image.load()  # some formats give a frame's duration only after decoding
        yield round(seconds, 3)
        seconds += image.info.get("duration", 100) / 1000


def _encode_frame(image: Image.Image, index: int) -> bytes:
    """Return a frame as a PNG, upright and with the animation's colour profile, which Pillow writes by itself."""
    image.seek(index)
    frame, turn, file = bit_depth.to_eight_bits(image).convert("RGBA"), picture_metadata.turn(image), io.BytesIO()
    (frame if turn is None else frame.transpose(turn)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _files(argument: str, paths: list[Path], reason_if_none: str, strict: bool) -> Iterator[Source]:
    if not paths:
        yield Source(argument, partial(_fail, reason_if_none))
    yield from (file(path, strict) for path in paths)


def _fail(reason: str) -> bytes:
    raise ImageError(reason)
