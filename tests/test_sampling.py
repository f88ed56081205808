"""Invariants of the choice of tags, posts and splits."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset.boards import catalogue
from dataset.boards.catalogue import Annotations
from dataset.build.sampling import SAMPLINGS, assign_splits, priorities, sample, spread_order, vocabulary
from dataset.records import SPLITS

POSTS = st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=6), min_size=1, max_size=40)


def split_of(group: str, val: float, test: float) -> str:
    return SPLITS[assign_splits([group], val, test)[0]]


def chosen_ids(posts: dict[str, list[str]], tags: list[str], positives: int, seed: int, sampling="cover") -> set[str]:
    annotations = Annotations.from_tags(posts.values())
    annotations = annotations.restricted([annotations.names.index(tag) for tag in tags])
    chosen = sample(annotations, priorities(posts, seed, "choice"), positives, sampling)
    return {post_id for post_id, taken in zip(posts, chosen, strict=True) if taken}


@settings(deadline=None)
@given(POSTS, st.integers(1, 10), st.integers(1, 5))
def test_the_vocabulary_is_the_most_frequent_tags(posts, num_tags, min_positives):
    annotations = Annotations.from_tags(map(sorted, posts))
    counts = Counter(tag for tags in posts for tag in tags)
    chosen = [annotations.names[tag] for tag in vocabulary(annotations.names, annotations.counts(), num_tags, min_positives)]
    eligible = sorted((tag for tag in counts if counts[tag] >= min_positives), key=lambda tag: (-counts[tag], tag))
    assert chosen == eligible[:num_tags]


def test_a_tag_that_is_not_wanted_is_not_chosen():
    assert vocabulary(["meta", "solo"], np.array([0, 5]), num_tags=9, min_positives=1) == [1]


@settings(deadline=None)
@given(POSTS, st.integers(1, 12), st.integers(0, 3), st.sampled_from(sorted(SAMPLINGS)))
def test_every_tag_gets_its_positives_or_all_there_are(posts, positives, seed, sampling):
    named = {f"post {number}": sorted(tags) for number, tags in enumerate(posts)}
    counts = Counter(tag for tags in posts for tag in tags)
    chosen = chosen_ids(named, sorted(counts), positives, seed, sampling)
    for tag, count in counts.items():
        assert sum(tag in named[post] for post in chosen) >= min(positives, count)
    assert all(named[post] for post in chosen)
    assert len(chosen) <= sum(min(positives, count) for count in counts.values())


@settings(deadline=None)
@given(POSTS, st.integers(1, 12), st.randoms(), st.sampled_from(sorted(SAMPLINGS)))
def test_the_order_of_the_posts_does_not_matter(posts, positives, random, sampling):
    named = {f"post {number}": sorted(tags) for number, tags in enumerate(posts)}
    tags = sorted(set().union(*posts))
    shuffled = list(named.items())
    random.shuffle(shuffled)
    chosen = [chosen_ids(listed, tags, positives, 0, sampling) for listed in (named, dict(shuffled))]
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_a_common_tag_is_not_served_beyond_its_wish(sampling):
    posts = {str(number): ["common"] for number in range(1000)} | {f"r{number}": ["rare"] for number in range(3)}
    chosen = chosen_ids(posts, ["common", "rare"], positives=10, seed=0, sampling=sampling)
    assert sum(post.startswith("r") for post in chosen) == 3
    assert len(chosen) == 13


def test_posts_chosen_for_a_rare_tag_count_for_a_common_one():
    posts = {str(number): ["common"] for number in range(100)} | {f"r{number}": ["common", "rare"] for number in range(5)}
    assert chosen_ids(posts, ["common", "rare"], positives=5, seed=0) == {f"r{number}" for number in range(5)}


def test_a_cover_takes_posts_that_serve_many_tags():
    posts = {tags: list(tags) for tags in ("a", "b", "c", "ab", "bc", "abc", "aX", "bX")} | {"2": ["a"], "3": ["c"]}
    assert chosen_ids(posts, ["a", "b", "c"], positives=1, seed=0) == {"abc"}
    assert len(chosen_ids(posts, ["a", "b", "c"], positives=1, seed=0, sampling="e6tag")) >= 1


def test_each_post_counts_for_the_rarest_of_its_tags_alone():
    posts = {str(number): ["common"] for number in range(100)} | {f"r{number}": ["common", "rare"] for number in range(5)}
    chosen = chosen_ids(posts, ["common", "rare"], positives=5, seed=0, sampling="e6tag")
    assert len(chosen) == 10
    assert sum(post.startswith("r") for post in chosen) == 5


def test_there_are_as_many_posts_as_wanted_in_all():
    annotations = Annotations.from_tags([["a"]] * 20 + [[]] * 20)
    priority = priorities(map(str, range(40)), 0, "choice")
    for wanted, found in ((0, 2), (2, 2), (7, 7), (99, 20)):
        assert sample(annotations, priority, 2, posts=wanted).sum() == found


def test_a_cover_spreads_over_labels_where_posts_serve_alike():
    annotations = Annotations.from_tags([["a"]] * 100)
    priority = priorities(map(str, range(100)), 0, "choice")
    artists = np.array([0] * 90 + list(range(1, 11)))
    months = np.arange(100) % 50
    chosen = sample(annotations, priority, 22, labels=[artists, months])
    assert np.bincount(artists[chosen]).tolist() == [12] + [1] * 10
    assert sample(annotations, priority, 22, sampling="e6tag", labels=[artists, months])[90:].sum() < 10
    in_turn = spread_order(priority, [months])
    assert sorted(months[in_turn[:50]]) == list(range(50))
    assert spread_order(priority, [np.full(100, -1)]).tolist() == np.argsort(priority).tolist()


def test_another_seed_chooses_other_posts():
    posts = {str(number): ["common"] for number in range(1000)}
    assert chosen_ids(posts, ["common"], 20, seed=0) == chosen_ids(posts, ["common"], 20, seed=0)
    assert chosen_ids(posts, ["common"], 20, seed=0) != chosen_ids(posts, ["common"], 20, seed=1)


def test_counts_can_be_taken_over_some_posts():
    annotations = Annotations.from_tags([["a", "b"], [], ["b"]])
    assert annotations.counts().tolist() == [1, 2]
    assert annotations.counts(np.array([False, True, True])).tolist() == [0, 1]


def test_restriction_keeps_posts_and_renumbers_tags():
    annotations = Annotations.from_tags([["a", "b", "c"], ["b"], ["c"]]).restricted([2, 0])
    assert annotations.names == ["c", "a"]
    assert annotations.offsets.tolist() == [0, 2, 2, 3]
    assert annotations.tags.tolist() == [1, 0, 0]


def test_splits_have_about_their_shares():
    counts = Counter(split_of(f"group {number}", val=10, test=20) for number in range(20_000))
    assert counts["val"] == pytest.approx(2_000, rel=0.1)
    assert counts["test"] == pytest.approx(4_000, rel=0.1)


def test_a_larger_validation_split_leaves_the_test_split_alone():
    groups = [f"group {number}" for number in range(2_000)]
    test = {group for group in groups if split_of(group, val=5, test=5) == "test"}
    assert test == {group for group in groups if split_of(group, val=30, test=5) == "test"}


def test_splits_stay_what_they_were_when_this_was_written():
    """Data folders made by different versions share their test posts: changing the hash would leak them."""
    assert [split_of(group, val=30, test=30) for group in ("1F44B", "a/b.png", "", "猫", "12345")] == [
        "test",
        "val",
        "train",
        "test",
        "train",
    ]


def test_shares_of_nothing_and_of_all():
    assert {split_of(str(number), val=0, test=0) for number in range(500)} == {"train"}
    assert {split_of(str(number), val=0, test=100) for number in range(500)} == {"test"}


@settings(deadline=None)
@given(POSTS, st.randoms(use_true_random=False))
def test_variants_of_a_group_count_once(posts, random):
    groups = [random.randrange(5) for _ in posts]
    mask = [random.random() < 0.7 for _ in posts]
    annotations = Annotations.from_tags(sorted(tags) for tags in posts)
    counts = annotations.group_counts(np.array(groups), np.array(mask))
    for number, name in enumerate(annotations.names):
        having = {group for group, kept, tags in zip(groups, mask, posts, strict=True) if kept and name in tags}
        assert counts[number] == len(having)


@settings(deadline=None)
@given(POSTS)
def test_the_posts_of_a_tag_are_listed_in_order(posts):
    annotations = Annotations.from_tags(map(sorted, posts))
    listed, begins = annotations.posts_by_tag()
    for number, name in enumerate(annotations.names):
        having = [post for post, tags in enumerate(posts) if name in tags]
        assert listed[begins[number] : begins[number + 1]].tolist() == having


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2**31 - 1) | st.integers(0, 3), max_size=6), max_size=40))
def test_the_tags_of_a_post_are_sorted_and_distinct(posts):
    begins = np.cumsum([0, *map(len, posts)])
    tags, ends = catalogue.distinct_tags(np.array([tag for tags in posts for tag in tags], np.int32), begins)
    assert [tags[first:end].tolist() for first, end in pairwise(ends)] == [sorted(set(post_tags)) for post_tags in posts]


@settings(deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=6), min_size=1, max_size=40), st.randoms())
def test_small_blocks_give_what_one_block_gives(posts, random):
    groups = np.array([random.randrange(9) for _ in posts])
    mask = np.array([random.random() < 0.7 for _ in posts])
    annotations = Annotations.from_tags(sorted(tags) for tags in posts)
    chosen = random.sample(range(len(annotations.names)), len(annotations.names) // 2)

    def results():
        part = annotations.restricted(chosen)
        parts = (annotations.counts(mask), annotations.group_counts(groups, mask), part.offsets, part.tags)
        parts += (*annotations.posts_by_tag(), annotations.counts_by_post(np.arange(len(annotations.names)) % 2 == 0))
        return [values.tolist() for values in parts]

    whole = results()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "BLOCK_POSTS", 3)
        patch.setattr(catalogue, "BLOCK_GROUPS", 2)
        assert results() == whole
