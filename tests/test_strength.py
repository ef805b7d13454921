"""How strength changes a preset."""

import pytest

from diffuseit.errors import InputError
from diffuseit.presets import OWN_STRENGTH, PRESETS, at_strength


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_strength_goes_from_one_step_to_all(preset):
    steps, skip = preset.sampler.steps, preset.sampler.skip
    assert at_strength(preset, OWN_STRENGTH) == preset
    assert [at_strength(preset, strength).sampler.skip for strength in (0, 1)] == [steps - 1, 0]
    skips = [at_strength(preset, strength / 20).sampler.skip for strength in range(21)]
    assert skips == sorted(skips, reverse=True)
    assert at_strength(preset, 0.25).sampler.skip == pytest.approx((steps - 1 + skip) / 2, abs=1)
    assert at_strength(preset, 0.75).sampler.skip == pytest.approx(skip / 2, abs=1)


@pytest.mark.parametrize("strength", [-0.01, 1.01, float("nan")])
def test_another_strength_is_refused(strength):
    with pytest.raises(InputError, match=r"^the strength is .*: use 0 to 1$"):
        at_strength(PRESETS["best-text"], strength)
