"""Compare runs on the same pictures.

Every run is resampled in the same way (the resamples depend on the groups alone). What makes a picture easy or hard for all
runs therefore drops out of their differences.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from common import files
from common.errors import InputError, counted, say
from evaluation.evaluate import bounded_interval, load_or_learn_vectors, rounded_figure, run_figures, score
from evaluation.metrics import bootstrap, metrics
from evaluation.ratings import without_ratings
from inference.tagger import Tagger

FIGURES_SHOWN = (
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
TAGS_SHOWN = 5  # of those that gained, and of those that lost
CHOSEN_SHOWN = 10  # of the tags that are compared on their own


def compare(taggers: list[Tagger], data: Path, split: str) -> str:
    """Evaluate runs on one split and write `comparison.json` into the first run's folder.

    Returns:
        The comparison as text, see `table`. Errors are those of `comparison`.
    """
    result = comparison(taggers, data, split)
    files.write_json(taggers[0].run.folder / "comparison.json", result)
    return table(result) + f"\nDetails: {result['first']}/comparison.json"


def comparison(taggers: list[Tagger], data: Path, split: str, chosen: Collection[str] = ()) -> dict:
    """Evaluate runs on one split, and return the content of `comparison.json`.

    Args:
        taggers: the runs; the others are compared with the first.
        data, split: the data folder and its split.
        chosen: tags whose average precision is also compared on its own, tag by tag.

    Raises:
        InputError: a run has other tags than the data folder, or is given twice.
    """
    names = [str(tagger.run.folder) for tagger in taggers]
    if len(set(names)) < len(names):
        raise InputError(f"a run is given twice. Received: {', '.join(names)}")
    figures_of_runs = []
    for name, tagger in zip(names, taggers, strict=True):
        say(f"{name} on the {split} split of {data}")
        outputs, scores = without_ratings(tagger.run, *score(tagger, data, split, tagger.temperatures))
        tags = [tagger.run.tags[output] for output in outputs]
        vectors = load_or_learn_vectors(taggers[0].run, tags, data)  # the same for all runs
        figures_of_runs.append(run_figures(tagger.run, tagger.thresholds[outputs], scores, vectors)[0])
    tag_names = [tag.name for tag in tags]
    first = figures_of_runs[0]
    columns = [index for index, name in enumerate(tag_names) if name in chosen and scores.labels[:, index].any()]
    result: dict[str, Any] = {"data": str(data), "split": split, "images": len(scores.ids), "first": names[0], "runs": {}}
    for name, figures in zip(names, figures_of_runs, strict=True):
        shared = [key for key in metrics.DEFINITIONS if key in figures.values and key in first.values]
        average, before = (of.by_tag["average_precision"] for of in (figures, first))  # (tags, 1 + resamples)
        result["runs"][name] = {
            "figures": {key: [rounded_figure(figures.values[key]), *bounded_interval(figures.values[key])] for key in shared}
        }
        if figures is not first:
            result["runs"][name] |= {
                "differences": {key: difference(figures.values[key] - first.values[key]) for key in shared},
                "moved_tags": changed_tags(tag_names, average - before, scores.labels, scores.groups),
            }
        if chosen:
            result["runs"][name]["chosen_tags"] = {tag_names[index]: rounded_figure(average[index]) for index in columns}
        if columns:
            values, earlier = (metrics.mean_over_tags(of[columns]) for of in (average, before))
            result["runs"][name]["chosen"] = [rounded_figure(values), *difference(values - earlier)]
    return result


def difference(values: np.ndarray) -> list[float | None]:
    """Return the difference of a figure between two runs and its interval, from (1 + resamples,)."""
    low, high = bootstrap.interval(values)
    return [rounded_figure(values), rounded_figure(np.array([low])), rounded_figure(np.array([high]))]


def changed_tags(tags: list[str], differences: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> list[dict]:
    """Return the tags with a difference in average precision whose interval excludes 0, the largest gain first.

    Args:
        tags: their names.
        differences: (tags, 1 + resamples).
        labels, groups: those of the images, see `bootstrap.tag_intervals`.
    """
    intervals = bootstrap.tag_intervals(differences, labels, groups)
    changed = np.flatnonzero((intervals[:, 0] > 0) | (intervals[:, 1] < 0))
    rows = [{"tag": tags[tag], "difference": difference(differences[tag])} for tag in changed]
    return sorted(rows, key=lambda row: -row["difference"][0])


def table(result: dict) -> str:
    """Return the comparison as text: each run's figures, their differences to the first run, and the tags that changed.

    Args:
        result: the content of `comparison.json`.
    """
    runs = result["runs"]
    letters = {name: chr(ord("A") + index % 26) for index, name in enumerate(runs)}
    others = list(runs)[1:]
    lines = [f"{result['split']} split of {result['data']}, {result['images']:,} images"]
    lines += [f"  {letter}  {name}" for name, letter in letters.items()]
    heads = "".join(f"{f'{letters[name]} - A':>10}  {'95 % range':<18}" for name in others)
    lines.append(f"{'':<32}{''.join(f'{letter:>8}' for letter in letters.values())}{heads}")
    for key in FIGURES_SHOWN:
        if runs[result["first"]]["figures"].get(key, [None])[0] is None:
            continue
        values = "".join(f"{run['figures'][key][0]:>8.3f}" for run in runs.values())
        changes = ""
        for name in others:
            change, low, high = runs[name]["differences"][key]
            star = "*" if low > 0 or high < 0 else " "
            changes += f"{change:>+10.3f}{star} {f'{low:+.3f} to {high:+.3f}':<18}"
        lines.append(f"{metrics.DEFINITIONS[key].title:<32}{values}{changes}".rstrip())
    lines += _chosen_lines(runs, result["first"])
    lines.append("* the range does not contain 0")
    for name in others:
        lines += _tag_lines(letters[name], runs[name]["moved_tags"])
    return "\n".join(lines)


def _chosen_lines(runs: dict, first: str) -> list[str]:
    """Return the mean of the chosen tags for each run, with its difference to the first run, and a line for each tag."""
    if "chosen" not in runs[first]:
        return []
    number = len(runs[first]["chosen_tags"])
    values = "".join(f"{run['chosen'][0]:>8.3f}" for run in runs.values())
    changes = ""
    for change, low, high in (run["chosen"][1:] for name, run in runs.items() if name != first):
        star = "*" if low > 0 or high < 0 else " "
        changes += f"{change:>+10.3f}{star} {f'{low:+.3f} to {high:+.3f}':<18}"
    name = f"mAP of {counted(number, 'corrected tag')}"
    lines = [f"{name:<32}{values}{changes}".rstrip()]
    for tag in list(runs[first]["chosen_tags"])[:CHOSEN_SHOWN]:
        lines.append(f"{f'  {tag}'[:31]:<32}" + "".join(f"{run['chosen_tags'][tag]:>8.3f}" for run in runs.values()))
    return lines


def _tag_lines(letter: str, rows: list[dict]) -> list[str]:
    gained = [row for row in rows if row["difference"][0] > 0]
    lost = [row for row in rows if row["difference"][0] < 0][::-1]
    counts = f"{counted(len(gained), 'tag')} gained and {len(lost)} lost"
    lines = [f"{letter} - A: {counts} average precision by more than chance"]
    for verb, changed in (("gained", gained), ("lost", lost)):
        if changed:
            shown = ", ".join(f"{row['tag']} {row['difference'][0]:+.2f}" for row in changed[:TAGS_SHOWN])
            lines.append(f"  {verb}: {shown}{', …' if len(changed) > TAGS_SHOWN else ''}")
    return lines
