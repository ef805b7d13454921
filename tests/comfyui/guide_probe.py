"""What test_guide_model.py looks at inside ComfyUI: runs of core's sampling with models that the losses guide."""

import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.controlnet
import comfy.latent_formats
import comfy.model_base
import comfy.model_management as management
import comfy.model_patcher
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import comfy_extras.nodes_custom_sampler as custom
import torch
from comfyui.pack import part
from comfyui.tiny_kinds import KINDS, SIDE
from comfyui.tiny_models import Tiny, missing, tiny, write_controlnet, write_lora

import nodes  # ComfyUI's

STEPS = 4
PIXELS = "chroma_radiance"  # the fastest kind with rectified flow


def picture(seed: int = 0, count: int = 1) -> torch.Tensor:
    """An IMAGE of smooth noise."""
    noise = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(noise, (SIDE, SIDE), mode="bilinear").movedim(1, -1)


def near_the_source(weight: float = 100.0) -> tuple[Any, ...]:
    """Losses without networks, whose value any test can compute."""
    losses, types = part("diffuseit.losses"), part("nodes.types")
    loss = losses.SourceAnchorLoss(weight=weight, norm="l2")
    return (types.NodeLoss(losses.BoundLoss(loss), (), "9"),)


def _execute(module: str, name: str, **inputs: Any) -> Any:
    node = getattr(part(f"nodes.{module}"), name)
    node.hidden = SimpleNamespace(unique_id="5", prompt=None, extra_pnginfo=None)
    if inputs.get("options") is not None:
        inputs["options"] = part("nodes.types").Options(inputs["options"])
    return node.execute(**inputs).args[0]


def guide(made: Tiny, image: torch.Tensor, **inputs: Any) -> Any:
    """The MODEL from DiffuseIT Guide Model."""
    usual = {"losses": near_the_source(), "step_size": 1.0, "start": 0.0, "end": 1.0, "vae": made.vae}
    return _execute("guide_model", "GuideModel", **{"model": made.model, "image": image, **usual, **inputs})


def latent_sampler(made: Tiny, image: torch.Tensor, **inputs: Any) -> Any:
    """The SAMPLER from DiffuseIT Latent Sampler."""
    usual = {"losses": near_the_source(), "step_size": 1.0, "method": "mpgd", "resample": 1, "vae": made.vae}
    return _execute("latent_sampler", "LatentSampler", **{"image": image, **usual, **inputs})


def run(
    made: Tiny,
    model: Any,
    sampler: Any = "euler",
    *,
    image: torch.Tensor | None = None,
    steps: int = STEPS,
    denoise: float = 0.7,
    seed: int = 7,
    guider: Any = None,
    mask: torch.Tensor | None = None,
    sigmas: torch.Tensor | None = None,
    output: int = 0,
) -> torch.Tensor:
    """The latents of SamplerCustomAdvanced, from the encoded image, or from an empty latent."""
    if guider is None:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(made.positive, made.negative)
        guider.set_cfg(2.0)
    if sigmas is None:
        sigmas = custom.BasicScheduler.execute(model, "simple", steps, denoise).args[0]
    if isinstance(sampler, str):
        sampler = comfy.samplers.sampler_object(sampler)
    latent = made.latent if image is None else {"samples": encoded(made, image)}
    if mask is not None:
        latent = latent | {"noise_mask": mask}
    noise = custom.Noise_RandomNoise(seed)
    return custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).args[output][
        "samples"
    ]


def encoded(made: Tiny, image: torch.Tensor) -> torch.Tensor:
    """The latents of each image."""
    return torch.cat([made.vae.encode(image[i : i + 1]) for i in range(len(image))])


def distance(made: Tiny, samples: torch.Tensor, image: torch.Tensor) -> float:
    """The loss of `near_the_source`, of what VAE Decode makes of latents."""
    decoded = made.vae.decode(samples)
    return float((decoded.reshape(image.shape) - image).square().mean())


def largest(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((one - other).abs().max() / other.abs().max())


def error_of(call: Any) -> str:
    """The type and message of what a call raises; empty if nothing."""
    try:
        call()
    except BaseException as error:  # interruptions are no Exception in newer versions
        return f"{type(error).__name__}: {error}"
    return ""


def _inside(function: Any) -> Any:
    comfy.utils.set_progress_bar_enabled(False)
    with torch.inference_mode():
        return function()


def everything() -> dict[str, Any]:
    """All that the tests look at, in one process, since ComfyUI takes long to import."""
    return {look.__name__: look() for look in LOOKS}


def every_kind() -> dict[str, Any]:
    """For each kind, how far samples are from the source without and with guidance, or why there is none."""
    return _inside(lambda: {kind: _kind(kind) for kind in KINDS})


def _kind(kind: str) -> dict[str, Any]:
    if reason := missing(kind):
        return {"missing": reason}
    made, image = tiny(kind), picture()
    samples: list[torch.Tensor] = []
    if error := error_of(lambda: samples.append(_ksampler(made, guide(made, image)))):
        return {"error": error}
    free = _ksampler(made, made.model)
    return {"free": distance(made, free, image), "guided": distance(made, samples[0], image)}


def _ksampler(made: Tiny, model: Any, sampler: str = "euler", denoise: float = 1.0) -> torch.Tensor:
    """What core's KSampler node gives."""
    return nodes.common_ksampler(
        *(model, 7, STEPS, 2.0, sampler, "simple", made.positive, made.negative, made.latent), denoise=denoise
    )[0]["samples"]


def every_sampler() -> dict[str, dict[str, list[float]]]:
    """How far samples are from the source without and with guidance, by kind and sampler."""

    def of(kind: str) -> dict[str, list[float]]:
        made, image = tiny(kind), picture()
        guided = guide(made, image, end=0.85)
        return {
            sampler: [
                distance(made, run(made, model, sampler, image=image), image)
                for model in (made.model, guided)
            ]
            for sampler in comfy.samplers.SAMPLER_NAMES
            if not sampler.endswith("_gpu")  # on a CPU the same as without
        }

    return _inside(lambda: {kind: of(kind) for kind in ("sd15", PIXELS)})


def agreement() -> dict[str, dict[str, Any]]:
    """How far apart ways are that should give the same."""
    return _inside(lambda: {kind: _agreement(tiny(kind)) for kind in ("sd15", "flux_taesd", PIXELS)})


def _agreement(made: Tiny) -> dict[str, Any]:
    image = picture()
    guided = guide(made, image)
    follows = {"eta": 0.0, "symmetric": True}
    free, patched = run(made, made.model, image=image), run(made, guided, image=image)
    own = run(made, made.model, image=image, guider=_own_guider(made, image))
    ours = run(made, made.model, latent_sampler(made, image, options=follows), image=image)
    unguided = latent_sampler(made, image, step_size=0.0, options=follows)
    return {
        "guided": largest(patched, free),
        "own guider": largest(own, patched),
        "latent sampler": largest(ours, patched),
        "unguided": largest(run(made, made.model, unguided, image=image), free),
        "again": largest(run(made, guided, image=image), patched),
        "KSampler": largest(_ksampler(made, guided), run(made, guided, denoise=1.0)),
        "denoised output": largest(run(made, guided, image=image, output=1), patched),
        "left": [
            list(guided.wrappers),
            list(guided.additional_models),
            list(made.model.wrappers),
            str(guided.model_options),
        ],
    }


def _own_guider(made: Tiny, image: torch.Tensor) -> Any:
    """The same guidance written as a guider, as another pack would."""
    prediction, rng = part("diffuseit.guidance.prediction"), part("diffuseit.guidance.rng")
    latent, core = part("nodes.comfy.latent"), part("diffuseit.models.latent")
    settings = prediction.PredictionSettings(guide_until=1.0)

    class Guider(comfy.samplers.CFGGuider):
        guidance = None

        def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006
            denoised = super().predict_noise(x, timestep, model_options, seed)
            with torch.inference_mode(False), torch.enable_grad():
                if self.guidance is None:
                    model = latent.LatentModel(self.model_patcher, tuple(x.shape))
                    levels = model.sigmas(model_options["transformer_options"]["sample_sigmas"])
                    backbone = core.LatentDiffusion(None, levels, model.autoencoder(made.vae))
                    part("nodes.comfy.devices").thaw(made.vae.first_stage_model)
                    source = image.clone().movedim(-1, 1) * 2 - 1
                    losses = [one.bound for one in near_the_source()]
                    self.guidance = prediction.PredictionGuidance(
                        losses, source, backbone, settings, rng=rng.Seeded(7, 1)
                    )
                return self.guidance.guide(x.clone(), denoised.clone(), float(timestep[0])).pred_xstart

    guider = Guider(made.model)
    guider.set_conds(made.positive, made.negative)
    guider.set_cfg(2.0)
    return guider


def uses() -> dict[str, dict[str, Any]]:
    """What happens in the graphs that people have."""
    return _inside(lambda: {kind: _uses(tiny(kind)) for kind in ("sd15", PIXELS)})


def _uses(made: Tiny) -> dict[str, Any]:
    image = picture()
    guided = guide(made, image)
    free, plain = run(made, made.model, image=image), run(made, guided, image=image)
    found: dict[str, Any] = {"free": distance(made, free, image), "guided": distance(made, plain, image)}

    def far(**options: Any) -> float:
        return distance(made, run(made, guide(made, image, **options), image=image), image)

    found["no step"] = largest(run(made, guide(made, image, step_size=0.0), image=image), free)
    found["never"] = largest(run(made, guide(made, image, start=1.0), image=image), free)
    found["anchor"] = far(options={"anchor": 0.5})
    found["inner steps"] = far(options={"inner_steps": 3})
    found["adaptive"] = far(options={"balance": "adaptive"}, losses=near_the_source(1.0))
    found["stays"] = far(options={"noise": "stays"})
    found["every other"] = far(options={"every": 2})
    found["small view"] = far(options={"view_size": 32})
    found["through"] = far(options={"gradient": "model"})
    found["training"] = management.in_training

    twice = guide(made._replace(model=guided), image)
    found["twice"] = distance(made, run(made, twice, image=image), image)
    other = guide(made, picture(3))
    both = run(made, guide(made._replace(model=other), image), image=image)
    found["both"] = [largest(both, run(made, model, image=image)) for model in (guided, other)]

    mask = torch.zeros(1, SIDE, SIDE)
    mask[..., SIDE // 2 :] = 1
    for name, model, sampler in (
        ("patch", guided, "euler"),
        ("sampler", made.model, latent_sampler(made, image)),
    ):
        masked = run(made, model, sampler, image=image, mask=mask)
        change = (masked - encoded(made, image)).abs()
        middle = change.shape[-1] // 2
        found[f"mask of the {name}"] = [float(change[..., :middle].max()), float(change[..., middle:].max())]

    found["dual"] = [distance(made, _dual(made, model, image), image) for model in (made.model, guided)]
    found["basic"] = [distance(made, _basic(made, model, image), image) for model in (made.model, guided)]
    return found


def with_loras_and_controlnets() -> dict[str, dict[str, list[float]]]:
    """How far samples are from the source without and with guidance, and what a LoRA or a ControlNet changes."""
    return _inside(lambda: {kind: _with_loras_and_controlnets(tiny(kind)) for kind in ("sd15", "flux")})


def _with_loras_and_controlnets(made: Tiny) -> dict[str, list[float]]:
    image, kind = picture(), "sd15" if made.latent["samples"].shape[1] == 4 else "flux"
    plain = run(made, guide(made, image), image=image)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        write_lora(kind, path)
        lora = comfy.utils.load_torch_file(str(path), safe_load=True)
        before, _ = comfy.sd.load_lora_for_models(made.model, None, lora, 1.0, 0.0)
        after, _ = comfy.sd.load_lora_for_models(guide(made, image), None, lora, 1.0, 0.0)
        write_controlnet(kind, path)
        control = comfy.controlnet.load_controlnet(str(path))
    positive, negative = nodes.ControlNetApplyAdvanced().apply_controlnet(
        *(made.positive, made.negative, control, picture(5), 1.0, 0.0, 1.0), vae=made.vae
    )
    controlled = made._replace(positive=positive, negative=negative)
    found = {}
    for name, way, model in (("lora", made, before), ("controlnet", controlled, made.model)):
        guided = run(way, guide(way._replace(model=model), image), image=image)
        found[name] = [
            distance(made, run(way, model, image=image), image),
            distance(made, guided, image),
            largest(guided, plain),
        ]
    found["order"] = [
        largest(
            run(made, after, image=image), run(made, guide(made._replace(model=before), image), image=image)
        )
    ]
    return found


def batches() -> dict[str, list[float]]:
    """How far the first item of a batch is from a single run, by the guided model and by our sampler."""
    return _inside(lambda: {kind: _batches(tiny(kind)) for kind in ("sd15", "flux", PIXELS)})


def _batches(made: Tiny) -> list[float]:
    images, start = torch.cat([picture(), picture(1)]), made.latent["samples"]
    whole = made._replace(latent={"samples": start.expand(2, *start.shape[1:])})
    losses = _with_networks()

    def patched(tiny: Tiny, sources: torch.Tensor) -> torch.Tensor:
        return run(tiny, guide(tiny, sources, losses=losses), denoise=1.0)

    def ours(tiny: Tiny, sources: torch.Tensor) -> torch.Tensor:
        return run(tiny, tiny.model, latent_sampler(tiny, sources, losses=losses), denoise=1.0)

    return [largest(way(whole, images)[:1], way(made, images[:1])) for way in (patched, ours)]


def _dual(made: Tiny, model: Any, image: torch.Tensor) -> torch.Tensor:
    guider = custom.Guider_DualCFG(model)
    guider.set_conds(made.positive, made.negative, made.negative)
    guider.set_cfg(2.0, 1.5, nested=False)
    return run(made, model, image=image, guider=guider)


def _basic(made: Tiny, model: Any, image: torch.Tensor) -> torch.Tensor:
    guider = custom.Guider_Basic(model)
    guider.set_conds(made.positive)
    return run(made, model, image=image, guider=guider)


def _with_networks() -> tuple[Any, ...]:
    """The losses of a preset on the pocket networks, which draw crops."""
    loaders, preset = part("nodes.loaders"), part("nodes.preset")
    vit = loaders.LoadViT.execute(model="pocket", layer=-1).args[0]
    clip = loaders.LoadCLIP.execute(model="pocket").args[0]
    preset.PresetNode.hidden = SimpleNamespace(unique_id="3")
    texts = {"to_text": "winter landscape", "from_text": "summer landscape"}
    return preset.PresetNode.execute(preset="fast-text", vit=vit, clip=clip, **texts).args[0]


def methods() -> dict[str, Any]:
    """What each method of the latent sampler does, with the gradient at the prediction and through the model."""

    def of(kind: str) -> dict[str, Any]:
        made, image = tiny(kind), picture()
        found: dict[str, Any] = {"free": distance(made, run(made, made.model, image=image), image)}
        for method in part("diffuseit.methods").METHODS:
            for gradient in ("prediction", "model"):
                sampler = latent_sampler(
                    made, image, method=method, resample=2, options={"gradient": gradient}
                )
                samples = run(made, made.model, sampler, image=image)
                found[f"{method} {gradient}"] = distance(made, samples, image)
        found["training"] = management.in_training
        return found

    return _inside(lambda: {kind: of(kind) for kind in ("sd15", PIXELS)})


def interruption() -> dict[str, Any]:
    """What comes of an interruption within a step, and of memory that runs out."""
    return _inside(_interruption)


def _interruption() -> dict[str, Any]:
    ltxv, image = tiny("ltxv"), picture()  # its VAE cannot compute blocks again
    autoencoder = part("nodes.comfy.latent").LatentModel(ltxv.model, (1, 128, 1, 2, 2)).autoencoder(ltxv.vae)
    autoencoder.release(recompute=True)
    with torch.inference_mode(False):
        part("nodes.comfy.devices").thaw(ltxv.vae.first_stage_model)
        x = torch.randn(1, 128, 2, 2, requires_grad=True)
        torch.autograd.grad(autoencoder.decode(x).sum(), x)

    made = tiny("sd15")
    losses = _with_networks()
    guided = guide(made, image, losses=losses)
    plain = run(made, guided, image=image)
    calls: list[int] = []
    network = made.vae.first_stage_model
    decode = network.decode

    def stop(latents: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            management.interrupt_current_processing(True)
        return decode(latents)

    network.decode = stop
    found = {"interrupted": error_of(lambda: run(made, guided, image=image)), "decoded": len(calls)}
    network.decode = decode
    found["left"] = [
        list(guided.additional_models),
        sum(
            len(part._forward_pre_hooks)
            for one in losses
            for net in one.networks
            for part in net.module.modules()
        ),
    ]
    found["afterward"] = largest(run(made, guided, image=image), plain)

    failures = ["once"]
    samples: list[torch.Tensor] = []

    def out_of_memory(latents: torch.Tensor) -> torch.Tensor:
        if latents.requires_grad and failures:
            if failures[0] == "once":
                failures.clear()
            raise torch.OutOfMemoryError("out of memory")
        return decode(latents)

    network.decode = out_of_memory
    found["no memory once"] = error_of(lambda: samples.append(run(made, guided, image=image)))
    found["with less"] = largest(samples[0], plain)
    failures.append("always")
    found["no memory always"] = error_of(lambda: run(made, guided, image=image))

    def unmeasurable(latents: torch.Tensor) -> torch.Tensor:
        return decode(latents) if bool(latents.sum() < 1e9) else latents

    network.decode = unmeasurable
    part("diffuseit.performance.memory")._FOOTPRINTS.clear()
    found["unmeasurable"] = largest(run(made, guided, image=image), plain)

    def overflow(latents: torch.Tensor) -> torch.Tensor:
        image = decode(latents.to(next(network.parameters()).dtype))
        return image * float("nan") if latents.dtype == torch.float16 else image

    network.decode, made.vae.vae_dtype = overflow, torch.float16
    network.half()
    found["overflow"] = largest(run(made, guided, image=image), plain)
    return found


def refusals() -> dict[str, str]:
    """What is said about inputs that cannot work."""
    return _inside(_refusals)


def _refusals() -> dict[str, str]:
    made, image = tiny("sd15"), picture()
    other, video = tiny("flux"), tiny("wan")
    guided = guide(made, image)
    frames = {"samples": torch.zeros(1, 16, 3, 8, 8)}
    losses = near_the_source()

    def masked(height: int, width: int) -> tuple[Any, ...]:
        bound = losses[0].bound
        return (
            part("nodes.types").NodeLoss(type(bound)(bound.loss, {}, torch.ones(1, height, width)), (), "9"),
        )

    not_finite = picture()
    not_finite[0, 0, 0, 0] = float("nan")
    inputs = {
        "VAE of another model": lambda: run(made, guide(made, image, vae=other.vae)),
        "no VAE": lambda: run(made, guide(made, image, vae=None)),
        "frames": lambda: run(video._replace(latent=frames), guide(video, image)),
        "one sigma": lambda: run(made, guided, sigmas=torch.tensor([1.0])),
        "rising sigmas": lambda: run(made, guided, sigmas=torch.tensor([1.0, 2.0])),
        "sources": lambda: run(made, guide(made, picture(count=3))),
        "no losses": lambda: guide(made, image, losses=()),
        "mask": lambda: run(made, guide(made, image, losses=masked(32, 16))),
        "NaN": lambda: guide(made, not_finite),
        "sampler options": lambda: guide(made, image, options={"steps": 20, "skip": 7}),
        "part of a run": lambda: run(
            made, made.model, latent_sampler(made, image), sigmas=torch.tensor([2.0, 1.0])
        ),
        "sampler every": lambda: latent_sampler(made, image, options={"every": 2}),
        "sampler without losses": lambda: latent_sampler(made, image, losses=()),
        "sampler VAE": lambda: run(made, made.model, latent_sampler(other, image)),
    }
    found = {name: error_of(call) for name, call in inputs.items()}
    found["nothing is left"] = str([guided.additional_models, made.model.additional_models])
    return found


def pixel_model() -> dict[str, float]:
    """How far the pocket DDPM as a MODEL of ComfyUI is from the core's own runs of it."""
    return _inside(_pixel_model)


def _pixel_model() -> dict[str, float]:
    loop, methods = part("diffuseit.guidance.loop"), part("diffuseit.methods")
    settings, rng = part("diffuseit.guidance.settings"), part("diffuseit.guidance.rng")
    with torch.inference_mode(False):
        ddpm = part("diffuseit.pocket.models").pocket_ddpm()
        schedule = ddpm.schedule(8)
        patcher = _as_model(ddpm)
    image = picture()
    steps = 6  # of the 8, as a denoise below 1 leaves
    levels = ((1 - schedule.alphas_cumprod) / schedule.alphas_cumprod) ** 0.5
    sigmas = torch.tensor([*levels[:steps][::-1], 0.0], dtype=torch.float32)
    made = Tiny(patcher, None, [[torch.zeros(1, 1, 1), {}]], [[torch.zeros(1, 1, 1), {}]], {})
    latent = {"samples": image.movedim(-1, 1) * 2 - 1}
    noise = custom.Noise_RandomNoise(7)

    def by_comfyui(model: Any, sampler: Any) -> torch.Tensor:
        guider = custom.Guider_Basic(model)
        guider.set_conds(made.positive)
        return custom.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).args[0]["samples"]

    def by_core(method: Any) -> torch.Tensor:
        with torch.inference_mode(False):
            source = latent["samples"].clone()
            drawn = noise.generate_noise({"samples": source})
            x = schedule.q_sample(source, steps - 1, drawn.clone())
            chosen = settings.SamplerSettings(steps=8, skip=2, resample=1, method=method, view="pred_xstart")
            losses = [one.bound for one in near_the_source()]
            *_, last = loop.sample(ddpm, source, losses, chosen, rng=rng.Seeded(7, 1), x_start=x)
            return last.x_0

    euler = comfy.samplers.sampler_object("euler")
    found = {}
    for noise_option, symmetric in (("follows", True), ("stays", False)):
        core = by_core(methods.MPGD(step_rule="normalized", symmetric=symmetric, eta=0.0))
        guided = guide(made, image, options={"noise": noise_option})
        found[f"patch, noise {noise_option}"] = largest(by_comfyui(guided, euler), core)
        options = {"eta": 0.0, "symmetric": symmetric}
        ours = by_comfyui(patcher, latent_sampler(made, image, options=options))
        found[f"sampler, noise {noise_option}"] = largest(ours, core)
    through = {"eta": 0.0, "gradient": "model"}
    core = by_core(methods.DiffuseITDDIM(step_rule="normalized"))
    ours = by_comfyui(patcher, latent_sampler(made, image, method="diffuseit-ddim", options=through))
    found["sampler, through the model"] = largest(ours, core)
    return found


class _Network(torch.nn.Module):
    """The pocket U-Net behind the interface of ComfyUI's networks."""

    def __init__(self, ddpm: Any):
        super().__init__()
        self.unet, self.dtype = ddpm.unet, torch.float32
        self.scale = 1000.0 / ddpm.diffusion.train_timesteps if ddpm.diffusion.rescale_timesteps else 1.0

    def forward(self, x: torch.Tensor, timesteps: torch.Tensor, **_: Any) -> torch.Tensor:
        return self.unet(x, timesteps * self.scale, None)[:, :3]


def _as_model(ddpm: Any) -> Any:
    """The pocket DDPM as a MODEL."""

    class Config(comfy.supported_models_base.BASE):
        latent_format = comfy.latent_formats.ChromaRadiance

    config = Config({"disable_unet_model_creation": True})
    model = comfy.model_base.BaseModel(config, comfy.model_base.ModelType.V_PREDICTION)
    model.diffusion_model = _Network(ddpm)
    betas = torch.from_numpy(ddpm.schedule().betas)
    model.model_sampling._register_schedule(given_betas=betas)
    return comfy.model_patcher.ModelPatcher(
        model, load_device=management.get_torch_device(), offload_device=management.unet_offload_device()
    )


LOOKS = (
    *(every_kind, every_sampler, agreement, uses, batches, with_loras_and_controlnets),
    *(methods, interruption, refusals, pixel_model),
)
