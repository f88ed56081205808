"""Tags that follow from others, and tags that exclude each other, in what is predicted.

With the tags whose probability reaches their threshold, `close` adds all tags that they imply. Of a group of which at most
one holds it leaves the most probable one, and with the others go the tags that imply them. What it returns is therefore
consistent: a tag never comes without the tags that it implies, and a group has at most one tag.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from common.numbers import log_odds, sigmoid
from dataset.implications import Rule, groups_of, implied_indices, lowered, raised
from dataset.records import Tag

ADD, CONSTRAIN, DROP = MODES = ("add", "constrain", "drop")


class TagLogic:
    """The rules about a run's tags.

    Args:
        tags: the tags.
        rules: the rows of `implications.csv`; None: the implications are those of the tags' own `implies`.

    Attributes:
        implied: for each tag the indices of all tags that it implies.
        groups: the indices of the tags of each group of which at most one holds.
    """

    def __init__(self, tags: Sequence[Tag], rules: Iterable[Rule] | None):
        index_of = {tag.name: index for index, tag in enumerate(tags)}
        self.implied = implied_indices(tags, rules)
        groups = groups_of(rules or ()).values()
        self.groups = [[index_of[name] for name in group if name in index_of] for group in groups]

    def close(self, probability: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Make predicted tags consistent; see the top of this file.

        Args:
            probability: float (pictures, tags).
            chosen: the tags whose probability reaches their threshold, bool (pictures, tags).

        Returns:
            The probabilities, those of added tags at least those of the tags that they follow from, and the predicted tags;
            in the shapes of the arguments.
        """
        values, closed = self._with_implied(probability, chosen)
        if self.groups:
            values, closed = self._with_implied(probability, chosen & ~self._excluded(values, closed))
        return values, closed

    def constrained(self, probability: np.ndarray) -> np.ndarray:
        """Return probabilities that obey all implications: each tag's is at least those of the tags that imply it.

        They are midway, in log-odds, between two solutions: every tag raised to the most probable one that implies it, and
        every tag lowered to the least probable one that it implies. On validation splits the three differ by less than
        chance; of raising alone little would remain but what `close` does anyway (docs/results.md).

        Args:
            probability: float (pictures, tags).
        """
        up, down = raised(probability, self.implied), lowered(probability, self.implied)
        midway = sigmoid((log_odds(up.astype(np.float64)) + log_odds(down.astype(np.float64))) / 2).astype(probability.dtype)
        # Raised once more, because log-odds are clipped and rounded.
        return raised(np.where(up == down, probability, midway), self.implied)

    def without_implied(self, chosen: Sequence[int]) -> list[int]:
        """Return the tags that do not follow from others of them. Of tags that imply each other, the first one stays."""

        def follows(position: int, tag: int) -> bool:
            causes = ((place, other) for place, other in enumerate(chosen) if tag in self.implied[other])
            return any(place < position or other not in self.implied[tag] for place, other in causes)

        return [tag for position, tag in enumerate(chosen) if not follows(position, tag)]

    def _with_implied(self, probability: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the probabilities and the chosen tags with the tags that the chosen ones imply."""
        values, closed = probability.copy(), chosen.copy()
        for tag in np.flatnonzero(chosen.any(axis=0)).tolist():
            for other in self.implied[tag]:
                closed[:, other] |= chosen[:, tag]
        for tag in np.flatnonzero(closed.any(axis=0)).tolist():  # an added tag may be more probable than its cause
            for other in self.implied[tag]:
                np.maximum(values[:, other], probability[:, tag], out=values[:, other], where=closed[:, tag])
        return values, closed

    def _excluded(self, values: np.ndarray, closed: np.ndarray) -> np.ndarray:
        """Return the tags that are not the best of their group, and the tags that imply them: bool (pictures, tags).

        All groups are judged by the same probabilities, so that their order has no influence.
        """
        excluded = np.zeros_like(closed)
        for group in self.groups:
            candidates = np.where(closed[:, group], values[:, group], -1)
            others = np.arange(len(group)) != candidates.argmax(axis=1)[:, np.newaxis]  # (pictures, tags of the group)
            excluded[:, group] |= others & closed[:, group]
        causes = [(tag, others) for tag, others in enumerate(self.implied) if others]
        direct = excluded.copy()
        for tag, others in causes:
            excluded[:, tag] |= direct[:, others].any(axis=1)
        return excluded
