"""The rules that find wrong and missing labels."""

import numpy as np
import pytest

from labels import label_rules


def simulated(missing, wrong, pictures=20000, tags=20):
    """Pictures of which a network knows all that there is to know, whose people are wrong at known rates."""
    random = np.random.default_rng(0)
    frequency = np.geomspace(0.005, 0.4, tags)
    surely = 1 / (1 + np.exp(-random.normal(np.log(frequency / (1 - frequency)), 4, (pictures, tags))))
    true = random.random(surely.shape) < surely
    misnamed = wrong / (1 - wrong) * (1 - missing) * true.mean(axis=0) / (1 - true.mean(axis=0))
    given = np.where(true, random.random(true.shape) >= missing, random.random(true.shape) < misnamed)
    return true, given, (surely * (1 - missing) + (1 - surely) * misnamed).astype(np.float32)


@pytest.mark.parametrize("missing, wrong", [(0.0, 0.0), (0.2, 0.2), (0.4, 0.4), (0.3, 0.05)])
def test_the_rates_of_mistakes_are_found_where_a_network_is_sure(missing, wrong):
    _, given, probability = simulated(missing, wrong)
    found = label_rules.estimate_noise_rates(given, probability)
    assert found.missing == pytest.approx(missing, abs=0.04) and found.wrong == pytest.approx(wrong, abs=0.04)


def test_labels_after_the_rule_are_nearer_to_the_truth_than_people_and_networks_alone():
    true, given, probability = simulated(0.3, 0.2)
    soft = label_rules.posterior(given, probability, label_rules.estimate_noise_rates(given, probability))
    error, of_people, of_networks = (np.square(labels - true).mean() for labels in (soft, given * 1.0, probability))
    assert error < 0.6 * of_people and error < 0.9 * of_networks


def test_without_mistakes_the_rule_changes_nothing():
    _, given, probability = simulated(0.0, 0.0)
    soft = label_rules.posterior(given, probability, label_rules.NoiseRates(0.0, 0.0))
    assert np.allclose(soft, given, atol=1e-3)


def test_the_published_rule():
    given = np.array([[True, True, False, False]])
    probability = np.array([[0.5, 0.1, 0.9, 0.6]], np.float32)
    halved = label_rules.halved(given, probability, np.full(4, 0.3, np.float32))
    assert halved[0].tolist() == pytest.approx([1, 0.5, 0.9, 0])
