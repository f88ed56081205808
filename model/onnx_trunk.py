"""A trunk out of an ONNX file as a layer, which onnxruntime computes. It cannot be trained."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from common.errors import InputError
from model import onnx_session

DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


@keras.saving.register_keras_serializable(package="e6tag")
class OnnxTrunk(keras.layers.Layer):
    """The network of an ONNX file. The bytes of the file are a weight, so that the run's network contains them.

    Args:
        num_bytes: size of the file.
        output: name of the output that is used.
        shape: shape of that output for one picture.

    Input:
        float (batch, side, side, 3), the pixel values that the file's network expects, RGB.

    Output:
        float32 (batch, *shape).
    """

    def __init__(self, num_bytes: int, output: str, shape: list[int], **kwargs):
        super().__init__(**kwargs | {"dtype": "float32", "trainable": False})
        self.supports_jit = False  # XLA does not call onnxruntime
        self.num_bytes, self.output_name, self.shape = num_bytes, output, tuple(shape)
        self.session: Any = None

    def build(self, input_shape):
        self.file = self.add_weight(
            name="file", shape=(self.num_bytes,), dtype="uint8", initializer="zeros", trainable=False
        )
        super().build(input_shape)

    def call(self, pixels):
        backend = keras.backend.backend()
        if backend == "tensorflow":
            import tensorflow as tf

            features = tf.numpy_function(self.compute, [pixels, ops.convert_to_tensor(self.file)], tf.float32)
            return tf.ensure_shape(features, (None, *self.shape))
        if backend == "jax":
            import jax

            result = jax.ShapeDtypeStruct((pixels.shape[0], *self.shape), np.float32)
            return jax.pure_callback(self.compute, result, pixels, ops.convert_to_tensor(self.file))
        return ops.convert_to_tensor(self.compute(ops.convert_to_numpy(pixels), ops.convert_to_numpy(self.file)))

    def compute(self, pixels: np.ndarray, file: np.ndarray) -> np.ndarray:
        """Return the features of a batch; the file is read in the first call."""
        if self.session is None:
            self.session = open_session(np.asarray(file).tobytes(), self.name)
        return run(self.session, self.output_name, np.asarray(pixels))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.shape)

    def get_config(self):
        return super().get_config() | {"num_bytes": self.num_bytes, "output": self.output_name, "shape": list(self.shape)}


def load(path: Path, output: str, default_side: int) -> keras.Model:
    """Return a Keras model from pictures to an output of an ONNX file's network.

    Args:
        path: the file.
        output: name of the output; empty: the only one.
        default_side: side of the pictures, in pixels, if the network takes any.

    Raises:
        InputError: the file is no such network, or has several outputs and none is chosen.
    """
    content = path.read_bytes()
    session = open_session(content, str(path))
    inputs, outputs = session.get_inputs(), [entry.name for entry in session.get_outputs()]
    shape = list(inputs[0].shape) if len(inputs) == 1 else []
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or inputs[0].type not in DTYPES:
        received = ", ".join(f"{entry.name} {entry.shape} {entry.type}" for entry in inputs)
        raise InputError(f"--init: {path} takes {received}: expected one batch of RGB pictures")
    if not output and len(outputs) > 1:
        raise InputError(
            f"--init: {path} has the outputs {', '.join(outputs)}: choose one, as in --init {path}:{outputs[0]}"
        )
    if output and output not in outputs:
        raise InputError(f"--init: {path} has no output {output}, but {', '.join(outputs)}")
    sides = shape[2:] if shape[1] == 3 else shape[1:3]
    side = next((length for length in sides if isinstance(length, int)), None)
    name = output or outputs[0]
    try:
        features = run(session, name, np.zeros((1, side or default_side, side or default_side, 3), np.float32))
    except Exception as error:  # onnxruntime raises its own kinds
        raise InputError(
            f"--init: {path} does not compute {side or default_side} px: {str(error).splitlines()[0]}"
        ) from None
    if features.ndim < 2:
        raise InputError(
            f"--init: output {name} of {path} has the shape {features.shape}: expected (batch, channels) or more"
        )
    picture = keras.Input((side, side, 3), name="picture")
    layer = OnnxTrunk(len(content), name, list(features.shape[1:]), name="onnx_trunk")
    model = keras.Model(picture, layer(picture))
    layer.set_weights([np.frombuffer(content, np.uint8)])
    return model


def open_session(content: bytes, name: str):
    """Open the network of an ONNX file.

    Raises:
        InputError: onnxruntime is not installed, or the bytes are no such file.
    """
    try:
        return onnx_session.open_session(content, name)
    except ImportError:
        raise InputError("a trunk out of an ONNX file needs pip install -r requirements-export.txt") from None
    except Exception as error:  # onnxruntime raises its own kinds
        raise InputError(f"{name} is not an ONNX file, or is damaged: {str(error).splitlines()[0]}") from None


def run(session, output: str, pixels: np.ndarray) -> np.ndarray:
    """Return an output of a network for RGB pictures (batch, side, side, 3), as float32."""
    entry = session.get_inputs()[0]
    if entry.shape[1] == 3:
        pixels = pixels.transpose(0, 3, 1, 2)  # (batch, 3, side, side)
    pixels = np.ascontiguousarray(pixels.astype(DTYPES[entry.type]))
    size = entry.shape[0] if isinstance(entry.shape[0], int) else len(pixels)  # some files take one picture at a time
    parts = [session.run([output], {entry.name: pixels[start : start + size]})[0] for start in range(0, len(pixels), size)]
    return np.concatenate(parts).astype(np.float32)
