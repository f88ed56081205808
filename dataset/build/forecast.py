"""The plan that download.py prints before it fetches pictures: numbers of posts, size, time, and tags with too few posts."""

import numpy as np

from common.errors import cut, say
from dataset.boards.board import Board
from dataset.build.selection import Options, Selection

NAMED_TAGS = 8
WORTH_OF_POSTS = (  # measured by `benchmarks sampling`
    "Twice the pictures, at equal training time, raised mAP by 0.05 where each tag had 8, by up to 0.02 where it had 32 "
    "(docs/results.md, What more pictures are worth)"
)


def print_plan(board: Board, selection: Selection, num_shards: int, options: Options) -> None:
    """Print the plan of a data folder."""
    parts = ", ".join(f"{len(entries):,} {split}" for split, entries in selection.entries.items())
    tagged = f", {selection.num_tagged:,} with a chosen tag" if selection.num_tagged else ""
    say(
        f"{selection.num_posts:,} posts{tagged}; chosen: {parts}; {len(selection.tags):,} tags; "
        f"{num_shards} shards, short side at most {options.size} px"
    )
    for split, share in {"val": options.val, "test": options.test}.items():
        if share and not selection.entries[split]:
            say(f"no picture is in the {split} split: too few were chosen for --{split} {share:g}, give a larger share")
    say(shortfall(selection, options.positives))
    if spare := spare_posts(selection):
        say(spare)
    posts = [entry.post for entries in selection.entries.values() for entry in entries]
    if board.remote and posts:
        size = sum(board.planned_bytes(post, options.size) for post in posts)
        rate = board.rate(posts[0])
        pace = f"{format_duration(len(posts) / rate)} at {rate:g} a second" if rate else "at no set rate"
        say(f"to fetch: {len(posts):,} pictures, about {size / 1e9:,.2f} GB, {pace}")


def shortfall(selection: Selection, positives: int) -> str:
    """Return a sentence that names the tags with fewer posts than wanted, those with the fewest first."""
    counts = np.zeros(len(selection.tags), np.int64)
    for entries in selection.entries.values():
        for entry in entries:
            counts[entry.tags] += 1
    short = [tag for tag in np.argsort(counts, kind="stable").tolist() if counts[tag] < positives]
    if not short:
        return f"every tag has its {positives:,} posts or more"
    named = ", ".join(f"{cut(selection.tags[tag])} {positives - counts[tag]:,}" for tag in short[:NAMED_TAGS])
    more = f" and {len(short) - NAMED_TAGS:,} more" if len(short) > NAMED_TAGS else ""
    return f"{len(short):,} of {len(selection.tags):,} tags have fewer than {positives:,} posts; missing: {named}{more}"


def spare_posts(selection: Selection) -> str:
    """Return sentences on the posts that could be chosen as well and what they are worth; empty if they are few."""
    chosen = sum(selection.sample.values())
    spare = selection.num_tagged - chosen
    if spare * 10 < chosen:  # too few to matter
        return ""
    wanted = min(2 * chosen, selection.num_tagged)
    which = "as many again, at random" if wanted < selection.num_tagged else "them all"
    return f"{spare:,} more posts have a chosen tag: --posts {wanted}, in a new folder, takes {which}. {WORTH_OF_POSTS}"


def format_duration(seconds: float) -> str:
    """Return a time as text: 42 s, 12 min, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"
