"""The `model.onnx` of a run folder, from which test.py, search.py, serve.py and hydrus.py start."""

import importlib.util
from pathlib import Path

import keras
import numpy as np

from common.errors import say
from common.processes import run_script
from model import devices
from model.onnx_session import LIBRARIES_TO_WRITE

NUM_PICTURES = 32  # on which the file is compared with `model.keras`


def write_run_copy(folder: Path, pixels: np.ndarray | None = None) -> None:
    """Write `model.onnx` into a finished run folder, which is complete without it: if that fails, one line says why.

    Args:
        folder: the run folder.
        pixels: pictures on which both files are compared, uint8 (pictures, image_size, image_size, 3); None: some of its
            data folder.
    """
    options = ("--run", str(folder), "--format", "run")
    failed = "no model.onnx, with which test.py and serve.py start faster"
    if missing := [library for library in LIBRARIES_TO_WRITE if not importlib.util.find_spec(library)]:
        later = f"pip install -r requirements-export.txt; python export.py {' '.join(options)}"
        say(f"{failed}: it needs {', '.join(missing)}. To write it: {later}")
        return
    try:
        if keras.backend.backend() != "tensorflow":  # the only backend that the converter supports
            run_script("export.py", *options)
            return
        from inference.export import formats
        from inference.tagger import Tagger

        with devices.float32_layers():
            tagger = Tagger.open(folder)
            if pixels is None:
                _, pixels, _ = formats.read_pictures(tagger, Path(tagger.run.data), NUM_PICTURES)
            formats.write_checked(tagger, "run", tagger.run.config.image_size, folder, pixels)
    except Exception as error:  # the converters raise many kinds, also for layers of other packages
        say(f"{failed}: {error}")
