"""Readers of the other files of an export.

The networks in `timm/` and `cl/` take (batch, 3, side, side). Their readers' steps are written anew, as in `front_ends`.
`saved_model/` decodes the pictures itself.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from benchmarks.front_ends import (
    FIXED_SIDE,
    RATING,
    THRESHOLD,
    Export,
    Tags,
    bicubic,
    opaque,
    opencv,
    resize_as_kohya,
    square,
)
from common.errors import InputError


@dataclass(frozen=True)
class ClExport:
    """An open cl/model.onnx and the rows of tag_mapping.json."""

    session: Any
    names: list[str]
    categories: list[str]

    @classmethod
    def open(cls, folder: Path) -> "ClExport":
        """Open `cl/` in the folder of an export."""
        import onnxruntime

        mapping = json.loads((subfolder(folder, "cl") / "tag_mapping.json").read_text(encoding="utf-8"))
        rows = [mapping[str(column)] for column in range(len(mapping))]
        session = onnxruntime.InferenceSession(folder / "cl" / "model.onnx", providers=["CPUExecutionProvider"])
        return cls(session, [row["tag"] for row in rows], [row["category"] for row in rows])

    def probabilities(self, image: Image.Image) -> np.ndarray:
        """Return the probability of each row, (rows,), for a square RGB picture."""
        bgr = np.asarray(image, np.float32)[:, :, ::-1].transpose(2, 0, 1)[np.newaxis] / 127.5 - 1  # (1, 3, side, side)
        logits = self.session.run(None, {self.session.get_inputs()[0].name: np.ascontiguousarray(bgr)})[0][0]
        return 1 / (1 + np.exp(-logits))

    def over(self, threshold: float, probabilities: np.ndarray, category: str | None = None) -> list[str]:
        """Return the names of the rows from a probability on: of one category, or without one, of all but the ratings."""
        rows = zip(self.names, self.categories, probabilities, strict=True)
        return [
            name
            for name, other, probability in rows
            if probability >= threshold and (other == category if category else other != "Rating")
        ]

    def ratings(self, probabilities: np.ndarray, threshold: float = 0.0) -> list[str]:
        """Return the most probable rating, if its probability reaches a threshold."""
        rows = [row for row, category in enumerate(self.categories) if category == "Rating"]
        best = max(rows, key=lambda row: probabilities[row])
        return [self.names[best]] if probabilities[best] >= threshold else []


def kohya_cl(folder: Path) -> Tags:
    """sd-scripts, finetune/tag_images_by_wd14_tagger.py, with --use_rating_tags: a rating too has to reach the threshold."""
    export, cv2 = ClExport.open(folder), opencv()

    def tags(picture: Path) -> list[str]:
        probabilities = export.probabilities(resize_as_kohya(square(opaque(Image.open(picture))), FIXED_SIDE, cv2))
        return export.ratings(probabilities, THRESHOLD) + export.over(THRESHOLD, probabilities)

    return tags


def tagutl(folder: Path) -> Tags:
    """celll1/tagutl, onnx_predict.py, by the author of the CL taggers: it always writes the most probable rating."""
    export = ClExport.open(folder)

    def tags(picture: Path) -> list[str]:
        probabilities = export.probabilities(bicubic(square(opaque(Image.open(picture))), FIXED_SIDE))
        return export.ratings(probabilities) + export.over(THRESHOLD, probabilities)

    return tags


def comfyui_mira(folder: Path) -> Tags:
    """ComfyUI_Mira, Tagger.py: enlarged or reduced without antialiasing; here without its category `rating`."""
    export, cv2 = ClExport.open(folder), opencv()

    def tags(picture: Path) -> list[str]:
        image = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")  # the node that loads pictures
        pixels = cv2.resize(np.asarray(square(image)), (FIXED_SIDE, FIXED_SIDE), interpolation=cv2.INTER_CUBIC)
        return export.over(THRESHOLD, export.probabilities(Image.fromarray(pixels)))

    return tags


def eagle_cl(folder: Path) -> Tags:
    """auto-tagger-eagle-plugin, js/utils/ai-tagger.js, class clModel: every row a tag, on black."""
    export = ClExport.open(folder)

    def tags(picture: Path) -> list[str]:
        image = ImageOps.pad(opaque(Image.open(picture), "black"), (FIXED_SIDE,) * 2, Image.Resampling.LANCZOS)
        probabilities = export.probabilities(image)
        return export.ratings(probabilities, THRESHOLD) + export.over(THRESHOLD, probabilities)

    return tags


def swarmui_timm(folder: Path) -> Tags:
    """SwarmUI-WD14Tagger, wd14tagger/animetimm.py: the steps of preprocess.json. It ignores `pad_to_size`, and crops."""
    export = Export.open(subfolder(folder, "timm"))
    steps = json.loads((folder / "timm" / "preprocess.json").read_text(encoding="utf-8"))["test"]
    values = {step["type"]: step for step in steps}
    height, width = values["center_crop"]["size"]
    mean, std = (np.reshape(values["normalize"][name], (3, 1, 1)) for name in ("mean", "std"))
    rows = [row for row, category in enumerate(export.categories) if category != RATING]

    def tags(picture: Path) -> list[str]:
        image = ImageOps.fit(opaque(Image.open(picture)), (width, height), Image.Resampling.BILINEAR)
        pixels = (np.asarray(image, np.float32).transpose(2, 0, 1) / 255 - mean) / std
        tensor = np.ascontiguousarray(pixels[np.newaxis], np.float32)  # (1, 3, side, side)
        probabilities = export.session.run(["prediction"], {"input": tensor})[0][0]
        return [export.names[row] for row in rows if probabilities[row] >= THRESHOLD]

    return tags


def tensorflow_encoded(folder: Path) -> Tags:
    """TensorFlow, as TensorFlow Serving calls it: the signature `encoded` gets the file as it is."""
    import tensorflow as tf

    saved_model = tf.saved_model.load(subfolder(folder, "saved_model", "savedmodel") / "1")
    names = [name.decode() for name in saved_model.signatures["tags"]()["name"].numpy()]

    def tags(picture: Path) -> list[str]:
        answer = saved_model.signatures["encoded"](image_bytes=tf.constant([picture.read_bytes()]))
        pairs = zip(names, answer["probability"].numpy()[0], strict=True)
        return [name for name, probability in pairs if probability > THRESHOLD]

    return tags


OTHER_FORMATS: dict[str, Callable[[Path], Tags]] = {
    "as SwarmUI-WD14Tagger, `timm/`": swarmui_timm,
    "as kohya's script, `cl/`": kohya_cl,
    "as tagutl, `cl/`": tagutl,
    "as ComfyUI_Mira, `cl/`": comfyui_mira,
    "as the Eagle plug-in, `cl/`": eagle_cl,
    "TensorFlow, `saved_model/`": tensorflow_encoded,
}


def subfolder(folder: Path, name: str, format_name: str = "") -> Path:
    """Return a folder of the export.

    Args:
        folder: of the export.
        name: name of the folder in it.
        format_name: what export.py calls its format, if that is another name.

    Raises:
        InputError: the export has no files of this format.
    """
    if not (folder / name).is_dir():
        raise InputError(f"skipped: python export.py --format {format_name or name}")
    return folder / name
