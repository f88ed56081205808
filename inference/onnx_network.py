"""The ONNX files that export.py writes for this suite and for WD taggers, read and run without TensorFlow or Keras.

The graph maps float32 (batch, side, side, 3) in BGR, 0 to 255, to probabilities and embeddings. The run's configuration,
tags and thresholds are in the metadata of the file.
"""

import functools
import json
from dataclasses import asdict, astuple
from pathlib import Path

import numpy as np
from PIL import Image

from common.errors import InputError
from common.numbers import sigmoid
from dataset import implications
from dataset.implications import Rule
from dataset.records import Tag
from model import onnx_session
from model.config import from_dict
from model.run_folder import Run

METADATA = "e6tag"  # key of the facts that only this suite reads
# Names in the graph. Files of earlier versions have others, so that outputs are taken by their position.
INPUT, PROBABILITIES, EMBEDDING = "input", "predictions_sigmoid", "embedding"


class OnnxNetwork:
    """A network that ONNX Runtime computes, with the call interface of `model.network.TaggerNetwork`.

    Args:
        session: an `onnxruntime.InferenceSession`.
        columns: for each tag of the run, its column of the output.
        trunk_fingerprint: `added_tags.trunk_fingerprint` of the run; empty in files of earlier versions.
    """

    def __init__(self, session, columns: list[int], trunk_fingerprint: str = ""):
        self.session = session
        self.columns = columns
        self.trunk_fingerprint = trunk_fingerprint
        self.num_tags = len(columns)
        self.added: tuple[np.ndarray, np.ndarray] | None = None  # weights (outputs, channels) and biases (outputs,)

    @property
    def embedding_width(self) -> int:
        """Number of channels of the embedding."""
        return self.session.get_outputs()[1].shape[-1]

    def with_added_outputs(self, weights: np.ndarray, biases: np.ndarray) -> "OnnxNetwork":
        """Return a network of the same session with added outputs, which NumPy computes from the embedding.

        Args:
            weights: weights of the embedding's channels, (outputs, channels).
            biases: added to the logits, (outputs,).
        """
        network = OnnxNetwork(self.session, self.columns, self.trunk_fingerprint)
        network.added = weights, biases
        network.num_tags += len(biases)
        return network

    def __call__(self, pixels: np.ndarray, training: bool = False) -> dict[str, np.ndarray]:
        """Return the result of `predict_on_batch`."""
        return self.predict_on_batch(pixels)

    def predict_on_batch(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Return `probability`, float32 (batch, tags), for RGB pixels, uint8 (batch, height, width, 3)."""
        if self.added:
            return {"probability": self.embed(pixels)[1]}
        [probability] = self._run(pixels, 1)
        return {"probability": probability[:, self.columns]}

    def embed(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the embeddings, float32 (batch, channels), and the probabilities (batch, tags) for the same pixels."""
        probability, embedding = self._run(pixels, 2)
        probability = probability[:, self.columns]
        if self.added:
            weights, biases = self.added
            probability = np.concatenate([probability, sigmoid(embedding @ weights.T + biases)], axis=1)
        return embedding, probability

    def _run(self, pixels: np.ndarray, num_outputs: int) -> list[np.ndarray]:
        """Return the first outputs of the graph."""
        names = [output.name for output in self.session.get_outputs()[:num_outputs]]
        image = self.session.get_inputs()[0]
        bgr = np.ascontiguousarray(enlarge(pixels, image.shape[1])[..., ::-1], np.float32)
        return self.session.run(names, {image.name: bgr})


@functools.cache
def averaging_matrix(side: int, image_size: int) -> np.ndarray:
    """Return the matrix that averages neighbouring pixels of a row: `side` pixels ▶ `image_size` pixels.

    Of the filters of Pillow, averaging comes closest to the pixels of training (docs/benchmarks.md).

    Returns:
        float32 (image_size, side). Each column has exactly one value other than 0.
    """
    identity = Image.fromarray(np.eye(side, dtype=np.float32))
    return np.asarray(identity.resize((side, image_size), Image.Resampling.BOX))


def enlarge(pixels: np.ndarray, side: int) -> np.ndarray:
    """Repeat pixels so that averaging gives the same picture again: (batch, size, size, 3) ▶ (batch, side, side, 3)."""
    if side == pixels.shape[1]:
        return pixels
    source = averaging_matrix(side, pixels.shape[1]).argmax(axis=0)  # (side,)
    return pixels[:, source][:, :, source]


def metadata(run: Run, thresholds: np.ndarray, columns: dict[int, int], trunk_fingerprint: str) -> str:
    """Return the facts of a run that `load` needs, as JSON.

    Args:
        run: the run.
        thresholds: probability from which each tag is predicted, (tags,).
        columns: index of a tag ▶ its column of the output. Other tags are left out.
        trunk_fingerprint: see `OnnxNetwork`.
    """
    facts = {"config": run.config.as_dict(), "data": run.data, "stored_size": run.stored_size}
    facts |= {"decode_version": run.decode_version, "train_images": run.train_images}
    kept = sorted(columns)
    facts |= {"tags": [asdict(run.tags[index]) for index in kept], "thresholds": thresholds[kept].tolist()}
    facts |= {"columns": [columns[index] for index in kept], "trunk": trunk_fingerprint}
    if run.rules is not None:
        names = {run.tags[index].name for index in kept}
        facts["rules"] = [astuple(rule) for rule in implications.among(run.rules, names)]
    return json.dumps(facts, ensure_ascii=False)


def load(path: Path, device: str | None = None) -> tuple[Run, OnnxNetwork, np.ndarray, np.ndarray]:
    """Read an exported run.

    Args:
        path: the file.
        device: see `onnx_session.open_session`.

    Returns:
        The run without its network, the network, the thresholds, and the divisors of the logits, which are 1 because the
        file divides them itself; float32 (tags,) both.

    Raises:
        InputError: the file is missing, damaged or not from export.py, or ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise InputError(f"{path} needs ONNX Runtime: pip install -r requirements-serve.txt") from None
    if not path.is_file():
        raise InputError(f"{path} is missing: export.py writes it")
    try:
        options = onnxruntime.SessionOptions()
        # Without spinning, threads that wait for the next batch leave the cores to the threads that read pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnx_session.open_session(path, str(path), device, options)
        content = session.get_modelmeta().custom_metadata_map.get(METADATA)
    except Exception as error:  # ONNX Runtime has its own exception for each kind of damage
        raise InputError(f"{path} cannot be read as ONNX: {error}") from None
    if content is None:
        raise InputError(f"{path} has no e6tag metadata: expected a model.onnx that export.py wrote")
    try:
        facts = json.loads(content)
        run = Run(
            folder=path.parent,
            config=from_dict(facts["config"]),
            tags=[Tag(**tag | {"implies": tuple(tag.get("implies", ()))}) for tag in facts["tags"]],
            data=facts["data"],
            stored_size=facts["stored_size"],
            train_images=facts["train_images"],
            decode_version=facts.get("decode_version", 1),
            rules=tuple(Rule(*rule) for rule in facts["rules"]) if "rules" in facts else None,
        )
        thresholds = np.array(facts["thresholds"], np.float32)
        network = OnnxNetwork(session, facts["columns"], facts.get("trunk", ""))
        return run, network, thresholds, np.ones_like(thresholds)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the e6tag metadata is damaged: {error!r}") from None
