"""Learn and evaluate the joint space of `retrieval.joint_space`: `search.py --align`.

The pairs are pictures and the captions of their records. Each epoch uses one picture of each group, so that variants of a
picture are not negatives of each other. Pictures with the same caption are not negatives either. The loss is the symmetric
InfoNCE with a learned temperature (van den Oord et al., arXiv 1807.03748; Radford et al., arXiv 2103.00020).
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
from keras import ops

from common import files
from common.progress import progress
from dataset.ordered_batches import ordered_batches
from evaluation import score
from retrieval.joint_space import FILE, JointSpace, Projection, Projections, sentence_featurizer
from retrieval.text_encoder import load_text_encoder

DIMENSIONS = 256
EPOCHS = 60
BATCH = 512
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 1e-3, 1e-2, 0.3
INITIAL_LOG_SCALE, MAX_LOG_SCALE = math.log(1 / 0.07), math.log(100)  # logarithm of the inverse temperature
TAG_SPREAD = 1 / 16  # standard deviation of the tag similarities: about that of the elements of a sentence's vector
READ_BATCH = 64
RECALL_AT = (1, 5, 10)
MAX_SENTENCES = 1000  # sentences that an evaluation searches for


@dataclass(frozen=True)
class Pairs:
    """The pictures and captions of a split.

    Attributes:
        picture_features: embeddings and probabilities, float32 (pictures, channels + tags).
        captions: caption of each picture.
        groups: name of each picture's group, or the post's id if the record has no group.
    """

    picture_features: np.ndarray
    captions: list[str]
    groups: np.ndarray


def read_pairs(space: JointSpace, data: Path, split: str) -> Pairs:
    """Compute the picture features of a split of a data folder, and read its captions.

    Raises:
        InputError: the split is empty, or its tags are not those of the run.
    """
    run = space.run
    names = [run.tags[output].name.replace("_", " ") for output in run.outputs_for(data)]
    features, captions, groups = [], [], []
    total = score.number_of_images(data, split)
    batches = ordered_batches(data, split, len(names), run.config.image_size, run.config.resize, READ_BATCH)
    bar = progress(total=total, unit="images", description=f"embedding {split}")
    with bar:
        for batch in batches:
            features.append(np.concatenate(space.tagger.embed(batch.pixels), axis=1))
            for record, labels in zip(batch.records, batch.labels, strict=True):  # older records have no caption
                captions.append(record.caption or " ".join(names[tag] for tag in np.flatnonzero(labels > 0.5)))
            groups += [record.group or record.id for record in batch.records]
            bar.update(len(batch.records))
    return Pairs(np.concatenate(features), captions, np.array(groups))


def learn(names: list[str], pairs: Pairs, text_encoder: str, seed: int = 0) -> Projections:
    """Learn the two projections.

    Args:
        names: names of the tags whose probabilities are in the picture features.
        pairs: training split.
        text_encoder: name of the text encoder; see `retrieval.text_encoder`.
        seed: seed of the initial weights, dropout and order of pictures.
    """
    keras.utils.set_random_seed(seed)
    sentence_features = sentence_featurizer(load_text_encoder(text_encoder), names)(pairs.captions)
    num_tags = len(names)
    text_scale = np.ones(sentence_features.shape[1])
    text_scale[-num_tags:] = (sentence_features[:, -num_tags:].std() + 1e-9) / TAG_SPREAD
    features = pairs.picture_features
    picture = Projection(features.mean(axis=0), features.std(axis=0) + 1e-3, np.empty(0))
    sentence = Projection(sentence_features.mean(axis=0), text_scale, np.empty(0))
    picture_inputs, sentence_inputs = picture.standardize(features), sentence.standardize(sentence_features)
    _, caption = np.unique(pairs.captions, return_inverse=True)

    random = np.random.default_rng(seed)
    _, group = np.unique(pairs.groups, return_inverse=True)
    batch = min(BATCH, group.max() + 1)
    steps = (group.max() + 1) // batch
    network = ContrastiveNetwork(picture_inputs.shape[1], sentence_inputs.shape[1])
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, EPOCHS * steps)
    network.compile(optimizer=keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY), loss=info_nce)
    for _ in progress(range(EPOCHS), unit="epochs", description="aligning"):
        shuffled = random.permutation(len(group))
        _, first = np.unique(group[shuffled], return_index=True)  # one random picture of each group
        chosen = random.permutation(shuffled[first])
        for step in range(steps):
            indices = chosen[step * batch : (step + 1) * batch]
            is_pair = (caption[indices, None] == caption[None, indices]).astype(np.float32)
            network.train_on_batch([picture_inputs[indices], sentence_inputs[indices]], is_pair)
    picture = replace(picture, weights=ops.convert_to_numpy(network.picture.kernel))
    sentence = replace(sentence, weights=ops.convert_to_numpy(network.sentence.kernel))
    return Projections(text_encoder, names, picture, sentence)


class ContrastiveNetwork(keras.Model):
    """Two linear projections, and the scaled cosine similarity of each picture to each sentence of a batch.

    Args:
        picture_inputs: number of inputs of a picture.
        sentence_inputs: number of inputs of a sentence.

    Input shapes are (batch, picture_inputs) and (batch, sentence_inputs), the output shape is (batch, batch).
    """

    def __init__(self, picture_inputs: int, sentence_inputs: int):
        super().__init__()
        self.dropout = keras.layers.Dropout(DROPOUT)
        self.picture = keras.layers.Dense(DIMENSIONS, use_bias=False)
        self.sentence = keras.layers.Dense(DIMENSIONS, use_bias=False)
        self.picture.build((None, picture_inputs))
        self.sentence.build((None, sentence_inputs))
        initializer = keras.initializers.Constant(INITIAL_LOG_SCALE)
        self.log_scale = self.add_weight(shape=(), initializer=initializer, name="log_scale")

    def call(self, inputs, training=False):
        pictures, sentences = inputs
        pictures = ops.normalize(self.picture(self.dropout(pictures, training=training)), axis=-1)
        sentences = ops.normalize(self.sentence(sentences), axis=-1)
        return ops.matmul(pictures, ops.transpose(sentences)) * ops.exp(ops.minimum(self.log_scale, MAX_LOG_SCALE))


def info_nce(is_pair, logits):
    """Return the mean of two cross-entropies: of the sentence given the picture, and of the picture given the sentence.

    Args:
        is_pair: float32 (batch, batch), 1 where a picture and a sentence belong together.
        logits: (batch, batch), similarity of each picture to each sentence, over the temperature.

    Returns:
        (batch,).
    """

    def cross_entropy(is_pair, logits):
        target = is_pair / ops.sum(is_pair, axis=1, keepdims=True)
        return -ops.sum(target * ops.log_softmax(logits, axis=1), axis=1)

    return (cross_entropy(is_pair, logits) + cross_entropy(ops.transpose(is_pair), ops.transpose(logits))) / 2


def evaluate(projections: Projections, pairs: Pairs) -> dict:
    """Search the groups of a held-out split by their captions.

    A result counts as right if it is a picture of the group or of another group with the same caption. Two baselines use the
    probabilities of the tags: one weights each tag by the text encoder's similarity of its name to the sentence, the other
    by the share of the words of its name that the sentence has.

    Returns:
        `sentences` and `groups`, their numbers; `ways`, method ▶ `recall_at_1`, `recall_at_5`, `recall_at_10` and
        `median_rank`.
    """
    names = projections.tags
    _, first, group = np.unique(pairs.groups, return_index=True, return_inverse=True)
    queries = list(dict.fromkeys(pairs.captions[index] for index in first))[:MAX_SENTENCES]
    relevant = np.zeros((len(queries), len(first)), bool)  # (sentences, groups)
    row = {caption: number for number, caption in enumerate(queries)}
    for index, caption in enumerate(pairs.captions):
        if caption in row:
            relevant[row[caption], group[index]] = True

    probability = pairs.picture_features[:, -len(names) :]
    sentence_features = sentence_featurizer(load_text_encoder(projections.text_encoder), names)(queries)
    methods = {
        "sentences": projections.sentence(sentence_features) @ projections.picture(pairs.picture_features).T,
        "tags, by their meaning": sentence_features[:, -len(names) :] @ probability.T,
        "tags, by their words": _shared_words(queries, names) @ probability.T,
    }
    values = {}
    for method, scores in methods.items():  # (sentences, pictures)
        best = np.full((len(queries), len(first)), -np.inf, np.float32)  # (sentences, groups)
        np.maximum.at(best.T, group, scores.T)
        rank = ranks(best, relevant)
        values[method] = {f"recall_at_{number}": float(np.mean(rank <= number)) for number in RECALL_AT}
        values[method]["median_rank"] = float(np.median(rank))
    return {"sentences": len(queries), "groups": len(first), "ways": values}


def ranks(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Return the rank, from 1, of the best relevant candidate in each row; a tie with an irrelevant one counts half.

    Args:
        scores: (rows, candidates).
        relevant: bool (rows, candidates), at least one in each row.
    """
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    return 1 + (~relevant & (scores > best)).sum(axis=1) + (~relevant & (scores == best)).sum(axis=1) / 2


def _shared_words(queries: list[str], names: list[str]) -> np.ndarray:
    """Return the share of the words of each tag's name that each sentence has, (sentences, tags)."""
    tags = [set(name.lower().replace("_", " ").replace("-", " ").split()) for name in names]
    sentences = [set(text.lower().split()) for text in queries]
    return np.array([[len(tag & sentence) / len(tag) for tag in tags] for sentence in sentences])


def align(space: JointSpace, data: Path, text_encoder: str) -> dict:
    """Learn the joint space of a run, evaluate it on the test split, and save both beside the run's model.

    Args:
        space: joint space of the run.
        data: data folder.
        text_encoder: name of the text encoder; see `retrieval.text_encoder`.

    Returns:
        The result of `evaluate`.

    Raises:
        InputError: see `read_pairs`.
    """
    names = [tag.name for tag in space.tagger.run.tags]
    projections = learn(names, read_pairs(space, data, "train"), text_encoder)
    values = evaluate(projections, read_pairs(space, data, "test"))
    projections.save(space.folder / FILE)
    files.write_json(space.folder / "metrics.json", {"data": str(data), "tower": text_encoder} | values)
    return values


def summary(values: dict) -> str:
    """Return the result of `evaluate` as a table for a terminal."""
    lines = [f"{values['sentences']:,} sentences, {values['groups']:,} groups of pictures"]
    lines.append(f"{'method':<24}" + "".join(f"{f'recall@{number}':>11}" for number in RECALL_AT) + f"{'median rank':>13}")
    for method, figures in values["ways"].items():
        recalls = "".join(f"{figures[f'recall_at_{number}']:>11.3f}" for number in RECALL_AT)
        lines.append(f"{method:<24}{recalls}{figures['median_rank']:>13g}")
    return "\n".join(lines)
