"""The questions that improve.py proposes."""

import numpy as np

from labels import proposals


def test_proposals_find_hidden_labels_of_many_tags():
    random = np.random.default_rng(0)
    true = random.random((400, 20)) < np.linspace(0.02, 0.4, 20)
    observed = true & (random.random(true.shape) > 0.3)
    probability = np.clip(0.5 * true + random.normal(0.1, 0.08, true.shape), 0.01, 0.99).astype(np.float32)
    features = random.normal(size=(400, 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    askable = np.ones(true.shape, bool)
    askable[:, 3] = False
    chosen = proposals.propose(observed, probability, features, askable, 100)
    hits = [true[each.picture, each.tag] != observed[each.picture, each.tag] for each in chosen]
    assert len(chosen) == len(set(chosen)) == 100 and np.mean(hits) > 0.8
    page = [each.tag for each in chosen[: proposals.PAGE]]
    assert 3 not in page and len(set(page)) > 10
    assert len(proposals.propose(observed, probability, features, askable, 10**6)) == askable.sum()
    # Fifty of one tag: variants of a picture wait.
    gain, tags = np.linspace(1, 0.9, 40), np.zeros(40, int)
    variants = np.repeat(np.eye(4), 10, axis=0)
    assert {position // 10 for position in proposals.choose_different(gain, tags, variants, 4)} == {0, 1, 2, 3}
