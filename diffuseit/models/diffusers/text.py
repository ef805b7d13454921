"""The text encoders of a diffusers checkpoint, and what they make of a prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...errors import ModelError
from ...schema import check, number, printable
from ..checkpoint import owned, require_numbers, without_memory
from .folder import Folder
from .library import failures, library_class, quiet

_LARGEST_FILE = 100_000_000
"""Bytes of a file of a tokenizer; T5's has 2 million."""


@dataclass(frozen=True)
class CLIPText:
    """The fields of a CLIP text encoder's `config.json` that shape it."""

    vocab_size: int = number(49408, low=1, high=1_000_000)
    hidden_size: int = number(512, low=1, high=16_384)
    intermediate_size: int = number(2048, low=1, high=65_536)
    projection_dim: int = number(512, low=1, high=16_384)
    num_hidden_layers: int = number(12, low=1, high=128)
    num_attention_heads: int = number(8, low=1, high=256)
    max_position_embeddings: int = number(77, low=4, high=4096)
    hidden_act: Literal["quick_gelu", "gelu", "gelu_new", "relu"] = "quick_gelu"
    layer_norm_eps: float = number(1e-5, low=0.0, high=1.0)
    pad_token_id: int | None = number(1, low=0, high=1_000_000)
    bos_token_id: int | None = number(49406, low=0, high=1_000_000)
    eos_token_id: int | None = number(49407, low=0, high=1_000_000)

    def __post_init__(self) -> None:
        check(self)

    @property
    def width(self) -> int:
        """Return the numbers of each token."""
        return self.hidden_size

    @property
    def summary(self) -> int:
        """Return the numbers of a text as a whole, after a projection."""
        return self.projection_dim


@dataclass(frozen=True)
class T5Text:
    """The fields of a T5 encoder's `config.json` that shape it."""

    vocab_size: int = number(32128, low=1, high=1_000_000)
    d_model: int = number(512, low=1, high=16_384)
    d_kv: int = number(64, low=1, high=1024)
    d_ff: int = number(2048, low=1, high=65_536)
    num_layers: int = number(6, low=1, high=128)
    num_heads: int = number(8, low=1, high=256)
    relative_attention_num_buckets: int = number(32, low=1, high=4096)
    relative_attention_max_distance: int = number(128, low=1, high=65_536)
    layer_norm_epsilon: float = number(1e-6, low=0.0, high=1.0)
    feed_forward_proj: Literal["relu", "gelu", "gated-gelu", "gated-silu"] = "relu"
    pad_token_id: int | None = number(0, low=0, high=1_000_000)
    eos_token_id: int | None = number(1, low=0, high=1_000_000)

    def __post_init__(self) -> None:
        check(self)

    @property
    def width(self) -> int:
        """Return the numbers of each token."""
        return self.d_model

    @property
    def summary(self) -> int:
        """Return 0: there is none of a text as a whole."""
        return 0


TextConfig = CLIPText | T5Text

CLIP = ("CLIPTextModel",)
PROJECTED_CLIP = ("CLIPTextModelWithProjection",)
T5 = ("T5EncoderModel",)
_CONFIGS: Mapping[str, tuple[type[TextConfig], str]] = {
    "CLIPTextModel": (CLIPText, "CLIPTextConfig"),
    "CLIPTextModelWithProjection": (CLIPText, "CLIPTextConfig"),
    "T5EncoderModel": (T5Text, "T5Config"),
}
_TOKENIZERS = {CLIPText: "CLIPTokenizer", T5Text: "T5TokenizerFast"}


@dataclass(frozen=True)
class Condition:
    """What a network is told of a text: tokens [1, n, D], and the text as a whole [1, P] where it wants that."""

    context: Tensor
    pooled: Tensor | None = None


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder's configuration, and where its files are."""

    kind: str
    config: TextConfig
    folder: Folder
    tokenizer_folder: Folder

    @classmethod
    def of(cls, kind: str, folder: Folder, tokenizer_folder: Folder) -> TextEncoder:
        """Read the configuration. Raise `ModelError` for one that is not supported."""
        return cls(kind, folder.settings(_CONFIGS[kind][0]), folder, tokenizer_folder)

    def load(self, dtype: torch.dtype) -> nn.Module:
        """Return the frozen network. Raise `ModelError` unless the weights fit the configuration."""
        network_class = library_class("transformers", self.kind)
        config_class = library_class("transformers", _CONFIGS[self.kind][1])
        state = self.folder.weights()
        with quiet(), failures(f"{self.folder} does not fit its config.json"):
            config = config_class(**asdict(self.config))
            expected = sum(
                value.numel() for value in without_memory(lambda: network_class(config)).parameters()
            )
            if expected > sum(value.numel() for value in state.values()):
                raise ModelError(
                    f"{self.folder} lacks weights that its config.json promises: download it again"
                )
            require_numbers(_floating(state), _floating(state), str(self.folder))
            # transformers knows the names that older versions gave to the weights.
            network, report = network_class.from_pretrained(
                None, config=config, state_dict=state, output_loading_info=True
            )
        if missing := sorted(report["missing_keys"]):
            raise ModelError(
                f"{self.folder} lacks {len(missing)} weights ({printable(str(missing[0])[:100])}): download it again"
            )
        for parameter in network.parameters():
            parameter.data = owned(parameter.data, dtype)
        return network.eval().requires_grad_(False)

    def load_tokenizer(self) -> Any:
        """Return the tokenizer. Raise `ModelError` if its files are missing or damaged."""
        folder = self.tokenizer_folder
        for file in folder.path.iterdir():
            if file.stat().st_size > _LARGEST_FILE:
                raise ModelError(f"{Folder(file)} has more than {_LARGEST_FILE} bytes: it is no tokenizer")
        tokenizer_class = library_class("transformers", _TOKENIZERS[type(self.config)])
        with quiet(), failures(f"the tokenizer in {folder} cannot be read"):
            tokenizer = tokenizer_class.from_pretrained(
                str(folder.path), local_files_only=True, trust_remote_code=False
            )
        if isinstance(self.config, CLIPText):
            tokenizer.model_max_length = self.config.max_position_embeddings
        return tokenizer


def _floating(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if value.is_floating_point()}


Encode = Callable[[Any, str, torch.device], tuple[Condition, Condition]]
"""A pipeline of diffusers, a prompt, and a device -> what the networks are told of the prompt, and of no text."""


def encode_sd(pipeline: Any, prompt: str, device: torch.device) -> tuple[Condition, Condition]:
    context, empty = pipeline.encode_prompt(prompt, device, 1, True)
    return Condition(context), Condition(empty)


def encode_sdxl(pipeline: Any, prompt: str, device: torch.device) -> tuple[Condition, Condition]:
    context, empty, pooled, empty_pooled = pipeline.encode_prompt(prompt, device=device)
    return Condition(context, pooled), Condition(empty, empty_pooled)


def encode_sd3(pipeline: Any, prompt: str, device: torch.device) -> tuple[Condition, Condition]:
    context, empty, pooled, empty_pooled = pipeline.encode_prompt(prompt, None, None, device=device)
    return Condition(context, pooled), Condition(empty, empty_pooled)


def encode_flux(pipeline: Any, prompt: str, device: torch.device) -> tuple[Condition, Condition]:
    context, pooled, _ = pipeline.encode_prompt(prompt, None, device=device)
    empty, empty_pooled, _ = pipeline.encode_prompt("", None, device=device)
    return Condition(context, pooled), Condition(empty, empty_pooled)
