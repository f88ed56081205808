"""The report's section of curves: ROC, precision and recall, reliability, and the course of training."""

import keras
import numpy as np

from evaluation.evaluate import Evaluation
from evaluation.metrics import metrics
from evaluation.report.charts import Line, line_chart
from model import one_cycle
from model.run_folder import Run

UNIT = (0.0, 1.0)
MAX_DOTS = 40  # epochs
TRAINING_CHARTS = (  # column of history.csv, title, label of the axis
    ("loss", "Training loss", "loss"),
    ("val_average_precision_macro", "Validation mAP", "mAP"),
)


def curves(evaluation: Evaluation, history: list[dict]) -> str:
    """Return the section of curves.

    Args:
        evaluation: the evaluation.
        history: the rows of the run's `history.csv`, one for each epoch.
    """
    charts = [*_ranking_charts(evaluation), _reliability_chart(evaluation)]
    charts += training_charts(evaluation.tagger.run, history)
    return f'<div class="charts">{"".join(charts)}</div>'


def _ranking_charts(evaluation: Evaluation) -> list[str]:
    roc, precision_recall = [], []
    for name, figures, kind in (("this run", evaluation.figures, "run"), ("frequencies", evaluation.frequencies, "other")):
        assert figures.score_levels is not None
        true_positives, predicted = metrics.cumulative_counts(*figures.score_levels)
        positives, negatives = true_positives[0], predicted[0] - true_positives[0]
        if positives and negatives:
            false_positive_rate = np.append((predicted - true_positives) / negatives, 0)
            roc.append(Line(name, false_positive_rate, np.append(true_positives / positives, 0), kind))
            precision_recall.append(Line(name, true_positives / positives, true_positives / predicted, kind))
    if not roc:
        return []
    roc.append(Line("chance", UNIT, UNIT, "chance"))
    title = "Precision and recall, all pairs (micro)"
    return [
        line_chart("ROC, all pairs (micro)", "false positive rate", "recall", roc, UNIT, UNIT),
        line_chart(title, "recall", "precision", precision_recall, UNIT, UNIT),
    ]


def _reliability_chart(evaluation: Evaluation) -> str:
    reliability = evaluation.figures.reliability
    assert reliability is not None
    pairs, probability, labels = reliability[reliability[:, 0] > 0].T
    lines = [Line("this run", probability / pairs, labels / pairs, dots=True), Line("ideal", UNIT, UNIT, "chance")]
    return line_chart("Reliability, all pairs", "probability", "frequency", lines, UNIT, UNIT)


def training_charts(run: Run, history: list[dict]) -> list[str]:
    """Return the charts of the course of training, those whose values are known.

    Args:
        run: the run.
        history: the rows of its `history.csv`, one for each epoch.
    """
    lines = []
    for column, title, label in TRAINING_CHARTS:
        if len(history) > 1 and all(row.get(column) for row in history):
            lines.append((title, label, _by_epoch(history, column)))
    if history and all(row.get("learning_rate") for row in history):
        lines.append(("Learning rate", "learning rate", _learning_rate(run, history)))
    return [line_chart(title, "epoch", label, [line]) for title, label, line in lines]


def _by_epoch(history: list[dict], column: str, kind: str = "run") -> Line:
    epochs, values = ([float(row[name]) for row in history] for name in ("epoch", column))
    return Line("", epochs, values, kind, dots=len(history) < MAX_DOTS)


def _learning_rate(run: Run, history: list[dict]) -> Line:
    """Return the learning rate at each update, or at the end of each epoch if the run had another schedule than today's."""
    recorded = _by_epoch(history, "learning_rate", "other")
    updates = np.arange(run.updates_per_epoch * run.config.epochs + 1)
    schedule, _ = one_cycle.cycles(run.config, len(updates) - 1)
    rates = keras.ops.convert_to_numpy(schedule(updates))
    epochs = updates / run.updates_per_epoch
    # Runs of earlier versions may have had several cycles, which their configuration no longer says.
    if not np.allclose(np.interp(recorded.x, epochs, rates), recorded.y, rtol=1e-3, atol=1e-3 * rates.max()):
        return recorded
    return Line("", epochs, rates, "other")
