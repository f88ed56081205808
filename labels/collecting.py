"""Collecting people's corrections, from all places where people make them, into the table beside the data folder."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common import files
from common.errors import counted, cut, say
from common.files import only_writer
from dataset import corrections, records
from dataset.corrections import Correction, time_of
from dataset.relabel import made_from
from labels import sidecar_edits
from labels.feedback import timed_verdicts
from labels.review import read_decisions

TAGS_SHOWN = 20
HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class Pictures:
    """The pictures of a data folder, without their pixels.

    Attributes:
        split, md5: id ▶ split and MD5.
        ids: MD5 ▶ id.
        labels: id ▶ names of its tags.
        tags: names of the tags that can be corrected: no numbers, no ratings.
        captions: id ▶ caption; empty unless the pictures have texts beside them.
        options: the options of download.py.
    """

    split: dict[str, str]
    md5: dict[str, str]
    ids: dict[str, str]
    labels: dict[str, frozenset[str]]
    tags: frozenset[str]
    captions: dict[str, str]
    options: dict


def read_pictures(data: Path) -> Pictures:
    """Read ids, MD5s and labels of all splits.

    Raises:
        InputError: the folder is damaged.
    """
    tags = records.read_tags(data / "tags.csv")
    split_of, md5_of, labels, captions = {}, {}, {}, {}
    options = files.read_json(data / "manifest.json").get("options") or {}
    with_captions = sidecar_edits.has_texts(options)
    for split in records.SPLITS:
        for record in records.read(data, split):
            split_of[record.id], md5_of[record.id] = split, record.md5
            labels[record.id] = frozenset(tags[tag].name for tag in record.tags)
            if with_captions:
                captions[record.id] = record.caption
    names = corrections.correctable((tag.name for tag in tags), (tag.category for tag in tags))
    ids = {md5: post_id for post_id, md5 in md5_of.items()}
    return Pictures(split_of, md5_of, ids, labels, frozenset(names), captions, options)


@dataclass(frozen=True)
class Collected:
    """All corrections of a data folder.

    Attributes:
        path: their table.
        table: all of them, the last one about each picture and tag.
        added: those among them whose decision was not in the table before.
        pictures: the pictures of the data folder.
    """

    path: Path
    table: list[Correction]
    added: list[Correction]
    pictures: Pictures

    def in_splits(self, *splits: str) -> list[Correction]:
        """Return the corrections of pictures of these splits and of tags of the data folder."""
        known = self.pictures
        return [each for each in self.table if each.tag in known.tags and known.split.get(each.id) in splits]

    def changes_label(self, correction: Correction) -> bool:
        """Return whether a correction contradicts the data folder's label."""
        return correction.has_tag != (correction.tag in self.pictures.labels[correction.id])

    def summary(self) -> str:
        """Describe what was corrected, in a few lines."""
        placed = self.in_splits(*records.SPLITS)
        changing = sum(map(self.changes_label, placed))
        pictures = len({correction.id for correction in placed})
        known, added = set(placed), set(self.added)
        lines = [
            f"{counted(len(placed), 'correction')} of {counted(pictures, 'picture')} in {self.path}, "
            f"{len(known & added):,} of them new; {counted(changing, 'contradicts', 'contradict')} the labels of the board"
        ]
        if placed:
            lines += _table(placed)
        if held_out := len(self.in_splits(*HELD_OUT)):
            lines.append(
                f"{counted(held_out, 'is', 'are')} about validation or test pictures: such corrections stay in the table, "
                "and neither training nor the comparison uses them"
            )
        if unplaced := [each for each in self.table if each not in known]:
            example = f"{cut(unplaced[0].id or unplaced[0].md5)}, {cut(unplaced[0].tag)}"
            lines.append(
                f"{len(unplaced):,} could not be placed, {len(added.intersection(unplaced)):,} of them new: "
                f"the data folder has no such picture, or no such tag that can be corrected, such as {example}; such "
                "corrections stay in the table for later downloads"
            )
        return "\n".join(lines)


def _table(placed: Sequence[Correction]) -> list[str]:
    """Return the number of corrections of each tag, as the lines of a table."""
    added, rejected = (Counter(each.tag for each in placed if each.has_tag is kind) for kind in (True, False))
    order = sorted(added.keys() | rejected.keys(), key=lambda tag: (-added[tag] - rejected[tag], tag))
    rows = [("tag", "added", "rejected")]
    rows += [(cut(tag), f"{added[tag]:,}", f"{rejected[tag]:,}") for tag in order[:TAGS_SHOWN]]
    rows.append(("all tags", f"{added.total():,}", f"{rejected.total():,}"))
    width = max(len(name) for name, *_ in rows)
    lines = [f"  {name:<{width}}{yes:>9}{no:>10}" for name, yes, no in rows]
    if len(order) > TAGS_SHOWN:
        lines.insert(-1, f"  … and {counted(len(order) - TAGS_SHOWN, 'other tag')}")
    return lines


def table_of(data: Path) -> Path:
    """Return the table of corrections of a data folder, or of the download that clean.py or improve.py made it from."""
    while (data / "manifest.json").exists() and (made := made_from(data)):
        data, _ = made
    return corrections.table_path(data)


def collect(data: Path, events: Sequence[Path], decisions: Sequence[Path]) -> Collected:
    """Read corrections from everywhere, add them to the table, and return all.

    The last one about each picture and tag counts. The table is complete before and after, whenever the command is stopped.

    Args:
        data: the data folder whose labels are corrected.
        events: files of marks that serve.py and the page of improve.py write.
        decisions: tables with the columns id, tag and decision.

    Raises:
        InputError: a file is missing or is of another kind.
    """
    path, pictures = table_of(data), read_pictures(data)
    new: list[Correction] = []
    for file in events:
        if not (marks := timed_verdicts(file)):
            say(f"{file} has no marks")
        for (md5, tag), (has_tag, seconds) in marks.items():
            new.append(Correction(md5, "", tag, has_tag, file.name, time_of(seconds)))
    for file in decisions:
        answers, time = read_decisions(file), time_of(file.stat().st_mtime)
        new += [Correction("", post_id, tag, has_tag, file.name, time) for (post_id, tag), has_tag in answers.items()]
    if sidecar_edits.has_texts(pictures.options):
        known = [_identified(each, pictures) for each in corrections.read_table(path)]
        new += sidecar_edits.edits(pictures.options, pictures.labels, pictures.tags, pictures.captions, known)
    with only_writer(path.parent, f".lock-{path.stem}"):
        before = corrections.merge([], (_identified(each, pictures) for each in corrections.read_table(path)))
        table = corrections.merge(before, (_identified(each, pictures) for each in new))
        if table:
            corrections.write_table(path, table)
    decided = {_decision(each) for each in before}
    return Collected(path, table, [each for each in table if _decision(each) not in decided], pictures)


def _decision(correction: Correction) -> tuple[str, str, str, bool]:
    """Return a correction without where it came from: the same mark in a newer file is not new."""
    return correction.md5, correction.id, correction.tag, correction.has_tag


def _identified(correction: Correction, pictures: Pictures) -> Correction:
    """Return a correction with both the id and the MD5 of its picture, if the data folder has it."""
    known = correction.id in pictures.split  # of two posts with the same file, the one that it names
    post_id = correction.id if known else pictures.ids.get(correction.md5) or correction.id
    return replace(correction, id=post_id, md5=correction.md5 or pictures.md5.get(post_id, ""))
