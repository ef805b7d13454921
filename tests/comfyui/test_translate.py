"""DiffuseIT Translate on a real server, and the graph of losses that does the same."""

import json
from urllib.error import HTTPError

import numpy as np
import pytest
from comfyui.prompts import changed
from comfyui.server import PromptError

pytestmark = pytest.mark.comfyui

WORDS = {"to_text": "night landscape", "from_text": "summer landscape"}


def prompt(style=False, **inputs):
    """Load Image, Load Models, Translate, and what shows the result."""
    links = {"models": ["models", 3], "image": ["source", 0]} | (
        {"style_image": ["look", 0]} if style else {}
    )
    return {
        "models": ("DiffuseITLoadModels", {"set": "pocket"}),
        "source": ("LoadImage", {"image": "a.png"}),
        "look": ("LoadImage", {"image": "c.png"}),
        "translate": ("DiffuseITTranslate", links | WORDS | {"strength": 0.3, "seed": 900} | inputs),
        "save": ("SaveImage", {"images": ["translate", 0]}),
    }


def ask(server, graph, node="translate"):
    """The server's answer to the page's question what does the same as `node`."""
    filled = {
        name: {"class_type": kind, "inputs": server._defaults(kind) | inputs}
        for name, (kind, inputs) in graph.items()
    }
    return server.post("/diffuseit/expand", {"prompt": filled, "node": node})


def expanded(server, graph):
    """`graph` with the nodes that the server gives in place of Translate."""
    answer = ask(server, graph)
    assert sorted(node for column in answer["columns"] for node in column) == sorted(answer["nodes"])
    new = {name: (node["class_type"], node["inputs"]) for name, node in answer["nodes"].items()}
    rest = {name: node for name, node in graph.items() if name != "translate"}
    return rest | new | {"save": ("SaveImage", {"images": answer["output"]})}


def apart(server, one, other):
    """The largest difference of two results, in levels of 255."""
    first, second = (server.images(server.run(graph), "save").astype(int) for graph in (one, other))
    assert first.std() > 10
    return np.abs(first - second).max()


@pytest.mark.parametrize("style", [False, True])
def test_a_translation_is_what_its_losses_make(server, style):
    graph = prompt(style)
    chain = expanded(server, graph)
    kinds = [kind for kind, _ in chain.values()]
    assert ("DiffuseITImageStyleLoss" if style else "DiffuseITTextStyleLoss") in kinds
    assert "DiffuseITTranslate" not in kinds and "DiffuseITPreset" not in kinds
    assert apart(server, graph, chain) <= 1


def test_the_papers_losses_are_spelled_out_too(server):
    """Their networks are not here, but the pocket ones take any settings."""
    for style in (False, True):
        graph = prompt(style, strength=0.02)
        chain = expanded(server, graph | {"models": ("DiffuseITLoadModels", {"set": "paper"})})
        chain |= {"models": graph["models"]}
        kinds = {kind: name for name, (kind, _) in chain.items()}
        assert ("DiffuseITMatchColors" in kinds) is style
        preset = {"preset": "official-image" if style else "official-text", "style_image": ["look", 0]}
        links = {"vit": ["models", 1], "clip": ["models", 2]}
        by_preset = chain | {"preset": ("DiffuseITPreset", preset | links | WORDS)}
        by_preset = changed(by_preset, kinds["DiffuseITSampler"], losses=["preset", 0])
        assert apart(server, chain, by_preset) <= 1


def test_the_mask_protects_and_strength_decides_how_much_changes(server):
    masked = prompt(mask=["mask", 0]) | {"mask": ("LoadImageMask", {"image": "mask.png", "channel": "red"})}
    change = {}
    source = server.images(server.run(prompt() | {"save": ("SaveImage", {"images": ["source", 0]})}), "save")
    for strength in (0.0, 0.5):
        result = server.images(server.run(changed(masked, "translate", strength=strength)), "save")
        difference = np.abs(result.astype(int) - source)[0]
        assert difference[:, 32:].max() == 0
        change[strength] = difference[:, :32].mean()
    assert change[0.5] > 1.5 * change[0.0]


def test_the_node_shows_its_run(server):
    seen = []
    server.run(
        prompt(seed=901), lambda event: seen.append(event) if event["type"] == "diffuseit.run" else None
    )
    assert {event["data"]["node"] for event in seen} == {"translate"}
    kinds = [event["data"]["kind"] for event in seen]
    assert kinds[0] == "begin" and kinds[-2:] == ["end", "result"]
    (verdict,) = seen[-1]["data"]["verdicts"]
    assert verdict["judge"] == "pocket judge" and 0 <= verdict["edge_f1"] <= 1


def test_a_text_is_needed_unless_an_image_guides(server):
    with pytest.raises(PromptError, match="the text to translate to is empty"):
        server.run(prompt(to_text=" "))
    server.run(prompt(style=True, to_text=" ", strength=0.0))


def test_what_cannot_be_expanded_is_told(server):
    linked = prompt(strength=["number", 0]) | {"number": ("PrimitiveFloat", {"value": 0.5})}
    for graph, node, reason in (
        (linked, "translate", "a link decides"),
        (prompt(), "save", "is not DiffuseIT Translate"),
        (prompt(strength=7.0), "translate", "strength is 7.0: use 0.0 to 1.0"),
        ({"translate": ("DiffuseITTranslate", {})}, "translate", "models is not connected"),
    ):
        with pytest.raises(HTTPError) as refused:
            ask(server, graph, node)
        assert refused.value.code == 400
        assert reason in json.loads(refused.value.read())["error"]
