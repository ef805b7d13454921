"""Texts to token numbers: OpenAI's tokenizer, which open_clip has, or SigLIP 2's from a `tokenizer.json`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn
from torch import Tensor

from ..errors import ModelError
from ..schema import printable
from .hub.catalog import tokenizer_folder

_LARGEST_FILE = 100_000_000
"""Bytes of a `tokenizer.json`; SigLIP 2's has 34 million."""


class Tokenizer(Protocol):
    """Texts -> token numbers [n, context]."""

    def __call__(self, texts: list[str]) -> Tensor: ...


@lru_cache(maxsize=4)
def openai_tokenizer(context_length: int) -> SimpleTokenizer:
    """Return OpenAI's tokenizer."""
    return SimpleTokenizer(context_length=context_length)


class SigLIP2Tokenizer:
    """SigLIP 2's: Gemma's words in lower case without punctuation, an end mark, padding up to the context.

    Of the file, the words and the way to split texts are used. It is data for the tokenizers library, which runs no
    code from it and opens no connection.
    """

    def __init__(self, core: Any, context_length: int, vocab_size: int) -> None:
        from tokenizers.processors import TemplateProcessing

        end, padding = core.token_to_id("<eos>"), core.token_to_id("<pad>")
        if end is None or padding is None:
            raise ValueError("it has no <eos> or no <pad>")
        core.post_processor = TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", end)])
        core.enable_truncation(context_length)
        core.enable_padding(length=context_length, pad_id=padding, pad_token="<pad>")
        self._core, self._vocab_size, self._clean = core, vocab_size, get_clean_fn("canonicalize")

    def __call__(self, texts: list[str]) -> Tensor:
        found = self._core.encode_batch([self._clean(text) for text in texts])
        tokens = torch.tensor([encoding.ids for encoding in found], dtype=torch.long)
        if tokens.max() >= self._vocab_size:
            raise ModelError(f"the tokenizer has more words than the {self._vocab_size} of the text encoder")
        return tokens


def load_siglip2_tokenizer(repo: str, folder: Path, context_length: int, vocab_size: int) -> SigLIP2Tokenizer:
    """Return the tokenizer of a hub repository from the files beside the weights, in `folder`.

    Raise `ModelError` if it is missing or damaged, or the tokenizers library is.
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
        import tokenizers
    except ImportError as error:
        raise ModelError(f"the tokenizer of {repo} needs tokenizers: pip install tokenizers") from error
    try:
        return SigLIP2Tokenizer(tokenizers.Tokenizer.from_file(str(path)), context_length, vocab_size)
    # The library raises a bare Exception.
    except Exception as error:
        reason = printable(str(error)[:200])
        raise ModelError(f"{printable(str(path))} is damaged, download it again ({reason})") from error
