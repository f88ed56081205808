"""A run's curves and pictures for TensorBoard; needs no TensorFlow."""

import io
import time

import keras
import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from model import metrics, report, schedule
from model.callbacks import Validation, Watch
from model.plan import Plan

PICTURES = 8


class TensorBoard(keras.callbacks.Callback):
    """Writes loss, learning rate, momentum and speed while an epoch goes on, the figures and some pictures at its end.

    Args:
        plan: what the run does.
        watch: where the loss and the speed come from.
        validation: where the pictures come from.
    """

    def __init__(self, plan: Plan, watch: Watch, validation: Validation):
        super().__init__()
        self.plan, self.watch, self.validation = plan, watch, validation
        self.rate, self.momentum = schedule.cycles(plan.run.config, plan.total_updates)
        self.writer = EventFileWriter(str(plan.run.folder / "logs"))
        self.written = 0

    def on_train_batch_end(self, batch, logs=None):
        if self.watch.looks == self.written:
            return
        self.written = self.watch.looks
        step = self.watch.epoch * self.plan.steps_per_epoch + self.watch.step
        update = step // self.plan.steps_per_update
        scalars = {
            "step/loss": self.watch.loss,
            "step/learning_rate": float(self.rate(update)),
            "step/momentum": float(self.momentum(update)),
        }
        self._write(step, scalars | {f"step/{name}": value for name, value in self.watch.speed().items()})

    def on_epoch_end(self, epoch, logs=None):
        self._write(epoch + 1, {f"epoch/{name}": value for name, value in logs.items()})
        if self.validation.scores:
            sheet = io.BytesIO()
            picture = pictures(self.plan, self.validation.scores)
            picture.save(sheet, "PNG")
            image = Summary.Image(
                height=picture.height, width=picture.width, colorspace=3, encoded_image_string=sheet.getvalue()
            )
            self._add(epoch + 1, Summary(value=[Summary.Value(tag="validation", image=image)]))
        self.writer.flush()

    def on_train_end(self, logs=None):
        self.writer.flush()

    def _write(self, step: int, scalars: dict[str, float]) -> None:
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items() if np.isfinite(value)]
        self._add(step, Summary(value=values))

    def _add(self, step: int, summary: Summary) -> None:
        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))


def pictures(plan: Plan, scores: dict):
    """A few validation pictures with the tags that the network gives them and those it misses: a Pillow image."""
    labels, probability = scores["labels"], scores["probability"]
    shown = report.varied(labels, PICTURES)
    thresholds = np.full(labels.shape[1], metrics.best_f1_threshold(labels, probability))
    encoded = [scores["image"][index] for index in shown]
    return report.contact_sheet(encoded, labels[shown], probability[shown], thresholds, [tag.name for tag in plan.run.tags])
