"""What the trained networks can do, on seeds that no training saw: the figures of the cards."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...features.clip import CLIP
from ..judge import CLASSES, Judge, class_index
from ..models import pocket_clip, pocket_ddpm, pocket_judge, pocket_vit
from ..render import DOMAINS, STYLES
from ..seeds import TUNING
from . import unet
from .augment import blur
from .data import Pairs, Scenes, draw_pairs, draw_scenes

Figures = dict[str, float]


@torch.no_grad()
def evaluate(name: str, folder: Path) -> Figures:
    """Figures of the weights in `folder`, rounded; the seeds are always the same."""
    measure: dict[str, Callable[[Path, torch.Generator], Figures]] = {
        "judge": _judge,
        "clip": _clip,
        "vit": _vit,
        "unet": _unet,
    }
    figures = measure[name](folder, torch.Generator().manual_seed(0))
    return {key: round(value, 4) for key, value in figures.items()}


def _add_noise(images: Tensor, size: float, generator: torch.Generator) -> Tensor:
    return images + size * torch.randn(images.shape, generator=generator)


def _accuracy(logits: Tensor, targets: Tensor) -> float:
    return (logits.argmax(1) == targets).float().mean().item()


def _scenes(count: int, generator: torch.Generator) -> list[Scenes]:
    return [draw_scenes(domain, count, TUNING, generator) for domain in DOMAINS]


def _judge(folder: Path, generator: torch.Generator, count: int = 192) -> Figures:
    judge = pocket_judge(folder)
    scenes = _scenes(count, generator)
    images = torch.cat([part.images for part in scenes])
    targets = torch.cat([class_index(part.geometry.domain, part.styles) for part in scenes])
    blurred = blur(_add_noise(images, 0.1, generator), torch.full((len(images),), 0.7))
    return {
        "accuracy": _accuracy(judge.classify(images), targets),
        "accuracy noise 0.1 blur 0.7": _accuracy(judge.classify(blurred), targets),
    }


PROMPTS = {
    "landscape": ("{} landscape", "a landscape in {}", "{}"),
    "animal": ("{}", "a {}", "the {}"),
}


def prompt_embeddings(clip: CLIP, domain: str, sentence: str = "") -> Tensor:
    """[6, D] unit embeddings of the styles of a domain, through the 79 templates."""
    sentence = sentence or PROMPTS[domain][0]
    return torch.stack([clip.encode_prompt(sentence.format(style)) for style in STYLES[domain]])


def _clip(folder: Path, generator: torch.Generator, count: int = 192) -> Figures:
    clip = pocket_clip(folder).models[0]
    figures: dict[str, list[float]] = {}
    for scenes in _scenes(count, generator):
        domain, styles = scenes.geometry.domain, scenes.styles
        versions = {
            "zero-shot": scenes.images,
            "zero-shot noise 0.3": _add_noise(scenes.images, 0.3, generator),
            "zero-shot blur 2": blur(scenes.images, torch.full((count,), 2.0)),
        }
        for key, images in versions.items():
            embeddings = clip.encode_image(images)[:, 0]
            for sentence in PROMPTS[domain]:
                accuracy = _accuracy(embeddings @ prompt_embeddings(clip, domain, sentence).T, styles)
                figures.setdefault(key, []).append(accuracy)
    result = {key: sum(values) / len(values) for key, values in figures.items()}
    if (folder / "judge.safetensors").exists():
        _, success = guided_pictures(clip, pocket_judge(folder), generator)
        result["guided pixels reach style"] = success
    return result


@torch.enable_grad()
def guided_pictures(
    clip: CLIP, judge: Judge, generator: torch.Generator, count: int = 30, steps: int = 50, size: float = 0.02
) -> tuple[dict[str, Tensor], float]:
    """Pixels at a quarter of the resolution that follow the CLIP's gradient alone, from one style to another.

    The pictures [N, 2, 3, 64, 64] (before, after) of each domain, and the share whose style of that domain the
    judge then names as asked: whether the gradient changes what a picture shows.
    """
    pictures, reached = {}, []
    for domain in DOMAINS:
        pairs = draw_pairs(domain, count, TUNING, generator)
        source, target = pairs.images[:, 0], pairs.styles[:, 1]
        texts = prompt_embeddings(clip, domain)[target]
        change = torch.zeros(count, 3, 16, 16)
        for _ in range(steps):
            leaf = change.clone().requires_grad_()
            image = source + F.interpolate(leaf, source.shape[-2:], mode="bicubic")
            similarity = (clip.encode_image(image)[:, 0] * texts).sum()
            (gradient,) = torch.autograd.grad(similarity, leaf)
            rms = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
            change += size * gradient / rms
        image = (source + F.interpolate(change, source.shape[-2:], mode="bicubic")).clamp(-1, 1)
        pictures[domain] = torch.stack([source, image], 1)
        start = CLASSES.index((domain, STYLES[domain][0]))
        logits = judge.classify(image)[:, start : start + len(STYLES[domain])]
        reached.append(_accuracy(logits, target))
    return pictures, sum(reached) / len(reached)


def _vit(folder: Path, generator: torch.Generator, count: int = 96) -> Figures:
    vit = pocket_vit(folder)
    figures: dict[str, list[float]] = {}
    for domain in DOMAINS:
        pairs = draw_pairs(domain, count, TUNING, generator)
        first, second = (vit(part) for part in pairs.images.unbind(1))
        for key, value in _structure(
            F.normalize(first.keys, dim=-1), F.normalize(second.keys, dim=-1)
        ).items():
            figures.setdefault(key, []).append(value)
        figures.setdefault("[CLS] nearest style", []).append(_nearest_style(first.cls, second.cls, pairs))
    return {key: sum(values) / len(values) for key, values in figures.items()}


def _structure(first: Tensor, second: Tensor) -> Figures:
    """Unit keys [N, T, D] of the same geometries in two styles: which one is found again, and how close it is."""
    own = torch.arange(len(first))
    similarity, other_similarity = ((keys @ keys.mT).flatten(1) for keys in (first, second))
    distance = torch.cdist(similarity, other_similarity).square() / similarity.shape[1]
    same = distance.diagonal().mean()
    other = (distance.sum() - distance.diagonal().sum()) / (len(own) * (len(own) - 1))
    matches = (first @ second.mT).argmax(2)
    return {
        "retrieval by self-similarity": _accuracy(-distance, own),
        "retrieval by keys": _accuracy(first.flatten(1) @ second.flatten(1).T, own),
        "same place among 256 keys": (matches == torch.arange(matches.shape[1])).float().mean().item(),
        "self-similarity distance, same over other": (same / other).item(),
    }


def _nearest_style(first: Tensor, second: Tensor, pairs: Pairs) -> float:
    """Centroids of [CLS] [N, D] per style from the first pictures, asked about the second ones."""
    styles = range(len(STYLES[pairs.geometry.domain]))
    centroids = torch.stack([first[pairs.styles[:, 0] == style].mean(0) for style in styles])
    return _accuracy(-torch.cdist(second, centroids), pairs.styles[:, 1])


def _unet(folder: Path, generator: torch.Generator, count: int = 128) -> Figures:
    loss = unet.Loss(count, torch.device("cpu"), TUNING)
    return {"velocity error": loss(pocket_ddpm(folder).unet, generator)["v"].item()}
