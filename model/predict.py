"""A trained run as a function from pictures to tags.

from model.predict import Tagger
tagger = Tagger.load("runs/openmoji")
for tags in tagger.tag(["cat.png", "dog.jpg"]):
    print(tags)  # {"animal": 0.93, "cat": 0.81, …}, best first
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from command import InputError
from dataset import images
from model import runs
from model.runs import Run

if TYPE_CHECKING:
    import keras

    from model.onnx_network import OnnxNetwork


@dataclass(frozen=True)
class Tagger:
    """A network with its vocabulary.

    Attributes:
        run: the run folder's contents.
        network: pixels ▶ scores; see `model.tagger.TaggerNetwork`. Of an ONNX file, probabilities alone.
        thresholds: the probability from which a tag is given, float32 (tags,).
    """

    run: Run
    network: "keras.Model | OnnxNetwork"
    thresholds: np.ndarray

    @classmethod
    def load(cls, folder: str | Path) -> "Tagger":
        """Read a run folder, or the `model.onnx` that export.py made of one, which needs no TensorFlow.

        Raises:
            InputError: it is missing, unfinished or damaged.
        """
        if Path(folder).suffix == ".onnx":
            from model import onnx_network

            return cls(*onnx_network.load(Path(folder)))
        run = runs.load(Path(folder))
        network = runs.load_network(run.folder / "model.keras")
        if network.num_tags != len(run.tags):
            raise InputError(f"{folder}: the network has {network.num_tags} outputs, tags.csv {len(run.tags)} rows")
        return cls(run, network, runs.load_thresholds(run))

    def pixels(self, data: bytes) -> np.ndarray:
        """The network's input for an encoded picture: the pixels that the same picture has in a shard.

        Returns:
            uint8 (image_size, image_size, 3).

        Raises:
            ImageError: the picture cannot be read.
        """
        stored = images.decode(images.normalise(data, self.run.stored_size))
        return images.fit(stored, self.run.config.image_size, self.run.config.resize)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (batch, image_size, image_size, 3) ▶ float32 (batch, tags)."""
        probability = self.network(pixels, training=False)["probability"]
        if isinstance(probability, np.ndarray):  # from ONNX Runtime
            return probability
        from keras import ops

        return ops.convert_to_numpy(probability)

    def tag(
        self, pictures: Iterable[str | Path | bytes], threshold: float | None = None, top: int | None = None
    ) -> list[dict[str, float]]:
        """Tag pictures, all in one batch.

        Args:
            pictures: paths or encoded bytes.
            threshold: the probability from which a tag is given; the run's own thresholds if None.
            top: give at most this many tags.

        Returns:
            For each picture its tags and their probabilities, best first.

        Raises:
            ImageError, OSError: a picture cannot be read.
        """
        pixels = [self.pixels(picture if isinstance(picture, bytes) else images.read_file(picture)) for picture in pictures]
        return [self.choose(row, threshold, top) for row in self.probabilities(np.stack(pixels))] if pixels else []

    def choose(self, probabilities: np.ndarray, threshold: float | None, top: int | None) -> dict[str, float]:
        """The tags of one picture's probabilities (tags,), best first; arguments as in `tag`."""
        order = np.argsort(-probabilities, kind="stable")
        limits = self.thresholds if threshold is None else np.full(len(order), threshold)
        chosen = [index for index in order if probabilities[index] >= limits[index]][:top]
        return {self.run.tags[index].name: round(float(probabilities[index]), 4) for index in chosen}
