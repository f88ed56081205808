"""Write a synthetic export in e621's format, with millions of posts, for measurements.

    python -m benchmarks.large_export data/.bench/6000000 --posts 6000000

Tag frequencies follow a Zipf-Mandelbrot law through two figures known of e621: 2,900 general tags of at least 5,000 posts
and 10,000 of at least 512. Tags are independent of each other, so posts with many rare tags are scarcer than on a real
board, where tags of one theme occur together. A post has about 37 tags and 900 bytes, 300 of them in the gzip file.
"""

import argparse
import csv
import gzip
import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from common.files import atomic_path
from common.progress import progress

EXPORTS = ("tags", "tag_aliases", "tag_implications", "posts")
BLOCK_POSTS = 20_000
FULL_SIZE = 6_000_000  # posts of the real board, for which the law of the tags holds
# Kind of tag ▶ category, number of tags, exponent and shift of their frequencies, mean number in a post.
KINDS = {
    "general": (0, 200_000, 1.84, 190.0, 31.0),
    "artist": (1, 150_000, 1.1, 30.0, 1.0),
    "species": (5, 8_000, 1.3, 3.0, 2.0),
    "character": (4, 60_000, 1.2, 20.0, 1.0),
    "meta": (7, 300, 1.3, 1.0, 2.0),
}
NAMED = {40: "comic", 60: "young"}  # rank ▶ name of the general tags that download.py's filters use
NUM_ALIASES, NUM_IMPLICATIONS = 70_000, 58_000
SYLLABLES = [consonant + vowel for consonant in "bdfghjklmnprst" for vowel in "aeiou"]
# fmt: off
COLUMNS = (
    "id", "uploader_id", "created_at", "md5", "source", "rating", "image_width", "image_height", "tag_string",
    "locked_tags", "fav_count", "file_ext", "parent_id", "change_seq", "approver_id", "file_size",
    "comment_count", "description", "duration", "updated_at", "is_deleted", "is_pending", "is_flagged",
    "score", "up_score", "down_score", "is_rating_locked", "is_status_locked", "is_note_locked",
    "bg_color", "last_noted_at", "last_commented_at",
)
# fmt: on


def write_export(folder: Path, num_posts: int, seed: int = 0) -> dict[str, Path]:
    """Write the four files of an export. Each gets its name when it is complete; existing files are kept.

    Args:
        folder: output folder; made if it is missing.
        num_posts: number of posts.
        seed: seed of all content.

    Returns:
        Name of the export ▶ its file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.csv.gz" for name in EXPORTS}
    if not all(path.exists() for path in paths.values()):
        rng = np.random.default_rng(seed)
        names = {kind: _names(kind, facts[1]) for kind, facts in KINDS.items()}
        _write(paths["tags"], ("id", "name", "category", "post_count"), _tags(names))
        _write(paths["tag_aliases"], ("id", "antecedent_name", "consequent_name", "status"), _aliases(names["general"], rng))
        implications = _implications(names["general"], rng)
        _write(paths["tag_implications"], ("id", "antecedent_name", "consequent_name", "status"), implications)
        _write(paths["posts"], COLUMNS, _posts(names, num_posts, rng))
    return paths


def _write(path: Path, columns: tuple[str, ...], rows: Iterator) -> None:
    with atomic_path(path) as partial, gzip.open(partial, "wt", compresslevel=6, encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def _names(kind: str, number: int) -> list[str]:
    """Return tags, the most frequent first, as long as real ones."""
    rng = np.random.default_rng(list(kind.encode()))
    names: dict[str, None] = {}
    while len(names) < number:
        words = ("".join(rng.choice(SYLLABLES, size)) for size in rng.integers(1, 5, rng.integers(1, 4)))
        names["_".join(words) + (f"_({kind})" if kind in ("artist", "character") else "")] = None
    listed = list(names)
    if kind == "general":
        for rank, name in NAMED.items():
            listed[rank] = name
    return listed


def _tags(names: dict[str, list[str]]) -> Iterator[tuple]:
    number = itertools.count(1)
    for kind, kind_tags in names.items():
        for name in kind_tags:
            yield next(number), name, KINDS[kind][0], 0


def _aliases(names: list[str], rng: np.random.Generator) -> Iterator[tuple]:
    for number, target in enumerate(rng.integers(0, 20_000, NUM_ALIASES).tolist()):
        yield number, f"{names[target]}_{number}", names[target], "active"


def _implications(names: list[str], rng: np.random.Generator) -> Iterator[tuple]:
    """Yield implications from rare tags to frequent ones, so that they form chains."""
    for number, rank in enumerate(rng.choice(np.arange(2_000, len(names)), NUM_IMPLICATIONS, replace=False).tolist()):
        yield number, names[rank], names[int(rng.integers(100, rank // 4))], "active" if number % 20 else "deleted"


def _posts(names: dict[str, list[str]], num_posts: int, rng: np.random.Generator) -> Iterator[tuple]:
    pools = {kind: np.array(kind_tags, object) for kind, kind_tags in names.items()}
    laws = {kind: _cumulative(*facts[1:4]) for kind, facts in KINDS.items()}
    words = names["general"][:5_000]
    descriptions = [_description(words, rng) for _ in range(20_000)]
    started = datetime(2007, 2, 10)
    step = timedelta(days=7_100) / num_posts
    with progress(total=num_posts, unit="posts", scaled=True, description="writing posts") as bar:
        for first in range(0, num_posts, BLOCK_POSTS):
            size = min(BLOCK_POSTS, num_posts - first)
            drawn = {kind: _draw(pools[kind], laws[kind], KINDS[kind][4], size, rng) for kind in KINDS}
            random = rng.random((size, 8)).tolist()
            numbers = rng.integers(0, 2**31, (size, 6)).tolist()
            md5s = rng.bytes(16 * size).hex()
            for row in range(size):
                tags = sorted(set(itertools.chain.from_iterable(kind_tags[row] for kind_tags in drawn.values())))
                post_id = 2 * (first + row) + 1
                created = started + (first + row) * step
                description = descriptions[numbers[row][5] % len(descriptions)]
                yield _post(
                    post_id, str(created), md5s[32 * row : 32 * row + 32], tags, description, random[row], numbers[row]
                )
            bar.update(size)


def _post(post_id: int, created: str, md5: str, tags: list[str], description: str, random: list, numbers: list) -> tuple:
    """Return one row of `COLUMNS`."""
    rating = "s" if random[0] < 0.25 else "q" if random[0] < 0.42 else "e"
    extension = next(kind for share, kind in SHARES if random[1] < share)
    width, height = 300 + numbers[0] % 2_700, 300 + numbers[1] % 2_700
    parent = max(1, post_id - 2 * (1 + numbers[2] % 40)) if random[2] < 0.12 and post_id > 1 else ""
    score = int(60 * random[3] ** 4 * 10) - 5
    source = "\n".join(
        f"https://pictures.example/{numbers[at]:x}/status/{numbers[at + 1]}" for at in range(1 + numbers[4] % 2)
    )
    # fmt: off
    return (
        post_id, numbers[3] % 500_000, created, md5, source, rating, width, height, " ".join(tags),
        "", numbers[0] % 900, extension, parent, 70_000_000 + numbers[1] % 9_000_000, numbers[2] % 40_000,
        width * height // 3, numbers[3] % 9, description if random[4] < 0.45 else "", "", created,
        "t" if random[5] < 0.09 else "f", "t" if random[6] < 0.001 else "f", "f", score, score + 7, -7, "f", "f", "f",
        "", "", created if random[7] < 0.3 else "",
    )
    # fmt: on


SHARES = ((0.46, "png"), (0.91, "jpg"), (0.94, "gif"), (0.99, "webm"), (0.995, "swf"), (1.0, "webp"))


def _cumulative(number: int, exponent: float, shift: float) -> np.ndarray:
    """Return the cumulative distribution over ranks, float64 (number,)."""
    share = (np.arange(number) + 1 + shift) ** -exponent
    return np.cumsum(share) / share.sum()


def _draw(pool: np.ndarray, law: np.ndarray, mean: float, size: int, rng: np.random.Generator) -> list[list[str]]:
    """Return the tags of one kind for `size` posts, whose numbers of tags vary as much as those of real posts."""
    lengths = np.clip(np.round(mean * rng.lognormal(-0.125, 0.5, size)), 1, 250).astype(int)
    tags = pool[np.searchsorted(law, rng.random(lengths.sum()))].tolist()
    ends = np.cumsum(lengths).tolist()
    return [tags[first:end] for first, end in zip([0, *ends], ends, strict=False)]


def _description(words: list[str], rng: np.random.Generator) -> str:
    """Return text with commas, quotes and line breaks, of varying length."""
    chosen = [words[number] for number in rng.integers(0, len(words), int(rng.lognormal(3.0, 0.9)) + 1)]
    return ", ".join(chosen[:8]) + ('\n"' + chosen[0] + '"\n' if len(chosen) > 20 else " ") + " ".join(chosen[8:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a synthetic export in e621's format.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--posts", type=int, default=FULL_SIZE)
    arguments = parser.parse_args()
    write_export(arguments.folder, arguments.posts)
