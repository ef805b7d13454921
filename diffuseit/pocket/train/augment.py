"""What guidance does to images, so that the networks keep their sense: noise, blur, mixed styles, attacks."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .data import Pairs


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of [N, C, S, S] by sigma [N] pixels; the kernel is renormalized at the borders."""
    position = torch.arange(images.shape[-1], device=images.device, dtype=torch.float32)
    distance = (position[:, None] - position[None]).square()
    kernel = (-distance / (2 * sigma.clamp(min=1e-2).square()[:, None, None])).softmax(-1).unsqueeze(1)
    return kernel @ images @ kernel.mT


def corrupt(images: Tensor, generator: torch.Generator, noise: float = 0.6, blurred: float = 2.5) -> Tensor:
    """Each image blurred (half of them) and noised, by strengths from 0 to the given ones, mostly small."""
    count, device = len(images), images.device
    chosen = torch.rand(count, generator=generator) < 0.5
    sigma = blurred * torch.rand(count, generator=generator) * chosen
    strength = (noise * torch.rand(count, generator=generator).square()).view(-1, 1, 1, 1)
    return blur(images, sigma.to(device)) + (strength * torch.randn(images.shape, generator=generator)).to(
        device
    )


def jitter_colors(images: Tensor, generator: torch.Generator, strength: float = 0.12) -> Tensor:
    """Mild random gain and offset of each channel, and saturation."""

    def draw(*shape: int) -> Tensor:
        return strength * (2 * torch.rand(shape, generator=generator) - 1).to(images.device)

    count = len(images)
    gray = images.mean(1, keepdim=True)
    saturated = torch.lerp(gray, images, 1 + 2 * draw(count, 1, 1, 1))
    return saturated * (1 + draw(count, 3, 1, 1)) + draw(count, 3, 1, 1)


def mix_styles(pairs: Pairs, generator: torch.Generator, mixed: Tensor) -> tuple[Tensor, Tensor]:
    """Images [N, 3, 64, 64] that fade from their first style to the second where `mixed` [N], and its share [N].

    The fade is a smooth random map, and the share is that of the change it makes: so a network learns to see the
    style of every part, and its gradient points all the way from one style to the other.
    """
    first, second = pairs.images.unbind(1)
    count = len(first)
    coarse = torch.randn(count, 1, 4, 4, generator=generator)
    offset = 4 * torch.rand(count, 1, 1, 1, generator=generator) - 2
    field = F.interpolate(coarse, first.shape[-2:], mode="bicubic")
    fade = torch.sigmoid(3 * (field + offset)).to(first.device) * mixed.to(first.device).view(-1, 1, 1, 1)
    change = (second - first).abs().sum(1, keepdim=True)
    share = (fade * change).sum((1, 2, 3)) / change.sum((1, 2, 3)).clamp(min=1e-6)
    return torch.lerp(first, second, fade), share


def attack(
    images: Tensor, loss: Callable[[Tensor], Tensor], generator: torch.Generator, size: float
) -> Tensor:
    """One gradient step up the loss, of a random root mean square up to `size` in each image."""
    leaf = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    direction = gradient / gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
    strength = size * torch.rand(len(images), 1, 1, 1, generator=generator)
    return images + strength.to(images.device) * direction
