"""The board `webdataset`: tar files of pictures, each with a JSON or text file of the same name beside it.

The files are read where they are in the tar, which is never unpacked. Where `a.tar` has an index `a.json` with the position
of each file (`{"files": {NAME: {"offset": …, "size": …}}}`), the tar is not searched for them.
"""

import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from common.errors import InputError, say
from common.files import decode_text
from common.progress import progress
from dataset import picture_files
from dataset.boards import picture_source
from dataset.boards.annotation import Annotation, from_tags, in_one_line, naming, spelled
from dataset.boards.collection import Collection
from dataset.boards.post_json import read_post
from dataset.tag_text import usable

PACKED = (".gz", ".tgz", ".bz2", ".xz", ".zst")
PACKED_BYTES = (b"\x1f\x8b", b"BZ", b"\xfd7", b"\x28\xb5")  # with which such files begin
TEXTS = (".json", ".txt", ".caption")  # of the tags beside a picture, the first choice first
MAX_TEXT_BYTES = 2**24


class WebDatasetBoard(Collection):
    """The pictures in tar files; see `Board` for the interface.

    A post's id is the path of the tar relative to its folder, and the name of the picture in the tar.
    """

    name = "webdataset"

    def where_tags_are(self) -> str:
        return f"the tar files of {self._folders} has tags in a .json or .txt file of the same name beside it"

    def annotations(self) -> Iterator[Annotation]:
        files = [
            (folder, prefix, path)
            for folder, prefix in zip(self._folders.folders, self._folders.prefixes, strict=True)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        ]
        tars = [
            (prefix + path.relative_to(folder).as_posix(), path)
            for folder, prefix, path in files
            if path.suffix.lower() == ".tar"
        ]
        packed = [path for _, _, path in files if path.suffix.lower() in PACKED]
        if packed:
            say(f"{len(packed):,} compressed files are not read, such as {packed[0]}: decompress them to .tar first")
        if not tars:
            raise InputError(f"{self._folders} contains no tar files: expected files named .tar, not compressed")
        found: list[Annotation] = []
        cells: dict[int, tuple[str, str]] = {}  # position in `found` ▶ where the text is, and the text
        others: dict[str, list[str]] = defaultdict(list)  # kind ▶ files that are neither pictures nor their tags
        for name, path in progress(tars, description="tar files", unit="files", leave=False):
            for annotation, text in self._pictures(name, path, others):
                if text is not None:
                    cells[len(found)] = (annotation.id, text)
                found.append(annotation)
        strange: list[tuple[int, str]] = []
        for position, tags in zip(cells, self._reader.read(list(cells.values()), strange), strict=True):
            read = from_tags(tags)
            found[position] = replace(found[position], tags=read.tags, categories=read.categories)
        places = list(cells.values())
        self.rejected += [(places[position][0], f"tags cannot be used: {reason}") for position, reason in strange]
        for kind, members in others.items():
            say(f"files in tars that are not used, because {kind}: {len(members):,}, such as {members[0]}")
        if not found:
            raise InputError(f"the {len(tars):,} tar files of {self._folders} contain no images")
        yield from spelled(found, self._reader)

    def _pictures(self, name: str, path: Path, others: dict[str, list[str]]) -> Iterator[tuple[Annotation, str | None]]:
        """Yield the annotation of each picture of a tar, and the text of its tags if they are not in JSON."""
        files = _files(path)
        suffixes = picture_files.suffixes()
        folded = {member.casefold(): member for member in files}
        texts: dict[str, str] = {}  # files of tags ▶ why they are not used
        for member, (offset, size) in files.items():
            suffix = PurePosixPath(member).suffix.lower()
            if suffix not in suffixes:
                if suffix not in TEXTS:
                    others[f"they are {suffix or 'without a suffix'}"].append(f"{name}/{member}")
                else:
                    texts.setdefault(member, "they belong to no picture that can be read")
                continue
            here = Annotation(id=f"{name}/{member}", source=picture_source.in_tar(path, offset, size))
            key = str(PurePosixPath(member).with_suffix(""))
            wanted = [key + text for text in TEXTS]
            # Two keys may differ in capitals alone.
            found = [name for name in wanted if name in files] or [folded.get(name.casefold(), "") for name in wanted]
            if not (beside := list(filter(None, found))):
                yield here, None
                continue
            texts |= dict.fromkeys(beside[1:], "their picture has another file of tags") | {beside[0]: ""}
            try:
                here.id.encode()
                annotation, text_file = _read_json(path, beside, files)
                texts[text_file] = ""
                with naming(PurePosixPath(text_file).name):
                    text = _text(path, files[text_file]) if text_file else None
                yield replace(annotation, id=here.id, source=here.source), text
            except ValueError as error:
                self.rejected.append((ascii(here.id)[1:-1], f"tags cannot be used: {in_one_line(error)}"))
            except OSError as error:
                self.rejected.append((here.id, f"tags cannot be read: {in_one_line(error)}"))
        for member, reason in texts.items():
            if reason:
                others[reason].append(f"{name}/{member}")


def _read_json(path: Path, beside: list[str], files: dict[str, tuple[int, int]]) -> tuple[Annotation, str]:
    """Return what the JSON file beside a picture says, and the text file that has the tags if that has none, or empty.

    Args:
        path: the tar.
        beside: the picture's files of tags, the first choice first.
        files: name ▶ offset and size of the files of the tar.

    Raises:
        OSError: the tar cannot be read.
        ValueError: the file is damaged; the message names it.
    """
    if not beside[0].lower().endswith(".json"):
        return Annotation(), beside[0]
    with naming(PurePosixPath(beside[0]).name):
        annotation = _annotation(json.loads(_text(path, files[beside[0]])))
    return annotation, "" if annotation.tags else next(iter(beside[1:]), "")


def _annotation(content: object) -> Annotation:
    """Return what a JSON file says: an object, or a list of tags."""
    if isinstance(content, list) and all(isinstance(tag, str) for tag in content):
        return from_tags(usable(content, "tags"))
    return read_post(content)


def _text(path: Path, place: tuple[int, int]) -> str:
    """Return the text of a file in a tar, from its offset and size. Raises ValueError: it is too long, or no text."""
    if place[1] > MAX_TEXT_BYTES:
        raise ValueError(f"expected at most {MAX_TEXT_BYTES:,} bytes of tags, received {place[1]:,}")
    return decode_text(picture_source.read_part(path, *place))


def _files(path: Path) -> dict[str, tuple[int, int]]:
    """Return the files of a tar: name ▶ offset and size. Files without tags of their own (links, folders) are left out."""
    if (indexed := _index(path)) is not None:
        return indexed
    files: dict[str, tuple[int, int]] = {}
    repeated: list[str] = []
    end = 0
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isreg() and not PurePosixPath(member.name).name.startswith("."):
                    repeated += [member.name] * (member.name in files)
                    files[member.name] = (member.offset_data, member.size)
        # tarfile takes anything that is no header for the end, which is a block of zeros.
        if any(picture_source.read_part(path, end, tarfile.BLOCKSIZE)):
            raise tarfile.ReadError("something else than a file follows")
    except tarfile.TarError as error:
        with path.open("rb") as file:
            is_packed = not files and file.read(2) in PACKED_BYTES
        if is_packed:
            say(f"{path} is compressed and not read: decompress it first")
        else:
            say(f"{path} is damaged{_after(files)}: {error}")
    except OSError as error:
        say(f"{path} cannot be read{_after(files)}: {error.strerror or error}")
    if repeated:
        number = f"{len(repeated):,}, such as {repeated[0]}"
        say(f"{path} holds files again of a name that it has already: {number}; the last one of a name counts")
    return files


def _after(files: dict) -> str:
    return f" after {len(files):,} files, which are used" if files else " and not used"


def _index(path: Path) -> dict[str, tuple[int, int]] | None:
    """Return the files in a tar's index, name ▶ offset and size; None if there is no index that fits the tar."""
    index = path.with_suffix(".json")
    try:
        content = json.loads(index.read_bytes())
        size = path.stat().st_size
        files = {name: (int(entry["offset"]), int(entry["size"])) for name, entry in content["files"].items()}
        if any(offset < 0 or length < 0 or offset + length > size for offset, length in files.values()):
            raise ValueError("a file lies outside the tar")
        if content.get("filesize", size) != size:
            raise ValueError(f"made for a tar of {content['filesize']} bytes, this one has {size:,}")
        _check_index(path, files)
        return files
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, AttributeError, OverflowError):
        reason = "expected files, each with offset and size"
    except (OSError, ValueError, RecursionError) as error:
        reason = in_one_line(error)
    say(f"{index} is not used as an index: {reason}; {path.name} is searched instead")
    return None


def _check_index(path: Path, files: dict[str, tuple[int, int]]) -> None:
    """Raise a ValueError unless the files of an index follow each other in the tar, from its start to its end."""
    block, end = tarfile.BLOCKSIZE, 0
    for name, (offset, size) in sorted(files.items(), key=lambda item: item[1]):
        header = picture_source.read_part(path, end, block) if offset == end + block else b""
        stored = header[:100].rstrip(b"\0").decode("utf-8", "replace")
        if not stored or not name.endswith(stored) or header[124:135].strip(b" \0") != f"{size:011o}".encode():
            raise ValueError(f"{name} is not where the index says, or something lies before it")
        end = offset + -(-size // block) * block
    if any(picture_source.read_part(path, end, block)):
        raise ValueError("the tar has more files")
