"""The callback that writes curves and pictures for TensorBoard."""

import io
import time

import keras
import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from common.numbers import log_odds, sigmoid
from dataset import records
from evaluation.metrics.calibration import Target, fit
from evaluation.report import contact_sheet
from evaluation.score import Scores
from model import one_cycle
from training.callbacks import ProgressAndSpeed, Validation
from training.plan import Plan

PICTURES = 8


class TensorBoard(keras.callbacks.Callback):
    """Writes loss, learning rate, momentum and speed during an epoch, and validation figures and pictures at its end.

    Args:
        plan: the plan of the run.
        progress: source of loss and speed.
        validation: source of the scores that the pictures show.
    """

    def __init__(self, plan: Plan, progress: ProgressAndSpeed, validation: Validation):
        super().__init__()
        self.plan, self.progress, self.validation = plan, progress, validation
        self.rate, self.momentum = one_cycle.cycles(plan.run.config, plan.total_updates)
        self.writer = EventFileWriter(str(plan.run.folder / "logs"))
        self.written_synchronizations = 0

    def on_train_batch_end(self, batch, logs=None):
        if self.progress.synchronizations == self.written_synchronizations:
            return
        self.written_synchronizations = self.progress.synchronizations
        step = self.progress.epoch * self.plan.steps_per_epoch + self.progress.step
        update = step // self.plan.steps_per_update
        scalars = {
            "step/loss": self.progress.loss,
            "step/learning_rate": float(self.rate(update)),
            "step/momentum": float(self.momentum(update)),
        }
        self._write(step, scalars | {f"step/{name}": value for name, value in self.progress.speed().items()})

    def on_epoch_end(self, epoch, logs=None):
        self._write(epoch + 1, {f"epoch/{name}": value for name, value in logs.items()})
        if self.validation.scores:
            sheet = io.BytesIO()
            picture = prediction_sheet(self.plan, self.validation.scores)
            picture.save(sheet, "PNG")
            sheet_summary = Summary.Image(
                height=picture.height, width=picture.width, colorspace=3, encoded_image_string=sheet.getvalue()
            )
            self._add(epoch + 1, Summary(value=[Summary.Value(tag="validation", image=sheet_summary)]))
        self.writer.flush()

    def on_train_end(self, logs=None):
        self.writer.flush()

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items() if np.isfinite(value)]
        self._add(step, Summary(value=values))

    def _add(self, step: int, summary: Summary) -> None:
        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))


def prediction_sheet(plan: Plan, scores: Scores) -> Image.Image:
    """Return a sheet of a few validation pictures with the predicted tags and the missed ones."""
    calibration = fit(scores.labels, scores.probability, scores.groups, Target("f1"))
    shown = contact_sheet.varied_sample(scores.labels, PICTURES)
    encoded = records.images_by_id(plan.data, "val", set(scores.ids[shown]))
    probability = sigmoid(log_odds(scores.probability[shown]) / calibration.temperature)
    return contact_sheet.contact_sheet(
        [encoded[post_id] for post_id in scores.ids[shown]],
        scores.labels[shown],
        probability,
        calibration.thresholds,
        [tag.name for tag in plan.run.tags],
    )
