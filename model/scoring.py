"""What a network says of a split of a data folder."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from command import InputError
from dataset import pipeline, records
from model.calibration import as_probability
from model.config import Config
from model.runs import Run
from model.tagger import TaggerNetwork


@dataclass(frozen=True)
class Scores:
    """A split in its order, and what a network says of it.

    Attributes:
        ids: of the posts, text (images,).
        groups: the names of their groups, text (images,); the ids where the records name no group.
        grouped: whether they do.
        labels: bool (images, tags).
        probability: float32 (images, tags).
        doubt: uint8 (images, tags), see `doubt_of`.
    """

    ids: np.ndarray
    groups: np.ndarray
    grouped: bool
    labels: np.ndarray
    probability: np.ndarray
    doubt: np.ndarray


def score(
    network: TaggerNetwork,
    data: Path,
    split: str,
    config: Config,
    temperature: float = 1.0,
    batch_size: int = 64,
    show_progress: bool = False,
    outputs: np.ndarray | None = None,
) -> Scores:
    """What the network says of a whole split, its logits divided by the temperature.

    Args:
        outputs: of the network, that the tags of the data are; see `outputs_for`. All if None.

    Raises:
        InputError: the split is empty, or has not as many images as the folder's manifest says.
    """
    images = number_of_images(data, split)
    outputs = np.arange(network.num_tags) if outputs is None else outputs
    shape = (images, len(outputs))
    labels, probability, doubt = np.empty(shape, bool), np.empty(shape, np.float32), np.zeros(shape, np.uint8)
    ids, groups = [], []
    batches = pipeline.evaluation_batches(data, split, len(outputs), config.image_size, config.resize, batch_size)
    bar = tqdm(total=images, unit=" images", desc=split, dynamic_ncols=True, disable=None if show_progress else True)
    with pipeline.damage_named(data, split), bar as progress:
        for batch in batches.as_numpy_iterator():
            rows = slice(len(ids), len(ids) + len(batch["id"]))
            if rows.stop > images:
                break
            # Filled up to one size: compiled once, and divisible among devices.
            missing = batch_size - len(batch["pixels"])
            said = network.predict_on_batch(np.pad(batch["pixels"], ((0, missing), (0, 0), (0, 0), (0, 0))))
            said = {name: keras.ops.convert_to_numpy(values)[: len(batch["id"]), outputs] for name, values in said.items()}
            labels[rows] = batch["labels"] > 0.5
            probability[rows] = as_probability(said["logit"] / np.float32(temperature))
            if "variance" in said:
                doubt[rows] = doubt_of(said["variance"])
            ids += [name.decode() for name in batch["id"]]
            groups += [name.decode() for name in batch["group"]]
            progress.update(len(batch["id"]))
    if len(ids) != images or rows.stop > images:
        raise InputError(f"the {split} shards of {data} hold other pictures than its manifest says: download it again")
    grouped = all(groups)
    return Scores(np.array(ids), np.array(groups if grouped else ids), grouped, labels, probability, doubt)


def number_of_images(data: Path, split: str) -> int:
    """How many images a split of a data folder has.

    Raises:
        InputError: none, or the folder is not complete.
    """
    try:
        images = int(records.read_json(data / "manifest.json")["splits"][split]["written"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{data / 'manifest.json'} is no manifest of a complete folder: {error!r}") from None
    if not images:
        raise InputError(f"the {split} split of {data} is empty")
    return images


def doubt_of(variance: np.ndarray) -> np.ndarray:
    """Variances of probabilities, at most ¼, in eight bits that keep their order: uint8, small ones finely told apart."""
    return np.rint(255 * (4 * variance.clip(0, 0.25)) ** 0.25).astype(np.uint8)


def outputs_for(run: Run, data: Path) -> np.ndarray:
    """Which of a run's outputs each tag of a data folder is, (tags of the data,). A run may have more: of its tags that the
    data does not know, such as those it was taught, nothing can be said there.

    Raises:
        InputError: the data has a tag that the run has not.
    """
    position = {tag.name: index for index, tag in enumerate(run.tags)}
    names = [tag.name for tag in records.read_tags(data / "tags.csv")]
    if unknown := [name for name in names if name not in position]:
        raise InputError(
            f"{data} has other tags than {run.folder} was trained on ({len(unknown):,} of {len(names):,}, such as "
            f"{unknown[0]}): expected the folder it was trained on, {run.data}"
        )
    return np.array([position[name] for name in names])
