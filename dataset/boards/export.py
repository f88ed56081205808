"""A board's database export: found through `db_exports.json`, kept in a cache folder, read as a stream.

A cached file's name holds a digest of what the board said of it, so a file that is there is whole and current. While it
comes, it is called `.partial`, and the server's mark of its version stands next to it, for going on with it.
"""

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import pyarrow as pa
import pyarrow.csv as arrow_csv
import requests
from isal import igzip, isal_zlib

from command import InputError
from dataset.fetch import CHUNK_BYTES, Client, Gone, Refused, Trouble

READ_BYTES = 2**20
BLOCK_BYTES = 2**21  # parsed at a time; no row is longer
STARTS = 3  # how often a file whose checksum is wrong is downloaded from its beginning


@dataclass(frozen=True)
class ExportFile:
    """What a board says of one file of its export.

    Attributes:
        name: posts, tags, tag_aliases, …
        url: where it is.
        size_bytes: as a gzip file; 0 where the board does not say.
        checksum: SHA-256 of the gzip file in hexadecimal, or empty.
        updated_at: when it was made, as the board writes it.
    """

    name: str
    url: str
    size_bytes: int
    checksum: str
    updated_at: str

    @property
    def version(self) -> str:
        """Changes when the file does."""
        facts = repr((self.url, self.size_bytes, self.checksum, self.updated_at))
        return hashlib.blake2b(facts.encode(), digest_size=6).hexdigest()


def discover(client: Client, board_url: str) -> dict[str, ExportFile]:
    """The files of a board's export, by name.

    Raises:
        InputError: the board has none, or answers in a way that is not known.
    """
    url = f"{board_url.rstrip('/')}/db_exports.json"
    try:
        rows = json.loads(client.get(url))
        found = (
            ExportFile(
                name=str(row["name"]),
                url=urljoin(url, row["url"]),
                size_bytes=int(row.get("file_size") or 0),
                checksum=(row.get("checksum") or "").lower(),
                updated_at=str(row.get("updated_at")),
            )
            for row in rows
        )
        return {file.name: file for file in found}
    except Gone:
        raise InputError(f"{url} is missing: the board has no exports at present; try again later") from None
    except Refused as error:
        raise InputError(f"{url} could not be read: {error}; try again later") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{url} is no list of exports that this program knows: {error!r}") from None


def download(client: Client, file: ExportFile, folder: Path) -> Path:
    """The path of an export's file in the cache folder, downloaded where it is not there yet.

    Raises:
        InputError: it cannot be had, or its checksum is wrong again and again.
        OSError: it cannot be written.
    """
    if not re.fullmatch(r"\w+", file.name):
        raise InputError(f"expected the plain name of an export, received {file.name!r}")
    path = folder / f"{file.name}-{file.version}.csv.gz"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".gz.partial")
    try:
        for _ in range(STARTS):
            _download(client, file, partial)
            if not file.checksum or _sha256(partial) == file.checksum:
                break
            partial.unlink()
        else:
            raise InputError(f"{file.url} came {STARTS} times with another SHA-256 than the board's {file.checksum}")
    except Gone:
        raise InputError(f"{file.url} is missing, though the board lists it; try again later") from None
    except Refused as error:
        raise InputError(f"{file.url} could not be read: {error}; run the same command again to go on") from None
    partial.replace(path)
    for other in folder.glob(f"{file.name}-*"):  # earlier versions and their parts
        if other != path:
            other.unlink()
    return path


def _download(client: Client, file: ExportFile, partial: Path) -> None:
    from tqdm import tqdm

    begun = partial.stat().st_size if partial.exists() else 0
    total = file.size_bytes or None
    with tqdm(
        total=total, initial=begun, unit="B", unit_scale=True, desc=f"{file.name}.csv.gz", dynamic_ncols=True
    ) as progress:
        while not client.retry(lambda: _go_on(client, file.url, partial, progress)):
            pass


def _go_on(client: Client, url: str, partial: Path, progress) -> bool:
    """Append what is missing; True when the file is whole, False when something came, but not all.

    Raises:
        Trouble: nothing came.
    """
    mark = partial.with_suffix(".version")
    begun = partial.stat().st_size if partial.exists() and mark.exists() else 0
    headers = {"Range": f"bytes={begun}-", "If-Range": mark.read_text()} if begun else None
    with client.send(url, headers) as response:
        if response.status_code == 416:  # nothing is missing, or the file became shorter
            if response.headers.get("Content-Range") == f"bytes */{begun}":
                return True
            partial.unlink()
            raise Trouble("another file than before")
        if response.status_code != 206:
            begun = 0
        mark.unlink(missing_ok=True)
        with partial.open("ab" if begun else "wb") as out:
            version = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
            if version and not version.startswith("W/"):  # a weak mark does not promise the same bytes
                mark.write_text(version)
            progress.n = begun
            try:
                for chunk in response.iter_content(CHUNK_BYTES):
                    out.write(chunk)
                    progress.update(len(chunk))
            except requests.RequestException as error:
                if out.tell() > begun:
                    return False
                raise Trouble("the connection broke") from error
            expected = begun + int(response.headers.get("Content-Length", out.tell() - begun))
            if out.tell() < expected:
                raise Trouble(f"{out.tell():,} of {expected:,} bytes")
    return True


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def read_batches(path: Path, columns: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    """The named columns of an export's file, as text, some thousand rows at a time; other columns do not matter.

    Args:
        path: a gzip file of PostgreSQL's CSV, whose fields may hold line breaks.
        columns: names.

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
    except (EOFError, gzip.BadGzipFile, isal_zlib.error, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        what = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is damaged after row {rows:,}: {what}; delete it and run again") from None


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """What `read_batches` reads, row by row."""
    for batch in read_batches(path, columns):
        yield from zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
