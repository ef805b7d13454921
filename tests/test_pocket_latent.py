"""The latent pocket world: its autoencoder, its flow model, and its benchmark."""

import json

import pytest
import torch

from diffuseit.errors import InputError, ModelError
from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.methods import DiffuseITDDIM
from diffuseit.models.flux import load_flux
from diffuseit.models.taesd import load_taesd
from diffuseit.pocket.benchmark.latent import Row, rows_named, run_latent, translate
from diffuseit.pocket.benchmark.metrics import ssim
from diffuseit.pocket.benchmark.tasks import build_tasks, draw_specs
from diffuseit.pocket.latent import flow_sigmas, pocket_latent
from diffuseit.pocket.models import WEIGHTS, pocket_judge
from diffuseit.pocket.world.seeds import TUNING


@pytest.fixture(scope="module")
def latent():
    return pocket_latent()


@pytest.fixture(scope="module")
def tasks():
    return build_tasks(draw_specs(range(6), TUNING))


def test_the_autoencoder_keeps_what_a_scene_shows(latent, tasks):
    coder = latent.autoencoder
    latents = coder.encode(tasks.truth)
    assert latents.shape == (6, 16, 8, 8)
    assert 0.7 < float(latents.std()) < 1.3
    assert ssim(coder.decode(latents), tasks.truth).min() > 0.95


def test_a_text_draws_its_style_from_noise(latent, tasks):
    backbone = latent.backbone(flow_sigmas(0.999, 12), tasks.to, cfg=2.0)
    settings = SamplerSettings(steps=12, skip=0, resample=1, method=DiffuseITDDIM())
    *_, last = sample(backbone, torch.zeros_like(tasks.source), [], settings, allow_unguided=True)
    assert (pocket_judge().classify(last.pred_xstart).argmax(1) == tasks.classes).sum() >= 5


def test_losses_and_text_keep_more_of_the_scene_than_text_alone(latent, tasks):
    alone, both = (
        translate(row, tasks[:2], latent, 0)
        for row in (
            Row("text", strength=0.75, cfg=2.0, resample=1),
            Row("both", strength=0.75, cfg=2.0, preset="latent-text", resample=4),
        )
    )
    assert ssim(both, tasks.truth[:2]).mean() > ssim(alone, tasks.truth[:2]).mean() + 0.1


def test_a_benchmark_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    rows = rows_named("round-trip,sdedit-0.4")
    first = run_latent(2, tmp_path, rows=rows, seeds=TUNING)
    assert [row["name"] for row in first["rows"]] == ["round-trip", "sdedit-0.4"]
    assert first["rows"][0]["ssim"] > 0.95 and first["rows"][0]["shift_px"] < 0.2
    monkeypatch.setattr(
        "diffuseit.pocket.benchmark.latent.translate", lambda *_: pytest.fail("measured again")
    )
    again = run_latent(2, tmp_path, rows=rows, seeds=TUNING)
    assert json.dumps(again) == json.dumps(first)
    assert json.loads((tmp_path / "latent.json").read_text())["n"] == 2
    assert (tmp_path / "latent.png").exists() and "| sdedit-0.4 |" in (tmp_path / "latent.md").read_text()


def test_an_unknown_row_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match=r"no row is called nothing: there are sdedit-0\.3"):
        rows_named("round-trip, nothing")


@pytest.mark.parametrize(("load", "name"), [(load_taesd, "flux"), (load_flux, "taesd"), (load_flux, "clip")])
def test_a_file_of_another_network_is_refused(load, name):
    with pytest.raises(ModelError, match="is no"):
        load(WEIGHTS / f"{name}.safetensors")
