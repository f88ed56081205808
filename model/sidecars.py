"""Tags as text beside a picture, as trainers of image generators read them: `a.txt` for `a.png`."""


def read(data: bytes | None) -> str | None:
    """What a sidecar says; None where there is none.

    Raises:
        ValueError: it is not text in UTF-8.
    """
    try:
        return None if data is None else data.decode()  # not opened as text, so that line ends stay what they are
    except UnicodeDecodeError:
        raise ValueError("left alone, for it is no text in UTF-8") from None


def content(tags: list[str], before: str | None) -> str:
    """Tags, separated by commas, after those that are there before."""
    there = [tag.strip() for tag in (before or "").replace("\n", ",").split(",") if tag.strip()]
    return ", ".join(there + [tag for tag in tags if tag not in there]) + "\n"


def changed(data: bytes | None, text: str | None) -> bytes | None:
    """The bytes of the file that says this; None where none does."""
    return None if text is None else text.encode()
