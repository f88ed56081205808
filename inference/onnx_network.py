"""The ONNX file that export.py writes, read and run without TensorFlow or Keras.

Front ends of WD taggers read the graph (float32 NHWC in BGR, 0 to 255 ▶ probabilities) and `selected_tags.csv` beside it.
The suite's own commands also need the run's configuration, tags and thresholds, which are in the metadata of the file.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from common.errors import InputError
from dataset.records import Tag
from model import onnx_session
from model.config import from_dict
from model.run_folder import Run

METADATA = "e6tag"


class OnnxNetwork:
    """A network that ONNX Runtime computes, with the call interface of `model.network.TaggerNetwork`.

    Args:
        session: an `onnxruntime.InferenceSession`.
        columns: for each tag of the run, its column of the output.
    """

    def __init__(self, session, columns: list[int]):
        self.session = session
        self.columns = columns
        self.num_tags = len(columns)

    def __call__(self, pixels: np.ndarray, training: bool = False) -> dict[str, np.ndarray]:
        """Return the result of `predict_on_batch`."""
        return self.predict_on_batch(pixels)

    def predict_on_batch(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Return `probability`, float32 (batch, tags), for RGB pixels, uint8 (batch, height, width, 3)."""
        [probability] = self._run(pixels, 1)
        return {"probability": probability[:, self.columns]}

    def embed(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the embeddings, float32 (batch, channels), and the probabilities (batch, tags) for the same pixels."""
        probability, embedding = self._run(pixels, 2)
        return embedding, probability[:, self.columns]

    def _run(self, pixels: np.ndarray, num_outputs: int) -> list[np.ndarray]:
        """Return the first outputs of the graph."""
        names = [output.name for output in self.session.get_outputs()[:num_outputs]]
        bgr = np.ascontiguousarray(pixels[..., ::-1], np.float32)
        return self.session.run(names, {self.session.get_inputs()[0].name: bgr})


def metadata(run: Run, thresholds: np.ndarray, columns: list[int]) -> str:
    """Return the facts of a run that `load` needs, as JSON; `columns` as in `OnnxNetwork`."""
    facts = {"config": run.config.as_dict(), "data": run.data, "stored_size": run.stored_size}
    facts |= {"decode_version": run.decode_version}
    facts |= {"train_images": run.train_images, "tags": [asdict(tag) for tag in run.tags]}
    return json.dumps(facts | {"thresholds": thresholds.tolist(), "columns": columns}, ensure_ascii=False)


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
        )
        thresholds = np.array(facts["thresholds"], np.float32)
        return run, OnnxNetwork(session, facts["columns"]), thresholds, np.ones_like(thresholds)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the e6tag metadata is damaged: {error!r}") from None
