"""Text to token ids: a Hugging Face tokenizer.json, or bytes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from runflat._core import ParseError

_EOD_NAMES = ("<|endoftext|>", "<|end_of_text|>", "<eod>", "</s>", "<eos>", "[EOS]")


class TextTokenizer(Protocol):
    """`eod` ends a document; None where the tokenizer has nothing for it."""

    vocab_size: int
    eod: int | None

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]: ...


class ByteTokenizer:
    """UTF-8 bytes are tokens 0 to 255, and 256 ends a document."""

    vocab_size = 257
    eod = 256

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        return [np.frombuffer(text.encode(), np.uint8).astype(np.int32) for text in texts]


class FileTokenizer:
    """A tokenizer.json. It adds no special tokens, and cuts and pads nothing."""

    def __init__(self, path: Path) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # workers are the parallelism
        with path.open("rb") as file:
            content = file.read()
        try:
            self._tokenizer = Tokenizer.from_str(content.decode())
        except Exception as error:  # the package raises nothing narrower
            raise ParseError(f"{path}: expected a tokenizer.json: {error}") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        self.eod = next((vocabulary[name] for name in _EOD_NAMES if name in vocabulary), None)

    def encode(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in encodings]


def load_tokenizer(path: Path | None, *, needs_eod: bool) -> TextTokenizer:
    """The tokenizer of a file, or bytes. ParseError where it lacks the end of text it needs."""
    if path is None:
        return ByteTokenizer()
    tokenizer = FileTokenizer(path)
    if needs_eod and tokenizer.eod is None:
        raise ParseError(f"{path}: --append-eod needs one of the tokens {', '.join(_EOD_NAMES)}")
    return tokenizer
