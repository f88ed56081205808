"""Errors about damaged data folders that name the shard or the post, as TensorFlow's errors do not."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from common import files
from common.errors import InputError
from dataset import images, records


@contextlib.contextmanager
def explain_damage(folder: Path, split: str) -> Iterator[None]:
    """Replace an error about unreadable data inside the block by one that names the damaged shard or post.

    Args:
        folder: the data folder.
        split: the split that the block reads.

    Raises:
        InputError: the split is damaged. If nothing wrong is found, the original error is raised again.
    """
    try:
        yield
    except _errors_of_damage():
        if damage := _find_damage(folder, split):
            raise InputError(f"{damage}: delete {folder} and download it again") from None
        raise


def _errors_of_damage() -> tuple[type[Exception], ...]:
    """Return the errors for a damaged picture or shard."""
    import tensorflow as tf  # takes seconds: only where something failed

    return (
        images.ImageError,
        IndexError,  # a tag that tags.csv lacks
        tf.errors.DataLossError,
        tf.errors.FailedPreconditionError,  # fewer pictures than expected
        tf.errors.InvalidArgumentError,
        tf.errors.UnknownError,
    )


def _find_damage(folder: Path, split: str) -> str:
    """Return a description of the damage of a split, or an empty text.

    Raises:
        InputError: a shard cannot be read.
    """
    num_tags = len(records.read_tags(folder / "tags.csv"))
    pictures = 0
    for record in records.read(folder, split):
        pictures += 1
        try:
            images.decode(record.image)
        except images.ImageError as error:
            return f"the picture of post {record.id} in the {split} shards cannot be read ({error})"
        if max(record.labels, default=0) >= num_tags:
            return f"post {record.id} in the {split} shards has other tags than the {num_tags:,} of tags.csv"
    expected = files.read_json(folder / "manifest.json")["splits"][split]["written"]
    if pictures != expected:
        return f"the {split} shards of {folder} hold {pictures:,} pictures, and its manifest says {expected:,}"
    return ""
