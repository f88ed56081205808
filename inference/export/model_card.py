"""The model card of an export: what a run was trained on, what it is worth, and how it is used, from the run's own files."""

import json
from pathlib import Path

from common.files import atomic_write, read_json
from dataset.records import CATEGORIES, NUMBER, RATING
from inference.export.front_end_files import rating_note
from inference.tagger import Tagger

# Figure of metrics.json ▶ its name for people, and its type in the metadata of Hugging Face.
FIGURES = {
    "average_precision_macro": ("mAP, macro average", "average_precision"),
    "auc_roc_macro": ("AUC-ROC, macro average", "roc_auc"),
    "f1_macro": ("F1, macro average", "f1"),
    "f1_micro": ("F1, all tags together", "f1"),
    "accuracy": ("accuracy", "accuracy"),
}
USE = """Intended use: suggestions of tags for searching, sorting and captioning pictures like those of the training data,
to be checked by people. Tags were annotated by people, who leave some out. The network repeats their habits and their
gaps. Do not use it to decide about people, or as the only filter of pictures that somebody must not see."""


def write_card(tagger: Tagger, folder: Path) -> None:
    """Write `README.md` with the metadata that Hugging Face reads."""
    with atomic_write(folder / "README.md") as file:
        file.write(f"{_header(tagger)}\n# {_name(tagger)}\n\n{card_text(tagger)}")


def card_text(tagger: Tagger) -> str:
    """Return the card in Markdown, without title and metadata."""
    run, config = tagger.run, tagger.run.config
    parts = [
        f"A tagger of pictures: {config.preset} network, {config.image_size} px, {len(run.tags):,} tags, trained "
        f"with e6tag's recipe `{config.recipe}` for {config.epochs} epochs with seed {config.seed}.",
        USE,
        "## Data\n\n" + _data(tagger),
        "## Figures\n\n" + _figures(tagger),
        "## Tags\n\n" + _tags(tagger),
        "## Files\n\n"
        "`model.onnx` and `selected_tags.csv` follow the convention of the WD taggers: a picture on a white square, float32 "
        "in BGR, 0 to 255 ▶ `predictions_sigmoid`, a probability for each row of the table, and `embedding`. "
        "`best_threshold` is the probability from which a tag is predicted.",
        "## Licences\n\n"
        "The code that trained it, e6tag, has the MIT licence. "
        + (f"The pictures: {_manifest(tagger).get('attribution') or 'not known; they are those of the user who trained it'}")
        + (f" Training started from other weights: `{config.init}`." if config.init else "")
        + " The licence of the weights is for whoever publishes them to state.",
    ]
    return "\n\n".join(parts) + "\n"


def _name(tagger: Tagger) -> str:
    return tagger.run.folder.resolve().name


def _manifest(tagger: Tagger) -> dict:
    path = Path(tagger.run.data) / "manifest.json"
    return read_json(path) if path.exists() else {}


def _metrics(tagger: Tagger) -> dict:
    path = tagger.run.folder / "metrics.json"
    return read_json(path) if path.exists() else {}


def _header(tagger: Tagger) -> str:
    """Return the block of YAML; JSON is YAML, and needs no rules of its own for quoting."""
    metrics = _metrics(tagger)
    content: dict = {"pipeline_tag": "image-classification", "library_name": "onnx"}
    content |= {"tags": ["multi-label-image-classification", "tagger", "wd-tagger", "e6tag"]}
    if metrics:
        dataset = {"name": Path(tagger.run.data).name, "type": Path(tagger.run.data).name, "split": metrics["split"]}
        values = [
            {"type": kind, "name": name, "value": metrics[key]} for key, (name, kind) in FIGURES.items() if key in metrics
        ]
        task = {"type": "image-classification", "name": "Multi-label image classification"}
        content["model-index"] = [
            {"name": _name(tagger), "results": [{"task": task, "dataset": dataset, "metrics": values}]}
        ]
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]
    return "\n".join(["---", *lines, "---", ""])


def _data(tagger: Tagger) -> str:
    manifest, run = _manifest(tagger), tagger.run
    facts = f"`{Path(run.data).name}`: {run.train_images:,} pictures to train with"
    if not manifest:
        return f"{facts}. The data folder was not there when this card was written, so that nothing more is known here."
    counts = {split: values["written"] for split, values in manifest["splits"].items()}
    options = manifest["options"]
    return (
        f"{facts}, {counts.get('val', 0):,} to validate and {counts.get('test', 0):,} to test, from the board "
        f"`{options['board']}`. Splits are by groups of pictures that belong together. The short side is stored with at "
        f"most {options['size']} px. Options: {options['positives']:,} positives wanted for each tag, at least "
        f"{options['min_positives']:,}; seed {options['seed']}."
    )


def _figures(tagger: Tagger) -> str:
    metrics = _metrics(tagger)
    if not metrics:
        return "None: `python eval.py` was not run before the export."
    lines = [f"On the {metrics['images']:,} pictures of the {metrics['split']} split of `{Path(metrics['data']).name}`:", ""]
    lines += ["| figure | value | 95 % interval |", "|---|---|---|"]
    for key, (name, _) in FIGURES.items():
        if key in metrics:
            low, high = metrics.get("intervals", {}).get(key, (None, None))
            interval = f"{low:.3f} to {high:.3f}" if low is not None else ""
            lines.append(f"| {name} | {metrics[key]:.3f} | {interval} |")
    return "\n".join(lines)


def _tags(tagger: Tagger) -> str:
    names = {number: name for name, number in CATEGORIES.items()}
    counts: dict[str, int] = {}
    for tag in tagger.run.tags:
        counts[names[tag.category]] = counts.get(names[tag.category], 0) + 1
    kinds = ", ".join(f"{number:,} {name}" for name, number in counts.items())
    note = rating_note(tagger)
    own = tagger.thresholds[[tag.category not in (NUMBER, RATING) for tag in tagger.run.tags]]
    low, high = (float(own.min()), float(own.max())) if len(own) else (0.0, 1.0)
    return (
        f"{kinds}. Each tag has a threshold of its own, chosen on the validation split: from {low:.2f} to {high:.2f}. "
        f"{note[0].upper()}{note[1:]}."
    )
