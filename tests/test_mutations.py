"""Damaged text files, tables and pictures: each is read, or named with a reason."""

import csv
import io
import json
import random

import pytest
from conftest import program
from PIL import Image, features

from common.errors import InputError
from dataset import images, picture_files
from dataset.boards.folder import FolderBoard

TEXTS = (
    "long hair, blue eyes, :3",
    "cat\ndog\n",
    "['big cat', 'o_o']",
    "a; b; c",
    "猫、犬",
    "(cat, dog:1.2), \\(x\\)",
    "a_b c_d",
)
PIECES = (
    b",",
    b"\n",
    b"\r\n",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"'",
    b'"',
    b"[",
    b"]",
    b"(",
    b":",
    b"\xe3\x80\x81",
    b"\t",
)
PICTURES = 20
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "HEIF", "JXL", "progressive", "animation")


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change, insert, repeat, and cut off some bytes."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 20))):
        position = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0 if position < len(changed):
                changed[position] = chance.randrange(256)
            case 1:
                changed[position:position] = chance.choice(PIECES)
            case 2:
                changed[position:position] = changed[max(0, position - 9) : position]
            case 3 if chance.random() < 0.3:
                del changed[position:]
    return bytes(changed)


@pytest.fixture
def folder(tmp_path):
    for number in range(PICTURES):
        Image.new("RGB", (4, 4), (number, 0, 0)).save(tmp_path / f"{number}.png")
    return tmp_path


def check(folder, table=None) -> None:
    """Read a folder; each of its pictures has tags, has none, or is named, and so is what stops the whole."""
    board = FolderBoard([folder], table)
    try:
        read = {post.id for post in board.posts()}
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000
        return
    named = {name for name, _ in board.rejected} & {f"{number}.png" for number in range(PICTURES)} - read  # on other lines
    assert len(read) + len(named) + board.skipped.get("images without tags", 0) == PICTURES


@pytest.mark.parametrize("number", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_text_files(folder, number):
    chance = random.Random(number)
    for _ in range(number // PICTURES):
        likeness = chance.choice(TEXTS)
        for picture in range(PICTURES):
            text = likeness.encode(chance.choice(("utf-8", "utf-8", "utf-8", "utf-16")))
            is_whole = chance.random() < 0.7  # so that not everything stops at the first file
            (folder / f"{picture}.txt").write_bytes(text if is_whole else mutated(text, chance))
        check(folder)


@pytest.mark.parametrize("number", [100, pytest.param(3_000, marks=pytest.mark.slow)])
def test_tables(folder, number):
    chance = random.Random(number)
    for _ in range(number):
        rows = [(f"{picture}.png", chance.choice(TEXTS)) for picture in range(PICTURES)]
        match chance.randrange(3):
            case 0:
                file = io.StringIO()
                csv.writer(file, delimiter=chance.choice(",;\t|")).writerows([("id", "tags"), *rows])
                name, text = "table.csv", file.getvalue()
            case 1:
                name, text = "table.json", json.dumps([{"file": picture, "tags": {tags: 1}} for picture, tags in rows])
            case _:
                name, text = (
                    "table.csv",
                    "file,x,y\n" + "".join(f"{picture},1,{chance.randrange(2)}\n" for picture, _ in rows),
                )
        (folder / name).write_bytes(mutated(text.encode(chance.choice(("utf-8", "utf-16"))), chance))
        check(folder, folder / name)


def encoded(kind: str) -> bytes | None:
    """A picture in a format; None if this Pillow does not write it."""
    gradient = Image.merge("RGB", [Image.linear_gradient("L").rotate(angle).resize((48, 32)) for angle in (0, 90, 180)])
    file, picture_format = io.BytesIO(), {"progressive": "JPEG", "animation": "GIF"}.get(kind, kind)
    picture_files.known_formats()
    if picture_format not in Image.SAVE or (kind == "AVIF" and not features.check("avif")):
        return None
    more = [gradient.rotate(180), gradient.rotate(90)]
    options = {"progressive": {"progressive": True}, "animation": {"save_all": True, "append_images": more}}
    gradient.save(file, picture_format, **options.get(kind, {}))
    return file.getvalue()


@pytest.mark.parametrize("number", [240, pytest.param(2_400, marks=pytest.mark.slow)])
def test_pictures(number):
    chance, outcomes = random.Random(number), {"read": 0, "named": 0}
    wholes = [whole for whole in map(encoded, FORMATS) if whole]
    for _ in range(number // len(wholes)):
        for whole in wholes:
            try:
                assert images.decode(mutated(whole, chance)).mode == "RGB"
                outcomes["read"] += 1
            except images.ImageError as error:
                assert str(error) and "\n" not in str(error)
                outcomes["named"] += 1
    assert min(outcomes.values()) > number // 10


def test_a_batch_of_damaged_pictures_is_read_or_named(emoji_onnx, tmp_path):
    chance, pictures = random.Random(4), tmp_path / "in"
    pictures.mkdir()
    for number in range(60):
        kind = FORMATS[number % len(FORMATS)]
        suffix = {"progressive": "jpg", "animation": "gif", "JPEG": "jpg"}.get(kind, kind.lower())
        (pictures / f"{number}.{suffix}").write_bytes(mutated(encoded(kind) or encoded("PNG"), chance))
    given = len(picture_files.find(pictures).names)
    done = program("test.py", pictures, "--run", emoji_onnx, "--jsonl")
    named = sum(line.startswith("error: ") and str(pictures) in line for line in done.stderr.splitlines())
    assert named and len(done.stdout.splitlines()) + named == given, done.stderr
    assert "Traceback" not in done.stderr
