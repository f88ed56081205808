"""One output more for a trained run, from a folder of pictures: `train.py --teach`.

The trunk stays as it is: pictures become embeddings, and a regression on them (`model.embedding_head`) becomes one more
output of the network, a layer of its own beside the others, which say the same as before, to the bit.

A run works at any moment while it is taught: thresholds are found by name, rows of `tags.csv` for which the network has no
output are passed over (`model.predict`), and `model.keras` is replaced last.
"""

import itertools
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
from PIL import Image
from tqdm import tqdm

from command import InputError, only_writer, say
from dataset import duplicates, records
from dataset.boards import CATEGORIES
from dataset.boards.folder import ImageFinder, is_number
from dataset.boards.tag_table import read_table
from model import inputs, runs
from model.embedding_head import Examples, Head, fit_tag, fit_values
from model.inputs import Source
from model.predict import Tagger, Unreadable
from model.runs import Run

FEWEST_PICTURES = 10  # two for each fold
MOST_NEGATIVES = 2000  # more of them take longer and gain little
GUESS = {"auc_roc": 0.5, "spearman": 0.0}  # what an output without any use reaches


def teach(name: str, pictures: Path, folder: Path, negatives: Path | None, table: Path | None) -> str:
    """Add an output to a run, or learn one anew that was added before.

    Args:
        name: of the tag, or of the number.
        pictures: a folder of pictures that have the tag, or to which the table gives numbers.
        folder: the run.
        negatives: a folder of pictures that lack the tag; the run's training pictures if None.
        table: a CSV with the columns `id`, a file's name, and `name`, a number; None for a tag.

    Returns:
        What is expected of the output, in words.

    Raises:
        InputError: the run was trained with that tag, or the pictures or the table are missing, too few or of no use.
    """
    name = name.strip()
    runs.load(folder)  # before a lock is put into what is no run
    with only_writer(folder):
        tagger = Tagger.load(folder)
        trained = [tag.name for tag in tagger.run.tags[: len(tagger.run.tags) - tagger.network.num_taught]]
        if not name or name in trained or any(sign in name for sign in ",\r\n"):  # which separate tags
            expected = f"the name of a tag that {folder} was not trained with, without commas"
            raise InputError(f"--teach needs {expected}. Received: {name!r}")
        if not pictures.is_dir():
            raise InputError(f"--teach {name} needs a folder of pictures. Received: {pictures}")
        examples = embed(tagger, inputs.find([str(pictures)]), str(pictures))
        if len(examples) < FEWEST_PICTURES:
            found = f"Received: {len(examples)} in {pictures}"
            raise InputError(f"{name} needs {FEWEST_PICTURES} pictures at least, and fifty are better. {found}")
        if table:
            head = fit_values(*_graded(examples, pictures, table, name))
            say(f"{len(examples):,} pictures in {pictures}")
        else:
            sources, represented = _negatives(tagger.run, negatives)
            without = embed(tagger, sources, f"without {name}")
            if not len(without):
                raise InputError(f"no picture without {name} can be read in {negatives or tagger.run.data}")
            head = fit_tag(examples, without, represented)
            say(f"{len(examples):,} pictures with {name}, {len(without):,} without")
        for figure, guess in GUESS.items():
            if figure in head.expected and not head.expected[figure][1] > guess:
                raise InputError(f"this run's features do not show {name} ({described(head)}): it is not added")
        _write(tagger, name, head, len(examples))
    return f"{name}: {described(head)}"


def described(head: Head) -> str:
    """What is expected of an output, in words."""
    expected = head.expected
    titles = {"auc_roc": "AUC", "average_precision": "average precision", "spearman": "Spearman's correlation"}
    figures = {key: "{:.3f} ({:.3f} to {:.3f})".format(*expected[key]) for key in titles if key in expected}
    words = "expected " + ", ".join(f"{titles[key]} {figure}" for key, figure in figures.items())
    if "spearman" in expected:
        return f"{words};\n  mean distance from the rank {expected['rank_error']:.3f}"
    at_threshold = f"precision {expected['precision']:.2f} and recall {expected['recall']:.2f} from {head.threshold:.3f} on"
    return f"{words};\n  {at_threshold}"


def embed(tagger: Tagger, sources: Iterable[Source], title: str) -> Examples:
    """The embeddings of pictures, of animations the first frame's; what cannot be read is named and left out."""
    trunk = tagger.network.trunk()
    embedder = replace(tagger, network=keras.Model(trunk.input, {"features": trunk.output}))
    names, features, thumbnails = [], [], []
    for prediction in tqdm(embedder.predict(sources, most_frames=1), desc=title, unit=" images", disable=None):
        if isinstance(prediction, Unreadable):
            say(f"left out: {prediction.source.name}: {prediction.reason}")
            continue
        names.append(prediction.source.name)
        features.append(keras.ops.convert_to_numpy(prediction.scores["features"])[0].astype(np.float32))
        thumbnails.append(duplicates.thumbnail_of(Image.fromarray(prediction.frames[0])))
    return Examples(names, np.array(features), thumbnails)


def _negatives(run: Run, folder: Path | None) -> tuple[Iterable[Source], int]:
    """Pictures without the tag, and how many pictures they stand for."""
    if folder:
        if not folder.is_dir():
            raise InputError(f"--negatives needs a folder of pictures. Received: {folder}")
        sources = list(inputs.find([str(folder)]))
        chosen = np.random.default_rng(0).permutation(len(sources))[:MOST_NEGATIVES]
        return [sources[position] for position in chosen], len(sources)
    if not (Path(run.data) / "manifest.json").exists():
        raise InputError(f"{run.data}, whose pictures lack the tag, is not there: give --negatives FOLDER")
    stored = itertools.islice(records.read(Path(run.data), "train"), MOST_NEGATIVES)  # shards are in a random order
    return (Source(record.id, partial(bytes, record.image)) for record in stored), run.train_images


def _graded(examples: Examples, folder: Path, table: Path, column: str) -> tuple[Examples, np.ndarray]:
    """The examples that a table has a number for, and the numbers; lines that are of no use are named.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    relative = [Path(name).relative_to(folder).as_posix() for name in examples.names]
    finder, values = ImageFinder(folder, relative), {}
    for row in read_table(table, lambda name: bool(finder.find(name)), [column]):
        found, [cell] = finder.find(row.id), row.numbers
        if len(found) == 1 and is_number(cell):
            values[found[0]] = float(cell)
        elif found:
            problem = f"fits {len(found)} files" if len(found) > 1 else f"{cell!r} is no number"
            say(f"left out: {table}, line {row.line}: {row.id}: {problem}")
    kept = [position for position, image in enumerate(relative) if image in values]
    say(f"{table} has a number for {len(kept):,} of {len(relative):,} pictures")
    if len(kept) < FEWEST_PICTURES:
        expected = f"a number for {FEWEST_PICTURES} pictures of {folder} at least"
        raise InputError(f"{table}: expected {expected}, received {len(kept)}")
    return examples.take(kept), np.array([values[relative[position]] for position in kept])


def _write(tagger: Tagger, name: str, head: Head, pictures: int) -> None:
    """Add the output to the run folder, `model.keras` last."""
    run, network = tagger.run, tagger.network
    names = [tag.name for tag in run.tags]
    place = names.index(name) if name in names else len(names)
    category = CATEGORIES["number" if "spearman" in head.expected else "general"]
    tag = records.Tag(max(tag.tag_id for tag in run.tags) + 1, name, category, pictures)
    tags = [*run.tags[:place], tag, *run.tags[place + 1 :]]
    thresholds = np.append(tagger.thresholds, 0.0)[: len(tags)]
    thresholds[place] = head.threshold
    position = place - (network.num_tags - network.num_taught)
    network = network.with_taught(position, head.weights * tagger.temperature, head.bias * tagger.temperature)
    taught = run.folder / "taught.json"
    facts = records.read_json(taught) if taught.exists() else {}
    facts = {known: fact for known, fact in facts.items() if known in names}  # not what a kill kept from being added
    records.write_json(taught, facts | {name: {"pictures": pictures, "threshold": head.threshold, **head.expected}})
    runs.save_thresholds(replace(run, tags=tags), thresholds, tagger.temperature)
    records.write_tags(run.folder / "tags.csv", tags)
    runs.save_network(network, run.folder / "model.keras")
