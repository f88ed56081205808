"""Networks that are not ours, trained from scratch on the same batches, each the way its own trainers do."""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from command import InputError
from dataset import pipeline, records
from model import devices, metrics
from model.config import Config, resolve

# Learns from a batch, uint8 (batch, size, size, 3) and float32 (batch, tags); scores one, float (batch, tags).
Network = tuple[Callable[[np.ndarray, np.ndarray], None], Callable[[np.ndarray], np.ndarray]]


def train(build: Callable[[int, int, int], Network], data: Path, epochs: float, seed: int) -> dict:
    """Train one, and rank the test split by it.

    Args:
        build: (tags, image size, steps) ▶ a network.
        data: the data folder.
        epochs: passes over its training split; a part of one, too.
        seed: of weights, order and augmentation.

    Returns:
        The figures of `metrics.ranking`, with `epochs` and `seconds`, which leave out the first batch, that compiles.
    """
    config = resolve({"seed": seed})
    keras.utils.set_random_seed(seed)
    devices.use_precision(devices.precision("auto"))  # as the suite's own programs
    tags = len(records.read_tags(data / "tags.csv"))
    steps_per_epoch = records.read_json(data / "manifest.json")["splits"]["train"]["written"] // config.batch_size
    steps = max(2, round(epochs * steps_per_epoch))
    learn, score = build(tags, config.image_size, steps)
    augmentation = pipeline.Augmentation(config.flip, False, config.shift, config.zoom, config.colour)
    batches = pipeline.training_batches(
        data, tags, config.image_size, config.resize, config.batch_size, augmentation, seed, 0, math.ceil(epochs)
    )
    started = 0.0
    for pixels, labels in batches.take(steps).as_numpy_iterator():
        learn(pixels, labels)
        started = started or time.monotonic()
    seconds = time.monotonic() - started
    return _rank(score, data, tags, config) | {"epochs": epochs, "seconds": seconds}


def _rank(score: Callable[[np.ndarray], np.ndarray], data: Path, tags: int, config: Config) -> dict:
    labels, scores = [], []
    batches = pipeline.evaluation_batches(data, "test", tags, config.image_size, config.resize, config.batch_size)
    for batch in batches.as_numpy_iterator():
        labels.append(batch["labels"] > 0.5)
        scores.append(score(batch["pixels"]))
    return metrics.ranking(np.concatenate(labels), np.concatenate(scores).astype(np.float32))


def keras_resnet50(tags: int, image_size: int, steps: int) -> Network:
    """Keras' own ResNet-50 with another head, cross-entropy and Adam, as its guides train one."""
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
    """Torchvision's ResNet-18 with asymmetric loss, AdamW and one cycle, as that loss's authors train (arXiv 2009.14119).

    Raises:
        InputError: PyTorch or torchvision is not installed.
    """
    sys.modules.setdefault("triton", None)  # not imported: its LLVM and TensorFlow's end in a segmentation fault
    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError):  # the latter where the two were not built for each other
        raise InputError("skipped: PyTorch and torchvision are not installed, or not for each other") from None
    network = torchvision.models.resnet18(num_classes=tags)
    optimizer = torch.optim.AdamW(network.parameters(), 0.001, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.001, total_steps=steps, pct_start=0.2)

    def prepared(pixels):
        # A copy: PyTorch warns of arrays that cannot be written to.
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
