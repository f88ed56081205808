"""A trained run as a function from pictures to tags.

from model.predict import Tagger
tagger = Tagger.load("runs/openmoji")
for tags in tagger.tag(["cat.png", "dog.jpg"]):
    print(tags)  # {"animal": 0.93, "cat": 0.81, …}, best first
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from operator import length_hint
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from command import InputError
from dataset import images
from model import inputs, runs
from model.calibration import as_probability
from model.inputs import Source
from model.runs import Run

if TYPE_CHECKING:
    import keras

    from model.onnx_network import OnnxNetwork


T = TypeVar("T")

FRAMES = 8  # of an animation, that are looked at
BATCH = 32
BATCHES_BEFORE_COMPILING = 4  # compiling costs what about so many batches save


@dataclass(frozen=True)
class Unreadable:
    """A picture that could not be read, and why in a few words."""

    source: Source
    reason: str


@dataclass
class Prediction:
    """What the network says of a picture.

    Attributes:
        source: the picture.
        seconds: when each of its frames begins; of a still picture, 0.
        frames: the network's input, uint8 (image_size, image_size, 3) each.
        scores: see `Tagger.scores`; (frames, tags) each.
    """

    source: Source
    seconds: list[float]
    frames: list[np.ndarray]
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def probability(self) -> np.ndarray:
        """(tags,): an animation shows what any frame of it shows."""
        return self.scores["probability"].max(axis=0)

    @property
    def uncertainty(self) -> np.ndarray:
        """Standard deviation (tags,) of the probability, in the frame that gave it.

        Raises:
            InputError: the network does not know it.
        """
        if "variance" not in self.scores:
            raise InputError("no uncertainty is known here: that takes the run folder of a run with --noise diagonal")
        best = self.scores["probability"].argmax(axis=0)
        return np.sqrt(self.scores["variance"][best, np.arange(len(best))])


@dataclass(frozen=True)
class Tagger:
    """A network with its vocabulary.

    Attributes:
        run: the run folder's contents.
        network: pixels ▶ scores; see `model.tagger.TaggerNetwork`. Of an ONNX file, probabilities alone.
        thresholds: the probability from which a tag is given, float32 (tags,).
        temperature: divides the network's logits; 1 of an ONNX file, where that is done.
    """

    run: Run
    network: "keras.Model | OnnxNetwork"
    thresholds: np.ndarray
    temperature: float

    @classmethod
    def load(cls, folder: str | Path) -> "Tagger":
        """Read a run folder, or the `model.onnx` that export.py made of one, which needs no TensorFlow.

        Raises:
            InputError: it is missing, unfinished or damaged.
        """
        if Path(folder).suffix == ".onnx":
            from model import onnx_network

            return cls(*onnx_network.load(Path(folder)), 1.0)
        run = runs.load(Path(folder))
        network = runs.load_network(run.folder / "model.keras")
        if network.num_tags > len(run.tags):
            raise InputError(f"{folder}: the network has {network.num_tags} outputs, tags.csv {len(run.tags)} rows")
        run = replace(run, tags=run.tags[: network.num_tags])  # a tag that was being taught may come after them
        side = network.input_shape[1]
        if side != run.config.image_size:
            raise InputError(f"{folder}: the network sees {side} px, config.json says {run.config.image_size}")
        return cls(run, network, *runs.load_thresholds(run))

    def pixels(self, data: bytes) -> np.ndarray:
        """The network's input for an encoded picture: the pixels that the same picture has in a shard.

        Returns:
            uint8 (image_size, image_size, 3).

        Raises:
            ImageError: the picture cannot be read.
        """
        stored = images.normalise(data, self.run.stored_size)
        return images.network_input(stored, self.run.config.image_size, self.run.config.resize)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (batch, image_size, image_size, 3) ▶ float32 (batch, tags), at the run's temperature."""
        return self.scores(pixels)["probability"]

    def scores(self, pixels: np.ndarray, compiled: bool = False) -> dict[str, np.ndarray]:
        """All that the network says of pictures.

        Args:
            pixels: uint8 (batch, image_size, image_size, 3).
            compiled: run a compiled graph: seconds more for the first batch, a fraction for each after it.

        Returns:
            float32 (batch, tags) each: `probability` at the run's temperature, and of a run folder also `logit` and, with
            a noise layer, `variance`, at temperature 1.
        """
        scores = self.network.predict_on_batch(pixels) if compiled else self.network(pixels, training=False)
        if "logit" not in scores:  # an ONNX file, which has divided by the temperature and needs no Keras
            return scores
        from keras import ops

        scores = {name: ops.convert_to_numpy(value) for name, value in scores.items()}
        return scores | {"probability": as_probability(scores["logit"] / np.float32(self.temperature))}

    def predict(self, sources: Iterable[Source], most_frames: int = FRAMES) -> Iterator["Prediction | Unreadable"]:
        """Predict any number of pictures, in order: threads read ahead of the network, which takes full batches.

        Args:
            sources: pictures; see `model.inputs`. Where their number is known, compiling need not wait.
            most_frames: of an animation.
        """
        waiting: list[Prediction | Unreadable] = []
        pixels: list[np.ndarray] = []
        batches = 0
        compiled = length_hint(sources) > BATCHES_BEFORE_COMPILING * BATCH
        for read in read_ahead(sources, partial(self.read, most_frames=most_frames)):
            waiting.append(read)
            if isinstance(read, Prediction):
                pixels += read.frames
            if len(pixels) >= BATCH:
                compiled = compiled or batches >= BATCHES_BEFORE_COMPILING
                yield from self._finish(waiting, pixels, compiled)
                batches += 1
                waiting, pixels = [], []
        yield from self._finish(waiting, pixels, compiled)

    def read(self, source: Source, most_frames: int = FRAMES) -> "Prediction":
        """A picture as the network will see it, without scores yet."""
        frames = inputs.frames(source.read(), most_frames)
        return Prediction(source, [seconds for seconds, _ in frames], [self.pixels(data) for _, data in frames])

    def _finish(self, waiting: list["Prediction | Unreadable"], pixels: list[np.ndarray], compiled: bool):
        """Give the predictions their scores."""
        if pixels:
            filling = BATCH - len(pixels) if compiled else 0  # a last batch of another size would be compiled anew
            scores = self.scores(np.stack(pixels + pixels[-1:] * filling), compiled)
            start = 0
            for prediction in waiting:
                if isinstance(prediction, Prediction):
                    stop = start + len(prediction.frames)
                    prediction.scores = {name: value[start:stop] for name, value in scores.items()}  # (frames, tags)
                    start = stop
        yield from waiting

    def tag(
        self, pictures: Iterable[str | Path | bytes], threshold: float | None = None, top: int | None = None
    ) -> list[dict[str, float]]:
        """Tag pictures, as test.py does.

        Args:
            pictures: paths or encoded bytes.
            threshold: the probability from which a tag is given; the run's own thresholds if None.
            top: give at most this many tags.

        Returns:
            For each picture its tags and their probabilities, best first.

        Raises:
            ImageError: a picture cannot be read.
        """
        sources = (
            Source("bytes", partial(bytes, picture)) if isinstance(picture, bytes) else inputs.file(picture)
            for picture in pictures
        )
        tags = []
        for prediction in self.predict(sources):
            if isinstance(prediction, Unreadable):
                raise images.ImageError(f"{prediction.source.name}: {prediction.reason}")
            tags.append(self.choose(prediction.probability, threshold, top))
        return tags

    def choose(
        self,
        probabilities: np.ndarray,
        threshold: float | None = None,
        top: int | None = None,
        categories: frozenset[int] | None = None,
    ) -> dict[str, float]:
        """The tags of one picture's probabilities (tags,), best first; arguments as in `tag`, and the categories wanted.

        With a tag come those that it implies, at least as likely as it is.
        """
        limits = self.thresholds if threshold is None else np.full(len(probabilities), threshold)
        chosen = {index: float(probabilities[index]) for index in np.flatnonzero(probabilities >= limits).tolist()}
        for index, probability in list(chosen.items()):
            for other in self._implied[index]:
                chosen[other] = max(chosen.get(other, float(probabilities[other])), probability)
        if categories is not None:
            chosen = {index: value for index, value in chosen.items() if self.run.tags[index].category in categories}
        order = sorted(chosen, key=lambda index: (-chosen[index], len(self._implied[index]), index))
        return {self.run.tags[index].name: round(chosen[index], 4) for index in order[:top]}

    @cached_property
    def _implied(self) -> list[list[int]]:
        """Tag ▶ the tags that it implies."""
        numbers = {tag.name: index for index, tag in enumerate(self.run.tags)}
        return [[numbers[name] for name in tag.implies if name in numbers] for tag in self.run.tags]


def read_ahead(sources: Iterable[Source], read: Callable[[Source], T]) -> Iterator["T | Unreadable"]:
    """What `read` gives for each source, in order: threads read ahead of whoever takes it."""

    def attempt(source: Source) -> "T | Unreadable":
        try:
            return read(source)
        except images.ImageError as error:
            return Unreadable(source, str(error))
        except OSError as error:
            return Unreadable(source, str(error.strerror or error))
        except MemoryError:
            return Unreadable(source, "not enough memory to decode it")

    pool = ThreadPoolExecutor(os.cpu_count())
    futures: deque[Future] = deque()
    try:
        for source in sources:
            futures.append(pool.submit(attempt, source))
            if len(futures) > 2 * BATCH:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
