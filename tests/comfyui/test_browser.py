"""The example workflows in ComfyUI's own front end: found, opened, run and seen, in a headless browser.

Screenshots are saved in pytest's temporary folder, or in that of DIFFUSEIT_SCREENSHOTS.
"""

import json
import os
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import pytest

pytest.importorskip("websocket", reason="needs websocket-client")
pytest.importorskip("playwright.sync_api", reason="needs playwright")

from comfyui.browser import FOLDER, RUN_MS, SETTINGS, launched, listen, opened
from comfyui.conftest import write_inputs
from comfyui.server import PACK, ComfyServer

from diffuseit.presets import PRESETS, TEXT_DEFAULT

pytestmark = [pytest.mark.comfyui, pytest.mark.slow, pytest.mark.timeout(1200)]

EXAMPLES = sorted(path.stem for path in (PACK / "example_workflows").glob("*.json"))
POCKET = EXAMPLES[:5]
FULL_SIZE = EXAMPLES[5]
WINDOW = {"width": 1920, "height": 930}  # what a browser leaves of a screen of 1920x1080
READABLE = 8 / 14  # below this scale the canvas draws neither text nor panels: 8 pixels of a font of 14
BADGE = 24  # height of what ComfyUI draws above a node: the name of its pack
ACROSS = 14  # width of a link with the room that a socket needs beside it
RESULTS = (
    "app.graph.nodes.filter(node => ['SaveImage', 'PreviewImage', 'LossGraphNode'].includes(node.comfyClass))"
)
THERE = "images.length && images.every(image => image.complete && image.naturalWidth >= 64)"
SHOWN = {
    "classic": f"{RESULTS}.every(({{imgs}}) => {{ const images = [...imgs ?? []]; return {THERE} }})",
    "vue": f"""{RESULTS}.every(({{id}}) => {{
        const images = [...document.querySelectorAll(`.lg-node[data-node-id="${{id}}"] img`)]
        return {THERE}
    }})""",
}
"""By renderer, whether each node that shows pictures has drawn its own."""

BOXES = """() => {
    const {scale, offset} = app.canvas.ds
    const nodes = app.graph.nodes.map(({id, type, pos, size, flags}) => {
        const drawn = document.querySelector(`.lg-node[data-node-id="${id}"]`)?.getBoundingClientRect()
        const [x, y] = drawn ? [drawn.left / scale - offset[0], drawn.top / scale - offset[1]] : [pos[0], pos[1] - 30]
        const width = drawn ? drawn.width / scale : flags.collapsed ? 160 : size[0]
        const height = drawn ? drawn.height / scale : flags.collapsed ? 30 : size[1] + 30
        return [`${type} ${id}`, [x, y, x + width, y + height]]
    })
    const groups = app.graph.groups.map(({title, pos, size}) =>
        [title, [pos[0], pos[1], pos[0] + size[0], pos[1] + size[1]]])
    return [nodes, groups]
}"""
"""The nodes with their titles, and the groups, as [name, [left, top, right, bottom]] in the graph."""

BEHIND = """width => {
    app.canvas.draw(true, true)
    const context = document.createElement('canvas').getContext('2d')
    context.lineWidth = width
    const {links, reroutes, nodes} = app.graph
    const strokes = [
        ...[...links.values()].map(link => [[link], link.path]),
        ...[...reroutes.values()].map(({linkIds, path}) => [[...linkIds].map(id => links.get(id)), path]),
    ]
    const sockets = nodes.filter(({flags}) => !flags.collapsed).flatMap(node => [
        ...node.inputs.map((input, slot) => [node, input, node.getInputPos(slot)]).filter(([, {widget}]) => !widget),
        ...node.outputs.map((output, slot) => [node, output, node.getOutputPos(slot)]),
    ])
    return strokes.flatMap(([ends, path]) => sockets
        .filter(([{id}]) => !ends.some(link => [link.origin_id, link.target_id].includes(id)))
        .filter(([, , place]) => context.isPointInStroke(path, ...place))
        .map(([node, {name}]) => `link ${ends[0].id} behind ${name} of ${node.type} ${node.id}`))
}"""
"""Links that are drawn over a socket of a node that they do not lead to, as if they led there."""

RUNNERS = "app.graph.nodes.filter(({type}) => ['DiffuseITSampler', 'DiffuseITTranslate'].includes(type))"
QUICKLY = f"""() => {RUNNERS}.flatMap(node => node.widgets).forEach(widget => {{
    widget.value = {{steps: 8, skip: 3, resample: 1, strength: 0.25, seed: 77}}[widget.name] ?? widget.value
}})"""


@pytest.fixture(scope="module")
def server(comfyui, tmp_path_factory):
    """A server of its own: the front end keeps its settings there, and these tests set some."""
    base = tmp_path_factory.mktemp("browser")
    write_inputs(base / "input")
    server = ComfyServer(comfyui, base, folder=FOLDER)
    try:
        for name, value in SETTINGS.items():
            server.post(f"/settings/{name}", value)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def renderer():
    """Overridden by the parameters of tests that use both renderers."""
    return "classic"


@pytest.fixture
def page(browser, server, renderer):
    server.post("/settings/Comfy.VueNodes.Enabled", renderer == "vue")
    page = opened(browser, server)
    yield page
    page.close()


@pytest.fixture
def shoot(page, tmp_path):
    """`shoot(name)`: the whole graph on the screen, as a file."""
    folder = Path(os.environ.get("DIFFUSEIT_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)

    def shoot(name: str) -> None:
        page.evaluate("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
        page.wait_for_timeout(1500)
        page.screenshot(path=folder / f"{name}.png")

    return shoot


def open_template(page, server, name: str) -> None:
    """Through the template browser, as a person does; the pack goes by its folder's name there."""
    ((pack, names),) = server.get("/workflow_templates").items()
    assert name in names
    page.get_by_test_id("side-toolbar").get_by_text("Templates").click()
    page.get_by_role("dialog").get_by_text(pack, exact=True).first.click()
    card = page.get_by_test_id(f"template-workflow-{name}")
    card.wait_for()
    card.scroll_into_view_if_needed()  # pictures out of sight are not loaded
    page.wait_for_function(
        "card => [...card.querySelectorAll('img')].some(({naturalWidth}) => naturalWidth >= 256)",
        arg=card.element_handle(),
    )
    card.click()
    card.wait_for(state="detached")
    page.wait_for_function("app.graph.nodes.some(node => node.type.startsWith('DiffuseIT'))")
    page.wait_for_timeout(2000)  # missing nodes and models are reported after the graph is there


def assert_opened_as_saved(page, name: str) -> None:
    """Assert that every widget has the value of the file, if there is one."""
    flow = json.loads((PACK / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    nodes = page.evaluate("app.graph.serialize().nodes.map(node => [node.id, node.widgets_values ?? []])")
    values = dict(nodes)
    assert len(values) == len(flow["nodes"])
    for node in flow["nodes"]:
        saved = node.get("widgets_values", [])
        assert values[node["id"]][: len(saved)] == saved, node["type"]


def assert_in_place(page, above: int) -> None:
    """Assert that no node reaches over another, what is drawn `above` it, or the edge of a group."""
    nodes, groups = page.evaluate(BOXES)
    found = []
    for (one, a), (other, b) in permutations(nodes, 2):
        badge = above if other.startswith("DiffuseIT") else 0
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] - badge < a[3] and a[1] <= b[1]:
            found.append(f"{one} over {other}")
    for name, (left, top, right, bottom) in nodes:
        for title, (x, y, far, low) in groups:
            apart = right <= x or far <= left or bottom <= y or low <= top
            if not apart and not (x <= left and right <= far and y <= top and bottom <= low):
                found.append(f"{name} over the edge of {title}")
    assert not found


@pytest.mark.parametrize("renderer", SHOWN)
def test_templates_are_readable_when_opened(page, renderer):
    """ComfyUI shows the whole of a template, as small as that may be."""
    page.set_viewport_size(WINDOW)
    for name in EXAMPLES:
        flow = json.loads((PACK / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
        page.evaluate(
            "([flow, name]) => app.loadGraphData(flow, true, true, name, {openSource: 'template'})",
            [flow, name],
        )
        page.wait_for_timeout(1500)
        assert page.evaluate("app.canvas.ds.scale") >= READABLE, name
        assert_in_place(page, BADGE if renderer == "classic" else 0)
        if renderer == "classic":
            assert page.evaluate(BEHIND, ACROSS) == [], name


@pytest.mark.parametrize("renderer", SHOWN)
@pytest.mark.parametrize("name", POCKET)
def test_a_template_opens_and_runs(page, server, shoot, name, renderer):
    """As it is where the canvas draws; Vue's own part is to open it and to show what comes, whatever the settings."""
    errors = listen(page)
    open_template(page, server, name)
    shoot(f"{name}-{renderer}-open")
    assert not page.get_by_test_id("error-overlay").is_visible()
    assert_opened_as_saved(page, name)

    if renderer == "vue":
        page.evaluate(QUICKLY)
    page.get_by_test_id("queue-button").click()
    page.wait_for_function(SHOWN[renderer], timeout=RUN_MS)
    shoot(f"{name}-{renderer}-done")
    assert not page.get_by_test_id("error-overlay").is_visible()
    assert_in_place(page, BADGE if renderer == "classic" else 0)
    previews = page.evaluate(f"{RUNNERS}.map(node => app.nodePreviewImages[node.id]?.length ?? 0)")
    assert all(previews), "the sampler showed nothing on the way"
    assert not errors


def test_the_papers_models_are_offered_for_download(page, server, shoot):
    """Where they are missed, all at once, before a run."""
    open_template(page, server, FULL_SIZE)
    assert_opened_as_saved(page, FULL_SIZE)
    page.get_by_role("button", name="Download 6.0 GB").wait_for()
    shoot("full-size-open")


NEWCOMER = (
    ("Load Image", (250, 120)),
    ("DiffuseIT Load Models", (250, 620)),
    ("DiffuseIT Translate", (700, 120)),
    ("Preview Image", (1200, 120)),
)
"""What a newcomer looks for, and where on the canvas."""

BY_TYPE = "app.graph.nodes.map(({type, id}) => [type, id])"


def search(page, words: str, place: tuple[int, int], found: str):
    """Double-click the canvas, type, and return the dialog once it lists the node `found`."""
    from playwright.sync_api import TimeoutError

    dialog = page.get_by_role("dialog").filter(has=page.locator("input")).last
    box = dialog.locator("input").first
    for _ in range(3):
        page.mouse.dblclick(*place)
        # A busy page takes the first double-click for two clicks, now and then.
        with suppress(TimeoutError):
            box.wait_for(timeout=20_000)
            break
    box.fill(words)
    dialog.get_by_text(found, exact=True).first.wait_for()
    return dialog


def add_by_search(page, name: str, place: tuple[int, int]) -> None:
    """Search for a node and press Enter; a click drops the node where ComfyUI asks for a place."""
    count = page.evaluate("app.graph.nodes.length")
    dialog = search(page, name, place, name)
    page.keyboard.press("Enter")
    page.wait_for_function("count => app.graph.nodes.length > count", arg=count)
    dialog.wait_for(state="detached")
    page.mouse.click(*place)
    page.wait_for_timeout(500)


@pytest.mark.parametrize(
    ("locale", "name", "searches"),
    [
        ("en", "DiffuseIT Text Style Loss", ("clip loss", "style transfer")),
        ("en", "DiffuseIT Translate", ("text to image translation", "restyle")),
        ("ko", "DiffuseIT 변환", ("그림 번역", "스타일 변환")),
        ("ja", "DiffuseIT 変換", ("画像翻訳",)),
        ("zh", "DiffuseIT 转换", ("风格迁移",)),
    ],
)
def test_nodes_are_found_by_what_people_call_them(browser, server, locale, name, searches):
    try:
        server.post("/settings/Comfy.Locale", locale)
        page = opened(browser, server)
        page.evaluate("app.graph.clear()")
        for words in searches:
            search(page, words, (1000, 500), name)
            page.keyboard.press("Escape")
            page.wait_for_timeout(500)
        page.close()
    finally:
        server.post("/settings/Comfy.Locale", "en")


@pytest.mark.parametrize("renderer", SHOWN)
def test_a_newcomer_gets_a_result_with_four_nodes_and_three_links(page, shoot, renderer):
    """From an empty canvas: four searches, three links, Run."""
    page.evaluate("app.graph.clear()")
    page.evaluate("app.canvas.ds.scale = 0.8; app.canvas.ds.offset = [0, 0]; app.canvas.setDirty(true, true)")
    for words, place in NEWCOMER:
        add_by_search(page, words, place)
    ids = dict(page.evaluate(BY_TYPE))
    picture, models, translate, preview = (
        ids[kind] for kind in ("LoadImage", "DiffuseITLoadModels", "DiffuseITTranslate", "PreviewImage")
    )
    slots = "id => app.graph.getNodeById(id).inputs.map(({name}) => name)"
    names = page.evaluate(slots, translate)
    drag(page, models, translate, names.index("models"), output=3)
    drag(page, picture, translate, names.index("image"))
    drag(page, translate, preview, 0)
    page.evaluate("app.canvas.deselectAll()")
    shoot(f"newcomer-{renderer}-wired")
    assert page.evaluate("[app.graph.nodes.length, app.graph.links.size]") == [4, 3]
    page.get_by_test_id("queue-button").click()
    page.wait_for_function("id => app.nodeOutputs[id]?.images?.length", arg=preview, timeout=RUN_MS)
    shoot(f"newcomer-{renderer}-done")


LOADERS = """() => {
    app.graph.clear()
    return [0, 1, 2].map(number => {
        const node = LiteGraph.createNode('DiffuseITLoadCLIP')
        app.graph.add(node)
        node.pos = [100 + 500 * (number === 2), 100 + 200 * (number % 2)]
        return node.id
    })
}"""
TRANSLATE = """() => {
    app.graph.clear()
    const [models, source, translate, preview] = [
        ['DiffuseITLoadModels', 0, 400], ['DiffuseITExamplePicture', 0, 100],
        ['DiffuseITTranslate', 450, 100], ['PreviewImage', 900, 100],
    ].map(([type, x, y]) => {
        const node = LiteGraph.createNode(type)
        app.graph.add(node)
        node.pos = [x, y]
        return node
    })
    models.connect(3, translate, translate.findInputSlot('models'))
    source.connect(0, translate, translate.findInputSlot('image'))
    source.connect(1, translate, translate.findInputSlot('mask'))
    translate.connect(0, preview, 0)
    const set = (name, value) => { translate.widgets.find(widget => widget.name === name).value = value }
    for (const [name, value] of [['to_text', 'night landscape'], ['seed', 5], ['strength', 0.25]]) set(name, value)
    set('control_after_generate', 'fixed')
    return translate.id
}"""
TITLE_OF = """id => {
    const {pos} = app.graph.getNodeById(id), {ds, canvas} = app.canvas, frame = canvas.getBoundingClientRect()
    return [(pos[0] + 60 + ds.offset[0]) * ds.scale + frame.left, (pos[1] - 15 + ds.offset[1]) * ds.scale + frame.top]
}"""
GRAPH = """() => app.graph.nodes.map(node => [node.type, Object.fromEntries([
    ...(node.widgets ?? []).map(({name, value}) => [name, value]),
    ...node.inputs.filter(({link}) => link != null)
        .map(({name, link}) => [name, app.graph.getNodeById(app.graph.links.get(link).origin_id).type]),
])])"""
SLOT = """([id, direction, slot]) => {
    const node = app.graph.getNodeById(id), {ds, canvas} = app.canvas, frame = canvas.getBoundingClientRect()
    const element = [...document.querySelectorAll(`.lg-node[data-node-id="${id}"] .lg-slot--${direction}`)][slot]
    if (element) {
        const dot = (element.querySelector('[data-slot-key]') ?? element).getBoundingClientRect()
        return [dot.left + dot.width / 2, dot.top + dot.height / 2]
    }
    const [x, y] = direction === 'input' ? node.getInputPos(slot) : node.getOutputPos(slot)
    return [(x + ds.offset[0]) * ds.scale + frame.left, (y + ds.offset[1]) * ds.scale + frame.top]
}"""
FURTHER = """id => app.graph.getNodeById(id).inputs.filter(input => input.name.startsWith('further.'))
    .map(({name, link}) => [name, link == null ? null : app.graph.links.get(link).origin_id])"""


def drag(page, origin: int, target: int, slot: int, output: int = 0) -> None:
    """Draw a link from the output of one node to an input of another with the mouse."""
    start = page.evaluate(SLOT, [origin, "output", output])
    end = page.evaluate(SLOT, [target, "input", slot])
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=10)
    page.mouse.up()
    page.wait_for_timeout(500)


@pytest.mark.parametrize("renderer", SHOWN)
def test_a_clip_loader_grows_with_each_link(page, renderer):
    errors = listen(page)
    first, second, last = page.evaluate(LOADERS)
    page.evaluate("app.canvas.ds.scale = 1; app.canvas.ds.offset = [150, 0]; app.canvas.setDirty(true, true)")
    page.wait_for_timeout(1000)
    assert page.evaluate(FURTHER, last) == [["further.clip0", None]]
    drag(page, first, last, 0)
    assert page.evaluate(FURTHER, last) == [["further.clip0", first], ["further.clip1", None]]
    drag(page, second, last, 1)
    both = [["further.clip0", first], ["further.clip1", second], ["further.clip2", None]]
    assert page.evaluate(FURTHER, last) == both

    page.evaluate("flow => app.loadGraphData(flow)", page.evaluate("app.graph.serialize()"))
    page.wait_for_timeout(1000)
    assert page.evaluate(FURTHER, last) == both
    page.evaluate("id => app.graph.getNodeById(id).disconnectInput(0)", last)
    page.wait_for_timeout(500)
    left = page.evaluate(FURTHER, last)
    assert left[0] == ["further.clip0", second]
    assert {link for _, link in left[1:]} == {None}
    assert not errors


@pytest.mark.parametrize("renderer", SHOWN)
def test_a_translation_expands_to_its_losses(page, renderer):
    """By the menu of the node, in its place, as one step to undo."""
    errors = listen(page)
    id = page.evaluate(TRANSLATE)
    page.evaluate("app.canvas.ds.scale = 1; app.canvas.ds.offset = [150, 0]; app.canvas.setDirty(true, true)")
    page.wait_for_timeout(1500)
    before = page.evaluate(GRAPH)
    page.mouse.click(*page.evaluate(TITLE_OF, id), button="right")
    page.get_by_text("Expand to losses", exact=True).first.click()
    page.wait_for_function("!app.graph.nodes.some(node => node.type === 'DiffuseITTranslate')")
    page.wait_for_timeout(2500)  # until the new nodes keep their places
    nodes = dict(page.evaluate(GRAPH))
    sampler = nodes["DiffuseITSampler"]
    assert sampler | {"steps": 20, "skip": 13, "seed": 5, "control_after_generate": "fixed"} == sampler
    assert sampler["ddpm"] == "DiffuseITLoadModels"
    assert sampler["image"] == sampler["mask"] == "DiffuseITExamplePicture"
    assert nodes["PreviewImage"] == {"images": "DiffuseITSampler"}
    assert nodes["DiffuseITTextStyleLoss"]["to_text"] == "night landscape"
    assert (
        nodes["DiffuseITTextStyleLoss"]["clip"]
        == nodes["DiffuseITStructureLoss"]["vit"]
        == "DiffuseITLoadModels"
    )
    chain, loss = [], sampler["losses"]
    while loss:
        chain.append(loss)
        loss = nodes[loss].get("previous")
    kinds = [f"DiffuseIT{type(loss).__name__}" for loss in PRESETS[TEXT_DEFAULT].losses]
    assert chain[::-1] == kinds
    page.keyboard.press("Control+z")
    page.wait_for_timeout(1500)
    assert page.evaluate(GRAPH) == before
    assert not errors


VARIED = """() => {
    app.graph.clear()
    const [preset, other, variations, ...samplers] = [
        ['DiffuseITPreset', 0, 100], ['DiffuseITPreset', 0, 500], ['DiffuseITVariations', 400, 100],
        ['DiffuseITSampler', 800, 100], ['DiffuseITSampler', 1200, 100],
    ].map(([type, x, y]) => {
        const node = LiteGraph.createNode(type)
        app.graph.add(node)
        node.pos = [x, y]
        return node
    })
    for (const [from, to] of [[preset, variations], [preset, samplers[0]], [other, samplers[1]]])
        from.connect(0, to, to.findInputSlot('losses'))
    // As the server tells it after a run; the last one is more than a number of JavaScript can hold.
    variations.onExecuted({diffuseit_seeds: ['12', '10', '18446744073709551615']})
    return [variations, ...samplers].map(({id}) => id)
}"""
SEED = """id => Object.fromEntries(app.graph.getNodeById(id).widgets.map(({name, value}) => [name, value]))"""


def test_a_seed_of_variations_goes_into_the_sampler(page):
    """Into the one with the same losses, which keeps it."""
    errors = listen(page)
    variations, sampler, other = page.evaluate(VARIED)
    page.evaluate(
        "app.canvas.ds.scale = 0.9; app.canvas.ds.offset = [100, 0]; app.canvas.setDirty(true, true)"
    )
    page.wait_for_timeout(1000)
    page.mouse.click(*page.evaluate(TITLE_OF, variations), button="right")
    page.get_by_text("Use the best seed: 12", exact=True).wait_for()
    assert not page.get_by_text("18446744073709551615").count()
    page.get_by_text("Use the seed 10", exact=True).click()
    page.wait_for_timeout(300)
    assert page.evaluate(SEED, sampler) | {"seed": 10, "control_after_generate": "fixed"} == page.evaluate(
        SEED, sampler
    )
    assert page.evaluate(SEED, other)["seed"] != 10
    assert not errors
