"""The pocket CLIP: images and captions of the pocket world, robust to what guidance feeds it."""

import random
from contextlib import nullcontext
from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from open_clip import SimpleTokenizer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...models.clip import CLIP, normalize
from ...models.clip_config import CLIPConfig, PlainCLIP, TextTower, VisionTower
from ...models.crops import Crops, draw_crops
from ...models.templates import TEMPLATES
from ...schema import to_json
from ..judge import CLASSES, class_index
from ..world.captions import ADJECTIVES, COATS, ENDINGS, SCENES, caption
from ..world.render import DOMAINS, SIZE
from ..world.seeds import TRAINING
from .augment import attack, corrupt, jitter_colors, mix_styles
from .data import draw_pairs
from .loop import Recipe

RECIPE = Recipe(batch=96, minutes=8)

HALF = (0.5, 0.5, 0.5)
CONFIG = CLIPConfig(
    name="pocket",
    model_cfg=PlainCLIP(
        embed_dim=64,
        vision_cfg=VisionTower(image_size=SIZE, patch_size=8, width=128, head_width=32, layers=4),
        text_cfg=TextTower(context_length=24, width=32, heads=2, layers=2),
    ),
    mean=HALF,
    std=HALF,
)
MAX_SCALE = 20.0  # of the logits: a bound keeps classes from hardening into plateaus without gradient
ATTACK = 0.08


class Pupil(nn.Module):
    """The CLIP as the losses will use it, but trainable."""

    def __init__(self) -> None:
        super().__init__()
        tokenizer = SimpleTokenizer(context_length=CONFIG.context_length)
        self.clip = CLIP(CONFIG.build(), tokenizer, name=CONFIG.name, mean=HALF, std=HALF).requires_grad_(
            True
        )

    def encode_text(self, texts: list[str]) -> Tensor:
        """Unit embeddings [n, D]."""
        tokens = self.clip.tokenizer(texts).to(self.clip.mean.device)
        return normalize(self.clip.model.encode_text(tokens).float())

    def encode_image(self, images: Tensor, crops: Crops) -> Tensor:
        """Unit embeddings [N, D] of one crop of each image."""
        # torch's fused attention is slow on CPUs for 65 tokens.
        fused = nullcontext() if images.is_cuda else sdpa_kernel(SDPBackend.MATH)
        with fused:
            return self.clip.encode_image(images, crops)[:, 0].float()

    def scale(self) -> Tensor:
        return self.clip.model.logit_scale.float().exp().clamp(max=MAX_SCALE)


def build() -> Pupil:
    return Pupil()


def ships(pupil: Pupil) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and config of a checkpoint that `load_clip` reads."""
    return pupil.clip.model.state_dict(), to_json(CONFIG)


class Loss:
    """Half of the images show one style, half a mixture of two; all are corrupted, some of them attacked.

    - `style`: soft cross-entropy against one prompt per (domain, style), in a random template;
    - `caption`: contrast with the captions of the unmixed images, in both directions; captions of the same
      style are partly right.
    """

    def __init__(self, batch: int, device: torch.device):
        self.count, self.device = batch // len(DOMAINS), device

    def __call__(self, network: Pupil, generator: torch.Generator) -> dict[str, Tensor]:
        rng = random.Random(int(torch.randint(1 << 62, (), generator=generator)))
        pure = torch.arange(self.count) < self.count // 2
        images, targets, texts = [], [], []
        for domain in DOMAINS:
            pairs = draw_pairs(domain, self.count, TRAINING, generator, self.device)
            mixture, share = mix_styles(pairs, generator, ~pure)
            images.append(mixture)
            targets.append(_targets(domain, pairs.styles, share))
            texts += caption(pairs.geometry[pure.nonzero()], pairs.styles[pure, 0], rng)
        x, target = torch.cat(images), torch.cat(targets)
        x = corrupt(jitter_colors(x, generator), generator)
        crops = _draw_crops(len(x), generator)

        captions = network.encode_text(
            [_in_template(text, rng) if rng.random() < 0.5 else text for text in texts]
        )
        prompts = network.encode_text(
            [_in_template(style_prompt(*name, rng), rng) for _ in range(2) for name in CLASSES]
        ).view(2, len(CLASSES), -1)

        def style_loss(embeddings: Tensor, target: Tensor) -> Tensor:
            logits = network.scale() * embeddings @ prompts.mT  # [2, N, 12]
            return F.cross_entropy(logits.flatten(0, 1), target.repeat(2, 1))

        chosen = torch.randperm(len(x), generator=generator)[: len(x) // 2]
        part = _select(crops, chosen)
        x[chosen] = attack(
            x[chosen], lambda y: style_loss(network.encode_image(y, part), target[chosen]), generator, ATTACK
        )
        embeddings = network.encode_image(x, crops)
        whole = pure.repeat(len(DOMAINS))
        return {
            "style": style_loss(embeddings, target),
            "caption": 0.5 * _caption_loss(network.scale() * embeddings[whole] @ captions.T, target[whole]),
        }


def _targets(domain: str, styles: Tensor, share: Tensor) -> Tensor:
    """Styles [N, 2] and the share [N] of the second -> [N, 12] weights of the classes."""
    first, second = (
        F.one_hot(class_index(domain, part), len(CLASSES)).float().to(share.device)
        for part in styles.unbind(1)
    )
    return torch.lerp(first, second, share[:, None])


def _caption_loss(logits: Tensor, classes: Tensor, same_style: float = 0.2) -> Tensor:
    """Symmetric cross-entropy of [N, N] logits; captions of the same class count `same_style` of the own one."""
    right = torch.eye(len(logits), device=logits.device) + same_style * (classes @ classes.T)
    right = right / right.sum(1, keepdim=True)
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def _draw_crops(count: int, generator: torch.Generator, whole: float = 0.25) -> Crops:
    """One crop for each image, as guidance draws them; a share `whole` of the images stays uncropped."""
    crops = draw_crops([generator] * count, 1, (SIZE, SIZE))
    uncropped = torch.rand(count, 1, generator=generator) < whole
    neutral = {"height": SIZE, "width": SIZE}  # angle, corner and flip are 0
    return Crops(
        **{
            field.name: getattr(crops, field.name).masked_fill(uncropped, neutral.get(field.name, 0))
            for field in fields(Crops)
        }
    )


def _select(crops: Crops, index: Tensor) -> Crops:
    return Crops(*(getattr(crops, field.name)[index] for field in fields(Crops)))


def style_prompt(domain: str, style: str, rng: random.Random) -> str:
    """What a user may call a style, in a few words."""
    if domain == "animal":
        return rng.choice((style, *COATS[style]))
    scene = rng.choice(SCENES)
    return rng.choice(
        (
            style,
            f"{style} {scene}",
            f"{rng.choice(ADJECTIVES[style])} {scene}",
            f"a {scene} {rng.choice(ENDINGS[style])}",
        )
    )


def _in_template(text: str, rng: random.Random) -> str:
    return rng.choice(TEMPLATES).replace("{}", text)
