"""Every input of every node is held to its schema before the node works, without a ComfyUI."""

import importlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nodes_alone import NAME, import_node_module

from tools.schemas import node_schemas

SCHEMAS = node_schemas()
INPUTS = [(node, slot) for node, schema in SCHEMAS.items() for slot in schema.inputs]
LOSSES = "DIFFUSEIT_LOSSES"


@pytest.fixture(scope="module")
def inputs():
    with pytest.MonkeyPatch.context() as patch:
        yield import_node_module(patch, "inputs")


@pytest.fixture(scope="module")
def nodes(inputs):
    """The classes of the nodes by their ids."""
    return {
        node.define_schema().node_id: node for node in importlib.import_module(f"{NAME}.nodes").node_classes()
    }


def wrong(slot):
    """Values that no input like `slot` takes."""
    tensors = [torch.full((1, 8, 8, 3), math.nan), torch.full((1, 8, 8), math.inf)]
    of_kind = {
        "INT": ["x", None, 1.5, True, 10**400, -(10**400), [], torch.zeros(1)],
        "FLOAT": ["x", None, True, 10**400, math.nan, math.inf, -math.inf, {}],
        "STRING": [None, 5, ["x"], "x" * 10**6],
        "BOOLEAN": [None, "yes", 5],
        "COMBO": [None, "gone", 5, [], {}, "x" * 10**6],
        "IMAGE": ["x", 5, ["x"], {}, *tensors],
        "MASK": ["x", 5, [], {}, *tensors],
        "AUTOGROW": ["x", 5, [], {"losses0": "x"}],
    }
    return of_kind.get(slot.kind, ["x", 5, 1.5, True, [], {}, ["x"], ("x",), object(), torch.zeros(1)])


@pytest.mark.parametrize(("node", "slot"), INPUTS, ids=[f"{node}-{slot.id}" for node, slot in INPUTS])
def test_an_input_takes_nothing_of_another_kind(nodes, node, slot):
    values = [*wrong(slot), *([] if slot.optional else [None])]
    if slot.min is not None:
        values.append(slot.min - 1)
    if slot.max is not None:
        values.append(slot.max + 1)
    if slot.kind == LOSSES:
        values.remove([])
    for value in values:
        with pytest.raises(ValueError, match=rf"\b({slot.id}|losses0)\b") as caught:
            nodes[node].execute(**{slot.id: value})
        assert type(caught.value).__name__ == "InputError"
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500


def test_a_text_for_a_network_says_what_to_connect(nodes):
    with pytest.raises(ValueError, match=r"^ddpm cannot be 'x': connect DiffuseIT Load DDPM to it$"):
        nodes["DiffuseITSampler"].execute(ddpm="x")
    with pytest.raises(ValueError, match=r"^ddpm is not connected: connect DiffuseIT Load DDPM to it$"):
        nodes["DiffuseITSampler"].execute(ddpm=None)


def test_a_network_of_another_kind_says_what_to_connect(nodes, inputs):
    other = inputs.Network(torch.nn.Identity(), ())
    for node, name in (
        ("DiffuseITSampler", "ddpm"),
        ("DiffuseITStructureLoss", "vit"),
        ("DiffuseITTextStyleLoss", "clip"),
    ):
        with pytest.raises(
            ValueError, match=rf"^{name} cannot be of the type Network: connect DiffuseIT Load"
        ):
            nodes[node].execute(**{name: other})


@pytest.mark.parametrize(
    ("node", "values"),
    [
        (
            "DiffuseITSampler",
            {"seed": np.int64(3), "step_size": np.float32(0.5), "mask": None, "settings": None},
        ),
        (
            "DiffuseITSampler",
            {"image": [torch.zeros(1, 8, 8, 3), torch.zeros(1, 9, 8, 3)], "seed": 2**64 - 1},
        ),
        ("DiffuseITSampler", {"losses": (), "step_size": 1}),
        (
            "DiffuseITTextStyleLoss",
            {"to_text": "x" * 2000, "rotate": np.bool_(True), "what is no input": math.nan},
        ),
        ("DiffuseITCombineLosses", {"inputs": {"losses0": (), "losses1": None}}),
    ],
)
def test_what_other_nodes_may_hand_over_is_taken(nodes, inputs, node, values):
    inputs.check_inputs(nodes[node], values)


@given(data=st.data())
def test_a_number_is_taken_if_and_only_if_it_is_in_bounds(nodes, inputs, data):
    node, slot = data.draw(st.sampled_from([(n, s) for n, s in INPUTS if s.kind in ("INT", "FLOAT")]))
    value = data.draw(st.integers() | st.floats() if slot.kind == "FLOAT" else st.integers())
    in_bounds = slot.min <= value <= slot.max  # false for NaN
    taken = True
    try:
        inputs.check_inputs(nodes[node], {slot.id: value})
    except ValueError:
        taken = False
    assert taken == in_bounds
