"""Added tags: files that `train.py --teach` writes, each with one tag or number that a run was not trained with.

A file holds the weights of one output on the embedding. It fits each run that has the same trunk, and the ONNX files of such
runs. Files are exchanged between people, so that they are JSON, from which no code runs, and every value is checked.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from common import files
from common.errors import InputError
from dataset.records import CATEGORIES, RATING_TAGS, Tag
from inference.tagger import Tagger

FORMAT, VERSION = "e6tag added tag", 1
MAX_BYTES = 2**20  # a file is some kilobytes
# Settings that decide, with the weights, which embedding a picture has.
TRUNK_SETTINGS = ("preset", "activation", "head", "pixels", "image_size", "resize")
SEPARATORS = re.compile(r"[,\x00-\x1f\x7f]")  # of tags in text files and tables; a name has none of them


@dataclass(frozen=True)
class AddedTag:
    """A tag and the output that predicts it.

    Attributes:
        name: the tag, or the name of the number.
        category: its category, a key of `CATEGORIES`.
        pictures: number of pictures with the tag, or with a number, that it was learned from.
        threshold: the lowest probability of the tag when predicted.
        expected: expected figures by name; those with an interval as [figure, low, high].
        run: name of the run that it was learned with, for messages.
        trunk: `trunk_fingerprint` of that run.
        bias: added to the logit.
        weights: weights of the embedding's channels, float32 (channels,).
    """

    name: str
    category: str
    pictures: int
    threshold: float
    expected: dict
    run: str
    trunk: str
    bias: float
    weights: np.ndarray

    def __post_init__(self):
        if not is_name(self.name) or not all(isinstance(text, str) for text in (self.category, self.run, self.trunk)):
            raise ValueError("a name or a text")
        if self.category == "rating" or self.category not in CATEGORIES:  # a rating is one of a group
            raise ValueError(f"the category {self.category!r}")
        if not (self.pictures >= 1 and 0 <= self.threshold <= 1 and isinstance(self.expected, dict)):
            raise ValueError("a number out of range")
        if self.weights.ndim != 1 or not np.isfinite([*self.weights, self.bias]).all():
            raise ValueError("weights that are not finite numbers")

    def write(self, path: Path) -> None:
        """Write the file."""
        # The shortest decimal numbers that are read as the same float32.
        content = asdict(self) | {"weights": [float(str(weight)) for weight in self.weights]}
        content = {"format": FORMAT, "version": VERSION} | content
        files.write_json(path, content | {"checksum": checksum_of(content)})


def is_name(text: object) -> bool:
    """Return whether a text can be the name of an added tag: not empty, no rating, without commas and control characters."""
    return (
        text not in RATING_TAGS
        and isinstance(text, str)
        and text == text.strip() != ""
        and not SEPARATORS.search(text)
        and _is_unicode(text)
    )


def file_name(name: str) -> str:
    """Return the name of a tag's file in a run folder: characters that a file system refuses become `%` and a number."""
    return re.sub(r'[<>:"/\\|?*%]', lambda match: f"%{ord(match[0]):02X}", name) + ".json"


def read(path: Path) -> AddedTag:
    """Read a file.

    Raises:
        InputError: it cannot be read, is damaged or is no such file, or a later version wrote it.
    """
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(MAX_BYTES))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged, or is no file of train.py --teach: {str(error)[:200]}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path} is no file of train.py --teach: expected JSON with the format {FORMAT!r}")
    if (version := content.get("version")) != VERSION:
        raise InputError(f"{path} has the format version {version!r}: this version of e6tag reads {VERSION}")
    if content.pop("checksum", None) != checksum_of(content):
        raise InputError(f"{path} is damaged: its content does not have the checksum that is in it. Copy it again")
    try:
        fields = {name: content[name] for name in AddedTag.__annotations__}
        with np.errstate(over="ignore"):  # too large for float32: infinite, which is refused
            fields |= {"weights": np.array(content["weights"], np.float32), "bias": float(content["bias"])}
        return AddedTag(**fields)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} holds a value that train.py --teach does not write: {error}") from None


def with_added_tags(tagger: Tagger, paths: Sequence[str | Path]) -> Tagger:
    """Return a tagger that has the tags of files after its own. Its own tags keep their probabilities, to the same bits.

    Args:
        tagger: a run or an exported run.
        paths: the files.

    Raises:
        InputError: a file cannot be used; was made for another trunk; or has a tag that the run or an earlier file has.
    """
    if not paths:
        return tagger
    run, network, trunk = tagger.run, tagger.network, trunk_fingerprint(tagger)
    if not trunk:
        missing = "was exported by an earlier version, which did not store to which trunk added tags belong"
        raise InputError(f"the model.onnx in {run.folder} {missing}: export the run again")
    origin = {tag.name: f"the run {run.folder}" for tag in run.tags}
    added = []
    for path in paths:
        tag = read(Path(path))
        if tag.trunk != trunk or len(tag.weights) != network.embedding_width:
            raise InputError(f"{path} was made for another trunk, that of the run {tag.run!r}, and not for {run.folder}")
        if tag.name in origin:
            raise InputError(f"{path} has the tag {tag.name}, which {origin[tag.name]} has already: leave the file out")
        origin[tag.name] = str(path)
        added.append(tag)
    next_id = max(tag.tag_id for tag in run.tags) + 1
    tags = [Tag(next_id + index, tag.name, CATEGORIES[tag.category], tag.pictures) for index, tag in enumerate(added)]
    weights, biases = np.stack([tag.weights for tag in added]), np.array([tag.bias for tag in added], np.float32)
    return replace(
        tagger,
        run=replace(run, tags=[*run.tags, *tags]),
        network=network.with_added_outputs(weights, biases),
        thresholds=np.concatenate([tagger.thresholds, np.array([tag.threshold for tag in added], np.float32)]),
        temperatures=np.concatenate([tagger.temperatures, np.ones(len(added), np.float32)]),
    )


def trunk_fingerprint(tagger: Tagger) -> str:
    """Return a digest of all that turns a picture into an embedding: pixels, layers and weights.

    An ONNX file has that of the run that it was exported from, or an empty string if an earlier version wrote it.
    """
    run, network = tagger.run, tagger.network
    if tagger.is_onnx:
        return network.trunk_fingerprint
    settings = {name: getattr(run.config, name) for name in TRUNK_SETTINGS} | {"stored_size": run.stored_size}
    digest = hashlib.sha256(json.dumps([settings, network.trunk_structure], sort_keys=True).encode())
    for weight in network.trunk().get_weights():
        digest.update(f"{weight.dtype} {weight.shape}".encode() + weight.tobytes())
    return digest.hexdigest()[:32]


def checksum_of(content: dict) -> str:
    """Return the checksum of a file's content, itself left out."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _is_unicode(text: str) -> bool:
    """Return whether a text can be written in UTF-8: JSON may hold halves of surrogate pairs."""
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False
