"""What guidance costs a latent model: operations and memory of decoders, diffusion networks, and feature networks.

    python -m benchmarks.latent --comfyui ../ComfyUI --json latent.json

Prints tables in Markdown. The decoders and diffusion networks are ComfyUI's own classes on tensors without contents, so
run it with a Python that has the requirements of both. Nothing is measured, and nothing is downloaded.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from diffuseit.errors import InputError
from diffuseit.models.clip import CLIP
from diffuseit.models.hub.catalog import entry_named
from diffuseit.models.vit import ViT, ViTConfig
from diffuseit.performance.memory import Footprint, decoder_footprint, feature_footprint, guidance_bytes
from diffuseit.performance.options import BALANCED
from diffuseit.performance.recompute import recomputed_blocks

from . import comfyui
from .arguments import deliver
from .floor import Passes, clip_passes, passes, vit_passes
from .networks import SCALES, clip_without_weights, vit_without_weights

SIZES = (1024, 768, 512, 256)
"""Sides of the decoded picture, in pixels. 512 and 256 are also what a latent of 1024, shrunk to 1/2 and 1/4, gives."""

VITS = ("dino-b8", "dino-b16", "dino-s8")
CLIPS = SCALES["paper"].clips
CROPS = 8
VIEW = (512, 512)
"""(height, width) of the picture that the feature networks get, and resize to their input."""

LOOKS: Mapping[str, Sequence[str]] = {
    "DINO B/8": ("dino-b8",),
    "DINO B/8, CLIP B/32, B/16, RN50x4": ("dino-b8", "ViT-B/32", "ViT-B/16", "RN50x4"),
    "DINO B/8, the paper's 5 CLIPs": ("dino-b8", *CLIPS),
}
"""The networks that the losses of image guidance use, and those of text guidance."""

COMPARED = (("SDXL", True), ("SDXL", False), ("Flux.1 dev, 256 text tokens", False))
"""The models of the last table, with or without CFG."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """A way to show the prediction to the losses: by a full or tiny decoder, at what side, in every how many steps."""

    name: str
    full: bool
    size: int = 1024
    recompute: bool = False
    every: int = 1


WAYS = (
    Way("VAE, blocks recomputed", full=True, recompute=True),
    Way("VAE", full=True),
    Way("VAE, every 2nd step", full=True, every=2),
    Way("VAE, latent at 1/2", full=True, size=512),
    Way("TAESD", full=False),
    Way("TAESD, latent at 1/2", full=False, size=512),
    Way("TAESD, latent at 1/2, every 2nd step", full=False, size=512, every=2),
)


def main(arguments: list[str] | None = None) -> Row:
    """Run the command, and return the report."""
    parser = argparse.ArgumentParser(description="Operations and memory of guidance of latent models.")
    parser.add_argument("--comfyui", type=Path, required=True, metavar="PATH", help="a checkout of ComfyUI")
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="FILE", help="the report; without FILE printed"
    )
    args = parser.parse_args(arguments)
    try:
        comfyui.enter(args.comfyui)
    except InputError as error:
        sys.exit(str(error))
    decoders, models = decoder_rows(comfyui.decoders()), model_rows(comfyui.models())
    features = feature_rows()
    report = {
        "torch": torch.__version__,
        "decoders": decoders,
        "models": models,
        "features": features,
        "memory": memory_rows(decoders, feature_networks(comfyui.DTYPE)),
        "overhead": overhead_rows(decoders, models, features),
    }
    deliver(report, "\n\n".join(_tables(report)), args.json)
    return report


def decoder_rows(decoders: Iterable[comfyui.Decoder], sizes: Sequence[int] = SIZES) -> list[Row]:
    """Return the operations and bytes of each decoder at each size, without and with recomputation of its blocks."""
    rows = []
    for decoder, recompute, size in product(decoders, (False, True), sizes):
        flops = _decoder_passes(decoder, size, recompute)
        memory = decoder_footprint(decoder.network, decoder.latent(size), recompute)
        rows.append(
            {
                "decoder": decoder.name,
                "size": size,
                "recompute": recompute,
                "forward_flops": flops.forward,
                "backward_flops": flops.backward,
                "kept_bytes": memory.held,
                "peak_bytes": memory.peak,
            }
        )
    return rows


def model_rows(models: Iterable[comfyui.Model]) -> list[Row]:
    """Return the forward operations of one step at 1024x1024 pixels, without and with CFG."""
    rows = []
    for model in models:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.network(*model.inputs, **model.named)
        for cfg in (False, True):
            rows.append(
                {
                    "model": model.name,
                    "cfg": cfg,
                    "forward_flops": counter.get_total_flops() * (1 + cfg),
                    "full": model.full,
                    "tiny": model.tiny,
                }
            )
    return rows


def feature_networks(dtype: torch.dtype) -> dict[str, tuple[ViT | CLIP, int]]:
    """Return the networks on the meta device, each with its number of crops (0: the whole picture)."""
    vits = {name: (vit_without_weights(_vit_config(name), dtype), 0) for name in VITS}
    clips = {name: (clip_without_weights(name, shape, dtype), CROPS) for name, shape in CLIPS.items()}
    return {**vits, **clips}


def feature_rows() -> list[Row]:
    """Return the operations and peak bytes of each feature network for one picture."""
    single, half = feature_networks(torch.float32), feature_networks(comfyui.DTYPE)
    rows = []
    for name, (network, crops) in single.items():
        is_vit = isinstance(network, ViT)
        flops = vit_passes(_vit_config(name)) if is_vit else clip_passes(CLIPS[name], crops)
        rows.append(
            {
                "network": name,
                "input_size": network.input_size if is_vit else network.image_size,
                "crops": crops,
                "forward_flops": flops.forward,
                "backward_flops": flops.backward,
                "float32_bytes": feature_footprint(network, 1, VIEW, crops).peak,
                "bfloat16_bytes": feature_footprint(half[name][0], 1, VIEW, crops).peak,
            }
        )
    return rows


def memory_rows(
    decoders: Sequence[Row],
    networks: Mapping[str, tuple[ViT | CLIP, int]],
    looks: Mapping[str, Sequence[str]] = LOOKS,
) -> list[Row]:
    """Return the peak bytes of one gradient, the decoder and the feature networks together."""
    return [
        {
            **{key: row[key] for key in ("decoder", "recompute", "size")},
            "networks": looking,
            "peak_bytes": guidance_bytes(
                Footprint(row["kept_bytes"], row["peak_bytes"]),
                [networks[name] for name in names],
                1,
                (min(row["size"], VIEW[0]), min(row["size"], VIEW[1])),
                BALANCED,
            ),
        }
        for row, (looking, names) in product(decoders, looks.items())
    ]


def overhead_rows(
    decoders: Sequence[Row],
    models: Sequence[Row],
    features: Sequence[Row],
    looks: Mapping[str, Sequence[str]] = LOOKS,
    ways: Sequence[Way] = WAYS,
) -> list[Row]:
    """Return how many times as many operations a step takes with guidance as without."""
    decoding = {(row["decoder"], row["size"], row["recompute"]): _both(row) for row in decoders}
    looking = {row["network"]: _both(row) for row in features}
    rows = []
    for model, (name, networks), way in product(models, looks.items(), ways):
        decoder = model["full" if way.full else "tiny"]
        guidance = decoding[decoder, way.size, way.recompute] + sum(looking[network] for network in networks)
        rows.append(
            {
                "model": model["model"],
                "cfg": model["cfg"],
                "networks": name,
                "way": way.name,
                "guidance_flops": guidance,
                "ratio": 1 + guidance / way.every / model["forward_flops"],
            }
        )
    return rows


def markdown(headings: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _vit_config(name: str) -> ViTConfig:
    return ViTConfig(**dict(entry_named(name).config))  # type: ignore[arg-type]


def _decoder_passes(decoder: comfyui.Decoder, size: int, recompute: bool) -> Passes:
    with recomputed_blocks(decoder.network) if recompute else nullcontext():
        return passes(decoder.network, decoder.network.decode, decoder.latent(size))


def _both(row: Row) -> float:
    return float(row["forward_flops"] + row["backward_flops"])


def _tables(report: Row) -> Iterable[str]:
    yield "TFLOP: 1e12 floating-point operations, a multiply-add counts as two. GB: 1e9 bytes."
    yield "Decoders, operations in TFLOP: forward + backward to the latent"
    yield _decoder_table(
        report["decoders"], lambda row: f"{_tera(row, 'forward')} + {_tera(row, 'backward')}"
    )
    yield "Decoders, memory in GB, bfloat16: kept after the forward pass; peak of the backward pass"
    yield _decoder_table(report["decoders"], lambda row: f"{_giga(row, 'kept')}; {_giga(row, 'peak')}")
    yield "Diffusion networks, operations of one step at 1024 px in TFLOP"
    yield markdown(
        ("model", "without CFG", "with CFG"),
        (
            (name, *(_tera(row, "forward") for row in rows))
            for (name,), rows in _grouped(report["models"], "model").items()
        ),
    )
    yield f"Feature networks, one picture: operations in TFLOP, peak memory in GB, {CROPS} crops at once"
    yield markdown(
        ("network", "input, px", "crops", "forward", "backward", "float32", "bfloat16"),
        (
            (
                row["network"],
                row["input_size"],
                row["crops"] or "",
                *(_tera(row, name) for name in ("forward", "backward")),
                *(_giga(row, name) for name in ("float32", "bfloat16")),
            )
            for row in report["features"]
        ),
    )
    yield "One gradient, peak memory in GB beside the weights, bfloat16, 4 crops at once"
    yield markdown(
        ("networks", "decoder", "", *(f"{size} px" for size in SIZES)),
        (
            (networks, decoder, _recomputed(again), *(_giga(row, "peak") for row in rows))
            for (networks, decoder, again), rows in _grouped(
                report["memory"], "networks", "decoder", "recompute"
            ).items()
            if decoder in ("KL (SD1.5, SDXL)", "TAESD (SD1.5, SDXL)")
        ),
    )
    yield "A step with guidance over one without, operations"
    yield markdown(
        ("model", "networks", *(way.name for way in WAYS)),
        (
            (f"{model}{', CFG' if cfg else ''}", networks, *(f"{row['ratio']:.2f}" for row in rows))
            for (model, cfg, networks), rows in _grouped(
                report["overhead"], "model", "cfg", "networks"
            ).items()
            if (model, cfg) in COMPARED
        ),
    )


def _decoder_table(rows: Sequence[Row], figures: Callable[[Row], str]) -> str:
    """Decoders whose figures differ by less than 1% share their rows."""
    alike: list[tuple[list[str], list[Row]]] = []
    for (name,), group in _grouped(rows, "decoder").items():
        names = next((names for names, known in alike if all(map(_within_a_percent, group, known))), None)
        if names is None:
            alike.append(([name], group))
        else:
            names.append(name)
    return markdown(
        ("decoder", "", *(f"{size} px" for size in SIZES)),
        (
            (", ".join(names), _recomputed(again), *map(figures, some))
            for names, group in alike
            for (again,), some in _grouped(group, "recompute").items()
        ),
    )


def _within_a_percent(row: Row, other: Row) -> bool:
    names = ("forward_flops", "backward_flops", "kept_bytes", "peak_bytes")
    return all(abs(row[name] / other[name] - 1) < 0.01 for name in names)


def _grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Any, ...], list[Row]]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def _recomputed(again: bool) -> str:
    return "blocks recomputed" if again else ""


def _tera(row: Row, name: str) -> str:
    return f"{row[f'{name}_flops'] / 1e12:#.3g}".rstrip(".")


def _giga(row: Row, name: str) -> str:
    return f"{row[f'{name}_bytes'] / 1e9:.2f}"


if __name__ == "__main__":
    main()
