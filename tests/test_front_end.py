"""The front end's words and plans, read where there is no browser."""

import json
import re
from pathlib import Path

import pytest

from diffuseit.models.hub.catalog import bundles, catalog
from diffuseit.presets import PRESETS
from tools.help_pages import LANGUAGES
from tools.schemas import node_schemas

WEB = Path(__file__).parents[1] / "web" / "js"
PANEL, SAMPLER = (
    {path.stem: path.read_text(encoding="utf-8") for path in (WEB / folder).glob("*.js")}
    for folder in ("panel", "sampler")
)
ROOMS = ("panel", "run", "terms")


def words(language):
    return json.loads((WEB / "words" / f"{language}.json").read_text(encoding="utf-8"))


def blanks(text):
    """What is filled into a text."""
    return sorted(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_everything(language, room):
    english, other = words("en")[room], words(language)[room]
    assert list(other) == list(english)
    assert {key: blanks(text) for key, text in other.items()} == {
        key: blanks(text) for key, text in english.items()
    }
    assert all(text.strip() for text in other.values())


@pytest.mark.parametrize("language", sorted(set(LANGUAGES) - {"en"}))
def test_every_language_knows_the_catalogue(language):
    said = {text for entry in catalog().values() for text in (entry.purpose, entry.terms, entry.limits)}
    said |= {bundle.purpose for bundle in bundles().values()}
    assert set(words(language)["catalogue"]) == said


def test_the_panel_says_what_there_are_words_for():
    source = "".join(PANEL.values())
    asked = set(re.findall(r'(?:say\(|: )"([a-z]\w*(?:\.[\w-]+)*)"', source))
    made = {f"{start}." for start in re.findall(r"say\(`(\w+)\.\$", source)}
    named = set(re.findall(r'"(help\.\w+)"', source)) | set(
        re.findall(r'(?:active|again) \? "(\w+)"', source)
    )
    known = set(words("en")["panel"])
    direct = set(re.findall(r'say\("([^"]+)"', source))
    assert direct <= known
    unused = {key for key in known if key not in asked | named and not key.startswith(tuple(made))}
    assert not unused - {"download"}


def test_the_nodes_say_what_there_are_words_for():
    source = "".join(SAMPLER.values())
    asked = set(re.findall(r'say\("(\w+)"', source))
    (kinds,) = re.findall(r"@typedef \{(.*)\} MarkKind", source)
    assert "say(kind)" in source
    assert set(words("en")["run"]) == asked | set(re.findall(r'"(\w+)"', kinds))
    (terms,) = re.findall(r"const OF_TERMS = \{(.*?)\}", source, re.S)
    assert set(words("en")["terms"]) == set(re.findall(r"(\w+): ", terms))


def test_there_are_no_rooms_but_these():
    for language in LANGUAGES:
        assert set(words(language)) == {*ROOMS, *(["catalogue"] if language != "en" else [])}


def test_the_graphs_name_what_there_is():
    source = PANEL["graphs"]
    schemas = node_schemas()
    ours = set(re.findall(r'"(DiffuseIT\w+)"', source))
    assert ours and ours <= set(schemas)
    assert set(re.findall(r'preset: "([^"]+)"', source)) <= set(PRESETS)
    paper = bundles()["paper"]
    named = set(re.findall(r'(?:model|clip_\d): "([^"]+)"', source))
    assert named == set(paper.members)


def test_the_style_sheets_share_no_class():
    sheets = [(WEB / name).read_text(encoding="utf-8") for name in ("panel/panel.css", "sampler/live.css")]
    panel, live = (set(re.findall(r"\.diffuseit-[\w-]+", sheet)) for sheet in sheets)
    assert panel and live and not panel & live
