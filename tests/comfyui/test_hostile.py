"""Prompts that no page sends: each is refused in words, or it runs, and the server goes on.

What is refused in words is so by ComfyUI before the run, or by an error of ours in the run. Any other exception is
a fault.
"""

import math
import random

import pytest
from comfyui.prompts import LOADERS, changed, image_prompt, text_prompt
from comfyui.server import PromptError
from comfyui.test_variations import prompt as variations
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.comfyui

OURS = ("InputError", "ModelError", "DivergedError")
FAULTS = {"exception_during_validation", "exception_during_inner_validation"}

SOCKETS = ["x", "", 5, -1.5, True, [], {}, [1, 2, 3], {"__value__": [1, 2]}, None, 10**400, math.nan]
NUMBERS = ["x", "", [], {}, None, -1, 2**70, -(2**70), 10**400, math.nan, math.inf, -math.inf, "1" * 5000]
CHOICES = ["", "gone", "../x", 5, [], {}, None, 10**400, "x" * 10**6]
TEXTS = ["x" * 10**6, "\x00", "\ud83d", [], {}, None, 10**400]
SWITCHES = ["x", [], {}, None, 10**400]
OF_KIND = {"INT": NUMBERS, "FLOAT": NUMBERS, "COMBO": CHOICES, "STRING": TEXTS, "BOOLEAN": SWITCHES}

PRESET = {"preset": "pocket-text", "vit": ["vit", 0], "clip": ["clip", 0]}
PICTURES = {"source": ("LoadImage", {"image": "a.png"}), "look": ("LoadImage", {"image": "b.png"})}
BASES = {
    "text": text_prompt(steps=4, skip=2),
    "image": image_prompt(steps=4, skip=2),
    "variations": {
        node: what for node, what in variations(count=2).items() if node not in ("sampler", "single")
    },
    "photo": {
        **text_prompt(losses="schedule", steps=4, skip=2),
        "anchor": ("DiffuseITSourceAnchorLoss", {"previous": ["range", 0]}),
        "colors": ("DiffuseITColorStatisticsLoss", {"previous": ["anchor", 0], "reference": ["source", 0]}),
        "schedule": ("DiffuseITLossSchedule", {"losses": ["colors", 0]}),
    },
    "options": {
        **text_prompt(steps=4, skip=2, options=["method", 0]),
        "start": ("DiffuseITStartOptions", {}),
        "guidance": ("DiffuseITGuidanceOptions", {"previous": ["start", 0]}),
        "method": ("DiffuseITMethodOptions", {"previous": ["guidance", 0]}),
    },
    "fan": {
        **text_prompt(losses="fan", steps=4, skip=2),
        "fan": ("DiffuseITCombineLosses", {"inputs.losses0": ["range", 0]}),
    },
    "colors": {
        **PICTURES,
        "match": ("DiffuseITMatchColors", {"image": ["source", 0], "reference": ["look", 0]}),
        "save": ("SaveImage", {"images": ["match", 0]}),
    },
    "inspect": {
        **PICTURES,
        "vit": ("DiffuseITLoadViT", {}),
        "pca": ("DiffuseITKeyPCA", {"vit": ["vit", 0], "image": ["source", 0]}),
        "similar": ("DiffuseITSelfSimilarity", {"vit": ["vit", 0], "image": ["source", 0]}),
        "save": ("SaveImage", {"images": ["pca", 0]}),
        "map": ("SaveImage", {"images": ["similar", 0]}),
    },
    "example": {
        "picture": ("DiffuseITExamplePicture", {}),
        "save": ("SaveImage", {"images": ["picture", 0]}),
    },
}
for prompt in BASES.values():
    prompt.pop("plot", None)  # ComfyUI's own: it divides by the range of the losses, which may be 0


GROWN = {
    "DiffuseITCombineLosses": [("inputs.losses1", "DIFFUSEIT_LOSSES")],
    "DiffuseITLoadCLIP": [("further.clip0", "DIFFUSEIT_CLIP_ENSEMBLE")],
}


def inputs_of(server, kind):
    """(name, kind) of each input of a node, without those that grow."""
    spec = server.nodes[kind]["input"]
    return [
        (name, declared[0])
        for part in ("required", "optional")
        for name, declared in spec.get(part, {}).items()
        if declared[0] != "COMFY_AUTOGROW_V3"
    ] + GROWN.get(kind, [])


def cases(server):
    """All of (base, node, input, value)."""
    return [
        (base, node, name, value)
        for base, prompt in BASES.items()
        for node, (kind, _) in prompt.items()
        if kind.startswith("DiffuseIT")
        for name, declared in inputs_of(server, kind)
        for value in OF_KIND.get(declared, SOCKETS)
    ]


def refusal(server, prompt):
    """What a prompt is refused with, in words; None if it ran. Raises for any fault."""
    try:
        server.run(prompt)
        return None
    except PromptError as refused:
        error = refused
    for node in error.node_errors.values():
        if "errors" in node:  # before the run, by ComfyUI
            assert not {one["type"] for one in node["errors"]} & FAULTS, str(error)[:500]
        else:
            assert node["exception_type"].rpartition(".")[2] in OURS, (
                node["exception_type"],
                str(error)[:500],
            )
    return str(error)


def literals(server):
    """A literal in each socket of each of our nodes."""
    found = {}
    for base, node, name, value in cases(server):
        kind = BASES[base][node][0]
        if value == "x" and dict(inputs_of(server, kind))[name] not in OF_KIND:
            found.setdefault((kind, name), (base, node))
    return found


def test_a_literal_in_any_socket_is_refused_by_its_name(server):
    found = literals(server)
    kinds = {kind for kind, _ in found}
    assert len(found) > 20 and "DiffuseITSampler" in kinds and "DiffuseITPreset" in kinds
    for (kind, name), (base, node) in found.items():
        said = refusal(server, changed(BASES[base], node, **{name: "x"}))
        assert said, (kind, name)
        assert f"{name.rpartition('.')[2]} cannot be 'x': connect" in said


LINKED = {
    "not a number": ("PrimitiveFloat", math.nan, "step_size", "step_size is nan: use a finite number"),
    "a float above": ("PrimitiveFloat", 1e9, "step_size", "step_size is 1000000000.0: use 0.0 to 100.0"),
    "above": ("PrimitiveInt", 10**18, "steps", "steps is a number of more than 18 digits: use 1 to 1000"),
    "far above": ("PrimitiveInt", 10**17, "resample", "resample is 100000000000000000: use 1 to 100"),
    "a seed below": ("PrimitiveInt", -1, "seed", "seed is -1: use 0 to 18446744073709551615"),
}


@pytest.mark.parametrize("case", LINKED)
def test_a_value_from_a_link_has_the_bounds_of_the_widget(server, case):
    kind, value, name, sentence = LINKED[case]
    prompt = changed(BASES["text"], "sampler", **{name: ["value", 0]})
    assert sentence in refusal(server, {**prompt, "value": (kind, {"value": value})})


def test_a_long_text_is_refused_before_it_is_read(server):
    said = refusal(server, changed(BASES["text"], "style", to_text="winter " * 150_000))
    assert "to_text has 1050000 characters: at most 2000 are allowed" in said


def test_generated_prompts_are_refused_in_words_or_run(server):
    every = cases(server)
    assert len(every) > 1000

    @given(which=st.integers(0, len(every) - 1), seed=st.integers(0, 99))
    def run(which, seed):
        base, node, name, value = every[which]
        prompt = changed(BASES[base], node, **{name: value})
        if seed % 3 == 0:  # two at once
            other_base, other, name, value = random.Random(seed).choice(every)
            prompt = changed(prompt, other, **{name: value}) if other_base == base else prompt
        refusal(server, prompt)

    run()
    assert refusal(server, text_prompt(seed=9, steps=4, skip=2)) is None


def test_a_number_without_end_in_an_input_that_is_none_costs_no_run(server):
    prompt = changed(text_prompt(seed=10, steps=4, skip=2), "ddpm", **{"what is no input": 10**400})
    mark = len(server.log())
    assert refusal(server, prompt) is None
    assert "Traceback" not in server.log_since(mark)


def test_the_loaders_are_there(server):
    assert all(kind in server.nodes for kind, _ in LOADERS.values())
