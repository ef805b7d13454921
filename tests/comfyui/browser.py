"""ComfyUI's front end in a headless browser: start it, open it, and collect its errors."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FOLDER = "comfyui-diffuseit"  # ComfyUI 0.33 serves no templates out of a folder with a space in its name
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
START_MS, RUN_MS = 180_000, 300_000
NOT_OURS = (
    "missingModelMetadata",
    "/userdata",
    "/user.css",
    "vendor-sentry",
)  # sizes of its models, files that need not be there, its reports of errors
READY = """!!(window.app?.vueAppReady && app.extensionManager && window.LiteGraph
    && LiteGraph.registered_node_types.DiffuseITSampler)"""
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # no templates in the way on the first visit
    "Comfy.VueNodes.Enabled": False,  # the default; node.imgs is what the canvas then draws
    "Comfy.Minimap.Visible": False,
    "LiteGraph.Canvas.MinFontSizeForLOD": 0,  # readable screenshots
}


@contextmanager
def launched() -> Iterator:
    """Start the machine's Chromium, or Playwright's own. Skip the test if there is neither."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with playwright.sync_playwright() as started:
        if found is None and not Path(started.chromium.executable_path).exists():
            pytest.skip("no browser here: install chromium, or run `playwright install chromium`")
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser, server, **options):
    """Return a page with ComfyUI, once it has loaded its own first workflow, which it does last."""
    page = browser.new_page(**{"viewport": {"width": 1600, "height": 800}, **options})
    page.set_default_timeout(START_MS)
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_function(READY, timeout=START_MS)
    page.wait_for_timeout(3000)
    return page


def listen(page, *kinds: str) -> list[str]:
    """Return a list that collects the console's errors from now on, but not those of ComfyUI's own first workflow.

    `kinds` are further kinds of messages to collect, such as "warning".
    """
    errors: list[str] = []

    def note(message):
        address = message.location.get("url", "")
        if message.type in ("error", *kinds) and not any(part in address for part in NOT_OURS):
            errors.append(f"{message.text} ({address})")

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors
