"""What training and evaluation see of the same shards."""

import hashlib
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from odd_images import BLUE, RED, encoded, halves

from common import files
from common.errors import InputError
from dataset import cache, images, pipeline, records
from dataset.augmentation import Augmentation
from dataset.ordered_batches import ordered_batches
from inference.tagger import Tagger
from model.config import Config
from training.plan import plan_run

NUM_TAGS = 12
NOTHING = Augmentation(flip=False)


def evaluation(folder, split="train", batch_size=16, resize="pad"):
    return list(ordered_batches(folder, split, NUM_TAGS, 32, resize, batch_size))


def training(
    folder, first_epoch=0, epochs=2, augmentation=NOTHING, seed=0, batch_size=16, first_step=0, when_ready=None, **kwargs
):
    data = pipeline.TrainingData(folder, NUM_TAGS, 32, "pad", batch_size, augmentation, seed, **kwargs)
    return list(pipeline.training_batches(data, first_epoch, epochs, first_step, when_ready))


def keys(batches) -> list[str]:
    return [hashlib.md5(picture.tobytes()).hexdigest() for pictures, _ in batches for picture in pictures]


def test_evaluation_is_finite_ordered_and_repeatable(emoji_data):
    first, second = evaluation(emoji_data), evaluation(emoji_data, batch_size=7)
    ids = [record.id for batch in first for record in batch.records]
    assert ids == [record.id for batch in second for record in batch.records]
    assert len(ids) == len(set(ids)) == files.read_json(emoji_data / "manifest.json")["splits"]["train"]["written"]
    pixels, again = (np.concatenate([batch.pixels for batch in batches]) for batches in (first, second))
    assert np.array_equal(pixels, again)


def test_an_epoch_of_training_holds_every_picture_once_as_evaluation_sees_it(emoji_data):
    expected = set()
    for batch in evaluation(emoji_data):
        for picture in batch.pixels:
            expected.add(hashlib.md5(picture.tobytes()).hexdigest())
    number = sum(len(batch.records) for batch in evaluation(emoji_data))
    batches = training(emoji_data, batch_size=1)
    seen = keys(batches)
    assert len(seen) == 2 * number
    assert set(seen[:number]) == set(seen[number:]) == expected
    assert seen[:number] != seen[number:]


def test_a_later_epoch_is_the_same_whether_or_not_the_earlier_was_run(emoji_data):
    augmentation = Augmentation(shift=0.1, zoom=0.2, colour=0.2, rotation=5)
    both, second = training(emoji_data, augmentation=augmentation), training(emoji_data, 1, 2, augmentation)
    assert keys(both)[len(keys(second)) :] == keys(second)
    assert keys(second) != keys(training(emoji_data, 1, 2, augmentation, seed=1))


def test_a_later_step_is_the_same_whether_or_not_the_earlier_were_run(emoji_data):
    options = {"augmentation": Augmentation(shift=0.1, zoom=0.2, colour=0.2), "steps_per_epoch": 5}
    both, late = training(emoji_data, **options), training(emoji_data, first_step=3, **options)
    assert len(both) == 10 and len(late) == 7
    assert keys(late) == keys(both[3:])


def test_every_batch_is_announced_in_order(emoji_data):
    announced = []
    batches = training(emoji_data, when_ready=announced.append)
    assert announced == list(range(len(batches)))


@pytest.mark.parametrize("where", ["memory", "disk"])
@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(shift=0.1, zoom=0.2, colour=0.2), Augmentation(vertical_flip=True)],
)
def test_decoded_pictures_give_the_same_batches(emoji_data, tmp_path, where, augmentation):
    folder = tmp_path / "data"
    shutil.copytree(emoji_data, folder)
    expected = training(folder, augmentation=augmentation)
    for _ in range(2):  # the second time, from the file
        kept = cache.open_cache(folder, where, 32, "pad", augmentation.only_mirrors, 2**30)
        found = training(folder, augmentation=augmentation, cache=kept)
        assert keys(found) == keys(expected)
        assert all(np.array_equal(ours[1], theirs[1]) for ours, theirs in zip(found, expected, strict=True))
    if where == "memory":
        with pytest.raises(InputError, match="would take about"):
            cache.open_cache(folder, where, 32, "pad", augmentation.only_mirrors, 100_000)


def test_a_large_picture_is_decoded_smaller_and_looks_the_same(emoji_data):
    picture = next(iter(evaluation(emoji_data))).records[0].image
    large = io.BytesIO()
    images.decode(picture).resize((640, 640)).save(large, "JPEG", quality=95)
    for resize in images.RESIZE_MODES:
        reduced = images.decode_to_fit(large.getvalue(), 64, resize)
        assert reduced.size == (80, 80)
        whole = np.asarray(images.fit(images.decode(large.getvalue()), 64, resize), float)
        assert np.abs(images.network_input(large.getvalue(), 64, resize) - whole).mean() < 2


def test_augmentation_keeps_labels_with_their_pictures(emoji_data):
    plain = {}
    for batch in evaluation(emoji_data):
        for picture, labels in zip(batch.pixels, batch.labels, strict=True):
            plain.setdefault(tuple(labels), []).append(picture.astype(float))
    augmentation = Augmentation(flip=False, colour=0.02)
    for pictures, labels in training(emoji_data, epochs=1, augmentation=augmentation)[:2]:
        for picture, row in zip(pictures, labels, strict=True):
            assert min(np.abs(picture - other).mean() for other in plain[tuple(row)]) < 6


def test_mixup_averages_pictures_and_labels_in_the_same_shares(emoji_data):
    plain, mixed = (training(emoji_data, epochs=1, augmentation=Augmentation(flip=False, mixup=alpha)) for alpha in (0, 0.5))
    assert all(map(np.array_equal, mixed[1], training(emoji_data, epochs=1, augmentation=Augmentation(False, mixup=0.5))[1]))
    pictures, labels = (values.reshape(len(values), -1) for values in plain[0])
    found, found_labels = (values.reshape(len(values), -1) for values in mixed[0])
    for row, (picture, label) in enumerate(zip(found, found_labels, strict=True)):
        # The shares with each other picture that explain this one best; one of the pictures explains it but for rounding.
        own, other = np.float32(pictures[row]), np.float32(pictures)
        difference = own - other  # (pictures, values)
        share = np.clip(((picture - other) * difference).sum(1) / np.maximum((difference**2).sum(1), 1), 0, 1)
        errors = np.abs(share[:, None] * own + (1 - share[:, None]) * other - picture).max(axis=1)
        partner = int(errors.argmin())
        assert errors[partner] < 1.5
        expected = share[partner] * labels[row] + (1 - share[partner]) * labels[partner]
        assert np.allclose(label, expected, atol=0.02)
    assert ((found_labels > 0.05) & (found_labels < 0.95)).any()


def test_flips_mirror_half_of_the_pictures():
    original = images.network_input(encoded(halves("RGB", RED, BLUE), "PNG"), 32, "pad")
    draws = np.random.default_rng(0).uniform(-1, 1, (40, pipeline.DRAWS))
    drawn = Augmentation(flip=True).mirror(np.stack([original] * 40), draws)
    mirrored = sum(not np.array_equal(picture, original) for picture in drawn)
    assert 8 < mirrored < 32
    assert all(np.array_equal(picture, original) or np.array_equal(picture, original[:, ::-1]) for picture in drawn)


@pytest.mark.parametrize("resize", images.RESIZE_MODES)
@pytest.mark.parametrize("size", [(64, 64), (200, 50), (50, 200), (1, 500), (500, 1), (3, 2)])
def test_extreme_augmentation_of_any_shape_gives_a_whole_picture(resize, size):
    picture = images.decode(encoded(halves("RGB", RED, BLUE, *size), "PNG"))
    augmentation = Augmentation(True, True, 0.9, 0.9, 0.9, 180)
    for seed in range(20):
        draws = np.random.default_rng(seed).uniform(-1, 1, pipeline.DRAWS)
        drawn = augmentation.apply(picture, 32, resize, draws)
        assert drawn.shape == (32, 32, 3) and drawn.dtype == np.uint8


def test_prediction_sees_the_pixels_that_evaluation_sees(emoji_data, emoji_run):
    """A picture from its original file, from its record's bytes, and out of the evaluation pipeline."""
    from dataset.boards.board import open_board

    tagger = Tagger.open(emoji_run)
    board = open_board("openmoji")
    posts = {post.id: post for post in board.posts()}
    config = tagger.run.config
    batch = next(iter(ordered_batches(emoji_data, "test", NUM_TAGS, config.image_size, config.resize, 8)))
    for record, pixels in zip(batch.records, batch.pixels, strict=True):
        original = board.image_bytes(posts[record.id], tagger.run.stored_size)
        assert np.array_equal(tagger.pixels(original), pixels)
        assert np.array_equal(tagger.pixels(record.image), pixels)


def test_a_damaged_shard_and_a_damaged_picture_are_named(emoji_data, tmp_path):
    cut, unreadable = tmp_path / "cut", tmp_path / "unreadable"
    for folder in (cut, unreadable):
        shutil.copytree(emoji_data, folder)
    shard = records.shard_paths(cut, "test")[0]
    shard.write_bytes(shard.read_bytes()[:-9])
    with tf.io.TFRecordWriter(str(records.shard_paths(unreadable, "test")[0])) as writer:
        writer.write(records.encode(b"\xff\xd8 no picture", [0], "broken one", "", ""))
    for folder, words in ((cut, re.escape(str(shard))), (unreadable, "post broken one")):
        with pytest.raises(InputError, match=words):
            evaluation(folder, "test")


def test_a_split_with_other_tags_is_named(emoji_data, tmp_path):
    data = Path(shutil.copytree(emoji_data, tmp_path / "data"))
    (data / "tags.csv").write_text("tag_id,name,category,count\n0,animals,0,25\n")
    with pytest.raises(InputError, match=r"post .* in the test shards has other tags than the 1 of tags.csv"):
        list(ordered_batches(data, "test", 1, 32, "pad", 16))


@pytest.mark.parametrize("where", ["none", "memory"])
@pytest.mark.parametrize(
    "file, content, words",
    [
        ("train-00000-of-*", b"", "pictures, and its manifest says"),
        ("train-00000-of-*", b"no records" * 9, "train-00000-of-.* is damaged after 0 records"),
        ("tags.csv", b"tag_id,name,category,count\n0,animals,0,25\n", "has other tags than the 1 of tags.csv"),
    ],
)
def test_training_data_that_is_not_what_the_folder_says_is_named(emoji_data, tmp_path, where, file, content, words):
    data = Path(shutil.copytree(emoji_data, tmp_path / "data"))
    next(data.glob(file)).write_bytes(content)
    with pytest.raises(InputError, match=words):
        todo = plan_run(data, tmp_path / "run", Config(image_size=32, batch_size=16)).with_cache(where)
        for _ in todo.batches(0, 0, 2):
            pass


@pytest.mark.parametrize("mixup", [0.0, 0.4])
@pytest.mark.parametrize("cached", [False, True])
def test_the_parts_of_a_batch_are_the_batch(emoji_data, mixup, cached):
    augmentation = Augmentation(shift=0.1, colour=0.2, mixup=mixup)
    stored = cache.open_cache(emoji_data, "memory", 32, "pad", False, 2**30) if cached else None
    whole = training(emoji_data, epochs=1, augmentation=augmentation, cache=stored)
    parts = [training(emoji_data, epochs=1, augmentation=augmentation, cache=stored, part=n, parts=4) for n in range(4)]
    for batch, *of_batch in zip(whole, *parts, strict=True):
        for together, apart in zip(batch, zip(*of_batch, strict=True), strict=True):
            assert all(len(part) == 4 for part in apart)
            assert np.array_equal(together, np.concatenate(apart))
