"""A run's curves and pictures for TensorBoard."""

import io
import time

import keras
import numpy as np
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from dataset import records
from model import schedule
from model.calibration import Target, fit, log_odds
from model.callbacks import Validation, Watch
from model.plan import Plan
from model.scoring import Scores
from report import contact_sheet

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


def pictures(plan: Plan, scores: Scores) -> Image.Image:
    """A few validation pictures with the tags that the network gives them and those it misses."""
    calibration = fit(scores.labels, scores.probability, scores.groups, Target("f1"))
    shown = contact_sheet.varied(scores.labels, PICTURES)
    found = records.images_of(plan.data, "val", set(scores.ids[shown]))
    probability = 1 / (1 + np.exp(-log_odds(scores.probability[shown]) / calibration.temperature))
    return contact_sheet.contact_sheet(
        [found[post_id] for post_id in scores.ids[shown]],
        scores.labels[shown],
        probability,
        calibration.thresholds,
        [tag.name for tag in plan.run.tags],
    )
