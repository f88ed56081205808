"""One round of learning from corrections: a data folder with the corrected labels, a run on it, and the comparison.

The folder of round N is `data/NAME-N`, a copy of the folder whose labels are corrected. The run `runs/NAME-N` starts from
the weights of the earlier run. The folder appears when it is complete, so that an interrupted round goes on with the labels
that it began with. The comparison is on the test split of the original folder, which no correction changes. Where
corrections leave a test picture out, it is on that of the new folder.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from common import files
from common.errors import command, counted, cut, say
from common.processes import run_script
from dataset import corrections, records
from dataset.build.restricted import REASON, restricted_ids
from dataset.corrections import Decisions
from dataset.relabel import data_fingerprint, made_from, relabel
from evaluation.compare import comparison, table
from inference.tagger import Tagger
from labels.collecting import Collected
from model import run_folder
from model.config import Config, as_options
from model.run_folder import Run

RESULT = "improvement.json"  # in the new run folder, when the round is complete
COPIES = 2  # how often an epoch draws a corrected picture
FEW_LABELS = 0.01  # of the training labels: if fewer change, only the output layer is trained
RATE = 0.25  # learning rate, as a fraction of that of the earlier run
# A cycle has three epochs, and more where a few pictures are an epoch.
EPOCHS, MIN_UPDATES, MAX_EPOCHS = 3, 200, 40
NOTHING = corrections.digest_of([])


@dataclass(frozen=True)
class Round:
    """The folders of a round.

    Attributes:
        before: folder of the run that it starts from.
        base: data folder whose labels are corrected.
        data: data folder with the corrected labels.
        run: folder of the new run.
    """

    before: Path
    base: Path
    data: Path
    run: Path

    @property
    def facts(self) -> dict:
        """What the data folder was made from: `run`, `corrections` (a hash), `tags` (their names) and `changed`."""
        made = made_from(self.data)
        return made[1] if made else {}


def base_of(run: Run) -> Path:
    """Return the data folder whose labels are corrected: that of the run, or the one that an earlier round corrected."""
    data = Path(run.data)
    while (made := made_from(data)) and "corrections" in made[1]:
        data = made[0]
    return data


def start_of(run: Run) -> Run:
    """Return the run itself, or the one that its round started from, if the round is not complete without the comparison."""
    data = Path(run.data)
    made = made_from(data)
    is_round = made and "run" in made[1] and data.name == run.folder.resolve().name
    if not made or not is_round or (run.folder / RESULT).exists():
        return run
    return run_folder.load(run.folder.with_name(made[1]["run"]))


def unfinished(run: Run) -> Round | None:
    """Return the round that started from a run and was interrupted, or None."""
    return next((each for each in _rounds(run) if not (each.run / RESULT).exists()), None)


def learned_by(run: Run, collected: Collected) -> Round | None:
    """Return the complete round that started from a run with these very corrections and pictures, or None."""
    base = base_of(run)
    tags, expected = _tags(base), {"corrections": _digest(base, collected), "images": _images(base)}
    for each in _rounds(run):
        is_same = expected.items() <= each.facts.items() and _tags(each.data) == tags
        if is_same and (each.run / RESULT).exists() and (each.run / "model.keras").exists():
            return each
    return None


def _rounds(run: Run) -> Iterator[Round]:
    """Yield the rounds that started from a run and whose data folder is complete."""
    base, name = base_of(run), _name(run)
    for data in sorted(base.parent.glob(f"{name}-*")):
        number = data.name.removeprefix(f"{name}-")
        this = Round(run.folder, base, data, run.folder.with_name(data.name))
        if number.isdecimal() and (data / "manifest.json").exists() and this.facts.get("run") == run.folder.resolve().name:
            yield this


def _name(run: Run) -> str:
    """Return the name of the first run of a series of rounds."""
    return re.sub(r"-\d+$", "", run.folder.name) if (run.folder / RESULT).exists() else run.folder.resolve().name


def changed_data(run: Run, base: Path) -> str:
    """Return in words how a data folder has changed since a run was trained on it; empty if it has not."""
    made = made_from(Path(run.data))
    trained_on = made[1].get("images") if made else run.train_images
    images, tags = _images(base), _tags(base)
    known = {tag.name for tag in run.tags}
    new = sum(tag not in known for tag in tags)
    if trained_on in (None, images) and not new:  # rounds of earlier versions do not say
        return ""
    added = f", {counted(new, 'new tag')}" if new else ""
    return f"{counted(images, 'training picture')} instead of {trained_on or 0:,}{added}"


def _images(data: Path) -> int:
    """Return the number of training pictures of a data folder."""
    return files.read_json(data / "manifest.json")["splits"]["train"]["written"]


def _tags(data: Path) -> list[str]:
    return [tag.name for tag in records.read_tags(data / "tags.csv")]


def _digest(base: Path, collected: Collected) -> str:
    """Return a hash of the corrections that a round learns, and of the pictures that it leaves out."""
    return corrections.digest_of(collected.in_splits("train"), restricted_ids(base, Decisions(collected.table)))


def begin(run: Run, collected: Collected) -> Round | None:
    """Write the data folder of the next round; return None if the run has learned all corrections and pictures already.

    Args:
        run: the run that the round starts from.
        collected: the corrections of the data folder `base_of(run)`.
    """
    base, corrected = base_of(run), collected.in_splits("train")
    digest = _digest(base, collected)
    made = made_from(Path(run.data))
    changed = changed_data(run, base)
    if not changed and (digest == NOTHING or (made and made[1].get("corrections") == digest)):
        return None
    if changed:
        say(f"{base} has changed since {run.folder} was trained: {changed}")
    number = 2
    name = _name(run)
    while any((folder.with_name(f"{name}-{number}")).exists() for folder in (base.parent / name, run.folder)):
        number += 1
    new = Round(run.folder, base, base.parent / f"{name}-{number}", run.folder.with_name(f"{name}-{number}"))
    facts: dict[str, Any] = {"corrections": digest, "run": run.folder.resolve().name, "added": bool(changed)}
    facts |= {"tags": sorted({each.tag for each in corrected}), "images": _images(base)}
    write_data(base, new.data, Decisions(collected.table), facts)
    return new


def write_data(base: Path, out: Path, decisions: Decisions, facts: dict) -> None:
    """Write a copy of a data folder whose training labels are corrected; corrected pictures are stored `COPIES` times.

    Args:
        base: the data folder.
        out: the new one.
        decisions: all corrections. Those of the labels of training pictures are applied, and all decide which pictures of
            all splits are left out, see `restricted_ids`.
        facts: `corrections`, a hash of them, and more that the manifest of the new folder holds under `relabelled`.
    """
    tags = records.read_tags(base / "tags.csv")
    rows = corrections.correctable((tag.name for tag in tags), (tag.category for tag in tags))
    left_out = restricted_ids(base, decisions)
    labels, copies, changed, total = [], [], 0, 0
    for record in records.read(base, "train"):
        decided = {tag: has for tag, has in decisions.decided_about(record.id, record.md5).items() if tag in rows}
        labels.append(corrections.corrected_labels(record.labels, decided, rows))
        copies.append(0 if record.id in left_out else COPIES if decided else 1)
        if record.id not in left_out:
            changed += sum((rows[tag] in record.tags) != has_tag for tag, has_tag in decided.items())
            total += len(labels[-1])
    number = counted(copies.count(COPIES), "corrected picture is", "corrected pictures are")
    if left_out:
        by_split = Counter(left_out.values())
        splits = ", ".join(f"{count:,} {split}" for split, count in by_split.items())
        facts = {"left_out": by_split} | facts
        example = f"such as {min(left_out)}: {REASON}"
        say(f"{counted(len(left_out), 'picture is', 'pictures are')} left out ({splits}), {example}")
    changes = counted(changed, "training label changes", "training labels change")
    say(f"{out}: {changes}, of {total:,}; {number} drawn {COPIES} times an epoch")
    relabel(base, out, labels, {"from": data_fingerprint(base), "changed": changed} | facts, copies, left_out)


def few_changes(data: Path) -> bool:
    """Return whether so few labels of a corrected data folder changed that the output layer alone is trained."""
    manifest = files.read_json(data / "manifest.json")
    changed = manifest["relabelled"]["changed"]
    return not manifest["relabelled"].get("added") and changed < FEW_LABELS * manifest["splits"]["train"]["labels"]


def training_config(run: Run, few: bool) -> Config:
    """Return the configuration of the new run: a short cycle from the weights of the earlier run.

    Args:
        run: the earlier run.
        few: see `few_changes`. The trunk is then frozen, and only the output layer trained, which takes seconds. Otherwise,
            the trunk is frozen for the first epoch and then trained as well.
    """
    epochs = min(max(EPOCHS, math.ceil(MIN_UPDATES / run.updates_per_epoch)), MAX_EPOCHS)
    return replace(
        run.config,
        init=str(run.folder),
        init_output=True,
        teacher="",
        epochs=epochs,
        learning_rate=RATE * run.config.learning_rate,
        freeze=few,
        unfreeze_after=0 if few else 1,
    )


def finish(this: Round, options: Sequence[str]) -> str:
    """Train the run of a round, or go on with it, and return its comparison with the earlier run as text.

    Args:
        this: the round, whose data folder is complete.
        options: further options of train.py.

    Raises:
        InputError: training failed.
    """
    before = run_folder.load(this.before)
    if before.added_outputs():
        names = ", ".join(sorted(before.added_outputs()))
        say(f"{this.run} does not get the tags that train.py --teach added to {this.before}: teach them again: {names}")
    if not (this.run / "model.keras").exists():
        settings = as_options(training_config(before, few_changes(this.data)))
        run_script("train.py", "--data", str(this.data), "--run", str(this.run), *settings, *options)
    known = {tag.name for tag in before.tags}
    if new := [tag.name for tag in records.read_tags(this.base / "tags.csv") if tag.name not in known]:
        files.write_json(this.run / RESULT, {"new_tags": new})
        advice = command("python", "eval.py", this.run)
        lacks = f"{this.before} lacks {counted(len(new), 'tag')} such as {cut(new[0])}"
        return f"{lacks}, so that the two are not compared. Next: {advice}"
    taggers = [Tagger.open(folder) for folder in (this.before, this.run)]
    compared = this.data if "test" in this.facts.get("left_out", {}) else this.base  # both runs on the same pictures
    result = comparison(taggers, compared, "test", this.facts["tags"])
    files.write_json(this.run / RESULT, result)
    return f"{table(result)}\nDetails: {this.run / RESULT}"
