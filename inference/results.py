"""Results of test.py: the file, its tags in the form in which they are written, and what the options add."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from dataset.records import CATEGORIES
from inference.frames import Prediction
from inference.implied import ADD
from inference.tag_style import Style
from inference.tagger import Tagger


@dataclass(frozen=True)
class ResultBuilder:
    """Makes the result of a picture from its prediction.

    Attributes:
        style: form in which tags are written.
        threshold: lowest probability of a tag in the result; None for the run's own threshold of each tag.
        categories: names of the categories whose tags are in the result; None for all.
        uncertainty: add the standard deviation of each probability.
        file_name: write the file's name, without its suffix, as a tag.
        implied: one of `implied.MODES`: how tags that follow from others are treated.
    """

    style: Style
    threshold: float | None = None
    categories: list[str] | None = None
    uncertainty: bool = False
    file_name: bool = False
    implied: str = ADD

    def check(self, tagger: Tagger) -> None:
        """Check that the run has tags of the categories.

        Raises:
            InputError: it has none.
        """
        tags = tagger.run.tags
        names = {number: name for name, number in CATEGORIES.items()}
        present = {names[tag.category] for tag in tags}
        if self.categories and present.isdisjoint(self.categories):
            raise InputError(f"--category {' '.join(self.categories)}: the run's tags are {', '.join(sorted(present))}")

    def build(self, tagger: Tagger, prediction: Prediction) -> dict:
        """Return the result of a picture.

        Returns:
            `file`, `tags` (tag ▶ probability), with `uncertainty` also `uncertainty` (tag ▶ standard deviation), and for an
            animation `timeline`, the seconds and the tags of each frame.
        """
        categories = frozenset(CATEGORIES[name] for name in self.categories) if self.categories else None

        def select_tags(probability: np.ndarray) -> dict[str, float]:
            return tagger.choose(probability, self.threshold, None, categories, self.implied, self.style.exclude)

        tags, style = select_tags(prediction.probability), self.style
        if self.file_name:
            style = replace(style, prefix=(*style.prefix, Path(prediction.source.name).stem))
        result: dict[str, Any] = {"file": prediction.source.name, "tags": style.apply(tags)}
        if self.uncertainty:
            names = (tag.name for tag in tagger.run.tags)
            deviation = dict(zip(names, prediction.uncertainty.tolist(), strict=True))
            without_fixed_texts = replace(style, prefix=(), suffix=())
            result["uncertainty"] = without_fixed_texts.apply({name: round(deviation[name], 4) for name in tags})
        if len(prediction.seconds) > 1:
            frames = zip(prediction.seconds, prediction.scores["probability"], strict=True)
            result["timeline"] = [
                {"seconds": seconds, "tags": style.apply(select_tags(probability))} for seconds, probability in frames
            ]
        return result
