"""The format of records and data folders: everything that reads or writes it is here.

A data folder, `data/NAME/`, holds `{train,val,test}-00000-of-00016.tfrecord`, `tags.csv`, `manifest.json` and
`quarantine.csv`. A record holds one post: the encoded image, the indices of its tags in `tags.csv`, the id of the
post, the MD5 of the original file, the name of the post's group (variants of one picture) and a caption for search. Records
of older folders lack the last two. If labels are soft, as clean.py makes them, a record also holds the label of each tag,
from 0 to 1.
"""

import contextlib
import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from common.errors import InputError
from common.files import read_json, write_csv
from dataset import tfrecord

SPLITS = ("train", "val", "test")

# Numbers of e621. The categories of other boards are mapped to them.
CATEGORIES = {
    "general": 0,
    "artist": 1,
    "contributor": 2,
    "copyright": 3,
    "character": 4,
    "species": 5,
    "invalid": 6,
    "meta": 7,
    "lore": 8,
    "number": 9,  # not a tag but a column of numbers in a user's table, stored as ranks from 0 to 1
    "rating": 10,  # of a group of tags of which exactly one holds, such as rating:safe
}
NUMBER, RATING = CATEGORIES["number"], CATEGORIES["rating"]
RATINGS = ("general", "sensitive", "safe", "questionable", "explicit")  # of boards, the mildest first
RATING_TAGS = tuple(f"rating:{rating}" for rating in RATINGS)


@dataclass(frozen=True)
class Tag:
    """A row of `tags.csv`; records hold its row number, from 0.

    Attributes:
        tag_id: the board's number of the tag, or the row number if the board has none.
        name: the tag.
        category: the number of the tag's category in `CATEGORIES`.
        count: number of positives in the training split of this data folder.
        implies: other tags of every picture with this tag, by the board's rules.
    """

    tag_id: int
    name: str
    category: int
    count: int
    implies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """The content of a record; see the top of this file.

    Attributes:
        labels: tag index ▶ label, over 0 and at most 1; other tags have the label 0.
    """

    id: str
    group: str
    md5: str
    image: bytes
    labels: dict[int, float]
    caption: str = ""

    @property
    def tags(self) -> list[int]:
        """Indices of the tags whose label is over 0.5."""
        return [tag for tag, label in self.labels.items() if label > 0.5]


def write_tags(path: Path, tags: Iterable[Tag]) -> None:
    """Write `tags.csv`; the column `implies` is left out if no tag implies another."""
    rows = [asdict(tag) | {"implies": _join_names(tag.implies)} for tag in tags]
    columns = [field.name for field in fields(Tag) if field.name != "implies" or any(row["implies"] for row in rows)]
    write_csv(path, columns, ([row[column] for column in columns] for row in rows))


def read_tags(path: Path) -> list[Tag]:
    """Read `tags.csv`.

    Raises:
        InputError: the file is missing, or a column is missing or malformed.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                Tag(int(row["tag_id"]), row["name"], int(row["category"]), int(row["count"]), _names_in(row.get("implies")))
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        raise InputError(f"{path} is missing: expected a folder made by download.py or train.py") from None
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: expected the columns tag_id,name,category,count, received {error!r}") from None


def _join_names(names: Sequence[str]) -> str:
    """Return names with spaces between them, or a JSON list if they could not be separated again."""
    text = " ".join(names)
    return text if _names_in(text) == tuple(names) else json.dumps(names, ensure_ascii=False)


def _names_in(text: str | None) -> tuple[str, ...]:
    """Return the names in a text of `_join_names`. A tag may begin like a JSON list, as `[o_o]` does, without being one."""
    with contextlib.suppress(ValueError):
        if text and text.startswith('["'):
            return tuple(map(str, json.loads(text)))
    return tuple((text or "").split())


def decode_version(folder: Path) -> int:
    """Return the `images.DECODE_VERSION` that made the pictures of a data folder; 1 before manifests had it."""
    return int(read_json(folder / "manifest.json").get("decode_version", 1))


def write_quarantine(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write `quarantine.csv`: the id of each post without a usable picture, and the reason."""
    write_csv(path, ("id", "reason"), rows)


def shard_paths(folder: Path, split: str) -> list[Path]:
    """Return the paths of the shards of a split, in order.

    Raises:
        InputError: a shard is missing, or shards of another set are in the folder.
    """
    paths = sorted(folder.glob(f"{split}-?????-of-?????.tfrecord"))
    names = [f"{split}-{position:05}-of-{len(paths):05}.tfrecord" for position in range(len(paths))]
    if [path.name for path in paths] != names:
        raise InputError(
            f"the {len(paths)} {split} shards of {folder} are not one complete set: delete it and download it again"
        )
    return paths


def encode(
    image: bytes,
    tag_indices: Iterable[int],
    post_id: str,
    md5: str,
    group: str,
    weights: Mapping[int, float] | None = None,
    caption: str = "",
) -> bytes:
    """Serialise one post as a `tf.train.Example`.

    Args:
        image: the encoded picture.
        tag_indices: rows of `tags.csv`.
        post_id, md5, group, caption: see `Record`.
        weights: label of each tag; None if all are 1.
    """
    tags = sorted(set(tag_indices))
    example = tfrecord.example_class()()
    features = example.features.feature
    texts = {"id": post_id, "md5": md5, "group": group, "words": caption}
    for name, value in {"image": image, **{name: text.encode() for name, text in texts.items()}}.items():
        features[name].bytes_list.value.append(value)
    features["tags"].int64_list.value.extend(tags)
    features["tags"].int64_list.SetInParent()  # there is a list even if it is empty
    if weights and set(weights.values()) != {1}:
        features["weights"].float_list.value.extend(weights[tag] for tag in tags)
    # Without `deterministic`, the order of a protobuf map changes from process to process.
    return example.SerializeToString(deterministic=True)


def decode(record, num_tags: int) -> dict:
    """Parse one record; as `decode_batch`, without the batch dimension."""
    import tensorflow as tf

    return {name: values[0] for name, values in decode_batch(tf.expand_dims(record, 0), num_tags).items()}


def decode_batch(records, num_tags: int) -> dict:
    """Parse records inside a tf.data pipeline.

    Args:
        records: a string tensor (batch,).
        num_tags: number of rows of `tags.csv`.

    Returns:
        `image` (encoded bytes), `id`, `md5`, `group` and `caption` (the last two may be empty): strings (batch,);
        `labels`: float32 (batch, num_tags).
    """
    import tensorflow as tf

    schema = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "tags": tf.io.VarLenFeature(tf.int64),
        "weights": tf.io.VarLenFeature(tf.float32),
        "id": tf.io.FixedLenFeature([], tf.string),
        "md5": tf.io.FixedLenFeature([], tf.string),
        "group": tf.io.FixedLenFeature([], tf.string, default_value=""),
        "words": tf.io.FixedLenFeature([], tf.string, default_value=""),
    }
    examples = tf.io.parse_example(records, schema)
    examples["caption"] = examples.pop("words")
    tags = examples.pop("tags")
    positions = tf.stack([tags.indices[:, 0], tags.values], axis=1)  # (tags of all posts, 2): post, tag
    weights = tf.sparse.reset_shape(examples.pop("weights"), tags.dense_shape)
    weights = tf.gather_nd(tf.sparse.to_dense(weights, 1.0), tags.indices)  # (tags of all posts,)
    shape = tf.stack([tf.shape(records, tf.int64)[0], num_tags])
    labels = tf.scatter_nd(positions, weights, shape)  # (batch, num_tags)
    return examples | {"labels": tf.ensure_shape(labels, (None, num_tags))}


def read(folder: Path, split: str) -> Iterator[Record]:
    """Yield the records of a split, in order, as Python objects.

    Raises:
        InputError: a shard is damaged.
    """
    for path in shard_paths(folder, split):
        yield from read_shard(path)


def read_shard(path: Path, ids: set[str] | None = None) -> Iterator[Record]:
    """Yield the records of a shard; see `read`.

    Args:
        path: the shard.
        ids: ids of the posts whose records are read; None for all.
    """
    from google.protobuf.message import DecodeError

    stored, example = tfrecord.read(path), tfrecord.example_class()
    for number in itertools.count():
        try:
            features = example.FromString(next(stored)).features.feature
        except StopIteration:
            break
        except (ValueError, DecodeError):
            damage = f"{path} is damaged after {number:,} records"
            raise InputError(f"{damage}: delete {path.parent} and download it again") from None
        post_id, group, md5, image, caption = (
            features[name].bytes_list.value[0] if name in features else b""
            for name in ("id", "group", "md5", "image", "words")
        )
        if ids is None or post_id.decode() in ids:
            yield Record(post_id.decode(), group.decode(), md5.decode(), image, labels_by_tag(features), caption.decode())


def labels_by_tag(features: Mapping) -> dict[int, float]:
    """Return tag index ▶ label from the features of a parsed record."""
    tags = features["tags"].int64_list.value
    weights = features["weights"].float_list.value if "weights" in features else [1.0] * len(tags)
    return dict(zip(tags, weights, strict=True))


@contextlib.contextmanager
def writer(path: Path) -> Iterator[Callable[[Record], None]]:
    """Open a shard for writing, and yield a function that appends a record.

    Raises:
        OSError: the shard cannot be written.
    """
    with path.open("wb") as file:
        yield lambda record: tfrecord.write(
            file, encode(record.image, record.labels, record.id, record.md5, record.group, record.labels, record.caption)
        )


def images_by_id(folder: Path, split: str, ids: set[str]) -> dict[str, bytes]:
    """Return post id ▶ encoded picture for some posts of a split."""
    pictures: dict[str, bytes] = {}
    for path in shard_paths(folder, split):
        if len(pictures) == len(ids):
            break
        pictures |= {record.id: record.image for record in read_shard(path, ids)}
    return pictures
