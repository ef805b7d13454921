"""That every figure on the screen belongs to its node and its run, whatever ComfyUI does with nodes in between.

With both renderers. Screenshots are saved in pytest's temporary folder, or in that of DIFFUSEIT_SCREENSHOTS.
"""

import json
import re

import pytest

pytest.importorskip("websocket", reason="needs websocket-client")
pytest.importorskip("playwright.sync_api", reason="needs playwright")

from comfyui.axe import clipped, low_contrast
from comfyui.browser import READY, RUN_MS, START_MS
from comfyui.conftest import write_inputs
from comfyui.server import PACK
from comfyui.test_browser import browser  # noqa: F401
from comfyui.test_live import (  # noqa: F401
    FLOW,
    GROUND,
    LOOK_AT,
    QUICK,
    RANGE,
    SAMPLER,
    SET,
    STRUCTURE,
    TEXT,
    legend,
    open_flow,
    panel,
    queue,
    run_all,
    server,
    setting,
    shares,
    shoot,
    status,
    visit,
)

pytestmark = [pytest.mark.comfyui, pytest.mark.slow, pytest.mark.timeout(1200)]

RENDERERS = {"classic": 500, "vue": 600}
"""Each renderer's own seeds: what the server has cached it does not run."""
SHORT = QUICK | {"steps": 6, "skip": 3, "resample": 1}
LONG = QUICK | {"steps": 60, "resample": 1}
ON_SCREEN = """id => app.canvas.graph.getNodeById(id).widgets.filter(({name}) => name.startsWith('diffuseit_'))
    .every(({element}) => element.isConnected && element.closest('[data-node-id], .dom-widget'))"""
STALE = """() => {
    const own = app.canvas.graph.nodes.flatMap(({widgets}) => widgets ?? []).map(({element}) => element)
    return [...document.querySelectorAll('.lg-node .diffuseit-node')].filter(one => !own.includes(one)).length
}"""
IDS = "types => types.map(type => app.canvas.graph.nodes.filter(node => node.type === type).map(({id}) => String(id)))"
WIDGET = "([id, name]) => app.canvas.graph.getNodeById(id).widgets.find(widget => widget.name === name)"
ENDED = "!document.querySelector('[data-testid=queue-button]').closest('body').innerText.match(/[1-9]\\d* active/)"


NEW = """
    const sampler = app.graph.getNodeById(id)
    const add = (type, widgets, left = -400) => {
        const node = LiteGraph.createNode(type)
        node.pos = [sampler.pos[0] + left, sampler.pos[1] - 500]
        app.graph.add(node)
        for (const [name, value] of Object.entries(widgets)) {
            const widget = node.widgets.find(one => one.name === name)
            widget.value = value
            widget.callback?.(value)
        }
        return node
    }
    const connect = (node, output, input) => node.connect(output, sampler, sampler.findInputSlot(input))
"""
TINY_SOURCE = f"id => {{ {NEW} connect(add('EmptyImage', {{width: 4, height: 4}}), 0, 'image') }}"
PHOTO = f"""id => {{ {NEW}
    const photo = add('LoadImage', {{image: 'wide.png'}})
    connect(photo, 0, 'image')
    connect(photo, 1, 'mask')
}}"""
BATCH = f"""id => {{ {NEW}
    const slot = sampler.inputs[sampler.findInputSlot('image')]
    const source = app.graph.getNodeById(app.graph.links.get(slot.link).origin_id)
    sampler.disconnectInput(sampler.findInputSlot('mask'))
    const batch = add('RepeatImageBatch', {{amount: 3}}, -800)
    source.connect(0, batch, 0)
    connect(batch, 0, 'image')
}}"""
PRESET = (
    f"""([id, name]) => {{ {NEW} connect(add('DiffuseITPreset', {{preset: name}}, -1200), 1, 'options') }}"""
)
PLACE = """([id, name]) => {
    const node = app.graph.getNodeById(id), widget = node.widgets.find(one => one.name === name)
    const {ds, canvas} = app.canvas, frame = canvas.getBoundingClientRect()
    const x = node.pos[0] + node.size[0] / 2, y = node.pos[1] + widget.last_y + 10
    return [(x + ds.offset[0]) * ds.scale + frame.left, (y + ds.offset[1]) * ds.scale + frame.top]
}"""


@pytest.fixture(autouse=True)
def inputs(server):  # noqa: F811
    write_inputs(server.base / "input")


@pytest.fixture(params=RENDERERS)
def renderer(request):
    return request.param


@pytest.fixture
def seed(renderer):
    return RENDERERS[renderer]


def assert_on_screen(page, *nodes):
    """Assert that nodes show the elements of their own widgets, and that no element of a gone node is left."""
    for node in nodes:
        assert page.evaluate(ON_SCREEN, node), f"node {node} does not show its own widget"
    assert page.evaluate(STALE) == 0


def saved_run(page, node=SAMPLER):
    return page.evaluate("id => app.canvas.graph.getNodeById(id).properties.diffuseit_run ?? null", node)


def notes(page, node=SAMPLER):
    return [line.inner_text() for line in panel(page, node).locator(".note").all()]


def press(page, keys):
    page.locator("#graph-canvas").focus()
    page.keyboard.press(keys)
    page.wait_for_timeout(1500)


def capture(page):
    """Have ComfyUI take a change of a widget by a script as a step to undo, as it does with one by a person."""
    page.mouse.click(900, 860)
    page.keyboard.press("Escape")
    page.wait_for_timeout(1000)


def wait_until_ended(page):
    page.wait_for_timeout(1000)
    page.wait_for_function(ENDED, timeout=RUN_MS)
    page.wait_for_timeout(1500)


def test_undo_and_redo_leave_the_panels_alive(visit, shoot, renderer, seed):  # noqa: F811
    page = visit(renderer)
    open_flow(page)
    page.evaluate(SET, [SAMPLER, SHORT | {"seed": seed}])
    run_all(page)
    told, shown = shares(page), legend(page, SAMPLER)
    page.evaluate(SET, [TEXT, {"weight": 1.0}])
    capture(page)
    for keys, weight in (("Control+z", 2), ("Control+y", 1), ("Control+z", 2)):
        press(page, keys)
        assert page.evaluate(f"({WIDGET})(['{TEXT}', 'weight']).value") == weight
        assert_on_screen(page, SAMPLER, TEXT, STRUCTURE)
        assert shares(page) == told
        assert legend(page, SAMPLER) == shown
    page.evaluate(SET, [SAMPLER, LONG | {"seed": seed + 1}])
    page.get_by_test_id("queue-button").click()
    line = panel(page, SAMPLER).get_by_text(re.compile(r"^\d+ of 57, .* left"))
    line.wait_for()
    assert line.is_visible()
    shoot(page, f"display-{renderer}-undone")
    page.evaluate("app.api.interrupt()")
    panel(page, SAMPLER).get_by_text("Stopped at step").wait_for()
    assert not page.said


def test_the_panel_of_properties_leaves_the_widget_its_width(visit, shoot, renderer, seed):  # noqa: F811
    page = visit(renderer)
    open_flow(page)
    page.evaluate(SET, [SAMPLER, SHORT | {"seed": seed + 10}])
    run_all(page)
    here = panel(page, SAMPLER)
    before = here.bounding_box()
    page.get_by_role("button", name="Toggle properties panel").first.click()
    page.evaluate("id => app.canvas.selectNode(app.graph.getNodeById(id))", SAMPLER)
    inputs = page.get_by_text("step_size", exact=True).last
    inputs.wait_for()
    page.wait_for_timeout(1500)
    shoot(page, f"display-{renderer}-properties", whole=False)
    assert here.bounding_box()["width"] == pytest.approx(before["width"], rel=0.01)
    assert here.bounding_box()["height"] == pytest.approx(before["height"], rel=0.01)
    assert page.get_by_text(re.compile("^diffuseit_")).count() == 0
    assert not page.said


def test_copies_of_a_file_in_two_tabs_show_their_own_runs(visit, shoot, renderer, seed):  # noqa: F811
    page = visit(renderer)
    tab = "app.extensionManager.workflow.activeWorkflow.filename"
    open_flow(page)
    first = page.evaluate(tab)
    page.evaluate(SET, [SAMPLER, SHORT | {"seed": seed + 20}])
    run = run_all(page)[SAMPLER]["run"]
    kept = legend(page, SAMPLER)
    open_flow(page)
    page.wait_for_function(f"first => {tab} !== first", arg=first)
    panel(page, SAMPLER).locator(".diffuseit-plot").wait_for(state="hidden")
    assert not shares(page)
    page.evaluate(SET, [SAMPLER, LONG | {"seed": seed + 21}])
    page.get_by_test_id("queue-button").click()
    panel(page, SAMPLER).get_by_text(re.compile(r"^\d+ of 57, .* left")).wait_for()

    # The other copy of the same file shows nothing of the run that goes on.
    page.get_by_text(first, exact=True).first.click()
    page.wait_for_timeout(2500)
    assert_on_screen(page, SAMPLER, TEXT)
    assert legend(page, SAMPLER) == kept and saved_run(page)["run"] == run
    assert panel(page, SAMPLER).locator(".diffuseit-filmstrip button").count() > 1
    shoot(page, f"display-{renderer}-other-copy")
    assert not page.said


def test_a_renderer_and_a_subgraph_are_changed_with_results_on_the_screen(visit, renderer, seed):  # noqa: F811
    page = visit(renderer)
    open_flow(page)
    page.evaluate(SET, [SAMPLER, SHORT | {"seed": seed + 30}])
    run_all(page)
    shown = legend(page, SAMPLER)
    for vue in (renderer != "vue", renderer == "vue"):
        setting(page, "Comfy.VueNodes.Enabled", vue)
        page.wait_for_timeout(1500)
        assert_on_screen(page, SAMPLER, TEXT)
        assert legend(page, SAMPLER) == shown
    page.evaluate(
        "ids => { app.canvas.graph.convertToSubgraph(new Set(ids.map(id => app.graph.getNodeById(id)))) }",
        [TEXT, STRUCTURE, RANGE, SAMPLER],
    )
    inner = "app.graph.nodes.find(node => node.subgraph)"
    for _ in range(2):
        page.evaluate(f"app.canvas.openSubgraph({inner}.subgraph, {inner})")
        page.wait_for_timeout(1500)
        (sampler,), (text,) = page.evaluate(IDS, ["DiffuseITSampler", "DiffuseITTextStyleLoss"])
        assert_on_screen(page, sampler, text)
        assert legend(page, sampler) == shown
        page.evaluate("app.canvas.setGraph(app.rootGraph ?? app.graph)")
        page.wait_for_timeout(1500)
    assert not page.said


def test_pasted_nodes_have_not_run(visit, shoot, renderer, seed):  # noqa: F811
    page = visit(renderer)
    open_flow(page)
    page.evaluate(SET, [SAMPLER, SHORT | {"seed": seed + 40}])
    run_all(page)
    page.evaluate("ids => app.canvas.selectItems(ids.map(id => app.graph.getNodeById(id)))", [SAMPLER, TEXT])
    press(page, "Control+c")
    press(page, "Control+v")
    samplers, losses = page.evaluate(IDS, ["DiffuseITSampler", "DiffuseITTextStyleLoss"])
    (copy,), (loss,) = set(samplers) - {SAMPLER}, set(losses) - {TEXT}
    shoot(page, f"display-{renderer}-pasted")
    assert saved_run(page, copy) is None
    assert panel(page, copy).locator(".diffuseit-plot").is_hidden()
    assert "No run" in status(page, copy)
    assert TEXT in shares(page) and loss not in shares(page)
    assert_on_screen(page, SAMPLER, copy, loss)

    # A new node with the id of one that has run, and is gone.
    page.evaluate("id => app.graph.remove(app.graph.getNodeById(id))", SAMPLER)
    page.evaluate(
        "id => { const node = LiteGraph.createNode('DiffuseITSampler'); node.id = Number(id); app.graph.add(node) }",
        SAMPLER,
    )
    page.wait_for_timeout(1000)
    assert panel(page, SAMPLER).locator(".diffuseit-plot").is_hidden()
    assert not page.said


def test_a_reload_in_mid_run_misses_nothing(visit, shoot, renderer, seed):  # noqa: F811
    page = visit(renderer)
    unhandled = []
    page.on("console", lambda message: "Unhandled" in message.text and unhandled.append(message.text))
    open_flow(page)
    page.evaluate(SET, [SAMPLER, SHORT | {"seed": seed + 50}])
    old = run_all(page)[SAMPLER]["run"]
    page.wait_for_timeout(2000)  # ComfyUI keeps a draft of the workflow
    queue(page, **LONG | {"seed": seed + 51})
    page.wait_for_timeout(2000)
    page.reload()
    page.wait_for_function(READY, timeout=START_MS)
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'DiffuseITSampler')")
    line = panel(page, SAMPLER).get_by_text(re.compile(r"^\d+ of 57, .* left"))
    line.wait_for()
    shoot(page, f"display-{renderer}-reloaded")
    wait_until_ended(page)
    run = saved_run(page)
    assert run["run"] != old and run["done"] == run["total"] == 57
    assert run["steps"] == list(range(57)), "the beginning is missing"
    assert sum(shares(page).values()) == pytest.approx(100, abs=3)
    assert panel(page, SAMPLER).locator(".diffuseit-filmstrip button").count() > 8

    page.get_by_test_id("queue-button").click()
    panel(page, SAMPLER).get_by_text("From cache: the curves are those of the run that made it").wait_for()
    assert saved_run(page)["run"] == run["run"] and legend(page, SAMPLER)
    page.wait_for_timeout(2000)
    page.reload()
    page.wait_for_function(READY, timeout=START_MS)
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'DiffuseITSampler')")
    page.wait_for_timeout(2000)
    page.get_by_test_id("queue-button").click()
    panel(page, SAMPLER).get_by_text("From cache: the curves are those of the run that made it").wait_for()
    shoot(page, f"display-{renderer}-cached")
    assert not unhandled and not page.said


def test_a_run_whose_beginning_nobody_knows_says_so(visit, shoot, renderer, seed):  # noqa: F811
    page = visit(renderer)
    page.route("**/diffuseit/run?*", lambda route: route.fulfill(status=500, body="{}"))
    open_flow(page)
    page.evaluate(SET, [SAMPLER, SHORT | {"seed": seed + 60}])
    run_all(page)
    page.wait_for_timeout(2000)
    queue(page, **LONG | {"steps": 40, "seed": seed + 61})
    page.reload()
    page.wait_for_function(READY, timeout=START_MS)
    page.wait_for_function("app.graph.nodes.some(node => node.type === 'DiffuseITSampler')")
    here = panel(page, SAMPLER)
    here.get_by_text("This page joined the run late").wait_for()
    assert re.match(r"\d+ of 37, .* left", status(page))
    assert here.locator(".diffuseit-plot").is_hidden() and not legend(page, SAMPLER)
    shoot(page, f"display-{renderer}-late")
    assert clipped(page, ".diffuseit-node") == []


def test_runs_that_end_early_say_how_and_why(visit, shoot, renderer, seed):  # noqa: F811
    page = visit(renderer)
    open_flow(page)
    queue(page, **LONG | {"seed": seed + 70})
    page.evaluate("app.api.interrupt()")
    here = panel(page, SAMPLER)
    here.get_by_text(re.compile(r"^Stopped at step \d+ of 57")).wait_for()
    assert here.locator(".diffuseit-plot").is_visible() and not notes(page)
    shoot(page, f"display-{renderer}-stopped", whole=False)

    page.evaluate(TINY_SOURCE, SAMPLER)
    page.get_by_test_id("queue-button").click()
    here.get_by_text("Failed before the first step").wait_for()
    assert here.locator(".diffuseit-plot").is_hidden(), "the curves of an earlier run"
    (error,) = notes(page)[:1]
    shoot(page, f"display-{renderer}-failed", whole=False)
    assert error == "The image is 4x4 pixels: at least 8x8 are needed"
    assert clipped(page, ".diffuseit-node") == []

    # What is wrong with two inputs together is told once.
    page.evaluate(SET, [SAMPLER, {"steps": 6, "skip": 6}])
    page.get_by_test_id("queue-button").click()
    page.wait_for_function("id => app.lastNodeErrors?.[id]", arg=SAMPLER)
    (fault,) = page.evaluate("id => app.lastNodeErrors[id].errors", SAMPLER)
    assert fault["details"] == "skip - skip is 6 of 6 steps: it must leave at least one step"
    shoot(page, f"display-{renderer}-refused", whole=False)
    assert not page.said


def test_each_picture_of_a_batch_is_shown(visit, shoot, renderer, seed):  # noqa: F811
    page = visit(renderer)
    open_flow(page)
    page.evaluate(BATCH, SAMPLER)
    page.evaluate(SET, [SAMPLER, SHORT | {"seed": seed + 80}])
    run_all(page)
    here = panel(page, SAMPLER)
    choice = here.locator(".diffuseit-pictures")
    before, after = (here.get_by_role("button", name=f"{name} picture") for name in ("Previous", "Next"))
    pictures = "images => images.map(({src}) => src)"
    films = []
    for number in (1, 2, 3):
        choice.get_by_text(f"{number} of 3").wait_for()
        films.append(here.locator(".diffuseit-filmstrip img").evaluate_all(pictures))
        assert len(films[-1]) == 3
        assert before.is_disabled() == (number == 1) and after.is_disabled() == (number == 3)
        if number < 3:
            after.click()
    assert films[0] != films[1] != films[2] != films[0]
    shoot(page, f"display-{renderer}-batch")

    here.get_by_role("button", name="Before and after").click()
    viewer = page.locator(".diffuseit-viewer")
    image = viewer.locator("img.after")
    viewer.get_by_text("3 of 3", exact=True).wait_for()
    third = image.get_attribute("src")
    viewer.get_by_role("button", name="Previous picture").click()
    viewer.get_by_text("2 of 3", exact=True).wait_for()
    assert image.get_attribute("src") not in (third, *films[1][:-1])
    shoot(page, f"display-{renderer}-batch-viewer", whole=False)
    page.keyboard.press("Escape")
    assert not page.said


def test_the_arrow_keys_change_the_step_in_an_opened_picture(visit, renderer, seed):  # noqa: F811
    page = visit(renderer)
    open_flow(page)
    page.evaluate(SET, [SAMPLER, SHORT | {"seed": seed + 90}])
    run_all(page)
    panel(page, SAMPLER).locator(".diffuseit-filmstrip button").nth(1).click()
    title = page.locator(".diffuseit-viewer h2")
    assert title.inner_text() == "Step 2 of 3"
    for key, step in (("ArrowLeft", 1), ("ArrowLeft", 1), ("ArrowRight", 2), ("ArrowRight", 3)):
        page.keyboard.press(key)
        assert title.inner_text() == f"Step {step} of 3"
    assert not page.said


def greyed(page):
    return set(
        page.evaluate(
            "id => app.graph.getNodeById(id).widgets.filter(({disabled}) => disabled).map(({name}) => name)",
            SAMPLER,
        )
    )


def test_what_will_be_is_said_before_a_run(visit, shoot, renderer, seed):  # noqa: F811
    page = visit(renderer)
    open_flow(page)
    here = panel(page, SAMPLER)
    here.get_by_text(re.compile("64\u00a0×\u00a064$")).wait_for()
    assert notes(page) == []
    words = {"to_text": "a cyberpunk city at night, neon, oil painting"}
    page.evaluate(SET, [TEXT, words])
    page.evaluate(SET, [SAMPLER, {"skip": 20}])
    page.evaluate(PHOTO, SAMPLER)
    capture(page)
    expected = [
        "skip 20 leaves none of 20 steps",
        "Pocket models know only the drawn scenes of Example Picture. The result will be 80 × 48",
        "The pocket CLIP has never seen: cyberpunk, city, neon, oil",
        "The mask of Load Image is empty, since the picture has no transparency: it counts as none",
    ]
    here.get_by_text(expected[-1]).wait_for()
    assert notes(page) == expected
    assert status(page).endswith("80\u00a0×\u00a048")
    page.evaluate(LOOK_AT, [SAMPLER, 1])
    page.wait_for_timeout(1000)
    shoot(page, f"display-{renderer}-notes", whole=False)
    assert clipped(page, ".diffuseit-node") == []
    for theme in ("dark", "light"):
        setting(page, "Comfy.ColorPalette", theme)
        assert low_contrast(page, ".diffuseit-node", page.evaluate(GROUND, SAMPLER)) == []
    setting(page, "Comfy.ColorPalette", "dark")

    page.evaluate(SET, [SAMPLER, {"skip": 10}])
    page.evaluate(PRESET, [SAMPLER, "official-text"])
    capture(page)
    line = "From the preset official-text: steps 100, skip 40, resample 10, method diffuseit, step_size 1"
    here.get_by_text("From the preset").wait_for()
    assert line in [note.replace("\u00a0", " ") for note in notes(page)]
    assert greyed(page) == {"steps", "skip", "resample", "method", "step_size"}
    shoot(page, f"display-{renderer}-preset", whole=False)
    page.evaluate(
        "id => app.graph.getNodeById(id).disconnectInput(app.graph.getNodeById(id).findInputSlot('options'))",
        SAMPLER,
    )
    capture(page)
    page.wait_for_function(
        "id => app.graph.getNodeById(id).widgets.every(({disabled}) => !disabled)", arg=SAMPLER
    )
    assert len(notes(page)) == 3
    assert not page.said


def test_missing_models_can_be_downloaded_where_they_are_missed(visit, shoot, renderer):  # noqa: F811
    page = visit(renderer)
    flow = json.loads((PACK / "example_workflows" / "01 Guided by words.json").read_text(encoding="utf-8"))
    loader = next(node for node in flow["nodes"] if node["type"] == "DiffuseITLoadModels")
    loader["widgets_values"][0] = "light"
    open_flow(page, flow)
    here = panel(page, SAMPLER)
    button = here.get_by_role("button", name="Download 2.9 GB")
    button.wait_for()
    assert notes(page)[0].startswith("Missing models: adm256-uncond, dino-s16, +1")
    shoot(page, f"display-{renderer}-missing")
    button.press("Enter")
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Download adm256-uncond, dino-s16, clip-b32?").wait_for()
    assert "dl.fbaipublicfiles.com" in dialog.inner_text()
    dialog.get_by_role("button", name="Cancel").click()
    dialog.wait_for(state="detached")
    assert not page.said


def test_an_estimate_follows_a_choice_from_a_list(visit, renderer):  # noqa: F811
    page = visit(renderer)
    open_flow(page)
    here = panel(page, SAMPLER)
    page.evaluate(
        "id => { app.canvas.ds.scale = 1; const node = app.graph.getNodeById(id); "
        "app.canvas.ds.offset = [200 - node.pos[0], 100 - node.pos[1]]; app.canvas.setDirty(true, true) }",
        SAMPLER,
    )
    page.wait_for_timeout(1000)
    page.evaluate(PHOTO, SAMPLER)
    capture(page)
    here.get_by_text(re.compile("80\u00a0×\u00a048$")).wait_for()
    choose(page, renderer, "size", "source")
    here.get_by_text(re.compile("100\u00a0×\u00a060$")).wait_for(timeout=5000)
    assert not page.said


def choose(page, renderer, name, value):
    """Choose from the list of a widget of the sampler, as a person does."""
    if renderer == "vue":
        node = page.locator(f'.lg-node[data-node-id="{SAMPLER}"]')
        node.get_by_role("combobox").last.click()
    else:
        x, y = page.evaluate(PLACE, [SAMPLER, name])
        page.mouse.click(x, y)
    page.wait_for_timeout(500)
    page.get_by_text(value, exact=True).last.click()


LANGUAGES = {
    "ko": ("pocket CLIP이 모르는 단어: 猫", "프리셋 official-text의 값: "),
    "ja": ("pocket CLIP が知らない単語: 猫", "プリセット official-text の値: "),
    "zh": ("pocket CLIP 没见过这些词：猫", "来自预设 official-text："),
    "zh-TW": ("The pocket CLIP has never seen: 猫", "From the preset official-text: "),
}


@pytest.mark.parametrize("locale", LANGUAGES)
def test_notes_speak_comfyuis_language(visit, shoot, server, renderer, seed, locale):  # noqa: F811
    try:
        page = visit(renderer, Comfy_Locale=locale)
        open_flow(page)
        page.evaluate(SET, [TEXT, {"to_text": "猫"}])
        page.evaluate(PHOTO, SAMPLER)
        page.evaluate(BATCH, SAMPLER)
        page.evaluate(SET, [SAMPLER, SHORT | {"seed": seed + 100 + list(LANGUAGES).index(locale)}])
        run_all(page)
        page.evaluate(PRESET, [SAMPLER, "official-text"])
        capture(page)
        words, preset = LANGUAGES[locale]
        panel(page, SAMPLER).get_by_text(words).wait_for()
        panel(page, SAMPLER).locator(".note").filter(has_text=preset).wait_for()
        page.evaluate(LOOK_AT, [SAMPLER, 1.2])
        page.wait_for_timeout(1000)
        shoot(page, f"display-{renderer}-{locale}", whole=False)
        assert clipped(page, ".diffuseit-node") == []
        assert not page.said
    finally:
        server.post("/settings/Comfy.Locale", "en")
