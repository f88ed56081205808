"""Temperature and thresholds: known ones are recovered, and labels that say nothing give the default."""

import numpy as np
import pytest

from common import numbers
from common.errors import InputError
from evaluation.metrics.calibration import Target, fit, fit_temperature

F1 = Target("f1")


def made_up(images=2000, seed=0, shifts=(0.0, 0.0, 0.0, 0.0), frequency=0.2):
    """Labels, and probabilities that depend on them, with each tag's log-odds shifted by its own number."""
    random = np.random.default_rng(seed)
    labels = random.random((images, len(shifts))) < frequency
    logits = -1.5 + 2 * labels + random.standard_normal(labels.shape) + np.array(shifts)
    return labels, (1 / (1 + np.exp(-logits))).astype(np.float32), np.arange(images)


def macro_f1(labels, probability, thresholds):
    predicted = probability >= thresholds
    return np.mean(2 * (predicted & labels).sum(axis=0) / (predicted.sum(axis=0) + labels.sum(axis=0)))


def test_a_known_temperature_is_found():
    random = np.random.default_rng(0)
    logits = random.normal(-1, 2, (5000, 4))
    labels = random.random(logits.shape) < 1 / (1 + np.exp(-logits))
    for temperature in (0.5, 1, 2):
        overconfident = 1 / (1 + np.exp(-logits * temperature))
        assert fit_temperature(labels, overconfident.astype(np.float32)) == pytest.approx(temperature, rel=0.06)


def test_tags_whose_scores_differ_get_thresholds_of_their_own():
    shifts = (-3.0, -1.0, 1.0, 3.0)
    found = fit(*made_up(shifts=shifts), F1)
    labels, probability, _ = made_up(seed=1, shifts=shifts)
    probability = 1 / (1 + np.exp(-numbers.log_odds(probability) / found.temperature))
    assert found.shrinkage < np.inf and (np.diff(found.thresholds) > 0).all()
    assert macro_f1(labels, probability, found.thresholds) > macro_f1(labels, probability, found.global_threshold) + 0.1


def test_thresholds_of_rare_tags_that_are_alike_stay_together():
    shifts = (0.0,) * 40
    found = fit(*made_up(images=300, shifts=shifts, frequency=0.02), F1)
    labels, probability, _ = made_up(images=20_000, seed=1, shifts=shifts, frequency=0.02)
    probability = 1 / (1 + np.exp(-numbers.log_odds(probability) / found.temperature))
    assert found.shrinkage >= 8
    difference = macro_f1(labels, probability, found.thresholds) - macro_f1(labels, probability, found.global_threshold)
    assert difference > -0.02


def test_a_tag_without_positives_gets_the_global_threshold():
    labels, probability, groups = made_up(shifts=(-3.0, 0.0, 3.0))
    labels[:, 1] = False
    found = fit(labels, probability, groups, F1)
    assert found.thresholds[1] == pytest.approx(found.global_threshold)


@pytest.mark.parametrize("text, bounded", [("precision=0.7", 0), ("recall=0.9", 1)])
def test_a_floor_holds_on_other_pictures(text, bounded):
    found = fit(*made_up(images=20_000), Target.parse(text))
    labels, probability, _ = made_up(images=20_000, seed=1)
    predicted = 1 / (1 + np.exp(-numbers.log_odds(probability) / found.temperature)) >= found.thresholds
    reached = (predicted & labels).sum() / (predicted.sum(), labels.sum())[bounded]
    assert reached == pytest.approx(found.target.floor, abs=0.03)


def test_thresholds_without_labels_are_one_half():
    for labels in (np.zeros((3, 2), bool), np.zeros((1, 2), bool)):
        found = fit(labels, np.full(labels.shape, 0.1, np.float32), np.arange(len(labels)), F1)
        assert found.temperature == 1 and (found.thresholds == 0.5).all() and found.facts()["strength"] == "inf"


@pytest.mark.parametrize("labels", [[[1]], [[1], [1]], [[0], [1]]])
def test_few_pictures_are_enough_not_to_fail(labels):
    labels = np.array(labels, bool)
    found = fit(labels, np.full(labels.shape, 0.3, np.float32), np.zeros(len(labels)), F1)
    assert (found.thresholds > 0).all() and (found.thresholds < 1).all()


@pytest.mark.parametrize("text", ["f2", "precision", "precision=2", "recall=many", "f1=0.5", ""])
def test_a_bad_target_is_named(text):
    with pytest.raises(InputError, match="--target"):
        Target.parse(text)


def test_a_variance_follows_the_temperature():
    random = np.random.default_rng(0)
    for centre, temperature in ((-3.0, 2.0), (0.0, 0.5), (1.0, 1.6)):
        logits = centre + 0.05 * random.standard_normal(100_000)
        drawn, divided = numbers.sigmoid(logits), numbers.sigmoid(logits / temperature)
        found = numbers.rescaled_variance(np.var(drawn), np.array(centre), np.array(temperature))
        assert found == pytest.approx(np.var(divided), rel=0.05)
    assert numbers.rescaled_variance(np.array(0.2), np.array(-12.0), np.array(9.0)) <= 0.25
