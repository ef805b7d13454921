"""Background, perception and distances of sets, against second implementations and closed forms."""

from functools import partial

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from skimage.metrics import peak_signal_noise_ratio
from skimage.metrics import structural_similarity as scikit_ssim

from diffuseit.errors import InputError, ModelError
from diffuseit.evaluation import optional as optional_packages
from diffuseit.evaluation.classes import class_accuracy, load_deit
from diffuseit.evaluation.edges import luminance
from diffuseit.evaluation.inception import load_inception
from diffuseit.evaluation.perception import load_lpips
from diffuseit.evaluation.pixels import BEST_PSNR, background_psnr, background_ssim, ssim
from diffuseit.evaluation.sets import csfid, frechet_distance, sfid, sfid_with_diagonal
from diffuseit.evaluation.witnesses import CLASSIFIER, CLIPS, PERCEPTION, standard_witnesses
from diffuseit.models.hub.catalog import catalog, entry_named
from diffuseit.models.load import load_entry
from diffuseit.models.vit import IMAGENET_MEAN, IMAGENET_STD

LPIPS_PACKAGE = "lpips"
FIDELITY = "torch_fidelity"


def pictures(count, side=64, seed=0):
    """Smooth random pictures."""
    coarse = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(-1, 1)


def mask_of(top, bottom, left, right, side=64):
    mask = torch.zeros(1, 1, side, side)
    mask[..., top:bottom, left:right] = 1
    return mask


# --- background


def test_background_psnr_is_scikit_images_over_the_pixels_outside():
    source, result = pictures(3), pictures(3)
    result = (result + 0.1 * torch.randn(result.shape)).clamp(-1, 1)
    mask = mask_of(10, 30, 20, 64)
    ours = background_psnr(result, source, mask)
    outside = (mask[0, 0] == 0).numpy()
    for number in range(3):
        one, two = (each[number].double().add(1).div(2).numpy()[:, outside] for each in (source, result))
        assert ours[number].item() == pytest.approx(peak_signal_noise_ratio(one, two, data_range=1), abs=1e-6)


def test_background_ssim_takes_the_windows_outside_alone():
    source, result = pictures(1), pictures(1, seed=1)
    mask = mask_of(0, 64, 0, 30)
    # The windows outside a mask that covers the left are those of the picture's right part.
    expected = ssim(result[..., 30:], source[..., 30:])
    assert background_ssim(result, source, mask).item() == pytest.approx(expected.item(), abs=1e-9)
    whole = scikit_ssim(
        luminance(source).double()[0, 0].numpy(), luminance(result).double()[0, 0].numpy(), data_range=1.0,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    assert background_ssim(result, source, torch.zeros(1, 1, 64, 64)).item() == pytest.approx(whole, abs=1e-6)


def test_a_background_that_survived_is_perfect_whatever_is_inside():
    source = pictures(2)
    mask = mask_of(16, 40, 16, 40)
    result = torch.where(mask > 0, -source, source)
    assert background_psnr(result, source, mask).tolist() == [BEST_PSNR] * 2
    assert background_ssim(result, source, mask).tolist() == pytest.approx([1, 1])


def test_a_mask_that_covers_everything_leaves_no_figure():
    source = pictures(1)
    everything = torch.ones(1, 1, 64, 64)
    assert background_psnr(source, source, everything).isnan().all()
    assert background_ssim(source, source, everything).isnan().all()


# --- sets


def test_sfid_is_flexits():
    features = torch.randn(50, 16, dtype=torch.float64)
    reference = torch.randn(70, 16, dtype=torch.float64) + 0.5
    by_hand = sum((features[:, d].mean() - reference[:, d].mean()) ** 2 for d in range(16)).item()
    assert sfid(features, reference) == pytest.approx(by_hand)
    assert sfid(features, features) == 0
    assert sfid(features, features + 1) == pytest.approx(16)


def test_the_diagonal_term_is_the_frechet_distance_of_independent_numbers():
    """For diagonal covariances the Frechet distance has a closed form."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.tensor(np.array(np.meshgrid(*[[-1.0, 1.0]] * 4)).reshape(4, -1).T)  # uncorrelated
    scale = 1 + torch.rand(2, 4, generator=generator, dtype=torch.float64)
    shift = torch.randn(4, generator=generator, dtype=torch.float64)
    one, two = signs * scale[0], signs * scale[1] + shift
    assert sfid_with_diagonal(one, two) == pytest.approx(frechet_distance(one, two))
    assert sfid_with_diagonal(one, two) > sfid(one, two) > 0


def test_csfid_is_the_mean_over_the_classes_of_the_results():
    features = torch.randn(12, 8, dtype=torch.float64)
    reference = torch.randn(30, 8, dtype=torch.float64)
    classes, reference_classes = [0, 0, 0, 1, 1, 1, 1, 1, 5, 5, 5, 5], [0] * 10 + [1] * 10 + [5] * 5 + [7] * 5
    expected = np.mean(
        [
            sfid(features[:3], reference[:10]),
            sfid(features[3:8], reference[10:20]),
            sfid(features[8:], reference[20:25]),
        ]
    )
    assert csfid(features, classes, reference, reference_classes) == pytest.approx(expected)
    with pytest.raises(InputError, match="class 5"):
        csfid(features, classes, reference[:20], reference_classes[:20])


@pytest.mark.parametrize("distance", [frechet_distance, sfid_with_diagonal])
def test_a_single_picture_is_no_set(distance):
    with pytest.raises(InputError, match="needs 2 pictures"):
        distance(torch.randn(1, 4), torch.randn(9, 4))


def test_class_accuracy_lets_the_given_classes_compete_alone():
    logits = torch.tensor([[9.0, 1.0, 2.0], [0.0, 3.0, 2.0], [9.0, 1.0, 0.0]])
    assert class_accuracy(logits, [0, 1, 1]).tolist() == [True, True, False]
    assert class_accuracy(logits, [2, 1, 1], among=[1, 2]).tolist() == [True, True, True]
    with pytest.raises(InputError, match="compete"):
        class_accuracy(logits, [0, 1, 1], among=[1, 2])


# --- perception


def torchvision_file(folder, trunk):
    """A file of torchvision's classifier with random weights."""
    import torchvision

    build = {"alex": "alexnet", "squeeze": "squeezenet1_1", "vgg": "vgg16"}[trunk]
    torch.manual_seed(0)
    model = getattr(torchvision.models, build)(weights=None)
    path = folder / f"{trunk}.pth"
    # Without the widest layers, which LPIPS does not look at.
    torch.save({k: v for k, v in model.state_dict().items() if k.startswith("features.")}, path)
    return path


def lpips_by_hand(package, trunk, path, one, two):
    """Zhang et al., eq. 1, from torchvision's layers and the package's linear ones."""
    import torchvision

    build, taps = {
        "alex": ("alexnet", (1, 4, 7, 9, 11)),
        "squeeze": ("squeezenet1_1", (1, 4, 7, 9, 10, 11, 12)),
    }[trunk]
    layers = getattr(torchvision.models, build)(weights=None).features
    layers.load_state_dict({k.removeprefix("features."): v for k, v in torch.load(path).items()})
    linear = package.LPIPS(net=trunk, pnet_rand=True, verbose=False).state_dict()
    mean, std = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def features(picture):
        found, x = [], (picture - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
        for number, layer in enumerate(layers.eval()):
            x = layer(x)
            if number in taps:
                found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    with torch.no_grad():
        return sum(
            ((a - b).square() * linear[f"lin{number}.model.1.weight"]).sum(1).mean((1, 2))
            for number, (a, b) in enumerate(zip(features(one), features(two), strict=True))
        )


@pytest.mark.parametrize("trunk", ["alex", "squeeze"])
@pytest.mark.filterwarnings("ignore")
def test_lpips_is_the_papers(tmp_path, trunk):
    package = pytest.importorskip(LPIPS_PACKAGE)
    path = torchvision_file(tmp_path, trunk)
    network = load_lpips(trunk, path)
    one, two = pictures(2, 96), pictures(2, 96, seed=3)
    torch.testing.assert_close(network(one, two), lpips_by_hand(package, trunk, path, one, two))
    assert network(one, one).tolist() == [0, 0]
    assert network(one[..., :48, :48], two[..., :48, :48]).isfinite().all()


def test_lpips_refuses_another_network(tmp_path):
    pytest.importorskip(LPIPS_PACKAGE)
    path = torchvision_file(tmp_path, "squeeze")
    with pytest.raises(ModelError, match="is not torchvision's alex"):
        load_lpips("alex", path)


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """The network with random weights, and the package's own reading of the same file."""
    package = pytest.importorskip(f"{FIDELITY}.feature_extractor_inceptionv3")

    class Blank(package.FeatureExtractorInceptionV3):
        def load_state_dict(self, *_):
            """Keeps the random weights."""

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({}, path)
    torch.save(Blank("blank", ["2048"], str(path)).state_dict(), path)
    return load_inception(path), package.FeatureExtractorInceptionV3("reference", ["2048"], str(path))


def test_fids_features_are_torch_fidelitys(inception):
    ours, theirs = inception
    levels = torch.randint(0, 256, (2, 3, 80, 100), dtype=torch.uint8)
    torch.testing.assert_close(ours(levels / 127.5 - 1), theirs(levels)[0])


def test_flexits_features_come_through_torchs_resizing(inception):
    """Of 299 pixels both ways see the same, but for 1/256 of the range."""
    ours, theirs = inception
    levels = torch.randint(0, 256, (1, 3, 299, 299), dtype=torch.uint8)
    seen = (levels.float() - 128) / 128
    torch.testing.assert_close(ours.flexit_features(seen), theirs(levels)[0])
    # pytorch-fid's: bilinear, half-pixel centers, then twice and less one.
    small = torch.rand(1, 3, 50, 60)
    large = F.interpolate(small, (299, 299), mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours.flexit_features(2 * small - 1), ours.flexit_features(2 * large - 1))


def test_another_network_is_no_inception(tmp_path, inception):
    path = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    with pytest.raises(ModelError, match="is not the Inception network"):
        load_inception(path)


@pytest.mark.parametrize("package", [LPIPS_PACKAGE, "torch-fidelity"])
def test_a_missing_package_is_one_line_with_the_command(monkeypatch, tmp_path, package):
    def nothing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(optional_packages, "import_module", nothing)
    load = partial(load_lpips, "alex") if package == LPIPS_PACKAGE else load_inception
    command = r"run `pip install 'diffuseit\[evaluation\]'`"
    with pytest.raises(ModelError, match=f"needs the package {package}: {command}"):
        load(tmp_path / "weights.pth")


# --- the catalog


def test_the_catalogs_addresses_are_those_of_the_libraries():
    """And the digits of the checksums are those in the names that the publishers gave their files."""
    from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights, VGG16_Weights

    inception = pytest.importorskip(f"{FIDELITY}.feature_extractor_inceptionv3")
    addresses = {
        "lpips-alex": AlexNet_Weights.IMAGENET1K_V1.url,
        "lpips-squeeze": SqueezeNet1_1_Weights.IMAGENET1K_V1.url,
        "lpips-vgg": VGG16_Weights.IMAGENET1K_V1.url,
        "fid-inception": inception.URL_INCEPTION_V3,
    }
    for name, address in addresses.items():
        entry = entry_named(name)
        assert entry.url == address
        assert entry.file == address.rpartition("/")[2] and entry.file.endswith(f"-{entry.sha256}.pth")
    deit = timm.get_pretrained_cfg("deit_base_distilled_patch16_384")
    assert entry_named(CLASSIFIER).hub.repo == deit.hf_hub_id
    assert {name for name, entry in catalog().items() if entry.kind == "measure"} == {*addresses, CLASSIFIER}


def test_networks_that_measure_guide_nothing(tmp_path):
    with pytest.raises(InputError, match="only measures results"):
        load_entry(entry_named("lpips-alex"), tmp_path / "weights.pth")


@pytest.mark.slow
def test_deit_is_timms_with_the_mean_of_its_heads(tmp_path):
    with torch.device("meta"):
        shapes = timm.create_model("deit_base_distilled_patch16_384").state_dict()
    assert sum(value.numel() for value in shapes.values()) == entry_named(CLASSIFIER).parameters
    torch.manual_seed(0)
    model = timm.create_model("deit_base_distilled_patch16_384").eval()
    for head in (model.head, model.head_dist):
        torch.nn.init.normal_(head.weight)
    save_file(model.state_dict(), tmp_path / "deit.safetensors")
    classifier = load_deit(tmp_path / "deit.safetensors")
    picture = pictures(1, 384)
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        expected = model((picture / 2 + 0.5 - mean) / std)
    torch.testing.assert_close(classifier(picture), expected)
    assert classifier.index("Goldfish") == classifier.index("1") == 1
    with pytest.raises(InputError, match="several classes"):
        classifier.index("sunglasses")


def test_standard_networks_are_those_that_are_here(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / entry_named("dino-b8").file)
    found = standard_witnesses(tmp_path, sets=False, classes=False)
    assert found.vit is None and "dino" in found.broken[0]
    assert {entry.name for entry in found.missing} == {*CLIPS, *PERCEPTION}
    assert "`diffuseit models download clip-l14" in found.how_to_get_more()
