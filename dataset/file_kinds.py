"""What a file is by its first bytes, so that a message about a file that is no picture names the cause."""

SHOWN_CHARACTERS = 40
# First bytes ▶ Pillow's name of the format.
FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x0a": "JXL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JXL",
}
# First bytes ▶ what people call such a file.
OTHERS = {
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive or a document",
    b"Rar!": "a RAR archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"\x1aE\xdf\xa3": "a video (Matroska or WebM)",
    b"OggS": "sound or a video (Ogg)",
    b"ID3": "sound (MP3)",
    b"FLV\x01": "a video (Flash)",
    b"FWS": "Flash",
    b"CWS": "Flash",
    b"ZWS": "Flash",
    b"8BPS": "a Photoshop file",
    b"gimp xcf": "a GIMP file",
    b"\0\0\0\x0cjP  ": "a JPEG 2000 file",
    b"\xff\x4f\xff\x51": "a JPEG 2000 file",
    b"\x76\x2f\x31\x01": "an OpenEXR file",
    b"qoif": "a QOI file",
    b"DDS ": "a DDS texture",
    b"\0\0\x01\0": "an icon (ICO)",
}
PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<svg")
HEIC_BRANDS = (b"hei", b"hev", b"mif1", b"msf1")  # ISO 23008-12
PACKAGES = {"HEIF": "HEIC: pip install pillow-heif", "JXL": "JPEG XL: pip install pillow-jxl-plugin"}


def format_of(data: bytes) -> str:
    """Return Pillow's name of a picture's format, or an empty text."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:11] == b"avi" else "HEIF" if data[8:12].startswith(HEIC_BRANDS) else ""
    if data[:1] == b"P" and data[1:2] in b"123456fF" and data[2:3].isspace():
        return "PPM"
    return next((name for start, name in FORMATS.items() if data.startswith(start)), "")


def describe(data: bytes) -> str:
    """Return what a file is that Pillow does not open, as the reason why it is refused.

    Args:
        data: content of the file, not empty and not cut short.
    """
    name = format_of(data)
    if name in PACKAGES:
        return f"a file of a format that needs a package ({PACKAGES[name]}), or a damaged one"
    if name:
        return f"a {name} with a damaged header, or of a kind that this Pillow does not read"
    if not data.strip(b"\0"):
        return "nothing but zeros, not a picture"
    if data[:256].lstrip().lower().startswith(PAGES):
        return "a web page or SVG, not a picture"
    if data[4:8] == b"ftyp" or data[:4] == b"RIFF":
        return "a video or sound, not a picture"
    if kind := next((kind for start, kind in OTHERS.items() if data.startswith(start)), ""):
        return f"{kind}, not a picture that this Pillow reads"
    if _is_text(data[:1024]):
        line = data[:1024].decode("utf-8-sig", "ignore").strip().partition("\n")[0].strip()
        return f"text, not a picture (starts with {line[:SHOWN_CHARACTERS]!r})"
    return f"no image format that this Pillow reads (starts with {data[:8]!r})"


def _is_text(data: bytes) -> bool:
    """Return whether the first bytes of a file are text in UTF-8, whose last character may be cut."""
    text = data.decode("utf-8", "ignore")
    return len(data) - len(text.encode()) < 4 and all(letter.isprintable() or letter.isspace() for letter in text[1:])
