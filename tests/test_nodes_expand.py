"""The settings of the nodes that replace DiffuseIT Translate, without a ComfyUI."""

import importlib

import pytest
from nodes_alone import import_node_module

from tools import fake_comfyui
from tools.schemas import node_schemas

LINKS = {"models": ["1", 3], "image": ["2", 0]}
WORDS = {"to_text": "night", "from_text": "", "seed": 7, "size": "source"}


@pytest.fixture
def pack(monkeypatch, tmp_path):
    """`pack(name)`: a module of nodes/."""
    expand = import_node_module(monkeypatch, "expand", fake_comfyui.modules(tmp_path))
    package = expand.__name__.rsplit(".", 1)[0]
    return lambda name: importlib.import_module(f"{package}.{name}")


@pytest.fixture(scope="module")
def nodes():
    """Stand-ins for the classes of the nodes, with their schemas."""
    schemas = node_schemas()
    return {
        name: type(name, (), {"define_schema": classmethod(lambda cls, schema=schema: schema)})
        for name, schema in schemas.items()
    }


def asked(set_name, style, strength):
    inputs = LINKS | WORDS | {"strength": strength} | ({"style_image": ["2", 1]} if style else {})
    prompt = {
        "1": {"class_type": "DiffuseITLoadModels", "inputs": {"set": set_name}},
        "2": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "3": {"class_type": "DiffuseITTranslate", "inputs": inputs},
    }
    return {"prompt": prompt, "node": "3"}


@pytest.mark.parametrize("style", [False, True])
@pytest.mark.parametrize("set_name", ["pocket", "paper"])
@pytest.mark.parametrize("strength", [0.0, 0.4, 0.5, 1.0])
def test_the_nodes_hold_the_settings_of_the_preset(pack, nodes, set_name, style, strength):
    options, expand, sets = pack("options"), pack("expand"), pack("model_sets")
    answer = expand.expanded(asked(set_name, style, strength), nodes)
    new = answer["nodes"]
    kinds = {node["class_type"]: node["inputs"] for node in new.values()}
    sampler = kinds["DiffuseITSampler"]
    assert (sampler["seed"], sampler["size"], sampler["image"]) == (7, "source", ["2", 0])

    values, link = {}, sampler.get("options")
    while link is not None:
        kind, inputs = new[link[0]]["class_type"], new[link[0]]["inputs"]
        widgets = {name: value for name, value in inputs.items() if name != "previous"}
        values = options.READERS[kind](widgets) | values
        link = inputs.get("previous")
    widgets = {name: value for name, value in sampler.items() if name in options.DEFAULTS}
    preset = sets.preset_for(set_name, style, strength)
    assert options.make_settings(widgets | values) == preset.sampler
    assert ("DiffuseITMatchColors" in kinds) is preset.color_match

    for name, node in new.items():
        schema = nodes[node["class_type"]].define_schema()
        assert set(node["inputs"]) <= {slot.id for slot in schema.inputs}, name
        needed = {slot.id for slot in schema.inputs if slot.default is None and not slot.optional}
        assert needed <= set(node["inputs"]), name


def test_settings_without_a_widget_are_the_nodes_own(pack, nodes):
    """No preset of a set has a setting that its loss nodes could not show."""
    sets, expand = pack("model_sets"), pack("expand")
    for set_name in ("pocket", "paper"):
        for style in (False, True):
            for loss in sets.preset_for(set_name, style, 0.5).losses:
                kind = type(loss)
                shown = {slot.id for slot in nodes[f"DiffuseIT{kind.__name__}"].define_schema().inputs}
                for name, value in vars(loss).items():
                    if expand.NODES_OWN.get(name, name) not in shown:
                        assert value == getattr(kind(), name), (kind, name)
