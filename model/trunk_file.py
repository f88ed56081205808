"""Trunks out of files: a model that Keras saved, a folder of keras-hub, or an ONNX file.

The run's network contains the layers of such a model one by one, as it does those of its own trunk, so that stages can be
frozen and have learning rates of their own. Its structure is stored in `model.keras`; the file is needed for training only.
"""

import json
import re
import zipfile
from pathlib import Path

import keras

from common.errors import InputError
from common.files import read_json
from model import onnx_trunk
from model.presets import FILE, PIXELS, PRESETS

SCALING = "rescale"  # name of the layer that scales pixels, as in the suite's own networks
RESERVED = {"image", SCALING, "tokens", "features", "bottleneck", "tags", "probability"}  # names of other layers
ONNX_FILE = re.compile(r"(.+\.onnx)(?::(.+))?")  # a path, and the name of an output


def is_trunk_file(init: str) -> bool:
    """Return whether a value of `--init` is a Keras file, an ONNX file or a folder of keras-hub, and not a run folder."""
    path = Path(init)
    if path.is_dir() and not (path / "tags.csv").exists() and (path / "config.json").is_file():
        return "registered_name" in read_json(path / "config.json")
    return path.suffix == ".keras" or is_onnx(init)


def is_onnx(init: str) -> bool:
    """Return whether a value of `--init` is an ONNX file, or one of its outputs."""
    return ONNX_FILE.fullmatch(init) is not None


def load(init: str) -> keras.Model:
    """Read a trunk. Nothing is unpickled and no code from the file runs.

    Args:
        init: path of a `.keras` file, of a folder that keras-hub's `save_to_preset` made, or of an ONNX file, with a colon
            and the name of an output if it has several.

    Returns:
        A model from pictures (batch, height, width, 3) to a feature map (batch, height, width, channels), to tokens (batch,
        tokens, channels) or to features (batch, channels).

    Raises:
        InputError: it cannot be read, is not such a model, or keras-hub is missing.
    """
    onnx = ONNX_FILE.fullmatch(init)
    path = Path(onnx[1] if onnx else init)
    if not path.exists():
        raise InputError(f"--init: there is no {path}: give a run folder, a .keras or .onnx file, or a folder of keras-hub")
    if onnx:
        return onnx_trunk.load(path, onnx[2] or "", PRESETS[FILE]["image_size"])
    if (path.parent / "tags.csv").exists():
        raise InputError(f"--init: {init} is the network of a run: give its folder, {path.parent}")
    if path.is_file() and not zipfile.is_zipfile(path):
        raise InputError(f"--init: {init} is not a .keras file, or is damaged")
    try:
        model = _from_hub(path) if path.is_dir() else keras.saving.load_model(path, safe_mode=True)
    except InputError:
        raise
    except Exception as error:  # the readers of zip, HDF5 and JSON raise many kinds
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"--init: {init} cannot be read as a Keras model: {first_line}") from None
    tensors = [*(getattr(model, "inputs", None) or []), *(getattr(model, "outputs", None) or [])]
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if len(shapes) != 2 or len(shapes[0]) != 4 or shapes[0][1] != shapes[0][2] or shapes[0][3] != 3 or len(shapes[1]) < 2:
        expected = "one square picture, (batch, side, side, 3), and one output"
        raise InputError(f"--init: {init} has inputs and outputs {shapes or 'without shapes'}: expected {expected}")
    if clash := RESERVED & {layer.name for layer in model.layers}:
        raise InputError(f"--init: {init} has a layer named {min(clash)}, as the suite's own: give it another name")
    return keras.Model(model.inputs[0], model.outputs[0])


def _from_hub(path: Path) -> keras.Model:
    try:
        import keras_hub
    except ImportError:
        raise InputError(f"--init: {path} is a folder of keras-hub: pip install keras-hub") from None
    return keras_hub.models.Backbone.from_preset(str(path))


def settings(init: str, given: dict) -> dict:
    """Return the settings that a trunk out of a file needs, completed by those that are given.

    Args:
        init: its path.
        given: values by the names of `Config`'s fields.

    Raises:
        InputError: the file cannot be read, or the settings do not fit it.
    """
    if given.get("preset", FILE) != FILE:
        raise InputError(f"--init {init} brings its own network: leave --preset {given['preset']} out")
    trunk = load(init)
    side = trunk.inputs[0].shape[1]
    if side and given.get("image_size", side) != side:
        raise InputError(f"--init: {init} takes {side} px: leave --image-size {given['image_size']} out")
    found: dict = {"preset": FILE} | ({"image_size": side} if side else {})
    if is_onnx(init):
        if not given.get("freeze", True) or given.keys() & {"unfreeze_after", "frozen_stages"}:
            raise InputError(f"--init: the trunk of {init} cannot be trained: --freeze is the only way")
        found["freeze"] = True
    if "pixels" not in given:
        scaling = (keras.layers.Rescaling, keras.layers.Normalization)
        if not any(isinstance(layer, scaling) for layer in trunk.layers[:3]):
            ranges = ", ".join(PIXELS)
            raise InputError(f"--init: {init} does not say which pixel values it expects: give one of --pixels {ranges}")
        found["pixels"] = "0..255"
    return found | given


def with_pixels(structure: str, image_size: int, pixels: str) -> keras.Model:
    """Return a trunk, with random weights, that takes pictures as the suite makes them.

    Args:
        structure: the trunk's layers, as its method `to_json` returns them.
        image_size: side of the input, in pixels.
        pixels: the values that the trunk takes, a key of `PIXELS`.

    Returns:
        A model from uint8 (batch, image_size, image_size, 3) to the trunk's output.

    Raises:
        InputError: a layer cannot be built from its configuration, or not for this size.
    """
    trunk = json.loads(structure)
    graph = trunk["config"]
    first = graph["input_layers"]
    name = first[0] if isinstance(first[0], str) else first[0][0]
    layers = [entry for entry in graph["layers"] if entry["name"] != name]
    old, new = (json.dumps([layer, 0, 0]) for layer in (name, SCALING))
    for entry in layers:
        entry["config"].pop("dtype", None)  # the run's number format
        # The layer that scales the pixels takes the place of the trunk's input.
        entry["inbound_nodes"] = json.loads(json.dumps(entry["inbound_nodes"]).replace(old, new))
    factor, offset = PIXELS[pixels]
    image = keras.Input((image_size, image_size, 3), dtype="uint8", name="image")
    scaled = keras.layers.Rescaling(factor, offset=offset, dtype="float32", name=SCALING)(image)
    start = keras.Model(image, scaled).get_config()
    trunk["config"] = graph | {"layers": start["layers"] + layers, "input_layers": start["input_layers"]}
    try:
        return keras.saving.deserialize_keras_object(trunk)
    except Exception as error:  # a layer's own code runs here
        last_line = str(error).strip().splitlines()[-1]
        raise InputError(f"Keras cannot build the layers of the trunk again: {last_line}") from None
