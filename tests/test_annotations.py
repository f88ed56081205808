"""Tags beside pictures and in them: what was there stays, and can be had back."""

import io
import sys

import pytest
from hypothesis import given, strategies
from PIL import Image

from command import InputError
from model import annotations, keywords

PACKET = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:mine="http://example.com/" mine:stars="5"><dc:subject>
<rdf:Bag><rdf:li>old</rdf:li></rdf:Bag></dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>"""
ORIENTATION = 274


def picture(suffix: str, **options) -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "green", "blue")]
    several = {"save_all": True, "append_images": frames[1:]} if suffix in ("webp", "gif") else {}
    frames[0].save(file, {"jpg": "JPEG"}.get(suffix, suffix), **several, **options)
    return file.getvalue()


def pixels(data: bytes) -> list[bytes]:
    image = Image.open(io.BytesIO(data))
    frames = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        frames.append(image.convert("RGB").tobytes())
    return frames


@pytest.fixture
def exiv2():
    return pytest.importorskip("pyexiv2", reason="test.py --keywords needs it")


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_undo_gives_back_the_same_bytes_after_a_power_cut(tmp_path, mode):
    text = tmp_path / "a.txt"
    text.write_bytes("\ufeffmine, ö\r\nb\r\n".encode())
    before = text.read_bytes()
    journal = tmp_path / annotations.JOURNAL
    journal.write_text('{"session": "9", "file": "b.t')  # torn: the power went while it was written
    assert annotations.write(text, ["b", "new"], mode, "8") and text.read_bytes() != before
    (tmp_path / "a.txt.partial").write_text("half")
    assert annotations.undo(tmp_path) == (1, []) and text.read_bytes() == before
    assert list(tmp_path.iterdir()) == [text]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
def test_keywords_change_neither_pixels_nor_other_metadata(exiv2, tmp_path, suffix):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = tmp_path / f"a.{suffix}"
    with exiv2.ImageData(picture(suffix, exif=exif)) as image:
        image.modify_raw_xmp(PACKET)
        before = image.get_bytes()
    path.write_bytes(before)
    assert not annotations.write(path, ["new"], "skip", "1") and path.read_bytes() == before

    assert annotations.write(path, ["new", "old"], "append", "1")
    after = path.read_bytes()
    assert keywords.read(after) == ["old", "new"] and pixels(after) == pixels(before)
    image = Image.open(io.BytesIO(after))
    assert image.getexif()[ORIENTATION] == 6 and b"stars" in image.info["xmp"] and b"rdf:Seq" not in image.info["xmp"]
    assert annotations.write(path, ["third"], "overwrite", "2") and keywords.read(path.read_bytes()) == ["third"]

    assert annotations.undo(tmp_path) == (1, []) and keywords.read(path.read_bytes()) == ["old", "new"]
    assert annotations.undo(tmp_path) == (1, []) and keywords.read(path.read_bytes()) == ["old"]
    assert b"stars" in Image.open(path).info["xmp"] and list(tmp_path.iterdir()) == [path]


@given(strategies.lists(strategies.text(strategies.characters(exclude_categories=("C", "Z")), min_size=1), min_size=1))
def test_any_keyword_is_read_as_it_was_written(words):
    pytest.importorskip("pyexiv2", reason="test.py --keywords needs it")
    assert keywords.read(keywords.changed(picture("jpg"), words)) == words


def test_where_the_library_is_missing_it_is_named(monkeypatch):
    keywords.library.cache_clear()
    monkeypatch.setitem(sys.modules, "pyexiv2", None)
    with pytest.raises(InputError, match="pip install"):
        keywords.library()


def test_what_follows_the_picture_in_its_file_stays(exiv2):
    assert keywords.changed(picture("jpg") + b"a film", ["new"]).endswith(b"a film")


def test_files_without_room_for_keywords_and_links_to_pictures_are_left_alone(exiv2, tmp_path):
    for name, data in (("a.gif", picture("gif")), ("a.bmp", picture("bmp")), ("a.jpg", b"no picture"), ("b.jpg", b"")):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(ValueError, match="left alone"):
            annotations.write(path, ["new"], "append", "1")
        assert path.read_bytes() == data
    assert not (tmp_path / annotations.JOURNAL).exists()


def test_a_picture_that_a_link_leads_to_is_changed_and_keeps_its_mode(exiv2, tmp_path):
    (tmp_path / "library").mkdir()
    picture_file, link = tmp_path / "library" / "a.jpg", tmp_path / "a.jpg"
    picture_file.write_bytes(picture("jpg"))
    picture_file.chmod(0o640)
    link.symlink_to(picture_file)
    annotations.write(link, ["new"], "append", "1")
    assert link.is_symlink() and keywords.read(picture_file.read_bytes()) == ["new"]
    assert picture_file.stat().st_mode & 0o777 == 0o640


def test_a_picture_that_was_edited_or_is_gone_is_not_put_back(exiv2, tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(picture("jpg"))
        annotations.write(tmp_path / name, ["new"], "append", "1")
    (tmp_path / "a.jpg").write_bytes(keywords.changed((tmp_path / "a.jpg").read_bytes(), ["mine"]))
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c.jpg").write_bytes(b"damaged")
    restored, changed = annotations.undo(tmp_path)
    assert (restored, {path.name for path in changed}) == (0, {"a.jpg", "c.jpg"})
    assert keywords.read((tmp_path / "a.jpg").read_bytes()) == ["mine"]
