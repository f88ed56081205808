"""The record schema and the data folder: the one place where both are written and read.

A data folder, `data/NAME/`, holds `{train,val,test}-00000-of-00016.tfrecord`, `tags.csv`, `manifest.json` and
`quarantine.csv`. A record holds one post: the encoded image, the indices of its tags into `tags.csv`, the post's id, the MD5
of the original file, the name of the post's group (variants of one picture), and the words that describe it, for search;
records of older folders lack the last two. Where labels are soft, as clean.py makes them, it also holds the label of each
tag, from 0 to 1.
"""

import contextlib
import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from command import InputError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Tag:
    """A row of `tags.csv`; its index in a record is its row number from 0.

    Attributes:
        tag_id: the board's own number of the tag, or the row number where it has none.
        name: the tag.
        category: e621's number of the tag's category (0 general, 5 species, …).
        count: positives among the training posts of this data folder.
        implies: other tags that every picture with this one has, by the board's rules; not all need be chosen.
    """

    tag_id: int
    name: str
    category: int
    count: int
    implies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """A record as it is stored; see the top of this file.

    Attributes:
        labels: tag ▶ label, over 0 and at most 1; a tag that is not there has 0.
    """

    id: str
    group: str
    md5: str
    image: bytes
    labels: dict[int, float]
    words: str = ""

    @property
    def tags(self) -> list[int]:
        """The tags that the picture has rather than not."""
        return [tag for tag, label in self.labels.items() if label > 0.5]


def write_tags(path: Path, tags: Iterable[Tag]) -> None:
    """Write `tags.csv`; with the column `implies` only where a tag implies another."""
    rows = [asdict(tag) | {"implies": " ".join(tag.implies)} for tag in tags]
    columns = [field.name for field in fields(Tag) if field.name != "implies" or any(row["implies"] for row in rows)]
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    partial.replace(path)


def read_tags(path: Path) -> list[Tag]:
    """Read `tags.csv`.

    Raises:
        InputError: the file is missing or has other columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                Tag(
                    int(row["tag_id"]),
                    row["name"],
                    int(row["category"]),
                    int(row["count"]),
                    tuple((row.get("implies") or "").split()),
                )
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        raise InputError(f"{path} is missing: expected a folder made by download.py or train.py") from None
    except (KeyError, TypeError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged: expected the columns tag_id,name,category,count, received {error!r}") from None


def write_quarantine(path: Path, rows: Iterable[tuple[str, str]]) -> None:
    """Write `quarantine.csv`: the id of each post without a picture, and the reason."""
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "reason"))
        writer.writerows(rows)
    partial.replace(path)


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file that appears under its name only when complete."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> dict:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or is no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: expected a folder made by download.py or train.py") from None
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}: restore it from a copy, or make {path.parent} again") from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: expected a JSON object, received {type(content).__name__}")
    return content


def shard_paths(folder: Path, split: str) -> list[Path]:
    """The shards of a split, in order.

    Raises:
        InputError: one is missing, or there are some of another set.
    """
    paths = sorted(folder.glob(f"{split}-?????-of-?????.tfrecord"))
    names = [f"{split}-{position:05}-of-{len(paths):05}.tfrecord" for position in range(len(paths))]
    if [path.name for path in paths] != names:
        raise InputError(
            f"the {len(paths)} {split} shards of {folder} are not one whole set: delete it and download it again"
        )
    return paths


def encode(
    image: bytes,
    tag_indices: Iterable[int],
    post_id: str,
    md5: str,
    group: str,
    weights: Mapping[int, float] | None = None,
    words: str = "",
) -> bytes:
    """Serialise one post as a `tf.train.Example`; `weights` are the labels of its tags where they are not all 1."""
    import tensorflow as tf

    def bytes_feature(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    tags = sorted(set(tag_indices))
    features = {
        "image": bytes_feature(image),
        "tags": tf.train.Feature(int64_list=tf.train.Int64List(value=tags)),
        "id": bytes_feature(post_id.encode()),
        "md5": bytes_feature(md5.encode()),
        "group": bytes_feature(group.encode()),
        "words": bytes_feature(words.encode()),
    }
    if weights and set(weights.values()) != {1}:
        values = [weights[tag] for tag in tags]
        features["weights"] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    # A protobuf map is otherwise written in an order that changes from process to process.
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def decode(record, num_tags: int) -> dict:
    """Parse one record: `decode_batch` without the first dimension."""
    import tensorflow as tf

    return {name: values[0] for name, values in decode_batch(tf.expand_dims(record, 0), num_tags).items()}


def decode_batch(records, num_tags: int) -> dict:
    """Parse records inside a tf.data pipeline.

    Args:
        records: a string tensor (batch,).
        num_tags: the number of rows of `tags.csv`.

    Returns:
        `image` (encoded bytes), `id`, `md5`, `group` and `words` (empty where the record has none), strings (batch,), and
        `labels`, float32 (batch, num_tags), 1 for each tag, or its label where labels are soft.
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
    tags = examples.pop("tags")
    where = tf.stack([tags.indices[:, 0], tags.values], axis=1)  # (tags of all posts, 2): post, tag
    weights = tf.sparse.reset_shape(examples.pop("weights"), tags.dense_shape)
    weights = tf.gather_nd(tf.sparse.to_dense(weights, 1.0), tags.indices)  # (tags of all posts,)
    shape = tf.stack([tf.shape(records, tf.int64)[0], num_tags])
    labels = tf.scatter_nd(where, weights, shape)  # (batch, num_tags)
    return examples | {"labels": tf.ensure_shape(labels, (None, num_tags))}


def read(folder: Path, split: str) -> Iterator[Record]:
    """Yield every record of a split, in order, outside a pipeline of tensors.

    Raises:
        InputError: a shard is damaged.
    """
    for path in shard_paths(folder, split):
        yield from read_shard(path)


def read_shard(path: Path) -> Iterator[Record]:
    """Yield every record of a shard; see `read`."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    stored = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    for number in itertools.count():
        try:
            features = tf.train.Example.FromString(next(stored)).features.feature
        except StopIteration:
            break
        except (tf.errors.DataLossError, DecodeError):
            damage = f"{path} is damaged after {number:,} records"
            raise InputError(f"{damage}: delete {path.parent} and download it again") from None
        post_id, group, md5, image, words = (
            features[name].bytes_list.value[0] if name in features else b""
            for name in ("id", "group", "md5", "image", "words")
        )
        yield Record(post_id.decode(), group.decode(), md5.decode(), image, labels_of(features), words.decode())


def labels_of(features: Mapping) -> dict[int, float]:
    """The labels, by tag, that a parsed record's features hold."""
    tags = features["tags"].int64_list.value
    weights = features["weights"].float_list.value if "weights" in features else [1.0] * len(tags)
    return dict(zip(tags, weights, strict=True))


@contextlib.contextmanager
def writer(path: Path) -> Iterator[Callable[[Record], None]]:
    """Within it, write records that were read into a shard.

    Raises:
        InputError: it cannot be written.
    """
    import tensorflow as tf

    try:
        with tf.io.TFRecordWriter(str(path)) as file:
            yield lambda record: file.write(
                encode(record.image, record.labels, record.id, record.md5, record.group, record.labels, record.words)
            )
    except tf.errors.OpError as error:
        raise InputError(f"cannot write {path}: {error.message}") from error


def images_of(folder: Path, split: str, ids: set[str]) -> dict[str, bytes]:
    """The encoded pictures of some posts of a split, by id."""
    found: dict[str, bytes] = {}
    for record in read(folder, split):
        if len(found) == len(ids):
            break
        if record.id in ids:
            found[record.id] = record.image
    return found
