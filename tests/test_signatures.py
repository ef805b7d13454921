"""Signed results: what the manifest says, what breaks it, and what happens to the image if signing fails."""

import json
import os
import socket
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin
from standin import replace_core
from typer.testing import CliRunner

from diffuseit.api import Result
from diffuseit.cli import app
from diffuseit.errors import InputError
from diffuseit.images.io import read_picture, read_text, save_picture
from diffuseit.images.marks import TERMS
from diffuseit.provenance import credential as keys
from diffuseit.provenance.sign import Origin, Signature
from diffuseit.provenance.verify import verify

c2pa = pytest.importorskip("c2pa")

EDITED = "compositeWithTrainedAlgorithmicMedia"
PIXELS = {"png": b"IDAT", "jpg": b"\xff\xda", "webp": b"VP8 ", "tif": b"II*\0"}
"""Formats that can be signed, and what their pixels follow."""

KINDS = tuple(PIXELS)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a photo, a core that inverts it, and keys of its own."""

    def translate(source: torch.Tensor, **_) -> Result:
        return Result(-source)

    replace_core(monkeypatch, translate)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(keys.FOLDER_VARIABLE, str(tmp_path / "keys"))
    Image.effect_noise((64, 64), 90).convert("RGB").save("photo.png")
    return tmp_path


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result


def translate(*arguments: object, code: int = 0):
    return run("translate", *arguments, code=code)


def signed(path: Path, source: Path | None = None, recipe: str | None = None) -> Path:
    signature = Signature(keys.local_credential(), Origin(EDITED, source, recipe))
    save_picture(Image.open("photo.png"), path, mark=EDITED, finish=signature)
    assert signature.failure is None and signature.notes == []
    return path


@pytest.mark.parametrize("suffix", KINDS)
def test_a_signed_result_says_what_it_is_and_repeats(folder, suffix):
    file = folder / f"a.{suffix}"
    translate("photo.png", "--to", "winter", "--seed", "7", "--sign", "-o", file)
    translate("photo.png", "--again", file, "-o", f"b.{suffix}")
    assert read_picture(file).rgb.tobytes() == read_picture(f"b.{suffix}").rgb.tobytes()
    (found,) = json.loads(run("verify", file, "--source", "photo.png", "--json").stdout)
    assert found["signature"] == "trusted" and found["source_type"] == EDITED
    assert found["recipe"]["seed"] == 7 and found["of_source"] is True
    assert found["ingredients"] == [{"title": "photo.png", "relationship": "parentOf", "signature": "absent"}]


@pytest.mark.parametrize("suffix", KINDS)
def test_another_program_reads_the_same(folder, suffix):
    file = signed(folder / f"a.{suffix}", folder / "photo.png", "{}")
    with c2pa.Reader(file) as reader:
        assert reader.get_validation_state() == "Valid"
        manifest = reader.get_active_manifest()
    (actions,) = [each["data"]["actions"] for each in manifest["assertions"]]
    assert [each["action"] for each in actions] == ["c2pa.opened", "c2pa.edited"]
    assert actions[1]["digitalSourceType"] == TERMS + EDITED
    assert actions[1]["softwareAgent"]["name"] == "DiffuseIT"
    assert [each["relationship"] for each in manifest["ingredients"]] == ["parentOf"]


@pytest.mark.parametrize("suffix", KINDS)
def test_a_flipped_bit_is_found(folder, suffix):
    file = signed(folder / f"a.{suffix}")
    content = bytearray(file.read_bytes())
    content[content.rindex(PIXELS[suffix]) + 40] ^= 1
    file.write_bytes(content)
    assert verify(file).signature == "tampered"
    assert "assertion.dataHash.mismatch" in verify(file).reasons
    run("verify", file, code=1)


def test_metadata_written_afterwards_are_found(folder):
    file = signed(folder / "a.png")
    content = file.read_bytes()
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text("comment", "late")
    Image.new("RGB", (1, 1)).save("late.png", pnginfo=chunk)
    late = Path("late.png").read_bytes()
    start = late.index(b"tEXt") - 4
    end = content.index(b"IEND") - 4
    file.write_bytes(content[:end] + late[start : late.index(b"IDAT") - 4] + content[end:])
    assert verify(file).signature == "tampered"


def test_the_manifest_of_the_source_is_passed_on(folder):
    first = signed(folder / "first.png", folder / "photo.png")
    translate(first, "--to", "winter", "--sign", "-o", "second.png")
    found = verify(Path("second.png"), source=first)
    assert found.holds and found.of_source
    assert [(each.title, each.signature) for each in found.ingredients] == [("first.png", "valid")]
    with c2pa.Reader("second.png") as reader:
        assert len(json.loads(reader.json())["manifests"]) == 2
    assert verify(Path("second.png"), source=Path("photo.png")).of_source is False


@pytest.mark.filterwarnings("ignore:.*damaged metadata")
@pytest.mark.parametrize("at", [6, 400])
def test_a_source_with_broken_provenance_is_still_an_origin(folder, at):
    first = signed(folder / "first.png")
    content = bytearray(first.read_bytes())
    start = content.index(b"caBX") + at
    content[start : start + 30] = os.urandom(30)
    first.write_bytes(content)
    assert verify(first).signature in ("damaged", "tampered")
    run("verify", first, code=1)
    translate(first, "--to", "winter", "--sign", "-o", "second.png")
    found = verify(Path("second.png"), source=first)
    assert found.holds and found.of_source and found.ingredients[0].signature in ("absent", "tampered")


@pytest.mark.parametrize("suffix", ["bmp", "gif"])
def test_sources_of_any_kind_are_origins(folder, suffix):
    Image.open("photo.png").save(f"photo.{suffix}")
    translate(f"photo.{suffix}", "--to", "winter", "--sign", "-o", "a.png")
    run("verify", "a.png", "--source", f"photo.{suffix}")
    run("verify", "a.png", "--source", "photo.png", code=1)


def test_a_folder_is_signed_and_so_are_variations(folder):
    Path("in").mkdir()
    Path("photo.png").rename("in/photo.png")
    translate("in", "--to", "winter", "--sign", "-o", "out")
    run("verify", "out/photo.png", "--source", "in/photo.png")


def test_what_is_not_signed(folder):
    assert verify(Path("photo.png")).signature == "absent"
    result = run("verify", "photo.png", code=3)
    assert result.stdout == "photo.png: not signed\n"
    translate("photo.png", "--to", "winter", "-o", "a.png")
    (found,) = json.loads(run("verify", "a.png", "--source", "photo.png", "--json", code=3).stdout)
    assert found["of_source"] is True and found["recipe"]["to"] == "winter"
    Path("no.png").write_text("no image")
    assert "is not an image" in run("verify", "photo.png", "no.png", code=2).stderr


def test_who_is_trusted(folder, monkeypatch):
    file = signed(folder / "a.png")
    monkeypatch.setenv(keys.FOLDER_VARIABLE, str(folder / "others"))
    run("verify", file)
    assert verify(file).signature == "valid"
    run("verify", file, "--trust", "keys/root.pem")
    assert verify(file, roots=keys.read_roots(folder / "keys/root.pem")).signature == "trusted"
    assert "holds no certificate" in run("verify", file, "--trust", "photo.png", code=2).stderr


def test_the_local_key_is_for_its_owner_alone(folder):
    found = keys.local_credential()
    assert found == keys.local_credential()
    assert found.key not in repr(found)
    if os.name == "posix":
        assert (folder / "keys/signing.pem").stat().st_mode & 0o777 == 0o600
        assert (folder / "keys").stat().st_mode & 0o777 == 0o700
        (folder / "keys/signing.pem").chmod(0o644)
        assert refused("--sign") == "Error: Others may read the key in {}: run `chmod 600` on it\n".format(
            folder / "keys/signing.pem"
        )


def refused(*arguments: object) -> str:
    """The one line with which a translation must end, before the work."""
    result = translate("photo.png", "--to", "winter", "-o", "x.png", *arguments, code=2)
    assert not Path("x.png").exists() and result.stderr.count("\n") == 1
    return result.stderr


def test_keys_that_cannot_be_used_are_refused_before_the_work(folder, monkeypatch):
    keys.local_credential()
    own = folder / "keys/signing.pem"
    assert "give both" in refused("--sign", "--key", own)
    assert "add it" in refused("--cert", own, "--key", own)
    assert "--no-mark" in refused("--sign", "--no-mark")
    assert "holds no certificate" in refused("--sign", "--cert", "photo.png", "--key", own)
    Path("bad.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    Path("bad.pem").chmod(0o600)
    assert "holds no private key" in refused("--sign", "--cert", own, "--key", "bad.pem")
    assert "cannot be read" in refused("--sign", "--cert", own, "--key", "missing.pem")
    other = keys.local_credential(folder / "other")
    Path("other.pem").write_text(other.key)
    Path("other.pem").chmod(0o600)
    assert "is not that of the key" in refused("--sign", "--cert", own, "--key", "other.pem")
    # The root may not sign images.
    monkeypatch.setattr(keys, "_new_credential", lambda made=keys._new_credential: reversed_chain(made()))
    assert "c2pa does not sign with" in str(error_of(lambda: keys.local_credential(folder / "root")))


def reversed_chain(pem: str) -> str:
    """A credential whose certificate is one that a root has: c2pa refuses it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    key = serialization.load_pem_private_key(pem.encode(), None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "no signer")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    return pem[: pem.index("-----BEGIN CERT")] + certificate.public_bytes(serialization.Encoding.PEM).decode()


def error_of(call) -> InputError:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value


@pytest.mark.slow
def test_an_expired_certificate_is_refused_and_told_from_a_changed_file(folder, monkeypatch):
    monkeypatch.setattr(keys, "_VALID", timedelta(days=1, seconds=2))
    file = signed(folder / "a.png")
    until = time.monotonic() + 10
    while verify(file).signature == "valid" and time.monotonic() < until:
        time.sleep(0.3)
    assert verify(file).signature == "expired"
    assert "expired on" in refused("--sign")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_of_keys_is_refused(folder):
    (folder / "keys").mkdir(mode=0o500)
    assert "No key can be made" in refused("--sign")


def test_a_place_for_keys_that_is_a_file_is_refused(folder):
    Path("keys").write_text("")
    assert "No key can be made" in refused("--sign")


def test_formats_that_hold_no_signature_are_refused(folder):
    error = translate("photo.png", "--to", "winter", "--sign", "-o", "a.bmp", code=2).stderr
    assert "BMP files cannot hold a signature: take one of .png" in error


def test_a_failure_to_sign_loses_no_image(folder, monkeypatch):
    keys.local_credential()

    def fail(self: keys.Credential) -> None:
        raise OSError("the token is not plugged in")

    monkeypatch.setattr(keys, "_try", lambda found: None)
    monkeypatch.setattr(keys.Credential, "signer", fail)
    result = translate("photo.png", "--to", "winter", "--sign", "-o", "a.png", code=1)
    assert result.stderr.endswith("a.png is saved, but not signed: OSError: the token is not plugged in\n")
    assert read_text(Path("a.png")) and verify(Path("a.png")).signature == "absent"
    Path("in").mkdir()
    Path("photo.png").rename("in/photo.png")
    result = translate("in", "--to", "winter", "--sign", "-o", "out", code=1)
    assert "1 translated" in result.stdout and "not signed: OSError" in result.stderr
    assert sorted(path.name for path in Path("out").glob("*.png")) == ["photo.png"]


def test_nothing_connects(folder, monkeypatch):
    """c2pa's own code is not Python's: a manifest that is elsewhere is only named."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.2)
    found = keys.local_credential()
    builder = c2pa.Builder({"assertions": []})
    builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CREATION)
    builder.set_no_embed()
    builder.set_remote_url(f"http://127.0.0.1:{listener.getsockname()[1]}/manifest")
    with Path("photo.png").open("rb") as unsigned, Path("remote.png").open("w+b") as file:
        builder.sign(found.signer(), "image/png", unsigned, file)
    report = verify(Path("remote.png"))
    assert report.signature == "absent" and "is not fetched" in report.reasons[0]
    translate("remote.png", "--to", "winter", "--sign", "-o", "a.png")
    assert verify(Path("a.png"), source=Path("remote.png")).of_source
    with pytest.raises(TimeoutError):
        listener.accept()


def test_without_the_library_the_rest_is_told(folder, monkeypatch):
    from diffuseit.provenance import library

    translate("photo.png", "--to", "winter", "-o", "a.png")
    library.library.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "c2pa", None)
    result = run("verify", "a.png", code=2)
    assert "pip install c2pa-python" in result.stdout and EDITED in result.stdout
    assert "pip install" in refused("--sign")
    library.library.cache_clear()
