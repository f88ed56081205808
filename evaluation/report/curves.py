"""The report's section of curves: ROC, precision and recall, reliability, and the course of training."""

import numpy as np

from evaluation.evaluate import Evaluation
from evaluation.metrics import metrics
from evaluation.report.charts import Line, line_chart

UNIT = (0.0, 1.0)
MAX_DOTS = 40  # epochs
TRAINING_CHARTS = (  # column of history.csv, title, label of the axis, class of the line
    ("loss", "Training loss", "loss", "run"),
    ("val_average_precision_macro", "Validation mAP", "mAP", "run"),
    ("learning_rate", "Learning rate", "learning rate", "other"),
)


def curves(evaluation: Evaluation, history: list[dict]) -> str:
    """Return the section of curves.

    Args:
        evaluation: the evaluation.
        history: the rows of the run's `history.csv`, one for each epoch.
    """
    charts = [*_ranking_charts(evaluation), _reliability_chart(evaluation), *_training_charts(history)]
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


def _training_charts(history: list[dict]) -> list[str]:
    charts = []
    for column, title, label, kind in TRAINING_CHARTS:
        if len(history) > 1 and all(row.get(column) for row in history):
            epochs, values = ([float(row[name]) for row in history] for name in ("epoch", column))
            line = Line("", epochs, values, kind, dots=len(history) < MAX_DOTS)
            charts.append(line_chart(title, "epoch", label, [line]))
    return charts
