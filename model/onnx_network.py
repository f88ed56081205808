"""A run in one ONNX file, as export.py writes it: read and run without TensorFlow or Keras.

Front ends of WD taggers read the graph (float32 NHWC in BGR, 0 to 255 ▶ probabilities) and `selected_tags.csv` beside it.
What the suite's own commands need besides, the run's configuration, tags and thresholds, is in the file's metadata.
"""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from command import InputError
from dataset.records import Tag
from model.config import from_dict
from model.runs import Run

METADATA = "e6tag"


class OnnxNetwork:
    """Pixels ▶ probabilities by ONNX Runtime; called as a `model.tagger.TaggerNetwork` is.

    Args:
        session: an `onnxruntime.InferenceSession`.
        columns: the output's column of each of the run's tags.
    """

    def __init__(self, session, columns: list[int]):
        self.session = session
        self.columns = columns
        self.num_tags = len(columns)

    def __call__(self, pixels: np.ndarray, training: bool = False) -> dict[str, np.ndarray]:
        """What `predict_on_batch` gives."""
        return self.predict_on_batch(pixels)

    def predict_on_batch(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """RGB, uint8 (batch, height, width, 3) ▶ `probability`, float32 (batch, tags)."""
        [probability] = self._run(pixels, 1)
        return {"probability": probability[:, self.columns]}

    def observe(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same pixels ▶ embedding, float32 (batch, channels), and probabilities (batch, tags)."""
        probability, embedding = self._run(pixels, 2)
        return embedding, probability[:, self.columns]

    def _run(self, pixels: np.ndarray, outputs: int) -> list[np.ndarray]:
        """The first outputs of the graph."""
        names = [output.name for output in self.session.get_outputs()[:outputs]]
        bgr = np.ascontiguousarray(pixels[..., ::-1], np.float32)
        return self.session.run(names, {self.session.get_inputs()[0].name: bgr})


def metadata(run: Run, thresholds: np.ndarray, columns: list[int]) -> str:
    """What `load` needs of a run, as JSON."""
    facts = {"config": run.config.as_dict(), "data": run.data, "stored_size": run.stored_size}
    facts |= {"train_images": run.train_images, "tags": [asdict(tag) for tag in run.tags]}
    return json.dumps(facts | {"thresholds": thresholds.tolist(), "columns": columns}, ensure_ascii=False)


def load(path: Path) -> tuple[Run, OnnxNetwork, np.ndarray]:
    """Read an exported run: its facts, its network, and its thresholds, float32 (tags,).

    Raises:
        InputError: the file is missing, damaged or none of export.py's, or ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise InputError(f"{path} needs ONNX Runtime: pip install -r requirements-serve.txt") from None
    if not path.is_file():
        raise InputError(f"no file {path}: export.py makes one")
    try:
        options = onnxruntime.SessionOptions()
        # Threads that wait for the next batch leave the cores to those that read pictures.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(path, options, providers=onnxruntime.get_available_providers())
        content = session.get_modelmeta().custom_metadata_map.get(METADATA)
    except Exception as error:  # ONNX Runtime has its own kinds for each way in which a file can be damaged
        raise InputError(f"{path} cannot be read as ONNX: {error}") from None
    if content is None:
        raise InputError(f"{path} has no e6tag metadata: expected a model.onnx that export.py made")
    try:
        facts = json.loads(content)
        run = Run(
            folder=path.parent,
            config=from_dict(facts["config"]),
            tags=[Tag(**tag | {"implies": tuple(tag.get("implies", ()))}) for tag in facts["tags"]],
            data=facts["data"],
            stored_size=facts["stored_size"],
            train_images=facts["train_images"],
        )
        return run, OnnxNetwork(session, facts["columns"]), np.array(facts["thresholds"], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its e6tag metadata is damaged: {error!r}") from None
