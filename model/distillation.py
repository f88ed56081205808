"""Distillation: a run learns, beside the labels, what another one says of the same pictures (Hinton et al., 1503.02531).

The targets are the teacher's probabilities, which are expectations over its noise layer: where it is uncertain, they are
drawn towards the middle, and the student learns that too. They are computed once, of the pictures without augmentation, at
the teacher's own size: a large teacher that looked at every augmented picture would take most of the time of every epoch.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from command import InputError, only_writer, say
from dataset import soft_targets
from dataset.soft_targets import SoftTargets
from model import scoring
from model.plan import Plan
from model.predict import Tagger


def with_teacher(plan: Plan) -> Plan:
    """The same plan with the soft targets of its teacher, if it has one; those that were computed before are kept.

    Raises:
        InputError: the teacher is not trained, has other tags, or says what is no number.
    """
    config, folder = plan.run.config, plan.run.folder
    if not config.teacher:
        return plan
    with only_writer(folder):
        if not (folder / soft_targets.FILE).exists():
            _ask(Path(config.teacher), plan).save(folder)
        return replace(plan, soft_targets=SoftTargets.load(folder))


def _ask(folder: Path, plan: Plan) -> SoftTargets:
    teacher = Tagger.load(folder)
    outputs = scoring.outputs_for(teacher.run, plan.data)
    say(f"asking {folder}, the teacher, about every training picture")
    temperature = teacher.temperature * plan.run.config.teacher_temperature
    scores = scoring.score(
        teacher.network, plan.data, "train", teacher.run.config, temperature, show_progress=True, outputs=outputs
    )
    if not np.isfinite(scores.probability).all():
        raise InputError(f"{folder} says what is no number of pictures of {plan.data}: train it again")
    return SoftTargets(scores.ids, scores.probability.astype(np.float16))
