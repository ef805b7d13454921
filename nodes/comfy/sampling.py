"""ComfyUI's own sampling: what guides one run of a guider, and samplers that are functions of the core's loop."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor

from ...diffuseit.errors import InputError
from ..types import Network
from .devices import backward_through_models, gradients, hold, load_beside, prepare_backward
from .events import check_interruption
from .latent import LatentModel

KEY = "diffuseit"


@dataclass(frozen=True, eq=False)
class Sampling:
    """What ComfyUI is about to sample: with which model, from which sigmas down, and with which seed.

    `parts` are the kinds of latents in one: 2 for video and sound.
    """

    model: LatentModel
    sigmas: Tensor
    seed: int
    parts: int = 1


Denoise = Callable[[Tensor], Tensor]
"""x [B, C, H, W] -> x_0. The sigma and the conditioning are the function's own."""


class Session(Protocol):
    """What guides one run."""

    through: bool
    """Whether the gradient passes back through the diffusion model."""

    def guests(self) -> list[Network[Any]]:
        """Return the networks that are on the device beside the model."""
        ...

    def required(self) -> int:
        """Return the bytes that they need to run."""
        ...

    def begin(self) -> None:
        """Note that the model is loaded, and that the first step comes next."""
        ...

    def guides(self, sigma: float) -> bool:
        """Return whether the networks are needed at `sigma`."""
        ...

    def guided(self, x: Tensor, denoise: Denoise, sigma: float) -> Tensor:
        """Return the guided prediction from `x` at `sigma`."""
        ...


Open = Callable[[Sampling], AbstractContextManager[Session]]


def with_guidance(model: Any, begin: Open) -> Any:
    """Return a clone of a MODEL, each of whose runs is guided by a session of its own.

    Nothing of a run stays on the clone: its wrappers are on the guider's options, which are made for one run.
    """

    def outer_sample(
        executor: Any,
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        callback: Any = None,
        disable_pbar: bool = False,
        seed: int | None = None,
        latent_shapes: Any = None,
        **more: Any,
    ) -> Tensor:
        guider = executor.class_obj
        parts = 1 if latent_shapes is None else len(latent_shapes)
        latents = LatentModel(guider.model_patcher, tuple(noise.shape))
        with gradients():
            opened = begin(Sampling(latents, sigmas, seed or 0, parts))
        arguments = (noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed)
        with opened as session, _among_models(guider.model_patcher, session):
            for kind, wrapper in _wrappers(guider.model_patcher, latents, session):
                add_wrapper_with_key(kind, KEY, wrapper, guider.model_options, is_model_options=True)
            samples: Tensor = executor(*arguments, latent_shapes=latent_shapes, **more)
        return samples

    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, outer_sample)
    return clone


@contextmanager
def _among_models(model: Any, session: Session) -> Iterator[None]:
    """Let ComfyUI load the session's networks with the model, so that it does not unload them for it."""
    key = f"{KEY} {id(session)}"
    guests = [patcher for network in session.guests() for patcher in network.patchers]
    model.set_additional_models(key, guests)
    try:
        yield
    finally:
        model.remove_additional_models(key)


def _wrappers(model: Any, latents: LatentModel, session: Session) -> list[tuple[str, Any]]:
    def sampler_sample(executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        """The model is loaded now."""
        with gradients():
            load_beside(model, session.guests(), session.required())
            if session.through:
                prepare_backward(model)
            session.begin()
        samples: Tensor = executor(*args, **kwargs)
        return samples

    def predict_noise(
        executor: Any, x: Tensor, timestep: Tensor, model_options: Any, seed: int | None = None
    ) -> Tensor:
        check_interruption()
        sigma = float(timestep.flatten()[0])
        if session.through and session.guides(sigma):
            with gradients(), backward_through_models():
                hold(session.guests())
                level = timestep.clone()

                def denoise(x: Tensor) -> Tensor:
                    return latents.to_core(executor(latents.to_comfy(x), level, model_options, seed))

                return latents.to_comfy(session.guided(latents.to_core(x), denoise, sigma))
        prediction: Tensor = executor(x, timestep, model_options, seed)
        with gradients():
            if session.guides(sigma):
                hold(session.guests())
            plain = latents.to_core(prediction)
            guided = session.guided(latents.to_core(x), lambda _: plain, sigma)
        return latents.to_comfy(guided).to(prediction)

    return [(WrappersMP.SAMPLER_SAMPLE, sampler_sample), (WrappersMP.PREDICT_NOISE, predict_noise)]


@dataclass(frozen=True, eq=False)
class SamplerCall:
    """One call of a sampler: the model that it asks, the noisy `x` [B, C, H, W], and the latents that it came from."""

    sampling: Sampling
    x: Tensor
    latent_image: Tensor
    mask: Tensor | None
    denoise: Callable[[Tensor, float], Tensor]
    show: Callable[[int, Tensor, Tensor], None]


def sampler(run: Callable[[SamplerCall], Tensor]) -> Any:
    """Return a SAMPLER of ComfyUI whose run from a noisy x to x_0 is `run`, outside of inference mode."""

    def function(
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any] | None = None,
        callback: Any = None,
        disable: Any = None,
    ) -> Tensor:
        extra, guider = extra_args or {}, model.inner_model
        if not hasattr(guider, "model_patcher"):
            raise InputError(
                "another node stands between this sampler and the model: connect it to a sampler node"
            )
        parts = len(getattr(guider.inner_model, "latent_shapes", None) or [()])
        latents = LatentModel(guider.model_patcher, tuple(x.shape))
        graph = ExitStack()  # what a graph needs until its backward pass, which comes before the next call

        def denoise(flat: Tensor, sigma: float) -> Tensor:
            check_interruption()
            graph.close()
            level = flat.new_full((len(flat),), sigma)
            if flat.requires_grad:
                graph.enter_context(backward_through_models())
                return latents.to_core(model(latents.to_comfy(flat), level, **extra))
            with torch.inference_mode():
                prediction = model(latents.to_comfy(flat), level, **extra)
            return latents.to_core(prediction)

        def show(number: int, x: Tensor, x_0: Tensor) -> None:
            if callback is not None:
                sigma = sigmas[number]
                shown = {name: latents.to_comfy(value) for name, value in (("x", x), ("denoised", x_0))}
                callback({"i": number, "sigma": sigma, "sigma_hat": sigma, **shown})

        mask = extra.get("denoise_mask")
        with torch.inference_mode(False), torch.no_grad(), graph:
            call = SamplerCall(
                Sampling(latents, sigmas, extra.get("seed") or 0, parts),
                latents.to_core(x),
                latents.to_core(model.latent_image),
                None if mask is None else latents.to_core(mask)[:, :1],
                denoise,
                show,
            )
            return latents.to_comfy(run(call)).to(x)

    return comfy.samplers.KSAMPLER(function)
