"""Watermarks: the code that corrects errors, and the way from the pixels to the manifest and back.

TrustMark's own networks are not part of the tests. A stand-in draws the bits as a faint board of squares.
"""

import json
import random
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from standin import replace_core
from typer.testing import CliRunner

from diffuseit.api import Result
from diffuseit.cli import app
from diffuseit.images.io import read_picture
from diffuseit.provenance import bch, watermark
from diffuseit.provenance.credential import FOLDER_VARIABLE
from diffuseit.provenance.verify import verify

WORD = "1011011110011000111111000000011111011111011100000110110110111"


class Encoder:
    """What TrustMark's encoder is to onnxruntime: a board of 10x10 squares for 100 bits."""

    inputs, outputs = ("onnx::Concat_0", "onnx::Gemm_1"), ("image",)

    def run(self, names, feeds):
        board = np.kron(2 * feeds["onnx::Gemm_1"].reshape(10, 10) - 1, np.ones((26, 26)))[:256, :256]
        return [feeds["onnx::Concat_0"] + 0.08 * board[None, None].astype(np.float32)]


class Decoder:
    """And its decoder: the mean of each square."""

    inputs, outputs = ("image",), ("output",)

    def run(self, names, feeds):
        gray = feeds["image"].mean((0, 1))
        gray = gray - gray.mean()
        return [np.array([[gray[26 * (n // 10) :, 26 * (n % 10) :][:22, :22].mean() for n in range(100)]])]


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder with both networks, which a stand-in for onnxruntime opens."""

    def session(path: str, providers: list[str]):
        kind = {"encoder_Q.onnx": Encoder, "decoder_Q.onnx": Decoder}[Path(path).name]()
        kind.get_inputs = lambda: [SimpleNamespace(name=name) for name in kind.inputs]
        kind.get_outputs = lambda: [SimpleNamespace(name=name) for name in kind.outputs]
        return kind

    runtime = ModuleType("onnxruntime")
    runtime.InferenceSession, runtime.__spec__ = session, ModuleSpec("onnxruntime", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("encoder_Q.onnx", "decoder_Q.onnx"):
        (folder / name).write_text("a network")
    monkeypatch.setenv("DIFFUSEIT_MODELS", str(folder))
    return folder


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`translate` with a core that inverts a gray image, in a folder of its own."""

    def translate(source: torch.Tensor, **_) -> Result:
        return Result(-source)

    replace_core(monkeypatch, translate)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "keys"))
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64), (90, 90, 90)).save("photo.png")

    def run(*arguments: str, code: int = 0):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.mark.parametrize("wrong", range(7))
def test_five_wrong_bits_of_a_word_are_corrected_and_no_more(wrong):
    draw = random.Random(wrong)
    for _ in range(20):
        data = [draw.randrange(2) for _ in range(bch.DATA_BITS)]
        word = bch.encode(data)
        assert len(word) == 96
        for place in draw.sample(range(96), wrong):
            word[place] ^= 1
        assert (bch.decode(word) == data) is (wrong <= 5)


def test_the_code_is_that_of_trustmark():
    """TrustMark's own data layer gives these bits for this word."""
    assert "".join(map(str, bch.encode(list(map(int, WORD))))) == WORD + CHECK


CHECK = "00011001010110111101001101100001000"


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (700, 300), (100, 900)])
def test_an_identifier_is_hidden_and_read_again(networks, size):
    image = Image.new("RGB", size, (120, 130, 110))
    # A given one: the mean of the bits, which is taken off the pattern, decides how much levels change.
    identifier = WORD
    marked = watermark.Encoder.load().mark(image, identifier)
    decoder = watermark.Decoder.load()
    assert marked.size == size and decoder.read(marked) == identifier
    assert np.abs(np.asarray(marked).astype(int) - np.asarray(image)).max() <= 12
    assert decoder.read(marked.resize((size[0] // 2, size[1] // 2))) == identifier
    assert decoder.read(image) is None


def test_transparency_stays(networks):
    image = Image.new("RGBA", (80, 80), (120, 130, 110, 77))
    marked = watermark.Encoder.load().mark(image, WORD)
    assert marked.mode == "RGBA" and marked.getchannel("A").getextrema() == (77, 77)


def test_the_command_hides_declares_and_finds_it(networks, command):
    pytest.importorskip("c2pa")
    command("translate", "photo.png", "--to", "winter", "--watermark", "--sign", "-o", "a.png")
    (found,) = json.loads(command("verify", "a.png", "--json").stdout)
    assert found["signature"] == "trusted" and found["watermark"] == "present"
    with __import__("c2pa").Reader("a.png") as reader:
        assert reader.get_validation_state() == "Valid"
        (binding,) = [
            each["data"]
            for each in reader.get_active_manifest()["assertions"]
            if each["label"] == "c2pa.soft-binding"
        ]
    assert binding["alg"] == "com.adobe.trustmark.Q"
    assert binding["blocks"][0]["value"] == f"1*{found['declared_watermark']}"
    read_picture("a.png").rgb.save("again.jpg", quality=75)
    assert "watermark: found" in command("verify", "again.jpg", code=3).stdout
    assert "watermark: none found" in command("verify", "photo.png", code=3).stdout
    (networks / "decoder_Q.onnx").unlink()
    assert "watermark: declared" in command("verify", "a.png").stdout
    assert verify(Path("a.png")).watermark == "unchecked"


def test_what_is_missing_is_told_before_the_work(networks, command, monkeypatch):
    Image.fromarray(np.full((64, 64), 30_000, np.uint16)).save("deep.png")
    arguments = ("translate", "--to", "winter", "--watermark", "-o", "a.png")
    assert "images of 8 bits" in command(*arguments, "deep.png", code=2).stderr
    (networks / "encoder_Q.onnx").unlink()
    message = command(*arguments, "photo.png", code=2).stderr
    assert "diffuseit models download trustmark-hide" in message
    (networks / "encoder_Q.onnx").write_text("a network")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime" in command(*arguments, "photo.png", code=2).stderr
    assert not Path("a.png").exists()


def test_a_failure_loses_no_image(networks, command, monkeypatch):
    def fail(self, names, feeds):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Encoder, "run", fail)
    message = command("translate", "photo.png", "--to", "winter", "--watermark", "-o", "a.png", code=1).stderr
    assert message.endswith("a.png is saved, but has no watermark: RuntimeError: out of memory\n")
    assert read_picture("a.png").size == (64, 64)


@pytest.mark.slow
def test_the_benchmark_counts_what_survives(networks, tmp_path):
    pytest.importorskip("c2pa")
    command = ["benchmark", "marks", "--n", "1", "--seeds", "tuning", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "marks.json").read_text())
    assert (tmp_path / "out" / "marks.md").read_text().strip() in result.stdout
    assert report["columns"] == ["mark", "settings", "signature", "reads as tampered", "watermark"]
    rows = {row.pop("change"): list(row.values())[:4] for row in report["rows"]}
    some = {
        "a copy of the file": [3, 3, 3, 0],
        "saved again, metadata kept": [3, 3, 0, 0],
        "a comment written into the file": [3, 3, 0, 3],
    }
    assert rows == {name: some.get(name, [0, 0, 0, 0]) for name in rows} and len(rows) == 11
