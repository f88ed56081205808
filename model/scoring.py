"""What a network says of a split of a data folder."""

from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from command import InputError
from dataset import pipeline, records
from model.config import Config
from model.runs import Run
from model.tagger import TaggerNetwork


def score(
    network: TaggerNetwork, data: Path, split: str, config: Config, batch_size: int = 64, show_progress: bool = False
) -> dict:
    """What the network says of a whole split, in its order.

    Returns:
        `probability` float32 and `labels` bool, both (images, tags); `id` and `image`, lists of the post ids and the
        encoded pictures.
    """
    batches = pipeline.evaluation_batches(data, split, network.num_tags, config.image_size, config.resize, batch_size)
    probabilities, labels, ids, encoded = [], [], [], []
    with tqdm(unit=" images", desc=split, dynamic_ncols=True, disable=not show_progress) as progress:
        for batch in batches.as_numpy_iterator():
            # Filled up to one size: compiled once, and divisible among devices.
            missing = batch_size - len(batch["pixels"])
            pixels = np.pad(batch["pixels"], ((0, missing), (0, 0), (0, 0), (0, 0)))
            predicted = network.predict_on_batch(pixels)["probability"][: len(batch["pixels"])]
            probabilities.append(keras.ops.convert_to_numpy(predicted))
            labels.append(batch["labels"] > 0.5)
            ids += [name.decode() for name in batch["id"]]
            encoded += list(batch["image"])
            progress.update(len(batch["id"]))
    if not ids:
        raise InputError(f"the {split} split of {data} is empty")
    return {
        "probability": np.concatenate(probabilities),
        "labels": np.concatenate(labels),
        "id": ids,
        "image": encoded,
    }


def check_vocabulary(run: Run, data: Path) -> None:
    """Refuse data whose tags are not the run's.

    Raises:
        InputError: they differ in name or order.
    """
    names = [tag.name for tag in records.read_tags(data / "tags.csv")]
    if names != [tag.name for tag in run.tags]:
        raise InputError(
            f"{data} has other tags than {run.folder} was trained on ({len(names):,} and {len(run.tags):,}): expected "
            f"the folder it was trained on, {run.data}"
        )
