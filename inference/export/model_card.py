"""The model card of an export: what a run was trained on, what it is worth, and how it is used, from the run's own files."""

import json
from pathlib import Path

from common.files import atomic_write, read_json
from dataset.records import CATEGORIES, NUMBER, RATING
from inference.export.front_end_files import rating_note
from inference.tagger import Tagger

# Figure of metrics.json ▶ its name for people, and its type in the metadata of Hugging Face. Accuracy is not among them: it
# is high for every tagger, because nearly all pairs of picture and tag are negative.
FIGURES = {
    "average_precision_macro": ("mAP (average precision, macro)", "average_precision"),
    "auc_roc_macro": ("AUC-ROC, macro", "roc_auc"),
    "f1_macro": ("F1, macro", "f1"),
    "f1_micro": ("F1, micro", "f1"),
}
USE = """Intended use: suggestions of tags for searching, sorting and captioning pictures like those of the training data,
to be checked by people. Tags were annotated by people, who leave some out. The network repeats their habits and their
gaps. Do not use it to decide about people, or as the only filter of pictures that somebody must not see."""
FILES = """`model.onnx` and `selected_tags.csv` follow the convention of the WD taggers, so that programs for those load
them. The input is a picture on a white square, float32 in BGR, 0 to 255. The output `predictions_sigmoid` is a
probability for each row of the table, and `embedding` describes the picture as a vector. `best_threshold` is the
probability from which a tag is predicted. Rows named `placeholder_…` are no tags; their probability is always 0.
`info.json` is for tools for hydrus.

Other folders, where there are any, hold the same network in other formats: `suite/` for e6tag itself, `timm/` and `cl/` for
readers of those conventions, `trunk/` without its last layer, `keras/`, `saved_model/`, `litert/`, and `safetensors/`."""
CODE = """import csv

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("model.onnx")
_, height, width, _ = session.get_inputs()[0].shape
with open("selected_tags.csv", encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))

picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGBA")
on_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
square = ImageOps.pad(on_white, (width, height), color="white")
bgr = np.asarray(square, np.float32)[np.newaxis, :, :, ::-1]  # (1, height, width, 3), 0 to 255
[probabilities] = session.run(["predictions_sigmoid"], {"input": np.ascontiguousarray(bgr)})[0]
for row, probability in zip(rows, probabilities, strict=True):
    if probability >= float(row["best_threshold"]):
        print(row["name"], round(float(probability), 2))
"""


def write_card(tagger: Tagger, folder: Path) -> None:
    """Write `README.md` with the metadata that Hugging Face reads."""
    with atomic_write(folder / "README.md") as file:
        file.write(f"{_header(tagger)}\n# {_name(tagger)}\n\n{card_text(tagger)}")


def card_text(tagger: Tagger) -> str:
    """Return the card in Markdown, without title and metadata."""
    run, config = tagger.run, tagger.run.config
    parts = [
        f"A tagger of pictures: {config.preset} network, {config.image_size} px, {len(run.tags):,} outputs, trained "
        f"with e6tag's recipe `{config.recipe}` for {config.epochs} epochs with seed {config.seed}.",
        USE,
        "## Data\n\n" + _data(tagger),
        "## Figures\n\n" + _figures(tagger),
        "## Tags\n\n" + _tags(tagger),
        f"## Files\n\n{FILES}",
        f"## Use\n\nAfter `pip install onnxruntime pillow`:\n\n```python\n{CODE}```",
        "## Licences\n\n" + _licences(tagger),
    ]
    return "\n\n".join(parts) + "\n"


def _licences(tagger: Tagger) -> str:
    attribution = _manifest(tagger).get("attribution") or "not known; they are those of the user who trained it"
    init = tagger.run.config.init
    sentences = ["The code that trained it, e6tag, has the MIT licence", f"The pictures: {attribution.rstrip('.')}"]
    if init:
        sentences.append(f"Training started from other weights, `{Path(init).name}`")
    sentences.append("The licence of the weights is for whoever publishes them to state, as `license` in this file's header")
    return ". ".join(sentences) + "."


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
    least = options["min_positives"]
    rare = f"Tags with fewer than {least:,} groups of training pictures were left out. " if least > 1 else ""
    return (
        f"{facts}, {counts.get('val', 0):,} to validate and {counts.get('test', 0):,} to test, from the board "
        f"`{options['board']}`. Pictures that belong together are all in the same split. They were chosen so that each tag "
        f"has {options['positives']:,} pictures, where there are so many. {rare}The short side is stored with at most "
        f"{options['size']} px."
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
    if ratings := metrics.get("ratings"):
        low, high = ratings["accuracy_interval"]
        lines.append(f"| accuracy of the rating | {ratings['accuracy']:.3f} | {low:.3f} to {high:.3f} |")
    absent = metrics.get("tags_without_positives", 0)
    without = f", without the {absent:,} that no picture of this split has" if absent else ""
    lines += ["", f"A macro figure is the mean over the tags{without}. A micro figure is computed over all pairs of picture"]
    lines += ["and tag together. For F1, each tag is predicted from its own threshold on."]
    if ratings:
        most = f"{ratings['accuracy_of_the_most_frequent']:.3f}"
        lines += [
            f"Ratings do not count in these figures. Giving every picture the most frequent one has the accuracy {most}."
        ]
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
