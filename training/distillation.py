"""Distillation: a student learns the probabilities of a teacher beside the labels (Hinton et al., arXiv 1503.02531).

The targets are the teacher's probabilities. With a noise layer they are expectations over its noise: where the teacher is
uncertain they are nearer to ½, and the student learns that too. They are computed once, for the pictures without
augmentation and at the teacher's image size. Predictions of a large teacher for every augmented picture would take most of
the time of every epoch.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from common.errors import InputError, say
from common.files import only_writer
from dataset import records
from dataset.soft_targets import SoftTargets
from evaluation import score
from inference.tagger import Tagger
from model import run_folder
from training.plan import Plan


def with_teacher(plan: Plan) -> Plan:
    """Return the plan with the soft targets of its teacher, if it has one.

    Targets that an interrupted run has computed from the same teacher and data are reused.

    Raises:
        InputError: the teacher is not trained, has other tags, or predicts values that are not finite.
    """
    config, folder = plan.run.config, plan.run.folder
    if not config.teacher:
        return plan
    teacher = Path(config.teacher)
    source = _source(teacher, plan)
    with only_writer(folder):
        targets = SoftTargets.load(folder, source)
        if targets is None:
            targets = _compute_targets(teacher, plan, source)
            targets.save(folder)
        return replace(plan, soft_targets=targets)


def _source(teacher: Path, plan: Plan) -> str:
    """Return a text that identifies teacher, temperature and pictures, and changes with them."""
    run_folder.load(teacher)
    paths = [teacher / "model.keras", teacher / "thresholds.csv", *records.shard_paths(plan.data, "train")]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise InputError(f"{missing[0]} is missing: has the teacher's training finished?")
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return repr((plan.run.config.teacher_temperature, files))


def _compute_targets(folder: Path, plan: Plan, source: str) -> SoftTargets:
    teacher = Tagger.open(folder)
    outputs = teacher.run.outputs_for(plan.data)
    say(f"computing the probabilities of the teacher, {folder}, for all training pictures")
    temperatures = teacher.temperatures * np.float32(plan.run.config.teacher_temperature)
    scores = score.score(teacher.network, plan.data, "train", teacher.run.config, temperatures, outputs=outputs)
    if not scores.are_finite():
        raise InputError(f"the predictions of {folder} for {plan.data} are not finite: train it again")
    return SoftTargets(scores.ids, scores.probability.astype(np.float16), source)
