"""The ONNX files of this suite and of WD taggers, read and run without TensorFlow or Keras.

train.py writes `model.onnx` into the run folder, and export.py writes others. The graph maps float32 (batch, side, side, 3)
in BGR, 0 to 255, to probabilities and embeddings; a file for this suite has the other outputs below as well. The run's
configuration, tags and thresholds are in the metadata of the file.
"""

import functools
import json
from dataclasses import asdict, astuple
from pathlib import Path

import numpy as np
from PIL import Image

from common.errors import InputError, say
from common.numbers import sigmoid
from dataset import implications
from dataset.implications import Rule
from dataset.records import Tag
from model import onnx_session
from model.config import from_dict
from model.run_folder import Run, digest

METADATA = "e6tag"  # key of the facts that only this suite reads
# Names in the graph. Files of earlier versions have others, so that outputs are taken by their position.
INPUT, PROBABILITIES, EMBEDDING = "input", "predictions_sigmoid", "embedding"
# For this suite: the logits at temperature 1; with a noise layer the variance of the probabilities, at temperature 1 too;
# with a feature map what its positions add to the embedding, and the weights of the tags.
LOGIT, VARIANCE, CONTRIBUTIONS, TAG_WEIGHTS = "logit", "variance", "contributions", "tag_weights"


class OnnxNetwork:
    """A network that ONNX Runtime computes, with the call interface of `model.network.TaggerNetwork`.

    Args:
        session: an `onnxruntime.InferenceSession`.
        columns: for each tag of the run, its column of the output.
        trunk_fingerprint: `added_tags.trunk_fingerprint` of the run; empty in files of earlier versions.
        keras_file: `run_folder.digest` of the `model.keras` that holds the same network; empty in such files.
    """

    def __init__(self, session, columns: list[int], trunk_fingerprint: str = "", keras_file: str = ""):
        self.session = session
        self.columns = columns
        self.trunk_fingerprint = trunk_fingerprint
        self.keras_file = keras_file
        self.num_tags = len(columns)
        self.outputs = [output.name for output in session.get_outputs()]
        self.has_feature_map = CONTRIBUTIONS in self.outputs
        self.added: tuple[np.ndarray, np.ndarray] | None = None  # weights (outputs, channels) and biases (outputs,)

    @property
    def input_shape(self) -> tuple:
        """(None, height, width, 3), as of a Keras model."""
        return (None, *self.session.get_inputs()[0].shape[1:])

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
        network = OnnxNetwork(self.session, self.columns, self.trunk_fingerprint, self.keras_file)
        network.added = weights, biases
        network.num_tags += len(biases)
        return network

    def __call__(self, pixels: np.ndarray, training: bool = False) -> dict[str, np.ndarray]:
        """Return the result of `predict_on_batch`."""
        return self.predict_on_batch(pixels)

    def predict_on_batch(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Return the scores for RGB pixels, uint8 (batch, height, width, 3), each float32 (batch, tags).

        A file for this suite gives `logit`, at temperature 1, and with a noise layer `variance`; another one `probability`.
        """
        return self.embed(pixels)[1] if self.added else self._scores(pixels, [])[0]

    def embed(self, pixels: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the embeddings, float32 (batch, channels), and the scores as `predict_on_batch` does."""
        scores, [embedding] = self._scores(pixels, [self.outputs[1]])
        if self.added:
            weights, biases = self.added
            logit = embedding @ weights.T + biases  # (batch, outputs)
            added = {LOGIT: logit, VARIANCE: np.zeros_like(logit), "probability": sigmoid(logit)}
            scores = {name: np.concatenate([score, added[name]], axis=1) for name, score in scores.items()}
        return embedding, scores

    def contributions(self, pixels: np.ndarray) -> np.ndarray:
        """Return what each position of the feature map adds to the embedding, float32 (batch, height, width, channels)."""
        return self._run(pixels, [CONTRIBUTIONS])[0]

    @functools.cached_property
    def tag_weights(self) -> np.ndarray:
        """Weights of the embedding's channels in each tag's logit, without noise: float32 (channels, num_tags)."""
        [weights] = self._run(np.zeros((1, *self.input_shape[1:]), np.uint8), [TAG_WEIGHTS])
        return np.concatenate([weights[:, self.columns], *([self.added[0].T] if self.added else [])], axis=1)

    def _scores(self, pixels: np.ndarray, further: list[str]) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
        """Return the scores of the tags in the file, and further outputs."""
        names = [name for name in (LOGIT, VARIANCE) if name in self.outputs] or self.outputs[:1]
        values = self._run(pixels, names + further)
        keys = names if LOGIT in names else ["probability"]
        return {key: value[:, self.columns] for key, value in zip(keys, values, strict=False)}, values[len(names) :]

    def _run(self, pixels: np.ndarray, names: list[str]) -> list[np.ndarray]:
        """Return some of the graph's outputs, computing nothing that only others need."""
        import onnxruntime

        image, options = self.session.get_inputs()[0], onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        bgr = np.ascontiguousarray(enlarge(pixels, image.shape[1])[..., ::-1], np.float32)
        return self.session.run(names, {image.name: bgr}, options)


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


def metadata(
    run: Run, thresholds: np.ndarray, temperatures: np.ndarray, columns: dict[int, int], trunk_fingerprint: str
) -> str:
    """Return the facts of a run that `load` needs, as JSON.

    Args:
        run: the run.
        thresholds: probability from which each tag is predicted, (tags,).
        temperatures: divisor of each tag's logit, (tags,).
        columns: index of a tag ▶ its column of the output. Other tags are left out.
        trunk_fingerprint: see `OnnxNetwork`.
    """
    facts = {"config": run.config.as_dict(), "data": run.data, "stored_size": run.stored_size}
    facts |= {"decode_version": run.decode_version, "train_images": run.train_images}
    kept = sorted(columns)
    facts |= {"tags": [asdict(run.tags[index]) for index in kept], "thresholds": thresholds[kept].tolist()}
    facts |= {"columns": [columns[index] for index in kept], "trunk": trunk_fingerprint}
    facts |= {"temperatures": temperatures[kept].tolist(), "keras_file": digest(run.folder / "model.keras")}
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
        The run without its network, the network, the thresholds, and the divisors of the logits, float32 (tags,) both.

    Raises:
        InputError: the file is missing, damaged or not from export.py, or ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise InputError(f"{path} needs ONNX Runtime: pip install -r requirements-serve.txt") from None
    if not path.is_file():
        raise InputError(f"{path} is missing: train.py or export.py writes it")
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
        network = OnnxNetwork(session, facts["columns"], facts.get("trunk", ""), facts.get("keras_file", ""))
        temperatures = np.ones_like(thresholds)  # of a file that divides the logits itself
        if LOGIT in network.outputs:
            temperatures = np.array(facts["temperatures"], np.float32)
        return run, network, thresholds, temperatures
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the e6tag metadata is damaged: {error!r}") from None


def copy_of(keras_file: Path, device: str | None = None) -> OnnxNetwork | None:
    """Return the network of the `model.onnx` beside a run's `model.keras`.

    Args:
        keras_file: the run's `model.keras`.
        device: see `onnx_session.open_session`.

    Returns:
        None where there is no such file, ONNX Runtime is not installed or cannot use the device; and, with a line that says
        so, where the file is damaged or holds another network.
    """
    path = keras_file.with_name("model.onnx")
    if not path.is_file() or not onnx_session.can_use(device):
        return None
    try:
        _, network, _, _ = load(path, device)
        if network.keras_file and network.keras_file == digest(keras_file):
            return network
        if not digest(keras_file):
            return None  # missing or damaged: who opens it says so
        problem = f"{path} holds another network than {keras_file.name}"
    except InputError as error:
        problem = str(error)
    say(f"{problem}: {keras_file.name} is used. To start faster: python export.py --run {path.parent} --format run")
    return None
