"""Model files of strangers: whatever they say is refused in one line, and nothing that they say is done."""

import copy
import http.server
import json
import os
import pickle
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("memory is limited and measured as Linux has it", allow_module_level=True)

import torch
from hostile_models import Child, Outcome
from safetensors.torch import save as serialize
from safetensors.torch import save_file
from tiny_networks import random_state
from torch import Tensor

from diffuseit.errors import ModelError
from diffuseit.models import pickles
from diffuseit.models.clip_config import CLIPConfig, PlainCLIP, TextTower, VisionTower
from diffuseit.models.ddpm import DiffusionConfig
from diffuseit.models.unet import UNet, UNetConfig
from diffuseit.models.vit import ViTConfig, load_vit
from diffuseit.pocket.judge import Judge, JudgeConfig
from diffuseit.schema import to_json

UNET = UNetConfig(
    image_size=16,
    model_channels=16,
    num_res_blocks=1,
    attention_resolutions=(2,),
    channel_mult=(1, 2),
    num_head_channels=8,
    norm_groups=8,
)
VIT = ViTConfig(embed_dim=32, depth=2, num_heads=2, patch_size=4, image_size=16, input_size=16)
CLIP = CLIPConfig(
    PlainCLIP(
        embed_dim=16,
        vision_cfg=VisionTower(image_size=32, layers=1, width=16, head_width=16, patch_size=8),
        text_cfg=TextTower(context_length=8, width=8, heads=1, layers=1),
    ),
    name="tiny",
)
JUDGE = JudgeConfig(widths=((8,), (8, 16)), groups=4)


def fields_of(config: Any) -> dict[str, Any]:
    """A configuration as JSON without the names of its classes, as in the files that ship."""
    return {
        name: fields_of(value) if is_dataclass(value) else to_json(value)
        for name, value in vars(config).items()
    }


CONFIGS: dict[str, Any] = {
    "ddpm": {"unet": fields_of(UNET), "diffusion": fields_of(DiffusionConfig())},
    "vit": fields_of(VIT),
    "clip": fields_of(CLIP),
    "judge": fields_of(JUDGE),
}
STATES: dict[str, dict[str, Tensor]] = {
    "ddpm": random_state(UNet(UNET)),
    "vit": random_state(VIT.build()),
    "clip": random_state(CLIP.build()),
    "judge": random_state(Judge(JUDGE)),
}


def save(folder: Path, kind: str, config: str | None = None, **tensors: Tensor) -> Path:
    """A file of weights that fit, with the text of a configuration."""
    path = folder / f"{kind}{len(list(folder.iterdir()))}.safetensors"
    text = json.dumps(CONFIGS[kind]) if config is None else config
    save_file({**STATES[kind], **tensors}, path, {"config": text})
    return path


def refused(outcome: Outcome) -> bool:
    """In one line that a terminal can show."""
    return outcome.end == "refused" and outcome.message.isprintable() and len(outcome.message) < 1000


@pytest.fixture(scope="module")
def hub() -> Iterator[tuple[str, list[str]]]:
    """The address of a server of models, and what was asked of it."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def parse_request(self) -> bool:
            asked.append(str(self.raw_requestline))
            return super().parse_request()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@pytest.fixture(scope="module")
def child(hub: tuple[str, list[str]]) -> Iterator[Child]:
    process = Child(HF_ENDPOINT=hub[0])
    yield process
    process.close()


# One hostile value in a configuration. JSON texts, since some have no value in Python.
VALUES = {
    "negative": "-1",
    "zero": "0",
    "fraction": "0.5",
    "infinite": "1e400",
    "NaN": "NaN",
    "5,000 digits": "1" * 5_000,
    "million": "1000000",
    "trillion": "1000000000000",
    "word": '"many"',
    "path": '"../../../etc/passwd"',
    "empty list": "[]",
    "object": "{}",
    "true": "true",
    "null": "null",
    "two numbers": "[1, 2]",
    "nested": "[" * 50 + "]" * 50,
    "deep": "[" * 100_000,
}
RIGHT = {
    "ddpm": {
        ("dropout", "zero"),
        ("dropout", "fraction"),
        ("channel_mult", "two numbers"),
        ("num_classes", "null"),
        ("num_head_channels", "negative"),
        ("num_heads_upsample", "negative"),
        ("diffusion", "object"),
        *((name, "true") for name in ("conv_resample", "use_scale_shift_norm", "resblock_updown")),
        *((name, "true") for name in ("use_new_attention_order", "rescale_timesteps")),
    },
    "vit": {
        ("reg_tokens", "zero"),
        ("position_offset", "zero"),
        ("position_offset", "fraction"),
        ("rope_temperature", "null"),
        ("max_size", "null"),
        ("layer", "negative"),
        ("layer", "zero"),
        ("qkv_bias", "true"),
        ("position_antialias", "true"),
    },
    "clip": {("name", "word"), ("name", "path"), ("quick_gelu", "true")},
    "judge": set(),
}
"""Values that are no harm: the file is loaded."""


def places(values: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field of a configuration."""
    for name, value in values.items():
        yield (*above, name)
        if isinstance(value, dict):
            yield from places(value, (*above, name))


def replaced(config: dict[str, Any], place: tuple[str, ...], text: str) -> str:
    """The JSON of a configuration with `text` at a place."""
    changed = copy.deepcopy(config)
    parent = changed
    for name in place[:-1]:
        parent = parent[name]
    parent[place[-1]] = "<here>"
    return json.dumps(changed).replace('"<here>"', text)


PLACES = [(kind, place) for kind, config in CONFIGS.items() for place in places(config)]


@pytest.fixture(scope="module")
def table(child: Child, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, str], Outcome]:
    """How loading ends for each kind of network, field and value."""
    folder = tmp_path_factory.mktemp("table")
    return {
        (kind, ".".join(place), name): child.load(
            kind, save(folder, kind, replaced(CONFIGS[kind], place, text))
        )
        for kind, place in PLACES
        for name, text in VALUES.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "place"), PLACES, ids=[f"{kind}-{'.'.join(place)}" for kind, place in PLACES]
)
def test_a_hostile_value_is_refused(
    kind: str, place: tuple[str, ...], table: dict[tuple[str, str, str], Outcome]
) -> None:
    for name in VALUES:
        outcome = table[kind, ".".join(place), name]
        if (place[-1], name) in RIGHT[kind]:
            assert outcome.end == "loaded", (name, outcome)
        else:
            assert refused(outcome) and f"{kind}" in outcome.message, (name, outcome)
        assert outcome.seconds < 5 and outcome.megabytes < 100, (name, outcome)


def test_every_field_is_in_the_table() -> None:
    kinds = (
        UNetConfig,
        DiffusionConfig,
        ViTConfig,
        CLIPConfig,
        PlainCLIP,
        VisionTower,
        TextTower,
        JudgeConfig,
    )
    tried = {place[-1] for _, place in PLACES}
    assert {field.name for kind in kinds for field in fields(kind)} <= tried


# Shapes that no weights stand for, each value within its bounds.
LARGE = {
    "ddpm": to_json(
        UNetConfig(
            image_size=2048,
            model_channels=4096,
            num_res_blocks=16,
            channel_mult=(64,) * 10,
            attention_resolutions=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
            num_classes=1_000_000,
            num_head_channels=4096,
        )
    ),
    "vit": to_json(
        ViTConfig(embed_dim=8192, depth=64, num_heads=256, patch_size=16, image_size=2048, mlp_ratio=16)
    ),
    "clip": to_json(
        CLIPConfig(
            PlainCLIP(8192, VisionTower(1024, 64, 8192, 64, 1), TextTower(512, 100_000, 8192, 256, 64)),
            name="large",
        )
    ),
    "judge": to_json(JudgeConfig(widths=((1024,) * 8,) * 8)),
}


@pytest.mark.slow
def test_no_layer_is_built_that_the_file_has_no_weights_for(child: Child, tmp_path: Path) -> None:
    jobs = []
    for kind, config in LARGE.items():
        whole = {"unet": config, "diffusion": to_json(DiffusionConfig())} if kind == "ddpm" else config
        jobs.append((kind, save(tmp_path, kind, json.dumps(whole))))
    # OpenAI's layout, whose sizes the shapes tell: 10^5 x 10^5 weights for 400 kB of them.
    wide = {
        "visual.conv1.weight": torch.zeros(8000, 3, 1, 1),
        "text_projection": torch.zeros(1, 8000),
        "ln_final.weight": torch.zeros(8000),
        "visual.positional_embedding": torch.zeros(1, 1),
    }
    save_file({**STATES["clip"], **wide}, tmp_path / "openai.safetensors")
    jobs.append(("clip", tmp_path / "openai.safetensors"))
    # A block of a number that no list should be as long as.
    far = {f"blocks.{10**9}.attn.qkv.weight": torch.zeros(1), f"blocks.{'9' * 5000}.x": torch.zeros(1)}
    save_file({**STATES["vit"], **far}, tmp_path / "far.safetensors")
    jobs.append(("vit", tmp_path / "far.safetensors"))
    outer = torch.zeros(12_000, 1, 1), torch.zeros(1, 20, 12_000)
    names = ("cls_token", "pos_embed")
    save_file(
        {**STATES["vit"], **dict(zip(names, outer, strict=True)), "register_tokens": torch.zeros(1, 4, 32)},
        tmp_path / "outer.safetensors",
    )
    jobs.append(("vit", tmp_path / "outer.safetensors"))
    for kind, path in jobs:
        outcome = child.load(kind, path)
        assert refused(outcome) and outcome.seconds < 10 and outcome.megabytes < 100, (path, outcome)


# Names in a file


def evil_clip(folder: Path, **text_cfg: Any) -> Path:
    """A CLIP whose metadata names a tokenizer with code."""
    config = copy.deepcopy(CONFIGS["clip"])
    config["model_cfg"]["text_cfg"] |= text_cfg
    return save(folder, "clip", json.dumps(config))


def code_that_leaves_a_mark(folder: Path, mark: Path) -> None:
    """A tokenizer of transformers whose class stands in a file beside it."""
    folder.mkdir()
    (folder / "tok.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\nclass Tok: pass\n"
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["tok.Tok", None]}})
    )
    (folder / "tokenizer.json").write_text("{}")
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoConfig": "tok.Tok"}}))


NAMED = {
    "tokenizer beside the file": {
        "hf_tokenizer_name": "evil/repo",
        "tokenizer_kwargs": {"trust_remote_code": True},
    },
    "tokenizer's folder": {"hf_tokenizer_name": "./repo-tokenizer"},
    "tokenizer of the hub": {
        "hf_tokenizer_name": "evil/other",
        "tokenizer_kwargs": {"trust_remote_code": True},
    },
    "text tower of the hub": {"hf_model_name": "evil/repo", "hf_model_pretrained": True},
}
TOWERS = {
    "timm's repository": {"timm_model_name": "hf-hub:evil/repo"},
    "timm's folder": {"timm_model_name": "local-dir:{folder}"},
    "pretrained": {"timm_model_name": "vit_base_patch16_siglip_256", "timm_model_pretrained": True},
}
ARCHITECTURES = [
    "hf-hub:evil/repo",
    "local-dir:{folder}",
    "../repo-tokenizer",
    "roberta-ViT-B-32",
    "x" * 10_000,
]


@pytest.mark.slow
def test_nothing_that_a_file_names_is_run_or_asked_for(
    child: Child, hub: tuple[str, list[str]], tmp_path: Path
) -> None:
    mark, folder = tmp_path / "mark", tmp_path / "files"
    folder.mkdir()
    code_that_leaves_a_mark(folder / "repo-tokenizer", mark)
    jobs = [("clip", evil_clip(folder, **names)) for names in NAMED.values()]
    for tower in TOWERS.values():
        config = copy.deepcopy(CONFIGS["clip"])
        config["model_cfg"]["vision_cfg"] |= tower
        jobs.append(("clip", save(folder, "clip", json.dumps(config).replace("{folder}", str(folder)))))
    for name in ARCHITECTURES:
        text = json.dumps(CONFIGS["clip"] | {"model_cfg": name.replace("{folder}", str(folder))})
        jobs.append(("clip", save(folder, "clip", text)))
    for kind, path in jobs:
        outcome = child.load(kind, path)
        assert refused(outcome) and outcome.seconds < 5, (path, outcome)
    assert not mark.exists() and hub[1] == []


# Headers and tensors of safetensors files


def raw(header: object, tensors: bytes = b"\0" * 64) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def entry(dtype: str = "F32", shape: Any = (16,), start: int = 0, end: int = 64) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


HEADERS: dict[str, bytes] = {
    "longer than the file": (2**40).to_bytes(8, "little") + b"{}",
    "length of all ones": b"\xff" * 8 + b"{}",
    "no JSON": raw(b"{'a': 1}"),
    "deep": raw(b"[" * 100_000),
    "large": serialize(STATES["vit"], {"config": json.dumps(CONFIGS["vit"]), "note": "x" * 9_000_000}),
    "tensor beyond the end": raw({"a": entry(end=2**50, shape=[2**48])}),
    "negative shape": raw({"a": entry(shape=[-16])}),
    "shape that overflows": raw({"a": entry(shape=[2**33, 2**33])}),
    "shape larger than its bytes": raw({"a": entry(shape=[10**9])}),
    "shape of no bytes": raw({"a": entry(shape=[10**9, 0], end=0)}, b""),
    "million dimensions": raw({"a": entry(shape=[1] * 1_000_000 + [16])}),
    "overlap": raw({"a": entry(), "b": entry()}),
    "float8": raw({"a": entry("F8_E4M3", [64])}),
    "complex": raw({"a": entry("C64", [8])}),
    "type of nothing": raw({"a": entry("F33")}),
    "metadata of numbers": raw({"__metadata__": {"config": 3}, "a": entry()}),
    "nothing": raw({}, b""),
    "escape in a key": raw({"\x1b[2J\n": entry()}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_lie(name: str, child: Child, tmp_path: Path) -> None:
    path = tmp_path / "lie.safetensors"
    path.write_bytes(HEADERS[name])
    outcome = child.load("vit", path)
    assert refused(outcome) and outcome.seconds < 5 and outcome.megabytes < 200, outcome


# Pickles


def archive(path: Path, structure: bytes, compressed: bool = False, **members: bytes) -> None:
    """A file of torch's format with this pickle in it."""
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in {
            "data.pkl": structure,
            "version": b"3\n",
            "byteorder": b"little",
            **members,
        }.items():
            file.writestr(f"archive/{name}", content)


def called(name: str, *arguments: bytes) -> bytes:
    """A pickle that calls `name`, "module name", with pickled arguments."""
    module, _, function = name.partition(" ")
    return f"c{module}\n{function}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def doubled(depth: int) -> bytes:
    """A pickled list of tuples, each of which holds the one before twice, and a dictionary with the last as a key."""
    steps = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(depth))
    return b"\x80\x02](K\x01K\x02\x86q\x00" + steps + b"}h%cK\x01se." % depth


def long(value: int) -> bytes:
    content = value.to_bytes(20, "little", signed=True)
    return b"\x8a%c" % len(content) + content


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(MARK),))


MARK = Path("hostile-pickle-ran")
NORM = "norm.weight"


def with_norm(value: Tensor) -> Callable[[Path], None]:
    return lambda path: torch.save({**STATES["vit"], NORM: value}, path)


def nested() -> Tensor:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


def mutual(path: Path) -> None:
    inside: dict[str, Any] = {}
    inside["model"] = inside
    torch.save(inside, path)


def in_a_tar(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        file.add(__file__, "storages")


def promising_more(path: Path) -> None:
    """The directory says that a member is 6 GB long."""
    archive(path, b"\x80\x02}.")
    content = path.read_bytes()
    at = content.rindex(b"PK\x01\x02")
    path.write_bytes(content[: at + 24] + (6 * 10**9 % 2**32).to_bytes(4, "little") + content[at + 28 :])


PICKLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "code": (lambda path: torch.save({"a": Code()}, path), "Python code"),
    "code in the old format": (
        lambda path: torch.save({"a": Code()}, path, _use_new_zipfile_serialization=False),
        "Python code",
    ),
    "code without a format": (lambda path: path.write_bytes(pickle.dumps(Code(), 2)), "Python code"),
    "code by a later protocol": (lambda path: archive(path, pickle.dumps(Code(), 4)), "Python code"),
    "code in capitals": (
        lambda path: archive(path, b"\x80\x02}.", **{"DATA.PKL": pickle.dumps(Code(), 2)}),
        "Python code",
    ),
    "bytes for the asking": (
        lambda path: archive(path, b"\x80\x02" + called("builtins bytearray", long(6 * 10**9)) + b"."),
        "Python code",
    ),
    "torch's own loader": (
        lambda path: archive(path, b"\x80\x02" + called("torch.serialization load", b"N") + b"."),
        "Python code",
    ),
    "zeros compressed": (
        lambda path: archive(path, b"\x80\x02}.", True, **{"data/0": bytes(10**9)}),
        "compressed archive",
    ),
    "more than the file": (promising_more, "promises more"),
    "weights of one number": (with_norm(torch.zeros(()).expand(10**12)), "promises"),
    "weights of each other": (
        lambda path: torch.save(
            {
                key: torch.zeros(4096).as_strided(value.shape, value.stride())
                for key, value in STATES["vit"].items()
            }
            | {f"copy{i}": BASE for i in range(100)},
            path,
        ),
        "promises",
    ),
    "sparse": (with_norm(torch.eye(32).to_sparse()), "sparse"),
    "compressed sparse": (with_norm(torch.eye(32).to_sparse_csr()), "sparse"),
    "quantized": (with_norm(torch.quantize_per_tensor(torch.ones(32), 0.1, 0, torch.qint8)), "quantized"),
    "nested tensors": (with_norm(nested()), "nested"),
    "without values": (with_norm(torch.empty(10**15, device="meta")), "valueless"),
    "float8": (with_norm(torch.ones(32).to(torch.float8_e4m3fn)), "float8"),
    "complex": (with_norm(torch.ones(32, dtype=torch.complex64)), "complex"),
    "whole numbers": (with_norm(torch.ones(32, dtype=torch.int8)), "int8"),
    "holds itself": (mutual, "no tensors"),
    "deep dictionaries": (
        lambda path: archive(path, b"\x80\x02" + b"}X\x05\0\0\0model" * 50_000 + b"}" + b"s" * 50_000 + b"."),
        "no tensors",
    ),
    "deep lists": (
        lambda path: archive(path, b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b"."),
        "structure",
    ),
    "doubled tuples": (lambda path: archive(path, doubled(60)), "structure"),
    "doubled tuples in the old format": (
        lambda path: path.write_bytes(
            pickles._OLD_MAGIC + b"\x80\x02M\xe9\x03." + b"\x80\x02}." + doubled(60)
        ),
        "structure",
    ),
    "keys that collide": (
        lambda path: archive(
            path, b"\x80\x02}(" + b"".join(long(i * (2**61 - 1)) + b"N" for i in range(50_000)) + b"u."
        ),
        "structure",
    ),
    "hidden methods": (
        lambda path: archive(
            path,
            b"\x80\x02"
            + called("collections OrderedDict")
            + b"}(X\x03\0\0\0getK\x01X\x05\0\0\0itemsK\x01ub.",
        ),
        "no tensors",
    ),
    "marks without values": (lambda path: archive(path, b"\x80\x02(((."), "damaged"),
    "memory that was not kept": (lambda path: archive(path, b"\x80\x02h\x07."), "damaged"),
    "script": (
        lambda path: torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(str(path)),
        "TorchScript",
    ),
    "tar": (in_a_tar, "no checkpoint"),
    "escape sequences": (lambda path: path.write_bytes(b"\x1b[2Jhello"), "no checkpoint"),
    "a pipe": (os.mkfifo, "no checkpoint file"),
}
BASE = torch.zeros(10_000)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PICKLES)
def test_pickles(name: str, child: Child, tmp_path: Path) -> None:
    make, message = PICKLES[name]
    path = tmp_path / "odd.pt"
    make(path)
    outcome = child.load("vit", path)
    assert refused(outcome) and outcome.seconds < 5 and outcome.megabytes < 200, outcome
    assert message in outcome.message, outcome
    assert not MARK.exists()


@pytest.mark.parametrize("version", ["1.13.1", "2.5.1+cu121", "2.9.1"])
def test_an_older_torch_opens_no_pickles(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `weights_only` lets code through (CVE-2025-32434, CVE-2026-24747)."""
    torch.save(STATES["vit"], tmp_path / "vit.pt")
    path = save(tmp_path, "vit")
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(ModelError, match=r"vit\.pt is a pickle.*update torch to 2\.10 or newer, or convert"):
        load_vit(tmp_path / "vit.pt", num_heads=2)
    assert load_vit(path).config == VIT


# Any file


@pytest.fixture(params=["ddpm.safetensors", "vit.safetensors", "clip.safetensors", "vit.pt", "old/vit.pt"])
def good(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file whose name begins with its loader's."""
    path = tmp_path / request.param
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(STATES[path.stem], path, {"config": json.dumps(CONFIGS[path.stem])})
    else:
        torch.save(STATES[path.stem], path, _use_new_zipfile_serialization=path.parent.name != "old")
    return path


@pytest.mark.slow
def test_a_mutated_file_is_loaded_or_refused(good: Path, child: Child) -> None:
    assert child.fuzz(good, int(os.environ.get("FUZZ_EXAMPLES", "100")))["refused"]


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_mutated_files_for_minutes(good: Path) -> None:
    examples = os.environ.get("FUZZ_EXAMPLES", "20000")
    # Other examples each time; hypothesis remembers each round whole.
    process = Child(FUZZ_EXAMPLES=examples)
    ends: Counter[str] = Counter()
    while ends.total() < int(examples):
        ends.update(process.fuzz(good, 2000))
    process.close()
    print(good.name, dict(ends))
