"""Correct the training labels of a data folder, by the predictions of networks and by people's decisions."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from common import files
from common.errors import InputError, counted, say
from dataset import records
from dataset.build.restricted import restricted_ids
from dataset.corrections import Correction, Decisions
from dataset.records import NUMBER, RATING
from evaluation import score
from inference.tagger import Tagger
from labels import label_rules
from labels.folds import out_of_fold
from labels.label_rules import NoiseRates
from model.run_folder import Run

MIN_LABEL = 0.02  # smaller labels are dropped: otherwise every picture would have a label for every tag
DECIMALS = 3


@dataclass
class Cleaning:
    """The labels of a training split before and after cleaning.

    Attributes:
        tags: names of the tags.
        ids, md5s: ids and MD5s of the pictures, in the order of `records.read`.
        numbers: bool (tags,), which tags stand for a column of numbers; their labels do not change.
        observed: bool (pictures, tags), the labels before cleaning; False for numbers.
        probability: float32 (pictures, tags), the predictions of the networks.
        cleaned: float32 (pictures, tags), the labels after cleaning, from 0 to 1.
        rates: estimated rates of mistakes in the labels, if the rule estimates them.
        decided: pairs (index of a picture, index of a tag) that people decided.
    """

    tags: list[str]
    ids: list[str]
    md5s: list[str]
    numbers: np.ndarray
    observed: np.ndarray
    probability: np.ndarray
    cleaned: np.ndarray
    rates: NoiseRates | None = None
    decided: set[tuple[int, int]] = field(default_factory=set)

    def apply_verdicts(self, names: list[str], verdicts: Mapping[tuple[str, str], bool]) -> int:
        """Replace labels by people's verdicts.

        Args:
            names: `ids` or `md5s`, whichever the verdicts use.
            verdicts: (name of a picture, tag) ▶ whether it has the tag. Other pictures and tags are ignored.

        Returns:
            The number of verdicts that were applied.
        """
        rows = {name: row for row, name in enumerate(names)}
        columns = {tag: column for column, tag in enumerate(self.tags) if not self.numbers[column]}
        applicable = {
            (rows[name], columns[tag]): answer for (name, tag), answer in verdicts.items() if name in rows and tag in columns
        }
        for pair, answer in applicable.items():
            self.cleaned[pair] = answer
        self.decided |= applicable.keys()
        return len(applicable)

    def labels(self) -> list[dict[int, float]]:
        """Return the cleaned labels in the form of records: one dictionary tag ▶ label for each picture."""
        # A number's label is a rank, and is not rounded.
        rounding = [float if is_number else lambda label: round(float(label), DECIMALS) for is_number in self.numbers]
        nonzero = (np.flatnonzero((row >= MIN_LABEL) | self.numbers) for row in self.cleaned)
        return [{int(tag): rounding[tag](row[tag]) for tag in tags} for row, tags in zip(self.cleaned, nonzero, strict=True)]

    def most_changed(self, number: int) -> list[tuple[int, int]]:
        """Return the undecided (picture, tag) pairs whose label changes most, the largest change first."""
        change = np.abs(self.cleaned - self.observed) * ~self.numbers
        for pair in self.decided:
            change[pair] = 0
        number = min(number, int(np.count_nonzero(change)))
        most = np.argpartition(-change, number, axis=None)[:number] if number < change.size else np.arange(change.size)
        most = most[np.lexsort((most, -change.ravel()[most]))]
        return [divmod(int(position), len(self.tags)) for position in most]

    def facts(self) -> dict:
        """Return what was done, for a manifest."""
        rates = {} if self.rates is None else {"missing": self.rates.missing, "wrong": self.rates.wrong}
        digest = hashlib.md5(repr(self.labels()).encode()).hexdigest()
        return {**rates, "decided": len(self.decided), "labels": digest}

    def summary(self) -> str:
        """Describe in a few lines what was done."""
        lines = []
        if self.rates:
            missing = f"{self.rates.missing:.0%} of the pictures' true tags have no label"
            lines.append(f"estimated mistakes: {missing}, {self.rates.wrong:.0%} of the labels are wrong")
        likely, unlikely = self.cleaned > 0.5, self.cleaned < 0.1
        masks = (self.observed & ~likely, self.observed & unlikely, ~self.observed & likely & ~self.numbers)
        reduced, nearly_removed, added = (int(mask.sum()) for mask in masks)
        lines += [
            f"{counted(int(self.observed.sum()), 'label')} of {counted(len(self.ids), 'training picture')}",
            f"{counted(reduced, 'was', 'were')} reduced to 0.5 or less, {nearly_removed:,} of them to less than 0.1",
            f"{counted(added, 'label above 0.5 was', 'labels above 0.5 were')} added",
            f"{counted(len(self.decided), 'was', 'were')} decided by people",
        ]
        return "\n".join(lines)


def restricted(
    data: Path, by_md5: Mapping[tuple[str, str], bool], tables: Sequence[Mapping[tuple[str, str], bool]]
) -> set[str]:
    """Return the ids of the pictures of a data folder that must not be used with people's verdicts.

    Args:
        data: the data folder, all of whose splits are searched.
        by_md5: (MD5 of the picture's file, tag) ▶ whether it has the tag.
        tables: the same with ids, which count instead; later ones overrule.
    """
    of_tables = [Correction("", name, tag, answer, "", "") for table in tables for (name, tag), answer in table.items()]
    of_files = [Correction(name, "", tag, answer, "", "") for (name, tag), answer in by_md5.items()]
    merged = {(each.id, each.tag): each for each in of_tables}.values()
    return {*restricted_ids(data, Decisions(merged)), *restricted_ids(data, Decisions(of_files))}


def clean(run: Run, data: Path, rule: str, folds: int, options: list[str]) -> Cleaning:
    """Predict the training pictures of a data folder, and clean their labels by a rule.

    Args:
        run: the run that predicts (`halved`), or whose configuration the networks of the folds get (`posterior`).
        data: folder made by download.py, whose tags the run has.
        rule: one of `label_rules.RULES`.
        folds: number of networks to train for the rule `posterior`.
        options: further options of train.py for these networks.

    Raises:
        InputError: as `out_of_fold`; or the data has no tags, or has been cleaned before.
    """
    outputs = run.outputs_for(data)
    run = replace(run, tags=[run.tags[output] for output in outputs])
    names = [tag.name for tag in run.tags]
    ids, md5s, rows = zip(*((record.id, record.md5, record.labels) for record in records.read(data, "train")), strict=True)
    labels = np.zeros((len(ids), len(names)), np.float32)
    for target, row in zip(labels, rows, strict=True):
        target[list(row)] = list(row.values())
    numbers = np.array([tag.category in (NUMBER, RATING) for tag in run.tags])  # what a picture has is known of both
    if numbers.all():
        raise InputError(f"{data} has only columns of numbers: clean.py cleans tags")
    made = files.read_json(data / "manifest.json").get("relabelled") or {}
    if "rule" in made:
        raise InputError(f"{data} has been cleaned already: give the original folder as --data, {made['from']['data']}")
    observed = (labels > 0) & ~numbers
    if rule == "halved":
        tagger = Tagger.open(run.folder)
        scores = score.score(tagger.network, data, "train", run.config, tagger.temperatures, outputs=outputs)
        probability, rates = scores.probability, None
        cleaned = label_rules.halved(observed, probability, tagger.thresholds[outputs])
    else:
        probability = out_of_fold(run, data, list(ids), folds, options)
        rates = label_rules.estimate_noise_rates(observed[:, ~numbers], probability[:, ~numbers])
        if label_rules.MAX_RATE in (rates.missing, rates.wrong):
            say("the networks are too uncertain to estimate the rates of mistakes: train with more epochs or more pictures")
        cleaned = label_rules.posterior(observed, probability, rates)
    cleaned = np.where(numbers, labels, cleaned)
    return Cleaning(names, list(ids), list(md5s), numbers, observed, probability, cleaned, rates)
