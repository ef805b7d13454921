"""The pocket ViT: keys that describe structure whatever the style, [CLS] that describes style whatever the structure.

Every objective is put on the very tensors that `features.vit.ViT` hands to the losses of DiffuseIT.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...models.vit import ViT, ViTConfig
from ...schema import to_json
from ..judge import CLASSES, class_index
from ..world.render import DOMAINS, SEGMENTS, segment
from ..world.seeds import TRAINING
from .augment import attack, corrupt, mix_styles
from .data import Pairs, draw_pairs
from .loop import Recipe

RECIPE = Recipe(batch=32, minutes=10, lr=3e-3, warmup_steps=20)

HALF = (0.5, 0.5, 0.5)
CONFIG = ViTConfig(
    embed_dim=128,
    depth=5,
    num_heads=4,
    patch_size=4,
    image_size=64,
    mlp_ratio=3.0,
    input_size=64,
    max_size=128,
    mean=HALF,
    std=HALF,
)
GRID = CONFIG.image_size // CONFIG.patch_size
MAX_SHIFT = 3  # patches
TEMPERATURE = 0.1
STYLE_SCALE = 10.0


class Pupil(nn.Module):
    """The ViT with the heads that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = ViT(CONFIG.build(), input_size=CONFIG.input_size, mean=HALF, std=HALF).requires_grad_(True)
        block: Any
        for block in self.vit.model.blocks:
            block.attn.fused_attn = False  # torch's is slower on CPUs, and backward is most of the work
        pixels = CONFIG.patch_size**2
        self.segments = nn.ModuleDict(
            {domain: nn.Linear(CONFIG.embed_dim, len(SEGMENTS[domain]) * pixels) for domain in DOMAINS}
        )
        self.styles = nn.Linear(CONFIG.embed_dim, len(CLASSES), bias=False)

    def style_logits(self, cls: Tensor) -> Tensor:
        """[B, D] -> [B, 12]: scaled cosines to one prototype per (domain, style)."""
        return STYLE_SCALE * F.normalize(cls, dim=-1) @ F.normalize(self.styles.weight.float(), dim=-1).T

    def segment_logits(self, keys: Tensor, domain: str) -> Tensor:
        """Unit keys of patches [..., D] -> [..., pixels, segments]: a linear map sees what cosines see."""
        head = self.segments[domain]
        logits = head((keys * CONFIG.embed_dim**0.5).to(head.weight.dtype)).float()
        return logits.unflatten(-1, (CONFIG.patch_size**2, -1))


def build() -> Pupil:
    return Pupil()


def ships(pupil: Pupil) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """State dict and config of a checkpoint that `load_vit` reads."""
    return pupil.vit.model.state_dict(), to_json(CONFIG)


class Loss:
    """Two styles of one geometry, each shifted by whole patches and corrupted; the second one often a mixture.

    - `match`: InfoNCE between keys of the same place in the two views (flat patches of one thing are no negatives);
    - `similarity`: mean squared difference of their cosine self-similarities, [CLS] row included;
    - `segments`: what each pixel shows, read linearly from unit keys;
    - `style`: soft cross-entropy of [CLS] against prototypes of (domain, style), also under attack;
    - `norm`: keeps [CLS] near unit root mean square, since DiffuseIT compares it by squared distance.
    """

    def __init__(self, batch: int, device: torch.device):
        self.count, self.device = batch // (2 * len(DOMAINS)), device

    def __call__(self, network: Pupil, generator: torch.Generator) -> dict[str, Tensor]:
        views = [_View(domain, self.count, generator, self.device) for domain in DOMAINS]
        images = torch.cat([view.images for view in views])
        targets = torch.cat([view.targets for view in views])
        attacked = torch.randperm(len(images), generator=generator)[: len(images) // 4].to(self.device)
        images[attacked] = attack(
            images[attacked],
            lambda x: _style_loss(network, network.vit(x).cls, targets[attacked]),
            generator,
            0.06,
        )
        features = network.vit(images)
        keys = F.normalize(features.keys.float(), dim=-1)
        terms = [
            view.key_terms(network, part) for view, part in zip(views, keys.chunk(len(views)), strict=True)
        ]
        rms = features.cls.float().square().mean(-1)
        return {
            "match": torch.stack([t[0] for t in terms]).mean(),
            "similarity": 10 * torch.stack([t[1] for t in terms]).mean(),
            "segments": torch.stack([t[2] for t in terms]).mean(),
            "style": _style_loss(network, features.cls, targets),
            "norm": 0.1 * (rms - 1).square().mean(),
        }


def _style_loss(network: Pupil, cls: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(network.style_logits(cls), targets)


class _View:
    """Both views of `count` geometries of one domain: images [2 N, 3, 64, 64], style targets [2 N, 12]."""

    def __init__(self, domain: str, count: int, generator: torch.Generator, device: torch.device):
        self.domain = domain
        pairs = draw_pairs(domain, count, TRAINING, generator, device)
        mixed = torch.rand(count, generator=generator) < 0.5
        # The second view shows the second style, or fades from it back to the first.
        turned = Pairs(pairs.geometry, pairs.styles.flip(1), pairs.images.flip(1))
        second, share = mix_styles(turned, generator, mixed)
        first_style, second_style = (
            F.one_hot(class_index(domain, styles), len(CLASSES)).float().to(device)
            for styles in pairs.styles.unbind(1)
        )
        self.targets = torch.cat([first_style, torch.lerp(second_style, first_style, share[:, None])])
        self.shifts = torch.randint(-MAX_SHIFT, MAX_SHIFT + 1, (2, 2), generator=generator).tolist()
        labels = segment(pairs.geometry).float().unsqueeze(1)
        images = [
            _shift(x, shift) for x, shift in zip((pairs.images[:, 0], second), self.shifts, strict=True)
        ]
        self.images = corrupt(torch.cat(images), generator)
        self.labels = torch.cat(
            [_patches(_shift(labels, shift)).long() for shift in self.shifts]
        )  # [2 N, P, pixels]

    def key_terms(self, network: Pupil, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(match, similarity, segments) of unit keys [2 N, 1 + P, D]."""
        logits = network.segment_logits(keys[:, 1:], self.domain)
        segments = F.cross_entropy(logits.flatten(0, 2), self.labels.flatten())

        windows = [self._common(view) for view in (0, 1)]
        first, second = (
            torch.cat([half[:, :1], half[:, 1:][:, window]], 1)
            for half, window in zip(keys.chunk(2), windows, strict=True)
        )
        similarity = (first @ first.mT - second @ second.mT).square().mean()
        cross = first @ second.mT / TEMPERATURE
        cross = cross.masked_fill(self._same_thing(self.labels.chunk(2)[0][:, windows[0]]), -1e4)
        own = torch.arange(cross.shape[1], device=cross.device).expand(len(cross), -1)
        match = (F.cross_entropy(cross.mT, own) + F.cross_entropy(cross, own)) / 2
        return match, similarity, segments

    def _common(self, view: int) -> Tensor:
        """Numbers of the patches of a view that show what the other view shows too, in the same order for both."""
        axes = []
        for own, other in zip(self.shifts[view], self.shifts[1 - view], strict=True):
            # Patch i of a view shows patch i + shift of the scene.
            low, high = max(0, own, other), GRID + min(0, own, other)
            axes.append(torch.arange(low - own, high - own))
        return (axes[0][:, None] * GRID + axes[1]).flatten()

    @staticmethod
    def _same_thing(labels: Tensor) -> Tensor:
        """[N, P, pixels] -> [N, 1 + P, 1 + P] booleans: two different patches wholly within the same segment."""
        low, high = labels.amin(-1), labels.amax(-1)
        name = torch.where(low == high, low, -1)
        same = (name[:, :, None] == name[:, None]) & (name[:, :, None] >= 0)
        same.diagonal(dim1=1, dim2=2).fill_(False)
        return F.pad(same, (1, 0, 1, 0))


def _shift(images: Tensor, shift: list[int]) -> Tensor:
    """[N, C, 64, 64] moved up and left by (rows, columns) patches; reflections fill the gap."""
    pad, size = MAX_SHIFT * CONFIG.patch_size, images.shape[-1]
    top, left = (pad + CONFIG.patch_size * step for step in shift)
    return F.pad(images, (pad,) * 4, mode="reflect")[..., top : top + size, left : left + size]


def _patches(labels: Tensor) -> Tensor:
    """[N, 1, 64, 64] -> [N, P, pixels]."""
    return F.unfold(labels, CONFIG.patch_size, stride=CONFIG.patch_size).transpose(1, 2)
