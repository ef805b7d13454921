"""The example workflows as files: what ComfyUI's front end would stumble over, without a ComfyUI."""

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from diffuseit.models.hub.catalog import bundles, members
from diffuseit.presets import IMAGE_DEFAULT, PRESETS, TEXT_DEFAULT

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / "example_workflows").glob("*.json"))
TITLE = 30  # height of a node's title, which lies above its position
COLLAPSED = 225  # width of a collapsed node in Nodes 2.0, where it is wider than on the canvas
COMPARED = "04 Two losses compared"
FULL_SIZE = "06 Full-size photos (6 GB download)"
SEEDVR2 = "11 Invented detail with SeedVR2"
DOWNLOADS_WANTED = {FULL_SIZE, "09 Guide SDXL", "10 Guide Flux", SEEDVR2}
PHOTO = "example.png"  # which lies in ComfyUI's input folder
OF_COMFYUI = {
    "checkpoints",
    "loras",
    "diffusion_models",
    "text_encoders",
    "vae",
    "vae_approx",
}
"""Folders of models that ComfyUI's own nodes load."""

TINY_VAES = ("taesd", "taesdxl", "taesd3", "taef1")
"""What Load VAE lists for two files in models/vae_approx, an encoder and a decoder."""

MODEL_FILE = (".pt", ".pth", ".safetensors")
MAX_THUMBNAIL = 150_000
NODES_OWN = {"cls_token": "cls"}
"""Inputs with another name than the loss's field. Prompts are no part of a preset."""

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
    if node["flags"].get("collapsed"):
        width, height = COLLAPSED, 0
    return x, y - TITLE, x + width, y + height


def overlap(a, b):
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_the_promised_workflows_are_there():
    """Numbered: ComfyUI lists them in the order of the folder, and leaves it to their names to say how to go on."""
    assert [path.stem for path in WORKFLOWS] == [
        "01 Guided by words",
        "02 Guided by a picture",
        "03 Only inside a mask",
        COMPARED,
        "05 Four nodes to a result",
        FULL_SIZE,
        "07 Guide any model",
        "08 Guide with the Latent Sampler",
        "09 Guide SDXL",
        "10 Guide Flux",
        SEEDVR2,
        "12 A film",
    ]


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
def test_chains_are_presets(path):
    """What a chain of nodes does equals what a preset says, so that the two can be compared."""
    presets = (TEXT_DEFAULT, IMAGE_DEFAULT)
    nodes = [node for node in read(path)["nodes"] if node["type"].startswith("DiffuseIT")]
    for node in nodes:
        values = node.get("widgets_values_named", {})
        settings = [
            loss
            for name in presets
            for loss in PRESETS[name].losses
            if f"DiffuseIT{type(loss).__name__}" == node["type"]
        ]
        if settings:
            own = {
                NODES_OWN.get(name, name): value
                for name, value in values.items()
                if not name.endswith("_text")
            }
            assert any(all(getattr(loss, name) == own[name] for name in own) for loss in settings), own
        if node["type"] == "DiffuseITPreset":
            assert values["preset"] in PRESETS


def test_the_comparison_differs_in_the_losses_alone():
    flow = read(ROOT / "example_workflows" / f"{COMPARED}.json")
    links = {link[0]: link for link in flow["links"]}
    samplers = [node for node in flow["nodes"] if node["type"] == "DiffuseITSampler"]
    first, second = (node["widgets_values"] for node in samplers)
    assert first == second

    def origins(name):
        sockets = [
            socket
            for node in samplers
            for socket in node["inputs"]
            if socket["name"] == name and socket["link"]
        ]
        return [tuple(links[socket["link"]][1:3]) for socket in sockets]

    for name in ("ddpm", "image", "seed"):
        assert len(origins(name)) == 2
        assert len(set(origins(name))) == 1
    assert len(set(origins("losses"))) == 2
    assert not origins("options")


def files_of(value):
    """The files that a widget's value stands for."""
    if not isinstance(value, str):
        return set()
    if value in bundles():
        return {entry.file for entry in members(value)}
    if value in TINY_VAES:
        return {f"{value}_{part}.safetensors" for part in ("encoder", "decoder")}
    return {value} if value.endswith(MODEL_FILE) else set()


@workflows
def test_no_file_is_needed_but_the_models_offered(path):
    nodes = read(path)["nodes"]
    loaded = {node["widgets_values"][0] for node in nodes if node["type"] == "LoadImage"}
    assert loaded == ({PHOTO} if path.stem == FULL_SIZE else set())
    wanted = {node["id"]: set().union(*map(files_of, node.get("widgets_values") or [])) for node in nodes}
    offered = {node["id"]: node["properties"].get("models", []) for node in nodes}
    assert {node: {model["name"] for model in models} for node, models in offered.items()} == wanted
    assert any(wanted.values()) == (path.stem in DOWNLOADS_WANTED)
    known = {entry.file: entry.address for entry in members("paper")}
    for model in [model for models in offered.values() for model in models]:
        assert set(model) == {"name", "url", "directory"}
        if model["directory"] == "diffuseit":
            assert model["url"] == known[model["name"]]
        else:
            # ComfyUI's front end downloads from there without asking further, and only this format.
            assert model["directory"] in OF_COMFYUI
            assert re.fullmatch(r"https://huggingface\.co/[\w./-]+\.safetensors", model["url"])
            assert model["url"].endswith(f"/{model['name']}")


def test_the_full_size_example_offers_the_models_of_the_paper():
    nodes = read(ROOT / "example_workflows" / f"{FULL_SIZE}.json")["nodes"]
    names = {model["name"] for node in nodes for model in node["properties"].get("models", [])}
    assert names == {entry.file for entry in members("paper")}


@workflows
def test_notes_link_to_the_models_offered(path):
    nodes = read(path)["nodes"]
    links = {
        link for node in nodes for link in re.findall(r"\]\((https:[^)]+)\)", str(node.get("widgets_values")))
    }
    assert links == {model["url"] for node in nodes for model in node["properties"].get("models", [])}


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
