"""Proposed rules about tags: those of the board, or rules learned from the training labels.

Tag A implies B if B is in nearly all training pictures with A. How many are enough is judged by the lower end of the 95 %
confidence interval of the share (Wilson, J. Am. Stat. Assoc. 22, 1927): it has to be at least `AT_LEAST`, which a tag
reaches with `MIN_PICTURES` pictures without an exception. Variants of one picture count as one picture together, because
they are not independent evidence.

Implications are accepted one by one, the best supported first. One is left out if it would close a circle, or if a pair
that follows from it and earlier ones is not supported by the labels itself. So of two tags that imply each other, the better
supported direction remains, and no conclusion is weaker than the rules.
"""

from array import array
from collections.abc import Iterable, Sequence

import numpy as np

from common.errors import say
from dataset.implications import IMPLIES, ONE_OF, Rule, closure, contradiction, implied_pairs, way_from
from dataset.records import NUMBER, RATING, Tag

AT_LEAST = 0.9
Z = 1.96  # of a 95 % confidence interval
MAX_TOGETHER = 0.02  # share of the pictures of a group that may have two of its tags: labels have errors

# Groups of which at most one holds, as boards name them.
KNOWN_GROUPS = {
    "number of characters": ("solo", "duo", "trio", "group", "zero_pictured", "no_humans"),
    "number of girls": ("1girl", "2girls", "3girls", "4girls", "5girls", "6+girls", "multiple_girls"),
    "number of boys": ("1boy", "2boys", "3boys", "4boys", "5boys", "6+boys", "multiple_boys"),
    "number of others": ("1other", "2others", "3others", "4others", "5others", "6+others", "multiple_others"),
}


class TrainingLabels:
    """The labels of the training pictures, in which variants of one picture count as one picture together.

    Args:
        pictures: the group of each picture and the indices of its tags.
        num_tags: number of tags.
    """

    def __init__(self, pictures: Iterable[tuple[str, Sequence[int]]], num_tags: int):
        numbers: dict[str, int] = {}
        groups, lengths, tags = array("q"), array("q"), array("i")
        for group, picture_tags in pictures:
            groups.append(numbers.setdefault(group, len(numbers)))
            lengths.append(len(picture_tags))
            tags.extend(picture_tags)
        self.num_groups, self.num_tags = len(numbers), num_tags
        self._group = np.array(groups, np.int64)  # (pictures,)
        self._tags = np.array(tags, np.int32)  # (labels,)
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])  # (pictures + 1,)
        picture = np.repeat(np.arange(len(groups)), lengths)
        order = np.argsort(self._tags, kind="stable")
        self._pictures_by_tag = np.split(picture[order], np.searchsorted(self._tags[order], np.arange(1, num_tags)))

    def pictures_with(self, tags: Iterable[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the pictures with any of some tags, and the weight of each: 1 over the number of its variants there."""
        pictures = np.unique(np.concatenate([self._pictures_by_tag[tag] for tag in tags]))
        _, variant_of, variants = np.unique(self._group[pictures], return_inverse=True, return_counts=True)
        return pictures, 1 / variants[variant_of]

    def together(self, tag: int) -> tuple[int, np.ndarray]:
        """Return the number of pictures with a tag, variants counted once, and how many of them have each tag, (tags,)."""
        pictures, weights = self.pictures_with([tag])
        lengths = self._starts[pictures + 1] - self._starts[pictures]
        positions = np.repeat(self._starts[pictures] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        counts = np.bincount(self._tags[positions], np.repeat(weights, lengths), self.num_tags)
        return round(weights.sum()), counts

    def share_with_one(self, tags: Sequence[int], tag: int | None = None) -> tuple[int, float]:
        """Return how many pictures have any of some tags, or one of them, and the share of these with one of them alone."""
        pictures, weights = self.pictures_with(tags if tag is None else [tag])
        counts = np.zeros(len(self._group), np.int64)
        for member in tags:
            counts[self._pictures_by_tag[member]] += 1
        total = weights.sum()
        return round(total), float(weights[counts[pictures] == 1].sum() / total) if total else 1.0


def wilson_bound(share: np.ndarray | float, pictures: int):
    """Return the lower end of the 95 % confidence interval of a share; 0 without pictures.

    Args:
        share: shares of the pictures, any shape.
        pictures: number of pictures.
    """
    if not pictures:
        return np.zeros_like(share)
    squared = Z * Z / pictures
    centre, spread = share + squared / 2, Z * np.sqrt(np.maximum(share * (1 - share), 0) / pictures + squared / pictures / 4)
    return (centre - spread) / (1 + squared)


def propose(tags: Sequence[Tag], labels: TrainingLabels) -> list[Rule]:
    """Return the rules for `implications.csv`, and say what was decided.

    Implications are those of the board, the column `implies` of the tags, if it has any; otherwise they are learned.

    Args:
        tags: the tags, with the board's implications.
        labels: the training labels, of the same tags.
    """
    if any(tag.implies for tag in tags):
        implications = _board_implications(tags, labels)
        say(f"implications of the board: {len(implications):,}{_example(implications)}")
    else:
        implications = learn(tags, labels)
        say(f"implications learned from the training labels: {len(implications):,}{_example(implications)}")
    return implications + _groups(tags, labels, implications)


def learn(tags: Sequence[Tag], labels: TrainingLabels, at_least: float = AT_LEAST) -> list[Rule]:
    """Return implications that the training labels support, the best supported first; see the top of this file.

    Ratings and columns of numbers take no part, and neither does a tag that nearly all pictures have: it needs no cause.
    """
    takes_part = np.array([tag.category not in (NUMBER, RATING) for tag in tags], bool)
    # Counted again below: kept, the counts of ten thousand tags with each other would take 800 MB.
    pictures_by_tag = [labels.together(index)[0] for index in range(len(tags))]
    everywhere = np.array([pictures >= at_least * labels.num_groups for pictures in pictures_by_tag], bool)
    candidates = []
    for index in np.flatnonzero(takes_part).tolist():
        pictures, counts = labels.together(index)
        share = counts / max(pictures, 1)
        bound = wilson_bound(share, pictures)
        for other in np.flatnonzero((bound >= at_least) & takes_part & ~everywhere).tolist():
            if other != index:
                numbers = round(float(share[other]), 4), round(float(bound[other]), 4)
                candidates.append(Rule(tags[index].name, IMPLIES, tags[other].name, pictures, *numbers))
    candidates.sort(key=lambda rule: (-(rule.at_least or 0), rule.pictures))
    return _without_conclusions(_accepted(candidates))


def _accepted(candidates: Sequence[Rule]) -> list[Rule]:
    """Return the rules, in order, that close no circle and whose conclusions are candidates as well."""
    supported = set(implied_pairs(candidates))
    implied: dict[str, set[str]] = {}
    causes: dict[str, set[str]] = {}
    accepted = []
    for rule in candidates:
        before, after = {rule.tag, *causes.get(rule.tag, ())}, {rule.other, *implied.get(rule.other, ())}
        if all((cause, effect) in supported for cause in before for effect in after):  # a tag and itself never are
            accepted.append(rule)
            for cause in before:
                implied.setdefault(cause, set()).update(after)
            for effect in after:
                causes.setdefault(effect, set()).update(before)
    return accepted


def _without_conclusions(rules: Sequence[Rule]) -> list[Rule]:
    """Return implications without circles, leaving out those that follow from the others."""
    implied = closure(implied_pairs(rules))
    return [
        rule for rule in rules if not any(rule.other in implied.get(other, ()) for other in implied[rule.tag] - {rule.other})
    ]


def _board_implications(tags: Sequence[Tag], labels: TrainingLabels) -> list[Rule]:
    """Return the board's implications with what the training labels show of them, and say which would close a circle."""
    index_of = {tag.name: index for index, tag in enumerate(tags)}
    candidates = []
    for index, tag in enumerate(tags):
        pictures, counts = labels.together(index)
        for other in (other for other in tag.implies if other in index_of):
            share = float(counts[index_of[other]]) / max(pictures, 1)
            bound = float(wilson_bound(share, pictures))
            candidates.append(Rule(tag.name, IMPLIES, other, pictures, round(share, 4), round(bound, 4)))
    direct: dict[str, list[str]] = {}
    rules = []
    for rule in sorted(candidates, key=lambda rule: (-(rule.at_least or 0), rule.pictures)):
        if way := way_from(rule.other, rule.tag, direct):
            say(f"left out, because it would close a circle: {' ▶ '.join([rule.tag, *way])}")
            continue
        direct.setdefault(rule.tag, []).append(rule.other)
        rules.append(rule)
    return _without_conclusions(rules)


def _groups(tags: Sequence[Tag], labels: TrainingLabels, implications: Sequence[Rule]) -> list[Rule]:
    """Return the known groups of which at most one holds, where the training labels agree, and say what they show."""
    index_of = {tag.name: index for index, tag in enumerate(tags) if tag.category not in (NUMBER, RATING)}
    implied = closure(implied_pairs(implications))
    rules = []
    for name, known in KNOWN_GROUPS.items():
        members = [tag for tag in known if tag in index_of]
        if len(members) < 2:
            continue
        numbers = [index_of[tag] for tag in members]
        pictures, alone = labels.share_with_one(numbers)
        shown = f"{', '.join(members)} ({1 - alone:.1%} of {pictures:,} training pictures have two or more)"
        if conflict := contradiction(implied, members):
            say(f"no group of which one holds, because {conflict[0]} implies {' and '.join(conflict[1:])}: {shown}")
        elif 1 - alone > MAX_TOGETHER:
            say(f"no group of which one holds: {shown}")
        else:
            say(f"a group of which at most one is predicted, the {name}: {shown}")
            for tag, index in zip(members, numbers, strict=True):
                pictures, alone = labels.share_with_one(numbers, index)
                bound = round(float(wilson_bound(alone, pictures)), 4)
                rules.append(Rule(tag, ONE_OF, name, pictures, round(alone, 4), bound))
    return rules


def _example(rules: Sequence[Rule]) -> str:
    """Return the best supported implication in words, for the end of a sentence."""
    if not rules:
        return ""
    rule = rules[0]
    return f", such as {rule.tag} ▶ {rule.other} ({rule.share:.0%} of {rule.pictures:,} pictures)"
