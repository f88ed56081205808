"""Tags beside pictures and in them: what was there stays, and can be had back."""

import io
import sys

import pytest
from hypothesis import given, strategies
from PIL import Image

from common.errors import InputError
from common.files import partial_path
from inference import annotations, keywords

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
    partial_path(text).write_text("half")
    assert annotations.undo(tmp_path) == (1, [], {}) and text.read_bytes() == before
    assert list(tmp_path.iterdir()) == [text]


def test_what_undo_leaves_alone_can_be_had_back_later(tmp_path):
    text, other = tmp_path / "a.txt", tmp_path / "b.txt"
    text.write_text("precious, old")
    for number, path in enumerate((text, other)):
        assert annotations.write(path, ["new"], "overwrite", str(number))
    written = text.read_bytes()
    with (tmp_path / annotations.JOURNAL).open("a") as journal:  # of another program, or of a villain
        for line in ('{"session": "7", "file": null, "before": 1, "after": 2}', '{"session": "8", "file": "../evil.txt"}'):
            journal.write(f'\n{line[:-1]}, "before": "x", "after": null}}')
    other.write_text("edited")
    assert annotations.undo(tmp_path) == (0, [other], {})
    assert annotations.undo(tmp_path) == (1, [other], {}) and text.read_text() == "precious, old"
    other.write_bytes(written)
    assert annotations.undo(tmp_path) == (1, [], {}) and not other.exists()
    assert not (tmp_path.parent / "evil.txt").exists() and list(tmp_path.iterdir()) == [text]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_keywords_change_nothing_else_and_can_be_taken_back(exiv2, tmp_path, suffix):
    exif = Image.Exif()
    if suffix == "jpg":
        exif[ORIENTATION] = 6
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(before := picture(suffix, exif=exif))
    assert not annotations.write(path, [], "overwrite", "0") and path.read_bytes() == before

    assert annotations.write(path, ["old"], "skip", "1")
    assert not annotations.write(path, ["new"], "skip", "2") and not annotations.write(path, ["old"], "append", "2")
    assert annotations.write(path, ["new", "old"], "append", "2")
    after = path.read_bytes()
    assert keywords.read(after) == ["old", "new"] and pixels(after) == pixels(before)
    image = Image.open(io.BytesIO(after))
    assert dict(image.getexif()) == dict(exif) and b"rdf:Seq" not in image.info["xmp"]
    assert annotations.write(path, ["third"], "overwrite", "3") and keywords.read(path.read_bytes()) == ["third"]
    assert annotations.write(path, [], "overwrite", "4") and path.read_bytes() == before

    for expected in (["third"], ["old", "new"], ["old"], None):
        assert annotations.undo(tmp_path) == (1, [], {}) and keywords.read(path.read_bytes()) == expected
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def of_another_program(exiv2) -> bytes:
    with exiv2.ImageData(picture("jpg")) as image:
        image.modify_raw_xmp(PACKET)
        return image.get_bytes().replace(b"<rdf:li>old", b"<rdf:li >old").replace(b"  <?xpacket end", b" <?xpacket end")


def tiff_of_many_pages(exiv2) -> bytes:
    file = io.BytesIO()
    Image.new("L", (9, 9)).save(file, "TIFF", save_all=True, append_images=[Image.new("L", (9, 9))] * 7)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [of_another_program, tiff_of_many_pages, lambda _: picture("webp"), lambda _: picture("png") + b"more"],
    ids=["another program's", "TIFF", "WebP", "bytes after a PNG"],
)
def test_pictures_of_which_more_would_change_are_left_alone(exiv2, tmp_path, data):
    path = tmp_path / "a"
    path.write_bytes(before := data(exiv2))
    with pytest.raises(ValueError, match="left alone"):
        annotations.write(path, ["new"], "append", "1")
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("word", ["a\x01", "\x1b", "\ud800"])
def test_keywords_that_cannot_be_written_are_refused(exiv2, word):
    with pytest.raises(ValueError):
        keywords.replace_tags(picture("jpg"), [word])


@given(strategies.lists(strategies.text(strategies.characters(exclude_categories=("C", "Z")), min_size=1), min_size=1))
def test_any_keyword_is_read_as_it_was_written(words):
    pytest.importorskip("pyexiv2", reason="test.py --keywords needs it")
    assert keywords.read(keywords.replace_tags(picture("jpg"), words)) == words


def test_where_the_library_is_missing_it_is_named(monkeypatch):
    keywords.exiv2.cache_clear()
    monkeypatch.setitem(sys.modules, "pyexiv2", None)
    with pytest.raises(InputError, match="pip install"):
        keywords.exiv2()


def test_what_follows_the_picture_in_its_file_stays(exiv2):
    assert keywords.replace_tags(picture("jpg") + b"a film", ["new"]).endswith(b"a film")


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
    (tmp_path / "a.jpg").write_bytes(keywords.replace_tags((tmp_path / "a.jpg").read_bytes(), ["mine"]))
    (tmp_path / "b.jpg").unlink()
    (tmp_path / "c.jpg").write_bytes(b"damaged")
    restored, changed, failed = annotations.undo(tmp_path)
    assert (restored, {path.name for path in changed}, failed) == (0, {"a.jpg", "c.jpg"}, {})
    assert keywords.read((tmp_path / "a.jpg").read_bytes()) == ["mine"]
