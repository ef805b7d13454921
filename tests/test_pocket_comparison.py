"""The comparison of methods, on two pictures and a few steps."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from diffuseit.errors import InputError
from diffuseit.guidance.loop import sample
from diffuseit.guidance.settings import SamplerSettings
from diffuseit.losses import RangeLoss, StructureLoss, TextStyleLoss, bind
from diffuseit.methods import METHODS, DiffuseIT
from diffuseit.pocket.benchmark import comparison
from diffuseit.pocket.benchmark import run as benchmark
from diffuseit.pocket.benchmark.compute import costs, counted, multiply_adds
from diffuseit.pocket.benchmark.contenders import STEPS, contenders, reference
from diffuseit.pocket.world.seeds import TUNING
from diffuseit.presets import PRESETS


def quick(name="text-dsg-10", **knobs):
    (one,) = contenders(rows=name)
    method = replace(one.preset.sampler.method, **knobs)
    settings = replace(one.preset.sampler, steps=3, skip=1, resample=1, method=method)
    return replace(one, preset=replace(one.preset, sampler=settings))


def test_there_is_a_row_for_every_method_and_length():
    names = {one.name for one in contenders()}
    assert {f"{kind}-{m}-{s}" for kind in ("text", "image") for m in METHODS for s in STEPS} <= names
    for kind, sampler in (("text", PRESETS["official-text"]), ("image", PRESETS["official-image"])):
        own, paper = reference(kind).preset.sampler, sampler.sampler
        assert (own.steps, own.skip, own.resample) == (paper.steps, paper.skip, paper.resample)
    variants = {one.name for one in contenders("variants")}
    assert {"text-adaptive-70", "image-fixed-10", "text-crops1-20", "image-detail0.5-20"} <= variants
    assert "best-text" in names and not variants & names
    assert [one.name for one in contenders("dsg,mpgd", ("image",), "*-10")] == [
        "image-dsg-10",
        "image-mpgd-10",
    ]
    with pytest.raises(InputError, match="nonsense"):
        contenders("nonsense")
    with pytest.raises(InputError, match="text-nothing"):
        contenders(rows="text-nothing")


def test_passes_are_counted_there_and_back(models):
    losses = bind(
        [TextStyleLoss(to="winter", crops=3), StructureLoss(), RangeLoss()], vit=models.vit, clip=models.clip
    )
    method = DiffuseIT(step_rule="normalized")
    settings = SamplerSettings(steps=5, skip=1, resample=1, method=method, guide_until=0.5)
    source = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with counted(models) as passes:
        list(sample(models.ddpm, source, losses, settings, 0))
    assert passes.forward == {"unet": 2 * 4, "vit": 2 * (2 + 1), "clip": 2 * (2 * 3 + 1)}
    assert passes.backward == {"unet": 2 * 2, "vit": 2 * 2, "clip": 2 * 2 * 3}
    before = dict(passes.forward)
    models.vit(source)
    assert passes.forward == before  # nothing is watched any more


def test_multiply_adds_are_those_of_the_layers(models):
    found = costs(models)
    weights = sum(
        p.numel() for p in models.clip.models[0].model.visual.transformer.parameters() if p.ndim == 2
    )
    tokens = models.clip.models[0].model.visual.positional_embedding.shape[0]
    assert 0.9 * weights * tokens < found["clip"].forward < 1.5 * weights * tokens
    with counted(models) as passes, torch.no_grad():
        models.vit(torch.zeros(3, 3, 64, 64))
    assert multiply_adds(passes, found) == 3 * found["vit"].forward
    for cost in found.values():
        assert cost.forward < cost.backward < 1.5 * cost.forward


@pytest.mark.slow
def test_a_comparison_goes_on_where_it_stopped(tmp_path, models, monkeypatch):
    monkeypatch.setattr(comparison, "reference", lambda kind: quick(f"{kind}-diffuseit-official"))
    monkeypatch.setattr(benchmark, "_REFERENCE_RENDERS", 4)
    rows = [quick(), quick("image-mpgd-20")]
    options = {"seeds": TUNING, "models": models}
    first = comparison.run_comparison(2, tmp_path, chosen=rows[:1], **options)
    kept = json.loads((tmp_path / "rows" / "text-dsg-10.json").read_text())
    assert kept["passes"]["unet"] == [2, 2] and kept["frechet"] > 0

    measured = []
    really = comparison._measured
    monkeypatch.setattr(
        comparison, "_measured", lambda one, *rest: (measured.append(one.name), really(one, *rest))[1]
    )
    report = comparison.run_comparison(2, tmp_path, chosen=rows, **options)
    assert measured == ["image-mpgd-20"]
    assert json.dumps(report["rows"][0] | {"relative_compute": 1.0}) == json.dumps(first["rows"][0])
    assert report["rows"][1]["relative_compute"] < report["rows"][0]["relative_compute"]
    assert (tmp_path / "methods.md").read_text().count("| text | dsg | 10 |") == 1
    for name in ("pareto-text", "sheet-text-10", "sheet-image-20"):
        assert Image.open(tmp_path / f"{name}.png").width > 300

    measured.clear()
    comparison.run_comparison(2, tmp_path, chosen=[quick(step_size=0.1)], **options)
    assert measured == ["text-dsg-10"]  # other settings: measured anew


@pytest.mark.slow
def test_a_damaged_row_is_one_sentence_before_anything_is_measured(tmp_path, models, monkeypatch):
    monkeypatch.setattr(comparison, "reference", lambda kind: quick(f"{kind}-diffuseit-official"))
    monkeypatch.setattr(benchmark, "_REFERENCE_RENDERS", 4)
    rows = [quick("text-mpgd-10"), quick()]
    options = {"seeds": TUNING, "models": models, "chosen": rows}
    comparison.run_comparison(2, tmp_path, **options)
    record, strip = (tmp_path / "rows" / f"text-dsg-10.{kind}" for kind in ("json", "png"))
    whole, picture = record.read_text(), strip.read_bytes()
    monkeypatch.setattr(comparison, "_measured", lambda *_: pytest.fail("a row was measured"))
    values = json.loads(whole)
    for damage in (
        whole[:-40],
        "",
        "[]",
        "[" * 100_000,
        json.dumps(values | {"ssim": "high"}),
        json.dumps({name: value for name, value in values.items() if name != "passes"}),
    ):
        record.write_text(damage)
        with pytest.raises(InputError, match=r"text-dsg-10\.json or .* is damaged: delete it"):
            comparison.run_comparison(2, tmp_path, **options)
    record.write_text(whole)
    for damage in (picture[:100], b"", b"text"):
        strip.write_bytes(damage)
        with pytest.raises(InputError, match=r"or text-dsg-10\.png is damaged: delete it"):
            comparison.run_comparison(2, tmp_path, **options)
    strip.write_bytes(picture)
    comparison.run_comparison(2, tmp_path, **options)
