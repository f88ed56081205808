"""One round of learning from corrections: a data folder with the corrected labels, a run on it, and the comparison.

The folder of round N is `data/NAME-N`, a copy of the folder whose labels are corrected. The run `runs/NAME-N` starts from the
weights of the earlier run. Both keep their names, so that an interrupted round continues with the labels that it began with.
The comparison is on the test split of the original folder, which no correction changes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common import files
from common.errors import InputError, say
from common.processes import run_script
from dataset import corrections, records
from dataset.corrections import Decisions
from dataset.relabel import data_fingerprint, relabel
from evaluation.compare import comparison, table
from inference.tagger import Tagger
from labels.collecting import Collected
from model import run_folder
from model.config import Config, as_options
from model.run_folder import Run

RESULT = "improvement.json"  # in the new run folder, when the round is complete
COPIES = 3  # how often an epoch draws a corrected picture
FEW_LABELS = 0.01  # of the training labels: if fewer change, only the output layer is trained


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
        return files.read_json(self.data / "manifest.json")["relabelled"]


def base_of(run: Run) -> Path:
    """Return the data folder whose labels are corrected: that of the run, or the one that an earlier round corrected."""
    data = Path(run.data)
    while "corrections" in (made := files.read_json(data / "manifest.json").get("relabelled") or {}):
        data = Path(made["from"]["data"])
    return data


def unfinished(run: Run) -> Round | None:
    """Return the round that started from a run and was interrupted, or None."""
    base, name = base_of(run), _name(run)
    for data in sorted(base.parent.glob(f"{name}-*")):
        number = data.name.removeprefix(f"{name}-")
        this = Round(run.folder, base, data, run.folder.with_name(data.name))
        if not number.isdecimal() or not (data / "manifest.json").exists() or (this.run / RESULT).exists():
            continue
        if (this.facts or {}).get("run") == run.folder.name:
            return this
    return None


def _name(run: Run) -> str:
    """Return the name of the first run of a series of rounds."""
    return re.sub(r"-\d+$", "", run.folder.name) if (run.folder / RESULT).exists() else run.folder.resolve().name
