"""The sidebar's panel in ComfyUI's front end: models, downloads, inserted graphs, accessibility, languages.

Screenshots are saved in pytest's temporary folder, or in that of DIFFUSEIT_SCREENSHOTS.
"""

import json
import os
import re
from itertools import combinations
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

pytest.importorskip("websocket", reason="needs websocket-client")
pytest.importorskip("playwright.sync_api", reason="needs playwright")

from comfyui.axe import violations
from comfyui.browser import FOLDER, RUN_MS, SETTINGS, launched, listen, opened
from comfyui.conftest import write_inputs
from comfyui.server import ComfyServer
from hostile_server import hub, running

from diffuseit.models.hub.catalog import catalog, entry_named, members
from diffuseit.pocket.files import FLUX, TAESD
from diffuseit.presets import IMAGE_DEFAULT, PRESETS, TEXT_DEFAULT

pytestmark = [pytest.mark.comfyui, pytest.mark.slow, pytest.mark.timeout(1200)]

HERE = entry_named("dino-s16")  # its file lies in the folder when the server starts
SERVED, SLOW, GONE = entry_named("dinov2-s14"), entry_named("dinov2-b14"), entry_named("dinov2-l14")
CONTENT = os.urandom(700_001)
ROOT = Path(__file__).resolve().parents[2]
WORDS = ROOT / "web" / "js" / "shared" / "words"
GRAPHS = ("pocket-text", "pocket-image", "paper-text", "paper-image")
PANEL = ".diffuseit-sidebar"
NODES = """app.graph.nodes.map(node => ({id: node.id, type: node.type, pos: [...node.pos], size: [...node.size],
    missing: node.inputs.filter(slot => slot.link == null && !slot.widget && slot.shape !== 7).map(slot => slot.name),
    values: (node.widgets ?? []).map(widget => widget.value),
    named: Object.fromEntries((node.widgets ?? []).map(widget => [widget.name, widget.value]))}))"""
GROUPS = "app.graph.groups.map(group => ({title: group.title, pos: [...group.pos], size: [...group.size]}))"
IN_SIGHT = """() => {
    const {ds, canvas} = app.canvas, [group] = app.graph.groups;
    const left = (group.pos[0] + ds.offset[0]) * ds.scale;
    const covered = document.querySelector(".diffuseit-sidebar").getBoundingClientRect().right;
    return left > covered && left + group.size[0] * ds.scale < canvas.getBoundingClientRect().width
}"""
QUICK = """() => {
    const sampler = app.graph.nodes.find(node => node.type === "DiffuseITSampler");
    for (const [name, value] of [["steps", 8], ["skip", 3], ["resample", 1]])
        sampler.widgets.find(widget => widget.name === name).value = value
}"""
SHOW_ADVANCED = """() => document.querySelectorAll('.lg-node button').forEach(button => {
    if (button.textContent.includes('Show advanced inputs')) button.click()
})"""
TITLE = 30  # height of a node's title, which lies above its position


@pytest.fixture(scope="module")
def models():
    """A hub on the loopback address that has two of the catalog's models, each 700 kB."""
    with running() as server:
        quick = hub({f"{SERVED.hub.repo}/{SERVED.hub.file}": CONTENT}, pause=0.15)
        slow = hub({f"{SLOW.hub.repo}/{SLOW.hub.file}": CONTENT}, pause=2)
        server.acts = [lambda handler: (slow if SLOW.hub.repo in handler.path else quick)(handler)]
        yield server


@pytest.fixture(scope="module")
def server(comfyui, models, tmp_path_factory):
    base = tmp_path_factory.mktemp("panel")
    write_inputs(base / "input")
    (base / "models" / "diffuseit").mkdir(parents=True)
    (base / "models" / "diffuseit" / HERE.file).write_bytes(b"any")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", models.url)
        patch.setenv("HF_HOME", str(base / "hub"))
        for name in [name for name in os.environ if name.upper().endswith("_PROXY")]:
            patch.delenv(name)
        started = ComfyServer(comfyui, base, folder=FOLDER)
    try:
        for name, value in SETTINGS.items():
            started.post(f"/settings/{name}", value)
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="module")
def shared_page(server):
    """One page for all tests, which open and close the panel, and change settings, as a person does."""
    with launched() as browser:
        page = opened(browser, server)
        page.set_default_timeout(30_000)
        page.heard = listen(page)
        page.on("console", lambda message: page.heard.extend([message.text] if is_ours(message) else []))
        yield page


@pytest.fixture
def page(shared_page):
    """The page with an empty canvas and the panel open; afterwards nobody may have complained."""
    shared_page.heard.clear()
    shared_page.evaluate("app.clean(); app.graph.clear()")  # with the pictures of earlier runs
    open_panel(shared_page)
    yield shared_page
    assert not shared_page.heard


@pytest.fixture
def shoot(page, tmp_path):
    folder = Path(os.environ.get("DIFFUSEIT_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return lambda name: page.screenshot(path=folder / f"panel-{name}.png")


def is_ours(message) -> bool:
    """A warning that names us, or comes from a file of ours."""
    place = message.location.get("url", "")
    return message.type == "warning" and "diffuseit" in f"{message.text} {place}".lower()


def tab(page):
    return page.get_by_role("button", name=re.compile("^DiffuseIT: ")).first


def open_panel(page):
    """With the keyboard; anew if it is open."""
    if page.locator(PANEL).count():
        tab(page).press("Enter")
        page.locator(PANEL).wait_for(state="detached")
    tab(page).press("Enter")
    page.locator(f"{PANEL} .diffuseit-group").first.wait_for()


def unfold(page):
    folded = page.locator(f"{PANEL} .diffuseit-group:not([open]) > summary")
    while folded.count():
        folded.first.press("Enter")


def row(page, name: str):
    return page.locator(f"{PANEL} [data-model='{name}']")


def setting(page, name: str, value) -> None:
    page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])
    page.wait_for_timeout(500)


def set_renderer(page, vue: bool) -> None:
    setting(page, "Comfy.VueNodes.Enabled", vue)


DRAWN = """id => {
    const element = document.querySelector(`.lg-node[data-node-id="${id}"]`);
    return element && [element.offsetWidth, element.offsetHeight]
}"""


def draw_sizes(page, nodes: list[dict]) -> None:
    """Gives the nodes the sizes that the Vue renderer has drawn them with."""
    for node in nodes:
        width, height = page.evaluate(DRAWN, node["id"])
        node["size"] = [width, height - TITLE]


def box(thing: dict, title: int = 0) -> tuple[float, float, float, float]:
    (x, y), (width, height) = thing["pos"], thing["size"]
    return x, y - title, x + width, y + height


def overlap(a, b) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_models_that_are_here_and_that_are_not(page, server, shoot):
    unfold(page)
    states = {
        element.get_attribute("data-model"): element.get_attribute("data-state")
        for element in page.locator(f"{PANEL} [data-model]").all()
    }
    assert list(states) == [
        entry.name
        for kind in ("ddpm", "vit", "clip", "measure", "watermark", "flow")
        for entry in catalog().values()
        if entry.kind == kind
    ]
    assert {name for name, state in states.items() if state == "present"} == {HERE.name}
    assert set(states.values()) == {"present", "missing"}
    assert not row(page, HERE.name).get_by_role("button").count()
    text = row(page, "dino-b8").inner_text()
    assert "343 MB" in text and "Apache-2.0" in text and "Missing" in text
    assert "part of the pack" in page.locator(PANEL).inner_text()
    by_hand = row(page, "ffhq-10m").locator(".diffuseit-manual")
    by_hand.locator("summary").press("Enter")
    assert by_hand.get_by_role("link").get_attribute("href").startswith("https://drive.google.com/")
    assert entry_named("ffhq-10m").file in by_hand.inner_text()
    paper = page.locator(f"{PANEL} [data-bundle=paper]").inner_text()
    assert f"0 of {len(members('paper'))} installed" in paper and "6.0 GB" in paper
    shoot("models")


def test_one_press_puts_the_pocket_files_where_core_loads_them(page, server, shoot):
    files = page.locator(f"{PANEL} [data-files=pocket]")
    button = files.get_by_role("button", name="Put the pocket files into models/")
    blocked = server.base / "models" / TAESD.folder / TAESD.name
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_bytes(b"something else")
    button.press("Enter")
    files.get_by_role("alert").wait_for()
    assert f"{blocked} is another file: rename it" in files.get_by_role("alert").inner_text()
    page.heard.clear()  # the browser tells of the answer 409
    blocked.unlink()
    button.press("Enter")
    page.locator(f"{PANEL} [data-files=pocket][data-state=present]").wait_for()
    assert not button.is_visible() and not files.get_by_role("alert").is_visible()
    assert files.evaluate("row => row.contains(document.activeElement)"), "the focus is lost"
    for file, loader in ((FLUX, "UNETLoader"), (TAESD, "VAELoader")):
        page.wait_for_function(
            "([loader, file]) => LiteGraph.createNode(loader).widgets[0].options.values.includes(file)",
            arg=[loader, file.name],
        )
    shoot("pocket-files")


def test_help_leads_to_the_repository(page):
    links = page.locator(f"{PANEL} .diffuseit-links a")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    repository = re.search(r'Repository = "(.*)"', project)[1]
    addresses = [link.get_attribute("href") for link in links.all()]
    assert len(addresses) == 3 and all(address.startswith(repository) for address in addresses)
    pages = [address.partition("/blob/main/")[2] for address in addresses if "/blob/main/" in address]
    assert pages and all((ROOT / name).is_file() for name in pages)


def test_nothing_is_fetched_before_the_user_agrees(page, server, models, shoot):
    unfold(page)
    models.requests.clear()
    button = row(page, SERVED.name).get_by_role("button")
    button.press("Enter")
    dialog = page.get_by_role("dialog")
    text = dialog.inner_text()
    folder = server.base / "models" / "diffuseit"
    assert all(
        part in text for part in (SERVED.name, "88 MB", SERVED.terms, SERVED.limits, str(folder), "127.0.0.1")
    )
    shoot("confirm")
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    assert not models.requests and not (folder / SERVED.file).exists()
    assert button.evaluate("button => button === document.activeElement"), "the focus is lost"

    button.press("Enter")
    dialog.get_by_role("button", name="Confirm").click()
    page.wait_for_function(
        "name => document.querySelector(`[data-model=${name}] progress`).value > 20", arg=SERVED.name
    )
    shoot("progress")
    page.locator(f"[data-model={SERVED.name}][data-state=present]").wait_for()
    assert (folder / SERVED.file).read_bytes() == CONTENT
    assert not button.is_visible()
    page.wait_for_function(
        "file => LiteGraph.createNode('DiffuseITLoadViT').widgets[0].options.values.includes(file)",
        arg=SERVED.file,
    )


def test_a_download_that_fails_says_why_and_one_can_be_stopped(page, server):
    unfold(page)
    for entry in (GONE, SLOW):
        row(page, entry.name).get_by_role("button").click()
        page.get_by_role("dialog").get_by_role("button", name="Confirm").click()
    alert = row(page, GONE.name).get_by_role("alert")
    alert.wait_for()
    assert f"has no file {GONE.hub.file} any more" in alert.inner_text()
    assert row(page, GONE.name).get_by_role("button").inner_text() == "Try again"
    page.evaluate(
        "job => app.api.dispatchEvent(new CustomEvent('diffuseit.download', {detail: job}))",
        {
            "name": GONE.name,
            "state": "failed",
            "done": 0,
            "total": 1,
            "error": "long",
            "host": "models.invalid",
        },
    )
    folder = server.base / "models" / "diffuseit"
    alert.get_by_text(
        f"No connection to models.invalid. Try again, or save the file by hand as {GONE.file} in {folder}."
    ).wait_for()
    address = alert.get_by_role("link", name="Open the page").get_attribute("href")
    assert address.endswith(urlsplit(GONE.address).path)
    stop = row(page, SLOW.name).get_by_role("button", name="Stop")
    stop.wait_for()
    page.locator(f"[data-model={SLOW.name}][data-state=running]").wait_for()
    open_panel(page)  # which knows what goes on
    unfold(page)
    page.locator(f"[data-model={SLOW.name}][data-state=running]").wait_for()
    stop.press("Enter")
    page.locator(f"[data-model={SLOW.name}][data-state=missing]").wait_for()
    assert not (server.base / "models" / "diffuseit" / SLOW.file).exists()


def post(server, body: bytes, kind: str = "application/json") -> int:
    request = Request(f"http://127.0.0.1:{server.port}/diffuseit/downloads", body, {"Content-Type": kind})
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


def test_the_server_takes_names_of_the_catalog_and_nothing_else(server, models):
    models.requests.clear()
    good = json.dumps({"name": GONE.name}).encode()
    assert post(server, good, "text/plain") == 415
    assert post(server, good, "application/x-www-form-urlencoded") == 415
    assert post(server, b"{") == 400
    for body in (
        ["dinov2-l14"],
        {},
        {"name": 3},
        {"name": GONE.name, "url": models.url},
        {"name": GONE.name, "folder": "/tmp"},
    ):
        assert post(server, json.dumps(body).encode()) == 400
    for name in ("../../escape", "dinov2-l14/../x", models.url, "", HERE.name, "ffhq-10m"):
        assert post(server, json.dumps({"name": name}).encode()) == 404
    assert not models.requests


def contains(outer, inner):
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def assert_preset(nodes, preset):
    """The nodes of a graph say what the preset says: its losses and the sampler."""
    named = {node["type"]: node["named"] for node in nodes}
    kinds = [kind for kind in named if kind.endswith("Loss")]
    assert kinds == [f"DiffuseIT{type(loss).__name__}" for loss in preset.losses]
    for loss in preset.losses:
        widgets = named[f"DiffuseIT{type(loss).__name__}"]
        words = {"cls_token": "cls", "to_text": None, "from_text": None, "detail": None}
        for name, value in widgets.items():
            field = words.get(name, name)
            if field and hasattr(loss, field):
                assert value == getattr(loss, field), (name, preset.name)
    for name, value in named["DiffuseITSampler"].items():
        if isinstance(getattr(preset.sampler, name, None), int | float | str):
            assert value == getattr(preset.sampler, name), name


def ensemble(prompt, preset):
    """The files of the CLIP loaders, one behind the other, that are linked to a preset."""
    (inputs,) = (node["inputs"] for node in prompt.values() if node["inputs"].get("preset") == preset)
    link = inputs["clip"]
    while link:
        inputs = prompt[link[0]]["inputs"]
        yield inputs["model"]
        link = inputs.get("further.clip0")


def assert_tidy(nodes, groups):
    """Nodes do not overlap, nor do groups, and each node is in one group."""
    for a, b in combinations([box(node, TITLE) for node in nodes], 2):
        assert not overlap(a, b)
    for a, b in combinations([box(group) for group in groups], 2):
        assert not overlap(a, b)
    for node in nodes:
        assert len([group for group in groups if contains(box(group), box(node, TITLE))]) == 1, node


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_graphs_land_wired_and_tidy_and_can_be_undone(page, vue, shoot):
    set_renderer(page, vue)
    for number, graph in enumerate(GRAPHS, 1):
        page.locator(f"[data-graph={graph}]").press("Enter")
        page.locator(f"[data-graph={graph}]:not([disabled])").wait_for()
        assert len(page.evaluate(GROUPS)) == number
        page.wait_for_timeout(500)  # ComfyUI merges changes within 50 ms into one step to undo
    page.wait_for_timeout(1000)
    nodes, groups = page.evaluate(NODES), page.evaluate(GROUPS)
    shoot(f"graphs-{'vue' if vue else 'canvas'}")
    if vue:
        page.evaluate(SHOW_ADVANCED)
        page.wait_for_timeout(1500)
        draw_sizes(page, nodes)
    assert [node for node in nodes if node["missing"]] == []
    assert_tidy(nodes, groups)
    for graph, preset in zip(groups, (TEXT_DEFAULT, IMAGE_DEFAULT), strict=False):
        inside = [node for node in nodes if contains(box(graph), box(node, TITLE))]
        assert_preset(inside, PRESETS[preset])
    values = [value for node in nodes for value in node["values"]]
    assert all(entry.file in values for entry in members("paper"))
    prompt = page.evaluate("app.graphToPrompt().then(({output}) => output)")
    clips = [entry.file for entry in members("paper") if entry.kind == "clip"]
    assert sorted(ensemble(prompt, "official-text")) == sorted(clips)

    page.locator("#graph-canvas").focus()
    page.keyboard.press("Control+z")
    page.wait_for_function("app.graph.groups.length === 3")
    page.wait_for_function("count => app.graph.nodes.length === count", arg=len(nodes) - 7)


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_a_dropped_graph_runs_to_a_picture(page, vue, shoot):
    set_renderer(page, vue)
    graph = "pocket-image" if vue else "pocket-text"
    page.locator(f"[data-graph={graph}]").click()
    page.locator(f"[data-graph={graph}]:not([disabled])").wait_for()
    seen = page.evaluate(IN_SIGHT)
    assert seen, "the group lies under the panel or beyond the edge"
    page.evaluate(QUICK)
    page.get_by_test_id("queue-button").click()
    page.wait_for_function(
        """() => { const preview = app.graph.nodes.find(node => node.type === 'PreviewImage');
        return app.nodeOutputs[preview.id]?.images?.length }""",
        timeout=RUN_MS,
    )
    page.wait_for_timeout(1500)
    shoot(f"ran-{'vue' if vue else 'canvas'}")
    nodes = page.evaluate(NODES)
    if vue:
        draw_sizes(page, nodes)
    assert_tidy(nodes, page.evaluate(GROUPS))


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("zoom", [1, 2])
def test_the_panel_is_accessible(page, theme, zoom, shoot):
    size = page.viewport_size
    try:
        setting(page, "Comfy.ColorPalette", theme)
        # The browser's zoom leaves the page that much less room.
        page.set_viewport_size({name: value // zoom for name, value in size.items()})
        page.wait_for_timeout(500)
        unfold(page)
        for summary in page.locator(f"{PANEL} .diffuseit-manual summary").all()[:1]:
            summary.press("Enter")
        shoot(f"{theme}-{zoom}")
        wide = page.evaluate(
            f"(({{scrollWidth, clientWidth}}) => scrollWidth - clientWidth)(document.querySelector('{PANEL}'))"
        )
        assert wide <= 0, "the panel has to be scrolled sideways"
        assert violations(page, PANEL) == []
        page.locator(PANEL).evaluate("panel => panel.append(document.createElement('button'))")
        assert "button-name" in violations(page, PANEL)[0]
    finally:
        page.set_viewport_size(size)
        setting(page, "Comfy.ColorPalette", "dark")


@pytest.mark.parametrize("language", ["ko", "zh"])
def test_the_panel_speaks_comfyuis_language(page, language, shoot):
    words = json.loads((WORDS / f"{language}.json").read_text(encoding="utf-8"))
    try:
        setting(page, "Comfy.Locale", language)
        open_panel(page)
        unfold(page)
        text = page.locator(PANEL).inner_text()
        assert page.locator(PANEL).get_attribute("lang") == language
        assert all(
            words["sidebar"][key] in text
            for key in ("start", "models", "pocket", "state.missing", "help.issues")
        )
        assert all(words["catalog"][entry.purpose] in text for entry in catalog().values())
        shoot(language)
    finally:
        setting(page, "Comfy.Locale", "en")
