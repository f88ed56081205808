"""Learning the joint space of `model.joint`, and what it is worth.

The pairs are pictures and the words of their records. In each epoch every group gives one of its pictures, so that variants
of one picture are no negatives of each other, nor are pictures with the same words. The loss is the symmetric InfoNCE with
a learned temperature (van den Oord et al., arXiv 1807.03748; Radford et al., arXiv 2103.00020).
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from dataset import pipeline, records
from model import scoring, sentences
from model.joint import FILE, JointSpace, Projection, Projections, describer, observer

DIMENSIONS = 256
EPOCHS = 60
BATCH = 512
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 1e-3, 1e-2, 0.3
SHARPNESS, MOST_SHARPNESS = (
    math.log(1 / 0.07),
    math.log(100),
)  # logarithms of one over the temperature: to begin with, at most
TEXT_SPREAD = 1 / 16  # of the tags' part of a sentence's input: about that of a vector's elements
READ_BATCH = 64
REACHES = (1, 5, 10)  # of recall
MOST_SENTENCES = 1000  # that are searched for in an evaluation


@dataclass(frozen=True)
class Pairs:
    """A split's pictures and words.

    Attributes:
        seen: float32 (pictures, channels + tags), embeddings and probabilities.
        words: of each picture.
        groups: the names of their groups; the ids where the records name none.
    """

    seen: np.ndarray
    words: list[str]
    groups: np.ndarray


def read_pairs(space: JointSpace, data: Path, split: str) -> Pairs:
    """Look at a split of a data folder.

    Raises:
        InputError: it is empty, or its tags are not the run's.
    """
    run = space.run
    names = [run.tags[output].name.replace("_", " ") for output in scoring.outputs_for(run, data)]
    observe = observer(space.tagger)
    seen, words, groups = [], [], []
    total = scoring.number_of_images(data, split)
    batches = pipeline.evaluation_batches(
        data, split, len(names), run.config.image_size, run.config.resize, READ_BATCH
    ).as_numpy_iterator()
    bar = tqdm(total=total, unit=" images", desc=split, dynamic_ncols=True)
    with pipeline.damage_named(data, split), bar as progress:
        for batch in batches:
            seen.append(np.concatenate(observe(batch["pixels"]), axis=1))
            for said, labels in zip(batch["words"], batch["labels"], strict=True):  # records of older folders have none
                words.append(said.decode() or " ".join(names[tag] for tag in np.flatnonzero(labels > 0.5)))
            groups += [(group or post_id).decode() for group, post_id in zip(batch["group"], batch["id"], strict=True)]
            progress.update(len(batch["words"]))
    return Pairs(np.concatenate(seen), words, np.array(groups))


def learn(names: list[str], pairs: Pairs, tower: str, seed: int = 0) -> Projections:
    """Learn the projections from the training split, whose probabilities are of these tags."""
    keras.utils.set_random_seed(seed)
    described = describer(sentences.load(tower), names)(pairs.words)
    num_tags = len(names)
    tags_part = described[:, -num_tags:]
    text_scale = np.ones(described.shape[1])
    text_scale[-num_tags:] = (tags_part.std() + 1e-9) / TEXT_SPREAD
    picture = Projection(pairs.seen.mean(axis=0), pairs.seen.std(axis=0) + 1e-3, np.empty(0))
    sentence = Projection(described.mean(axis=0), text_scale, np.empty(0))
    seen, said = picture.standardised(pairs.seen), sentence.standardised(described)
    _, text = np.unique(pairs.words, return_inverse=True)

    random = np.random.default_rng(seed)
    _, group = np.unique(pairs.groups, return_inverse=True)
    batch = min(BATCH, group.max() + 1)
    steps = (group.max() + 1) // batch
    network = Contrast(seen.shape[1], said.shape[1])
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, EPOCHS * steps)
    network.compile(optimizer=keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY), loss=info_nce)
    for _ in tqdm(range(EPOCHS), unit=" epochs", desc="align", dynamic_ncols=True):
        shuffled = random.permutation(len(group))
        _, first = np.unique(group[shuffled], return_index=True)  # of each group, a picture at random
        chosen = random.permutation(shuffled[first])
        for step in range(steps):
            pick = chosen[step * batch : (step + 1) * batch]
            same = (text[pick, None] == text[None, pick]).astype(np.float32)
            network.train_on_batch([seen[pick], said[pick]], same)
    weights = (ops.convert_to_numpy(layer.kernel) for layer in (network.picture, network.sentence))
    maps = (replace(side, weights=of) for side, of in zip((picture, sentence), weights, strict=True))
    return Projections(tower, names, *maps)


class Contrast(keras.Model):
    """Pictures and sentences (batch, inputs) each ▶ how alike they are, (batch, batch), over the temperature."""

    def __init__(self, picture_inputs: int, sentence_inputs: int):
        super().__init__()
        self.dropout = keras.layers.Dropout(DROPOUT)
        self.picture = keras.layers.Dense(DIMENSIONS, use_bias=False)
        self.sentence = keras.layers.Dense(DIMENSIONS, use_bias=False)
        self.picture.build((None, picture_inputs))
        self.sentence.build((None, sentence_inputs))
        start = keras.initializers.Constant(SHARPNESS)
        self.sharpness = self.add_weight(shape=(), initializer=start, name="sharpness")

    def call(self, inputs, training=False):
        seen, said = inputs
        pictures = ops.normalize(self.picture(self.dropout(seen, training=training)), axis=-1)
        texts = ops.normalize(self.sentence(said), axis=-1)
        return ops.matmul(pictures, ops.transpose(texts)) * ops.exp(ops.minimum(self.sharpness, MOST_SHARPNESS))


def info_nce(same, likeness):
    """The cross-entropy of finding each picture's words among the batch's, and each sentence's pictures.

    Args:
        same: float32 (batch, batch), 1 where a picture and a sentence belong together.
        likeness: (batch, batch), pictures by sentences.
    """

    def one_way(same, likeness):
        share = same / ops.sum(same, axis=1, keepdims=True)
        return -ops.sum(share * ops.log_softmax(likeness, axis=1), axis=1)

    return (one_way(same, likeness) + one_way(ops.transpose(same), ops.transpose(likeness))) / 2


def evaluate(projections: Projections, pairs: Pairs) -> dict:
    """Search held-out pictures by sentences: the words of each group, among all groups.

    A group is found where any picture of it is, or of another with the same words. The plain ways that it is compared with
    go by the tags' probabilities: weighted by how like the sentence each tag's name is to the text tower, or by the share
    of the name's words that the sentence has.

    Returns:
        Way ▶ its recall at 1, 5 and 10 and its median rank; and of how many.
    """
    names = projections.tags
    _, first, group = np.unique(pairs.groups, return_index=True, return_inverse=True)
    queries = list(dict.fromkeys(pairs.words[index] for index in first))[:MOST_SENTENCES]
    right = np.zeros((len(queries), len(first)), bool)  # (sentences, groups)
    row = {text: number for number, text in enumerate(queries)}
    for index, text in enumerate(pairs.words):
        if text in row:
            right[row[text], group[index]] = True

    probability = pairs.seen[:, -len(names) :]
    described = describer(sentences.load(projections.tower), names)(queries)
    ways = {
        "sentences": projections.sentence(described) @ projections.picture(pairs.seen).T,
        "tags, by their meaning": described[:, -len(names) :] @ probability.T,
        "tags, by their words": _shared_words(queries, names) @ probability.T,
    }
    values = {}
    for way, scores in ways.items():  # (sentences, pictures)
        best = np.full((len(queries), len(first)), -np.inf, np.float32)
        np.maximum.at(best.T, group, scores.T)
        rank = ranks(best, right)
        values[way] = {f"recall_at_{reach}": float(np.mean(rank <= reach)) for reach in REACHES}
        values[way]["median_rank"] = float(np.median(rank))
    return {"sentences": len(queries), "groups": len(first), "ways": values}


def ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The rank of the best right one in each row, from 1: behind all wrong ones that score more, and half of the ties.

    Args:
        scores: (rows, candidates).
        right: bool (rows, candidates), at least one in each row.
    """
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + (~right & (scores > best)).sum(axis=1) + (~right & (scores == best)).sum(axis=1) / 2


def _shared_words(queries: list[str], names: list[str]) -> np.ndarray:
    """The share of each tag's words that each sentence has, (sentences, tags)."""
    tags = [set(name.lower().replace("_", " ").replace("-", " ").split()) for name in names]
    return np.array(
        [[len(tag & said) / len(tag) for tag in tags] for said in (set(text.lower().split()) for text in queries)]
    )


def align(space: JointSpace, data: Path, tower: str) -> dict:
    """Learn the joint space of a run, keep it beside its model, and say what it is worth on the test split.

    Returns:
        See `evaluate`.

    Raises:
        InputError: see `read_pairs`.
    """
    names = [tag.name for tag in space.tagger.run.tags]
    projections = learn(names, read_pairs(space, data, "train"), tower)
    values = evaluate(projections, read_pairs(space, data, "test"))
    projections.save(space.folder / FILE)
    records.write_json(space.folder / "metrics.json", {"data": str(data), "tower": tower} | values)
    return values


def summary(values: dict) -> str:
    """What `evaluate` found, as a table for a terminal."""
    lines = [f"{values['sentences']:,} sentences, {values['groups']:,} groups of pictures"]
    lines.append(f"{'found by':<24}" + "".join(f"{f'recall@{reach}':>11}" for reach in REACHES) + f"{'median rank':>13}")
    for way, of_way in values["ways"].items():
        recalls = "".join(f"{of_way[f'recall_at_{reach}']:>11.3f}" for reach in REACHES)
        lines.append(f"{way:<24}{recalls}{of_way['median_rank']:>13g}")
    return "\n".join(lines)
