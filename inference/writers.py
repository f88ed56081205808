"""Output of tags: text, JSON or CSV on standard output, text files beside the pictures, keywords in the pictures."""

import csv
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path, PurePath
from typing import Protocol

from common.errors import InputError, say
from common.files import atomic_path, decode_text
from dataset.tag_text import decide
from inference import annotations, sidecars
from inference.frames import Prediction
from inference.saliency import heat_map, overlay
from inference.sources import Source
from inference.tagger import Tagger

MAX_STEM, MAX_TAG = 40, 20  # characters in the name of a heat map, which file systems limit to 255 bytes


class Writer(Protocol):
    """Writes the results of pictures, one after another; `inference.results.ResultBuilder` makes the results."""

    def write(self, source: Source, result: dict) -> str | None:
        """Write the result of a picture, and return an error message or None."""
        ...

    def finish(self) -> None:
        """Complete the output after the last picture."""
        ...


class TextWriter:
    """Prints the tags of each picture in a column, as soon as they are predicted."""

    def write(self, source: Source, result: dict) -> str | None:
        """Print the tags of a picture."""
        tags, uncertainty = result["tags"], result.get("uncertainty", {})
        width = max(map(len, tags), default=0)
        lines = [result["file"]]
        for name, probability in tags.items():
            deviation = f" ± {uncertainty[name]:.3f}" if name in uncertainty else ""
            lines.append(f"  {name:<{width}}  {probability:.3f}{deviation}")
        if not tags:
            lines.append("  no tag reaches the threshold (--threshold lowers it)")
        print("\n".join(lines), flush=True)
        return None

    def finish(self) -> None:
        """Do nothing; everything is printed already."""


class JsonWriter:
    """Prints one array, each result as soon as it is there.

    Args:
        lines: print one object on each line instead, without an array around them.
    """

    def __init__(self, lines: bool = False):
        self.lines, self.count = lines, 0

    def write(self, source: Source, result: dict) -> str | None:
        """Print the result of a picture."""
        if self.lines:
            print(json.dumps(result, ensure_ascii=False), flush=True)
        else:
            indented = json.dumps(result, indent=2, ensure_ascii=False).replace("\n", "\n  ")
            print(",\n  " if self.count else "[\n  ", indented, sep="", end="", flush=True)
        self.count += 1
        return None

    def finish(self) -> None:
        """Close the array."""
        if not self.lines:
            print("\n]" if self.count else "[]")


class CsvWriter:
    """Prints a table with one row for each tag of a picture, as soon as they are predicted.

    Args:
        danbooru: print the form that Danbooru imports: no header, and file names without folder and suffix.
    """

    def __init__(self, danbooru: bool):
        self.danbooru = danbooru
        self.header = [] if danbooru else [("file", "tag", "probability")]

    def write(self, source: Source, result: dict) -> str | None:
        """Print the rows of a picture."""
        name = PurePath(result["file"]).stem if self.danbooru else result["file"]
        rows = [(name, tag, probability) for tag, probability in result["tags"].items()]
        csv.writer(sys.stdout, lineterminator="\n").writerows(self.header + rows)
        self.header = []
        sys.stdout.flush()
        return None

    def finish(self) -> None:
        """Print the header where there was no picture."""
        csv.writer(sys.stdout, lineterminator="\n").writerows(self.header)


class AnnotationWriter:
    """Writes the tags of each picture into a text file beside it, or as keywords into the picture.

    Args:
        mode: what to do if there are tags already: `skip`, `append` or `overwrite`.
        into_pictures: write keywords into the pictures instead of text files.
        suffix: that of the text files.
    """

    def __init__(self, mode: str, into_pictures: bool, suffix: str = ".txt"):
        self.mode, self.into_pictures, self.suffix = mode, into_pictures, suffix
        self.without_tags = 0
        self.session = f"{time.time():.3f}"
        self.separator = "comma"
        self.written: list[bool] = []
        self.picture_of: dict[Path, Path] = {}  # text file ▶ the picture that it belongs to

    def select(self, pictures: list[Source]) -> tuple[list[Source], list[str]]:
        """Return the pictures whose tags are to be written, and an error for each whose tags cannot be.

        With the mode `skip`, pictures that have tags are left out, so that the network does not compute them. With `append`,
        all text files together decide what separates the tags of one that has no sign of it.
        """
        chosen, errors, texts = [], [], []
        for picture in pictures:
            path, error = self._path(picture)
            try:
                if not error and self.mode == "skip" and annotations.has_tags(path):
                    self.written.append(False)
                    continue
                if not error and self.mode == "append" and not self.into_pictures and path.is_file():
                    texts.append(decode_text(path.read_bytes(), "replace"))
            except (ValueError, OSError) as problem:
                error = _reason(path, problem)
            if error:
                errors.append(error)
            else:
                chosen.append(picture)
        self.separator = decide(texts, otherwise="comma")
        return chosen, errors

    def write(self, source: Source, result: dict) -> str | None:
        """Write the tags of a picture."""
        path, error = self._path(source)
        if error:
            return error
        self.without_tags += not result["tags"]
        try:
            self.written.append(annotations.write(path, list(result["tags"]), self.mode, self.session, self.separator))
        except (ValueError, OSError) as problem:
            return _reason(path, problem)
        return None

    def _path(self, source: Source) -> tuple[Path, str]:
        """Return the file that the tags of a picture are written into, and an error message if there is none."""
        if source.path is None:
            return Path(), f"{source.name} is not a file: its tags cannot be written"
        path = source.path if self.into_pictures else sidecars.path_for(source.path, self.suffix)
        if (other := self.picture_of.setdefault(path, source.path)) != source.path:
            return path, f"{source.name}: {path} belongs to {other}"
        return path, ""

    def finish(self) -> None:
        """Print how many files were written."""
        kind = "pictures" if self.into_pictures else f"{self.suffix} files"
        if self.without_tags:
            say(f"{self.without_tags} pictures have no tag over its threshold")
        undo = "; python test.py --undo FOLDER undoes it" if any(self.written) else ""
        say(f"{sum(self.written)} of {len(self.written)} {kind} written{undo}")


def _reason(path: Path, problem: ValueError | OSError) -> str:
    return f"{path}: {(isinstance(problem, OSError) and problem.strerror) or problem}"


class OverlayWriter:
    """Saves heat maps of one tag in the working directory; of an animation, for the frame with the highest probability.

    Args:
        tagger: the run.
        tag: name of the tag.

    Raises:
        InputError: the run does not have the tag, or has no feature map.
    """

    def __init__(self, tagger: Tagger, tag: str):
        names = [entry.name for entry in tagger.run.tags]
        if tag not in names:
            raise InputError(f"{tag} is not one of the run's {len(names)} tags")
        if not tagger.network.has_feature_map:
            reason = "the trunk has none, or the file does not give them"
            raise InputError(f"--explain shows positions of a feature map. Received {tagger.run.folder}: {reason}")
        self.network, self.tag, self.index = tagger.network, tag, names.index(tag)
        self.saved: Counter[str] = Counter()

    def write(self, prediction: Prediction) -> str:
        """Save the heat map of a picture, and return a line that says so. Pictures of the same name are numbered."""
        frame = prediction.frames[prediction.scores["probability"][:, self.index].argmax()]
        [heat] = heat_map(self.network, frame[None], self.index)
        stem, tag = Path(prediction.source.name).stem[:MAX_STEM], self.tag[:MAX_TAG]
        name = re.sub(r"[^\w.-]", "_", f"{stem}.{tag}.png")
        self.saved[name] += 1
        if self.saved[name] > 1:
            name = f"{self.saved[name]}-{name}"
        with atomic_path(Path(name)) as partial:
            overlay(frame, heat).save(partial)
        return f"{prediction.source.name}: {self.tag} {prediction.probability[self.index]:.3f}, see {name}"
