"""Sentences ▶ vectors, by an encoder that others trained.

`wordllama` is the default: 16 MB of token vectors, averaged, which its package brings along, so that nothing is fetched.
Any other encoder is a folder that holds `model.onnx` and `tokenizer.json`, as sentence-transformers' models have them.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from command import InputError

DEFAULT = "wordllama"
BATCH = 64
MOST_TOKENS = 128

Tower = Callable[[Sequence[str]], np.ndarray]  # sentences ▶ float32 (sentences, dimensions), of length 1


def load(name: str) -> Tower:
    """A text tower.

    Args:
        name: `wordllama`, or the folder of an ONNX encoder.

    Raises:
        InputError: it is not installed, or the folder holds no encoder.
    """
    try:
        encode = _wordllama() if name == DEFAULT else _onnx(Path(name))
    except ModuleNotFoundError as error:
        raise InputError(f"sentences need {error.name}: pip install -r requirements-search.txt") from None

    def vectors(sentences: Sequence[str]) -> np.ndarray:
        distinct = list(dict.fromkeys(sentences))
        parts = [encode(distinct[at : at + BATCH]) for at in range(0, len(distinct), BATCH)]
        encoded = np.concatenate(parts).astype(np.float32)
        length = np.linalg.norm(encoded, axis=1, keepdims=True)
        encoded = np.divide(encoded, length, out=np.zeros_like(encoded), where=length > 1e-6)
        row = {sentence: number for number, sentence in enumerate(distinct)}
        return encoded[[row[sentence] for sentence in sentences]]

    return vectors


def _wordllama() -> Callable[[list[str]], np.ndarray]:
    logging.basicConfig(level=logging.WARNING)  # or its import makes every library tell what it does
    import wordllama

    # Its loader looks for the tokenizer in the wrong folder of its package, and then asks the network; in a cache it looks
    # in the right one.
    encoder = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    return encoder.embed


def _onnx(folder: Path) -> Callable[[list[str]], np.ndarray]:
    """The mean of an encoder's token vectors."""
    import onnxruntime
    import tokenizers

    files = [folder / "model.onnx", folder / "tokenizer.json"]
    if missing := [file for file in files if not file.is_file()]:
        raise InputError(f"{missing[0]} is missing: expected {DEFAULT}, or a folder with model.onnx and tokenizer.json")
    try:
        session = onnxruntime.InferenceSession(files[0], providers=["CPUExecutionProvider"])
        tokenizer = tokenizers.Tokenizer.from_file(str(files[1]))
    except Exception as error:  # both libraries have their own kinds for each way in which a file can be damaged
        raise InputError(f"{folder} cannot be read as an encoder of sentences: {error}") from None
    tokenizer.enable_padding()
    tokenizer.enable_truncation(MOST_TOKENS)
    inputs = {value.name for value in session.get_inputs()}

    def encode(sentences: list[str]) -> np.ndarray:
        tokens = tokenizer.encode_batch(sentences)
        mask = np.array([each.attention_mask for each in tokens])  # (sentences, tokens)
        given = {"input_ids": np.array([each.ids for each in tokens]), "attention_mask": mask}
        given["token_type_ids"] = np.zeros_like(mask)
        vectors = session.run(None, {name: given[name] for name in inputs})[0]  # (sentences, tokens, dimensions)
        return (vectors * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)

    return encode
