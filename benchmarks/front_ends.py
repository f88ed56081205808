"""The tagging steps of programs that load WD taggers, read in their source and written anew.

Each function opens an export and returns a function: picture ▶ tags. The steps are: background, square, size, which output
is read, and which rows of selected_tags.csv become tags. Names stay as in the file, and all thresholds are the same, for
characters too.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from common.errors import InputError

THRESHOLD = 0.35  # the default of nearly all of them
FIXED_SIDE = 448  # pixels, of the programs that do not read it from the input's shape
RATING_ROWS = 4  # of the programs that take the first rows for ratings
GENERAL, CHARACTER, RATING = 0, 4, 9  # categories in selected_tags.csv
MCUT_LEAST = 0.15  # the lowest threshold of MCut for characters

Tags = Callable[[Path], list[str]]  # picture ▶ its tags, as often as the program writes them


@dataclass(frozen=True)
class Export:
    """An open model.onnx and the rows of selected_tags.csv."""

    session: Any
    names: list[str]
    categories: list[int]

    @classmethod
    def open(cls, folder: Path) -> "Export":
        """Open the export in a folder."""
        import onnxruntime

        with (folder / "selected_tags.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        return cls(session, [row["name"] for row in rows], [int(row["category"]) for row in rows])

    @property
    def side(self) -> int:
        """The side of the input, pixels."""
        return self.session.get_inputs()[0].shape[1]

    def of(self, category: int) -> list[int]:
        """Return the rows of a category."""
        return [row for row, other in enumerate(self.categories) if other == category]

    def outputs(self, image: Image.Image) -> dict[str, np.ndarray]:
        """Return name ▶ output, (columns,), for a square RGB picture."""
        bgr = np.asarray(image, np.float32)[np.newaxis, :, :, ::-1]  # (1, side, side, 3), 0 to 255
        names = [output.name for output in self.session.get_outputs()]
        values = self.session.run(names, {self.session.get_inputs()[0].name: np.ascontiguousarray(bgr)})
        return {name: value[0] for name, value in zip(names, values, strict=True)}

    def first_output(self, image: Image.Image) -> np.ndarray:
        """Return the output that most programs take for the probabilities, (rows,)."""
        return next(iter(self.outputs(image).values()))

    def over(self, threshold: float, probabilities: np.ndarray, rows: list[int]) -> list[str]:
        """Return the names of those rows whose probability exceeds a threshold."""
        return [self.names[row] for row in rows if probabilities[row] > threshold]


def kohya(folder: Path) -> Tags:
    """sd-scripts, finetune/tag_images_by_wd14_tagger.py: after four ratings the general rows, then the characters."""
    export, cv2 = Export.open(folder), opencv()
    names = [export.names[row] for category in (GENERAL, CHARACTER) for row in export.of(category)]

    def tags(picture: Path) -> list[str]:
        image = resize_as_kohya(square(opaque(Image.open(picture))), FIXED_SIDE, cv2)
        probabilities = export.first_output(image)
        pairs = zip(names, probabilities[RATING_ROWS:], strict=False)
        return [name for name, probability in pairs if probability >= THRESHOLD]

    return tags


def swarmui(folder: Path) -> Tags:
    """SwarmUI-WD14Tagger, wd14tagger/wd14.py: as kohya, but it counts the ratings, and prefers the output `prediction`."""
    export = Export.open(folder)
    names = [export.names[row] for category in (GENERAL, CHARACTER) for row in export.of(category)]

    def tags(picture: Path) -> list[str]:
        outputs = export.outputs(bicubic(square(opaque(Image.open(picture))), FIXED_SIDE))
        probabilities = outputs.get("prediction", next(iter(outputs.values())))[len(export.of(RATING)) :]
        return [name for name, probability in zip(names, probabilities, strict=False) if probability >= THRESHOLD]

    return tags


def hydrui(folder: Path) -> Tags:
    """hydrui, src/utils/autotag: info.json, an output by its name or else the last one; small pictures stay small."""
    information, export = json.loads((folder / "info.json").read_text(encoding="utf-8")), Export.open(folder)
    ratings = list(range(information["numberofratings"]))
    others = list(range(len(ratings), len(export.names)))

    def tags(picture: Path) -> list[str]:
        image = square(opaque(ImageOps.exif_transpose(Image.open(picture))), at_least=FIXED_SIDE)
        outputs = export.outputs(image.resize((FIXED_SIDE, FIXED_SIDE), Image.Resampling.LANCZOS))
        known = [name for name in outputs if name in ("refined_predictions", "predictions_sigmoid", "prediction")]
        probabilities = outputs[known[-1] if known else list(outputs)[-1]]
        rating = max(ratings, key=lambda row: probabilities[row], default=None)
        return export.over(THRESHOLD, probabilities, ([] if rating is None else [rating]) + others)

    return tags


def eagle(folder: Path) -> Tags:
    """auto-tagger-eagle-plugin, js/utils/ai-tagger.js: an output by its name, every row a tag, on black."""
    export = Export.open(folder)

    def tags(picture: Path) -> list[str]:
        image = ImageOps.pad(opaque(Image.open(picture), "black"), (FIXED_SIDE,) * 2, Image.Resampling.LANCZOS)
        outputs = export.outputs(image)
        names = [name for name in ("output", "predictions_sigmoid", "output0", "refined_predictions") if name in outputs]
        if not names:
            raise KeyError(f"no output of a known name: {', '.join(outputs)}")
        return export.over(THRESHOLD, outputs[names[0]], list(range(len(export.names))))

    return tags


def wd_tagger_rs(folder: Path) -> Tags:
    """p1atdev/wd-tagger-rs: config.json, the output `output`, the colours under the transparency, bars of black."""
    config, export = json.loads((folder / "config.json").read_text(encoding="utf-8")), Export.open(folder)
    side = config["pretrained_cfg"]["input_size"][1]

    def tags(picture: Path) -> list[str]:
        image = square(Image.open(picture).convert("RGBA").convert("RGB"), "black")
        probabilities = export.outputs(bicubic(image, side))["output"]
        return export.over(THRESHOLD, probabilities, export.of(CHARACTER) + export.of(GENERAL))

    return tags


def comfyui(folder: Path) -> Tags:
    """ComfyUI-WD14-Tagger: resized before the square; characters are all rows from the first one of category 4."""
    export = Export.open(folder)
    rows = list(range(len(export.names)))
    general, character = (next(iter(export.of(category)), None) for category in (GENERAL, CHARACTER))

    def tags(picture: Path) -> list[str]:
        image = ImageOps.exif_transpose(Image.open(picture)).convert("RGB")  # the node that loads pictures
        ratio = export.side / max(image.size)
        image = image.resize((int(image.width * ratio), int(image.height * ratio)), Image.Resampling.LANCZOS)
        probabilities = export.first_output(square(image, at_least=export.side))
        return export.over(THRESHOLD, probabilities, rows[character:] + rows[general:character])

    return tags


def space(folder: Path) -> Tags:
    """Hugging Face Space wd-tagger, app.py: rows by category; here with MCut as the threshold of characters."""
    export = Export.open(folder)
    general, character = export.of(GENERAL), export.of(CHARACTER)

    def tags(picture: Path) -> list[str]:
        image = opaque(ImageOps.exif_transpose(Image.open(picture)))  # Gradio turns pictures upright
        probabilities = export.first_output(bicubic(square(image), export.side))
        threshold = max(MCUT_LEAST, _mcut(probabilities[character]))
        return export.over(THRESHOLD, probabilities, general) + export.over(threshold, probabilities, character)

    return tags


def wd_tagger_cli(folder: Path) -> Tags:
    """BetaDoggo/wd-tagger-cli: as the Space; it writes the most probable rating as a tag."""
    export = Export.open(folder)

    def tags(picture: Path) -> list[str]:
        probabilities = export.first_output(bicubic(square(opaque(Image.open(picture))), export.side))
        rating = max(export.of(RATING), key=lambda row: probabilities[row])
        return [*export.over(THRESHOLD, probabilities, export.of(GENERAL) + export.of(CHARACTER)), export.names[rating]]

    return tags


def picobyte(folder: Path) -> Tags:
    """stable-diffusion-webui-wd14-tagger: a folder with one .onnx and one .csv; small pictures stay small."""
    if len(found := sorted(folder.glob("*.onnx"))) != 1:
        raise ValueError(f"exactly one .onnx is allowed: {', '.join(path.name for path in found)}")
    if len(found := sorted(folder.glob("*.csv"))) != 1:
        raise TypeError(f"sorting fails for more than one .csv: {', '.join(path.name for path in found)}")
    export, cv2 = Export.open(folder), opencv()

    def tags(picture: Path) -> list[str]:
        image = _small_stays_small(opaque(Image.open(picture)), export.side, cv2)
        probabilities = dict(zip(export.names, export.first_output(image), strict=True))  # one of each name
        return [name for name in dict.fromkeys(export.names[RATING_ROWS:]) if probabilities[name] > THRESHOLD]

    return tags


def taggui(folder: Path) -> Tags:
    """taggui, auto_captioning/models/wd_tagger.py: all rows but the ratings, the most probable first."""
    export = Export.open(folder)

    def tags(picture: Path) -> list[str]:
        image = opaque(ImageOps.exif_transpose(Image.open(picture)))
        probabilities = export.first_output(bicubic(square(image), export.side))
        rows = [row for row, category in enumerate(export.categories) if category != RATING]
        return export.over(THRESHOLD, probabilities, sorted(rows, key=lambda row: -probabilities[row]))

    return tags


def hydrus_tool(folder: Path) -> Tags:
    """wd-e621-hydrus-tagger: info.json says which rows are ratings. The tag that it adds to all files is left out here."""
    information = json.loads((folder / "info.json").read_text(encoding="utf-8"))
    for key in ("modelname", "source", "modelfile", "tagsfile"):
        information[key]
    export, cv2 = Export.open(folder), opencv()
    number = information["numberofratings"] if information["ratingsflag"] else 0

    def tags(picture: Path) -> list[str]:
        probabilities = export.first_output(_small_stays_small(opaque(Image.open(picture)), export.side, cv2))
        ratings = {"none": 0.0} | {export.names[row]: float(probabilities[row]) for row in range(number)}
        rating = [f"rating:{max(ratings, key=lambda name: ratings[name])}"] if number else []
        return export.over(THRESHOLD, probabilities, list(range(number, len(export.names)))) + rating

    return tags


REBUILT: dict[str, Callable[[Path], Tags]] = {
    "as kohya's script": kohya,
    "as SwarmUI-WD14Tagger": swarmui,
    "as ComfyUI-WD14-Tagger": comfyui,
    "as the HF Space, MCut": space,
    "as wd-tagger-cli": wd_tagger_cli,
    "as taggui": taggui,
    "as picobyte's extension": picobyte,
    "as wd-e621-hydrus-tagger": hydrus_tool,
    "as hydrui": hydrui,
    "as the Eagle plug-in": eagle,
    "as wd-tagger-rs": wd_tagger_rs,
}


def opaque(image: Image.Image, colour: str = "white") -> Image.Image:
    """Return a picture in RGB, with transparency composited on a colour."""
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, colour), rgba).convert("RGB")


def square(image: Image.Image, colour: str = "white", at_least: int = 0) -> Image.Image:
    """Return a picture in the middle of a square of a colour, whose side is at least a number of pixels."""
    side = max(*image.size, at_least)
    canvas = Image.new("RGB", (side, side), colour)
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def resize_as_kohya(image: Image.Image, side: int, cv2) -> Image.Image:
    """Return a square picture in the size in which sd-scripts sends it."""
    if image.width < side:
        return image.resize((side, side), Image.Resampling.LANCZOS)
    return Image.fromarray(cv2.resize(np.asarray(image), (side, side), interpolation=cv2.INTER_AREA))


def bicubic(image: Image.Image, side: int) -> Image.Image:
    """Return a square picture in another size."""
    return image if image.width == side else image.resize((side, side), Image.Resampling.BICUBIC)


def _small_stays_small(image: Image.Image, side: int, cv2) -> Image.Image:
    """Return a picture on a white square of a side, which a smaller picture does not fill."""
    pixels = np.asarray(square(image, at_least=side))
    return Image.fromarray(cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA))


def _mcut(probabilities: np.ndarray) -> float:
    """Return the middle of the largest gap between probabilities (MCut, Largeron et al. 2012), which needs two of them."""
    descending = np.sort(probabilities)[::-1]
    widest = int(np.argmax(descending[:-1] - descending[1:]))
    return float(descending[widest : widest + 2].mean())


def opencv():
    """Return OpenCV.

    Raises:
        InputError: it is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise InputError("skipped: pip install opencv-python-headless") from None
    return cv2
