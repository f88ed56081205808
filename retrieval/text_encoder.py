"""Pretrained text encoders: sentences ▶ vectors.

The default is `wordllama`, which averages 16 MB of token vectors. They are part of its package, so nothing is downloaded.
Any other encoder is a folder that holds `model.onnx` and `tokenizer.json`, as models of sentence-transformers do.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from common.errors import InputError

DEFAULT = "wordllama"
BATCH = 64
MAX_TOKENS = 128

TextEncoder = Callable[[Sequence[str]], np.ndarray]  # sentences ▶ unit vectors, float32 (sentences, dimensions)


def load_text_encoder(name: str) -> TextEncoder:
    """Load a text encoder.

    Args:
        name: `wordllama`, or the folder of an ONNX encoder.

    Raises:
        InputError: the encoder is not installed, or the folder does not hold one.
    """
    try:
        encode = _wordllama() if name == DEFAULT else _onnx(Path(name))
    except ModuleNotFoundError as error:
        raise InputError(f"searching by sentences needs {error.name}: pip install -r requirements-search.txt") from None

    def vectors(sentences: Sequence[str]) -> np.ndarray:
        distinct = list(dict.fromkeys(sentences))
        batches = [encode(distinct[start : start + BATCH]) for start in range(0, len(distinct), BATCH)]
        encoded = np.concatenate(batches).astype(np.float32)
        length = np.linalg.norm(encoded, axis=1, keepdims=True)
        encoded = np.divide(encoded, length, out=np.zeros_like(encoded), where=length > 1e-6)
        row = {sentence: number for number, sentence in enumerate(distinct)}
        return encoded[[row[sentence] for sentence in sentences]]

    return vectors


def _wordllama() -> Callable[[list[str]], np.ndarray]:
    logging.basicConfig(level=logging.WARNING)  # otherwise importing it sets the level of every library to INFO
    import wordllama

    # The loader looks for the tokenizer in the wrong folder of its package and would then download it. With its package as
    # the cache folder, it finds the file.
    encoder = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
    return encoder.embed


def _onnx(folder: Path) -> Callable[[list[str]], np.ndarray]:
    """Return a function that averages an ONNX encoder's token vectors."""
    import onnxruntime
    import tokenizers

    files = [folder / "model.onnx", folder / "tokenizer.json"]
    if missing := [file for file in files if not file.is_file()]:
        raise InputError(f"{missing[0]} is missing: expected {DEFAULT}, or a folder with model.onnx and tokenizer.json")
    try:
        session = onnxruntime.InferenceSession(files[0], providers=["CPUExecutionProvider"])
        tokenizer = tokenizers.Tokenizer.from_file(str(files[1]))
    except Exception as error:  # both libraries have their own exception for each kind of damage
        raise InputError(f"{folder} cannot be read as a sentence encoder: {error}") from None
    tokenizer.enable_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    inputs = {value.name for value in session.get_inputs()}

    def encode(sentences: list[str]) -> np.ndarray:
        tokens = tokenizer.encode_batch(sentences)
        mask = np.array([each.attention_mask for each in tokens])  # (sentences, tokens)
        arrays = {"input_ids": np.array([each.ids for each in tokens]), "attention_mask": mask}
        arrays["token_type_ids"] = np.zeros_like(mask)
        vectors = session.run(None, {name: arrays[name] for name in inputs})[0]  # (sentences, tokens, dimensions)
        return (vectors * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)

    return encode
