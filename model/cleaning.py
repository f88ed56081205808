"""A data folder's training labels, what networks and people say of them, and what becomes of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from command import InputError, say
from dataset import records
from dataset.boards import CATEGORIES
from model import label_rules, scoring
from model.folds import out_of_fold
from model.label_rules import Mistakes
from model.predict import Tagger
from model.runs import Run

LEAST = 0.02  # label that is kept: every tag of every picture has some
DECIMALS = 3


@dataclass
class Cleaning:
    """What becomes of the labels of a training split.

    Attributes:
        tags: names of the tags.
        ids, md5s: of the pictures, in the order of `records.read`.
        numbers: bool (tags,), which of the tags are numbers; their labels stay as they are.
        given: bool (pictures, tags), the labels as they are; of numbers none.
        probability: float32 (pictures, tags), what the networks say.
        cleaned: float32 (pictures, tags), the labels as they become, 0 to 1.
        rates: of mistakes among the labels, where the rule estimates them.
        decided: (picture, tag) pairs that people decided.
    """

    tags: list[str]
    ids: list[str]
    md5s: list[str]
    numbers: np.ndarray
    given: np.ndarray
    probability: np.ndarray
    cleaned: np.ndarray
    rates: Mistakes | None = None
    decided: set[tuple[int, int]] = field(default_factory=set)

    def decide(self, names: list[str], verdicts: Mapping[tuple[str, str], bool]) -> int:
        """Let people have the last word.

        Args:
            names: `ids` or `md5s`: what the verdicts call the pictures by.
            verdicts: (name of a picture, tag) ▶ whether it has the tag. Those of other pictures and tags do not count.

        Returns:
            How many count.
        """
        rows = {name: row for row, name in enumerate(names)}
        columns = {tag: column for column, tag in enumerate(self.tags) if not self.numbers[column]}
        known = {
            (rows[name], columns[tag]): answer for (name, tag), answer in verdicts.items() if name in rows and tag in columns
        }
        for pair, answer in known.items():
            self.cleaned[pair] = answer
        self.decided |= known.keys()
        return len(known)

    def labels(self) -> list[dict[int, float]]:
        """The labels as records hold them: of each picture, tag ▶ label."""
        # A number's label is a rank, and stays what it is.
        exact = [float if is_number else lambda label: round(float(label), DECIMALS) for is_number in self.numbers]
        kept = (np.flatnonzero((row >= LEAST) | self.numbers) for row in self.cleaned)
        return [{int(tag): exact[tag](row[tag]) for tag in tags} for row, tags in zip(self.cleaned, kept, strict=True)]

    def doubts(self, number: int) -> list[tuple[int, int]]:
        """The (picture, tag) pairs whose label changes most and that nobody has decided, the most doubtful first."""
        change = np.abs(self.cleaned - self.given) * ~self.numbers
        for pair in self.decided:
            change[pair] = 0
        number = min(number, int(np.count_nonzero(change)))
        most = np.argpartition(-change, number, axis=None)[:number] if number < change.size else np.arange(change.size)
        most = most[np.lexsort((most, -change.ravel()[most]))]
        return [divmod(int(position), len(self.tags)) for position in most]

    def facts(self) -> dict:
        """What was done, for a manifest."""
        rates = {} if self.rates is None else {"missing": self.rates.missing, "wrong": self.rates.wrong}
        digest = hashlib.md5(repr(self.labels()).encode()).hexdigest()
        return {**rates, "decided": len(self.decided), "labels": digest}

    def summary(self) -> str:
        """What was done, for people."""
        lines = []
        if self.rates:
            share = f"{self.rates.missing:.0%} of the tags that pictures have, and {self.rates.wrong:.0%} of those given"
            lines.append(f"estimated to be missing and to be wrong: {share}")
        sure, hardly = self.cleaned > 0.5, self.cleaned < 0.1
        added = ~self.given & sure & ~self.numbers
        less, least, added = (f"{int(pairs.sum()):,}" for pairs in (self.given & ~sure, self.given & hardly, added))
        lines += [
            f"{int(self.given.sum()):,} labels of {len(self.ids):,} training pictures",
            f"{less} count for a half or less, {least} of them for less than a tenth",
            f"{added} are added that count for more than a half",
            f"{len(self.decided):,} were decided by people",
        ]
        return "\n".join(lines)


def clean(run: Run, data: Path, rule: str, folds: int, options: list[str]) -> Cleaning:
    """Ask networks about the training labels of a data folder, and apply a rule.

    Args:
        run: the run that is asked, or whose configuration the networks have that are.
        data: folder made by download.py, of the run's tags.
        rule: one of `label_rules.RULES`.
        folds: networks to be trained for the rule `posterior`.
        options: train.py's, for them.

    Raises:
        InputError: as `out_of_fold`, or there is nothing to clean: no tags, or labels that were cleaned before.
    """
    outputs = scoring.outputs_for(run, data)
    run = replace(run, tags=[run.tags[output] for output in outputs])
    names = [tag.name for tag in run.tags]
    ids, md5s, rows = zip(*((record.id, record.md5, record.labels) for record in records.read(data, "train")), strict=True)
    labels = np.zeros((len(ids), len(names)), np.float32)
    for of_picture, row in zip(labels, rows, strict=True):
        of_picture[list(row)] = list(row.values())
    numbers = np.array([tag.category == CATEGORIES["number"] for tag in run.tags])
    if numbers.all():
        raise InputError(f"{data} has numbers alone: clean.py cleans tags")
    made = records.read_json(data / "manifest.json").get("relabelled") or {}
    if "rule" in made:
        raise InputError(f"{data} has been cleaned already: give what it was made from as --data, {made['from']['data']}")
    given = (labels > 0) & ~numbers
    if rule == "halved":
        tagger = Tagger.load(run.folder)
        said = scoring.score(
            tagger.network, data, "train", run.config, tagger.temperature, show_progress=True, outputs=outputs
        )
        probability, rates = said.probability, None
        cleaned = label_rules.halved(given, probability, tagger.thresholds[outputs])
    else:
        probability = out_of_fold(run, data, list(ids), folds, options)
        rates = label_rules.mistakes(given[:, ~numbers], probability[:, ~numbers])
        if label_rules.MOST in (rates.missing, rates.wrong):
            say("the networks are sure of too little to tell how often people are wrong: more epochs or pictures help")
        cleaned = label_rules.posterior(given, probability, rates)
    cleaned = np.where(numbers, labels, cleaned)
    return Cleaning(names, list(ids), list(md5s), numbers, given, probability, cleaned, rates)
