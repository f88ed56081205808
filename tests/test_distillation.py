"""A student learns from its teacher, resumes exactly, and an unusable teacher is named."""

import os
import random

import kill_and_resume
import numpy as np
import pytest
from conftest import program, uncompiled

from dataset import cache, pipeline, records, soft_targets
from dataset.augmentation import Augmentation
from dataset.soft_targets import SoftTargets
from inference.tagger import Tagger
from model import losses
from model.network import TaggerNetwork
from training.recipes import resolve

OPTIONS = ("--epochs", 4, "--batch-size", 8, "--image-size", 32, "--no-onnx")  # many steps more than the teacher had
TAGS = 12


@pytest.fixture(scope="module")
def student_run(emoji_data, emoji_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("student") / "run"
    options = ("--data", emoji_data, "--run", folder, *OPTIONS, "--teacher", emoji_run, "--teacher-weight", 1)
    done = program("train.py", *options)
    assert done.returncode == 0 and "the teacher" in done.stderr, done.stderr
    return folder


def predictions_of_the_test_split(data, *folders):
    pictures = [record.image for record in records.read(data, "test")]
    return [np.array([list(tags.values()) for tags in _by_name(Tagger.open(folder), pictures)]) for folder in folders]


def _by_name(tagger, pictures):
    return [dict(sorted(tags.items())) for tags in tagger.tag(pictures, threshold=0)]


@uncompiled()
@pytest.mark.slow
def test_a_run_with_a_teacher_describes_it_and_deletes_its_targets(emoji_data, emoji_run, tmp_path):
    options = ("--data", emoji_data, "--run", tmp_path / "run", "--epochs", 1, "--batch-size", 32, "--image-size", 32)
    done = program("train.py", *options, "--teacher", emoji_run)
    assert done.returncode == 0 and f"{emoji_run}, weight 0.5" in done.stderr, done.stderr
    assert (tmp_path / "run" / "model.keras").exists() and not (tmp_path / "run" / soft_targets.FILE).exists()


@pytest.mark.slow
def test_a_student_predicts_more_like_its_teacher_than_one_without_a_teacher(emoji_data, emoji_run, student_run, tmp_path):
    alone = tmp_path / "alone"
    assert program("train.py", "--data", emoji_data, "--run", alone, *OPTIONS).returncode == 0
    teacher, student, other = predictions_of_the_test_split(emoji_data, emoji_run, student_run, alone)
    assert 2 * np.abs(student - teacher).mean() < np.abs(other - teacher).mean()
    assert not (student_run / soft_targets.FILE).exists()


@pytest.mark.slow
def test_killed_at_random_steps_it_resumes_to_the_same_weights(emoji_data, emoji_run, student_run, tmp_path):
    options = (*OPTIONS, "--teacher", emoji_run, "--teacher-weight", 1)
    steps = kill_and_resume.train_killed(emoji_data, tmp_path / "run", options, 1, random.Random(3))
    assert steps and kill_and_resume.differences(student_run, tmp_path / "run") == []


@pytest.mark.slow
def test_distillation_works_with_jax(emoji_data, emoji_run, tmp_path):
    settings = (*OPTIONS, "--epochs", 1, "--ema-decay", 0.9)
    options = ("--data", emoji_data, "--run", tmp_path / "run", "--teacher", emoji_run, *settings)
    done = program("train.py", *options, env=os.environ | {"KERAS_BACKEND": "jax"})
    assert done.returncode == 0 and "(jax)" in done.stderr, done.stderr


def test_targets_of_another_teacher_or_that_are_damaged_are_computed_again(tmp_path):
    targets = SoftTargets(np.array(["a", "b"]), np.zeros((2, TAGS), np.float16), "this teacher")
    targets.save(tmp_path)
    assert np.array_equal(SoftTargets.load(tmp_path, "this teacher").by_ids([b"b"]), np.zeros((1, TAGS)))
    assert SoftTargets.load(tmp_path, "another") is None
    (tmp_path / soft_targets.FILE).write_bytes(b"PK")
    assert SoftTargets.load(tmp_path, "this teacher") is None


def test_the_loss_is_the_weighted_sum_and_its_gradient_does_not_shrink_with_the_temperature():
    settings = {"image_size": 32, "preset": "test", "recipe": "lean", "teacher_weight": 0.3, "teacher_temperature": 2.0}
    network = TaggerNetwork(3, resolve(settings).as_dict())
    labels, targets = np.array([[1, 0, 0]], np.float32), np.array([[0.7, 0.2, 0.5]], np.float32)
    logits = np.array([[0.5, -1.0, 0.0]], np.float32)
    found = float(network.compute_loss(y=np.stack([labels, targets], axis=1), y_pred={"logit": logits}))
    of_labels = np.sum(losses.binary_cross_entropy(labels, logits))
    of_teacher = 4 * np.sum(losses.binary_cross_entropy(targets, logits / 2))
    assert found == pytest.approx(0.7 * of_labels + 0.3 * of_teacher, rel=1e-5)
    assert float(network.compute_loss(y=labels, y_pred={"logit": logits})) == pytest.approx(float(of_labels), rel=1e-5)


def test_every_picture_gets_its_own_target_with_and_without_a_cache(emoji_data):
    ids = np.array([record.id for record in records.read(emoji_data, "train")])
    targets = SoftTargets(ids, np.repeat(np.arange(len(ids), dtype=np.float16)[:, None] / 1024, TAGS, axis=1))
    tags_of = {number: set(record.tags) for number, record in enumerate(records.read(emoji_data, "train"))}
    kept = cache.open_cache(emoji_data, "memory", 32, "pad", True, 2**40)
    for which in (None, kept):
        data = pipeline.TrainingData(emoji_data, TAGS, 32, "pad", 16, Augmentation(), cache=which, soft_targets=targets)
        for _, both in pipeline.training_batches(data, 0, 1):
            for labels, target in both:
                assert set(np.flatnonzero(labels)) == tags_of[round(float(target[0]) * 1024)]


@pytest.mark.parametrize(
    "options, words",
    [
        (("--teacher", "nowhere"), "no run folder at nowhere"),
        (("--teacher", "{run}", "--teacher-weight", 1.5), "--teacher-weight has to be from 0 to 1"),
        (("--teacher", "{run}", "--teacher-temperature", 0), "--teacher-temperature has to be greater than 0"),
    ],
)
def test_an_unusable_teacher_is_named_in_one_line(emoji_data, emoji_run, tmp_path, options, words):
    given = [str(option).format(run=emoji_run) for option in options]
    done = program("train.py", "--data", emoji_data, "--run", tmp_path / "run", *OPTIONS, *given)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
