"""The questions of the page of improve.py: what `labels.proposals` proposes, with the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dataset import records
from inference.tagger import Tagger
from labels.collecting import Collected
from labels.improvement import base_of
from labels.predictions import load_or_predict
from labels.proposals import propose


@dataclass(frozen=True)
class Question:
    """Does a picture have a tag?

    Attributes:
        md5: MD5 of the picture's original file.
        post_id: id of its post.
        tag: the tag.
        labelled: whether the data folder says that it has the tag.
        probability: what the run predicts.
        labels: the picture's tags in the data folder.
        picture: the encoded picture.
    """

    md5: str
    post_id: str
    tag: str
    labelled: bool
    probability: float
    labels: Sequence[str]
    picture: bytes


def questions_for(tagger: Tagger, collected: Collected, number: int) -> list[Question]:
    """Return questions about labels of training pictures that nobody has decided, the most useful page first.

    Args:
        tagger: the run, which predicts the training pictures once.
        collected: the corrections so far; they count as labels, and are not asked about again.
        number: largest number of questions.
    """
    data = base_of(tagger.run)
    predicted, tags = load_or_predict(tagger, data), records.read_tags(data / "tags.csv")
    rows = {post_id: row for row, post_id in enumerate(predicted.ids.tolist())}
    names = [tag.name for tag in tags]
    columns = [column for column, name in enumerate(names) if name in collected.pictures.tags]
    observed, askable = predicted.labels.copy(), np.ones(predicted.labels.shape, bool)
    for correction in collected.in_splits("train"):
        pair = rows[correction.id], names.index(correction.tag)
        observed[pair], askable[pair] = correction.has_tag, False
    probability = predicted.probability[:, columns].astype(np.float32)
    proposals = propose(observed[:, columns], probability, predicted.features, askable[:, columns], number)
    pictures = records.images_by_id(data, "train", {predicted.ids[each.picture] for each in proposals})
    return [
        Question(
            md5=str(predicted.md5s[row]),
            post_id=str(predicted.ids[row]),
            tag=tags[tag].name,
            labelled=bool(observed[row, tag]),
            probability=float(predicted.probability[row, tag]),
            labels=[tags[column].name for column in np.flatnonzero(observed[row])],
            picture=pictures[str(predicted.ids[row])],
        )
        for row, tag in ((each.picture, columns[each.tag]) for each in proposals)
    ]
