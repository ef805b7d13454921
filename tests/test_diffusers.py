"""Checkpoints of diffusers: the same steps as its own pipelines, the command, and folders that cannot work."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from diffuseit.cli import app
from diffuseit.errors import InputError, ModelError
from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.images.io import read_text, save_picture, to_pil
from diffuseit.methods import DiffuseITDDIM
from diffuseit.models.diffusers.checkpoint import load_checkpoint
from diffuseit.pocket.world.render import render, sample_geometry
from diffuseit.preset_files import presets_folder, write_preset
from diffuseit.presets import PRESETS

WHY = (
    "diffusers and transformers are not installed (the developers' environment has them from Python 3.11 on)"
)
diffusers = pytest.importorskip("diffusers", reason=WHY)
pytest.importorskip("transformers", reason=WHY)

import tiny_checkpoints as tiny  # noqa: E402

STEPS = 5
PROMPT = "photo of a winter landscape"

KINDS = {
    "sd": tiny.stable_diffusion,
    "sd-v": lambda folder: tiny.stable_diffusion(
        folder,
        diffusers.EulerDiscreteScheduler(
            **tiny.STABLE, steps_offset=1, prediction_type="v_prediction", timestep_spacing="trailing"
        ),
    ),
    "sd-ddim": lambda folder: tiny.stable_diffusion(
        folder, diffusers.DDIMScheduler(**tiny.STABLE, steps_offset=1, clip_sample=False)
    ),
    "sdxl": tiny.stable_diffusion_xl,
    "sd3": tiny.stable_diffusion_3,
    "flux": tiny.flux,
    "flux-guided": lambda folder: tiny.flux(folder, guided=True),
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Return the folder of a tiny checkpoint by its kind. Do not change what is in it."""
    root, made = tmp_path_factory.mktemp("checkpoints"), {}

    def folder(kind):
        if kind not in made:
            with torch.random.fork_rng():
                torch.manual_seed(len(kind))
                made[kind] = KINDS[kind](root / kind)
        return made[kind]

    return folder


@pytest.fixture
def copy(checkpoint, tmp_path):
    """Return a copy, to be changed, of a tiny checkpoint."""

    def folder(kind):
        return Path(shutil.copytree(checkpoint(kind), tmp_path / kind))

    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder, the current one, with a source and a style image of 64x64 pixels."""
    monkeypatch.chdir(tmp_path)
    for name, style in (("source.png", 0), ("look.png", 3)):
        picture = render(sample_geometry("landscape", [7]), styles=[style], texture_seeds=[7])
        save_picture(to_pil(picture), name)
    return tmp_path


def pipeline_of(folder):
    """The pipeline that diffusers itself makes of a folder."""
    absent = {} if "sd3" not in folder.name else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True, **absent)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


# --- The steps of diffusers -------------------------------------------------------------------------------------


def walk(backbone, x_start, skip=0):
    """The latents at the end of a run without losses from `x_start`."""
    settings = SamplerSettings(steps=STEPS, skip=skip, resample=1, method=DiffuseITDDIM())
    source = torch.zeros(1, 3, 64, 64)
    return list(sample(backbone, source, [], settings, x_start=x_start, allow_unguided=True))[-1].x_0


def noise():
    return torch.randn(1, tiny.LATENTS, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["sd", "sd-v", "sd-ddim", "sdxl"])
def test_the_steps_of_noise_models_are_those_of_their_pipelines(kind, checkpoint):
    folder, z = checkpoint(kind), noise()
    backbone = load_checkpoint(folder).backbone(PROMPT, steps=STEPS, cfg=2.5, resolution=64)
    pipeline = pipeline_of(folder)
    size = {"height": 64, "width": 64}
    theirs = pipeline(
        PROMPT, latents=z, num_inference_steps=STEPS, guidance_scale=2.5, output_type="latent", **size
    ).images
    scale = backbone.sigmas.scale(backbone.sigmas.values[0])
    start = z if kind == "sd-ddim" else z * float(pipeline.scheduler.init_noise_sigma) / scale
    ours = walk(backbone, start)
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("kind", ["sd3", "flux", "flux-guided"])
def test_the_steps_of_flow_models_are_those_of_their_pipelines(kind, checkpoint):
    folder, x, skip = checkpoint(kind), noise(), 1
    backbone = load_checkpoint(folder).backbone(PROMPT, steps=STEPS, cfg=2.5, resolution=64)
    pipeline = pipeline_of(folder)
    flux = kind != "sd3"
    scale = {"true_cfg_scale": 2.5, "negative_prompt": ""} if kind == "flux" else {"guidance_scale": 2.5}
    theirs = pipeline(
        PROMPT,
        latents=torch.nn.functional.pixel_unshuffle(x, 2).flatten(2).mT if flux else x,
        num_inference_steps=STEPS - skip,
        sigmas=np.linspace(1, 1 / STEPS, STEPS)[skip:].tolist(),
        output_type="latent",
        height=64,
        width=64,
        **scale,
    ).images
    if flux:
        theirs = torch.nn.functional.pixel_shuffle(theirs.mT.unflatten(2, (4, 4)), 2)
    assert [round(value, 5) for value in pipeline.scheduler.sigmas.tolist()] == [
        round(value, 5) for value in backbone.sigmas.values[skip:]
    ]
    ours = walk(backbone, x / backbone.sigmas.scale(backbone.sigmas.values[skip]), skip)
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


@pytest.mark.parametrize("kind", ["sdxl", "sd3"])
def test_latents_are_scaled_and_shifted_as_in_the_pipeline(kind, checkpoint):
    folder, image = checkpoint(kind), torch.rand(1, 3, 64, 64) * 2 - 1
    backbone = load_checkpoint(folder).backbone(steps=STEPS, resolution=64)
    vae = pipeline_of(folder).vae
    with torch.no_grad():
        found = vae.encode(image)
        latents = found.latents if kind == "sdxl" else found.latent_dist.mode()
        decoded = vae.decode(latents).sample
    x = backbone.encode(image)
    assert torch.allclose(
        x, (latents - (vae.config.shift_factor or 0)) * vae.config.scaling_factor, atol=1e-5
    )
    assert torch.allclose(backbone.decode(x), decoded, atol=1e-5)
    (gradient,) = torch.autograd.grad(backbone.decode(x.requires_grad_()).square().sum(), x)
    assert gradient.abs().sum() > 0


def test_files_of_older_versions_are_read(checkpoint, copy):
    folder = copy("sd")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old_names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def renamed(key):
        for new, old in old_names.items():
            key = key.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
        return key

    save_file({renamed(key): value for key, value in load_file(weights).items()}, weights)
    text = folder / "text_encoder" / "model.safetensors"
    state = {f"text_model.{key.removeprefix('text_model.')}": value for key, value in load_file(text).items()}
    save_file(state, text)
    made = [
        load_checkpoint(path).backbone(PROMPT, steps=STEPS, resolution=64)
        for path in (checkpoint("sd"), folder)
    ]
    first, second = (one.decode(one.denoise(noise(), one.sigmas.values[1])) for one in made)
    assert torch.equal(first, second)


def test_shards_are_read(copy):
    folder = copy("sd3")
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    state = load_file(weights)
    names = sorted(state)
    parts = {"a-00001.safetensors": names[::2], "a-00002.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({key: state[key] for key in keys}, weights.with_name(file))
    index = {"weight_map": {key: file for file, keys in parts.items() for key in keys}}
    weights.with_name("diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    weights.unlink()
    loaded = load_checkpoint(folder).networks["transformer"].state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in names)


def test_half_precision_stays_close(checkpoint):
    x, found = noise(), []
    for dtype in (torch.float32, torch.bfloat16):
        backbone = load_checkpoint(checkpoint("sdxl"), dtype=dtype).backbone(
            PROMPT, steps=STEPS, resolution=64
        )
        found.append(backbone.show(backbone.denoise(x, backbone.sigmas.values[2])))
    assert found[1].dtype == torch.float32
    assert 0 < (found[0] - found[1]).abs().max() < 0.1


# --- The command ------------------------------------------------------------------------------------------------

QUICK = ("--features", "pocket", "--resolution", "64", "--steps", "4", "--skip", "1", "--resample", "2")


def run(*arguments):
    return CliRunner().invoke(app, ["translate", *map(str, arguments)])


def good(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1
    return result.stderr


def pixels(path):
    return np.array(Image.open(path)).astype(int)


@pytest.mark.parametrize("kind", ["sd", "flux-guided"])
def test_a_picture_is_translated_and_made_again(kind, checkpoint, here):
    folder = checkpoint(kind)
    options = ("--to", "winter landscape", "--models", folder, *QUICK)
    good("source.png", *options, "-o", "first.png")
    good("source.png", *options, "--cfg", "8", "-o", "strong.png")
    recipe = json.loads(read_text(Path("first.png")))
    assert recipe["models"] == "pocket" and recipe["preset"]["name"] == "latent-text"
    assert {"vae", "text_encoder", "vit", "clip"} < set(recipe["weights"])
    assert recipe["checkpoint"]["name"] == folder.name
    assert (recipe["checkpoint"]["cfg"], recipe["checkpoint"]["resolution"]) == (3.0, 64)
    assert str(folder.parent) not in json.dumps(recipe)
    result = good("--again", "first.png", "source.png", "--models", folder, "-o", "second.png")
    assert "Note" not in result.stderr
    assert abs(pixels("first.png") - pixels("second.png")).max() <= 1
    assert abs(pixels("first.png") - pixels("strong.png")).mean() > 1
    assert abs(pixels("first.png") - pixels("source.png")).mean() > 1


def test_a_picture_is_translated_by_a_style_image(checkpoint, here):
    good("source.png", "--style", "look.png", "--models", checkpoint("sdxl"), *QUICK, "-o", "first.png")
    through = ("--preset", "best-image")  # with a backward pass through the U-Net
    good("source.png", "--style", "look.png", "--models", checkpoint("sdxl"), *QUICK, *through, "-o", "b.png")
    assert abs(pixels("first.png") - pixels("b.png")).mean() > 1
    recipe = json.loads(read_text(Path("first.png")))
    assert recipe["preset"]["name"] == "latent-image" and recipe["checkpoint"]["cfg"] == 1.0
    assert "it strengthens a prompt" in refused(
        "source.png", "--style", "look.png", "--models", checkpoint("sdxl"), *QUICK, "--cfg", 4
    )


def test_each_of_several_texts_is_the_prompt_of_its_result(checkpoint, here):
    options = ("--models", checkpoint("sd"), *QUICK)
    good("source.png", "--to", "winter", "--to", "a night in the forest", *options, "-o", "both")
    good("source.png", "--to", "a night in the forest", *options, "-o", "alone.png")
    second = pixels("both/source--a-night-in-the-forest.png")
    assert abs(second - pixels("alone.png")).max() <= 1
    assert abs(second - pixels("both/source--winter.png")).mean() > 1


def test_variations_are_ranked(checkpoint, here):
    options = ("--models", checkpoint("sd3"), *QUICK, "--variations", 2, "-o", "v.png")
    good("source.png", "--to", "winter landscape", *options)
    assert Image.open("v-grid.png").width > Image.open("v.png").width == 64


def test_a_result_says_which_checkpoint_it_needs(checkpoint, here):
    folder = checkpoint("sd")
    good("source.png", "--to", "winter landscape", "--models", folder, *QUICK, "-o", "first.png")
    assert "the diffusers checkpoint 'sd': say with --models" in refused("--again", "first.png", "source.png")
    other = good("--again", "first.png", "source.png", "--models", checkpoint("sd-v"), "-o", "second.png")
    notes = " ".join(other.stderr.split())
    assert "another configuration of sd" in notes and "other weights in" in notes
    good("source.png", "--to", "winter", "--steps", 2, "--skip", 0, "--resample", 1, "-o", "plain.png")
    assert "made with the models 'pocket': leave out --models" in refused(
        "--again", "plain.png", "source.png", "--models", folder
    )


def test_a_saved_preset_works_with_a_checkpoint(checkpoint, here, monkeypatch):
    monkeypatch.setenv("DIFFUSEIT_PRESETS", str(here / "presets"))
    latent = PRESETS["latent-text"]
    own = replace(latent, name="night", sampler=replace(latent.sampler, steps=3, skip=1, resample=1))
    write_preset(own, presets_folder())
    options = ("--models", checkpoint("sd"), "--features", "pocket", "--resolution", 64, "--preset", "night")
    good("source.png", "--to", "winter", *options, "-o", "first.png")
    used = json.loads(read_text(Path("first.png")))["preset"]
    assert (used["name"], used["sampler"]["steps"]) == ("night", 3)


def test_options_of_a_checkpoint_need_one(checkpoint, here):
    for option in (("--cfg", 3), ("--features", "pocket"), ("--resolution", 64)):
        assert f"{option[0]} is for a diffusers checkpoint" in refused(
            "source.png", "--to", "winter", *option
        )
    assert "the folder of a diffusers checkpoint" in refused("source.png", "--to", "winter", "--models", "no")
    assert "has no model_index.json" in refused(
        "source.png", "--to", "winter", "--models", here, "--features", "pocket"
    )
    assert "--device is 'abacus', which PyTorch cannot use" in refused(
        "source.png", "--to", "winter", "--device", "abacus"
    )
    message = refused(
        "source.png", "--to", "winter", "--models", checkpoint("sd"), "--features", "pocket", "--steps", 2000
    )
    assert "steps is 2000" in message


@pytest.mark.parametrize("missing", ["diffusers", "transformers"])
def test_the_extra_is_named_if_it_is_missing(missing, checkpoint, here, monkeypatch):
    folder = checkpoint("sd")
    monkeypatch.setitem(sys.modules, missing, None)
    message = refused("source.png", "--to", "winter", "--models", folder, "--features", "pocket")
    assert (
        f"the package {missing}, which is not installed: run `pip install 'diffuseit[diffusers]'`" in message
    )


# --- Folders that cannot work -----------------------------------------------------------------------------------


def change(file, **values):
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def as_pickle(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(
        folder / "unet" / "diffusion_pytorch_model.bin"
    )


def of_other_channels(folder):
    diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4, latent_channels=16
    ).save_pretrained(folder / "vae")
    change(folder / "model_index.json", vae=["diffusers", "AutoencoderTiny"])


def of_other_width(folder):
    vocabulary = json.loads((folder / "text_encoder" / "config.json").read_text())["vocab_size"]
    tiny.clip_text(vocabulary, width=48).save_pretrained(folder / "text_encoder")


def without_a_weight(folder):
    file = folder / "text_encoder" / "model.safetensors"
    state = load_file(file)
    del state[next(key for key in sorted(state) if "fc1.weight" in key)]
    save_file({**state, "other": torch.zeros(64, 64)}, file)


def not_finite(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    state["conv_in.bias"][0] = torch.nan
    save_file(state, file)


def leading_out(folder):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    file.unlink()
    index = {"weight_map": {"a": "../vae/weights.safetensors"}}
    Path(f"{file}.index.json").write_text(json.dumps(index))


FAULTS = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "it has no model_index.json"),
    "half an index": (lambda f: cut(f / "model_index.json"), "model_index.json is not valid JSON"),
    "another pipeline": (
        lambda f: change(f / "model_index.json", _class_name="KandinskyPipeline"),
        "has the pipeline 'KandinskyPipeline', which is not supported: use one of StableDiffusionPipeline",
    ),
    "a pipeline with code": (
        lambda f: change(f / "model_index.json", _class_name=["pipeline", "Evil"]),
        "has the pipeline a list of 2, which is not supported",
    ),
    "another class": (
        lambda f: change(f / "model_index.json", unet=["evil", "Popen"]),
        "has the unet 'Popen', which is not supported: it must be UNet2DConditionModel",
    ),
    "no U-Net": (lambda f: shutil.rmtree(f / "unet"), "it has no folder unet"),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer"), "it has no folder tokenizer"),
    "half a tokenizer": (
        lambda f: [cut(file) for file in (f / "tokenizer").iterdir()],
        "tokenizer cannot be read",
    ),
    "no weights": (
        lambda f: (f / "vae" / "diffusion_pytorch_model.safetensors").unlink(),
        "vae is incomplete, download it again: it has no diffusion_pytorch_model.safetensors",
    ),
    "a pickle": (as_pickle, "diffusion_pytorch_model.bin is a pickle, which may run code"),
    "half the weights": (
        lambda f: cut(f / "unet" / "diffusion_pytorch_model.safetensors"),
        "unet/diffusion_pytorch_model.safetensors is truncated or damaged",
    ),
    "no numbers": (not_finite, "unet is damaged, download it again: conv_in.bias holds values that are not"),
    "other weights": (
        lambda f: change(f / "unet" / "config.json", layers_per_block=2),
        "unet does not fit its config.json: ",
    ),
    "a missing weight": (without_a_weight, "text_encoder lacks 1 weights"),
    "a large text encoder": (
        lambda f: change(f / "text_encoder" / "config.json", vocab_size=900_000),
        "text_encoder lacks weights that its config.json promises",
    ),
    "a huge network": (
        lambda f: change(f / "unet" / "config.json", cross_attention_dim=10**9),
        "cross_attention_dim is 1000000000: no network is that large",
    ),
    "a deep network": (
        lambda f: change(f / "unet" / "config.json", layers_per_block=10_000),
        "layers_per_block is over 256",
    ),
    "a config that is none": (
        lambda f: change(f / "unet" / "config.json", down_block_types=["Evil", "Down"]),
        "the configuration of UNet2DConditionModel",
    ),
    "a quantized network": (
        lambda f: change(f / "unet" / "config.json", quantization_config={"quant_method": "evil"}),
        "unet is quantized, which is not supported",
    ),
    "a VAE of another checkpoint": (
        of_other_channels,
        "its VAE has 16 latent channels, and its unet takes 4",
    ),
    "a U-Net for inpainting": (
        lambda f: change(f / "unet" / "config.json", in_channels=9),
        "its unet takes 9 (it is for inpainting)",
    ),
    "a text encoder of another checkpoint": (
        of_other_width,
        "its text encoders give 48 numbers for each token, and its unet takes 32",
    ),
    "shards elsewhere": (
        leading_out,
        "names '../vae/weights.safetensors', which is no safetensors file beside it",
    ),
    "another scheduler": (
        lambda f: change(f / "scheduler" / "scheduler_config.json", _class_name="EDMEulerScheduler"),
        "has the scheduler 'EDMEulerScheduler': use one of DDIMScheduler",
    ),
    "a scheduler for flows": (
        lambda f: change(
            f / "scheduler" / "scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler"
        ),
        "has the scheduler 'FlowMatchEulerDiscreteScheduler'",
    ),
    "another prediction": (
        lambda f: change(f / "scheduler" / "scheduler_config.json", prediction_type="sample"),
        "prediction_type is 'sample': use one of epsilon, v_prediction",
    ),
    "many steps": (
        lambda f: change(f / "scheduler" / "scheduler_config.json", num_train_timesteps=10**12),
        "num_train_timesteps is 1000000000000",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_that_cannot_work_is_refused(fault, copy):
    folder = copy("sd")
    spoil, message = FAULTS[fault]
    spoil(folder)
    with pytest.raises(ModelError, match=re.escape(message)) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value) and folder.name in str(caught.value)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"cfg": -1.0}, "cfg is -1.0"),
        ({"cfg": float("nan")}, "cfg is nan"),
        ({"resolution": 8}, "resolution is 8"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1001}, "trained on 1000"),
    ],
)
def test_numbers_that_cannot_work_are_refused(numbers, message, checkpoint):
    loaded = load_checkpoint(checkpoint("sd"))
    with pytest.raises(InputError, match=re.escape(message)):
        loaded.backbone(PROMPT, **{"steps": STEPS, **numbers})
