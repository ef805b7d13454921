"""What the trained networks can do, on seeds that no training saw: the figures of the cards."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.clip import CLIP
from ...models.latent import FLUX_LATENTS
from ...models.vit import ViT
from ..benchmark.metrics import ssim
from ..judge import CLASSES, class_index
from ..models import (
    WEIGHTS,
    pocket_autoencoder,
    pocket_clip,
    pocket_ddpm,
    pocket_flux,
    pocket_judge,
    pocket_vit,
    text_embeddings,
)
from ..world.render import DOMAINS, STYLES, render
from ..world.seeds import TUNING
from . import flux, unet
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
        "taesd": _taesd,
        "flux": _flux,
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
    result["style by gradient alone"] = _reach(folder, generator, lambda pairs: text_loss(clip, pairs))
    return result


@torch.enable_grad()
def follow_gradient(
    source: Tensor, loss: Callable[[Tensor], Tensor], steps: int = 50, size: float = 0.02
) -> Tensor:
    """Images [N, 3, 64, 64] changed at a quarter of the resolution, by normalized steps down a loss [N] alone."""
    change = torch.zeros_like(source[..., ::4, ::4])

    def changed(change: Tensor) -> Tensor:
        return source + F.interpolate(change, source.shape[-2:], mode="bicubic")

    for _ in range(steps):
        leaf = change.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(changed(leaf)).sum(), leaf)
        change -= size * gradient / gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
    return changed(change).clamp(-1, 1)


def _reach(
    folder: Path, generator: torch.Generator, make_loss: Callable[[Pairs], Callable[[Tensor], Tensor]]
) -> float:
    """Share of sources whose style the judge names as asked (of 6) once they follow a loss: chance is 1 in 6.

    It tells whether a gradient changes what an image shows, or adds what only the network sees.
    """
    judge = pocket_judge(folder if (folder / "judge.safetensors").exists() else WEIGHTS)
    reached = []
    for domain in DOMAINS:
        pairs = draw_pairs(domain, 30, TUNING, generator)
        images = follow_gradient(pairs.images[:, 0], make_loss(pairs))
        start = CLASSES.index((domain, STYLES[domain][0]))
        logits = judge.classify(images)[:, start : start + len(STYLES[domain])]
        reached.append(_accuracy(logits, pairs.styles[:, 1]))
    return sum(reached) / len(reached)


def text_loss(clip: CLIP, pairs: Pairs) -> Callable[[Tensor], Tensor]:
    """Toward the name of each pair's second style."""
    texts = prompt_embeddings(clip, pairs.geometry.domain)[pairs.styles[:, 1]]
    return lambda images: -(clip.encode_image(images)[:, 0] * texts).sum(1)


def cls_loss(vit: ViT, pairs: Pairs) -> Callable[[Tensor], Tensor]:
    """Toward the [CLS] of other geometries in each pair's second style."""
    styles = pairs.styles[:, 1]
    geometry = pairs.geometry[torch.arange(len(styles)).roll(1)]
    targets = vit(render(geometry, styles, range(TUNING.start, TUNING.start + len(styles)))).cls.detach()
    return lambda images: (vit(images).cls - targets).square().mean(1)


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
    result = {key: sum(values) / len(values) for key, values in figures.items()}
    result["style by gradient alone"] = _reach(folder, generator, lambda pairs: cls_loss(vit, pairs))
    return result


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
    """Centroids of [CLS] [N, D] per style from the first images, asked about the second ones."""
    styles = range(len(STYLES[pairs.geometry.domain]))
    centroids = torch.stack([first[pairs.styles[:, 0] == style].mean(0) for style in styles])
    return _accuracy(-torch.cdist(second, centroids), pairs.styles[:, 1])


def _unet(folder: Path, generator: torch.Generator, count: int = 128) -> Figures:
    loss = unet.Loss(count, torch.device("cpu"), TUNING)
    return {"velocity error": loss(pocket_ddpm(folder).unet, generator)["v"].item()}


def _taesd(folder: Path, generator: torch.Generator, count: int = 128) -> Figures:
    images = torch.cat([part.images for part in _scenes(count, generator)])
    autoencoder = pocket_autoencoder(folder)
    latents = autoencoder.encode(images)
    found = autoencoder.decode(latents).clamp(-1, 1)
    error = (found - images).div(2).square().mean((1, 2, 3))
    return {
        "SSIM": ssim(found, images).mean().item(),
        "PSNR": -10 * error.log10().mean().item(),
        "deviation of normalized latents": FLUX_LATENTS.normalize(latents).std().item(),
    }


def _flux(folder: Path, generator: torch.Generator, count: int = 48, steps: int = 24) -> Figures:
    """Draws images from noise by Euler's method with classifier-free guidance of 2, and asks the judge."""
    here = folder if (folder / "taesd.safetensors").exists() else WEIGHTS
    network, autoencoder, clip = pocket_flux(folder), pocket_autoencoder(here), pocket_clip()
    judge, reached = pocket_judge(), []
    for domain in DOMAINS:
        styles = torch.arange(count) % len(STYLES[domain])
        prompts = [PROMPTS[domain][0].format(STYLES[domain][style]) for style in styles.tolist()]
        texts = text_embeddings(clip, prompts)
        x = torch.randn(count, 16, 8, 8, generator=generator)
        for step in range(steps):
            t = torch.full((count,), 1 - step / steps)
            asked = network(x, t, texts[:, None], texts)
            free = network(x, t, 0 * texts[:, None], 0 * texts)
            x = x - (free + 2 * (asked - free)) / steps
        images = autoencoder.decode(FLUX_LATENTS.denormalize(x))
        reached.append(_accuracy(judge.classify(images), class_index(domain, styles)))
    loss = flux.Loss(512, torch.device("cpu"), pool=256, folder=here)
    return {
        "style from noise": sum(reached) / len(reached),
        "velocity error": loss(network, generator)["v"].item(),
    }
