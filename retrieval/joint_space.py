"""The joint space: pictures and sentences as vectors that can be compared.

Two linear projections lead into the space, one from a run's outputs and one from those of a text encoder. A picture is then
near the sentences that describe it (Radford et al., arXiv 2103.00020; with a frozen network and text encoder, Zhai et al.,
arXiv 2111.07991). The inputs of a picture are its embedding and the probabilities of the tags. The inputs of a sentence are
the encoder's vector and its similarity to the name of each tag. `retrieval.alignment` learns the projections; this module
saves and applies them, without Keras. For a run without projections, the space is the embedding, and has pictures only.
"""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from common.errors import InputError
from common.files import atomic_write
from inference.tagger import Tagger, model_file, read_run
from model.run_folder import Run
from retrieval.text_encoder import TextEncoder, load_text_encoder

FILE = "projections.npz"
SIDES = ("picture", "sentence")
SIMILARITY_EXPONENT = 4  # makes small similarities of a sentence to a tag negligible


@dataclass(frozen=True)
class Projection:
    """A linear map into the joint space.

    Attributes:
        mean, scale: mean and scale of the inputs, (inputs,).
        weights: (inputs, dimensions).
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Return unit vectors, float32 (rows, dimensions), for inputs (rows, inputs)."""
        return l2_normalize(self.standardize(inputs) @ self.weights)

    def standardize(self, inputs: np.ndarray) -> np.ndarray:
        """Return (inputs - mean) / scale, float32 (rows, inputs)."""
        return ((inputs - self.mean) / self.scale).astype(np.float32)


@dataclass(frozen=True)
class Projections:
    """The two projections that `retrieval.alignment` learns.

    Attributes:
        text_encoder: name of the text encoder; see `retrieval.text_encoder`.
        tags: names of the tags among the inputs. They are the first tags of the run; `train.py --teach` may add more.
        picture, sentence: the two linear maps.
    """

    text_encoder: str
    tags: list[str]
    picture: Projection
    sentence: Projection

    def save(self, path: Path) -> None:
        """Write the projections."""
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"{side}_{name}": value for side in SIDES for name, value in vars(getattr(self, side)).items()}
        with atomic_write(path, "wb") as file:
            np.savez(file, tower=np.array(self.text_encoder), tags=np.array(self.tags), **arrays)

    @classmethod
    def load(cls, path: Path) -> "Projections":
        """Read the projections.

        Raises:
            InputError: the file is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                maps = (Projection(*(arrays[f"{side}_{name}"] for name in Projection.__annotations__)) for side in SIDES)
                return cls(str(arrays["tower"]), arrays["tags"].tolist(), *maps)
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path} is damaged ({error!r}). Run: python search.py --align") from None


class JointSpace:
    """Turns pictures and sentences into vectors. The network is loaded when a picture first needs it.

    Args:
        path: a run folder or an ONNX file; the projections are in `search/` beside the network's file.
        device: see `Tagger.open`; the `model.onnx` of a run folder is used where there is one.

    Raises:
        InputError: the network's file is missing.
    """

    def __init__(self, path: Path, device: str | None = None):
        self.path, self.device = path, device
        self.network_file = model_file(path)
        if not self.network_file.is_file():
            expected = "expected the folder of a trained run, or a model.onnx that export.py wrote"
            raise InputError(f"{self.network_file} is missing: {expected}")
        self.folder = self.network_file.parent / "search"
        self.file = self.folder / FILE

    @cached_property
    def projections(self) -> Projections | None:
        """The projections of the run; None if `search.py --align` has not been run.

        Raises:
            InputError: the file is damaged, or has other tags than the run.
        """
        if not self.file.exists():
            return None
        projections = Projections.load(self.file)
        if projections.tags != [tag.name for tag in self.run.tags[: len(projections.tags)]]:
            raise InputError(f"{self.file} was learned with other tags. Run: python search.py --align")
        return projections

    @cached_property
    def version(self) -> str:
        """A hash of the network and the projections."""
        projections = self.file.read_bytes() if self.projections else b""
        return hashlib.sha256(self.network_file.read_bytes() + projections).hexdigest()[:16]

    def embed_pictures(self, pixels: np.ndarray) -> np.ndarray:
        """Return unit vectors, float32 (batch, dimensions), for pixels, uint8 (batch, image_size, image_size, 3)."""
        features, probability = self.tagger.embed(pixels)
        if self.projections is None:
            return l2_normalize(features)
        probability = probability[:, : len(self.projections.tags)]
        return self.projections.picture(np.concatenate([features, probability], axis=1))

    def embed_sentences(self, sentences: list[str]) -> np.ndarray:
        """Return unit vectors, float32 (sentences, dimensions).

        Raises:
            InputError: the run has no projections, or the text encoder is missing.
        """
        features = self._sentence_features(sentences)
        assert self.projections is not None
        return self.projections.sentence(features)

    @cached_property
    def run(self) -> Run:
        """The run, without loading its network."""
        return read_run(self.path)

    @cached_property
    def tagger(self) -> Tagger:
        """The run with its network."""
        return Tagger.open(self.path, self.device, onnx=True)

    @cached_property
    def _sentence_features(self) -> Callable[[list[str]], np.ndarray]:
        if self.projections is None:
            raise InputError("this run cannot search by sentences yet. Run: python search.py --align")
        return sentence_featurizer(load_text_encoder(self.projections.text_encoder), self.projections.tags)


def sentence_featurizer(text_encoder: TextEncoder, tags: list[str]) -> Callable[[list[str]], np.ndarray]:
    """Return a function that computes the inputs of the sentence projection.

    The function takes sentences and returns float32 (sentences, dimensions + tags): the vector of each sentence, and powers
    of its similarity to the name of each tag.
    """
    names = text_encoder([name.replace("_", " ").replace("-", " ") for name in tags])  # (tags, dimensions)

    def sentence_features(sentences: list[str]) -> np.ndarray:
        vectors = text_encoder(sentences)  # (sentences, dimensions)
        return np.concatenate([vectors, (vectors @ names.T).clip(0) ** SIMILARITY_EXPONENT], axis=1)

    return sentence_features


def l2_normalize(vectors: np.ndarray) -> np.ndarray:
    """Return the rows of `vectors` scaled to length 1, float32; rows of zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, length, out=np.zeros(vectors.shape, np.float32), where=length > 1e-9)
