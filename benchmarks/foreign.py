"""Networks of other libraries, trained from scratch on the same batches, each with the recipe that its own library uses."""

import importlib
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common.errors import InputError
from dataset import pipeline, records
from dataset.augmentation import Augmentation
from dataset.ordered_batches import ordered_batches
from evaluation.metrics import metrics
from model import devices
from training.plan import read_manifest
from training.recipes import resolve

SCORED = 64  # pictures in a batch of which scores are computed
# A function that trains on a batch, uint8 (batch, size, size, 3) and float32 (batch, tags), and one that returns the scores
# of a batch, float (batch, tags).
Network = tuple[Callable[[np.ndarray, np.ndarray], None], Callable[[np.ndarray], np.ndarray]]


def train(build: Callable[[int, int, int], Network], data: Path, epochs: float, seed: int) -> dict:
    """Train a network, and score the test split with it.

    Args:
        build: makes the network from the number of tags, the image size in pixels and the number of steps.
        data: folder made by download.py.
        epochs: passes over the training split; not necessarily a whole number.
        seed: seed of weights, order and augmentation.

    Returns:
        The figures of `metrics.ranking`, with `epochs`, and `seconds` without the first batch, which includes compilation.
    """
    config = resolve({"seed": seed})
    keras.utils.set_random_seed(seed)
    devices.use_precision(devices.precision("auto"))  # as train.py chooses it
    tags = len(records.read_tags(data / "tags.csv"))
    steps = max(2, round(epochs * steps_per_epoch(data, config.batch_size)))
    learn, score = build(tags, config.image_size, steps)
    augmentation = Augmentation(flip=config.flip, shift=config.shift, zoom=config.zoom, colour=config.colour)
    batches = pipeline.training_batches(
        pipeline.TrainingData(data, tags, config.image_size, config.resize, config.batch_size, augmentation, seed),
        0,
        math.ceil(epochs),
    )
    started = 0.0
    for pixels, labels in batches.take(steps):
        learn(pixels, labels)
        started = started or time.monotonic()
    seconds = time.monotonic() - started
    scores, labels = score_split(score, data, "test", tags, config.image_size, config.resize)
    return metrics.ranking(labels, scores.astype(np.float32)) | {"epochs": epochs, "seconds": seconds}


def steps_per_epoch(data: Path, batch_size: int) -> int:
    """Return the number of whole batches in the training split of a data folder."""
    return read_manifest(data)[0] // batch_size


def score_split(
    score: Callable[[np.ndarray], np.ndarray], data: Path, split: str, tags: int, image_size: int, resize: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the outputs of a function for the pictures of a split, and their labels, bool (pictures, tags)."""
    outputs, labels = [], []
    for batch in ordered_batches(data, split, tags, image_size, resize, SCORED):
        outputs.append(score(batch.pixels))
        labels.append(batch.labels > 0.5)
    return np.concatenate(outputs), np.concatenate(labels)


def import_torch(package: str) -> tuple[Any, Any]:
    """Return PyTorch and a package of networks for it.

    Raises:
        InputError: one of them is not installed.
    """
    # None: PyTorch does not import triton, whose LLVM crashes beside TensorFlow's.
    sys.modules.setdefault("triton", None)  # type: ignore[arg-type]
    try:
        return importlib.import_module("torch"), importlib.import_module(package)
    except (ImportError, RuntimeError):  # RuntimeError: the two were not built for each other
        install = f"pip install torch {package.replace('_', '-')}"
        raise InputError(f"skipped: two packages are not installed, or not built for each other: {install}") from None


def keras_resnet50(tags: int, image_size: int, steps: int) -> Network:
    """Return Keras' ResNet-50 with an output for each tag, trained with cross-entropy and Adam as in Keras' guides."""
    network = keras.applications.ResNet50(
        weights=None, input_shape=(image_size, image_size, 3), classes=tags, classifier_activation=None
    )
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    network.compile(optimizer=keras.optimizers.Adam(0.001), loss=loss)

    def prepared(pixels):
        return keras.applications.resnet.preprocess_input(pixels.astype(np.float32))

    return (
        lambda pixels, labels: network.train_on_batch(prepared(pixels), labels),
        lambda pixels: network.predict_on_batch(prepared(pixels)),
    )


def torchvision_resnet18(tags: int, image_size: int, steps: int) -> Network:
    """Return torchvision's ResNet-18, trained with asymmetric loss, AdamW and one cycle as that loss's authors do (arXiv
    2009.14119).

    Raises:
        InputError: PyTorch or torchvision is not installed.
    """
    torch, torchvision = import_torch("torchvision")
    network = torchvision.models.resnet18(num_classes=tags)
    optimizer = torch.optim.AdamW(network.parameters(), 0.001, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.001, total_steps=steps, pct_start=0.2)

    def prepared(pixels):
        # A copy, because PyTorch warns of read-only arrays.
        return torch.tensor(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1  # (batch, 3, size, size)

    def learn(pixels, labels):
        network.train()
        labels = torch.tensor(labels)
        probability = torch.sigmoid(network(prepared(pixels)))
        shifted = (probability - 0.05).clamp(min=0)
        positive = labels * torch.log(probability.clamp(min=1e-8))
        negative = (1 - labels) * shifted**4 * torch.log((1 - shifted).clamp(min=1e-8))
        optimizer.zero_grad()
        (-(positive + negative).sum() / len(labels)).backward()
        optimizer.step()
        schedule.step()

    def score(pixels):
        network.eval()
        with torch.no_grad():
            return network(prepared(pixels)).numpy()

    return learn, score
