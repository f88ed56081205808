"""Tag pictures with a trained run.

from inference.tagger import Tagger
tagger = Tagger.open("runs/openmoji")
for tags in tagger.tag(["cat.png", "dog.jpg"]):
    print(tags)  # {"animal": 0.93, "cat": 0.81, …}, the most probable first
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import InputError
from common.numbers import rescaled_variance, sigmoid
from common.processes import use_cpu
from dataset import images
from inference import onnx_network, sources
from inference.frames import FRAMES, Prediction, Unreadable, read_ahead, read_frames
from inference.implied import ADD, CONSTRAIN, DROP, TagLogic
from inference.onnx_network import OnnxNetwork
from inference.ratings import normalise, rating_mask
from inference.sources import Source
from model import onnx_session, run_folder
from model.run_folder import Run

BATCH = 32
BATCHES_BEFORE_COMPILING = 4  # compiling takes about as long as it saves in this many batches


def model_file(path: str | Path) -> Path:
    """Return the file that holds the network: an exported `model.onnx` itself, or `model.keras` of a run folder."""
    path = Path(path)
    return path if path.suffix == ".onnx" else path / "model.keras"


def read_run(path: str | Path) -> Run:
    """Return the configuration and the tags of a run folder or an ONNX file, without loading a Keras network.

    Raises:
        InputError: the run is missing or damaged.
    """
    file = model_file(path)
    return onnx_network.load(file, onnx_session.CPU)[0] if file.suffix == ".onnx" else run_folder.load(file.parent)


def _load_keras(file: Path, device: str | None):
    """Return the network of a `model.keras`."""
    if device == onnx_session.CPU:
        use_cpu()
    network = run_folder.load_network(file)
    if device:
        from model import devices  # imports Keras

        devices.say_if_not(device, str(file.parent))
    return network


@dataclass(frozen=True)
class Tagger:
    """A network with its tags and thresholds.

    Attributes:
        run: contents of the run folder; it has as many tags as the network has outputs.
        network: a `model.network.TaggerNetwork` or an `OnnxNetwork`.
        thresholds: probability from which each tag is predicted, float32 (tags,).
        temperatures: divisor of each tag's logit, float32 (tags,).
    """

    run: Run
    network: Any
    thresholds: np.ndarray
    temperatures: np.ndarray

    def __post_init__(self):
        counts = {len(self.run.tags), len(self.thresholds), len(self.temperatures), self.network.num_tags}
        if len(counts) > 1:
            raise InputError(
                f"{self.run.folder}: expected as many tags and thresholds as outputs of the network. Received: "
                f"{len(self.run.tags)} tags, {len(self.thresholds)} thresholds, {self.network.num_tags} outputs"
            )

    @classmethod
    def open(cls, path: str | Path, device: str | None = None, onnx: bool = False) -> "Tagger":
        """Open a run folder, or a `model.onnx`, which needs no TensorFlow.

        Args:
            path: the folder or the file.
            device: one of `onnx_session.PROVIDERS`; None: a GPU if there is one, else the CPU. The Keras file of a run
                folder has no other choice, and its GPU can be left out only before its backend is imported.
            onnx: use the `model.onnx` of a run folder, where it has one and ONNX Runtime can use the device. It opens in a
                tenth of the time, but cannot be trained on.

        Raises:
            InputError: the run is missing, unfinished or damaged.
        """
        file = model_file(path)
        if file.suffix == ".onnx":
            return cls(*onnx_network.load(file, device))
        run = run_folder.load(file.parent)
        network = (onnx_network.copy_of(file, device) if onnx else None) or _load_keras(file, device)
        # While `train.py --teach` adds a tag, tags.csv may have one more than the network.
        run = replace(run, tags=run.tags[: network.num_tags])
        if (side_pixels := network.input_shape[1]) != run.config.image_size:
            raise InputError(
                f"{path}: the network's input has {side_pixels} px, but image_size in config.json is {run.config.image_size}"
            )
        return cls(run, network, *run_folder.load_thresholds(run))

    @property
    def is_onnx(self) -> bool:
        """Whether ONNX Runtime computes the network, not Keras."""
        return isinstance(self.network, OnnxNetwork)

    def embed(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return embeddings and probabilities.

        Args:
            pixels: uint8 (batch, image_size, image_size, 3).

        Returns:
            The embeddings, float32 (batch, channels), and the probabilities at the run's temperatures, (batch, tags).
        """
        features, scores = self.network.embed(pixels)
        return features, self._at_temperatures(scores)["probability"]

    def pixels(self, data: bytes) -> np.ndarray:
        """Return the network's input for an encoded picture, with the same pixels as from a shard.

        Returns:
            uint8 (image_size, image_size, 3).

        Raises:
            ImageError: the picture cannot be read.
        """
        stored = images.normalise(data, self.run.stored_size)
        return images.network_input(stored, self.run.config.image_size, self.run.config.resize)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Return probabilities at the run's temperatures.

        Args:
            pixels: uint8 (batch, image_size, image_size, 3).

        Returns:
            float32 (batch, tags).
        """
        return self.scores(pixels)["probability"]

    def scores(self, pixels: np.ndarray, compiled: bool = False) -> dict[str, np.ndarray]:
        """Return all outputs of the network.

        Args:
            pixels: uint8 (batch, image_size, image_size, 3).
            compiled: run a compiled graph, which takes seconds for the first batch of a size and is faster afterwards.
                More than `BATCH` pictures are divided into parts of that size.

        Returns:
            Arrays of float32 (batch, tags): `probability` at the run's temperatures; `logit`, at temperature 1, except from
            an ONNX file for other programs; with a noise layer also `variance`, that of the probability.
        """
        if compiled and len(pixels) > BATCH:
            parts = [self.scores(pixels[start : start + BATCH], compiled) for start in range(0, len(pixels), BATCH)]
            return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        scores = self.network.predict_on_batch(pixels) if compiled else self.network(pixels, training=False)
        return self._at_temperatures({name: np.asarray(value) for name, value in scores.items()})

    def _at_temperatures(self, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return scores with the probabilities, and their variance, at the run's temperatures."""
        if "logit" not in scores:  # an ONNX file for other programs divides by the temperatures itself
            return scores
        scores["probability"] = sigmoid(scores["logit"] / self.temperatures)
        if "variance" in scores:
            scores["variance"] = rescaled_variance(scores["variance"], scores["logit"], self.temperatures)
        if self._ratings.any():
            scores["probability"] = normalise(scores["probability"], self._ratings)
        return scores

    def predict(self, pictures: Iterable[Source], max_frames: int = FRAMES) -> Iterator["Prediction | Unreadable"]:
        """Predict any number of pictures, in order. Threads read ahead; the network gets full batches.

        Args:
            pictures: sources, for example from `inference.sources.find`. For a long list, the network is compiled at once;
                for an iterator of unknown length, after a few batches.
            max_frames: largest number of frames of an animation.
        """
        pending: list[Prediction | Unreadable] = []
        pixels: list[np.ndarray] = []
        batches = 0
        compiled = length_hint(pictures) > BATCHES_BEFORE_COMPILING * BATCH
        for picture in read_ahead(pictures, partial(self.read, max_frames=max_frames)):
            frames = picture.frames if isinstance(picture, Prediction) else []
            if pixels and len(pixels) + len(frames) > BATCH:
                compiled = compiled or batches >= BATCHES_BEFORE_COMPILING
                yield from self._add_scores(pending, pixels, compiled)
                batches += 1
                pending, pixels = [], []
            pending.append(picture)
            pixels += frames
        yield from self._add_scores(pending, pixels, compiled)

    def read(self, source: Source, max_frames: int = FRAMES) -> "Prediction":
        """Return a picture with the network's input and without scores."""
        frames = read_frames(self.run, source.read_whole(), max_frames)
        return Prediction(source, [frame.seconds for frame in frames], [frame.pixels for frame in frames])

    def _add_scores(self, pending: list["Prediction | Unreadable"], pixels: list[np.ndarray], compiled: bool):
        """Run the network on a batch, and yield the pictures with their scores."""
        if pixels:
            padding = -len(pixels) % BATCH if compiled else 0  # a batch of another size would be compiled again
            scores = self.scores(np.stack(pixels + pixels[-1:] * padding), compiled)
            start = 0
            for prediction in pending:
                if isinstance(prediction, Prediction):
                    stop = start + len(prediction.frames)
                    prediction.scores = {name: value[start:stop] for name, value in scores.items()}  # (frames, tags)
                    start = stop
        yield from pending

    def tag(
        self,
        pictures: Iterable[str | Path | bytes],
        threshold: float | None = None,
        top: int | None = None,
        implied: str = ADD,
    ) -> list[dict[str, float]]:
        """Tag pictures, as test.py does.

        Args:
            pictures: paths or encoded pictures.
            threshold: probability from which a tag is predicted; None for the run's own threshold of each tag.
            top: largest number of tags for each picture; None for all.
            implied: one of `implied.MODES`: how tags that follow from others are treated.

        Returns:
            For each picture its tags and their probabilities, the most probable first.

        Raises:
            ImageError: a picture cannot be read.
        """
        inputs = (
            Source("bytes", partial(bytes, picture)) if isinstance(picture, bytes) else sources.file(picture)
            for picture in pictures
        )
        tags = []
        for prediction in self.predict(inputs):
            if isinstance(prediction, Unreadable):
                raise images.ImageError(f"{prediction.source.name}: {prediction.reason}")
            tags.append(self.choose(prediction.probability, threshold, top, implied=implied))
        return tags

    def choose(
        self,
        probabilities: np.ndarray,
        threshold: float | None = None,
        top: int | None = None,
        categories: frozenset[int] | None = None,
        implied: str = ADD,
        exclude: Collection[str] = (),
    ) -> dict[str, float]:
        """Return the predicted tags of one picture, the most probable first; of the ratings the most probable one.

        Args:
            probabilities: (tags,).
            threshold, top, implied: as in `tag`.
            categories: numbers of the categories whose tags are returned; None for all.
            exclude: names of tags that are not returned.
        """
        values = self.logic.constrained(probabilities[np.newaxis]) if implied == CONSTRAIN else probabilities[np.newaxis]
        limits = self.thresholds if threshold is None else np.full(len(probabilities), threshold)
        if self._ratings.any():  # exactly one is given, whatever the threshold
            limits = np.where(self._ratings, np.inf, limits)
            limits[np.argmax(np.where(self._ratings, probabilities, -1))] = 0
        [values], [predicted] = self.logic.close(values, values >= limits)
        chosen = [index for index in np.flatnonzero(predicted).tolist() if self.run.tags[index].name not in exclude]
        if categories is not None:
            chosen = [index for index in chosen if self.run.tags[index].category in categories]
        chosen.sort(key=lambda index: (-values[index], len(self.logic.implied[index]), index))
        if implied == DROP:
            chosen = self.logic.without_implied(chosen)
        return {self.run.tags[index].name: round(float(values[index]), 4) for index in chosen[:top]}

    @cached_property
    def logic(self) -> TagLogic:
        """The rules about the run's tags."""
        return TagLogic(self.run.tags, self.run.rules)

    @cached_property
    def _ratings(self) -> np.ndarray:
        return rating_mask(self.run.tags)
