"""The board e621.net, or one that answers like it: its export says which posts there are, its file host has the pictures."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from command import InputError
from dataset.boards import Post
from dataset.boards.catalogue import Catalogue
from dataset.boards.export import discover, download
from dataset.boards.post_table import PostTable, read_posts
from dataset.boards.sieve import Filters
from dataset.boards.tag_rules import UNKNOWN_CATEGORY, TagRules
from dataset.fetch import Client, Gone, Refused
from dataset.images import ImageError, decode

SITE_URL = "https://e621.net"
EXPORTS = ("tags", "tag_aliases", "tag_implications", "posts")
EXPORTS_PATH = "/db_export/"  # the export's files lie in this folder of the one that has the pictures
PREVIEW_SHORT_PIXELS = 256
# A sample is kept where the short side or the long side is larger than these, and is no larger than these.
SAMPLE_SHORT_PIXELS = 850
SAMPLE_LONG_PIXELS = 1700
# The file of a sample or preview has about so many bytes a pixel: an estimate, for the plan alone.
BYTES_PER_PIXEL = 0.25
ATTRIBUTION = "Pictures and tags from {}; the rights to each picture are its artist's."


@dataclass(frozen=True)
class Access:
    """How to reach the board.

    Attributes:
        url: of the site.
        user: the user's name there, or empty.
        rate: requests/s, 0 for no limit, None for the board's own, see `fetch.Client`.
        cache: the folder that keeps the export, some 2 GB.
    """

    url: str
    user: str
    rate: float | None
    cache: Path


class E621Board:
    """A board's posts that pass the filters; see `Board` for the interface."""

    name = "e621"
    remote = True

    def __init__(self, access: Access, filters: Filters):
        self.attribution = ATTRIBUTION.format(access.url)
        self.skipped: dict[str, int] = {}
        self.rejected: list[tuple[str, str]] = []
        self._access, self._filters = access, filters
        self._client = Client(access.user, access.rate)
        self._table: PostTable | None = None
        self._rules: TagRules | None = None
        self._files_url = ""

    def posts(self) -> Iterator[Post]:
        catalogue = self.catalogue()
        yield from map(catalogue.post, range(len(catalogue.ids)))

    def catalogue(self) -> Catalogue:
        if self._table is None:
            self._fetch_export()
        return self._table.catalogue(self._files_url)

    def rate(self, post: Post) -> float:
        """Requests/s at which the host of a post's picture is asked; 0 for no limit."""
        return self._client.rate_of(post.source)

    def image_bytes(self, post: Post, size: int) -> bytes:
        *smaller, original = file_urls(post, size)
        for url in smaller:
            try:
                return self._client.get(url, _picture_problem)
            except (Gone, Refused):  # old samples are not all there, and the original can be checked
                continue
        return self._client.get(original, lambda data: _original_problem(data, post.md5))

    def planned_bytes(self, post: Post, size: int) -> int:
        """About how many bytes `image_bytes` will read."""
        variant = file_variant(post, size)
        if variant == "original":
            return post.file_bytes
        short = PREVIEW_SHORT_PIXELS if variant == "preview" else SAMPLE_SHORT_PIXELS
        scale = min(1.0, short / min(post.width, post.height))
        return round(post.width * post.height * scale**2 * BYTES_PER_PIXEL)

    def category(self, tag: str) -> int:
        return self._rules.category(tag) if self._rules else UNKNOWN_CATEGORY

    def tag_id(self, tag: str) -> int | None:
        return self._rules.tag_id(tag) if self._rules else None

    def implied(self, tag: str) -> tuple[str, ...]:
        return self._rules.implied(tag) if self._rules else ()

    def _fetch_export(self) -> None:
        found = discover(self._client, self._access.url)
        if missing := [name for name in EXPORTS if name not in found]:
            raise InputError(f"{self._access.url} exports no {', '.join(missing)}; it has {', '.join(found) or 'nothing'}")
        url = found["posts"].url
        if EXPORTS_PATH not in url:
            raise InputError(f"expected the export's URL to hold {EXPORTS_PATH}, received {url}")
        self._files_url = url.rpartition(EXPORTS_PATH)[0]
        paths = {name: download(self._client, found[name], self._access.cache) for name in EXPORTS}
        self.read_export(paths)

    def read_export(self, paths: dict[str, Path]) -> None:
        """Read the posts that pass the filters from the files of an export, by name."""
        self._rules = TagRules.read(paths["tags"], paths["tag_aliases"], paths["tag_implications"])
        self._table = read_posts(paths["posts"], self._rules, self._filters)
        self.skipped = dict(sorted(self._table.skipped.items()))


def file_variant(post: Post, size: int) -> str:
    """The smallest file of a post whose short side is at least `size` or the original's: preview, sample or original."""
    short, long = sorted((post.width, post.height))
    if size <= PREVIEW_SHORT_PIXELS:
        return "preview"
    sampled = short > SAMPLE_SHORT_PIXELS or long > SAMPLE_LONG_PIXELS
    if not sampled or post.source.endswith(".gif"):
        return "original"
    # The long side may be limited as well: what is certain is the smaller of both.
    sample_short = min(SAMPLE_SHORT_PIXELS, short, SAMPLE_LONG_PIXELS * short // long)
    return "sample" if sample_short >= min(size, short) else "original"


def file_urls(post: Post, size: int) -> list[str]:
    """Where to ask for a post's picture, in turn; the original last."""
    variant = file_variant(post, size)
    if variant == "original":
        return [post.source]
    base, first, second, _ = post.source.rsplit("/", 3)
    # A JPEG sample of a transparent picture shows it on dark blue: the WebP keeps the transparency.
    extension = "jpg" if post.source.endswith(".jpg") else "webp"
    return [f"{base}/{variant}/{first}/{second}/{post.md5}.{extension}", post.source]


def _original_problem(data: bytes, md5: str) -> str:
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return "" if found == md5 else f"wrong MD5: {found}"


def _picture_problem(data: bytes) -> str:
    """What is wrong with the bytes of a sample, whose hash nobody publishes."""
    try:
        decode(data)
    except ImageError as error:
        return str(error)
    return ""
