"""The figures of the published protocols against second implementations: torchvision, scikit-image, numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from protocol_data import LANDSCAPES, save, scenes, write_classes, write_flexit, write_pie
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn
from torchvision import transforms

from diffuseit.evaluation.classes import Classifier
from diffuseit.evaluation.protocols.flexit import STATISTICS, load_flexit
from diffuseit.evaluation.protocols.folders import load_folders
from diffuseit.evaluation.protocols.pictures import fitted
from diffuseit.evaluation.protocols.pie import SIDE, decode_mask, load_pie
from diffuseit.evaluation.protocols.run import by_group, score, summary
from diffuseit.evaluation.structure import structure_distance
from diffuseit.pocket.judge import CLASSES
from diffuseit.pocket.witnesses import pocket_witnesses


class Difference(nn.Module):
    """In the place of LPIPS: 0 for equal pictures, and quick."""

    def forward(self, results, sources):
        return (results - sources).square().mean((1, 2, 3))


class Blocks(nn.Module):
    """In the place of a classifier: its features are the mean colors of blocks."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weights", torch.randn(48, len(CLASSES), generator=generator))

    def features(self, pictures):
        return nn.functional.adaptive_avg_pool2d(pictures, 4).flatten(1)

    def forward(self, pictures):
        return self.features(pictures) @ self.weights


@pytest.fixture(scope="module")
def witnesses():
    blocks = Blocks()
    return replace(
        pocket_witnesses(),
        lpips={"alex": Difference(), "squeeze": Difference()},
        sfid=blocks.features,
        classifier=Classifier(blocks, [style for _, style in CLASSES]),
    )


@pytest.fixture(scope="module")
def flexit(tmp_path_factory, witnesses):
    folder = tmp_path_factory.mktemp("flexit")
    return load_flexit(*write_flexit(folder, witnesses.sfid), witnesses)


@pytest.fixture(scope="module")
def pie(tmp_path_factory, witnesses):
    return load_pie(write_pie(tmp_path_factory.mktemp("pie")), witnesses)


def run(benchmark, tmp_path, row="copy", pictures=None):
    pictures = pictures or benchmark.references[row]
    scored = score(benchmark, row, lambda item: pictures[item.name], tmp_path / "rows")
    assert scored.complete, scored.failures
    return scored, summary(benchmark, scored)


@pytest.mark.parametrize("size", [(300, 200), (200, 301), (256, 256), (257, 640), (40, 31)])
@pytest.mark.parametrize("side", [256, 384])
def test_pictures_are_resized_as_torchvision_does(size, side):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    expected = transforms.Compose([transforms.Resize(side), transforms.CenterCrop(side)])(image)
    assert np.array_equal(np.asarray(fitted(image, side)), np.asarray(expected))


# --- FlexIT


def test_a_copy_of_the_source_has_no_distance(tmp_path, flexit):
    _, found = run(flexit, tmp_path)
    assert found["lpips"] == found["l1"] == 0
    assert found["csfid"] > 0


def test_flexits_figures_are_those_of_its_code(tmp_path, flexit, witnesses):
    """`eval.py`, from its description: torchvision's transforms, numpy's means."""
    benchmark = flexit
    _, found = run(benchmark, tmp_path, "retrieve")
    statistics = torch.load(benchmark.imagenet.parent / "flexit" / STATISTICS)

    def read(path, side):
        steps = [transforms.Resize(side), transforms.CenterCrop(side), transforms.ToTensor()]
        return transforms.Compose(steps)(Image.open(path).convert("RGB"))[None]

    paths = benchmark.references["retrieve"]
    results = {item.name: read(paths[item.name], 256) for item in benchmark.items}
    features = {name: witnesses.sfid(2 * picture - 1)[0].numpy() for name, picture in results.items()}
    mean = np.mean(list(features.values()), axis=0)
    assert found["sfid"] == pytest.approx(float(((mean - statistics["mean"].numpy()) ** 2).sum()), rel=1e-4)
    distances = []
    for target in {item.group for item in benchmark.items}:
        own = np.mean([features[item.name] for item in benchmark.items if item.group == target], axis=0)
        distances.append(((own - statistics["classwise"][target]["mean"].numpy()) ** 2).sum())
    assert found["csfid"] == pytest.approx(float(np.mean(distances)), rel=1e-4)
    judge = witnesses.classifier.network
    classes = sorted({item.group for item in benchmark.items})
    for key, shift, scale in (("accuracy", 0, 1), ("accuracy_normalized", -1, 2)):
        hits = [
            classes[int(judge(scale * read(paths[item.name], 384) + shift)[0, classes].argmax())]
            == item.group
            for item in benchmark.items
        ]
        assert found[key] == pytest.approx(100 * np.mean(hits))
    moved = [(results[item.name] - read(item.source, 256)).abs().mean().item() for item in benchmark.items]
    assert found["l1"] == pytest.approx(np.mean(moved), rel=1e-4)
    assert found["lpips"] > 0


def test_retrieved_pictures_are_different_ones_of_the_target_class(flexit):
    chosen = flexit.references["retrieve"]
    assert len(set(chosen.values())) == len(flexit.items) == 6
    for item in flexit.items:
        assert LANDSCAPES[int(chosen[item.name].parent.name[1:])] == item.to


# --- folders


def test_the_figures_of_folders_are_numpys(tmp_path, witnesses):
    benchmark = load_folders(write_classes(tmp_path / "classes"), witnesses, each=2)
    assert len(benchmark.items) == 3 * 2 * 2
    _scored, found = run(benchmark, tmp_path)

    def features(paths):
        read = [np.asarray(Image.open(path), dtype=np.float32) / 127.5 - 1 for path in paths]
        return np.stack(
            [witnesses.sfid(torch.tensor(each).permute(2, 0, 1)[None])[0].numpy() for each in read]
        )

    def distances(one, two):
        means = ((one.mean(0) - two.mean(0)) ** 2).sum()
        return means, means + ((one.std(0, ddof=1) - two.std(0, ddof=1)) ** 2).sum()

    reference = {each.name: features(each.reference) for each in benchmark.classes}
    results = {
        each.name: features([item.source for item in benchmark.items if item.group == number])
        for number, each in enumerate(benchmark.classes)
    }
    whole = distances(np.concatenate(list(results.values())), np.concatenate(list(reference.values())))
    assert (found["sfid"], found["sfid_with_diagonal"]) == pytest.approx(whole, rel=1e-4)
    classes = np.mean([distances(results[name], reference[name]) for name in reference], axis=0)
    assert (found["csfid"], found["csfid_with_diagonal"]) == pytest.approx(tuple(classes), rel=1e-4)
    assert found["structure"] == found["lpips.alex"] == 0
    _, other = run(benchmark, tmp_path, "retrieve")
    assert other["csfid"] < found["csfid"] and other["structure"] > 0


# --- PIE-Bench


def mask_by_hand(runs):
    mask = np.zeros(SIDE * SIDE)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        for place in range(start, min(start + length, SIDE * SIDE)):
            mask[place] = 1
    mask = mask.reshape(SIDE, SIDE)
    mask[[0, -1]] = 1
    mask[:, [0, -1]] = 1
    return mask


def test_masks_are_decoded_as_pie_benchs():
    runs = [5000, 700, 9000, 1, SIDE * SIDE - 3, 100]
    assert np.array_equal(decode_mask(runs).numpy(), mask_by_hand(runs))


def test_pie_benchs_figures_are_those_of_its_code(tmp_path, pie, witnesses):
    benchmark, results = pie, {}
    for number, item in enumerate(benchmark.items):
        results[item.name] = tmp_path / f"{number}.png"
        save(scenes(1, 1, number)[0], results[item.name], (SIDE, SIDE))
    scored, _ = run(benchmark, tmp_path, "other", results)
    item, everywhere = benchmark.items
    found = scored.entries[item.name].values
    one, two = (
        np.asarray(Image.open(path), dtype=np.float32) / 255 for path in (results[item.name], item.source)
    )
    inside = mask_by_hand(benchmark.masks[item.name])[..., None]
    outside = 1 - inside
    black = one * outside, two * outside
    assert found["psnr"] == pytest.approx(peak_signal_noise_ratio(*black, data_range=1), rel=1e-4)
    assert found["mse"] == pytest.approx(10_000 * ((black[0] - black[1]) ** 2).mean(), rel=1e-4)
    expected = structural_similarity(
        *black, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert found["ssim"] == pytest.approx(100 * expected, rel=1e-4)
    tensors = [torch.tensor(each).permute(2, 0, 1)[None] * 2 - 1 for each in black]
    assert found["lpips"] == pytest.approx(1000 * (tensors[0] - tensors[1]).square().mean().item(), rel=1e-4)
    # The ViT's preprocessing turns [-1, 1] into [0, 1]; it must see levels.
    levels = [torch.tensor(255 * each).permute(2, 0, 1)[None] * 2 - 1 for each in (one, two)]
    assert found["structure"] == pytest.approx(
        1000 * structure_distance(witnesses.vit, *levels).item(), rel=1e-3
    )
    (clip,) = witnesses.clips.values()
    for key, seen, words in (
        ("clip_whole", one, "a winter landscape"),
        ("clip_edited", one * inside, "a winter landscape"),
        ("clip_source", two, "a summer landscape"),
    ):
        small = Image.fromarray((255 * seen).round().astype(np.uint8)).resize(
            (64, 64), Image.Resampling.BICUBIC
        )
        picture = torch.tensor(np.asarray(small)).permute(2, 0, 1)[None] / 127.5 - 1
        image, text = (each[0].flatten() for each in (clip.encode_image(picture), clip.encode_text([words])))
        cosine = torch.nn.functional.cosine_similarity(image, text, dim=0).item()
        assert found[key] == pytest.approx(max(100 * cosine, 0), abs=1e-2)
    # Where everything may change there is no background.
    assert not {"psnr", "mse", "ssim", "lpips"} & scored.entries[everywhere.name].values.keys()
    assert set(by_group(benchmark, scored)) == {"random", "change style"}


def test_a_copy_keeps_pie_benchs_background(tmp_path, pie):
    _, found = run(pie, tmp_path)
    assert (found["psnr"], found["mse"], found["lpips"]) == (100, 0, 0)
    assert found["ssim"] == pytest.approx(100) and found["structure"] == pytest.approx(0, abs=1e-6)


def test_a_strip_of_pictures_ends_with_the_result(tmp_path, pie):
    item = pie.items[0]
    strip = Image.new("RGB", (3 * SIDE, SIDE))
    strip.paste(Image.open(item.source), (2 * SIDE, 0))
    strip.save(tmp_path / "strip.png")
    assert pie.measure(item, tmp_path / "strip.png").values["mse"] == 0
