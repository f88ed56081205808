"""A board of sixty posts on 127.0.0.1 that answers like e621.net, and misbehaves when told to, for tests."""

import csv
import gzip
import hashlib
import io
import json
import re
import socket
import struct
import threading
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

FAULTS = ("503", "500", "429", "html", "reset", "short", "flipped")
HUGE = " ".join(f"word{number:076}" for number in range(2_000))  # longer than csv's own limit of a field
NUMBERS = range(1, 61)
RESTRICTED = {5: ("q", "young"), 6: ("e", "young"), 7: ("q", "youngster"), 8: ("e", "infant"), 9: ("q", "Cub young")}
UNUSABLE = {15: {"is_deleted": "t"}, 16: {"is_pending": "t"}, 17: {"file_ext": "webm"}, 18: {"file_ext": "swf"}}
PARENTS = {12: 11, 11: 10, 20: 21, 21: 20, 31: 15, 32: 15}
WITH_SAMPLE, WITHOUT_SAMPLE = 50, 55  # both large enough to have one
CATEGORIES = {"cat": 0, "mammal": 0, "animal": 0, "dog": 0, "young": 0, "loop_a": 0, "even": 0, "fourth": 0, "ann": 1}
ALIASES = (
    ("kitty", "cat", "active"),
    ("kitteh", "kitty", "queued"),
    ("loop_a", "loop_b", "active"),
    ("loop_b", "loop_a", "active"),
    ("youngster", "young", "processing"),
    ("dog", "cat", "pending"),
)
IMPLICATIONS = (
    ("kitty", "mammal", "active"),
    ("mammal", "animal", "active"),
    ("infant", "young", "active"),
    ("animal", "mammal", "active"),
    ("dog", "even", "deleted"),
)
# fmt: off
COLUMNS = [
    "id", "uploader_id", "created_at", "md5", "source", "rating", "image_width", "image_height", "tag_string",
    "locked_tags", "fav_count", "file_ext", "parent_id", "change_seq", "approver_id", "file_size",
    "comment_count", "description", "duration", "updated_at", "is_deleted", "is_pending", "is_flagged",
    "score", "up_score", "down_score", "is_rating_locked", "is_status_locked", "is_note_locked",
]
# fmt: on


def picture(number: int) -> tuple[bytes, str, tuple[int, int]]:
    """A post's file, its type and its size in pixels."""
    large = number in (WITH_SAMPLE, WITHOUT_SAMPLE)
    size = (900, 880) if large else (40 + number % 5, 40)
    extension = "jpg" if number == WITH_SAMPLE else "png"
    out = io.BytesIO()
    Image.new("RGB", size, colour(number)).save(out, "JPEG" if extension == "jpg" else "PNG")
    return out.getvalue(), extension, size


def colour(number: int) -> tuple[int, int, int]:
    return number * 4, 255 - number * 4, number * 53 % 256


def written_tags(number: int) -> str:
    tags = ["solo", "ann", ("cat", "kitty", "kitteh", "dog")[number % 4]]
    tags += ["even"] * (number % 2 == 0) + ["loop_b"] * (number % 3 == 0) + ["comic"] * (number == 40)
    tags += ["young"] * (number == 44) + [HUGE] * (number == 30)
    return " ".join([*tags, RESTRICTED.get(number, ("", ""))[1]]).strip()


def rating(number: int) -> str:
    return RESTRICTED[number][0] if number in RESTRICTED else {1: "q", 2: "e"}.get(number % 10, "s")


def rows() -> list[dict]:
    """The posts as their export has them."""
    found = []
    for number in NUMBERS:
        data, extension, (width, height) = picture(number)
        row = dict.fromkeys(COLUMNS, "") | {
            "id": number,
            "created_at": f"2020-01-{number % 28 + 1:02} 10:00:00.5",
            "md5": hashlib.md5(data).hexdigest(),
            "source": 'https://a.example/\nhttps://b.example/"quoted", with a comma',
            "rating": rating(number),
            "image_width": width,
            "image_height": height,
            "tag_string": written_tags(number),
            "file_ext": extension,
            "parent_id": PARENTS.get(number, ""),
            "file_size": len(data),
            "score": number - 5,
            "is_deleted": "f",
            "is_pending": "f",
        }
        found.append(row | UNUSABLE.get(number, {}))
    return found


def packed(columns: list[str], lines: list) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *lines])
    return gzip.compress(text.getvalue().encode(), mtime=0)


def with_wrong_bytes(data: bytes) -> bytes:
    """A file with other bytes in its middle; a decoder takes a large enough picture for another one."""
    middle = len(data) // 2
    return data[:middle] + bytes(byte ^ 0x5A for byte in data[middle : middle + 32]) + data[middle + 32 :]


class SmallBoard:
    """A running board; use it in a `with` statement.

    Attributes:
        requests: the path of every request so far.
        agents: the User-Agents so far.
        faults: path ▶ what goes wrong with its next requests, in turn.
        missing: paths that are 404.
        robots: the text of robots.txt.
        checksums: whether the index has them.
        delay_seconds: before each picture.
    """

    def __init__(self):
        self.requests: list[str] = []
        self.agents: set[str] = set()
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.missing: set[str] = set()
        self.robots = "User-agent: *\nDisallow: /posts.json\n"
        self.checksums = True
        self.delay_seconds = 0.0
        self.rows = rows()
        self.set_exports(self.rows)
        self.files = {}
        for row in self.rows:
            data, extension, _ = picture(row["id"])
            md5 = row["md5"]
            self.files[f"/data/{md5[:2]}/{md5[2:4]}/{md5}.{extension}"] = data
            if row["id"] == WITH_SAMPLE:
                self.files[self.sample_path(md5)] = data

    def set_exports(self, posts: list[dict], columns: list[str] = COLUMNS) -> None:
        """Make the export of these posts; columns may come in another order."""
        tags = [(100 + number, *facts) for number, facts in enumerate(CATEGORIES.items())]
        self.exports = {
            "posts": packed(columns, [[row.get(name, "") for name in columns] for row in posts]),
            "tags": packed(["id", "name", "category", "post_count"], [(*tag, -3) for tag in tags]),
            "tag_aliases": packed(["antecedent_name", "consequent_name", "status"], list(ALIASES)),
            "tag_implications": packed(["antecedent_name", "consequent_name", "status"], list(IMPLICATIONS)),
        }

    @staticmethod
    def preview_path(md5: str, extension: str) -> str:
        return f"/data/preview/{md5[:2]}/{md5[2:4]}/{md5}.{extension}"

    @staticmethod
    def sample_path(md5: str, extension: str = "jpg") -> str:
        return f"/data/sample/{md5[:2]}/{md5[2:4]}/{md5}.{extension}"

    def path_of(self, number: int) -> str:
        [path] = [path for path in self.files if self.md5_of(number) in path and path.count("/") == 4]
        return path

    def md5_of(self, number: int) -> str:
        return self.rows[number - 1]["md5"]

    def asked_posts(self) -> set[int]:
        """The ids of the posts of which any file was asked for."""
        numbers = {row["md5"]: row["id"] for row in self.rows}
        return {numbers[found[0]] for path in self.requests if (found := re.findall(r"[0-9a-f]{32}", path))}

    def __enter__(self) -> "SmallBoard":
        handler = type("Handler", (_Handler,), {"board": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def index(self) -> bytes:
        return json.dumps(
            [
                {
                    "name": name,
                    "file_name": f"{name}.csv.gz",
                    "file_size": len(data),
                    "checksum": hashlib.sha256(data).hexdigest() if self.checksums else None,
                    "updated_at": hashlib.md5(data).hexdigest(),
                    "url": f"{self.url}/data/db_export/{name}.csv.gz",
                    "unheard_of": 1,
                }
                for name, data in self.exports.items()
            ]
        ).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    board: SmallBoard

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        board = self.board
        board.requests.append(self.path)
        board.agents.add(self.headers["User-Agent"])
        fault = board.faults[self.path].pop(0) if board.faults.get(self.path) else ""
        if self.path == "/robots.txt":
            self.answer(200, board.robots.encode(), "text/plain")
        elif fault in ("503", "500", "429", "403"):
            self.answer(int(fault), b"<html>busy</html>", "text/html")
        elif fault == "html":
            self.answer(200, b"<!DOCTYPE html><title>Just a moment</title>", "text/html")
        elif fault == "reset":
            self.reset()
        elif self.path == "/db_exports.json":
            self.answer(200, board.index(), "application/json")
        elif name := re.fullmatch(r"/data/db_export/(\w+)\.csv\.gz", self.path):
            self.export(board.exports[name[1]], fault)
        elif self.path in board.missing or self.path not in board.files:
            self.answer(404, b"no such file", "text/plain")
        else:
            time.sleep(board.delay_seconds)
            self.picture(board.files[self.path], fault)

    def picture(self, data: bytes, fault: str) -> None:
        if fault == "flipped":
            data = data[:-20] + bytes(20)
        if fault == "decodable":
            data = with_wrong_bytes(data)
        self.answer(200, data, "image/png", sent=len(data) // 2 if fault == "short" else None)

    def export(self, data: bytes, fault: str) -> None:
        mark = f'"{hashlib.md5(data).hexdigest()}"'
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if start and self.headers.get("If-Range") == mark:
            begun = int(start[1])
            if begun >= len(data):
                self.answer(416, b"", "text/plain", {"Content-Range": f"bytes */{len(data)}"})
                return
            facts = {"ETag": mark, "Content-Range": f"bytes {begun}-{len(data) - 1}/{len(data)}"}
            self.answer(206, data[begun:], "application/gzip", facts, sent=20 if fault == "short" else None)
            return
        data = bytes(len(data)) if fault == "flipped" else data
        self.answer(200, data, "application/gzip", {"ETag": mark}, sent=len(data) // 2 if fault == "short" else None)

    def answer(self, status: int, body: bytes, kind: str, headers: dict | None = None, sent: int | None = None) -> None:
        """Answer; with `sent`, break off after so many bytes of the body."""
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(body), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body[:sent])
        self.wfile.flush()
        if sent is not None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()
