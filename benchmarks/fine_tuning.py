"""Ways in which others make a tagger out of EfficientNet-Lite0 with its ImageNet weights, on the same shards.

Each function trains, and scores the test split. The first two use PyTorch and the network of the package
`efficientnet-lite-pytorch`, with the weights that `--init imagenet` takes as well.
"""

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import StandardScaler

from benchmarks import foreign
from dataset import images, pipeline, records
from dataset.augmentation import Augmentation
from evaluation.metrics import metrics
from model import efficientnet_lite

PACKAGE = "efficientnet_lite_pytorch"  # the network in PyTorch
SIDE, RESIZE = 128, "pad"  # of the network's input, as with --preset lite0
INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2)  # scikit-learn's C
FILTERS = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


@dataclass(frozen=True)
class Phase:
    """A part of a run, with a cycle of the learning rate of its own.

    Attributes:
        steps: number of batches.
        rates: highest learning rates of trunk and head.
        warmup: share of the steps in which the learning rate rises.
        divisor, last_divisor: the highest learning rate divided by the first and by the last one.
    """

    steps: int
    rates: tuple[float, float]
    warmup: float
    divisor: float
    last_divisor: float
    frozen: bool = False  # whether only the normalisation of the trunk is trained


def fastai(data: Path, epochs: float, seed: int) -> dict:
    """Train as fastai's `vision_learner` and `fine_tune` do (docs.fast.ai, fastai 2), at the rate of its course's chapter on
    several labels, 0.003 (github.com/fastai/fastbook, 06_multicat).

    An epoch trains the head and the trunk's normalisation; then the trunk has a hundredth of the head's learning rate.
    Pictures are changed as by `aug_transforms()`, apart from its perspective.

    Args:
        data: folder made by download.py.
        epochs: passes over the training split.
        seed: seed of weights, order and augmentation.

    Returns:
        The figures of `metrics.ranking`, with `epochs` and `seconds`.

    Raises:
        InputError: a package is missing.
    """
    started, torch = time.monotonic(), foreign.import_torch(PACKAGE)[0]
    torch.manual_seed(seed)
    nn, num_tags = torch.nn, len(records.read_tags(data / "tags.csv"))

    def pool(x):  # (batch, channels, height, width) ▶ (batch, 2 · channels)
        return torch.cat([x.amax(dim=(2, 3)), x.mean(dim=(2, 3))], dim=1)

    widths = 2 * efficientnet_lite.HEAD_WIDTH, 512, num_tags
    first, last = (nn.Linear(one, other, bias=False) for one, other in pairwise(widths))
    for layer in (first, last):
        nn.init.kaiming_normal_(layer.weight)
    head = nn.Sequential(
        *(nn.BatchNorm1d(widths[0]), nn.Dropout(0.25), first, nn.ReLU()),
        *(nn.BatchNorm1d(widths[1]), nn.Dropout(0.5), last),
    )
    batch_size, rate = 64, 0.003
    steps = _steps(data, epochs, batch_size)
    frozen = min(steps // 2, _steps(data, 1, batch_size))
    phases = [
        Phase(frozen, (rate / 10, rate), 0.99, 25, 1e5, frozen=True),
        Phase(steps - frozen, (rate / 200, rate / 2), 0.3, 5, 1e5),
    ]
    augmentation = Augmentation(zoom=0.1, rotation=10, colour=0.2)
    settings = pipeline.TrainingData(data, num_tags, SIDE, RESIZE, batch_size, augmentation, seed)
    options = {"betas": (0.95, 0.99), "eps": 1e-5, "weight_decay": 0.01}
    end_epoch = math.ceil(steps / foreign.steps_per_epoch(data, batch_size))
    batches = pipeline.training_batches(settings, 0, end_epoch).take(steps)
    score = _train(pool, head, phases, options, batches, nn.BCEWithLogitsLoss())
    return _figures(score, data, num_tags, epochs, time.monotonic() - started)


def animetimm(data: Path, epochs: float, seed: int, rate: float = 2e-4) -> dict:
    """Train with the recipe of animetimm's `multilabel/train.py` (github.com/deepghs/animetimm).

    AdamW follows one cycle; pictures are cut, mirrored, resized with a random filter and mixed in pairs (MixUp); and the
    cross-entropy of a tag is divided by the logarithm of its number of pictures.

    Args:
        data, epochs, seed: as for `fastai`.
        rate: highest learning rate; the default is animetimm's, for some hundred thousand steps.

    Returns, raises:
        As `fastai`.
    """
    started, torch = time.monotonic(), foreign.import_torch(PACKAGE)[0]
    torch.manual_seed(seed)
    tags = records.read_tags(data / "tags.csv")
    head = torch.nn.Linear(efficientnet_lite.HEAD_WIDTH, len(tags))
    pictures, labels = _pictures(data, "train", len(tags))
    logarithms = np.log(np.maximum(labels.sum(axis=0), 2))
    weights = torch.tensor(logarithms.min() / logarithms, dtype=torch.float32)  # (tags,)
    batch_size = 16
    steps = _steps(data, epochs, batch_size)

    def loss(logits, labels):
        per_tag = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")  # (batch, tags)
        return (per_tag * weights.to(logits.device)).sum()

    phases = [Phase(steps, (rate, rate), 0.15, 25, 25 * 20)]
    batches = _mixed_batches(pictures, labels, batch_size, steps, seed)
    score = _train(lambda x: x.mean(dim=(2, 3)), head, phases, {"weight_decay": 1e-3}, batches, loss)
    return _figures(score, data, len(tags), epochs, time.monotonic() - started)


def logistic_regression(data: Path, epochs: float, seed: int) -> dict:
    """Fit scikit-learn's logistic regression for each tag, on the averages of the trunk's last layer.

    The regularisation is the one with the highest mAP on the validation split. There is no randomness, and there are no
    epochs; the arguments and the figures are those of `fastai`.
    """
    started, num_tags = time.monotonic(), len(records.read_tags(data / "tags.csv"))
    keras.config.set_dtype_policy("float32")
    trunk = efficientnet_lite.load_imagenet(SIDE)
    pooled = keras.Model(trunk.input, keras.layers.GlobalAveragePooling2D()(trunk.output))

    def features(pixels):
        return pooled.predict_on_batch(pixels / np.float32(127.5) - 1)  # (batch, channels)

    (x, y), (val_x, val_y) = (
        foreign.score_split(features, data, split, num_tags, SIDE, RESIZE) for split in ("train", "val")
    )
    scaler = StandardScaler().fit(x)
    fits = [
        OneVsRestClassifier(LogisticRegression(C=penalty, tol=1e-3)).fit(scaler.transform(x), y)
        for penalty in INVERSE_PENALTIES
    ]
    best = max(
        fits,
        key=lambda fit: metrics.ranking(val_y, fit.decision_function(scaler.transform(val_x)))["average_precision_macro"],
    )
    seconds = time.monotonic() - started
    return _figures(lambda pixels: best.decision_function(scaler.transform(features(pixels))), data, num_tags, 0, seconds)


def _train(
    pool: Callable, head: Any, phases: list[Phase], options: dict, batches: Iterable, loss: Callable
) -> Callable[[np.ndarray], np.ndarray]:
    """Train trunk and head with AdamW; return a function from uint8 (batch, SIDE, SIDE, 3) to scores (batch, tags).

    Args:
        pool: from the trunk's feature map, (batch, channels, height, width), to the input of the head.
        head: from there to logits.
        phases: the parts of the run.
        options: of AdamW. Biases and normalisation have no weight decay.
        batches: uint8 or float pictures, and labels.
        loss: of logits and labels.
    """
    torch, package = foreign.import_torch(PACKAGE)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    # As in timm: with the package's own 0.99, statistics would be those of ImageNet still after a short run.
    changes = {"batch_norm_momentum": 0.9, "drop_connect_rate": 0.0}
    trunk = package.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=str(efficientnet_lite.weights_path()), **changes
    ).to(device)
    head.to(device)

    def logits(pixels):
        # A copy, because PyTorch warns of read-only arrays.
        x = torch.tensor(np.asarray(pixels)).to(device)
        x = (x.permute(0, 3, 1, 2).float() - 127) / 128  # (batch, 3, SIDE, SIDE)
        return head(pool(trunk.extract_features(x)))

    steps = iter(batches)
    for phase in phases:
        for parameter in trunk.parameters():
            parameter.requires_grad = not phase.frozen or parameter.ndim == 1  # normalisation
        groups = _parameter_groups((trunk, head), phase.rates)
        optimizer = torch.optim.AdamW(groups, **options)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in groups],
            total_steps=phase.steps,
            pct_start=phase.warmup,
            div_factor=phase.divisor,
            final_div_factor=phase.last_divisor / phase.divisor,
        )
        trunk.train()
        head.train()
        for _ in range(phase.steps):
            pixels, labels = next(steps)
            optimizer.zero_grad()
            loss(logits(pixels), torch.tensor(np.asarray(labels)).to(device)).backward()
            optimizer.step()
            cycle.step()
    trunk.eval()
    head.eval()

    def score(pixels):
        with torch.no_grad():
            return logits(pixels).cpu().numpy()

    return score


def _parameter_groups(parts: tuple, rates: tuple[float, float]) -> list[dict]:
    """Return the parameters that are trained, by part and by whether they have weight decay."""
    groups = []
    for part, rate in zip(parts, rates, strict=True):
        for is_matrix in (True, False):
            chosen = [each for each in part.parameters() if each.requires_grad and (each.ndim > 1) == is_matrix]
            if chosen:
                groups.append({"params": chosen, "lr": rate} | ({} if is_matrix else {"weight_decay": 0.0}))
    return groups


def _steps(data: Path, epochs: float, batch_size: int) -> int:
    """Return the number of batches in so many epochs, at least 4."""
    return max(4, round(epochs * foreign.steps_per_epoch(data, batch_size)))


def _pictures(data: Path, split: str, num_tags: int) -> tuple[list[Image.Image], np.ndarray]:
    """Return the square pictures of a split, at their stored size, and their labels, float32 (pictures, tags)."""
    pictures, rows = [], []
    for record in records.read(data, split):
        picture = images.decode(record.image)
        pictures.append(images.fit(picture, max(picture.size), RESIZE))
        rows.append(record.tags)
    labels = np.zeros((len(rows), num_tags), np.float32)
    for row, tags in enumerate(rows):
        labels[row, tags] = 1
    return pictures, labels


def _mixed_batches(pictures: list, labels: np.ndarray, batch_size: int, steps: int, seed: int) -> Iterator[tuple]:
    """Return batches as animetimm makes them: float32 (batch, SIDE, SIDE, 3) and (batch, tags)."""
    generator, chooser = np.random.default_rng(seed), random.Random(seed)
    order: list[int] = []
    for _ in range(steps):
        if len(order) < batch_size:
            order = generator.permutation(len(pictures)).tolist()
        chosen, order = order[:batch_size], order[batch_size:]
        pixels = np.stack([_cut(pictures[number], generator, chooser) for number in chosen])
        share = generator.beta(0.6, 0.6, batch_size).astype(np.float32)
        partner = generator.permutation(batch_size)
        rows = labels[chosen]
        yield (
            pixels * share[:, None, None, None] + pixels[partner] * (1 - share)[:, None, None, None],
            rows * share[:, None] + rows[partner] * (1 - share)[:, None],
        )


def _cut(picture: Image.Image, generator: np.random.Generator, chooser: random.Random) -> np.ndarray:
    """Return a random part of a square picture, mirrored or not, resized with a random filter: (SIDE, SIDE, 3)."""
    side = picture.width * math.sqrt(generator.uniform(0.87, 0.998))
    left, top = generator.uniform(0, picture.width - side, 2)
    part = picture.resize((SIDE, SIDE), chooser.choice(FILTERS), box=(left, top, left + side, top + side))
    pixels = np.asarray(part, np.float32)
    return pixels[:, ::-1] if generator.random() < 0.5 else pixels


def _figures(score: Callable, data: Path, num_tags: int, epochs: float, seconds: float) -> dict:
    """Return the figures of a function from pictures to scores, on the test split."""
    scores, labels = foreign.score_split(score, data, "test", num_tags, SIDE, RESIZE)
    return metrics.ranking(labels, scores.astype(np.float32)) | {"epochs": epochs, "seconds": seconds}
