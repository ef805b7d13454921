"""What an estimate says, without a ComfyUI."""

import importlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nodes_alone import import_node_module

from diffuseit.guidance.settings import SamplerSettings
from diffuseit.presets import PRESETS
from tools import fake_comfyui


@pytest.fixture
def estimate(monkeypatch, tmp_path):
    return import_node_module(monkeypatch, "estimate", fake_comfyui.modules(tmp_path))


@pytest.fixture
def prompt():
    """As the front end sends it: a chain of two losses, the sampler in a subgraph."""
    nodes = {
        "1": ("DiffuseITLoadDDPM", {"model": "pocket", "dtype": "auto"}),
        "2": ("DiffuseITLoadViT", {"model": "pocket", "layer": -1}),
        "3": ("DiffuseITRangeLoss", {"weight": 0.2, "previous": ["4", 0]}),
        "4": ("DiffuseITStructureLoss", {"vit": ["2", 0], "self_similarity": 1.0, "contrastive": 0.1}),
        "5": ("DiffuseITExamplePicture", {"picture": "lion", "scene": 0}),
        "6": ("LoadImage", {"image": "a.png"}),
        "9:7": (
            "DiffuseITSampler",
            {
                "ddpm": ["1", 0],
                "image": ["5", 0],
                "losses": ["3", 0],
                "seed": 3,
                "steps": 20,
                "skip": 5,
                "resample": 4,
                "method": "diffuseit",
            },
        ),
    }
    return {id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in nodes.items()}


def changed(prompt, node, **inputs):
    return {**prompt, node: {**prompt[node], "inputs": prompt[node]["inputs"] | inputs}}


@pytest.mark.parametrize(
    ("node", "inputs", "same"),
    [
        ("9:7", {"seed": 4, "steps": 99}, True),
        ("5", {"scene": 7}, True),
        ("3", {"weight": 0.3}, True),
        ("2", {"layer": -1.0}, True),
        ("3", {"weight": 0.0}, False),
        ("2", {"model": "dino_b8.pth"}, False),
        ("9:7", {"method": "mpgd"}, False),
        ("9:7", {"backward_until": 0.0}, False),
        ("9:7", {"balance": "adaptive"}, False),
        ("4", {"detail": 0.5}, False),
        ("3", {"what is no input": {"a": [1]}}, True),
        ("3", {"previous": None}, False),
    ],
)
def test_an_estimate_holds_for_what_costs_the_same(estimate, prompt, node, inputs, same):
    one, other = (estimate.key_of(graph, "9:7", "cpu") for graph in (prompt, changed(prompt, node, **inputs)))
    assert (one == other) is same
    assert one != estimate.key_of(prompt, "9:7", "cuda")


def translation(set_name="pocket", **inputs):
    links = {"models": ["1", 3], "image": ["2", 0]}
    return {
        "1": {"class_type": "DiffuseITLoadModels", "inputs": {"set": set_name}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "3": {
            "class_type": "DiffuseITTranslate",
            "inputs": links | {"to_text": "a", "strength": 0.5} | inputs,
        },
    }


def test_a_translation_costs_what_its_preset_does(estimate):
    style = {"style_image": ["2", 0]}
    for set_name, inputs, name in (
        ("pocket", {}, "best-text"),
        ("pocket", style, "best-image"),
        ("light", {}, "official-text"),
        ("paper", style, "official-image"),
    ):
        assert estimate.steps_of(translation(set_name, **inputs), "3") == len(PRESETS[name].sampler.timetable)
    assert estimate.steps_of(translation(strength=0.0), "3") < estimate.steps_of(
        translation(strength=1.0), "3"
    )
    for unknown in ({"strength": ["2", 0]}, {"models": ["2", 0]}, {"models": ["9", 0]}):
        assert estimate.steps_of(translation(**unknown), "3") is None
    keys = [
        estimate.key_of(graph, "3", "cpu")
        for graph in (
            translation(),
            translation(strength=0.9, to_text="b", seed=3),
            translation(**style),
            translation("paper"),
        )
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_steps_are_those_of_the_core(estimate, prompt):
    assert estimate.steps_of(prompt, "9:7") == len(SamplerSettings(steps=20, skip=5, resample=4).timetable)
    assert estimate.steps_of(changed(prompt, "9:7", skip=30), "9:7") is None
    assert estimate.steps_of(changed(prompt, "9:7", steps=["6", 0]), "9:7") is None
    by_preset = {
        **changed(prompt, "9:7", options=["8", 1]),
        "8": {"class_type": "DiffuseITPreset", "inputs": {"preset": "pocket-text"}},
    }
    assert estimate.steps_of(by_preset, "9:7") == len(PRESETS["pocket-text"].sampler.timetable)


@pytest.fixture
def nodes(estimate):
    """The classes of the nodes by their ids."""
    package = importlib.import_module(estimate.__package__)
    return {node.define_schema().node_id: node for node in package.node_classes()}


@pytest.fixture
def answer(estimate, nodes, tmp_path):
    """`answer(asked)`: as the route gives it."""
    return lambda asked: estimate.answer(asked, nodes, estimate.Measured(tmp_path / "runs.json"), "cpu")


def test_what_was_measured_is_found_again(estimate, answer, prompt, tmp_path):
    measured = estimate.Measured(tmp_path / "runs.json")
    key = estimate.key_of(prompt, "9:7", "cpu")
    asked = {"prompt": prompt, "node": "9:7"}
    assert answer(asked)["measured"] is None
    figures = estimate.Figures({"DDPM": 1.0}, 0.5, 7, 1, (64, 64))
    measured.note(key, figures)
    assert measured.find(key) == figures
    found = answer(asked)
    assert found["steps"] == 18
    assert found["measured"] == {
        "seconds_per_step": 0.5,
        "memory": 7,
        "calls": {"DDPM": 1.0},
        "pictures": 1,
        "size": (64, 64),
    }


def test_nothing_is_known_of_a_model_that_is_not_here(answer, prompt):
    gone = changed(prompt, "1", model="gone.pt")
    found = answer({"prompt": gone, "node": "9:7"})
    assert found["steps"] == 18 and found["measured"] is None


REFUSED = {
    "more steps than the node takes": ("9:7", {"steps": 10**9}, "steps is 1000000000: use 1 to 1000"),
    "a number without end": ("9:7", {"resample": 10**400}, "resample is a number of more than 18 digits"),
    "not a number": ("9:7", {"step_size": float("nan")}, "step_size is nan: use a finite number"),
    "a text for a number": ("9:7", {"skip": "5"}, "skip cannot be '5': it must be a whole number"),
    "no such method": ("9:7", {"method": "mine"}, "method is 'mine': use one of diffuseit"),
    "a literal in a socket": ("9:7", {"ddpm": "x"}, "ddpm cannot be 'x': connect DiffuseIT Load DDPM"),
    "upstream": ("3", {"weight": -1.0}, "weight is -1.0: use 0.0 to 1000000.0"),
    "a list that is no link": ("4", {"contrastive": [[1], 0]}, "contrastive cannot be a list of 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_estimate_has_the_bounds_of_the_nodes(answer, prompt, case):
    node, inputs, sentence = REFUSED[case]
    with pytest.raises(ValueError, match="^" + re.escape(sentence)):
        answer({"prompt": changed(prompt, node, **inputs), "node": "9:7"})


@pytest.mark.parametrize(
    "asked",
    [
        None,
        [],
        {},
        {"prompt": {}, "node": "1"},
        {"prompt": {"1": None}, "node": "1"},
        {"prompt": {"1": {"class_type": "DiffuseITSampler"}}, "node": "1"},
        {"prompt": {"1": {"class_type": [], "inputs": {}}}, "node": "1"},
        {"prompt": {"1": {"class_type": "KSampler", "inputs": {}}}, "node": "1"},
        {"prompt": {"1": {"class_type": "DiffuseITSampler", "inputs": {}}}, "node": ["1"]},
    ],
)
def test_what_is_no_prompt_is_refused(answer, asked):
    with pytest.raises(ValueError, match=r"prompt|class_type|is none of"):
        answer(asked)


def test_a_prompt_may_go_round_in_circles(answer, prompt):
    answer({"prompt": changed(prompt, "4", previous=["3", 0]), "node": "9:7"})


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_an_estimate_is_given_or_refused_in_words(answer, nodes, prompt, data):
    node = data.draw(st.sampled_from(["1", "2", "3", "4", "9:7"]))
    inputs = [entry.id for entry in nodes[prompt[node]["class_type"]].define_schema().inputs]
    name = data.draw(st.sampled_from(inputs))
    value = data.draw(values | st.sampled_from([[other, 0] for other in (*prompt, "gone")]))
    asked = {"prompt": changed(prompt, node, **{name: value}), "node": "9:7"}
    refused = None
    try:
        json.dumps(answer(asked))
    except ValueError as error:
        refused = str(error)
    assert refused is None or refused.isprintable()


BROKEN = {
    "empty": "",
    "a list": "[]",
    "null": "null",
    "a number for a run": '{"k": 3}',
    "a part of a run": '{"k": {"memory": 1}}',
    "deep": '{"k": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "not finite": '{"k": {"seconds_per_step": NaN, "memory": 1, "calls": {}, "pictures": 1, "size": [1, 1]}}',
    "negative": '{"k": {"seconds_per_step": -1, "memory": 1, "calls": {}, "pictures": 1, "size": [1, 1]}}',
    "huge": '{"k": {"seconds_per_step": 1e400, "memory": 1, "calls": {}, "pictures": 1, "size": [1, 1]}}',
    "large": "[" + "1," * 10**6 + "1]",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_of_figures_is_none_and_can_be_written(estimate, tmp_path, text):
    path = tmp_path / "runs.json"
    path.write_text(text)
    measured = estimate.Measured(path)
    assert measured.find("k") is None
    figures = estimate.Figures({}, 1, 1, 1, (1, 1))
    measured.note("new", figures)
    assert measured.find("new") == figures


def test_the_oldest_figures_are_forgotten(estimate, tmp_path):
    measured = estimate.Measured(tmp_path / "runs.json")
    kept = importlib.import_module(measured.__module__).KEPT
    for number in range(kept + 5):
        measured.note(str(number), estimate.Figures({}, 1, 1, 1, (1, 1)))
    assert measured.find("4") is None
    assert measured.find("5") is not None


@pytest.mark.parametrize("fault", ["a folder is in the way", "the node is none of ours", "an endless number"])
def test_a_run_ends_well_where_it_cannot_be_noted(estimate, monkeypatch, tmp_path, prompt, caplog, fault):
    monkeypatch.setattr(estimate, "executing", lambda: ("p", "9:7"))
    if fault == "a folder is in the way":
        (tmp_path / "user" / "default" / "diffuseit_runs.json").mkdir(parents=True)
    if fault == "the node is none of ours":
        prompt = {**prompt, "4": {"inputs": {}}}
    if fault == "an endless number":
        prompt = changed(prompt, "1", **{"what is no input": 10**400})
    estimate.note(prompt, estimate.Figures({}, 1, 1, 1, (1, 1)))
    noted = estimate.measured().find(estimate.key_of(prompt, "9:7", "cpu")) if "endless" in fault else None
    assert bool(noted) != ("goes on without a note of what the run took" in caplog.text)
