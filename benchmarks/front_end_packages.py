"""Programs on PyPI that tag with WD taggers, with their own code; where it would download a model, it gets the export.

Each function opens an export and returns a function: picture ▶ tags.
"""

import contextlib
import importlib
import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from benchmarks.front_ends import THRESHOLD, Tags
from benchmarks.other_formats import subfolder
from common.errors import InputError


def imgutils(folder: Path) -> Tags:
    """dghs-imgutils, its own code."""
    wd14 = _installed("imgutils.tagging.wd14", "dghs-imgutils")
    wd14.hf_hub_download = _downloads(folder)
    thresholds = {"general_threshold": THRESHOLD, "character_threshold": THRESHOLD}
    return lambda picture: list(wd14.get_wd14_tags(picture, fmt="tag", **thresholds))


def imgutils_timm(folder: Path) -> Tags:
    """dghs-imgutils, its own code for multi-label taggers made with timm, on `timm/`."""
    multilabel_timm = _installed("imgutils.generic.multilabel_timm", "dghs-imgutils")
    multilabel_timm.hf_hub_download = _downloads(subfolder(folder, "timm"))
    model = multilabel_timm.MultiLabelTIMMModel("e6tag")
    return lambda picture: list(model.predict(picture, thresholds=THRESHOLD, fmt="tag"))


def waifutagger(folder: Path) -> Tags:
    """waifutagger, its own code."""
    core = _installed("waifutagger.core", "waifutagger")
    core.huggingface_hub.hf_hub_download = _downloads(folder)
    tagger = core.WaifuTagger()

    def tags(picture: Path) -> list[str]:
        result = tagger.predict(picture, general_threshold=THRESHOLD, character_threshold=THRESHOLD)
        return [*result["general_tags"], *result["character_tags"]]

    return tags


def wd14_tagger_api(folder: Path) -> Tags:
    """wd14-tagger-api, its own code, which follows toriato's extension."""
    module = _installed("wd14_tagger_api.tagger.interrogator", "wd14-tagger-api")
    module.hf_hub_download = _downloads(folder)
    interrogator = module.WaifuDiffusionInterrogator("e6tag", repo_id="e6tag")
    with contextlib.redirect_stdout(io.StringIO()):
        interrogator.load()

    def tags(picture: Path) -> list[str]:
        _, probabilities = interrogator.interrogate(Image.open(picture))
        return list(module.Interrogator.postprocess_tags(probabilities, THRESHOLD))

    return tags


def szurubooru(folder: Path) -> Tags:
    """szurubooru-toolkit, its own code, with the export as a local folder. The safety that it sets is left out here."""
    module = _installed("szurubooru_toolkit.wdtagger", "szurubooru-toolkit")
    module.logger.disable(module.__name__)
    tagger = module.WDTagger(str(folder))
    return lambda picture: tagger.tag_image(picture.read_bytes(), "safe", THRESHOLD, THRESHOLD, set_tag=False)[0]


PACKAGED: dict[str, Callable[[Path], Tags]] = {
    "dghs-imgutils": imgutils,
    "dghs-imgutils, `timm/`": imgutils_timm,
    "waifutagger": waifutagger,
    "wd14-tagger-api": wd14_tagger_api,
    "szurubooru-toolkit": szurubooru,
}


def _installed(module: str, package: str):
    """Return a module.

    Raises:
        InputError: its package, or one that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"skipped: pip install {package} ({error})") from None


def _downloads(folder: Path) -> Callable[..., str]:
    """Return a function in place of `hf_hub_download`, which finds a file of that name in a folder."""

    def find(repo_id: str, filename: str, **options) -> str:
        path = folder / Path(filename).name
        if not path.exists():
            from huggingface_hub.errors import LocalEntryNotFoundError

            raise LocalEntryNotFoundError(f"{path.name} is missing")
        return str(path)

    return find
