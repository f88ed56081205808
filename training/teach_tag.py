"""Adding a tag to a trained run from a folder of pictures: `train.py --teach`.

The trunk is not changed. A regression on the embeddings of the pictures (`training.linear_probe`) becomes one more output of
the network. It is a separate layer, so that the other outputs give the same bits as before. The output is also written into
a file, which other people can use with the same trunk (`inference.added_tags`). With `--out`, only that file is written.

The run can be used at any moment while a tag is added: thresholds are looked up by name, rows of `tags.csv` without an
output are ignored (`inference.tagger`), and `model.keras` is replaced last.
"""

import contextlib
import itertools
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from common import files
from common.errors import InputError, say
from common.files import only_writer
from common.progress import progress
from dataset import near_duplicates, records
from dataset.boards.folder import is_number
from dataset.boards.image_finder import ImageFinder
from dataset.boards.tag_table import Columns, read_table
from dataset.records import CATEGORIES
from inference import added_tags
from inference.added_tags import AddedTag
from inference.export.run_copy import NUM_PICTURES, write_run_copy
from inference.frames import Unreadable, in_batches, read_ahead
from inference.sources import Source, find
from inference.tagger import BATCH, Tagger
from model import run_folder
from model.run_folder import Run
from training.linear_probe import Examples, Head, fit_tag, fit_values

MIN_PICTURES = 10  # two for each fold
MAX_NEGATIVES = 2000  # more of them take longer and gain little
CHANCE = {"auc_roc": 0.5, "spearman": 0.0}  # expected figures of an output that guesses


def teach(
    name: str, pictures: Path, folder: Path, negatives: Path | None, table: Path | None, out: Path | None = None
) -> str:
    """Add an output to a run, or replace one that was added before; or write it into a file only.

    Args:
        name: name of the tag, or of the number.
        pictures: a folder of pictures that have the tag, or whose numbers are in the table.
        folder: the run folder.
        negatives: a folder of pictures without the tag; if None, the training pictures of the run are used.
        table: a CSV file with the columns `id`, the name of a file, and `name`, a number; None for a tag.
        out: the file to write, and then the run stays as it is; if None, the run gets the output.

    Returns:
        The expected figures of the output, in words, and the file.

    Raises:
        InputError: the run was trained with that tag, or pictures or table are missing, too few or unusable.
    """
    name = name.strip()
    run_folder.load(folder)  # so that no lock file is written into a folder that is not a run
    with contextlib.nullcontext() if out else only_writer(folder):
        tagger = Tagger.open(folder)
        _check(name, pictures, tagger, out)
        examples = embed(tagger, find([str(pictures)]), str(pictures))
        if len(examples) < MIN_PICTURES:
            received = f"Received: {len(examples)} in {pictures}"
            raise InputError(f"{name} needs at least {MIN_PICTURES} pictures, better fifty. {received}")
        head = _fit(name, examples, tagger, pictures, negatives, table)
        for figure, chance in CHANCE.items():
            if figure in head.expected and not head.expected[figure][1] > chance:
                problem = f"the features of this run cannot tell {name} better than by chance ({describe(head)})"
                raise InputError(f"{problem}: it is not added")
        tag = AddedTag(
            name=name,
            category="number" if "spearman" in head.expected else "general",
            pictures=len(examples),
            threshold=head.threshold,
            expected=head.expected,
            run=folder.resolve().name,
            trunk=added_tags.trunk_fingerprint(tagger),
            bias=head.bias,
            weights=head.weights,
        )
        path = out or folder / "added_tags" / added_tags.file_name(name)
        path.parent.mkdir(exist_ok=True)
        tag.write(path)
        if not out:
            _add(tagger, tag)
            if (folder / "model.onnx").exists():
                write_run_copy(folder, _pixels(tagger, pictures))
    return f"{name}: {describe(head)}\n{path} has it for other runs with the same trunk"


def _check(name: str, pictures: Path, tagger: Tagger, out: Path | None) -> None:
    """Check what `teach` is called with, before anything is computed.

    Raises:
        InputError: the name is that of a tag of the training, or none; there is no folder of pictures; or the file cannot be
            written.
    """
    trained = [tag.name for tag in tagger.run.tags[: len(tagger.run.tags) - tagger.network.num_added_outputs]]
    if name in trained or not added_tags.is_name(name):
        expected = f"the name of a tag that {tagger.run.folder} was not trained with, without commas"
        raise InputError(f"--teach needs {expected}. Received: {name!r}")
    if not pictures.is_dir():
        raise InputError(f"--teach {name} needs a folder of pictures. Received: {pictures}")
    if out and not out.parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")
    if out and out.exists():
        added_tags.read(out)  # only a file of this kind is replaced


def _fit(name: str, examples: Examples, tagger: Tagger, pictures: Path, negatives: Path | None, table: Path | None) -> Head:
    """Fit the output to the examples; the arguments are those of `teach`."""
    if table:
        head = fit_values(*_with_values(examples, pictures, table, name))
        say(f"{len(examples):,} pictures in {pictures}")
        return head
    sources, represented = _negatives(tagger.run, negatives)
    without = embed(tagger, sources, f"without {name}")
    if not len(without):
        raise InputError(f"none of the pictures without {name} in {negatives or tagger.run.data} can be read")
    head = fit_tag(examples, without, represented)
    say(f"{len(examples):,} pictures with {name}, {len(without):,} without")
    return head


def describe(head: Head) -> str:
    """Return the expected figures of an output in words."""
    expected = head.expected
    titles = {"auc_roc": "AUC", "average_precision": "average precision", "spearman": "Spearman's correlation"}
    figures = {key: "{:.3f} ({:.3f} to {:.3f})".format(*expected[key]) for key in titles if key in expected}
    text = "expected " + ", ".join(f"{titles[key]} {figure}" for key, figure in figures.items())
    if "spearman" in expected:
        return f"{text};\n  mean distance from the rank {expected['rank_error']:.3f}"
    at_threshold = f"precision {expected['precision']:.2f} and recall {expected['recall']:.2f} from {head.threshold:.3f} on"
    return f"{text};\n  {at_threshold}"


def embed(tagger: Tagger, sources: Iterable[Source], title: str) -> Examples:
    """Compute the embeddings of pictures, with progress on standard error.

    Animations are represented by their first frame. Pictures that cannot be read are named and left out.

    Args:
        tagger: the run.
        sources: the pictures.
        title: description of the progress.
    """
    names, features, thumbnails = [], [], []
    read = read_ahead(sources, partial(tagger.read, max_frames=1))
    for pictures in in_batches(progress(read, description=title, unit="images"), BATCH):
        for unreadable in (picture for picture in pictures if isinstance(picture, Unreadable)):
            say(f"left out: {unreadable.source.name}: {unreadable.reason}")
        readable = [picture for picture in pictures if not isinstance(picture, Unreadable)]
        if not readable:
            continue
        frames = [picture.frames[0] for picture in readable]
        # Filled up to one size: a batch of another size would be compiled anew.
        pixels = np.stack(frames + frames[-1:] * (BATCH - len(frames)))  # (BATCH, image_size, image_size, 3)
        names += [picture.source.name for picture in readable]
        features.append(tagger.embed(pixels)[0][: len(frames)])
        thumbnails += [near_duplicates.image_thumbnail(Image.fromarray(frame)) for frame in frames]
    return Examples(names, np.concatenate(features) if features else np.empty((0, 0), np.float32), thumbnails)


def _pixels(tagger: Tagger, pictures: Path) -> np.ndarray:
    """Return the network's input for the first of a folder's pictures, uint8 (pictures, image_size, image_size, 3)."""
    read = read_ahead(itertools.islice(find([str(pictures)]), NUM_PICTURES), partial(tagger.read, max_frames=1))
    return np.stack([picture.frames[0] for picture in read if not isinstance(picture, Unreadable)])


def _negatives(run: Run, folder: Path | None) -> tuple[Iterable[Source], int]:
    """Return pictures without the tag, and the number of pictures that they represent."""
    if folder:
        if not folder.is_dir():
            raise InputError(f"--negatives needs a folder of pictures. Received: {folder}")
        sources = list(find([str(folder)]))
        chosen = np.random.default_rng(0).permutation(len(sources))[:MAX_NEGATIVES]
        return [sources[position] for position in chosen], len(sources)
    if not (Path(run.data) / "manifest.json").exists():
        raise InputError(f"{run.data}, whose pictures are the negatives, is missing: give --negatives FOLDER")
    stored = itertools.islice(records.read(Path(run.data), "train"), MAX_NEGATIVES)  # shards are in a random order
    return (Source(record.id, partial(bytes, record.image)) for record in stored), run.train_images


def _with_values(examples: Examples, folder: Path, table: Path, column: str) -> tuple[Examples, np.ndarray]:
    """Return the examples that have a number in a table, and these numbers. Unusable lines are named.

    Raises:
        InputError: the table cannot be read, lacks a column, or has too few numbers.
    """
    relative = [Path(name).relative_to(folder).as_posix() for name in examples.names]
    finder, values = ImageFinder([folder], relative), {}
    for row in read_table(table, lambda name: bool(finder.find(name)), Columns([column])):
        matches, [cell] = finder.find(row.id), row.numbers
        if len(matches) == 1 and is_number(cell):
            values[matches[0]] = float(cell)
        elif matches:
            problem = f"matches {len(matches)} files" if len(matches) > 1 else f"{cell!r} is not a number"
            say(f"left out: {table}, line {row.line}: {row.id}: {problem}")
    kept = [position for position, image in enumerate(relative) if image in values]
    say(f"{table} has a number for {len(kept):,} of {len(relative):,} pictures")
    if len(kept) < MIN_PICTURES:
        expected = f"a number for at least {MIN_PICTURES} pictures of {folder}"
        raise InputError(f"{table}: expected {expected}, received {len(kept)}")
    return examples.take(kept), np.array([values[relative[position]] for position in kept])


def _add(tagger: Tagger, added: AddedTag) -> None:
    """Write the output into the run folder, `model.keras` last."""
    run, network = tagger.run, tagger.network
    names = [tag.name for tag in run.tags]
    index = names.index(added.name) if added.name in names else len(names)
    next_id = max(tag.tag_id for tag in run.tags) + 1
    tag = records.Tag(next_id, added.name, CATEGORIES[added.category], added.pictures)
    tags = [*run.tags[:index], tag, *run.tags[index + 1 :]]
    thresholds, temperatures = (np.append(of, 0)[: len(tags)] for of in (tagger.thresholds, tagger.temperatures))
    thresholds[index], temperatures[index] = added.threshold, 1
    position = index - (network.num_tags - network.num_added_outputs)
    network = network.with_added_outputs(added.weights[None], np.array([added.bias]), position)
    path = run.folder / "taught.json"
    facts = files.read_json(path) if path.exists() else {}
    facts = {tag_name: fact for tag_name, fact in facts.items() if tag_name in names}  # without those lost by a kill
    fact = {"pictures": added.pictures, "threshold": added.threshold, **added.expected}
    files.write_json(path, facts | {added.name: fact})
    run_folder.save_thresholds(replace(run, tags=tags), thresholds, temperatures)
    records.write_tags(run.folder / "tags.csv", tags)
    run_folder.save_network(network, run.folder / "model.keras")
