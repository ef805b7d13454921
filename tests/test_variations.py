"""Several seeds of one picture, ranked by their losses."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from diffuseit import translate, vary
from diffuseit.cli import app
from diffuseit.errors import InputError
from diffuseit.guidance.ranking import labels, ranked, score
from diffuseit.images.io import read_text, save_picture, to_pil, to_tensor
from diffuseit.images.sheet import labeled_grid
from diffuseit.losses import AnchorLoss, SemanticDivergenceLoss, StructureLoss, TextStyleLoss, bind

GAP = 6  # pixels between the images of a grid
QUICK = {"steps": 4, "skip": 1, "resample": 1}


def test_the_best_comes_first_and_is_what_its_seed_makes(models, scene):
    found = vary(scene, 3, to="winter landscape", models=models, seed=5, **QUICK)
    assert sorted(found.seeds) == [5, 6, 7]
    assert found.scores.tolist() == sorted(found.scores.tolist())
    best = translate(scene, to="winter landscape", models=models, seed=found.seeds[0], **QUICK)
    assert (found.pictures[:1] - best.pictures).abs().max() < 1e-2


def test_scores_tell_how_well_the_losses_are_met(models, scene):
    noisy = scene + 0.5 * torch.randn(scene.shape, generator=torch.Generator().manual_seed(0))
    pictures = torch.cat([noisy, scene, noisy, scene])
    losses = bind(
        [
            StructureLoss(self_similarity=1.0, contrastive=0.1),
            TextStyleLoss(to="summer landscape", weight=1.0, crops=2),
            SemanticDivergenceLoss(weight=1.0, until=0.99),
            AnchorLoss(weight=0.1),
        ],
        vit=models.vit,
        clip=models.clip,
    )
    scores = score(pictures, scene, losses, models.ddpm)
    assert scores[1] < scores[0]
    torch.testing.assert_close(scores[:2], scores[2:])  # the crops are the same for all
    without = score(pictures, scene, [*losses[:2], losses[3]], models.ddpm)
    torch.testing.assert_close(scores, without)  # the divergence is over at the end of a run
    assert ranked(pictures, scores, 10).seeds in ((11, 13, 10, 12), (13, 11, 10, 12), (11, 13, 12, 10))


def test_a_grid_has_each_picture_above_its_label():
    pictures = torch.stack([torch.full((3, 4, 6), value) for value in (-1.0, -0.5, 0.0, 0.25, 0.5)])
    sheet = to_tensor(labeled_grid(pictures, ["one", "two\nlines", "3", "4", "5"]))
    width = (sheet.shape[-1] - 2 * GAP) // 3
    height = width * 4 // 6
    assert width >= 192 and width % 6 == 0
    row = sheet.shape[-2] // 2
    for number, picture in enumerate(pictures):
        left, top = number % 3 * (width + GAP), number // 3 * row
        tile = sheet[0, :, top : top + height, left : left + width]
        assert (tile - picture[:, :1, :1]).abs().max() < 0.01
        foot = sheet[0, :, top + height : top + row, left : left + width]
        assert foot.min() == -1 and foot[:, -1].min() == 1  # black letters with white below
    assert (sheet[0, :, row:, 2 * (width + GAP) :] == 1).all()  # empty
    alone = to_tensor(labeled_grid(torch.zeros(1, 3, 300, 500), ["seed 18446744073709551615"]))
    assert alone.shape[-1] == 500 and alone[..., :300, :].std() < 0.01


def test_the_seed_after_the_largest_is_0():
    found = ranked(torch.zeros(3, 3, 2, 2), torch.tensor([0.5, 0.25, 1.0]), 2**64 - 1)
    assert found.seeds == (0, 2**64 - 1, 1)
    assert labels(found)[0] == "seed 0\nscore 0.25"


def test_what_cannot_vary_is_refused(models, scene):
    for count, source in ((0, scene), (2, torch.cat([scene, scene]))):
        with pytest.raises(InputError, match="variations"):
            vary(source, count, to="winter", models=models)


def run(*arguments):
    return CliRunner().invoke(app, ["translate", *map(str, arguments)])


def test_the_command_saves_them_by_rank(tmp_path: Path, scene, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_picture(to_pil(scene), "scene.png")
    quick = ["--to", "winter landscape", "--steps", 2, "--skip", 1, "--resample", 1, "--seed", 3]
    result = run("scene.png", "-o", "out.png", "--variations", 2, *quick)
    assert result.exit_code == 0, result.output
    seeds = [json.loads(read_text(Path(name)))["seed"] for name in ("out.png", "out-2.png")]
    assert sorted(seeds) == [3, 4]
    width, height = Image.open("out-grid.png").size
    assert width == 2 * 192 + GAP and height > 192
    again = run("scene.png", "-o", "out.png", "--variations", 2, *quick)
    assert again.exit_code == 2 and "out-2.png" in again.output
    (tmp_path / "folder").mkdir()
    assert "one image" in run("folder", "--variations", 2, *quick).output
