"""What samplers and losses show of a run in ComfyUI's front end, with both renderers: the canvas and Vue ("Nodes 2.0").

Screenshots are saved in pytest's temporary folder, or in that of DIFFUSEIT_SCREENSHOTS.
"""

import functools
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("websocket", reason="needs websocket-client")
pytest.importorskip("playwright.sync_api", reason="needs playwright")

from comfyui.axe import clipped, low_contrast, violations
from comfyui.browser import FOLDER, READY, RUN_MS, START_MS
from comfyui.server import PACK, ComfyServer
from comfyui.test_browser import browser  # noqa: F401

from diffuseit import api
from diffuseit.guidance.loop import sample
from diffuseit.losses import RangeLoss, StructureLoss, TextStyleLoss, bind
from diffuseit.pocket.world.render import STYLES, render, sample_geometry
from diffuseit.pocket.world.seeds import HELD_OUT
from diffuseit.presets import PRESETS, TEXT_DEFAULT

pytestmark = [pytest.mark.comfyui, pytest.mark.slow, pytest.mark.timeout(1200)]

FLOW = json.loads((PACK / "example_workflows" / "01 Guided by words.json").read_text(encoding="utf-8"))
TEXT, STRUCTURE, COLORS, RANGE, SAMPLER = "7", "8", "9", "10", "12"
QUICK = {"steps": 7, "skip": 3, "resample": 2, "step_size": 0.5}
RESTART = {"restart_above": 1e-9, "max_restarts": 1}
ADD_SAMPLER = """([from, widgets, restart]) => {
    const set = (node, values) => Object.entries(values).forEach(([name, value]) => {
        node.widgets.find(widget => widget.name === name).value = value
    })
    const first = app.graph.getNodeById(from)
    const second = LiteGraph.createNode('DiffuseITSampler')
    second.pos = [first.pos[0] + 1000, first.pos[1]]
    app.graph.add(second)
    first.inputs.forEach((input, slot) => {
        const link = input.link == null ? null : app.graph.links.get(input.link)
        if (link) app.graph.getNodeById(link.origin_id).connect(link.origin_slot, second, slot)
    })
    const shown = LiteGraph.createNode('PreviewImage')
    shown.pos = [second.pos[0] + 400, second.pos[1]]
    app.graph.add(shown)
    second.connect(0, shown, 0)
    const options = LiteGraph.createNode('DiffuseITStartOptions')
    options.pos = [second.pos[0], second.pos[1] - 250]
    app.graph.add(options)
    options.connect(0, second, second.findInputSlot('options'))
    set(options, restart)
    set(second, widgets)
    return String(second.id)
}"""
SET = """([id, widgets]) => {
    const node = app.graph.getNodeById(id)
    for (const [name, value] of Object.entries(widgets)) node.widgets.find(w => w.name === name).value = value
}"""
MOVES = """() => {
    const curve = document.querySelector('.diffuseit-plot [data-curve=text_style]')
    if (curve) (window.seen ??= new Set()).add(curve.getAttribute('d'))
    return window.seen?.size >= 3
}"""
RUNS = """() => app.graph.nodes.filter(node => node.type === 'DiffuseITSampler')
    .map(node => [String(node.id), node.properties.diffuseit_run ?? null])"""


@pytest.fixture(scope="module")
def server(comfyui, tmp_path_factory):
    """A server of its own: the front end keeps its settings there, and these tests set some."""
    server = ComfyServer(comfyui, tmp_path_factory.mktemp("live"), folder=FOLDER)
    try:
        settings = {
            "Comfy.TutorialCompleted": True,
            "Comfy.Minimap.Visible": False,
            "Comfy.Locale": "en",
            "Comfy.VueNodes.AutoScaleLayout": False,
            "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # widgets at every zoom
        }
        for name, value in settings.items():
            server.post(f"/settings/{name}", value)
        yield server
    finally:
        server.stop()


@pytest.fixture
def visit(browser, server, tmp_path):  # noqa: F811
    """`visit(renderer, **settings)`: a page with ComfyUI and, under `said`, what our files said in its console."""
    pages = []

    def visit(renderer="classic", **settings):
        server.post("/settings/Comfy.VueNodes.Enabled", renderer == "vue")
        for name, value in settings.items():
            server.post(f"/settings/{name.replace('_', '.')}", value)
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        pages.append(page)
        page.set_default_timeout(START_MS)
        page.said = []
        page.on("console", lambda message: note(page, message))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.wait_for_function(READY, timeout=START_MS)
        page.wait_for_timeout(3000)  # the front end loads a workflow of its own last
        return page

    def note(page, message):
        ours = FOLDER in message.location.get("url", "") or "diffuseit" in message.text.lower()
        if message.type in ("error", "warning") and ours:
            page.said.append(message.text)

    yield visit
    for page in pages:
        page.close()


@pytest.fixture
def shoot(tmp_path):
    """`shoot(page, name)`: what is on the screen, as a file; `whole` fits the graph on it first."""
    folder = Path(os.environ.get("DIFFUSEIT_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)

    def shoot(page, name, whole=True):
        if whole:
            fit(page)
        page.screenshot(path=folder / f"live-{name}.png")

    return shoot


def fit(page):
    page.evaluate("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.wait_for_timeout(1500)


def open_flow(page, flow=FLOW):
    page.evaluate("flow => app.loadGraphData(flow)", flow)
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'DiffuseITSampler')")
    page.wait_for_timeout(1500)
    fit(page)


def run_all(page):
    """Queues the graph, and waits until every sampler in it has kept a new run."""
    before = {id: run and run["run"] for id, run in page.evaluate(RUNS)}
    page.get_by_test_id("queue-button").click()
    page.wait_for_function(
        f"before => ({RUNS})().every(([id, run]) => run && run.run !== before[id])",
        arg=before,
        timeout=RUN_MS,
    )
    page.wait_for_timeout(1500)
    return dict(page.evaluate(RUNS))


def panel(page, node):
    """The panel of a sampler: the one whose element its widget has."""
    page.evaluate(
        "id => { app.canvas.graph.getNodeById(id).widgets.find(w => w.name === 'diffuseit_run')"
        ".element.dataset.test = `run-${id}` }",
        node,
    )
    return page.locator(f"[data-test=run-{node}]")


def legend(page, node):
    """The last values of the curves by the names that are shown."""
    texts = panel(page, node).locator(".diffuseit-legend button").all()
    return {one.locator(".name").inner_text(): one.locator(".value").inner_text() for one in texts}


def widgets_values(flow):
    """By node; one without widgets is saved with an empty list or with none."""
    return {node["id"]: node.get("widgets_values") or [] for node in flow["nodes"]}


def shares(page):
    """What the bars of the loss nodes say, in percent, by node; an empty or a hidden bar says nothing."""
    return page.evaluate("""() => Object.fromEntries(app.canvas.graph.nodes.flatMap(node => {
        const bar = node.widgets?.find(widget => widget.name === 'diffuseit_share')
        const told = bar && !bar.element.hidden && bar.element.textContent;
        return told ? [[node.id, parseInt(told)]] : []
    }))""")


@pytest.fixture(scope="module")
def expected():
    """`expected(seed, **settings)`: each loss over the steps as the core alone computes it."""
    models = api.load_models("pocket")
    seed = HELD_OUT.start + 15
    source = render(sample_geometry("landscape", [seed]), [STYLES["landscape"].index("summer")], [seed])
    losses = bind(
        [
            TextStyleLoss(
                to="autumn landscape",
                from_="summer landscape",
                weight=2,
                lambda_s=0.4,
                lambda_i=0.2,
                crops=3,
            ),
            StructureLoss(self_similarity=1, contrastive=0.1),
            RangeLoss(weight=0.2),
        ],
        vit=models.vit,
        clip=models.clip,
    )
    default = PRESETS[TEXT_DEFAULT].sampler

    @functools.cache
    def expected(seed, step_size, **settings):
        method = replace(default.method, step_size=step_size)
        settings = replace(default, method=method, **settings)
        values: dict[str, list[float]] = {}
        for step in sample(models.ddpm, source, losses, settings, seed):
            for name, value in step.terms.items():
                values.setdefault(name, []).append(value.item())
        return values

    return expected


SEEDS = {"classic": (3, 4), "vue": (13, 14)}
"""Each renderer's own: what the server has cached it does not run, and then there is nothing to show."""


@pytest.mark.parametrize("renderer", SEEDS)
def test_two_samplers_show_their_runs_and_keep_them(visit, shoot, expected, renderer):
    page = visit(renderer)
    open_flow(page)
    page.evaluate("id => { app.graph.getNodeById(id).mode = 4 }", COLORS)  # bypassed
    seed, other = SEEDS[renderer]
    page.evaluate(SET, [SAMPLER, QUICK | {"seed": seed}])
    second = page.evaluate(ADD_SAMPLER, [SAMPLER, QUICK | {"seed": other}, RESTART])
    page.wait_for_timeout(500)
    widgets = "id => app.graph.getNodeById(id).serialize().widgets_values"
    values = page.evaluate(widgets, SAMPLER)
    assert values and None not in values
    assert "No run" in panel(page, SAMPLER).get_by_role("status").inner_text()
    size_before = len(json.dumps(page.evaluate("app.graph.serialize()")))
    shoot(page, f"{renderer}-before")

    page.get_by_test_id("queue-button").click()
    page.wait_for_function(MOVES, timeout=RUN_MS)
    shoot(page, f"{renderer}-running", whole=False)
    page.wait_for_function(f"({RUNS})().every(([id, run]) => run)", timeout=RUN_MS)
    panel(page, SAMPLER).get_by_text("About ").wait_for()
    shoot(page, f"{renderer}-done")

    runs = dict(page.evaluate(RUNS))
    first = expected(seed, **QUICK)
    again = expected(other, **QUICK, **RESTART)
    for node, values_of_core in ((SAMPLER, first), (second, again)):
        assert set(runs[node]["terms"]) == set(values_of_core)
        for name, term in runs[node]["terms"].items():
            assert term["values"] == pytest.approx(values_of_core[name], rel=2e-2, abs=1e-6), name
        shown = legend(page, node)
        names = {"text style": "text_style", "self-similarity": "self_similarity", "range": "range"}
        for name, term in names.items():
            assert float(shown[name]) == pytest.approx(values_of_core[term][-1], rel=4e-2, abs=1e-6)
    assert runs[SAMPLER]["marks"] == [[1, "resample"]]
    assert [kind for _, kind in runs[second]["marks"]] == ["resample", "restart", "resample"]

    told = shares(page)
    assert set(told) == {TEXT, STRUCTURE, RANGE}
    assert sum(told.values()) == pytest.approx(100, abs=2)
    assert page.evaluate(widgets, SAMPLER) == values

    before = {node: legend(page, node) for node in (SAMPLER, second)}
    kept = json.loads(json.dumps(page.evaluate("app.graph.serialize()")))
    assert len(json.dumps(kept)) < size_before + 12_000
    page = visit(renderer)  # which knows only what is in the file
    open_flow(page, kept)
    for node, shown in before.items():
        restored = {name: float(value) for name, value in legend(page, node).items()}
        assert restored == pytest.approx({name: float(value) for name, value in shown.items()}, rel=1e-2)
    assert shares(page) == pytest.approx(told, abs=1)  # rounded again
    assert panel(page, SAMPLER).locator(".diffuseit-filmstrip button").count() == 0
    reopened = page.evaluate("app.graph.serialize()")
    assert widgets_values(reopened) == widgets_values(kept)
    shoot(page, f"{renderer}-reopened")
    assert not page.said


@pytest.mark.parametrize("renderer", SEEDS)
def test_a_sampler_and_losses_inside_of_a_subgraph(visit, shoot, renderer):
    page = visit(renderer)
    open_flow(page)
    page.evaluate(SET, [SAMPLER, QUICK | {"steps": 6, "skip": 3, "resample": 1, "seed": SEEDS[renderer][0]}])
    page.evaluate(
        "ids => { app.canvas.graph.convertToSubgraph(new Set(ids.map(id => app.graph.getNodeById(id)))) }",
        [TEXT, STRUCTURE, RANGE, SAMPLER],
    )
    page.wait_for_timeout(1000)
    page.get_by_test_id("queue-button").click()
    inner = "app.graph.nodes.find(node => node.subgraph).subgraph"
    page.wait_for_function(f"{inner}.nodes.some(node => node.properties.diffuseit_run)", timeout=RUN_MS)
    shoot(page, f"{renderer}-subgraph-outside")
    page.evaluate(f"app.canvas.openSubgraph({inner}, app.graph.nodes.find(node => node.subgraph))")
    page.wait_for_timeout(2000)
    shoot(page, f"{renderer}-subgraph-inside")
    ids = page.evaluate(f"Object.fromEntries({inner}.nodes.map(node => [node.type, node.id]))")
    shown = legend(page, ids["DiffuseITSampler"])
    assert {"text style", "self-similarity", "contrastive", "range"} <= set(shown)
    assert set(shares(page)) == {str(id) for kind, id in ids.items() if kind.endswith("Loss")}
    assert panel(page, ids["DiffuseITSampler"]).locator(".diffuseit-filmstrip button").count() > 1
    assert not page.said


def test_pictures_are_enlarged_and_compared_by_keyboard(visit, shoot):
    page = visit("vue")
    open_flow(page)
    page.evaluate(SET, [SAMPLER, QUICK])
    run_all(page)
    frames = panel(page, SAMPLER).locator(".diffuseit-filmstrip button")
    frames.first.focus()
    page.keyboard.press("Enter")
    viewer = page.get_by_role("dialog", name="Step 1 of 5")
    viewer.wait_for()
    divider = viewer.get_by_role("slider")
    assert divider.input_value() == "0"
    shoot(page, "viewer", whole=False)
    divider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert divider.input_value() == "5"
    viewer.get_by_role("button", name="Later step").click()
    assert page.locator(".diffuseit-viewer h2").inner_text() != "Step 1 of 5"
    page.keyboard.press("Escape")
    assert page.locator(".diffuseit-viewer").count() == 0
    assert frames.first.evaluate("button => button === document.activeElement")

    panel(page, SAMPLER).get_by_role("button", name="Before and after").click()
    assert page.locator(".diffuseit-viewer input").input_value() == "50"
    shoot(page, "compare", whole=False)
    page.keyboard.press("Escape")

    plot = panel(page, SAMPLER).locator(".diffuseit-plot")
    plot.focus()
    last = plot.get_attribute("aria-valuetext")
    page.keyboard.press("Home")
    assert plot.get_attribute("aria-valuetext").startswith("Step 1 of 5, ")
    page.keyboard.press("End")
    assert plot.get_attribute("aria-valuetext") == last
    contrastive = panel(page, SAMPLER).get_by_role("button", name="contrastive")
    contrastive.press("Space")
    page.wait_for_timeout(300)
    assert contrastive.get_attribute("aria-pressed") == "false"
    assert plot.locator("[data-curve=contrastive]").count() == 0
    assert plot.locator("[data-curve=text_style]").count() == 1
    assert not page.said


def flow_with_a_run():
    """The example as if it had run: a curve that sinks by powers of ten."""
    flow = json.loads(json.dumps(FLOW))
    nodes = {str(node["id"]): node for node in flow["nodes"]}
    curves = {
        "text_style": ("text style", "#e8853d", [-1.0, -1.2, -1.4, -1.5]),
        "contrastive": ("contrastive", "#2aa7a0", [1.0, 0.1, 0.01, 0.001]),
        "range": ("range", "#8f9aa8", [None, 0.5, None, 0.1]),
    }
    nodes[SAMPLER]["properties"]["diffuseit_run"] = {
        "version": 2, "node": SAMPLER, "run": "r", "outcome": "done", "inputs": "", "batch": 1, "size": [64, 64],
        "total": 4, "done": 4, "elapsed": 2.0, "memory": 3 * 2**30,
        "calls": {"DDPM": 1}, "steps": [0, 1, 2, 3], "marks": [[1, "resample"], [2, "restart"]],
        "terms": {
            name: {"label": label, "color": color, "values": values}
            for name, (label, color, values) in curves.items()
        },
    }  # fmt: skip
    text_style = {"term": "text_style", "label": "text style", "color": "#e8853d", "share": 0.7, "last": 0.1}
    nodes[TEXT]["properties"]["diffuseit_share"] = {"version": 2, "node": TEXT, "shares": [text_style]}
    return flow


def height_of(page, curve):
    """Of each point of a curve, in pixels from the top."""
    path = page.locator(f".diffuseit-plot [data-curve={curve}]").get_attribute("d")
    return [float(point.split()[1]) for point in path.replace("h0", "").replace("M", "L").split("L") if point]


@pytest.mark.parametrize(
    ("locale", "theme", "words"),
    [("ko", "light", "로그 눈금"), ("ja", "dark", "対数目盛"), ("zh", "light", "对数刻度")],
)
def test_settings_languages_and_themes(visit, shoot, server, locale, theme, words):
    page = visit("vue" if theme == "light" else "classic", Comfy_Locale=locale, Comfy_ColorPalette=theme)
    try:
        open_flow(page, flow_with_a_run())
        here = panel(page, SAMPLER)
        log = here.get_by_role("button", name=words)
        assert log.get_attribute("aria-pressed") == "true"
        a, b, c, _ = height_of(page, "contrastive")
        assert (b - a) == pytest.approx(c - b, rel=0.2), "powers of ten are no equal steps"
        assert len(height_of(page, "range")) == 2
        log.click()
        page.wait_for_timeout(300)
        a, b, c, _ = height_of(page, "contrastive")
        assert (b - a) == pytest.approx(10 * (c - b), rel=0.1)
        shoot(page, f"{locale}-{theme}")
        page.evaluate("app.extensionManager.setting.set('DiffuseIT.Live.Show', false)")
        page.wait_for_timeout(500)
        assert here.is_hidden()
        assert not shares(page)
        assert not page.said
    finally:
        for name, value in (
            ("Comfy.Locale", "en"),
            ("Comfy.ColorPalette", "dark"),
            ("DiffuseIT.Live.Show", True),
        ):
            server.post(f"/settings/{name}", value)


def hostile_terms(count, label="x", color="#000000", values=(1.0, 2.0)):
    names = ["constructor", "__proto__", "toString", "<b>", *(f"name {number}" for number in range(count))]
    return {name: {"label": label, "color": color, "values": list(values)} for name in names[:count]}


MARKUP = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
SHARE = {"term": "constructor", "label": MARKUP, "color": "#ff0000", "share": 0.5, "last": 0.5}
BAR = {"version": 2, "node": TEXT, "shares": [SHARE, SHARE]}
SHOWN = {
    "names": {"terms": hostile_terms(4), "calls": {"constructor": 1, "__proto__": 2}},
    "markup": {"terms": hostile_terms(4, label=MARKUP), "run": MARKUP, "calls": {MARKUP: 1}},
    "numbers": {
        "terms": hostile_terms(3, values=(1e300, -1e300)),
        "total": 10**7,
        "elapsed": 1e9,
        "memory": 1e15,
    },
    "steps": {"steps": [10**7, 3], "marks": [[10**7, "restart"], [0, "resample"]], "total": 0},
}
"""Hostile saved runs that are within the bounds."""
REFUSED = {
    "version": {"version": 9},
    "old": {"version": 1, "ok": True},
    "copied": {"node": "3"},
    "many names": {"terms": hostile_terms(200_000)},
    "many marks": {"marks": [[number, "resample"] for number in range(200_000)]},
    "many points": {"steps": list(range(200_000)), "terms": hostile_terms(1, values=range(200_000))},
    "long label": {"terms": hostile_terms(1, label="x" * 1_000_000)},
    "css": {"terms": hostile_terms(1, color="red; background: url(https://example.com/)")},
    "huge number": {"total": 1e308},
    "kinds": {"terms": [1, [2]], "marks": {"length": 3}, "calls": "x"},
    "number": 3,
    "list": [],
}
"""What is not shown: changes to a saved run, or what is in its place."""

REFUSED_SHARES = {
    "many parts": {**BAR, "shares": [SHARE] * 100_000},
    "css": {**BAR, "shares": [{**SHARE, "color": "url(https://example.com/)"}]},
    "huge number": {**BAR, "shares": [{**SHARE, "share": 7}]},
    "old": [SHARE],
    "copied": {**BAR, "node": "3"},
    "kinds": {"length": 1},
    "text": "x",
}
CONFIGURE = """async ([id, name, text]) => {
    const node = app.graph.getNodeById(id)
    const data = {...node.serialize(), properties: {[name]: JSON.parse(text)}}
    const start = performance.now()
    node.configure(data)
    await new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve)))
    return (performance.now() - start) / 1000
}"""


def configure(page, node, name, value):
    """Give a node a property as the loading of a workflow does, and return the seconds that it takes."""
    text = json.dumps(value)  # Playwright would lose `__proto__`
    return page.evaluate(CONFIGURE, [node, name, text])


def open_hostile(page, run, shares):
    flow = json.loads(json.dumps(FLOW))
    nodes = {str(node["id"]): node for node in flow["nodes"]}
    nodes[SAMPLER]["properties"]["diffuseit_run"] = run
    nodes[TEXT]["properties"]["diffuseit_share"] = shares
    page.evaluate("text => app.loadGraphData(JSON.parse(text))", json.dumps(flow))
    page.wait_for_timeout(500)
    fit(page)


@pytest.mark.parametrize("renderer", SEEDS)
def test_a_hostile_workflow_is_harmless(visit, shoot, renderer):
    page = visit(renderer)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    nodes = flow_with_a_run()["nodes"]
    run = next(node["properties"]["diffuseit_run"] for node in nodes if str(node["id"]) == SAMPLER)
    run |= {"steps": [0, 1], "terms": hostile_terms(1)}

    for name, change in SHOWN.items():
        open_hostile(page, run | change, BAR)
        shoot(page, f"{renderer}-hostile-{name}", whole=False)
        plot = panel(page, SAMPLER).locator(".diffuseit-plot")
        assert plot.is_visible(), name
        assert "NaN" not in plot.inner_html(), name
        shown = (run | change)["terms"]
        assert plot.locator(".curve:not(.sum)").count() == len(shown), name
        labels = [text.inner_text() for text in panel(page, SAMPLER).locator(".diffuseit-legend .name").all()]
        assert labels[: len(shown)] == [term["label"] for term in shown.values()], name
        assert shares(page) == {TEXT: 100}

    open_hostile(page, run | REFUSED["many names"], REFUSED_SHARES["many parts"])
    for name, change in REFUSED.items():
        value = run | change if isinstance(change, dict) else change
        assert configure(page, SAMPLER, "diffuseit_run", value) < 5, name
        assert status(page), name
        assert panel(page, SAMPLER).locator(".diffuseit-plot").is_hidden(), name
    for name, value in REFUSED_SHARES.items():
        assert configure(page, TEXT, "diffuseit_share", value) < 5, name
        assert not shares(page), name

    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.querySelectorAll('.diffuseit-node :is(img, script, b)').length") == 0
    assert page.evaluate("({}).label") is None
    assert not [url for url in requests if "example.com" in url]
    assert not page.said


HOSTILE_EVENTS = """place => {
    const image = "data:image/jpeg;base64,/9j/4AAQ", markup = "<img src=x onerror='window.hacked=1'>"
    const term = {label: markup, color: "#ff0000"}
    const names = ["constructor", "toString", "hasOwnProperty"]
    const begin = {
        kind: "begin", ...place, total: 4, frame_limit: 12, memory: 1, batch: 1, size: [4, 4], sources: [image],
        losses: names.map(name => ({node: "__proto__", terms: [name]})),
        terms: Object.fromEntries(names.map(name => [name, term])),
    }
    const steps = {kind: "steps", ...place, from: 0, total: 4, elapsed: 1,
        values: [Object.fromEntries(names.map(name => [name, 1]))]}
    const svg = "data:image/svg+xml;base64,PHN2Zy8+", many = length => Array.from({length}, (_, i) => [i, "resample"])
    const send = detail => app.api.dispatchEvent(new CustomEvent("diffuseit.run", {detail}))
    for (const detail of [
        null, 3, "x", [], {}, {kind: "begin"}, {...begin, sources: [svg]}, {...begin, sources: ["https://example.com/a.png"]},
        {...begin, terms: {constructor: {label: "x", color: "url(https://example.com)"}}}, {...begin, total: 1e99},
        {...begin, losses: Array.from({length: 100000}, () => ({node: "1", terms: []}))},
    ]) send(detail)
    const shown = () => app.graph.getNodeById(place.node).widgets.find(({name}) => name === "diffuseit_run").element
    const refused = shown().querySelector(".diffuseit-plot").hasAttribute("hidden")
    send(begin)
    send(steps)
    for (const change of [
        {frames: [[0, 0, svg]]}, {frames: [[0, 0, "https://example.com/b.png"]]}, {marks: many(200000)},
        {marks: [[0, "x"]]}, {values: Array(200000).fill({})}, {values: [{constructor: "x"}]},
        {gradients: [[0, [[0, -1]]]]}, {elapsed: null},
    ]) send({...steps, ...change, from: 1})
    send({kind: "result", ...place, pictures: [svg], size: [4, 4]})
    return new Promise(resolve => setTimeout(() => resolve([refused, shown().innerHTML]), 500))
}"""


@pytest.mark.parametrize("renderer", SEEDS)
def test_hostile_events_are_harmless(visit, renderer):
    page = visit(renderer)
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    open_flow(page)
    refused, html = page.evaluate(
        HOSTILE_EVENTS, {"workflow": "", "prompt": "p", "node": SAMPLER, "run": "r"}
    )
    assert refused
    assert "&lt;img" in html and "<img" not in html and "NaN" not in html
    assert status(page).startswith("1 of 4")
    assert page.evaluate("window.hacked") is None
    assert not [url for url in requests if "example.com" in url]
    assert not page.said


def status(page, node=SAMPLER):
    return panel(page, node).get_by_role("status").inner_text()


def queue(page, **widgets):
    """Queues the graph with these values of its sampler, and waits for the first step that its panel tells of."""
    page.evaluate(SET, [SAMPLER, widgets])
    page.get_by_test_id("queue-button").click()
    panel(page, SAMPLER).get_by_text(re.compile(r"^\d+ of \d+, .* left\b")).wait_for()


def test_a_run_is_shown_in_the_tab_that_queued_it_and_in_no_other(visit, shoot, server):
    page, same, other = visit(), visit(), visit()
    for one in (page, same):
        open_flow(one)
    open_flow(other, flow_with_a_run())
    kept = legend(other, SAMPLER)
    pages = (page, same, other)
    for one in pages:
        one.evaluate(SET, [SAMPLER, QUICK | {"seed": 21}])
    run_all(page)
    shoot(page, "tab-that-queued")
    shoot(same, "tab-of-the-same-workflow")
    shoot(other, "tab-with-a-run")
    assert panel(page, SAMPLER).locator(".diffuseit-filmstrip button").count() > 1
    assert "text style" in legend(page, SAMPLER)
    assert panel(same, SAMPLER).locator(".diffuseit-plot").is_hidden() and not legend(same, SAMPLER)
    assert legend(other, SAMPLER) == kept

    # A prompt without a client's id, as scripts queue it, is told to no page.
    told = ({id: run and run["run"] for id, run in one.evaluate(RUNS)} for one in pages)
    before = list(told)
    prompt = page.evaluate("app.graphToPrompt().then(({output}) => output)")
    prompt[SAMPLER]["inputs"]["seed"] = 22
    id = server.post("/prompt", {"prompt": prompt})["prompt_id"]
    page.wait_for_function(
        "id => fetch(`/history/${id}`).then(answer => answer.json()).then(known => known[id]?.status?.completed)",
        arg=id,
        timeout=RUN_MS,
    )
    page.wait_for_timeout(1000)
    after = [{id: run and run["run"] for id, run in one.evaluate(RUNS)} for one in pages]
    assert after == before
    assert legend(other, SAMPLER) == kept and not legend(same, SAMPLER)
    assert not any(one.said for one in pages)


@pytest.mark.parametrize("renderer", SEEDS)
def test_a_run_that_the_server_did_not_survive(visit, shoot, server, renderer):
    page = visit(renderer)
    open_flow(page)
    queue(page, **QUICK | {"steps": 100, "seed": SEEDS[renderer][0] + 30})
    server.kill()
    panel(page, SAMPLER).get_by_text(re.compile(r"^No answer since step \d+ of \d+\b")).wait_for()
    assert clipped(page, ".diffuseit-node") == []
    shoot(page, f"{renderer}-server-away", whole=False)
    server.start()
    panel(page, SAMPLER).get_by_text(re.compile(r"^Failed at step \d+ of \d+\b")).wait_for()
    shoot(page, f"{renderer}-server-back", whole=False)
    assert (
        page.evaluate("id => app.graph.getNodeById(id).properties.diffuseit_run.outcome", SAMPLER) == "failed"
    )
    assert panel(page, SAMPLER).locator(".diffuseit-filmstrip button").count()

    page.evaluate(SET, [SAMPLER, QUICK | {"seed": SEEDS[renderer][1] + 30}])
    runs = run_all(page)
    assert runs[SAMPLER]["outcome"] == "done" and runs[SAMPLER]["done"] == runs[SAMPLER]["total"]
    panel(page, SAMPLER).get_by_text("About ").wait_for()
    shoot(page, f"{renderer}-server-runs-again", whole=False)
    assert not page.said


def test_a_run_goes_on_where_only_the_connection_was_lost(visit, shoot):
    page = visit()
    open_flow(page)
    socket = "([...(window.sockets ?? [])].pop() ?? app.api?.socket ?? window.comfyAPI.api.api.socket)"
    queue(page, **QUICK | {"steps": 14, "seed": 41})
    page.evaluate(f"{socket}.close()")
    page.wait_for_function(
        "/^No answer/.test(document.querySelector('.diffuseit-node [role=status]').textContent)"
    )
    panel(page, SAMPLER).get_by_text(re.compile(r"^\d+ of \d+, .* left\b")).wait_for()
    page.wait_for_function(f"({RUNS})().every(([id, run]) => run)", timeout=RUN_MS)
    (run,) = dict(page.evaluate(RUNS)).values()
    assert run["outcome"] == "done" and run["done"] == run["total"]
    assert not page.said


GROUND = """id => {
    const body = document.querySelector(`.lg-node[data-node-id="${id}"] [class*=bg-component-node-background]`)
    return body ? getComputedStyle(body).backgroundColor : LiteGraph.NODE_DEFAULT_BGCOLOR
}"""
LOOK_AT = """([id, scale]) => {
    const {ds, canvas} = app.canvas, frame = canvas.getBoundingClientRect()
    const {element} = app.graph.getNodeById(id).widgets.find(widget => widget.name === 'diffuseit_run')
    const box = element.getBoundingClientRect()
    ds.offset = [
        (200 - frame.left) / scale - (box.left - frame.left) / ds.scale + ds.offset[0],
        (130 - frame.top) / scale - (box.top - frame.top) / ds.scale + ds.offset[1],
    ]
    ds.scale = scale
    app.canvas.setDirty(true, true)
}"""


def setting(page, name, value):
    page.evaluate("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])
    page.wait_for_timeout(1000)


@pytest.mark.parametrize("renderer", SEEDS)
def test_a_run_is_accessible(visit, shoot, server, renderer):
    page = visit(renderer)
    open_flow(page)
    page.evaluate(SET, [SAMPLER, QUICK | {"steps": 5, "seed": SEEDS[renderer][0] + 50}])
    run_all(page)
    here = panel(page, SAMPLER)
    here.get_by_text("About ").wait_for()
    here.get_by_role("button", name="range").click()
    try:
        for theme in ("dark", "light"):
            setting(page, "Comfy.ColorPalette", theme)
            page.evaluate(LOOK_AT, [SAMPLER, 1])
            page.wait_for_timeout(1000)
            shoot(page, f"{renderer}-{theme}-near", whole=False)
            assert violations(page, ".diffuseit-node") == []
            ground = page.evaluate(GROUND, SAMPLER)
            assert low_contrast(page, ".diffuseit-node", ground) == []
            assert low_contrast(
                page, ".diffuseit-node", page.evaluate("getComputedStyle(document.body).color")
            )
            here.get_by_role("button", name="Before and after").click()
            page.locator(".diffuseit-viewer").wait_for()
            shoot(page, f"{renderer}-{theme}-viewer", whole=False)
            assert violations(page, ".diffuseit-viewer") == []
            page.keyboard.press("Escape")
        here.evaluate("panel => panel.append(document.createElement('button'))")
        assert "button-name" in violations(page, ".diffuseit-node")[0]
    finally:
        server.post("/settings/Comfy.ColorPalette", "dark")
    assert not page.said


@pytest.mark.parametrize("renderer", SEEDS)
def test_nothing_is_clipped_at_twice_the_size(visit, shoot, server, renderer):
    flow = flow_with_a_run()
    broken = json.loads(json.dumps(flow))
    next(node for node in broken["nodes"] if str(node["id"]) == SAMPLER)["properties"]["diffuseit_run"][
        "outcome"
    ] = "failed"
    try:
        for locale, ended in (("en", "Failed at step"), ("ko", "실패함")):
            page = visit(renderer, Comfy_Locale=locale)
            open_flow(page, flow)
            page.set_viewport_size(
                {"width": 800, "height": 450}
            )  # what the browser's zoom leaves of the page
            page.evaluate(LOOK_AT, [SAMPLER, 1])
            page.wait_for_timeout(1500)
            shoot(page, f"{renderer}-{locale}-zoomed", whole=False)
            assert clipped(page, ".diffuseit-node") == []
            page.evaluate("flow => app.loadGraphData(flow)", broken)
            panel(page, SAMPLER).get_by_text(ended).wait_for()
            page.evaluate(LOOK_AT, [SAMPLER, 2])
            page.wait_for_timeout(1500)
            shoot(page, f"{renderer}-{locale}-zoomed-canvas", whole=False)
            assert clipped(page, ".diffuseit-node") == []
            assert not page.said
        panel(page, SAMPLER).locator(".diffuseit-legend .name").first.evaluate(
            "name => { name.textContent = 'long '.repeat(60) }"
        )
        assert clipped(page, ".diffuseit-node")
    finally:
        server.post("/settings/Comfy.Locale", "en")


GUIDED = {
    "1": ("DiffuseITLoadPocketLatent", {}),
    "2": ("DiffuseITLoadCLIP", {"model": "pocket"}),
    "3": ("DiffuseITLoadViT", {"model": "pocket", "layer": -1}),
    "4": ("DiffuseITExamplePicture", {"picture": "summer landscape", "scene": 0}),
    "5": (
        "DiffuseITStructureLoss",
        {"vit": ["3", 0], "self_similarity": 1.0, "contrastive": 0.1, "detail": 1.0},
    ),
    "6": ("DiffuseITRangeLoss", {"weight": 0.2, "previous": ["5", 0]}),
    "7": (
        "DiffuseITGuideModel",
        {
            **{"model": ["1", 0], "image": ["4", 0], "losses": ["6", 0], "vae": ["1", 1]},
            **{"step_size": 1.0, "start": 0.0, "end": 0.85},
        },
    ),
    "8": ("DiffuseITPocketText", {"clip": ["2", 0], "text": "winter landscape"}),
    "9": ("DiffuseITPocketText", {"clip": ["2", 0], "text": ""}),
    "10": ("VAEEncode", {"pixels": ["4", 0], "vae": ["1", 1]}),
    "11": (
        "KSampler",
        {
            **{"model": ["7", 0], "positive": ["8", 0], "negative": ["9", 0], "latent_image": ["10", 0]},
            **{"seed": 1, "steps": 6, "cfg": 2.0, "denoise": 0.7},
            **{"sampler_name": "euler_ancestral", "scheduler": "simple"},
        },
    ),
    "12": ("VAEDecode", {"samples": ["11", 0], "vae": ["1", 1]}),
    "13": ("PreviewImage", {"images": ["12", 0]}),
    "14": (
        "DiffuseITLatentSampler",
        {
            **{"image": ["4", 0], "losses": ["6", 0], "vae": ["1", 1]},
            **{"method": "mpgd", "resample": 2, "step_size": 1.0},
        },
    ),
    "15": ("RandomNoise", {"noise_seed": 2}),
    "16": ("CFGGuider", {"model": ["1", 0], "positive": ["8", 0], "negative": ["9", 0], "cfg": 2.0}),
    "17": ("BasicScheduler", {"model": ["1", 0], "scheduler": "simple", "steps": 6, "denoise": 0.7}),
    "18": (
        "SamplerCustomAdvanced",
        {
            **{"noise": ["15", 0], "guider": ["16", 0], "sampler": ["14", 0]},
            **{"sigmas": ["17", 0], "latent_image": ["10", 0]},
        },
    ),
    "19": ("VAEDecode", {"samples": ["18", 0], "vae": ["1", 1]}),
    "20": ("PreviewImage", {"images": ["19", 0]}),
}
"""Guide Model before core's sampler, and Latent Sampler in SamplerCustomAdvanced."""


@pytest.mark.parametrize("renderer", SEEDS)
def test_the_nodes_that_guide_models_show_what_the_samplers_of_comfyui_do(visit, shoot, renderer):
    page = visit(renderer)
    nodes = {id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in GUIDED.items()}
    nodes["11"]["inputs"]["seed"] = nodes["15"]["inputs"]["noise_seed"] = SEEDS[renderer][0]
    page.evaluate("nodes => app.loadApiJson(nodes, 'guided')", nodes)
    page.wait_for_function("app.graph.getNodeById(20)", timeout=START_MS)
    page.wait_for_timeout(1500)
    page.get_by_test_id("queue-button").click()
    guided = {"7": 6, "14": 6 + 1}
    page.wait_for_function(
        "ids => ids.every(id => app.graph.getNodeById(id).properties.diffuseit_run)",
        arg=list(guided),
        timeout=RUN_MS,
    )
    page.wait_for_timeout(2000)
    for node, steps in guided.items():
        run = page.evaluate("id => app.graph.getNodeById(id).properties.diffuseit_run", node)
        assert run["total"] == steps
        assert {"self-similarity", "contrastive", "range"} <= set(legend(page, node))
        assert panel(page, node).locator(".diffuseit-filmstrip button").count() == steps
        assert "per step" in panel(page, node).inner_text()
    told = shares(page)
    assert set(told) == {"5", "6"}
    shoot(page, f"{renderer}-guided-models")
    assert not page.said
