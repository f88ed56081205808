"""Distillation: a run learns, beside the labels, what another one says of the same pictures (Hinton et al., 1503.02531).

The targets are the teacher's probabilities, which are expectations over its noise layer: where it is uncertain, they are
drawn towards the middle, and the student learns that too. They are computed once, of the pictures without augmentation, at
the teacher's own size: a large teacher that looked at every augmented picture would take most of the time of every epoch.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from command import InputError, only_writer, say
from dataset import records
from dataset.soft_targets import SoftTargets
from model import runs, scoring
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
    teacher = Path(config.teacher)
    source = _source(teacher, plan)
    with only_writer(folder):
        targets = SoftTargets.load(folder, source)
        if targets is None:
            targets = _ask(teacher, plan, source)
            targets.save(folder)
        return replace(plan, soft_targets=targets)


def _source(teacher: Path, plan: Plan) -> str:
    """What the targets are computed from: the teacher's network and thresholds, the temperature, and the pictures."""
    runs.load(teacher)
    paths = [teacher / "model.keras", teacher / "thresholds.csv", *records.shard_paths(plan.data, "train")]
    if missing := [str(path) for path in paths if not path.is_file()]:
        raise InputError(f"{missing[0]} is missing: has the teacher's training finished?")
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return repr((plan.run.config.teacher_temperature, files))


def _ask(folder: Path, plan: Plan, source: str) -> SoftTargets:
    teacher = Tagger.load(folder)
    outputs = scoring.outputs_for(teacher.run, plan.data)
    say(f"asking {folder}, the teacher, about every training picture")
    temperature = teacher.temperature * plan.run.config.teacher_temperature
    scores = scoring.score(
        teacher.network, plan.data, "train", teacher.run.config, temperature, show_progress=True, outputs=outputs
    )
    if not np.isfinite(scores.probability).all():
        raise InputError(f"{folder} says what is no number of pictures of {plan.data}: train it again")
    return SoftTargets(scores.ids, scores.probability.astype(np.float16), source)
