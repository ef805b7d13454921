"""Images that say what they are, saved and verified on a real server."""

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from comfyui.server import PromptError, comfyui_python
from PIL import Image

from diffuseit.images.io import read_mark
from diffuseit.provenance.verify import verify

pytestmark = pytest.mark.comfyui

EDITED, GENERATED = "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"
SAVE = "DiffuseITSaveSignedImage"


@pytest.fixture(scope="module")
def signing(comfyui, tmp_path_factory):
    """The keys of the server's Python, which must have c2pa-python."""
    found = subprocess.run([comfyui_python(comfyui), "-c", "import c2pa"], capture_output=True)
    if found.returncode:
        pytest.skip("ComfyUI's Python lacks c2pa-python")
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def marking(signing, start):
    """A server with keys of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSEIT_KEYS", str(signing))
        with start() as running:
            yield running


def translated(server, **settings):
    """What a run with a sampler saves; the paths of the files."""
    outcome = server.run(
        {
            "source": ("LoadImage", {"image": "a.png"}),
            "models": ("DiffuseITLoadModels", {}),
            "result": (
                "DiffuseITTranslate",
                {"models": ["models", 3], "image": ["source", 0], "strength": 0.1},
            ),
            "save": (SAVE, {"images": ["result", 0]} | settings),
        },
        extra_pnginfo={"workflow": {"nodes": []}},
    )
    places = outcome.outputs["save"]["images"]
    files = [server.base / place["type"] / place["subfolder"] / place["filename"] for place in places]
    return files, outcome.outputs["save"]["text"][0]


@pytest.mark.parametrize("kind", ["png", "webp", "jpeg"])
def test_a_result_is_saved_with_its_workflow_its_source_and_a_signature(marking, kind):
    (file,), report = translated(marking, format=kind, filename_prefix=f"in a folder/{kind}")
    assert EDITED in report and "signed" in report and "Source: a.png" in report
    found = verify(file, source=marking.base / "input" / "a.png")
    assert found.signature == "valid" and found.of_source and found.source_type == EDITED
    with Image.open(file) as image:
        texts = image.info if kind == "png" else image.getexif()
    prompt = texts["prompt"] if kind == "png" else texts[0x0110].removeprefix("prompt:")
    assert json.loads(prompt)["save"]["class_type"] == SAVE
    workflow = texts["workflow"] if kind == "png" else texts[0x010F].removeprefix("workflow:")
    assert json.loads(workflow) == {"nodes": []}


def test_pixels_of_any_graph_are_saved_as_they_are(marking):
    outcome = marking.run(
        {
            "source": ("LoadImage", {"image": "wide.png"}),
            "save": (SAVE, {"images": ["source", 0], "sign": False}),
            "other": ("SaveImage", {"images": ["source", 0]}),
        }
    )
    assert (marking.images(outcome, "save") == marking.images(outcome, "other")).all()
    (line,) = outcome.outputs["save"]["text"]
    assert line.endswith(f"{GENERATED}, not signed")


def test_verify_reads_files_of_both_folders(marking):
    (file,), _ = translated(marking, filename_prefix="checked")
    name = f"{file.relative_to(marking.base / 'output')} [output]"

    def verified(**inputs):
        graph = {"verify": ("DiffuseITVerify", {"source_file": ""} | inputs)}
        for number in range(3):
            graph[str(number)] = ("PreviewAny", {"source": ["verify", number]})
        outcome = marking.run(graph)
        return [outcome.outputs[str(number)]["text"][0] for number in range(3)]

    report, signature, holds = verified(file=name, source_file="a.png")
    assert (signature, holds) == ("trusted", "True") and "made of the given source: yes" in report
    assert verified(file=name, source_file="b.png")[1:] == ["trusted", "False"]
    assert verified(file="b.png")[1:] == ["absent", "False"]
    content = bytearray(file.read_bytes())
    content[content.index(b"IDAT") + 40] ^= 1
    file.write_bytes(content)
    assert verified(file=name)[1:] == ["tampered", "False"]
    assert name in json.dumps(marking.get("/object_info/DiffuseITVerify"))
    for bad in ("missing.png", "../server.log", "/etc/hostname"):
        with pytest.raises(PromptError, match="is not in the input folder"):
            verified(file=bad)


def test_load_image_and_save_image_keep_pixels_alone(marking):
    (file,), _ = translated(marking, filename_prefix="whole")
    (marking.base / "input" / "signed.png").write_bytes(file.read_bytes())
    graph = {
        "source": ("LoadImage", {"image": "signed.png"}),
        "other": ("SaveImage", {"images": ["source", 0], "filename_prefix": "again"}),
    }
    (place,) = marking.run(graph).outputs["other"]["images"]
    again = marking.base / "output" / place["filename"]
    assert read_mark(file) == EDITED and verify(file).holds
    assert read_mark(again) is None and verify(again).signature == "absent"


def test_what_a_signature_lacks_is_told_before_the_run(marking, signing):
    with pytest.raises(PromptError, match="turn on mark, or turn off sign"):
        translated(marking, mark=False)
    with pytest.raises(PromptError, match="is not in the input folder"):
        translated(marking, source_file="missing.png")
    key = signing / "signing.pem"
    key.chmod(0o644)
    try:
        with pytest.raises(PromptError, match="Others may read the key"):
            translated(marking)
    finally:
        key.chmod(0o600)


def test_a_name_outside_the_output_folder_is_refused(marking):
    with pytest.raises(PromptError, match="filename_prefix"):
        translated(marking, filename_prefix="../../outside")
    assert not list(marking.base.glob("outside*"))


def test_without_metadata_nothing_is_said(signing, start):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIFFUSEIT_KEYS", str(signing / "none"))
        with start("--disable-metadata") as server:
            (file,), report = translated(server)
    assert "--disable-metadata" in report
    assert read_mark(file) is None and verify(file).signature == "absent"
    assert Image.open(io.BytesIO(file.read_bytes())).info.keys() <= {"gamma", "srgb"}
    assert np.asarray(Image.open(file)).std() > 1
    assert not Path(signing / "none").exists()


def test_a_setting_turns_the_marks_off(marking):
    marking.post("/settings/DiffuseIT.Marks.Save", False)
    try:
        (file,), report = translated(marking)
    finally:
        marking.post("/settings/DiffuseIT.Marks.Save", True)
    assert "turned off in the settings" in report
    assert read_mark(file) is None and verify(file).signature == "absent"
    assert "workflow" in Image.open(file).info
