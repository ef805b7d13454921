"""Read the files of a diffusers checkpoint: JSON of plain values, and safetensors.

A folder is a stranger's, as every file is: nothing in it is run, names in it lead nowhere else, and its numbers are
bounded before anything is built from them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ...errors import InputError, ModelError
from ...schema import from_json, parse, printable, shown
from ..checkpoint import read_checkpoint

Settings = TypeVar("Settings")

INDEX = "model_index.json"
_WEIGHTS = ("diffusion_pytorch_model", "model")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_VARIANTS = ("", "fp16", "bf16")
_LARGEST_JSON = 1_000_000
_LARGEST_NUMBER = 1_000_000
_MOST_LAYERS = 256
_LONGEST_LIST = 64
_DEEPEST = 4


class Folder:
    """A folder of a checkpoint, or a part of one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return printable(str(self.path))

    def part(self, name: str) -> Folder:
        """Return the folder of a part. Raise `ModelError` if it is missing."""
        found = Folder(self.path / name)
        if not found.path.is_dir():
            raise ModelError(f"{self} is incomplete, download it again: it has no folder {name}")
        return found

    def json(self, name: str) -> dict[str, Any]:
        """Return the object in a JSON file. Raise `ModelError` if it is missing or damaged."""
        path = self.path / name
        try:
            if not path.is_file():
                raise ModelError(f"{self} is incomplete, download it again: it has no {name}")
            if path.stat().st_size > _LARGEST_JSON:
                raise ModelError(f"{self}/{name} has more than {_LARGEST_JSON} bytes: it is no configuration")
            values = parse(path.read_bytes().decode("utf-8"), f"{self}/{name}")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"cannot read {self}/{name}: {printable(str(error))}") from error
        except InputError as error:
            raise ModelError(f"{error}: download the file again") from error
        if not isinstance(values, dict):
            raise ModelError(f"{self}/{name} is {shown(values)}, not a set of fields")
        return values

    def settings(self, kind: type[Settings], name: str = "config.json") -> Settings:
        """Return those fields of a JSON file that the dataclass `kind` has.

        Raise `ModelError` for values that it does not allow.
        """
        known = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
        values = {key: value for key, value in self.json(name).items() if key in known}
        try:
            return from_json(kind, values, f"{self}/{name}")
        except InputError as error:
            raise ModelError(f"{error}; this is not supported") from error

    def config(self, name: str = "config.json") -> dict[str, Any]:
        """Return the configuration of a network of diffusers, whose fields depend on its class.

        Raise `ModelError` for values that are not plain, or so large that no network has them.
        """
        values = {key: value for key, value in self.json(name).items() if not key.startswith("_")}
        if values.pop("quantization_config", None) is not None:
            raise ModelError(f"{self} is quantized, which is not supported: take the plain weights")
        for key, value in values.items():
            _require_plain(value, f"{self}/{name}: {printable(key[:100])}", 0)
            if "layers" in key and any(number > _MOST_LAYERS for number in _numbers(value)):
                raise ModelError(f"{self}/{name}: {printable(key[:100])} is over {_MOST_LAYERS}")
        return values

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors of the safetensors file, or files, of a network; they may lie in their mappings.

        Raise `ModelError` if there is none, or it is damaged. Pickles are refused.
        """
        state: dict[str, Tensor] = {}
        for file in self._files():
            state |= read_checkpoint(file)[0]
        return state

    def _files(self) -> list[Path]:
        for stem in _WEIGHTS:
            for variant in _VARIANTS:
                dotted = f".{variant}" if variant else ""
                single = self.path / f"{stem}{dotted}.safetensors"
                if single.is_file():
                    return [single]
                for index in (
                    f"{stem}.safetensors.index{dotted}.json",
                    f"{stem}.safetensors{dotted}.index.json",
                ):
                    if (self.path / index).is_file():
                        return self._shards(index)
        pickle = next((file for file in sorted(self.path.iterdir()) if file.suffix in _PICKLES), None)
        if pickle is not None:
            raise ModelError(
                f"{Folder(pickle)} is a pickle, which may run code: take the safetensors files of the checkpoint"
            )
        raise ModelError(f"{self} is incomplete, download it again: it has no {_WEIGHTS[0]}.safetensors")

    def _shards(self, index: str) -> list[Path]:
        names = self.json(index).get("weight_map")
        if not isinstance(names, dict) or not names:
            raise ModelError(f"{self}/{index} names no files: download it again")
        shards = sorted({str(name) for name in names.values()})
        for name in shards:
            if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
                raise ModelError(
                    f"{self}/{index} names {shown(name)}, which is no safetensors file beside it"
                )
            if not (self.path / name).is_file():
                raise ModelError(f"{self} is incomplete, download it again: it has no {name}")
        return [self.path / name for name in shards]


def _require_plain(value: Any, where: str, depth: int) -> None:
    if isinstance(value, list | dict) and len(value) <= _LONGEST_LIST and depth < _DEEPEST:
        for item in value.values() if isinstance(value, Mapping) else value:
            _require_plain(item, where, depth + 1)
    elif isinstance(value, bool | None):
        return
    elif isinstance(value, int | float):
        if not abs(value) <= _LARGEST_NUMBER:
            raise ModelError(f"{where} is {shown(value)}: no network is that large")
    elif not (isinstance(value, str) and len(value) <= 200):
        raise ModelError(f"{where} cannot be {shown(value)}")


def _numbers(value: Any) -> list[int]:
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    return [value] if isinstance(value, int) else []
