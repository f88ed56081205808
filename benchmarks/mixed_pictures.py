"""Pictures of the kinds that front ends treat differently, made from the test pictures of a data folder."""

import itertools
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageOps

from common.errors import InputError, say
from dataset import images, records

OF_EACH_KIND = 5
SIDE, LARGE, PHOTO, WIDE = 512, 1_024, 1_600, 1_200  # pixels
ORIENTATION, TURN_RIGHT = 0x0112, 6  # tag of EXIF and its value for a picture that has to be turned clockwise


def make(folder: Path, data: Path) -> None:
    """Write five pictures of each of `KINDS` into a subfolder with the kind's name; an existing folder is left alone.

    Args:
        folder: folder to make.
        data: a data folder; its first test pictures are used, each once.

    Raises:
        InputError: the data folder has too few test pictures.
    """
    if folder.exists():
        say(f"{folder} exists, so no pictures are made")
        return
    number = OF_EACH_KIND * len(KINDS)
    stored = [record.image for record in itertools.islice(records.read(data, "test"), number)]
    if len(stored) < number:
        raise InputError(f"--make needs {number} test pictures. Received: {data}, which has {len(stored)}")
    for position, picture in enumerate(stored):
        kind, write = list(KINDS.items())[position // OF_EACH_KIND]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        write(images.decode(picture), folder / kind / f"{position:02}")


def small(picture: Image.Image, path: Path) -> None:
    """Write a picture in the size in which it is stored."""
    picture.save(path.with_suffix(".png"))


def large(picture: Image.Image, path: Path) -> None:
    """Write a large PNG."""
    _resized(picture, LARGE).save(path.with_suffix(".png"))


def photo(picture: Image.Image, path: Path) -> None:
    """Write a large JPEG."""
    _resized(picture, PHOTO).save(path.with_suffix(".jpg"), quality=90)


def wide(picture: Image.Image, path: Path) -> None:
    """Write a picture in the middle of a coloured strip that is 4 to 16 times as wide as high."""
    ratio = (4, 6, 8, 12, 16)[int(path.name) % OF_EACH_KIND]
    ImageOps.pad(picture, (WIDE, WIDE // ratio), Image.Resampling.LANCZOS, color="skyblue").save(path.with_suffix(".png"))


def transparent(picture: Image.Image, path: Path) -> None:
    """Write a PNG whose white is transparent, with black under it."""
    _without_white(picture).save(path.with_suffix(".png"))


def palette(picture: Image.Image, path: Path) -> None:
    """Write a PNG with a palette, in which white is transparent."""
    _without_white(picture).quantize(64).save(path.with_suffix(".png"))


def gray(picture: Image.Image, path: Path) -> None:
    """Write a PNG without colours."""
    _resized(picture, SIDE).convert("L").save(path.with_suffix(".png"))


def cmyk(picture: Image.Image, path: Path) -> None:
    """Write a JPEG in the colours of printing."""
    _resized(picture, SIDE).convert("CMYK").save(path.with_suffix(".jpg"), quality=95)


def turned(picture: Image.Image, path: Path) -> None:
    """Write a JPEG that lies on its side, and an entry in its EXIF that says so."""
    exif = Image.Exif()
    exif[ORIENTATION] = TURN_RIGHT
    on_its_side = _resized(picture, SIDE).transpose(Image.Transpose.ROTATE_90)
    on_its_side.save(path.with_suffix(".jpg"), quality=95, exif=exif)


def animated(picture: Image.Image, path: Path) -> None:
    """Write an animation of three frames, as GIF and as WebP in turns."""
    first = _resized(picture, SIDE)
    others = [first.rotate(45, fillcolor="white"), ImageOps.mirror(first)]
    suffix = (".gif", ".webp")[int(path.name) % 2]
    first.save(path.with_suffix(suffix), save_all=True, append_images=others, duration=500, loop=0)


KINDS: dict[str, Callable[[Image.Image, Path], None]] = {
    write.__name__: write for write in (small, large, photo, wide, transparent, palette, gray, cmyk, turned, animated)
}


def _resized(picture: Image.Image, side: int) -> Image.Image:
    """Return a picture whose long side has the given number of pixels."""
    return ImageOps.contain(picture, (side, side), Image.Resampling.LANCZOS)


def _without_white(picture: Image.Image) -> Image.Image:
    """Return an RGBA picture whose white is transparent, with black under it."""
    large_picture = _resized(picture, SIDE)
    alpha = ImageOps.invert(large_picture.convert("L")).point(lambda value: min(255, 4 * value))
    result = Image.composite(large_picture, Image.new("RGB", large_picture.size), alpha)
    result.putalpha(alpha)
    return result
