"""One run of ComfyUI's sampling that losses guide: its checks, its memory plans, and what shows it."""

import logging
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..diffuseit.correspondence import Agreement, LatentAgreement
from ..diffuseit.errors import InputError
from ..diffuseit.frames.links import fitted as fitted_links
from ..diffuseit.images.resize import Fit
from ..diffuseit.losses import BoundLoss
from ..diffuseit.models.base import Backbone
from ..diffuseit.models.latent import LatentDiffusion, Sigmas
from . import estimate, live
from .comfy import devices, events, memory
from .comfy.latent import PixelAutoencoder, VAEAutoencoder
from .comfy.memory import LatentPlan
from .comfy.sampling import Sampling
from .film_run import check_links
from .run import check_chain, feature_networks, fitted, named_features
from .types import Film, Losses, Network

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a node asks for: the losses, the source [B, 3, H, W] in [-1, 1] of any size, and the VAE.

    `node` is the node's id, by which the front end shows the run. The images of a batch hold together by `film`.
    """

    image: Tensor
    losses: Losses
    vae: Any | None
    view_size: int
    node: str
    film: Film | None = None


@dataclass(frozen=True, eq=False)
class LatentRun:
    """Everything that a run needs, checked. `source` has the size of the decoded latents, as `agreement` wants it."""

    wanted: Wanted
    sampling: Sampling
    sigmas: Sigmas
    autoencoder: PixelAutoencoder | VAEAutoencoder
    source: Tensor
    losses: tuple[BoundLoss, ...]
    agreement: Agreement | None = None

    @property
    def agree(self) -> LatentAgreement | None:
        """Return what lets the predictions agree in each step."""
        autoencoder = self.autoencoder
        return self.agreement and LatentAgreement(
            self.agreement, autoencoder.decode, autoencoder.encode_in_place
        )

    @property
    def size(self) -> tuple[int, int]:
        """Return the (width, height) of the decoded latents."""
        return self.source.shape[-1], self.source.shape[-2]

    @property
    def features(self) -> list[Network[Any]]:
        """Return the handles of the feature networks."""
        return [network for one in self.wanted.losses for network in one.networks]

    def guests(self, plan: LatentPlan) -> list[Network[Any]]:
        """Return the networks that stay on the device beside the model."""
        vae = [] if self.autoencoder.guest is None else [self.autoencoder.guest]
        return vae + ([] if plan.options.offload is not None else self.features)

    @property
    def shrink(self) -> int:
        """Return how much smaller latents may get until they decode to the size of the view."""
        return max(1, min(self.source.shape[-2:]) // self.wanted.view_size)

    def required(self, plan: LatentPlan) -> int:
        """Return the estimated bytes on the device, without weights that stay there."""
        from ..diffuseit.performance.memory import guidance_bytes, offload_bytes

        networks: Any = feature_networks(self.losses)
        height, width = (max(1, side // plan.shrink) for side in self.sampling.model.size)
        batch, factor = len(self.source), self.autoencoder.factor
        graph = self.autoencoder.footprint((height, width), batch, plan.recompute)
        smaller = min(1.0, self.wanted.view_size / (factor * min(height, width)))
        view = (round(factor * height * smaller), round(factor * width * smaller))
        waiting = offload_bytes([network for network, _ in networks], plan.options)
        return waiting + guidance_bytes(graph, networks, batch, view, plan.options)

    def needs(self, plan: LatentPlan) -> int:
        """Return the estimated bytes on the device, weights included."""
        return devices.weights_bytes(self.guests(plan)) + self.required(plan)

    def backbone(self, denoise: Callable[[Tensor, float], Tensor], plan: LatentPlan) -> LatentDiffusion:
        """Return the core's view of the model under a plan."""
        self.autoencoder.release(plan.recompute)
        return LatentDiffusion(
            denoise,
            self.sigmas,
            self.autoencoder,
            self.sampling.model.device,
            channels=self.sampling.model.shape[1],
            view_size=self.wanted.view_size,
            shrink=plan.shrink,
        )

    def plans(self) -> list[LatentPlan]:
        """Return the plans to try, one after the other."""
        return memory.latent_plans(self.needs, self.sampling.model.patcher, self.shrink)

    def reporter(self, plan: LatentPlan, total: int) -> live.Live:
        """Return what shows the run on the node."""
        queued = events.running()
        networks = [*self.autoencoder.networks().items(), *named_features(feature_networks(self.losses))]
        facts = live.Facts(
            workflow=live.workflow_id(queued.extra_pnginfo),
            prompt=queued.id,
            node=self.wanted.node,
            run=uuid.uuid4().hex[:8],
            total=total,
            batch=len(self.source),
            chain=[(one.node, one.bound.loss) for one in self.wanted.losses],
            memory=self.needs(plan),
            networks=live.named(networks),
            size=self.size,
            source=self.source,
        )
        return live.Live(facts, events.tell, live.throttle())

    def note(self, reporter: live.Live) -> None:
        """Record what the run took."""
        estimate.note(events.running().nodes, reporter.figures(), self.wanted.node)

    def interruptible(self) -> Any:
        """Return a context in which every network checks for an interruption."""
        networks = [network for network, _ in feature_networks(self.losses)]
        return events.interruptible([*self.autoencoder.networks().values(), *networks])


def prepare(wanted: Wanted, sampling: Sampling) -> LatentRun:
    """Check everything, and fit images and masks to the latents. Raise `InputError` before anything is loaded."""
    check_chain(wanted.losses)
    model, image = sampling.model, wanted.image
    model.check(sampling.parts)
    sigmas = model.sigmas(sampling.sigmas)
    autoencoder = model.autoencoder(wanted.vae)
    batch = model.shape[0]
    if len(image) not in (1, batch):
        raise InputError(f"{len(image)} images for {batch} latents: give one, or one for each")
    canvas = (model.size[0] * autoencoder.factor, model.size[1] * autoencoder.factor)
    fit = Fit.covering((image.shape[-2], image.shape[-1]), canvas)
    image = image.expand(batch, -1, -1, -1)
    losses = tuple(fitted(one, fit, image) for one in wanted.losses)
    agreement = None
    if wanted.film is not None:
        check_links(wanted.film.correspondence, batch, "latents")
        agreement = wanted.film.settings.agreement(fitted_links(wanted.film.correspondence, fit))
    return LatentRun(wanted, sampling, sigmas, autoencoder, fit.apply(image), losses, agreement)


def with_less_memory(plans: list[LatentPlan], attempt: Callable[[LatentPlan], Found]) -> Found:
    """Return `attempt` of the first plan that the device has memory for."""
    for number, plan in enumerate(plans, start=1):
        try:
            return attempt(plan)
        except Exception as error:
            if not memory.out_of_memory(error):
                raise
            if number == len(plans):
                raise RuntimeError(memory.LATENTS_OUT_OF_MEMORY) from error
        logging.warning("DiffuseIT: out of memory; trying again, slower and with less")
        memory.free()
    raise AssertionError("there is always a plan")


@torch.no_grad()
def first_pictures(backbone: Backbone, x_0: Tensor, count: int = live.SHOWN_PICTURES) -> Tensor:
    """Return the first of the images [B, C, h, w] as the losses see them: [count or less, 3, H, W] on the CPU."""
    return backbone.show(x_0[:count]).cpu()
