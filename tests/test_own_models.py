"""Own networks by a JSON file: `--models FILE`, gray diffusion models, and what a recipe says of them."""

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from guided_diffusion.script_util import model_and_diffusion_defaults
from PIL import Image
from tiny_networks import UNET
from typer.testing import CliRunner

from diffuseit.cli import app
from diffuseit.errors import DiffuseITError
from diffuseit.images.io import read_text
from diffuseit.images.recipe import Recipe
from diffuseit.models.ddpm import DiffusionConfig, PixelDDPM
from diffuseit.models.ddpm_checkpoint import save_ddpm
from diffuseit.models.unet import UNet
from diffuseit.own_models import Flags, load_own

GRAY = replace(UNET, in_channels=1, out_channels=2)
FLAGS = {
    "image_size": 32,
    "num_channels": 32,
    "channel_mult": "1,2",
    "num_res_blocks": 1,
    "num_head_channels": 16,
}
FLAGS |= {"attention_resolutions": "4,2,1", "resblock_updown": True, "learn_sigma": True, "in_channels": 1}


def gray_ddpm() -> PixelDDPM:
    torch.manual_seed(0)
    model = PixelDDPM(UNet(GRAY)).eval().requires_grad_(False)
    for weight in model.parameters():
        weight.copy_(torch.randn_like(weight) * 0.05)
    return model


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a picture of 16 bits, and a folder with a gray network and the file that names it."""
    monkeypatch.chdir(tmp_path)
    Path("lab").mkdir()
    save_ddpm(gray_ddpm(), "lab/unet.safetensors", torch.float32)
    write("lab/models.json")
    Image.fromarray((np.arange(64 * 64).reshape(64, 64) % 4096).astype(np.uint16)).save("ct.png")
    return tmp_path


def write(path: str | Path, **changes: object) -> Path:
    values = {"ddpm": "unet.safetensors", "vit": "pocket", "clip": ["pocket"]} | changes
    Path(path).write_text(
        json.dumps({key: value for key, value in values.items() if value is not None}), "utf-8"
    )
    return Path(path)


def run(*arguments: object):
    return CliRunner().invoke(app, ["translate", *map(str, arguments)])


SHORT = ("--to", "winter", "--steps", 4, "--skip", 2, "--resample", 1)


def test_a_gray_network_of_ones_own_translates_and_is_found_again(lab: Path):
    result = run("ct.png", *SHORT, "--models", "lab", "-o", "out.png")
    assert result.exit_code == 0, result.output
    made = Image.open("out.png")
    assert made.mode == "I;16" and made.size == (32, 32)
    recipe = Recipe.from_text(read_text(Path("out.png")) or "", "out.png")
    assert recipe.models == "lab/models.json" and recipe.own is not None
    assert set(recipe.weights) == {"ddpm", "vit", "clip"}

    refused = run("ct.png", "--again", "out.png")
    assert refused.exit_code == 2
    assert (
        "was made with own networks, 'lab/models.json': say with --models where that file is"
        in refused.stderr
    )
    again = run("ct.png", "--again", "out.png", "--models", "lab/models.json", "-o", "again.png")
    assert again.exit_code == 0, again.output
    assert "differ" not in again.stderr
    assert np.array_equal(np.array(Image.open("again.png")), np.array(made))

    write("lab/models.json", ddpm_flags=FLAGS | {"noise_schedule": "cosine"})
    again = run("ct.png", "--again", "out.png", "--models", "lab", "-o", "other.png")
    assert "the pixels may differ from out.png: another configuration of lab/models.json" in again.stderr


def test_a_gray_network_takes_the_mean_and_gives_equal_channels():
    model = gray_ddpm()
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    x = model.encode(image)
    assert x.shape == (2, 1, 32, 32) and torch.allclose(x, image.mean(1, keepdim=True))
    shown = model.show(x.requires_grad_())
    assert shown.shape == image.shape and (shown[:, 0] == shown[:, 2]).all()
    shown.sum().backward()
    assert (x.grad == 3).all()
    assert model.predict(x, model.schedule(10), 5).mean.shape == x.shape


def test_flags_are_those_of_guided_diffusion(lab: Path):
    known = {entry.name: entry.default for entry in fields(Flags)}
    assert known == model_and_diffusion_defaults() | {"in_channels": 3}
    torch.save(gray_ddpm().unet.state_dict(), "lab/plain.pt")
    file = write("lab/models.json", ddpm="plain.pt", ddpm_flags=FLAGS)
    ddpm = load_own(file).ddpm
    assert isinstance(ddpm, PixelDDPM)
    assert replace(ddpm.unet.config, num_heads=GRAY.num_heads) == GRAY
    assert ddpm.diffusion == DiffusionConfig(rescale_timesteps=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unet": "unet.safetensors"}, "has fields that this version does not know: unet"),
        ({"vit": None}, "lacks vit"),
        ({"clip": []}, "clip is empty"),
        ({"ddpm": "gone.pt"}, "there is no checkpoint file at"),
        ({"ddpm": 7}, "ddpm cannot be 7"),
        ({"ddpm": "dino-b8"}, "dino-b8 is no ddpm, but a vit"),
        ({"vit": "unet.safetensors"}, "here a vision transformer (DINO, timm) checkpoint is needed"),
        ({"ddpm_flags": {"image_size": 32}}, "no default channel_mult for images of 32 pixels"),
        ({"ddpm_flags": FLAGS | {"attention_resolutions": "0"}}, "must be numbers with commas"),
        ({"ddpm_flags": FLAGS | {"num_chanels": 32}}, "does not know: num_chanels"),
        ({"ddpm_flags": FLAGS | {"num_channels": 64}}, "does not fit its configuration"),
        ({"ddpm_flags": FLAGS | {"num_channels": 10**9}}, "num_channels is 1000000000"),
    ],
)
def test_files_that_cannot_work_are_refused_in_one_line(lab: Path, changes: dict, message: str):
    file = write("lab/models.json", **changes)
    with pytest.raises(DiffuseITError) as caught:
        load_own(file)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert "models.json" in str(caught.value)


def test_mistakes_on_the_command_line(lab: Path):
    assert "or a JSON file of your own networks" in run("ct.png", *SHORT, "--models", "gone.json").stderr
    result = run("ct.png", *SHORT, "--models", "lab", "--cfg", 2)
    assert result.exit_code == 2 and "--cfg is for a diffusers checkpoint" in result.stderr
    Path("lab/models.json").write_text("{", "utf-8")
    result = run("ct.png", *SHORT, "--models", "lab")
    assert result.exit_code == 2 and "is not valid JSON" in result.stderr
