"""The rows of front ends' tables, and the files that they read beside a network.

Front ends know tags by their position. The first four rows are ratings; then come general tags, then characters. Some fail
without characters, and one prints ten rows of each kind, so that placeholders, whose probability is always 0, fill up both.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import say
from common.files import write_csv, write_json
from dataset.records import CATEGORIES, Tag
from inference.tagger import Tagger

CHARACTER, RATING = CATEGORIES["character"], 9  # the numbers of WD taggers; all other categories are general, 0
# The rows of the four ratings, and the names of the ratings that they show.
RATINGS = {
    "general": ("rating:general", "rating:safe"),
    "sensitive": ("rating:sensitive",),
    "questionable": ("rating:questionable",),
    "explicit": ("rating:explicit",),
}
FIRST_RATING_ID = 9999999  # WD taggers number them downwards from here
MIN_ROWS = 10
# What pandas takes for an empty cell, with its usual settings.
EMPTY_CELLS = {"#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
EMPTY_CELLS |= {"NULL", "NaN", "None", "n/a", "nan", "null"}
CL_CATEGORIES = {"artist": "Artist", "copyright": "Copyright", "character": "Character", "meta": "Meta"}


@dataclass(frozen=True)
class Row:
    """One row of a table of tags, and one output of the network beside it.

    Attributes:
        tag: what is written; its category is that of the front ends.
        index: the tag's position in the run; None: the row's probability is always 0.
        threshold: probability from which the tag is predicted.
    """

    tag: Tag
    index: int | None
    threshold: float


def rating_rows(tagger: Tagger) -> list[Row]:
    """Return the four rows of the ratings."""
    index_of = {tag.name: index for index, tag in enumerate(tagger.run.tags) if tag.category == CATEGORIES["rating"]}
    rows = []
    for position, (name, sources) in enumerate(RATINGS.items()):
        index = next((index_of[source] for source in sources if source in index_of), None)
        count = tagger.run.tags[index].count if index is not None else 0
        rows.append(Row(Tag(FIRST_RATING_ID - position, name, RATING, count), index, 0.5))
    return rows


def front_end_rows(tagger: Tagger, own_categories: bool = False) -> list[Row]:
    """Return the rows in the order of the network's outputs. Numbers have none.

    Args:
        tagger: the run.
        own_categories: keep the categories of the run; by default, only characters keep theirs.
    """
    rows: list[Row] = []
    for index, tag in enumerate(tagger.run.tags):
        if tag.category not in (CATEGORIES["number"], CATEGORIES["rating"]):
            category = tag.category if own_categories or tag.category == CHARACTER else 0
            row = Tag(tag.tag_id, tag.name, category, tag.count)
            rows.append(Row(row, index, float(tagger.thresholds[index])))
    ids = itertools.count(FIRST_RATING_ID - len(RATINGS), -1)
    for category, kind in ((0, "general"), (CHARACTER, "character")):
        missing = MIN_ROWS - sum(row.tag.category == category for row in rows)
        names = [f"placeholder_{kind}_{number}" for number in range(1, missing + 1)]
        rows += [Row(Tag(next(ids), name, category, 0), None, 1.0) for name in names]
    order = {0: 0, CHARACTER: 1}  # general, then characters, then any other category
    return rating_rows(tagger) + sorted(rows, key=lambda row: order.get(row.tag.category, 2))


def rating_note(tagger: Tagger) -> str:
    """Return one sentence on what the rows of the ratings hold."""
    shown = {row.tag.name: tagger.run.tags[row.index].name for row in rating_rows(tagger) if row.index is not None}
    if not shown:
        return (
            "no rating is known: the four rating rows are always 0, and front ends that give every picture a rating would "
            "call all of them general"
        )
    absent = [name for name in RATINGS if name not in shown]
    pairs = ", ".join(f"{name} is {source}" for name, source in shown.items())
    return f"ratings: {pairs}" + (f"; {', '.join(absent)} is always 0" if absent else "")


def write_wd_files(tagger: Tagger, rows: Sequence[Row], folder: Path) -> None:
    """Write `selected_tags.csv` and `info.json`, which tools for hydrus read."""
    write_table(folder / "selected_tags.csv", rows)
    has_ratings = any(row.index is not None for row in rows[: len(RATINGS)])
    info: dict = {"modelname": tagger.run.folder.resolve().name, "source": "e6tag"}
    info |= {"modelfile": "model.onnx", "tagsfile": "selected_tags.csv"}
    # Without the flag, Garbevoir's tool takes the rows of ratings for tags, and writes none of probability 0.
    write_json(folder / "info.json", info | {"ratingsflag": int(has_ratings), "numberofratings": len(RATINGS)})


def write_timm_files(tagger: Tagger, rows: Sequence[Row], side: int, folder: Path) -> None:
    """Write the files that readers of timm's multi-label taggers expect: tags, categories, transforms, sizes."""
    write_table(folder / "selected_tags.csv", rows)
    names = {number: name for name, number in CATEGORIES.items()} | {RATING: "rating"}
    used = sorted({row.tag.category for row in rows})
    write_json(folder / "categories.json", [{"category": number, "name": names[number]} for number in used])
    transforms = [
        {"type": "convert_rgb", "force_background": "white"},
        {"type": "pad_to_size", "size": [side, side], "background_color": "white", "interpolation": "bilinear"},
        # SwarmUI's reader does not know the step above and crops. For others, the picture has its final size already.
        {"type": "resize", "size": side, "interpolation": "bilinear", "max_size": None, "antialias": True},
        {"type": "center_crop", "size": [side, side]},
        {"type": "maybe_to_tensor"},
        {"type": "normalize", "mean": [0.5] * 3, "std": [0.5] * 3},
    ]
    write_json(folder / "preprocess.json", {"val": transforms, "test": transforms})
    sizes: dict = {"input_size": [3, side, side], "fixed_input_size": True, "num_classes": len(rows)}
    sizes |= {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    features = tagger.network.embedding_width
    config: dict = {"architecture": tagger.run.config.preset, "num_classes": len(rows), "num_features": features}
    write_json(folder / "config.json", config | {"pretrained_cfg": sizes, "tags": [row.tag.name for row in rows]})


def write_cl_files(rows: Sequence[Row], folder: Path) -> None:
    """Write `tag_mapping.json`, column ▶ tag and category, which callers of the CL taggers read."""
    names = {number: CL_CATEGORIES.get(name, "General") for name, number in CATEGORIES.items()} | {RATING: "Rating"}
    mapping = {str(column): {"tag": row.tag.name, "category": names[row.tag.category]} for column, row in enumerate(rows)}
    write_json(folder / "tag_mapping.json", mapping)


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the table of tags. Its first four columns are those of WD taggers; front ends ignore further ones.

    Names that some front ends misread are named in a warning.
    """
    names = Counter(row.tag.name for row in rows)
    if unreadable := sorted(EMPTY_CELLS & set(names)):
        say(
            f"warning: front ends that read tables with pandas take {', '.join(unreadable)} for an empty cell, not for a tag"
        )
    if twice := [name for name, number in names.items() if number > 1]:
        say(f"warning: {', '.join(twice)} is the name of a tag and of another row: front ends that look up names see one")
    cells = ((row.tag.tag_id, row.tag.name, row.tag.category, row.tag.count, f"{row.threshold:.4f}") for row in rows)
    write_csv(path, ("tag_id", "name", "category", "count", "best_threshold"), cells)
