"""Where pictures and sentences meet: a picture's embedding and a sentence's as vectors that can be compared.

A run's trunk and a text tower stay as they are; a linear projection of each leads into one space, where a picture is near
the words that describe it (Radford et al., arXiv 2103.00020, with both towers frozen: Zhai et al., arXiv 2111.07991). Both
projections also see the tags: of a picture their probabilities, of a sentence how much it says of each. `model.alignment`
learns them; here they are kept and applied, without Keras. Of a run that has none, the space is the embedding alone.
"""

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from command import InputError
from model import runs, sentences
from model.predict import Tagger
from model.runs import Run

FILE = "projections.npz"
SIDES = ("picture", "sentence")
SHARPNESS = 4  # of a sentence's likeness to a tag: what is hardly like it counts as not at all


@dataclass(frozen=True)
class Projection:
    """A linear map into the joint space.

    Attributes:
        mean, scale: of its input, (inputs,).
        weights: (inputs, dimensions).
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """(rows, inputs) ▶ float32 (rows, dimensions), of length 1."""
        return unit(self.standardised(inputs) @ self.weights)

    def standardised(self, inputs: np.ndarray) -> np.ndarray:
        """(rows, inputs) ▶ what the weights are for."""
        return ((inputs - self.mean) / self.scale).astype(np.float32)


@dataclass(frozen=True)
class Projections:
    """What `model.alignment` learns.

    Attributes:
        tower: the name of the text tower; see `model.sentences`.
        tags: names of the tags that they see, the first ones of the run: others may be taught to it later.
        picture, sentence: the two maps.
    """

    tower: str
    tags: list[str]
    picture: Projection
    sentence: Projection

    def save(self, path: Path) -> None:
        """Write them; the file appears under its name only when complete."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npz")
        arrays = {f"{side}_{name}": value for side in SIDES for name, value in vars(getattr(self, side)).items()}
        np.savez(partial, tower=np.array(self.tower), tags=np.array(self.tags), **arrays)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Projections":
        """Read them.

        Raises:
            InputError: the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                maps = (Projection(*(arrays[f"{side}_{name}"] for name in Projection.__annotations__)) for side in SIDES)
                return cls(str(arrays["tower"]), arrays["tags"].tolist(), *maps)
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged ({error!r}): python search.py --align makes it again") from None


class JointSpace:
    """A run's pictures and sentences as vectors. The network is read when it is first needed: sentences need none.

    Args:
        path: of the run's model, `model.keras` or an ONNX file; the projections are in `search/` beside it.

    Raises:
        InputError: there is no such file.
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise InputError(f"{path} is missing: expected the folder of a trained run, or a model.onnx of export.py")
        self.path = path
        self.folder = path.parent / "search"
        self.file = self.folder / FILE

    @cached_property
    def projections(self) -> Projections | None:
        """What was learned, or None.

        Raises:
            InputError: the file is damaged, or was learned for other tags.
        """
        if not self.file.exists():
            return None
        found = Projections.load(self.file)
        if found.tags != [tag.name for tag in self.run.tags[: len(found.tags)]]:
            raise InputError(f"{self.file} was learned for other tags: python search.py --align makes it again")
        return found

    @cached_property
    def version(self) -> str:
        """What changes with the network and with the projections."""
        learned = self.file.read_bytes() if self.projections else b""
        return hashlib.sha256(self.path.read_bytes() + learned).hexdigest()[:16]

    def pictures(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 (batch, image_size, image_size, 3) ▶ float32 (batch, dimensions), of length 1."""
        features, probability = self._observe(pixels)
        if self.projections is None:
            return unit(features)
        probability = probability[:, : len(self.projections.tags)]
        return self.projections.picture(np.concatenate([features, probability], axis=1))

    def sentences(self, texts: list[str]) -> np.ndarray:
        """float32 (texts, dimensions), of length 1.

        Raises:
            InputError: the run has no projections, or the text tower is missing.
        """
        described = self._describe(texts)
        return self.projections.sentence(described)

    @cached_property
    def run(self) -> Run:
        """The run without its network."""
        return self.tagger.run if self.path.suffix == ".onnx" else runs.load(self.path.parent)

    @cached_property
    def tagger(self) -> Tagger:
        """The run with its network."""
        return Tagger.load(self.path if self.path.suffix == ".onnx" else self.path.parent)

    @cached_property
    def _observe(self):
        return observer(self.tagger)

    @cached_property
    def _describe(self):
        if self.projections is None:
            raise InputError("this run knows no sentences yet: python search.py --align")
        return describer(sentences.load(self.projections.tower), self.projections.tags)


def observer(tagger: Tagger):
    """A function: pixels (batch, size, size, 3) ▶ embedding (batch, channels) and probabilities (batch, tags) of a run."""
    if not hasattr(tagger.network, "get_layer"):  # an ONNX file
        return tagger.network.observe
    import keras

    outputs = {"features": tagger.network.get_layer("features").output, "logit": tagger.network.output["logit"]}
    network = keras.Model(tagger.network.input, outputs)

    def observe(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        said = network.predict_on_batch(pixels)
        features, logit = (keras.ops.convert_to_numpy(said[name]).astype(np.float32) for name in ("features", "logit"))
        return features, 1 / (1 + np.exp(-logit / tagger.temperature))

    return observe


def describer(tower: sentences.Tower, tags: list[str]):
    """A function: sentences ▶ float32 (sentences, dimensions + tags), their vectors and how much each says of each tag."""
    names = tower([name.replace("_", " ").replace("-", " ") for name in tags])  # (tags, dimensions)

    def describe(texts: list[str]) -> np.ndarray:
        vectors = tower(texts)
        return np.concatenate([vectors, (vectors @ names.T).clip(0) ** SHARPNESS], axis=1)

    return describe


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32; of nothing, nothing."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros(vectors.shape, np.float32), where=length > 1e-9)
