"""Tags in a text file beside a picture, `a.txt` for `a.png`, as trainers of image generators read them."""


def read(data: bytes | None) -> str | None:
    """Return the text of a sidecar file, or None if there is no file.

    Raises:
        ValueError: the content is not UTF-8.
    """
    try:
        return None if data is None else data.decode()  # opening the file as text would change its line ends
    except UnicodeDecodeError:
        raise ValueError("left alone because it is not UTF-8 text") from None


def merge_tags(tags: list[str], before: str | None) -> str:
    """Return the tags of the text `before` and those of `tags` that it lacks, separated by commas."""
    existing = [tag.strip() for tag in (before or "").replace("\n", ",").split(",") if tag.strip()]
    return ", ".join(existing + [tag for tag in tags if tag not in existing]) + "\n"


def replace_tags(data: bytes | None, text: str | None) -> bytes | None:
    """Return the content of a sidecar file with this text, whatever `data` it had; None for no file."""
    return None if text is None else text.encode()
