"""What the nodes say of a result on the screen, with both renderers."""

import pytest

pytest.importorskip("websocket", reason="needs websocket-client")
pytest.importorskip("playwright.sync_api", reason="needs playwright")

from comfyui.browser import RUN_MS
from comfyui.test_browser import browser  # noqa: F401
from comfyui.test_live import server, visit  # noqa: F401

pytestmark = [pytest.mark.comfyui, pytest.mark.slow, pytest.mark.timeout(900)]

TEXTS = {"to_text": "winter landscape", "from_text": "summer landscape"}
QUICK = {"strength": 0.0, "size": "model"}
REPORT, VERDICT = ".diffuseit-report", ".diffuseit-node .note"


def graph(seed):
    nodes = {
        "1": (
            "DiffuseITExamplePicture",
            {"picture": "summer landscape", "scene": 3, "mask_of": "foreground"},
        ),
        "2": ("DiffuseITLoadModels", {"set": "pocket"}),
        "3": ("DiffuseITTranslate", {"models": ["2", 3], "image": ["1", 0], "seed": seed} | TEXTS | QUICK),
        "4": ("DiffuseITEvaluate", {"image": ["3", 0], "source": ["1", 0]} | TEXTS),
    }
    return {id: {"class_type": kind, "inputs": inputs} for id, (kind, inputs) in nodes.items()}


@pytest.mark.parametrize(("renderer", "seed"), [("classic", 700), ("vue", 701)])
def test_a_result_that_changed_too_little_is_told(visit, renderer, seed):  # noqa: F811
    page = visit(renderer)
    page.evaluate("graph => app.loadApiJson(graph, 'verdict')", graph(seed))
    page.wait_for_timeout(1500)
    page.evaluate("() => app.queuePrompt(0)")
    page.wait_for_function(f"() => document.querySelector('{REPORT}')?.textContent", timeout=RUN_MS)
    report = page.text_content(REPORT)
    assert report.startswith("kept its source, target not reached, in place")
    assert "pocket judge" in report
    note = page.locator(VERDICT, has_text="Result: structure kept, target not reached, in place")
    assert "warning" in note.get_attribute("class")
    assert "pocket judge" in note.get_attribute("title")
    assert page.said == []
