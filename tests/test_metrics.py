"""The figures against scikit-learn, on random and on degenerate inputs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from model import metrics


@st.composite
def problems(draw):
    images, tags = draw(st.integers(1, 30)), draw(st.integers(1, 5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = random.random((images, tags)) < draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    scores = random.random((images, tags)).astype(np.float32)
    return labels, np.round(scores, draw(st.sampled_from([0, 1, 7])))  # few decimals: many ties


@given(problems())
@settings(deadline=None, max_examples=200)
def test_ranking_figures_equal_scikit_learn(problem):
    labels, scores = problem
    areas, averages = metrics.auc_roc(labels, scores), metrics.average_precision(labels, scores)
    for tag in range(labels.shape[1]):
        column, score = labels[:, tag], scores[:, tag]
        if column.any():
            assert np.isclose(averages[tag], sk.average_precision_score(column, score))
        else:
            assert np.isnan(averages[tag])
        if column.any() and not column.all():
            assert np.isclose(areas[tag], sk.roc_auc_score(column, score))
        else:
            assert np.isnan(areas[tag])


@given(problems())
@settings(deadline=None, max_examples=200)
def test_threshold_figures_equal_scikit_learn(problem):
    labels, scores = problem
    accepted = scores >= 0.5
    ours = metrics.at_threshold(labels, accepted)
    assert np.isclose(ours["accuracy"], (labels == accepted).mean())
    for average in ("micro", "macro"):
        kept = labels.any(axis=0) if average == "macro" else np.ones(labels.shape[1], bool)
        if not kept.any():
            assert np.isnan(ours["f1_macro"])
            continue
        truth, said = labels[:, kept].astype(int), accepted[:, kept].astype(int)
        if average == "micro":
            truth, said, how = truth.ravel(), said.ravel(), "binary"
        else:
            how = "macro"
            if truth.shape[1] == 1:
                truth, said, how = truth.ravel(), said.ravel(), "binary"
        expected = sk.precision_recall_fscore_support(truth, said, average=how, zero_division=0)[:3]
        assert np.allclose([ours[f"{name}_{average}"] for name in ("precision", "recall", "f1")], expected)


@given(problems())
@settings(deadline=None, max_examples=100)
def test_no_threshold_has_a_better_f1(problem):
    labels, scores = problem
    best = metrics.best_f1_threshold(labels, scores)

    def f1(threshold):
        return sk.f1_score(labels.ravel(), scores.ravel() >= threshold, zero_division=0)

    assert all(f1(best) >= f1(other) - 1e-9 for other in np.unique(scores))


def test_macro_figures_leave_out_what_cannot_be_ranked():
    labels = np.array([[1, 0, 1], [0, 0, 1]], bool)
    scores = np.array([[0.9, 0.9, 0.5], [0.1, 0.1, 0.4]])
    figures = metrics.ranking(labels, scores)
    assert figures["auc_roc_macro"] == 1 and figures["average_precision_macro"] == 1


def test_constant_scores_are_worth_nothing():
    labels = np.array([[1], [0], [0], [0]], bool)
    assert metrics.auc_roc(labels, np.zeros((4, 1)))[0] == 0.5
    assert metrics.average_precision(labels, np.zeros((4, 1)))[0] == 0.25


def test_nan_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        metrics.auc_roc(np.ones((2, 1), bool), np.array([[0.1], [np.nan]]))
    with pytest.raises(ValueError, match="Received"):
        metrics.auc_roc(np.ones((2, 1), bool), np.ones((2, 2)))
