"""The same pictures and tags written in the form of each board and program that download.py reads, for tests."""

import csv
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
from PIL import Image

from dataset.boards.board import Board, Post


@dataclass
class Drawn:
    """A picture of a test, and what a board says about it."""

    number: int
    general: list[str]
    artist: str = "ann"
    character: str = ""
    rating: str = "safe"
    parent: int = 0
    score: int = 1
    date: str = "2020-05-01"
    is_deleted: bool = False
    colour: tuple[int, int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.colour = (self.number * 37 % 256, self.number * 91 % 256, self.number * 5 % 256)

    @property
    def tags(self) -> list[str]:
        return [*self.general, self.artist, *([self.character] if self.character else [])]

    @property
    def by_category(self) -> dict[str, list[str]]:
        return {"general": self.general, "artist": [self.artist], "character": [self.character] if self.character else []}

    def png(self) -> bytes:
        out = io.BytesIO()
        image = Image.new("RGB", (24 + self.number % 7, 24), self.colour)
        image.putpixel((self.number % 20, 3), (255, 255, 255))
        image.save(out, "PNG")
        return out.getvalue()

    @property
    def md5(self) -> str:
        return hashlib.md5(self.png(), usedforsecurity=False).hexdigest()


def danbooru(drawn: Drawn) -> dict:
    letter = {"safe": "g", "sensitive": "s", "questionable": "q", "explicit": "e"}[drawn.rating]
    strings = {f"tag_string_{name}": " ".join(tags) for name, tags in drawn.by_category.items()}
    lists = {f"tags_{name}": tags for name, tags in drawn.by_category.items()}
    post = {"category": "danbooru", "id": drawn.number, "md5": drawn.md5, "rating": letter, "score": drawn.score}
    post |= {"parent_id": drawn.parent or None, "is_deleted": drawn.is_deleted, "is_pending": False, "is_banned": False}
    return (
        post | strings | lists | {"tag_string": " ".join(drawn.tags), "tags": drawn.tags, "date": f"{drawn.date} 01:02:03"}
    )


def e621(drawn: Drawn) -> dict:
    letter = {"safe": "s", "questionable": "q", "explicit": "e"}[drawn.rating]
    lists = {f"tags_{name}": tags for name, tags in drawn.by_category.items()} | {"tags_species": [], "tags_lore": []}
    post = {"category": "e621", "id": drawn.number, "rating": letter, "score": {"up": 3, "down": -2, "total": drawn.score}}
    post |= {"file": {"md5": drawn.md5, "ext": "png"}, "flags": {"deleted": drawn.is_deleted, "pending": False}}
    post |= {
        "relationships": {"parent_id": drawn.parent or None},
        "pools": [],
        "created_at": f"{drawn.date}T01:02:03.000-04:00",
    }
    return post | lists | {"tags": sorted(drawn.tags)}


def e621_api(drawn: Drawn) -> dict:
    """e621's own answer, which has the tags by category."""
    return {name: value for name, value in e621(drawn).items() if "tags" not in name} | {"tags": drawn.by_category}


def gelbooru(drawn: Drawn) -> dict:
    rating = {"safe": "general"}.get(drawn.rating, drawn.rating)
    strings = {f"tags_{name}": " ".join(tags) for name, tags in drawn.by_category.items() if tags}
    post = {"category": "gelbooru", "id": drawn.number, "md5": drawn.md5, "rating": rating, "score": str(drawn.score)}
    post |= {"parent_id": drawn.parent, "status": "deleted" if drawn.is_deleted else "active", "tags": " ".join(drawn.tags)}
    year, month, day = drawn.date.split("-")
    name = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][int(month) - 1]
    return post | strings | {"created_at": f"Fri {name} {day} 14:01:15 -0500 {year}"}


def moebooru(drawn: Drawn) -> dict:
    letter = {"safe": "s", "questionable": "q", "explicit": "e"}[drawn.rating]
    strings = {f"tags_{name}": " ".join(tags) for name, tags in drawn.by_category.items() if tags}
    post = {"category": "yandere", "id": drawn.number, "md5": drawn.md5, "rating": letter, "score": drawn.score}
    post |= {"parent_id": drawn.parent or None, "status": "deleted" if drawn.is_deleted else "active"}
    return post | strings | {"tags": " ".join(drawn.tags), "date": f"{drawn.date} 00:00:00"}


def philomena(drawn: Drawn) -> dict:
    named = [f"artist:{drawn.artist}", *([f"oc:{drawn.character}"] if drawn.character else [])]
    tags = [drawn.rating, *(tag.replace("_", " ") for tag in (*drawn.general, *named))]
    post = {"category": "derpibooru", "id": drawn.number, "score": drawn.score, "sha512_hash": "0" * 128, "tags": tags}
    post |= {"duplicate_of": drawn.parent or None, "hidden_from_users": drawn.is_deleted}
    return post | {"created_at": f"{drawn.date}T03:12:33Z"}


def szurubooru(drawn: Drawn) -> dict:
    tags = [
        {"names": [tag, f"{tag}_alias"], "category": "default" if kind == "general" else kind}
        for kind, names in drawn.by_category.items()
        for tag in names
    ]
    safety = {"safe": "safe", "questionable": "sketchy", "explicit": "unsafe"}[drawn.rating]
    post = {"category": "snootbooru", "id": drawn.number, "safety": safety, "checksumMD5": drawn.md5, "tags": tags}
    return post | {"score": drawn.score, "version": 1, "creationTime": f"{drawn.date}T00:00:00Z"}


def with_json(folder: Path, pictures: list[Drawn], post) -> None:
    for drawn in pictures:
        (folder / f"{drawn.number}.png").write_bytes(drawn.png())
        (folder / f"{drawn.number}.png.json").write_text(json.dumps(post(drawn), indent=4), encoding="utf-8")


def with_lines(folder: Path, pictures: list[Drawn]) -> None:
    """Pictures with the names that gallery-dl gives by default, and all metadata in one file."""
    lines = []
    for drawn in pictures:
        (folder / f"danbooru_{drawn.number}_{drawn.md5}.png").write_bytes(drawn.png())
        lines.append(json.dumps(danbooru(drawn) | {"filename": drawn.md5, "extension": "png"}))
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def with_hydrus(folder: Path, pictures: list[Drawn], suffix: str) -> None:
    for drawn in pictures:
        character = [f"character:{drawn.character}"] if drawn.character else []
        tags = [*drawn.general, f"creator:{drawn.artist}", *character, f"rating:{drawn.rating}"]
        (folder / f"{drawn.number}.png").write_bytes(drawn.png())
        content = "\n".join(tags) if suffix == ".txt" else json.dumps({"tags": {"downloader": tags}})
        (folder / f"{drawn.number}.png{suffix}").write_text(content, encoding="utf-8")


def with_tar(folder: Path, pictures: list[Drawn], has_index: bool = False, kind: str = ".json") -> None:
    """Two tar files, perhaps with an index of byte ranges."""
    for name, part in (("0000", pictures[::2]), ("0001", pictures[1::2])):
        with tarfile.open(folder / f"{name}.tar", "w") as tar:
            for drawn in part:
                text = json.dumps(e621_api(drawn)) if kind == ".json" else ", ".join(drawn.tags)
                for suffix, data in ((".png", drawn.png()), (kind, text.encode())):
                    member = tarfile.TarInfo(f"{drawn.number}{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        if has_index:
            with tarfile.open(folder / f"{name}.tar") as tar:
                files = {member.name: {"offset": member.offset_data, "size": member.size} for member in tar}
            size = (folder / f"{name}.tar").stat().st_size
            (folder / f"{name}.json").write_text(json.dumps({"filesize": size, "files": files}))


def with_table(folder: Path, pictures: list[Drawn], suffix: str, by_md5: bool = False) -> Path:
    """Pictures in folders by the last three digits of their id, or named by MD5, and a table with Danbooru's columns."""
    rows = []
    for drawn in pictures:
        path = folder / (f"{drawn.md5}.png" if by_md5 else f"{drawn.number % 1000:04}/{drawn.number}.png")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(drawn.png())
        post = {name: value for name, value in danbooru(drawn).items() if not name.startswith("tags")}
        rows.append({name: value for name, value in post.items() if name != "category"} | {"created_at": post["date"]})
        del rows[-1]["date"]
    rows.append(rows[0] | {"id": 999_999, "md5": "f" * 32})  # without a picture
    return write_table(folder.with_name(f"{folder.name}{suffix}"), {name: [row[name] for row in rows] for name in rows[0]})


def write_table(path: Path, columns: dict[str, list]) -> Path:
    """Write a table as CSV, JSON lines or Parquet, by its suffix."""
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        parquet.write_table(pa.table(columns), path, row_group_size=5)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    return path


def with_texts(folder: Path, pictures: list[Drawn]) -> None:
    """The form of the board `folder`."""
    for drawn in pictures:
        (folder / f"{drawn.number}.png").write_bytes(drawn.png())
        character = [f"character:{drawn.character}"] if drawn.character else []
        (folder / f"{drawn.number}.txt").write_text(", ".join([*drawn.general, f"artist:{drawn.artist}", *character]))


# Name ▶ (board, writer that returns a table or None).
FORMS = {
    "danbooru": ("gallery-dl", lambda folder, pictures: with_json(folder, pictures, danbooru)),
    "e621": ("gallery-dl", lambda folder, pictures: with_json(folder, pictures, e621)),
    "e621 api": ("gallery-dl", lambda folder, pictures: with_json(folder, pictures, e621_api)),
    "gelbooru": ("gallery-dl", lambda folder, pictures: with_json(folder, pictures, gelbooru)),
    "moebooru": ("gallery-dl", lambda folder, pictures: with_json(folder, pictures, moebooru)),
    "philomena": ("gallery-dl", lambda folder, pictures: with_json(folder, pictures, philomena)),
    "szurubooru": ("gallery-dl", lambda folder, pictures: with_json(folder, pictures, szurubooru)),
    "lines": ("gallery-dl", with_lines),
    "hydrus text": ("hydrus", lambda folder, pictures: with_hydrus(folder, pictures, ".txt")),
    "hydrus json": ("hydrus", lambda folder, pictures: with_hydrus(folder, pictures, ".json")),
    "tar": ("webdataset", with_tar),
    "tar with index": ("webdataset", lambda folder, pictures: with_tar(folder, pictures, True)),
    "parquet": ("table", lambda folder, pictures: with_table(folder, pictures, ".parquet")),
    "parquet by md5": ("table", lambda folder, pictures: with_table(folder, pictures, ".parquet", True)),
    "json lines": ("table", lambda folder, pictures: with_table(folder, pictures, ".jsonl")),
    "csv": ("table", lambda folder, pictures: with_table(folder, pictures, ".csv")),
}


def posts_by_number(board: Board, pictures: list[Drawn]) -> dict[int, Post]:
    """Return the number of each picture that a board has ▶ its post. The file tells which one it is."""
    number_of = {drawn.md5: drawn.number for drawn in pictures}
    posts = {}
    for post in board.posts():
        digest = hashlib.md5(board.image_bytes(post, 64), usedforsecurity=False)
        posts[number_of[digest.hexdigest()]] = post
    return posts
