"""The example workflows as files: what ComfyUI's front end would stumble over, without a ComfyUI."""

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from diffuseit.losses import RangeLoss, SemanticDivergenceLoss, StructureLoss
from diffuseit.models.hub.catalog import members
from diffuseit.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / "example_workflows").glob("*.json"))
TITLE = 30  # height of a node's title, which lies above its position
DOWNLOADS_WANTED = {"full-size"}
MAX_THUMBNAIL = 150_000

workflows = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def our_nodes():
    """Node ids as the sources of nodes/ declare them; ComfyUI is not needed for that."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "nodes").glob("*.py"))
    return set(re.findall(r'node_id="(DiffuseIT\w+)"', sources))


def box(node):
    """Left, top, right, bottom with the title."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_the_promised_workflows_are_there():
    assert {path.stem for path in WORKFLOWS} == {
        "text-guided",
        "image-guided",
        "loss-swap",
        "mask",
        "full-size",
    }


@workflows
def test_our_nodes_exist(path):
    used = {node["type"] for node in read(path)["nodes"] if node["type"].startswith("DiffuseIT")}
    assert used
    assert used <= our_nodes()


@workflows
def test_links_join_sockets_that_know_of_them(path):
    flow = read(path)
    nodes = {node["id"]: node for node in flow["nodes"]}
    links = {link[0]: link for link in flow["links"]}
    assert len(nodes) == len(flow["nodes"])
    assert len(links) == len(flow["links"])
    for number, source, out, target, into, kind in flow["links"]:
        output, socket = nodes[source]["outputs"][out], nodes[target]["inputs"][into]
        assert number in output["links"]
        assert socket["link"] == number
        assert {output["type"], socket["type"]} == {kind}
    for node in flow["nodes"]:
        known = [socket["link"] for socket in node["inputs"] if socket["link"] is not None]
        known += [number for socket in node["outputs"] for number in socket["links"] or []]
        assert set(known) <= set(links)
    assert flow["last_node_id"] >= max(nodes)
    assert flow["last_link_id"] >= max(links)


@workflows
def test_every_input_that_must_be_connected_is(path):
    for node in read(path)["nodes"]:
        for socket in node["inputs"]:
            optional = "widget" in socket or socket.get("shape") == 7  # LiteGraph's circle with a hole
            assert optional or socket["link"] is not None, f"{node['type']}.{socket['name']}"


@workflows
def test_nodes_lie_beside_each_other(path):
    flow = read(path)
    for a, b in combinations(flow["nodes"], 2):
        assert not overlap(box(a), box(b)), f"{a['type']} {a['id']} and {b['type']} {b['id']}"
    for group in flow["groups"]:
        x, y, width, height = group["bounding"]
        for node in flow["nodes"]:
            left, top, right, bottom = box(node)
            inside = x <= left and right <= x + width and y <= top and bottom <= y + height
            assert inside or not overlap(box(node), (x, y, x + width, y + height)), node["type"]
    for a, b in combinations(flow["groups"], 2):
        corners = [(x, y, x + w, y + h) for x, y, w, h in (a["bounding"], b["bounding"])]
        assert not overlap(*corners), (a["title"], b["title"])


def frozen_widgets():
    """Node id -> names of its widgets in order, as tests/comfyui/schema.txt freezes them."""
    nodes, current = {}, []
    for line in (ROOT / "tests" / "comfyui" / "schema.txt").read_text(encoding="utf-8").splitlines():
        if re.fullmatch(r"DiffuseIT\w+", line):
            current = nodes[line] = []
        elif found := re.match(r"  (?:required|optional) (\w+): (?:INT|FLOAT|STRING|BOOLEAN|COMBO)\b", line):
            current.append(found[1])
    return nodes


@workflows
def test_widget_values_stand_where_the_nodes_expect_them(path):
    frozen = frozen_widgets()
    for node in read(path)["nodes"]:
        named = node.get("widgets_values_named", {})
        assert list(named.values()) == node.get("widgets_values", []), node["type"]
        if node["type"].startswith("DiffuseIT"):
            names = [name for name in named if name != "control_after_generate"]
            assert names == frozen[node["type"]][: len(names)], node["type"]


@workflows
def test_losses_have_the_presets_values(path):
    """What a chain of nodes does equals what the pocket presets say, so that the two can be compared."""
    kinds = (StructureLoss, SemanticDivergenceLoss, RangeLoss)
    losses = {
        f"DiffuseIT{type(x).__name__}": x for x in PRESETS["pocket-text"].losses if isinstance(x, kinds)
    }
    for node in read(path)["nodes"]:
        if node["type"] in losses:
            for name, value in node["widgets_values_named"].items():
                assert value == getattr(losses[node["type"]], name), (node["id"], name)
        if node["type"] == "DiffuseITPreset":
            assert node["widgets_values_named"]["preset"] in PRESETS


def test_the_swap_differs_in_the_style_loss_alone():
    nodes = {node["id"]: node for node in read(ROOT / "example_workflows" / "loss-swap.json")["nodes"]}
    samplers = [node for node in nodes.values() if node["type"] == "DiffuseITSampler"]
    first, second = (node["widgets_values"] for node in samplers)
    assert first == second
    links = {link[0]: link for link in read(ROOT / "example_workflows" / "loss-swap.json")["links"]}
    for name in ("ddpm", "image", "seed"):
        origins = {
            links[socket["link"]][1]
            for node in samplers
            for socket in node["inputs"]
            if socket["name"] == name
        }
        assert len(origins) == 1


@workflows
def test_no_file_is_needed_but_the_models_offered(path):
    named = read(path)["nodes"]
    assert "LoadImage" not in {node["type"] for node in named}
    offered = {}
    for node in named:
        for model in node["properties"].get("models", []):
            assert set(model) == {"name", "url", "directory"}
            assert model["directory"] == "diffuseit"
            assert model["url"].startswith("https://")
            offered[model["name"]] = node["id"]
    if offered:
        known = {entry.file: entry.address for entry in members("paper")}
        urls = {
            model["name"]: model["url"] for node in named for model in node["properties"].get("models", [])
        }
        assert urls == known
    wanted = {
        value: node["id"]
        for node in named
        if node["type"].startswith("DiffuseITLoad")
        for value in node["widgets_values"]
        if isinstance(value, str) and value.endswith((".pt", ".pth", ".safetensors"))
    }
    assert wanted == offered
    assert bool(wanted) == (path.stem in DOWNLOADS_WANTED)


@workflows
def test_nothing_of_the_machine_it_was_made_on(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r'"(/|~|[A-Za-z]:\\\\)', text)
    assert "localhost" not in text
    assert "127.0.0.1" not in text


@workflows
def test_thumbnail(path):
    picture = path.with_suffix(".jpg")
    assert picture.stat().st_size < MAX_THUMBNAIL
    with Image.open(picture) as image:
        assert image.format == "JPEG"
        assert image.width == image.height >= 256
