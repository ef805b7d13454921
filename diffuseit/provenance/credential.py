"""The private key that signs, and its certificates: a local one, made on first use, or the user's own.

Nobody has confirmed who the holder of a local key is. Other programs call its signature valid, and its signer unknown.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from platformdirs import user_config_path

from ..errors import InputError
from ..files.atomic import atomic_path
from ..images.decode import reason
from ..schema import printable
from .library import context, library

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
    from cryptography.x509 import Certificate

FOLDER_VARIABLE = "DIFFUSEIT_KEYS"
KEY_FILE = "signing.pem"
"""The local key and its certificates. One file cannot lose its other half."""

ROOT_FILE = "root.pem"
"""The root certificate alone, for others who want to trust it."""

LARGEST_FILE = 1 << 20
"""Bytes of a file with a key or certificates."""

_VALID = timedelta(days=3652)
"""How long a local certificate is valid. Without a time stamp, so are its signatures."""

_NAME, _ORGANIZATION = "DiffuseIT local key", "unconfirmed, made on the signer's own machine"


@dataclass(frozen=True)
class Credential:
    """A private key with its certificates as PEM: the signer's first, then those above it. `name` says where it is."""

    certificates: str
    key: str = field(repr=False)
    algorithm: str
    name: str

    def signer(self) -> Any:
        """Return c2pa's signer without a time-stamp server."""
        c2pa = library()
        info = c2pa.C2paSignerInfo(self.algorithm, self.certificates.encode(), self.key.encode(), None)
        return c2pa.Signer.from_info(info)


def keys_folder() -> Path:
    """Return where the local key is: $DIFFUSEIT_KEYS, else among the settings of the user.

    It is never a folder of ComfyUI, whose server hands out files.
    """
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    return user_config_path("diffuseit", appauthor=False) / "signing"


def local_credential(folder: Path | None = None) -> Credential:
    """Return the key in `folder` (default: `keys_folder`), made if it is not there.

    Raise `InputError` if it cannot be made or read, if others may read it, or if it has expired.
    """
    library()
    path = (folder or keys_folder()) / KEY_FILE
    if not path.exists():
        _make(path)
    return read_credential(path, path)


def read_credential(certificates: Path, key: Path) -> Credential:
    """Return the key in a PEM file with the chain of its certificates in another one, or in the same.

    Raise `InputError` for anything that c2pa does not sign with.
    """
    library()
    from cryptography.hazmat.primitives import serialization

    name = printable(str(key))
    chain = _certificates(certificates)
    content = _read(key, private=True)
    try:
        private = serialization.load_pem_private_key(content, None)
    except TypeError:
        raise InputError(f"The key in {name} has a password: save it without one") from None
    except Exception as error:
        raise InputError(f"{name} holds no private key in PEM: {reason(error)}") from None
    _check_dates(chain[0], certificates)
    if private.public_key() != chain[0].public_key():
        raise InputError(
            f"The first certificate in {printable(str(certificates))} is not that of the key in {name}"
        )
    found = Credential("".join(map(_pem, chain)), _private_pem(private), _algorithm(private, name), name)
    _try(found)
    return found


def local_root(folder: Path | None = None) -> str:
    """Return the root certificate of the local key as PEM; "" if there is none."""
    library()
    path = (folder or keys_folder()) / KEY_FILE
    try:
        return _pem(_certificates(path)[-1]) if path.exists() else ""
    except (InputError, OSError):
        return ""


def read_roots(path: Path) -> str:
    """Return the certificates in a PEM file, and nothing else of it. Raise `InputError` if there are none."""
    library()
    return "".join(map(_pem, _certificates(path)))


def _read(path: Path, *, private: bool = False) -> bytes:
    """The content of a PEM file. Raise `InputError` if it cannot be read, or a private one is open to others."""
    name = printable(str(path))
    try:
        state = path.stat()
        # The content of a pipe may never end.
        content = path.read_bytes() if _is_small_file(state) else None
    except (OSError, ValueError) as error:
        raise InputError(f"{name} cannot be read: {reason(error)}") from None
    if content is None:
        raise InputError(f"{name} is no file with a key or certificates")
    if private and os.name == "posix" and state.st_mode & 0o077:
        raise InputError(f"Others may read the key in {name}: run `chmod 600` on it")
    return content


def _is_small_file(state: os.stat_result) -> bool:
    return stat.S_ISREG(state.st_mode) and state.st_size <= LARGEST_FILE


def _certificates(path: Path) -> list[Certificate]:
    from cryptography import x509

    content = _read(path)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise InputError(f"{printable(str(path))} holds no certificate in PEM: {reason(error)}") from None


def _check_dates(certificate: Certificate, path: Path) -> None:
    now, name = datetime.now(timezone.utc), printable(str(path))
    if now > certificate.not_valid_after_utc:
        raise InputError(
            f"The certificate in {name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: give another one, or "
            "move a local one away, and a new one is made"
        )
    if now < certificate.not_valid_before_utc:
        start = f"{certificate.not_valid_before_utc:%Y-%m-%d}"
        raise InputError(f"The certificate in {name} is valid from {start} on: check the clock")


def _algorithm(private: PrivateKeyTypes, name: str) -> str:
    """The name of the algorithm in c2pa."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(private, ec.EllipticCurvePrivateKey) and private.curve.name in curves:
        return curves[private.curve.name]
    if isinstance(private, rsa.RSAPrivateKey) and private.key_size >= 2048:
        return "ps256"
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise InputError(
        f"C2PA does not sign with the kind of key in {name}: take P-256, Ed25519, or RSA of 2048 bits or more"
    )


def _try(found: Credential) -> None:
    """Sign an image of one pixel, so that a certificate that c2pa refuses is told before heavy work."""
    c2pa = library()
    image, signed = BytesIO(), BytesIO()
    Image.new("RGB", (1, 1)).save(image, "PNG")
    image.seek(0)
    actions = [{"action": "c2pa.created", "digitalSourceType": "http://c2pa.org/digitalsourcetype/empty"}]
    manifest = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]}
    try:
        c2pa.Builder(manifest, context()).sign(found.signer(), "image/png", image, signed)
    except Exception as error:
        raise InputError(f"c2pa does not sign with the key in {found.name}: {reason(error)}") from None


def _make(path: Path) -> None:
    """Write a new key and its certificates, readable by their owner alone."""
    content = _new_credential()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Another process may make one at the same time. The first one counts.
        with suppress(FileExistsError), atomic_path(path, overwrite=False) as temporary:
            # While there is nothing in it.
            temporary.chmod(0o600)
            temporary.write_text(content)
        with atomic_path(path.with_name(ROOT_FILE)) as temporary:
            temporary.write_text(_pem(_certificates(path)[-1]))
    except OSError as error:
        raise InputError(
            f"No key can be made in {printable(str(path.parent))}: {reason(error)}; set {FOLDER_VARIABLE} to another "
            "folder, or give a key of your own"
        ) from None


def _new_credential() -> str:
    """A private key, its certificate, and the root above it, as PEM. The key of the root is thrown away.

    They are as C2PA's profile of certificates asks: https://spec.c2pa.org, "Certificate Profile".
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    start = datetime.now(timezone.utc) - timedelta(days=1)
    above, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def named(name: str) -> x509.Name:
        parts = {NameOID.COMMON_NAME: name, NameOID.ORGANIZATION_NAME: _ORGANIZATION}
        return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts.items()])

    def certificate(name: str, key: ec.EllipticCurvePrivateKey, *, signs: bool) -> x509.CertificateBuilder:
        usage = x509.KeyUsage(
            digital_signature=signs,
            key_cert_sign=not signs,
            crl_sign=not signs,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named(f"{_NAME}, root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + _VALID)
            .add_extension(x509.BasicConstraints(ca=not signs, path_length=None if signs else 0), True)
            .add_extension(usage, True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key()), False)
        )

    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    root = certificate(f"{_NAME}, root", above, signs=False).sign(above, hashes.SHA256())
    leaf = certificate(_NAME, own, signs=True).add_extension(purposes, False).sign(above, hashes.SHA256())
    return _private_pem(own) + _pem(leaf) + _pem(root)


def _pem(certificate: Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _private_pem(key: PrivateKeyTypes) -> str:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
