"""Texts to token numbers: OpenAI's tokenizer, which open_clip has, or SigLIP's from a `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn
from torch import Tensor

from ..errors import ModelError
from ..schema import printable
from .hub.catalog import tokenizer_folder

_LARGEST_FILE = 100_000_000
"""Bytes of a `tokenizer.json`; SigLIP 2's has 34 million."""


_MARKS = (("<eos>", "<pad>"), ("</s>", "</s>"))
"""What ends a text and what fills the rest, of SigLIP 2 (Gemma's tokenizer) and of SigLIP (T5's)."""


class Tokenizer(Protocol):
    """Texts -> token numbers [n, context]."""

    def __call__(self, texts: list[str]) -> Tensor: ...


@lru_cache(maxsize=4)
def openai_tokenizer(context_length: int) -> SimpleTokenizer:
    """Return OpenAI's tokenizer."""
    return SimpleTokenizer(context_length=context_length)


class SigLIPTokenizer:
    """SigLIP's: words in lower case without punctuation, an end mark, padding up to the context.

    `path` is a `tokenizer.json`, of which the words and the way to split texts are used. It is data for the tokenizers
    library, which runs no code from it and opens no connection. Raise `ModelError` if it is damaged.
    """

    def __init__(self, path: Path, context_length: int, vocab_size: int) -> None:
        import tokenizers
        from tokenizers.processors import TemplateProcessing

        self._path, self._vocab_size, self._clean = path, vocab_size, get_clean_fn("canonicalize")
        with self._refused_if_damaged():
            core = tokenizers.Tokenizer.from_file(str(path))
            end, padding = next(marks for marks in _MARKS if None not in map(core.token_to_id, marks))
            template = [(end, core.token_to_id(end))]
            core.post_processor = TemplateProcessing(single=f"$A {end}", special_tokens=template)
            core.enable_truncation(context_length)
            core.enable_padding(length=context_length, pad_id=core.token_to_id(padding), pad_token=padding)
        self._core = core

    def __call__(self, texts: list[str]) -> Tensor:
        with self._refused_if_damaged():
            found = self._core.encode_batch([self._clean(text) for text in texts])
        tokens = torch.tensor([encoding.ids for encoding in found], dtype=torch.long)
        if tokens.max() >= self._vocab_size:
            raise ModelError(
                f"{printable(str(self._path))} has more words than the {self._vocab_size} of the text encoder"
            )
        return tokens

    @contextmanager
    def _refused_if_damaged(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            # The library raises bare exceptions; a panic in its Rust code is not even an Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            reason = "it marks no end of a text" if isinstance(error, StopIteration) else str(error)[:200]
            raise ModelError(
                f"{printable(str(self._path))} is damaged, download it again ({printable(reason)})"
            ) from error


def load_siglip_tokenizer(repo: str, folder: Path, context_length: int, vocab_size: int) -> SigLIPTokenizer:
    """Return the tokenizer of a hub repository from the files beside the weights, in `folder`.

    Raise `ModelError` if it is missing or damaged, or the tokenizers library is missing.
    """
    path = folder / tokenizer_folder(repo) / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            f"the tokenizer of {repo} is missing: save tokenizer.json of https://huggingface.co/{repo} in "
            f"{printable(str(path.parent))}"
        )
    if path.stat().st_size > _LARGEST_FILE:
        raise ModelError(f"{printable(str(path))} has more than {_LARGEST_FILE} bytes: it is no tokenizer")
    try:
        return SigLIPTokenizer(path, context_length, vocab_size)
    except ImportError as error:
        raise ModelError(f"the tokenizer of {repo} needs tokenizers: pip install tokenizers") from error
