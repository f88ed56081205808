"""What is written is what is read."""

import pytest
import tensorflow as tf

from common import files
from common.errors import InputError
from dataset import records
from dataset.records import Tag


def test_a_record_gives_back_its_image_tags_and_names():
    record = records.encode(b"\xff\xd8picture", [4, 1, 1], "post/ü", "d41d8cd98f00b204e9800998ecf8427e", "flags")
    example = records.decode(record, num_tags=6)
    assert example["image"].numpy() == b"\xff\xd8picture"
    assert example["id"].numpy().decode() == "post/ü"
    assert example["md5"].numpy() == b"d41d8cd98f00b204e9800998ecf8427e"
    assert example["group"].numpy() == b"flags"
    assert example["caption"].numpy() == b""
    assert example["labels"].numpy().tolist() == [0, 1, 0, 0, 1, 0]


def test_a_record_keeps_the_words_that_describe_it():
    record = records.encode(b"x", [1], "7", "", "flags", caption="flag of the Åland Islands")
    assert records.decode(record, num_tags=2)["caption"].numpy().decode() == "flag of the Åland Islands"


def test_a_record_of_an_older_folder_has_no_group_and_no_words():
    example = tf.train.Example.FromString(records.encode(b"x", [1], "7", "", "flags", caption="a flag"))
    del example.features.feature["group"], example.features.feature["words"]
    older = records.decode(example.SerializeToString(), num_tags=2)
    assert (
        older["group"].numpy() == older["caption"].numpy() == b""
        and older["id"].numpy() == b"7"
        and older["labels"].numpy().tolist() == [0, 1]
    )


def test_a_record_without_tags_has_no_labels():
    assert records.decode(records.encode(b"x", [], "1", "", ""), num_tags=3)["labels"].numpy().tolist() == [0, 0, 0]


def test_the_same_post_gives_the_same_bytes_whatever_the_order_of_its_tags():
    assert records.encode(b"x", [3, 1], "1", "", "") == records.encode(b"x", [1, 3], "1", "", "")


def test_tags_survive_the_table(tmp_path):
    tags = [Tag(7, 'a,"quoted"\nname', 0, 12), Tag(9, "猫", 5, 0, ("pet", "動物")), Tag(10, "pet", 5, 3, ("動物",))]
    records.write_tags(tmp_path / "tags.csv", tags)
    assert records.read_tags(tmp_path / "tags.csv") == tags
    assert [path.name for path in tmp_path.iterdir()] == ["tags.csv"]


def test_columns_of_the_tag_table_are_those_that_taggers_read(tmp_path):
    records.write_tags(tmp_path / "tags.csv", [Tag(0, "solo", 0, 3)])
    assert (tmp_path / "tags.csv").read_bytes() == b"tag_id,name,category,count\n0,solo,0,3\n"


@pytest.mark.parametrize("content", [b"name,count\nsolo,3\n", b"tag_id,name,category,count\nx,solo,0,3\n", b"\xff\xfe\n"])
def test_a_damaged_tag_table_is_named(tmp_path, content):
    (tmp_path / "tags.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"tags\.csv is damaged"):
        records.read_tags(tmp_path / "tags.csv")


def test_a_missing_table_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(InputError, match=r"download\.py"):
        records.read_tags(tmp_path / "tags.csv")


def test_json_survives_and_damage_is_named(tmp_path):
    path = tmp_path / "manifest.json"
    files.write_json(path, {"tag": "猫", "numbers": [1, 2]})
    assert files.read_json(path) == {"tag": "猫", "numbers": [1, 2]}
    for content in ("{", "[1]"):
        path.write_text(content)
        with pytest.raises(InputError, match="damaged"):
            files.read_json(path)
    with pytest.raises(InputError, match="missing"):
        files.read_json(tmp_path / "other.json")


def test_shards_are_found_in_order_and_unfinished_ones_are_not(tmp_path):
    for name in ("train-00001-of-00002.tfrecord", "train-00000-of-00002.tfrecord", "val-00000-of-00001.tfrecord"):
        (tmp_path / name).touch()
    (tmp_path / "train-00002-of-00002.tfrecord.partial").touch()
    assert [path.name[:11] for path in records.shard_paths(tmp_path, "train")] == ["train-00000", "train-00001"]


def test_soft_labels_are_read_beside_records_without():
    soft = records.encode(b"x", [0, 3], "1", "", "", {0: 0.25, 3: 1.0})
    batch = [records.encode(b"x", [1, 2, 3], "2", "", ""), soft, records.encode(b"x", [], "3", "", "")]
    labels = records.decode_batch(tf.constant(batch), num_tags=4)["labels"].numpy()
    assert labels.tolist() == [[0, 1, 1, 1], [0.25, 0, 0, 1], [0, 0, 0, 0]]
    assert records.encode(b"x", [2], "1", "", "", {2: 1.0}) == records.encode(b"x", [2], "1", "", "")


def test_a_record_that_was_read_is_written_the_same(tmp_path):
    path, again = (tmp_path / f"train-0000{index}-of-00002.tfrecord" for index in range(2))
    with records.writer(path) as write:
        write(records.Record("1", "a group", "an md5", b"picture", {1: 0.5, 4: 1.0}))
        write(records.Record("2", "", "", b"", {}))
    with records.writer(again) as write:
        for record in records.read_shard(path):
            write(record)
    assert again.read_bytes() == path.read_bytes() and next(records.read_shard(again)).tags == [4]


def test_a_shard_has_the_bytes_that_tensorflow_writes(tmp_path):
    written = [
        records.Record("post/ü", "flags", "md5", b"\xff\xd8" * size, {3: 0.25, 7: 1.0}) for size in (0, 1, 126, 50_000)
    ]
    with records.writer(tmp_path / "ours") as write:
        for record in written:
            write(record)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in written:
            features = {"id": record.id.encode(), "group": b"flags", "md5": b"md5", "words": b"", "image": record.image}
            lists = {name: {"bytes_list": tf.train.BytesList(value=[value])} for name, value in features.items()}
            lists["tags"] = {"int64_list": tf.train.Int64List(value=[3, 7])}
            lists["weights"] = {"float_list": tf.train.FloatList(value=[0.25, 1.0])}
            feature = {name: tf.train.Feature(**values) for name, values in lists.items()}
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert list(records.read_shard(tmp_path / "ours")) == written


def test_every_changed_or_missing_byte_of_a_shard_is_noticed(tmp_path):
    path = tmp_path / "train-00000-of-00001.tfrecord"
    with records.writer(path) as write:
        for name in "ab":
            write(records.Record(name, "", "", b"picture", {}))
    whole = path.read_bytes()
    damaged = [whole[:position] + bytes([byte ^ 16]) + whole[position + 1 :] for position, byte in enumerate(whole)]
    shorter = [whole[:length] for length in range(1, len(whole)) if length != len(whole) // 2]
    for content in damaged + shorter:
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"is damaged after [01] records"):
            list(records.read_shard(path))
