"""Read the pickled checkpoints of `torch.save`: whatever such a file calls for is known before torch opens it.

A pickle is a program. `torch.load(weights_only=True)` runs a small part of its language; what a file of plain tensors
needs is smaller still.
"""

from __future__ import annotations

import argparse
import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from ..errors import ModelError
from ..schema import shown

SOUND_TORCH = (2, 10)
"""The first torch whose `weights_only` is sound: files got past it before 2.6 (CVE-2025-32434) and before 2.10
(CVE-2026-24747)."""

_MOST_STEPS = 300_000
"""Instructions of a pickle. A network of 1,000 tensors takes 25,000, with a copy and an optimizer 150,000."""

_MOST_PARTS = 1_000
"""Parts of a tuple, and of the tuples in it, as often as they appear."""

_LARGEST_INTEGER = 2**64
"""Larger ones can be chosen so that a dictionary compares each key with all others."""

_OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number at the start of files in torch's format before 1.6."""

_STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
_NAMES = {
    *("collections OrderedDict", "collections Counter", "argparse Namespace", "_codecs encode"),
    *("torch Size", "torch device", "torch.nn.parameter Parameter"),
    *(f"torch._utils _rebuild_{what}" for what in ("tensor", "tensor_v2", "tensor_v3", "parameter")),
    "torch.storage UntypedStorage",
    *(f"torch {name}Storage" for name in _STORAGES),
    *(f"torch {name}" for name in _DTYPES),
}
"""Classes and functions that a file of plain tensors calls for; a Namespace is the command line of a training."""

_KINDS = {
    **{
        "sparse": "sparse",
        "qtensor": "quantized",
        "QInt": "quantized",
        "QUInt": "quantized",
        "nested": "nested",
    },
    **{"meta": "valueless", "float8": "float8", "Complex": "complex", "complex": "complex"},
}
"""Parts of torch's names that tell tensors of other kinds."""


def read_pickle(path: Path, head: bytes, size: int, source: str) -> Any:
    """Return what a checkpoint of `torch.save` holds; its tensors lie in the mapped file where the format allows it.

    `head` are the first bytes of the file, `size` is its length, `source` its name in errors. Raise `ModelError` if it
    is damaged, calls for anything but plain tensors, or promises more than it holds.
    """
    zipped = head.startswith(b"PK\x03\x04")
    # torch would try archives of other kinds too.
    if not zipped and not head.startswith(b"\x80"):
        raise ModelError(_damaged(head, source))
    try:
        if zipped:
            _check_archive(path, size, source)
        else:
            _check_old_format(path, source)
    except ModelError:
        raise
    # zipfile and pickletools raise nearly anything on damaged files, and so does torch.load below.
    except Exception as error:
        raise ModelError(_damaged(head, source)) from error
    if (version := _torch_version()) < SOUND_TORCH:
        sound = ".".join(map(str, SOUND_TORCH))
        raise ModelError(
            f"{source} is a pickle, which torch {'.'.join(map(str, version))} cannot open safely: update torch to "
            f"{sound} or newer, or convert the file where torch is newer (`diffuseit models convert`)"
        )
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:
        raise ModelError(_damaged(head, source)) from error


def _torch_version() -> tuple[int, int]:
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def _damaged(head: bytes, source: str) -> str:
    if not head:
        return f"{source} is empty: download it again"
    if head.isascii() and head.decode("ascii").strip().isprintable():
        start = head.decode("ascii")
        return f"{source} is a text file that starts with {start!r}, no checkpoint: download it again"
    return f"{source} is truncated or damaged, or no checkpoint at all: download it again"


def _check_archive(path: Path, size: int, source: str) -> None:
    """Raise `ModelError` unless the directory of torch's archive promises what the file has room for.

    torch stores its tensors as they are. A compressed member may be a few bytes that unpack to gigabytes.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.filename.lower().endswith("/constants.pkl") for member in members):
            raise ModelError(
                f"{source} is a TorchScript archive, which is code and is not opened: save its state dict as "
                "safetensors, or take the file of that network that `diffuseit models download` gets"
            )
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ModelError(
                f"{source} is a compressed archive, which torch never writes, and is not opened: download it again, "
                "or unpack it if the checkpoint is in it"
            )
        if sum(member.file_size for member in members) > size:
            raise ModelError(f"{source} promises more than its {size} bytes hold: download it again")
        for member in members:
            # torch finds them without regard to case.
            if member.filename.lower().endswith(".pkl"):
                with archive.open(member) as file:
                    _check_pickle(file, source)


def _check_old_format(path: Path, source: str) -> None:
    """Raise `ModelError` unless the pickles at the start of a file in torch's format before 1.6 are harmless."""
    with path.open("rb") as file:
        if file.read(len(_OLD_MAGIC)) != _OLD_MAGIC:
            file.seek(0)
            _check_pickle(file, source)
            raise ValueError("no file of torch")
        # A version, the system, the checkpoint, the order of the tensors that follow.
        for _ in range(4):
            _check_pickle(file, source)


def _check_pickle(file: IO[bytes], source: str) -> None:
    """Raise `ModelError` if a pickle calls for more than plain tensors or would keep its reader busy for hours.

    It is read and not run. Tuples are weighed: one that holds another twice, which holds another twice, sixty deep, is
    written in 300 bytes, and a dictionary takes 2^60 steps to find it.
    """
    odd = ModelError(f"{source} has a structure that no checkpoint has: it is not read")
    stack: list[int | None] = []
    memo: dict[Any, int | None] = {}
    for step, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        name = opcode.name
        if step > _MOST_STEPS or (isinstance(argument, int) and abs(argument) >= _LARGEST_INTEGER):
            raise odd
        if "GLOBAL" in name or name in ("INST", "OBJ", "EXT1", "EXT2", "EXT4"):
            _check_name(str(argument), source)
        if name == "MARK":
            stack.append(None)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        else:
            parts = sum(_popped(stack, opcode))
            weight = 1 + parts if "TUPLE" in name else 1
            if weight > _MOST_PARTS:
                raise odd
            stack.extend([weight] * len(opcode.stack_after))


def _popped(stack: list[int | None], opcode: pickletools.OpcodeInfo) -> Iterator[int]:
    """Take from the stack what an instruction takes: the last ones, or all since the last mark and the ones before."""
    before = list(opcode.stack_before)
    if pickletools.markobject in before:
        while (part := stack.pop()) is not None:
            yield part
        before = before[: before.index(pickletools.markobject)]
    for _ in before:
        part = stack.pop()
        if part is None:
            raise ValueError("a mark where a value is needed")
        yield part


def _check_name(name: str, source: str) -> None:
    if name in _NAMES:
        return
    kind = next((word for part, word in _KINDS.items() if part in name and name.startswith("torch")), None)
    if kind:
        raise ModelError(
            f"{source} has {kind} tensors, which are not read: save plain ones in float32, float16 or bfloat16"
        )
    raise ModelError(
        f"{source} holds Python code besides tensors ({shown(name, longest=80)}) and is not opened: convert it to "
        "safetensors, or save its state dict alone"
    )
