"""What a run predicts for the training pictures of a data folder, with their embeddings; computed once and kept.

The file is in the run folder, under `.cache/`, and can be deleted.
"""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.files import atomic_write
from common.progress import progress
from dataset.ordered_batches import ordered_batches
from dataset.relabel import data_fingerprint
from evaluation.score import number_of_images
from inference.tagger import BATCH, Tagger, model_file

FILE = Path(".cache") / "training_predictions.npz"


@dataclass(frozen=True)
class Predictions:
    """The training pictures of a data folder, in the order of `records.read`, and what a run predicts for them.

    Attributes:
        ids, md5s: text (pictures,).
        labels: whether the data folder's label is over 0.5, bool (pictures, tags).
        probability: float16 (pictures, tags), for the tags of the data folder.
        features: float16 (pictures, channels), the embeddings, of length 1.
    """

    ids: np.ndarray
    md5s: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    features: np.ndarray


def load_or_predict(tagger: Tagger, data: Path) -> Predictions:
    """Return the predictions for the training pictures, from the run folder or computed with progress on standard error.

    Raises:
        InputError: the data folder is damaged, or has other tags than the run.
    """
    path = tagger.run.folder / FILE
    model = hashlib.md5(model_file(tagger.run.folder).read_bytes(), usedforsecurity=False).hexdigest()
    source = repr((data_fingerprint(data), model))
    if (stored := _load(path, source)) is not None:
        return stored
    outputs = tagger.run.outputs_for(data)
    config, images = tagger.run.config, number_of_images(data, "train")
    columns: dict[str, list] = {name: [] for name in Predictions.__annotations__}
    batches = ordered_batches(data, "train", len(outputs), config.image_size, config.resize, BATCH)
    with progress(total=images, unit="images", description="predicting the training pictures", leave=False) as bar:
        for batch in batches:
            number = len(batch.records)
            padded = np.pad(batch.pixels, ((0, BATCH - number), (0, 0), (0, 0), (0, 0)))  # so that it compiles once
            features, probability = (values[:number] for values in tagger.embed(padded))
            columns["ids"] += [record.id for record in batch.records]
            columns["md5s"] += [record.md5 for record in batch.records]
            columns["labels"].append(batch.labels > 0.5)
            columns["probability"].append(probability[:, outputs].astype(np.float16))
            lengths = np.linalg.norm(features, axis=1, keepdims=True)
            columns["features"].append((features / np.maximum(lengths, 1e-12)).astype(np.float16))
            bar.update(number)
    arrays: dict[str, Any] = {
        name: np.array(values) if name in ("ids", "md5s") else np.concatenate(values) for name, values in columns.items()
    }
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path, "wb") as file:
        np.savez(file, source=source, **arrays)
    return Predictions(**arrays)


def _load(path: Path, source: str) -> Predictions | None:
    """Read the file. Return None if it is missing, damaged or computed from another network or other data."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["source"]) == source:
                return Predictions(**{name: file[name] for name in Predictions.__annotations__})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    return None
