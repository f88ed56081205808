"""A network's predictions for a split of a data folder."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import keras
import numpy as np

from common import files, mapped_arrays
from common.errors import InputError
from common.mapped_arrays import read_rows, release
from common.numbers import sigmoid
from common.progress import progress
from dataset.ordered_batches import OrderedBatch, ordered_batches
from model import process_group
from model.config import Config
from model.network import TaggerNetwork

BLOCK_IMAGES = 1024


@dataclass(frozen=True)
class Scores:
    """The labels of a split, in the order of the shards, and a network's predictions.

    Attributes:
        ids: ids of the posts, text (images,).
        groups: names of their groups, text (images,); the ids where the records name no group.
        grouped: whether the records name groups.
        labels: bool (images, tags).
        probability: float32 (images, tags).
        predictive_variance: uint8 (images, tags), see `quantized_variance`; 0 for a network that gives no variance.
    """

    ids: np.ndarray
    groups: np.ndarray
    grouped: bool
    labels: np.ndarray
    probability: np.ndarray
    predictive_variance: np.ndarray

    def of_tags(self, chosen: np.ndarray) -> "Scores":
        """Return the scores of some tags, bool (tags,). Nothing is copied if they are the first ones."""
        number = int(chosen.sum())
        columns = slice(number) if chosen[:number].all() else chosen
        arrays = {name: getattr(self, name)[:, columns] for name in ("labels", "probability", "predictive_variance")}
        return replace(self, **arrays)

    def positives(self) -> np.ndarray:
        """Return the number of images with each tag, int (tags,)."""
        return sum(read_rows(rows, self.labels)[0].sum(axis=0) for rows in self._blocks())

    def are_finite(self) -> bool:
        """Return whether all probabilities are numbers."""
        return all(np.isfinite(read_rows(rows, self.probability)[0]).all() for rows in self._blocks())

    def _blocks(self) -> Iterator[slice]:
        for start in range(0, len(self.ids), BLOCK_IMAGES):
            yield slice(start, start + BLOCK_IMAGES)


def score(
    network: TaggerNetwork,
    data: Path,
    split: str,
    config: Config,
    temperatures: np.ndarray | float = 1.0,
    batch_size: int = 64,
    outputs: np.ndarray | None = None,
    together: bool = False,
) -> Scores:
    """Predict a whole split, with progress on standard error.

    Args:
        network: the network.
        data: the data folder.
        split: `train`, `val` or `test`.
        config: gives the size of the pictures and how they are resized.
        temperatures: divisors of the logits: one, or one for each output of the network, float32.
        batch_size: of the prediction.
        outputs: the network's output for each tag of the data, see `Run.outputs_for`, int (tags of the data,). None: all.
        together: all processes of a group call this function; each predicts a part, and all get the whole.

    Raises:
        InputError: the split is empty, or has not as many images as the folder's manifest says.
    """
    images = number_of_images(data, split)
    if not images:
        raise InputError(f"the {split} split of {data} is empty")
    outputs = np.arange(network.num_tags) if outputs is None else outputs
    divisors = np.broadcast_to(np.float32(temperatures), network.num_tags)[outputs]  # (tags of the data,)
    shape = (images, len(outputs))
    labels, probability, predictive_variance = empty_scores(shape, data / ".cache")
    ids, groups = [], []
    part, parts = (process_group.group.index, process_group.group.count) if together else (0, 1)
    batches = ordered_batches(data, split, len(outputs), config.image_size, config.resize, batch_size, part, parts)
    bar = progress(total=images, unit="images", description=f"scoring {split}", leave=False)
    with bar:
        for batch, predicted in _predicted(network, batches, part, parts, batch_size):
            rows = slice(len(ids), len(ids) + len(batch.records))
            if rows.stop > images:
                break
            predicted = {name: values[: len(batch.records), outputs] for name, values in predicted.items()}
            for array in (labels, probability, predictive_variance):
                release(array)
            labels[rows] = batch.labels > 0.5
            probability[rows] = sigmoid(predicted["logit"] / divisors)
            if "variance" in predicted:
                predictive_variance[rows] = quantized_variance(predicted["variance"])
            ids += [record.id for record in batch.records]
            groups += [record.group for record in batch.records]
            bar.update(len(batch.records))
    if len(ids) != images or rows.stop > images:
        raise InputError(f"the {split} shards of {data} hold other pictures than its manifest says: download it again")
    grouped = all(groups)
    return Scores(np.array(ids), np.array(groups if grouped else ids), grouped, labels, probability, predictive_variance)


def empty_scores(shape: tuple[int, int], folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the arrays of `Scores` before they are filled: labels, probability and predictive variance.

    Args:
        shape: numbers of images and tags.
        folder: where large ones are stored, see `mapped_arrays`.
    """
    labels, probability, variance = (mapped_arrays.zeros(shape, dtype, folder) for dtype in (bool, np.float32, np.uint8))
    return labels, probability, variance


def _predicted(network: TaggerNetwork, batches: Iterable[OrderedBatch], part: int, parts: int, batch_size: int):
    """Yield each batch and what the network predicts for it, both padded to one size, arrays (batch_size, outputs).

    With one size, the network is compiled once, and the batch divides among devices.
    """
    batches = iter(batches)
    while several := list(islice(batches, parts)):  # at the end, fewer
        pixels = several[part].pixels if part < len(several) else several[0].pixels[:0]
        missing = batch_size - len(pixels)
        predicted = network.predict_on_batch(np.pad(pixels, ((0, missing), (0, 0), (0, 0), (0, 0))))
        predicted = {name: keras.ops.convert_to_numpy(values) for name, values in predicted.items()}
        yield from zip(several, process_group.gather(predicted) if parts > 1 else [predicted], strict=False)


def number_of_images(data: Path, split: str) -> int:
    """Return the number of images in a split of a data folder.

    Raises:
        InputError: the folder is not complete.
    """
    try:
        return int(files.read_json(data / "manifest.json")["splits"][split]["written"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{data / 'manifest.json'} is not the manifest of a complete folder: {error!r}") from None


def quantized_variance(variance: np.ndarray) -> np.ndarray:
    """Return variances of probabilities, at most ¼, in eight bits: uint8, in the same order, with finer steps below."""
    return np.rint(255 * (4 * variance.clip(0, 0.25)) ** 0.25).astype(np.uint8)
