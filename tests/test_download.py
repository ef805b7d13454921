"""Downloads by name: the catalog's addresses replaced by a server here, the hub by one that speaks like it."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from hostile_server import COMMIT, Act, Server, dripping_head, hub, running, serve, status
from typer.testing import CliRunner

from diffuseit.cli import app
from diffuseit.errors import InputError, ModelError
from diffuseit.models.hub.catalog import (
    Entry,
    catalog,
    entry_named,
    find_model,
    models_folder,
    require_models,
)
from diffuseit.models.hub.download import WAITING, download, download_entry, verify
from diffuseit.models.hub.http import DownloadError, Patience, Progress

ROOT = Path(__file__).parents[1]
CONTENT = random.Random(0).randbytes(700_001)
SHA = hashlib.sha256(CONTENT).hexdigest()
HURRY = Patience(connect=0.3, window=0.3, attempts=3, pause=0.01, longest_pause=1)
PLAIN = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def entry_at(server: Server, **changes: object) -> Entry:
    changes = {"url": f"{server.url}/w.pt", "file": "w.pt", "sha256": SHA, "bytes": len(CONTENT), **changes}
    return replace(entry_named("adm256-uncond"), **changes)


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "diffuseit", *map(str, arguments)],
        cwd=ROOT,
        env={**PLAIN, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_one_file(server: Server, tmp_path: Path) -> None:
    server.acts = [serve(CONTENT)]
    seen = []
    path = download_entry(entry_at(server), tmp_path / "new", seen.append)
    assert path == tmp_path / "new" / "w.pt" and path.read_bytes() == CONTENT
    assert (seen[-1].file, seen[-1].done, seen[-1].total) == ("w.pt", len(CONTENT), len(CONTENT))
    assert visible(path.parent) == ["w.pt"]
    download_entry(entry_at(server), path.parent)
    assert len(server.requests) == 1  # what is there is not asked for again


def test_damage_is_found_later(server: Server, tmp_path: Path) -> None:
    """By the published checksum, or by that of the download where none is published."""
    for sha256 in (SHA, SHA[:8], None):
        server.acts = [serve(CONTENT)]
        entry = entry_at(server, sha256=sha256)
        path = download_entry(entry, tmp_path)
        assert verify(entry, path) is None
        path.write_bytes(CONTENT[:-1] + b"x")
        assert "checksum" in verify(entry, path)
        path.unlink()
    by_hand = tmp_path / "w.pt"
    by_hand.write_bytes(CONTENT)
    (tmp_path / ".w.pt.sha256").unlink()
    assert "damaged" in verify(entry_at(server, sha256=None), by_hand)


def test_the_first_digits_of_a_checksum_tell_damage(server: Server, tmp_path: Path) -> None:
    """torchvision publishes no more, in the names of its files."""
    server.acts = [serve(CONTENT[:-1] + b"x"), serve(CONTENT)]
    entry = entry_at(server, sha256=SHA[:8], bytes=None)
    with pytest.raises(ModelError, match="checksum"):
        download_entry(entry, tmp_path)
    assert visible(tmp_path) == []
    assert download_entry(entry, tmp_path).read_bytes() == CONTENT


def test_a_folder_that_cannot_be(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="choose another folder"):
        download_entry(entry_at(server), tmp_path / "file" / "models")


FETCH = """
import sys
from dataclasses import replace
from pathlib import Path
from diffuseit.models.hub.catalog import entry_named
from diffuseit.models.hub.download import download_entry
url, sha256, folder = sys.argv[1:]
entry = replace(entry_named("adm256-uncond"), url=url, file="w.pt", sha256=sha256, bytes=None)
download_entry(entry, folder, lambda state: print(state.done, flush=True))
"""


def fetcher(server: Server, folder: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, f"{server.url}/w.pt", SHA, str(folder)],
        cwd=ROOT,
        env=PLAIN,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_fetch_once(server: Server, tmp_path: Path) -> None:
    server.acts = [serve(CONTENT, pause=0.05)]
    processes = [fetcher(server, tmp_path) for _ in range(2)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert visible(tmp_path) == ["w.pt"]


def test_a_killed_process_leaves_a_part_to_go_on_from(server: Server, tmp_path: Path) -> None:
    server.acts = [serve(CONTENT, pause=0.2)]
    process = fetcher(server, tmp_path)
    while int(process.stdout.readline()) < 200_000:
        pass
    process.kill()
    process.communicate()
    assert visible(tmp_path) == []
    server.acts = [serve(CONTENT)]
    process = fetcher(server, tmp_path)
    process.communicate(timeout=60)
    assert (tmp_path / "w.pt").read_bytes() == CONTENT
    assert server.ranges[-1] is not None


def test_a_second_download_says_that_it_waits_and_can_be_interrupted(server: Server, tmp_path: Path) -> None:
    server.acts = [serve(CONTENT)]
    entry, told = entry_at(server), []

    class StopError(Exception):
        pass

    def stop(progress: Progress) -> None:
        told.append(progress)
        if len(told) == 3:
            raise StopError

    with FileLock(tmp_path / ".w.pt.lock"):
        start = time.monotonic()
        with pytest.raises(StopError):
            download_entry(entry, tmp_path, stop)
        assert time.monotonic() - start < 2
    assert {(progress.file, progress.note) for progress in told} == {("w.pt", WAITING)}
    assert server.requests == []
    download_entry(entry, tmp_path)


@pytest.mark.parametrize("act", [serve(CONTENT), status(404)])
def test_the_lock_is_let_go(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    """Not only when the garbage collector comes by."""
    kept = []
    monkeypatch.setattr(
        "diffuseit.models.hub.download.FileLock", lambda path: kept.append(FileLock(path)) or kept[-1]
    )
    server.acts = [act]
    with suppress(ModelError):
        download_entry(entry_at(server), tmp_path)
    assert len(kept) == 1
    with FileLock(tmp_path / ".w.pt.lock", timeout=0):
        pass


def test_what_is_no_file_is_no_checkpoint(server: Server, tmp_path: Path) -> None:
    """A link to an unplugged drive, a pipe, a folder: fetched as if nothing were there, where that is possible."""
    entry = entry_at(server)
    server.acts = [serve(CONTENT)]
    for make in (lambda path: path.symlink_to("/gone/w.pt"), os.mkfifo, Path.mkdir):
        path = tmp_path / make.__name__ / "w.pt"
        path.parent.mkdir()
        make(path)
        assert find_model(entry, path.parent) is None
        if make is Path.mkdir:
            with pytest.raises(ModelError, match="cannot write"):
                download_entry(entry, path.parent)
        else:
            assert download_entry(entry, path.parent).read_bytes() == CONTENT
    assert find_model(entry, tmp_path / ("n" * 300)) is None


@pytest.mark.parametrize("note", ["", "x" * 64, "\xe9", None])
def test_a_checksum_note_that_is_damaged_is_as_none(server: Server, tmp_path: Path, note: str | None) -> None:
    server.acts = [serve(CONTENT)]
    entry = entry_at(server, sha256=None)
    path = download_entry(entry, tmp_path)
    assert verify(entry, path) is None
    (tmp_path / ".w.pt.sha256").unlink()
    if note is None:
        (tmp_path / ".w.pt.sha256").mkdir()
    else:
        (tmp_path / ".w.pt.sha256").write_text(note, encoding="latin-1")
    # Read instead, which finds no network in it.
    assert "damaged" in verify(entry, path)


@pytest.fixture
def hub_here(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The hub of this process, with an empty cache."""
    import huggingface_hub.constants

    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return server


ON_HUB = entry_named("dinov2-s14")
KEY = f"{ON_HUB.hub.repo}/{ON_HUB.hub.file}"


def test_the_hub_has_another_file_than_the_catalog_knows(hub_here: Server, tmp_path: Path) -> None:
    hub_here.acts = [hub({KEY: CONTENT})]
    with pytest.raises(ModelError, match="not the file that the catalog knows"):
        download_entry(replace(ON_HUB, sha256="0" * 64), tmp_path)
    assert [method for method, _, _ in hub_here.requests] == ["HEAD"]
    assert visible(tmp_path) == []


def test_the_hubs_checksum_and_size_are_held_against_what_comes(hub_here: Server, tmp_path: Path) -> None:
    swapped = CONTENT[:-1] + b"x"
    for content, message in ((swapped, "checksum"), (CONTENT[:-1], f"{len(CONTENT)} are expected")):
        hub_here.acts = [hub({KEY: content}, published={KEY: CONTENT})]
        with pytest.raises(ModelError, match=message):
            download_entry(ON_HUB, tmp_path)
        assert visible(tmp_path) == []
    hub_here.acts = [hub({KEY: CONTENT})]
    assert download_entry(ON_HUB, tmp_path).read_bytes() == CONTENT


def test_a_hub_that_says_next_to_nothing(hub_here: Server, tmp_path: Path) -> None:
    hub_here.acts = [dripping_head]
    start, notes = time.monotonic(), []
    with pytest.raises(DownloadError) as caught:
        download_entry(ON_HUB, tmp_path, lambda progress: notes.append(progress.note), patience=HURRY)
    assert time.monotonic() - start < 5
    assert set(notes) == {"waiting for 127.0.0.1"}
    assert str(caught.value) == (
        f"{ON_HUB.file} was not downloaded (no answer from 127.0.0.1): try again, or open {ON_HUB.hub.page} in a "
        f"browser and save its {ON_HUB.hub.file} as {tmp_path / ON_HUB.file}"
    )

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        download_entry(ON_HUB, tmp_path, stop)
    assert time.monotonic() - start < 1


def test_a_busy_hub_is_asked_again_and_an_unknown_one_is_not(
    hub_here: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_here.acts = [status(503)]
    with pytest.raises(ModelError, match=r"127\.0\.0\.1 answered 503"):
        download_entry(ON_HUB, tmp_path, patience=HURRY)
    assert len(hub_here.requests) == HURRY.attempts
    monkeypatch.setenv("HF_ENDPOINT", "https://models.invalid")
    with pytest.raises(ModelError, match=r"no connection to models\.invalid") as caught:
        download_entry(ON_HUB, tmp_path)
    assert "\n" not in str(caught.value)


def hub_environment(server: Server, tmp_path: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(tmp_path / "home"),
        "DIFFUSEIT_MODELS": str(tmp_path / "models"),
    }


@pytest.mark.slow
def test_the_hub(server: Server, tmp_path: Path) -> None:
    """Endpoint and token are taken from the environment, the checksum from the hub."""
    file = "timm/vit_small_patch14_dinov2.lvd142m/model.safetensors"
    # A server that is busy at first is asked again.
    busy = iter([status(503)])
    answer = hub({file: CONTENT})
    server.acts = [lambda handler: (next(busy, answer) if handler.command == "HEAD" else answer)(handler)]
    environment = hub_environment(server, tmp_path) | {"HF_TOKEN": "hf_secret"}
    result = command("models", "download", "dinov2-s14", **environment)
    assert result.returncode == 0, result.stderr
    assert "Apache-2.0" in result.stderr and "dinov2-s14.safetensors is here" in result.stdout
    assert (tmp_path / "models" / "dinov2-s14.safetensors").read_bytes() == CONTENT
    asked = [(path, headers) for _, path, headers in server.requests if "dinov2" in path]
    assert [path.rpartition("/resolve/")[2] for path, _ in asked[:2]] == ["main/model.safetensors"] * 2
    (_, first), (path, second), (_, elsewhere) = asked[1:]
    assert first["authorization"] == second["authorization"] == "Bearer hf_secret"
    assert "authorization" not in elsewhere
    assert path.endswith(f"/resolve/{COMMIT}/model.safetensors")
    asked = len(server.requests)
    assert command("models", "download", "dinov2-s14", **environment).returncode == 0
    assert len(server.requests) == asked
    assert "right" in command("models", "verify", "dinov2-s14", **environment).stdout


def test_a_tokenizer_comes_with_its_network(server: Server, tmp_path: Path) -> None:
    entry = entry_named("siglip2-b16-256")
    names = (*entry.tokenizer, entry.hub.file)
    server.acts = [hub({f"{entry.hub.repo}/{name}": f"this is {name}".encode() for name in names})]
    result = command("models", "download", entry.name, **hub_environment(server, tmp_path))
    assert result.returncode == 0, result.stderr
    models = tmp_path / "models"
    assert (models / entry.file).read_text() == "this is open_clip_model.safetensors"
    assert visible(models / entry.tokenizer_folder) == sorted(entry.tokenizer)
    assert find_model(entry, models) is not None
    (models / entry.tokenizer_folder / "tokenizer.json").unlink()
    assert find_model(entry, models) is None


@pytest.mark.skipif(os.name == "nt", reason="there is no such signal")
def test_ctrl_c_ends_a_download_to_which_nothing_comes(server: Server, tmp_path: Path) -> None:
    server.acts = [dripping_head]
    process = subprocess.Popen(
        [sys.executable, "-m", "diffuseit", "models", "download", "dinov2-s14"],
        cwd=ROOT,
        env={**PLAIN, **hub_environment(server, tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.asked.wait(60)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - start < 5
    assert process.returncode != 0 and "Traceback" not in said


@pytest.mark.parametrize(
    ("act", "environment", "message"),
    [
        (status(404, X_Error_Code="EntryNotFound"), {}, "has no file model.safetensors any more"),
        (status(404, X_Error_Code="RepoNotFound"), {}, "does not exist, or is private"),
        (status(403, X_Error_Code="GatedRepo"), {}, "accept its terms there, then set HF_TOKEN"),
        (hub({}), {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
    ],
)
def test_the_hub_says_no(
    server: Server, tmp_path: Path, act: Act, environment: dict[str, str], message: str
) -> None:
    server.acts = [act]
    result = command("models", "download", "dinov3-b16", **hub_environment(server, tmp_path), **environment)
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr
    assert visible(tmp_path / "models") == []


def test_a_file_in_the_hubs_own_cache_is_used(server: Server, tmp_path: Path) -> None:
    """So it is where there is no network at all."""
    cache = tmp_path / "home" / "hub" / "models--timm--vit_small_patch16_dinov3.lvd1689m"
    snapshot = cache / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(CONTENT)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(COMMIT)
    server.acts = [status(500)]
    environment = hub_environment(server, tmp_path) | {"HF_HUB_OFFLINE": "1"}
    result = command("models", "download", "dinov3-s16", **environment)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "models" / "dinov3-s16.safetensors").read_bytes() == CONTENT
    assert server.requests == []


def test_missing_models_say_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setenv("DIFFUSEIT_MODELS", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        require_models([entry_named("adm256-uncond")])
    message = str(caught.value)
    assert "`diffuseit models download adm256-uncond`" in message
    assert (
        "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt" in message
    )
    assert str(tmp_path) in message
    with pytest.raises(ModelError) as caught:
        require_models([entry_named("clip-b32"), entry_named("p2-cub")], tmp_path / "my models")
    message = str(caught.value)
    assert f'`diffuseit models download clip-b32 --folder "{tmp_path / "my models"}"`' in message
    assert "clip-b32.safetensors from https://huggingface.co/timm/" in message
    assert str(tmp_path / "my models" / "cub_p2.pt") in message and "drive.google.com" in message


def test_by_hand(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"drive\.google\.com.*ffhq_p2\.pt"):
        download("p2-ffhq", tmp_path)
    (tmp_path / "ffhq_p2.pt").write_bytes(b"got by hand")
    assert download("p2-ffhq", tmp_path) == [tmp_path / "ffhq_p2.pt"]
    with pytest.raises(InputError, match="did you mean"):
        download("p2-fhq", tmp_path)


def test_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DIFFUSEIT_MODELS", str(tmp_path / "a"))
    assert models_folder() == tmp_path / "a"
    assert models_folder(tmp_path / "b") == tmp_path / "b"
    monkeypatch.delenv("DIFFUSEIT_MODELS")
    assert models_folder().parts[-2:] == ("diffuseit", "models")


def test_the_list_fits_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "clip-b32-bf16.safetensors").write_bytes(b"")
    result = command("models", "list", "--folder", tmp_path)
    lines = result.stdout.splitlines()
    assert result.returncode == 0
    assert max(map(len, lines)) <= 80
    rows = {line.split()[0].rstrip("*"): line for line in lines if line.strip()}
    assert rows.keys() >= catalog().keys() | {"paper"}
    # One line each, to the last word.
    assert all(rows[name].rstrip().endswith(entry.purpose) for name, entry in catalog().items())
    assert "✓" in rows["clip-b32"] and result.stdout.count("✓") == 1


@pytest.mark.parametrize("name", ["p2-cub", "siglip2-b16-384"])
def test_show(name: str, tmp_path: Path) -> None:
    result = command("models", "show", name, "--folder", tmp_path)
    assert result.returncode == 0 and max(map(len, result.stdout.splitlines())) <= 80
    words = "".join(result.stdout.split())
    entry = entry_named(name)
    for fact in (entry.limits, entry.license, entry.address or entry.manual, str(tmp_path / entry.file)):
        assert "".join(fact.split()) in words


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "papers"], "did you mean paper"),
        (["download", "dino-b8", "dinov4"], "has no 'dinov4'"),
        (["list", "--kind", "vae"], "'vae' is not one of"),
        (["convert", "dinov4"], "neither a file nor a name"),
        (["convert", "dino-b8", "--precision", "fp8"], "'fp8' is not one of"),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path) -> None:
    """Found before anything is fetched or written."""
    result = CliRunner().invoke(app, ["models", *arguments, "--folder", str(tmp_path)])
    assert result.exit_code == 2 and message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_bundles_name_one_network_of_each_kind() -> None:
    data = json.loads((ROOT / "diffuseit" / "models" / "hub" / "catalog.json").read_text(encoding="utf-8"))
    for bundle in data["bundles"].values():
        assert catalog()[bundle["ddpm"]].kind == "ddpm"
        assert catalog()[bundle["vit"]].kind == "vit"
        assert {catalog()[name].kind for name in bundle["clip"]} == {"clip"}
