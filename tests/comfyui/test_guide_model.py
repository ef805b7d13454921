"""Losses guide models of ComfyUI's real classes, inside ComfyUI's own sampling and by our sampler."""

import pytest
from comfyui.inside import call_inside
from comfyui.tiny_kinds import KINDS

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

REFUSED = {
    "stable_audio": "InputError: these are no latents of a picture",
    "ltxav": "InputError: these latents have sound beside the video",
}
BOTH = ["sd15", "chroma_radiance"]
"""Noise prediction in latents, and a rectified flow in pixels."""

ROUNDING = 2e-5  # of the largest value, over the steps of a run


@pytest.fixture(scope="module")
def facts(comfyui):
    """What guide_probe.py found out, by the names of its functions."""
    return call_inside(comfyui, "guide_probe", "everything")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_follows_the_losses_or_says_why_not(facts, kind):
    found = facts["every_kind"][kind]
    if "missing" in found:
        pytest.skip(found["missing"])
    if kind in REFUSED:
        assert found["error"].startswith(REFUSED[kind])
    else:
        assert "error" not in found, found["error"]
        assert found["guided"] < 0.998 * found["free"]


@pytest.mark.parametrize("kind", BOTH)
def test_every_sampler_follows_the_losses(facts, kind):
    found = facts["every_sampler"][kind]
    assert len(found) > 35
    assert {name: pair for name, pair in found.items() if not pair[1] < 0.95 * pair[0]} == {}


@pytest.mark.parametrize("kind", ["sd15", "flux_taesd", "chroma_radiance"])
class TestAgreement:
    """Several ways to the same latents."""

    @pytest.fixture
    def found(self, facts, kind):
        assert facts["agreement"][kind]["guided"] > 0.1  # else agreement would say nothing
        return facts["agreement"][kind]

    @pytest.mark.parametrize("way", ["own guider", "latent sampler", "KSampler", "again", "denoised output"])
    def test_guided(self, found, way):
        assert found[way] < ROUNDING

    def test_our_sampler_is_eulers_where_nothing_guides(self, found):
        assert found["unguided"] < 1e-5

    def test_nothing_of_a_run_stays_on_the_models(self, found):
        assert found["left"] == [["outer_sample"], [], [], "{'transformer_options': {}}"]


@pytest.mark.parametrize("kind", BOTH)
class TestUses:
    """What people's graphs do."""

    @pytest.fixture
    def found(self, facts, kind):
        return facts["uses"][kind]

    @pytest.mark.parametrize("how", ["no step", "never"])
    def test_without_guidance_the_model_is_what_it_was(self, found, how):
        assert found[how] == 0

    @pytest.mark.parametrize("how", ["anchor", "adaptive", "stays", "every other", "small view", "through"])
    def test_options_leave_the_losses_in_charge(self, found, how):
        assert found[how] < 0.95 * found["free"]
        assert how == "adaptive" or abs(found[how] - found["guided"]) > 1e-4

    def test_inner_steps_go_further(self, found, kind):
        further = abs(found["inner steps"] - found["guided"])
        assert further > 0.01
        assert kind != "sd15" or found["inner steps"] < found["guided"]

    def test_the_gradient_through_a_model_leaves_no_trace(self, found):
        assert found["training"] is False

    def test_two_sets_of_losses_guide_one_after_the_other(self, found):
        assert abs(found["twice"] - found["guided"]) > 0.01
        assert min(found["both"]) > 0.1

    @pytest.mark.parametrize("way", ["patch", "sampler"])
    def test_a_noise_mask_protects_latents(self, found, way):
        outside, inside = found[f"mask of the {way}"]
        assert outside < 1e-5
        assert inside > 1

    @pytest.mark.parametrize("guider", ["dual", "basic"])
    def test_other_guiders_follow_too(self, found, guider):
        free, guided = found[guider]
        assert guided < 0.95 * free


@pytest.mark.parametrize("kind", ["sd15", "flux", "chroma_radiance"])
def test_an_item_of_a_batch_equals_a_single_run(facts, kind):
    assert max(facts["batches"][kind]) < 1e-3


@pytest.mark.parametrize("kind", ["sd15", "flux"])
def test_loras_and_controlnets_go_on_working(facts, kind):
    found = facts["with_loras_and_controlnets"][kind]
    for what in ("lora", "controlnet"):
        free, guided, change = found[what]
        assert guided < 0.95 * free
        assert change > 0.01
    assert found["order"][0] < ROUNDING


@pytest.mark.parametrize("kind", BOTH)
def test_every_method_of_our_sampler_follows_the_losses(facts, kind):
    found = facts["methods"][kind]
    assert found.pop("training") is False
    free = found.pop("free")
    assert {name: far for name, far in found.items() if not far < 0.95 * free} == {}
    assert found["diffuseit prediction"] != found["diffuseit model"]


def test_an_interruption_ends_a_step_and_leaves_nothing(facts):
    found = facts["interruption"]
    assert found["interrupted"].startswith("InterruptProcessingException")
    assert found["decoded"] == 2
    assert found["left"] == [[], 0]
    assert found["afterward"] == 0


def test_out_of_memory_a_run_goes_on_with_less_and_then_says_so(facts):
    found = facts["interruption"]
    assert found["no memory once"] == ""
    assert found["with less"] < ROUNDING
    assert found["no memory always"].startswith("RuntimeError: DiffuseIT ran out of memory")


def test_a_vae_that_cannot_be_measured_works(facts):
    assert facts["interruption"]["unmeasurable"] < ROUNDING


def test_a_vae_that_overflows_runs_in_float32(facts):
    assert facts["interruption"]["overflow"] < 0.01


@pytest.mark.parametrize(
    ("what", "said"),
    {
        "VAE of another model": "this VAE is for another model: its latents have 16 channels, not 4",
        "no VAE": "vae is not connected",
        "frames": "these latents have 3 frames",
        "one sigma": "1 sigmas give no run",
        "rising sigmas": "they must fall",
        "sources": "3 images for 1 latents",
        "no losses": "there are no losses",
        "mask": "a loss's mask: the mask is 16x32 pixels and the image 64x64",
        "NaN": "image has values that are not finite",
        "sampler options": "options sets skip, steps, which ComfyUI's own sampling does not have",
        "part of a run": "the sigmas do not end at 0",
        "sampler every": "'every' and 'anchor' work with DiffuseIT Guide Model",
        "sampler without losses": "there are no losses",
        "sampler VAE": "this VAE is for another model",
    }.items(),
)
def test_what_cannot_work_is_said_in_a_line(facts, what, said):
    found = facts["refusals"][what]
    assert found.startswith("InputError: ")
    assert said in found
    assert "\n" not in found


def test_a_refused_run_leaves_nothing(facts):
    assert facts["refusals"]["nothing is left"] == "[{}, {}]"


def test_the_pixel_model_as_a_model_of_comfyui_agrees_with_the_cores_own_loop(facts):
    assert len(facts["pixel_model"]) == 5
    assert max(facts["pixel_model"].values()) < ROUNDING
