"""Runs side by side on the same pictures.

Every run is resampled alike (the resamples depend on the groups alone), so that what makes a set of pictures easy or hard
for all of them drops out of their differences.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from command import InputError, say
from dataset import records
from model import metrics, resampling
from model.evaluation import bounded_interval, number, run_figures, score, vectors_of
from model.predict import Tagger

SHOWN = (
    "average_precision_macro",
    "auc_roc_macro",
    "average_precision_micro",
    "auc_roc_micro",
    "f1_macro",
    "f1_micro",
    "top_n_iou",
    "expected_calibration_error",
    "brier",
)
MOVED_SHOWN = 5  # tags, of each direction


def compare(taggers: list[Tagger], data: Path, split: str) -> str:
    """Evaluate runs on one split and write `comparison.json` into the first one's folder.

    Returns:
        A table of the figures, of each run's difference to the first with its interval, and the tags that moved.

    Raises:
        InputError: a run is of other tags than the data folder, or is given twice.
    """
    names = [str(tagger.run.folder) for tagger in taggers]
    if len(set(names)) < len(names):
        raise InputError(f"a run is given twice: {', '.join(names)}")
    found = []
    for name, tagger in zip(names, taggers, strict=True):
        say(f"{name} on the {split} split of {data}")
        tagger, scores = score(tagger, data, split, tagger.temperature)
        vectors = vectors_of(replace(taggers[0].run, tags=tagger.run.tags), data)  # the same for all
        found.append(run_figures(tagger, scores, vectors)[0])
    tags = [tag.name for tag in tagger.run.tags]
    result = {"data": str(data), "split": split, "images": len(scores.ids), "first": names[0], "runs": {}}
    for name, figures in zip(names, found, strict=True):
        shared = [key for key in metrics.DEFINITIONS if key in figures.values and key in found[0].values]
        result["runs"][name] = {
            "figures": {key: [number(figures.values[key]), *bounded_interval(figures.values[key])] for key in shared}
        }
        if figures is not found[0]:
            differences = {key: difference(figures.values[key] - found[0].values[key]) for key in shared}
            moved = figures.by_tag["average_precision"] - found[0].by_tag["average_precision"]
            result["runs"][name] |= {
                "differences": differences,
                "moved_tags": moved_tags(tags, moved, scores.labels, scores.groups),
            }
    records.write_json(taggers[0].run.folder / "comparison.json", result)
    return table(result) + f"\nDetails: {names[0]}/comparison.json"


def difference(values: np.ndarray) -> list[float | None]:
    """A difference of figures and its interval."""
    low, high = resampling.interval(values)
    return [number(values), number(np.array([low])), number(np.array([high]))]


def moved_tags(tags: list[str], differences: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> list[dict]:
    """Tags whose interval of the difference in average precision leaves out 0, the largest gain first.

    Args:
        differences: (tags, 1 + resamples).
        labels, groups: of the images; see `resampling.tag_intervals`.
    """
    intervals = resampling.tag_intervals(differences, labels, groups)
    moved = np.flatnonzero((intervals[:, 0] > 0) | (intervals[:, 1] < 0))
    rows = [{"tag": tags[tag], "difference": difference(differences[tag])} for tag in moved]
    return sorted(rows, key=lambda row: -row["difference"][0])


def table(result: dict) -> str:
    """What `comparison.json` says, in brief, for a terminal."""
    runs = result["runs"]
    letters = {name: chr(ord("A") + number % 26) for number, name in enumerate(runs)}
    lines = [f"{result['split']} split of {result['data']}, {result['images']:,} images"]
    lines += [f"  {letter}  {name}" for name, letter in letters.items()]
    others = list(runs)[1:]
    heads = "".join(f"{f'{letters[name]} - A':>10}  {'95 % range':<18}" for name in others)
    lines.append(f"{'':<32}{''.join(f'{letter:>8}' for letter in letters.values())}{heads}")
    for key in SHOWN:
        if runs[result["first"]]["figures"].get(key, [None])[0] is None:
            continue
        values = "".join(f"{run['figures'][key][0]:>8.3f}" for run in runs.values())
        changes = ""
        for name in others:
            change, low, high = runs[name]["differences"][key]
            sure = "*" if low > 0 or high < 0 else " "
            changes += f"{change:>+10.3f}{sure} {f'{low:+.3f} to {high:+.3f}':<18}"
        lines.append(f"{metrics.DEFINITIONS[key].title:<32}{values}{changes}".rstrip())
    lines.append("* the range leaves out 0")
    for name in others:
        moved = runs[name]["moved_tags"]
        gained = [row for row in moved if row["difference"][0] > 0]
        lost = [row for row in moved if row["difference"][0] < 0][::-1]
        lines.append(
            f"{letters[name]} - A: {len(gained)} tags gained and {len(lost)} lost average precision by more than chance"
        )
        for word, rows in (("gained", gained), ("lost", lost)):
            if rows:
                shown = ", ".join(f"{row['tag']} {row['difference'][0]:+.2f}" for row in rows[:MOVED_SHOWN])
                lines.append(f"  {word}: {shown}{', …' if len(rows) > MOVED_SHOWN else ''}")
    return "\n".join(lines)
