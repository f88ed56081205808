"""A board's database export: listed in `db_exports.json`, downloaded into a cache folder, read as a stream.

The name of a cached file contains a digest of the board's description of it, so that an existing file is complete and
current. During the download its name ends in `.partial`; a file beside it holds the server's ETag or
modification time, with which an interrupted download is resumed.
"""

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pyarrow as pa
import pyarrow.csv as arrow_csv
import requests
from isal import igzip, isal_zlib

from common.errors import InputError
from common.files import publish
from common.progress import progress
from dataset.boards.http_client import CHUNK_BYTES, Client, Gone, RequestFailed, TransientError

READ_BYTES = 2**20
# What a damaged file raises; isal's types do not tell that its error is an exception.
DAMAGE: Any = (EOFError, gzip.BadGzipFile, isal_zlib.error, UnicodeDecodeError, csv.Error, pa.ArrowInvalid)
BLOCK_BYTES = 2**21  # parsed at a time; a row must not be longer
MAX_DOWNLOADS = 3  # complete downloads of a file whose checksum is wrong


@dataclass(frozen=True)
class ExportFile:
    """A board's description of one file of its export.

    Attributes:
        name: `posts`, `tags`, `tag_aliases`, …
        url: address of the gzip file.
        size_bytes: its size; 0 if unknown.
        checksum: its SHA-256 in hexadecimal; empty if unknown.
        updated_at: time of the export in the board's notation.
    """

    name: str
    url: str
    size_bytes: int
    checksum: str
    updated_at: str

    @property
    def version(self) -> str:
        """A digest that changes when the file changes."""
        facts = repr((self.url, self.size_bytes, self.checksum, self.updated_at))
        return hashlib.blake2b(facts.encode(), digest_size=6).hexdigest()


def discover(client: Client, board_url: str) -> dict[str, ExportFile]:
    """Return the files of a board's export: name ▶ file.

    Raises:
        InputError: the board has no export, or its list has an unknown format.
    """
    url = f"{board_url.rstrip('/')}/db_exports.json"
    try:
        rows = json.loads(client.get(url))
        files = (
            ExportFile(
                name=str(row["name"]),
                url=urljoin(url, row["url"]),
                size_bytes=int(row.get("file_size") or 0),
                checksum=(row.get("checksum") or "").lower(),
                updated_at=str(row.get("updated_at")),
            )
            for row in rows
        )
        return {file.name: file for file in files}
    except Gone:
        raise InputError(f"{url} is missing: the board has no export at present; try again later") from None
    except RequestFailed as error:
        raise InputError(f"{url} could not be read: {error}; try again later") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{url} is not a list of exports in the expected format: {error!r}") from None


def download(client: Client, file: ExportFile, folder: Path) -> Path:
    """Download a file of an export unless it is in the cache folder, and return its path there.

    Raises:
        InputError: the download failed, or its checksum is wrong every time.
        OSError: the file cannot be written.
    """
    if not re.fullmatch(r"\w+", file.name):
        raise InputError(f"expected the name of an export, made of letters, digits and _, received {file.name!r}")
    path = folder / f"{file.name}-{file.version}.csv.gz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".gz.partial")
    try:
        for _ in range(MAX_DOWNLOADS):
            _download(client, file, partial)
            if not file.checksum or _sha256(partial) == file.checksum:
                break
            partial.unlink()
        else:
            raise InputError(f"{file.url} had a wrong SHA-256 in {MAX_DOWNLOADS} downloads; expected {file.checksum}")
    except Gone:
        raise InputError(f"{file.url} is missing although the board lists it; try again later") from None
    except RequestFailed as error:
        raise InputError(f"{file.url} could not be read: {error}; run the same command again to continue") from None
    publish(partial, path)
    for other in folder.glob(f"{file.name}-*"):  # earlier versions and their parts
        if other != path:
            other.unlink()
    return path


def _download(client: Client, file: ExportFile, partial: Path) -> None:
    done_bytes = partial.stat().st_size if partial.exists() else 0
    total = file.size_bytes or None
    with progress(total=total, initial=done_bytes, unit="B", scaled=True, description=f"{file.name}.csv.gz") as bar:
        while not client.retry(lambda: _resume(client, file.url, partial, bar)):
            pass


def _resume(client: Client, url: str, partial: Path, bar) -> bool:
    """Append the missing bytes; True if the file is complete, False if the connection broke after some of them."""
    version_file = partial.with_suffix(".version")
    done_bytes = partial.stat().st_size if partial.exists() and version_file.exists() else 0
    headers = {"Range": f"bytes={done_bytes}-", "If-Range": version_file.read_text()} if done_bytes else None
    with client.send(url, headers) as response:
        if response.status_code == 416:  # nothing is missing, or the file became shorter
            if response.headers.get("Content-Range") == f"bytes */{done_bytes}":
                return True
            partial.unlink()
            raise TransientError("the file has changed")
        if response.status_code != 206:
            done_bytes = 0
        version_file.unlink(missing_ok=True)
        with partial.open("ab" if done_bytes else "wb") as out:
            version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            if version and not version.startswith("W/"):  # a weak ETag does not guarantee the same bytes
                version_file.write_text(version)
            bar.n = done_bytes
            try:
                for chunk in response.iter_content(CHUNK_BYTES):
                    out.write(chunk)
                    bar.update(len(chunk))
            except requests.RequestException as error:
                if out.tell() > done_bytes:
                    return False
                raise TransientError("the connection broke") from error
            expected = done_bytes + int(response.headers.get("Content-Length", out.tell() - done_bytes))
            if out.tell() < expected:
                raise TransientError(f"{out.tell():,} of {expected:,} bytes")
    return True


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def read_batches(path: Path, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """Yield some columns of an export's file, as text, some thousand rows at a time.

    Args:
        path: gzip file of PostgreSQL's CSV, whose fields may contain line breaks.
        columns: names of the columns; others are ignored.

    Raises:
        InputError: a column is missing, or the file is damaged.
    """
    rows = 0
    try:
        with igzip.open(path, "rt", encoding="utf-8", newline="") as text:
            header = next(csv.reader(text), [])
        if missing := [name for name in columns if name not in header]:
            raise InputError(f"{path} has no column {', '.join(missing)}; its columns are {','.join(header)}")
        with igzip.open(path) as file:
            batches = arrow_csv.open_csv(
                file,
                arrow_csv.ReadOptions(block_size=BLOCK_BYTES),
                arrow_csv.ParseOptions(newlines_in_values=True),
                arrow_csv.ConvertOptions(include_columns=columns, column_types=dict.fromkeys(columns, pa.string())),
            )
            for batch in batches:
                yield batch
                rows += batch.num_rows
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is damaged after row {rows:,}: {reason}; delete it and run again") from None


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Yield the values of some columns row by row; see `read_batches`."""
    for batch in read_batches(path, columns):
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
