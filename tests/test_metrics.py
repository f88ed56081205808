"""The figures against scikit-learn and against brute force, on random and on degenerate inputs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from evaluation.metrics import all_metrics, bootstrap, metrics, micro_counts, tag_vectors


@st.composite
def problems(draw):
    images, tags = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = random.random((images, tags)) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    scores = random.random((images, tags)).astype(np.float32)
    return labels, np.round(scores, draw(st.sampled_from([0, 1, 7])))  # few decimals: many ties


def compute(labels, scores, threshold=0.5, weights=None, **more):
    weights = np.ones((len(labels), 1), np.float32) if weights is None else weights
    return all_metrics.compute(labels, scores, np.full(labels.shape[1], threshold), 0.3, weights, **more)


def first(found):
    return {name: values[0] for name, values in found.values.items()}


def mean(values):
    return np.nanmean(values) if not np.isnan(values).all() else np.nan


def same(ours, theirs):
    return np.isclose(ours, theirs, atol=1e-6, equal_nan=True)


@given(problems())
@settings(deadline=None, max_examples=60)
def test_ranking_figures_equal_scikit_learn(problem):
    labels, scores = problem
    found = compute(labels, scores)
    areas, averages = [], []
    for truth, column in [*zip(labels.T, scores.T, strict=True), (labels.ravel(), scores.ravel())]:
        averages.append(sk.average_precision_score(truth, column) if truth.any() else np.nan)
        areas.append(sk.roc_auc_score(truth, column) if truth.any() and not truth.all() else np.nan)
    assert same(found.by_tag["auc_roc"][:, 0], areas[:-1]).all()
    assert same(found.by_tag["average_precision"][:, 0], averages[:-1]).all()
    expected = {
        "auc_roc_macro": mean(areas[:-1]),
        "average_precision_macro": mean(averages[:-1]),
        "auc_roc_micro": areas[-1],
        "average_precision_micro": averages[-1],
    }
    assert all(same(first(found)[name], value) for name, value in expected.items())
    assert all(same(metrics.ranking(labels, scores)[name], value) for name, value in expected.items())


@given(problems())
@settings(deadline=None, max_examples=60)
def test_figures_of_decisions_equal_scikit_learn(problem):
    labels, scores = problem
    ours, truth, predicted = first(compute(labels, scores)), labels.ravel(), scores.ravel() >= 0.5
    assert same(ours["accuracy"], sk.accuracy_score(truth, predicted))
    assert same(ours["mcc_micro"], sk.matthews_corrcoef(truth, predicted))
    assert same(ours["brier"], np.mean((scores - labels) ** 2))
    for beta, name in ((1, "f1"), (2, "f2")):
        pooled = sk.precision_recall_fscore_support(truth, predicted, beta=beta, average="binary", zero_division=0)[:3]
        assert same([ours["precision_micro"], ours["recall_micro"], ours[f"{name}_micro"]], pooled).all()
        by_tag = [
            sk.precision_recall_fscore_support(column, scores[:, tag] >= 0.5, beta=beta, average="binary", zero_division=0)
            for tag, column in enumerate(labels.T)
            if column.any()
        ]
        expected = np.mean([row[:3] for row in by_tag], axis=0) if by_tag else np.full(3, np.nan)
        assert same([ours["precision_macro"], ours["recall_macro"], ours[f"{name}_macro"]], expected).all()


def expected_positives(labels, scores, number):
    """Positives among the `number` pairs with the highest scores; of ties, as many as their share."""
    positives = 0.0
    for score in np.unique(scores)[::-1]:
        tied = scores == score
        taken = min(number, tied.sum())
        positives += labels[tied].sum() * taken / tied.sum()
        number -= taken
    return positives


@given(problems())
@settings(deadline=None, max_examples=60)
def test_other_figures_equal_brute_force(problem):
    labels, scores = problem
    variance = np.rint(255 * (4 * scores * (1 - scores)) ** 0.25).astype(np.uint8)
    ours, positives, pairs = first(compute(labels, scores, predictive_variance=variance)), labels.sum(), labels.size
    if positives:
        r = expected_positives(labels.ravel(), scores.ravel(), positives) / positives
        assert same(ours["break_even_micro"], r)
        if positives < pairs:
            tp, fp, tn = r * positives, (1 - r) * positives, pairs - (2 - r) * positives
            mcc = (tp * tn - fp**2) / (positives * (pairs - positives))
            assert same(ours["mcc_break_even_micro"], mcc)
    by_tag = [
        expected_positives(y, s, y.sum()) / y.sum() if y.any() else np.nan for y, s in zip(labels.T, scores.T, strict=True)
    ]
    assert same(ours["break_even_macro"], mean(np.array(by_tag)))
    gaps = []
    for edge in range(metrics.BINS):
        inside = np.minimum((scores * metrics.BINS).astype(int), metrics.BINS - 1) == edge
        gaps.append(abs(scores[inside].sum() - labels[inside].sum()))
    assert same(ours["expected_calibration_error"], np.sum(gaps) / pairs)
    wrong = ((scores >= 0.5) != labels).ravel()
    if wrong.any() and variance.any():
        share = expected_positives(wrong, variance.ravel(), 0.1 * pairs) / wrong.sum()
        assert same(ours["mistakes_in_uncertain_tenth"], share)


@given(problems())
@settings(deadline=None, max_examples=60)
def test_figures_of_images_equal_brute_force(problem):
    labels, scores = problem
    vectors = np.random.default_rng(0).standard_normal((labels.shape[1], 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ours = first(compute(labels, scores, vectors=vectors))
    beta, overlaps, hit, exact, cosines = [], [], [], [], []
    for truth, row in zip(labels, scores, strict=True):
        over = row > 0.2
        precision, recall = (np.sum(over & truth) / (part.sum() + 1e-9) for part in (over, truth))
        beta.append(5 * precision * recall / (4 * precision + recall + 1e-9))
        true = set(np.flatnonzero(truth).tolist())
        best = set(np.argsort(-row, kind="stable")[: len(true)].tolist())
        if true:
            overlaps.append(len(true & best) / len(true | best))
            hit.append(bool(true & best))
            exact.append(true == best)
            cosines.append(min(1 if t in best else max(vectors[t] @ vectors[b] for b in best) for t in true))
    assert same(ours["fbeta_02"], np.mean(beta)) and same(ours["accuracy_thresh"], np.mean((scores > 0.2) == labels))
    expected = [np.mean(part) if part else np.nan for part in (overlaps, hit, exact, cosines)]
    assert same([ours[f] for f in ("top_n_iou", "top_n_hit_rate", "top_n_exact_match", "semantic_accuracy")], expected).all()


@given(problems(), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_a_resample_has_the_figures_of_its_images(problem, seed):
    labels, scores = problem
    times = np.random.default_rng(seed).integers(0, 3, len(labels))
    if not times.any():
        return
    weights = np.stack([np.ones(len(labels)), times], axis=1).astype(np.float32)
    together, alone = (
        compute(labels, scores, weights=weights),
        compute(np.repeat(labels, times, 0), np.repeat(scores, times, 0)),
    )
    for name in alone.by_tag:
        assert same(together.by_tag[name][:, 1], alone.by_tag[name][:, 0]).all(), name
    by_levels = ("auc_roc_micro", "average_precision_micro", "break_even_micro", "mcc_break_even_micro")
    for name, values in alone.values.items():
        if name not in by_levels and not name.startswith("mistakes"):
            assert same(together.values[name][1], values[0]), name


def test_many_pairs_are_read_off_a_histogram_closely(monkeypatch):
    random = np.random.default_rng(0)
    labels = random.random((500, 40)) < 0.05
    scores = (1 / (1 + np.exp(3 - 2 * labels - random.standard_normal(labels.shape)))).astype(np.float32)
    weights = bootstrap.group_weights(np.arange(500) // 2, 40)[:, :20]
    exact = compute(labels, scores, weights=weights)
    monkeypatch.setattr(micro_counts, "EXACT_PAIRS", 0)
    monkeypatch.setattr(micro_counts, "BLOCK_PAIRS", 1000)
    histogram = compute(labels, scores, weights=weights)
    assert exact.exact and not histogram.exact
    for name, values in exact.values.items():
        assert np.allclose(values, histogram.values[name], atol=1e-3), name


def test_pooled_resamples_are_close_to_the_figures_of_their_images():
    random = np.random.default_rng(1)
    labels = random.random((300, 30)) < 0.05
    scores = (1 / (1 + np.exp(3 - 2 * labels - random.standard_normal(labels.shape)))).astype(np.float32)
    weights = bootstrap.group_weights(np.arange(300) // 2, 30)[:, :6]
    found = compute(labels, scores, weights=weights)
    for column in range(1, 6):
        times = weights[:, column].astype(int)
        alone = first(compute(np.repeat(labels, times, 0), np.repeat(scores, times, 0)))
        for name in ("auc_roc_micro", "average_precision_micro", "break_even_micro", "mistakes_in_undecided_tenth"):
            assert abs(found.values[name][column] - alone[name]) < 0.01, name


def test_macro_figures_leave_out_what_cannot_be_ranked():
    labels = np.array([[1, 0, 1], [0, 0, 1]], bool)
    ours = metrics.ranking(labels, np.array([[0.9, 0.9, 0.5], [0.1, 0.1, 0.4]]))
    assert ours["auc_roc_macro"] == 1 and ours["average_precision_macro"] == 1


def test_constant_scores_give_the_figures_of_chance():
    labels = np.array([[1], [0], [0], [0]], bool)
    ours = first(compute(labels, np.zeros((4, 1), np.float32)))
    assert ours["auc_roc_macro"] == 0.5 and ours["average_precision_macro"] == 0.25 and ours["break_even_macro"] == 0.25


def test_nan_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        compute(np.ones((2, 1), bool), np.array([[0.1], [np.nan]]))
    for labels, scores in ((np.ones((2, 1), bool), np.ones((2, 2))), (np.ones((0, 1), bool), np.ones((0, 1)))):
        with pytest.raises(ValueError, match="Received"):
            compute(labels, scores)


def test_whole_groups_are_drawn_and_the_first_resample_is_everything():
    groups = np.array(["a", "b", "a", "c", "b", "a"])
    weights = bootstrap.group_weights(groups, 1)
    assert weights.shape == (6, 1001) and (weights[:, 0] == 1).all()
    assert (weights[0] == weights[2]).all() and (weights[0] == weights[5]).all() and (weights[1] == weights[4]).all()
    assert (weights[0] + weights[1] + weights[3] == 3).all() and len(np.unique(weights[0])) > 2
    assert (weights == bootstrap.group_weights(groups, 1)).all()


def test_an_interval_is_about_as_wide_as_the_figure_varies():
    """The mean of 200 values, whose spread is known, over groups of one and over groups of ten equal ones."""
    random = np.random.default_rng(0)
    for size, low, high in ((1, 0.1, 0.17), (10, 0.3, 0.55)):
        values, groups = np.repeat(random.random(200 // size) < 0.5, size), np.arange(200) // size
        weights = bootstrap.group_weights(groups, 1)
        edges = bootstrap.interval(values @ weights.astype(float) / weights.sum(axis=0))
        assert low < edges[1] - edges[0] < high and edges[0] < values.mean() < edges[1]


def test_tags_that_occur_with_the_same_tags_have_similar_vectors():
    # "kitten" and "cat" occur with the same tags and never together; "boat" occurs with others.
    names = ["cat", "kitten", "whiskers", "fur", "boat", "sea", "sail"]
    images = [[0, 2, 3], [1, 2, 3], [0, 2], [1, 3], [4, 5, 6], [4, 5], [5, 6], [4, 6], [0, 3], [1, 2]]
    vectors = tag_vectors.learn((np.array(image) for image in images), len(names))
    assert vectors[0] @ vectors[1] > 0.5 > 0.2 > abs(vectors[0] @ vectors[4])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert not tag_vectors.learn([np.array([0]), np.array([1])], 2).any(), "tags that never meet have no direction"


def test_vectors_survive_the_file_and_damage_is_named(tmp_path):
    path = tmp_path / "tag_vectors.npy"
    assert tag_vectors.load(path, 2) is None
    tag_vectors.save(path, np.eye(2, dtype=np.float32))
    assert (tag_vectors.load(path, 2) == np.eye(2)).all()
    with pytest.raises(tag_vectors.InputError, match="other tags"):
        tag_vectors.load(path, 3)
    path.write_bytes(b"nothing")
    with pytest.raises(tag_vectors.InputError, match="damaged"):
        tag_vectors.load(path, 2)
