"""Rules about tags: which tags imply others, and of which tags at most one holds.

A data folder and a run folder have them in `implications.csv`, which people may edit. Its columns:

tag       a tag of the folder
relation  `implies`: a picture with the tag has `other` too; `one of`: at most one tag of the group `other` holds
other     a tag, or the name of a group
pictures  number of training pictures with the tag, variants of one picture counted once; may be empty, as the next two
share     share of these pictures for which the rule holds
at_least  the share that is certain: the lower end of its 95 % confidence interval

The order of the rows does not matter. What follows from several rows, as in `kitten ▶ cat ▶ animal`, needs no row.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import decode_text, write_csv
from dataset.records import NUMBER, RATING, Tag

FILE = "implications.csv"
IMPLIES, ONE_OF = "implies", "one of"


@dataclass(frozen=True)
class Rule:
    """A row of `implications.csv`; the top of this file explains its columns."""

    tag: str
    relation: str
    other: str
    pictures: int | None = None
    share: float | None = None
    at_least: float | None = None


def write(folder: Path, rules: Iterable[Rule]) -> None:
    """Write `implications.csv` into a folder."""
    columns = [field.name for field in fields(Rule)]
    write_csv(folder / FILE, columns, (["" if cell is None else cell for cell in astuple(rule)] for rule in rules))


def read(folder: Path, tags: Sequence[Tag]) -> tuple[Rule, ...] | None:
    """Read and check `implications.csv` of a folder; return None if the folder has none.

    Args:
        folder: a data folder or a run folder.
        tags: the tags of the folder.

    Raises:
        InputError: the file cannot be read, or a row is wrong; the message names the row, and the header is row 1.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        reader = csv.DictReader(io.StringIO(decode_text(path.read_bytes()), newline=""))
        if missing := {"tag", "relation", "other"} - set(reader.fieldnames or ()):
            raise InputError(f"{path} lacks the column {min(missing)}: expected a header with tag,relation,other")
        rows = [(reader.line_num, row) for row in reader if any(row.values())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table in UTF-8: {error}") from None
    rules = {number: _parse(f"{path}, row {number}", row) for number, row in rows}
    _check_names(path, rules, tags)
    _check_circles(path, rules)
    _check_groups(path, rules)
    return tuple(rules.values())


def _parse(place: str, row: dict) -> Rule:
    """Return the rule of a row."""
    tag, relation, other = ((row.get(name) or "").strip() for name in ("tag", "relation", "other"))
    if relation not in (IMPLIES, ONE_OF):
        raise InputError(f"{place}: the relation has to be {IMPLIES!r} or {ONE_OF!r}. Received: {relation!r}")
    try:
        pictures, share, at_least = ((row.get(name) or "").strip() for name in ("pictures", "share", "at_least"))
        numbers = [float(text) if text else None for text in (share, at_least)]
        return Rule(tag, relation, other, int(pictures) if pictures else None, *numbers)
    except ValueError as error:
        raise InputError(f"{place}: pictures, share and at_least have to be numbers, or empty. Received: {error}") from None


def _check_names(path: Path, rules: Mapping[int, Rule], tags: Sequence[Tag]) -> None:
    """Raise InputError if a rule has a name that is not a tag that can have rules."""
    category_of = {tag.name: tag.category for tag in tags}
    for row, rule in rules.items():
        names = [rule.tag, rule.other] if rule.relation == IMPLIES else [rule.tag]
        for name in names:
            if name not in category_of:
                raise InputError(
                    f"{path}, row {row}: {name!r} is not one of the {len(tags):,} tags in {path.parent / 'tags.csv'}: "
                    "correct its spelling, or delete the row"
                )
            if category_of[name] in (NUMBER, RATING):
                kind = "a rating, of which one holds in any case" if category_of[name] == RATING else "a column of numbers"
                raise InputError(f"{path}, row {row}: {name!r} is {kind}: delete the row")
        if not rule.other:
            raise InputError(f"{path}, row {row}: the group of {rule.tag!r} has no name: fill in the column other")


def _check_circles(path: Path, rules: Mapping[int, Rule]) -> None:
    """Raise InputError for the first rule that closes a circle."""
    direct: dict[str, list[str]] = {}
    for row, rule in rules.items():
        if rule.relation != IMPLIES:
            continue
        if way := way_from(rule.other, rule.tag, direct):
            circle = " ▶ ".join([rule.tag, *way])
            raise InputError(f"{path}, row {row}: implications must not form a circle, {circle}: delete one of these rows")
        direct.setdefault(rule.tag, []).append(rule.other)


def _check_groups(path: Path, rules: Mapping[int, Rule]) -> None:
    """Raise InputError for a group of one tag, and for a tag that implies two tags of a group."""
    implied = closure(implied_pairs(rules.values()))
    for group, members in groups_of(rules.values()).items():
        row = next(row for row, rule in rules.items() if (rule.relation, rule.other) == (ONE_OF, group))
        if len(members) < 2:
            raise InputError(f"{path}, row {row}: the group {group!r} has one tag only: expected two or more with that name")
        if conflict := contradiction(implied, members):
            tag, one, other = conflict
            raise InputError(f"{path}, row {row}: of {group!r} at most one holds, but {tag!r} implies {one!r} and {other!r}")


def way_from(start: str, end: str, direct: Mapping[str, Iterable[str]]) -> list[str]:
    """Return the tags on a way of implications between two tags, both included; an empty list if there is none."""
    came_from: dict[str, str] = {start: start}
    waiting = [start]
    while waiting and end not in came_from:
        tag = waiting.pop()
        for other in direct.get(tag, ()):
            if other not in came_from:
                came_from[other] = tag
                waiting.append(other)
    if end not in came_from:
        return []
    way = [end]
    while way[-1] != start:
        way.append(came_from[way[-1]])
    return way[::-1]


def implied_pairs(rules: Iterable[Rule]) -> list[tuple[str, str]]:
    """Return (tag, implied tag) of the rules that are implications."""
    return [(rule.tag, rule.other) for rule in rules if rule.relation == IMPLIES]


def groups_of(rules: Iterable[Rule]) -> dict[str, list[str]]:
    """Return the name of each group of which at most one tag holds ▶ its tags."""
    groups: dict[str, list[str]] = {}
    for rule in rules:
        if rule.relation == ONE_OF and rule.tag not in groups.setdefault(rule.other, []):
            groups[rule.other].append(rule.tag)
    return groups


def closure(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """Return each tag that implies others ▶ all tags that it implies, directly or indirectly, without itself."""
    direct: dict[str, list[str]] = {}
    for tag, other in pairs:
        direct.setdefault(tag, []).append(other)
    implied = {}
    for tag in direct:
        reached, waiting = {tag}, [tag]
        while waiting:
            following = [other for other in direct.get(waiting.pop(), ()) if other not in reached]
            reached.update(following)
            waiting += following
        implied[tag] = reached - {tag}
    return implied


def among(rules: Iterable[Rule], names: Set[str]) -> list[Rule]:
    """Return the rules among some tags, with what follows from rules about others."""
    rules = list(rules)
    known = {(rule.tag, rule.other): rule for rule in rules if rule.relation == IMPLIES}
    pairs = ((tag, other) for tag, others in closure(known).items() for other in sorted(others))
    implications = [known.get(pair, Rule(pair[0], IMPLIES, pair[1])) for pair in pairs if names >= set(pair)]
    return implications + [rule for rule in rules if rule.relation == ONE_OF and rule.tag in names]


def contradiction(implied: Mapping[str, set[str]], members: Sequence[str]) -> tuple[str, str, str] | None:
    """Return a tag, and two tags of a group of which at most one holds and which both follow from it, if there is one.

    Args:
        implied: from `closure`.
        members: the tags of the group.
    """
    for tag in (*members, *implied):
        both = [member for member in members if member == tag or member in implied.get(tag, ())]
        if len(both) > 1:
            return tag, both[0], both[1]
    return None


def implied_indices(tags: Sequence[Tag], rules: Iterable[Rule] | None) -> list[list[int]]:
    """Return for each tag the indices of all tags that it implies.

    Args:
        tags: the tags.
        rules: the rules; None: those of the column `implies` of `tags.csv`. Names that are not among the tags are skipped.
    """
    pairs = [(tag.name, other) for tag in tags for other in tag.implies] if rules is None else implied_pairs(rules)
    implied, index_of = closure(pairs), {tag.name: index for index, tag in enumerate(tags)}
    return [sorted(index_of[other] for other in implied.get(tag.name, ()) if other in index_of) for tag in tags]


def raised(values: np.ndarray, implied: Sequence[Sequence[int]]) -> np.ndarray:
    """Return a copy in which each tag has at least the values of the tags that imply it.

    Args:
        values: labels or probabilities, (pictures, tags).
        implied: for each tag the indices of all tags that it implies, see `implied_indices`.
    """
    result = values.copy()
    for tag, others in enumerate(implied):
        for other in others:
            np.maximum(result[:, other], values[:, tag], out=result[:, other])
    return result


def lowered(values: np.ndarray, implied: Sequence[Sequence[int]]) -> np.ndarray:
    """Return a copy in which each tag has at most the values of the tags that it implies; see `raised`."""
    result = values.copy()
    for tag, others in enumerate(implied):
        if others:
            result[:, tag] = np.minimum(values[:, tag], values[:, others].min(axis=1))
    return result
