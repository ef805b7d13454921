"""The front end as far as it can be tested without a browser: its modules, words, graphs and style sheets."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from diffuseit.losses import AnyLoss
from diffuseit.models.hub.catalog import bundles, catalog
from diffuseit.presets import PRESETS
from tools.help_pages import LANGUAGES
from tools.schemas import node_schemas

ROOT = Path(__file__).parents[1]
WEB = ROOT / "web" / "js"
NODE, SIDEBAR, SHARED = (
    {path.stem: path.read_text(encoding="utf-8") for path in (WEB / folder).glob("*.js")}
    for folder in ("node", "sidebar", "shared")
)
SECTIONS = ("sidebar", "download", "run")
ONLY_TRANSLATED = ("terms", "catalog", "search")
"""The sections of words whose English is elsewhere: with the losses, in the catalog, and with the nodes."""


def words(language):
    return json.loads((WEB / "shared" / "words" / f"{language}.json").read_text(encoding="utf-8"))


def placeholders(text):
    return sorted(re.findall(r"\{(\w+)\}", text))


def test_modules_that_need_no_browser():
    """The tests of tests/front_end.test.mjs."""
    node = shutil.which("node", path=str(Path(sys.executable).parent)) or shutil.which("node")
    if node is None:
        pytest.skip("needs Node: run `python dev.py lint` once, which installs it")
    command = [node, "--test", "--test-reporter=tap", str(ROOT / "tests" / "front_end.test.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^# pass [1-9]", done.stdout, re.M), done.stdout


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text(language, section):
    english, other = words("en")[section], words(language)[section]
    assert list(other) == list(english)
    assert {key: placeholders(text) for key, text in other.items()} == {
        key: placeholders(text) for key, text in english.items()
    }
    assert all(text.strip() for text in other.values())


def test_there_are_no_other_sections():
    for language in LANGUAGES:
        assert set(words(language)) == {*SECTIONS, *(ONLY_TRANSLATED if language != "en" else ())}


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_language_has_the_texts_of_the_catalog(language):
    texts = {text for entry in catalog().values() for text in (entry.purpose, entry.terms, entry.limits)}
    texts |= {bundle.purpose for bundle in bundles().values()}
    assert set(words(language)["catalog"]) == texts


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_language_has_the_terms_of_the_losses(language):
    assert set(words(language)["terms"]) == {name for loss in get_args(AnyLoss) for name in loss.labels}


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_language_has_words_to_search_for(language):
    nodes = words(language)["search"]
    assert set(nodes) <= set(node_schemas())
    assert set(nodes) == set(words("ko")["search"])
    assert all(len(set(text.split(", "))) > 1 for text in nodes.values())


def keys(source):
    """The keys that the source looks up as they are, and the beginnings of those that it puts together."""
    direct = set(re.findall(r'\bt\(\s*"([^"]+)"', source))
    chosen = {
        key
        for choice in re.findall(r"\bt\((\w+ \?[^)]*)\)", source)
        for key in re.findall(r'"([\w.]+)"', choice)
    }
    return direct | chosen, tuple(f"{start}." for start in re.findall(r"\bt\(`(\w+)\.\$", source))


def test_the_sidebar_uses_every_text_and_no_other():
    source = "".join(SIDEBAR.values())
    used, starts = keys(source)
    assert "title." in starts
    used |= set(re.findall(r'"(help\.\w+)"', source)) | set(
        re.findall(r'translator\("sidebar"\)\("(\w+)"', source)
    )
    known = set(words("en")["sidebar"])
    assert used <= known
    assert {key for key in known - used if not key.startswith(starts)} == set()


def test_the_nodes_use_every_text_and_no_other():
    source = "".join(NODE.values())
    used, _ = keys(source)
    for name, place in (("MarkKind", "t(kind)"), ("Outcome", "t(run.state")):
        (kinds,) = re.findall(rf'@typedef \{{("\w+"(?: \| "\w+")*)\}} {name}\b', source)
        assert place in source
        used |= set(re.findall(r'"(\w+)"', kinds)) - {"done"}
    assert set(words("en")["run"]) == used | {"silent"}


def test_the_question_before_a_download_uses_every_text():
    used, _ = keys(SHARED["download"])
    assert set(words("en")["download"]) == used


def test_the_server_and_the_page_know_the_same_warnings():
    server = (ROOT / "nodes" / "before_run.py").read_text(encoding="utf-8")
    kinds = set(re.findall(r'"kind": "(\w+)"', server))
    assert kinds == set(re.findall(r'case "(\w+)":', NODE["notes"]))
    assert kinds | {"drawn_scenes_size"} == {
        key.removeprefix("note.") for key in words("en")["run"] if key.startswith("note.")
    }


def test_every_node_that_shows_a_run_exists():
    nodes = set(re.findall(r'"(DiffuseIT\w+)"', SHARED["node_types"]))
    assert nodes and nodes <= set(node_schemas())


def test_the_graphs_use_what_there_is():
    source = SIDEBAR["starter_graphs"]
    ours = set(re.findall(r'"(DiffuseIT\w+)"', source))
    assert ours and ours <= set(node_schemas())
    assert set(re.findall(r'preset: "([^"]+)"', source)) <= set(PRESETS)
    paper = bundles()["paper"]
    named = set(re.findall(r'model: "([^"]+)"', source)) | set(re.findall(r'"(clip-[^"]+)"', source))
    assert named == set(paper.members)


def test_the_names_that_python_shares_with_the_page():
    live = (ROOT / "nodes" / "live.py").read_text(encoding="utf-8")
    event, setting = re.findall(r'^(?:EVENT|THROTTLE_SETTING) = ("[\w.]+")', live, re.M)
    assert event in NODE["index"]
    assert setting in (WEB / "shared" / "settings.js").read_text(encoding="utf-8")


def test_the_style_sheets_share_no_class():
    sheets = [(WEB / name).read_text(encoding="utf-8") for name in ("sidebar/sidebar.css", "node/node.css")]
    sidebar, node = (set(re.findall(r"\.diffuseit-[\w-]+", sheet)) for sheet in sheets)
    assert sidebar and node and not sidebar & node
