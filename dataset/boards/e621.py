"""The board `e621`: e621.net or a site with the same interface. Posts come from its export, pictures from its file host."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from common.errors import InputError
from dataset.boards.board import Post
from dataset.boards.catalogue import Catalogue
from dataset.boards.database_export import discover, download
from dataset.boards.filters import Filters
from dataset.boards.http_client import Client, Gone, RequestFailed
from dataset.boards.post_table import PostTable, read_posts
from dataset.boards.received_picture import PictureCheck
from dataset.boards.tag_rules import UNKNOWN_CATEGORY, TagRules

SITE_URL = "https://e621.net"
EXPORTS = ("tags", "tag_aliases", "tag_implications", "posts")
EXPORTS_PATH = "/db_export/"  # folder of the export's files, inside the folder of the pictures
PREVIEW_SHORT_PIXELS = 256
# The site makes a sample of a picture whose short or long side is larger than these; no side of the sample is larger.
SAMPLE_SHORT_PIXELS = 850
SAMPLE_LONG_PIXELS = 1700
# Rough size of a sample or preview file, used only for the forecast.
BYTES_PER_PIXEL = 0.25
ATTRIBUTION = "Pictures and tags from {}; the rights to each picture are its artist's."


@dataclass(frozen=True)
class Access:
    """How to reach the board.

    Attributes:
        url: address of the site.
        user: the user's name on the site, or empty.
        rate: requests/s; 0: no limit; None: the board's own limit, see `http_client.Client`.
        cache: folder for the export, about 2 GB.
    """

    url: str
    user: str
    rate: float | None
    cache: Path

    @classmethod
    def to(cls, url: str, user: str, rate: float | None, caches: Path) -> "Access":
        """Check an address and a rate, and return the access with a cache of its own in the folder `caches`.

        Raises:
            InputError: the address or the rate cannot be used.
        """
        url = url.rstrip("/")
        parts = urlsplit(url)
        try:
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # the port is not a number, or out of range
            usable = False
        if not usable:
            raise InputError(f"--board-url must be like https://e621.net, received {url!r}")
        if rate is not None and not 0 <= rate < float("inf"):
            raise InputError(f"--rate must be 0 or more requests a second, received {rate:g}")
        return cls(url, user, rate, caches / re.sub(r"[^\w.-]", "_", parts.netloc + parts.path))


class E621Board:
    """The posts of a site that pass the filters; see `Board` for the interface."""

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
        assert self._table is not None
        return self._table.catalogue(self._files_url)

    def rate(self, post: Post) -> float:
        return self._client.rate_of(post.source)

    def image_bytes(self, post: Post, size: int) -> bytes:
        *smaller, original = file_urls(post, size)
        for url in smaller:
            try:
                return self._client.get(url, PictureCheck(post.width, post.height))
            except (Gone, RequestFailed):  # some old samples are missing; the original is always there
                continue
        return self._client.get(original, lambda data: _original_problem(data, post.md5))

    def planned_bytes(self, post: Post, size: int) -> int:
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
        available = discover(self._client, self._access.url)
        if missing := [name for name in EXPORTS if name not in available]:
            names = ", ".join(available) or "nothing"
            raise InputError(f"{self._access.url} does not export {', '.join(missing)}; it exports {names}")
        url = available["posts"].url
        if EXPORTS_PATH not in url:
            raise InputError(f"expected an export's URL with {EXPORTS_PATH} in it, received {url}")
        self._files_url = url.rpartition(EXPORTS_PATH)[0]
        paths = {name: download(self._client, available[name], self._access.cache) for name in EXPORTS}
        self.read_export(paths)

    def read_export(self, paths: dict[str, Path]) -> None:
        """Read the posts that pass the filters.

        Args:
            paths: name of each file of the export, as in `EXPORTS` ▶ its path.

        Raises:
            InputError: a file is damaged, a tag to exclude is unknown, or no post passes the filters.
        """
        self._rules = TagRules.read(paths["tags"], paths["tag_aliases"], paths["tag_implications"])
        self._table = read_posts(paths["posts"], self._rules, self._filters)
        self.skipped = dict(sorted(self._table.skipped.items()))
        if not len(self._table.ids):
            num_rows = sum(self.skipped.values())
            left = self._filters.what_is_left(num_rows, self._table.skipped)
            raise InputError(f"no post is left of the {num_rows:,} of {self._access.url}{f': {left}' if left else ''}")


def file_variant(post: Post, size: int) -> str:
    """Return the smallest sufficient file of a post: `preview`, `sample` or `original`.

    Its short side is at least `size` pixels, or as long as the original's.
    """
    short, long = sorted((post.width, post.height))
    if size <= PREVIEW_SHORT_PIXELS:
        return "preview"
    sampled = short > SAMPLE_SHORT_PIXELS or long > SAMPLE_LONG_PIXELS
    if not sampled or post.source.endswith(".gif"):
        return "original"
    # The limits of the short and the long side both apply.
    sample_short = min(SAMPLE_SHORT_PIXELS, short, SAMPLE_LONG_PIXELS * short // long)
    return "sample" if sample_short >= min(size, short) else "original"


def file_urls(post: Post, size: int) -> list[str]:
    """Return the URLs to try for a post's picture, in this order; the last is the original."""
    variant = file_variant(post, size)
    if variant == "original":
        return [post.source]
    base, first, second, _ = post.source.rsplit("/", 3)
    # A JPEG sample of a transparent picture shows it on dark blue: the WebP keeps the transparency.
    extension = "jpg" if post.source.endswith(".jpg") else "webp"
    return [f"{base}/{variant}/{first}/{second}/{post.md5}.{extension}", post.source]


def _original_problem(data: bytes, md5: str) -> str:
    received = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return "" if received == md5 else f"wrong MD5: {received}"
