"""Sign a card and check who signed it, with an OpenSSF model signature over its config, weights and samples.

The signature is the file `model.sig`, a Sigstore bundle that OpenSSF's own tool reads too. It is made with an EC
private key (P-256, P-384 or P-521) and checked with the public key of the pair. Both keys are PEM files, and no network
is needed. The packages come with the extra `sign`.
"""

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from zoo.card.names import LIMITS, NEEDED, SIGNATURE, SIGNED
from zoo.errors import FormatError, InputError, MissingExtraError, NotFoundError, ZooError
from zoo.extras import install
from zoo.files import parse_json, read_json, write_atomically

PASSWORD = "ZOO_KEY_PASSWORD"
CURVES = ("secp256r1", "secp384r1", "secp521r1")
KEY_LIMIT = 1 << 16
AGAIN = "Do not use it: get the card again from its publisher. If it is yours, sign it again: zoo publish --sign KEY"
GENERATE = "Check the path, or make a key: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"
PUBLIC = "Give --signature the file with the public key of the publisher, who hands it out."
EXTRACT = "This file holds no public key. To take one out of your own: openssl pkey -in key.pem -pubout -out key.pub"


def sign(folder: Path, key: Path) -> Path:
    """Sign the config, weights and samples of the card in `folder`. Returns the path of the new signature.

    key: an EC private key (PEM). If it is locked, $ZOO_KEY_PASSWORD opens it.
    Raises InputError or NotFoundError for the key, FormatError for a folder that is not a card.
    """
    library = _library()
    password = _password(key)
    covered = _Covered(
        library,
        _present(
            folder, "Only a card can be signed: the folder of a finished run. To make one: zoo train NAME --out FOLDER"
        ),
    )
    signer = library.signing.Config().set_hashing_config(covered)
    signer.use_elliptic_key_signer(private_key=key, password=password)
    signature = folder / SIGNATURE
    write_atomically(signature, lambda temporary: signer.sign(folder, temporary))
    return signature


def check_signature(folder: Path, key: Path) -> None:
    """Raise FormatError unless the card in `folder` is, byte for byte, what the owner of `key` signed.

    key: the publisher's EC public key (PEM). No file of `zoo.card.names.SIGNED` may be changed, added, removed or
    renamed. Other files, such as README.md, are not covered. Nor is the name of the folder, since the name of a card
    is in its config. The signature does not say which card it is: every card that this publisher ever signed passes.
    Raises InputError or NotFoundError for the key.
    """
    library = _library()
    from cryptography.exceptions import InvalidSignature

    fingerprint = _fingerprint(key)
    covered = _Covered(library, _present(folder, AGAIN))
    signature = folder / SIGNATURE
    bundle, maker = _read_bundle(signature)
    if maker != fingerprint:
        raise FormatError(f"{signature}: made with another key than {key}", AGAIN)
    verifier = library.verifying.Config().set_hashing_config(covered)
    # Nothing is ignored by this. It makes the library hand the signed names to `covered`, which compares them.
    verifier.use_elliptic_key_verifier(public_key=key).set_ignore_unsigned_files(True)
    try:
        verifier.verify(folder, signature)
    except ZooError:
        raise
    except InvalidSignature as error:
        raise FormatError(f"{signature}: forged or damaged, not what the owner of {key} signed", AGAIN) from error
    except Exception as error:  # the library raises whatever it trips over in a hostile bundle
        if covered.hashed is not None:
            changed = _changed(folder, covered.hashed, bundle)
            raise FormatError(f"{_all_of(changed)}: not what was signed", AGAIN) from error
        trouble = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise FormatError(f"{signature}: cannot be checked: {trouble[:200]!r}", AGAIN) from error


class _Covered:
    """Takes the place of the library's `hashing.Config`: it hashes exactly these files, whatever a bundle says.

    Without it, the library lets the bundle decide how to hash and which paths to leave out. Symbolic links, as the
    Hub's cache has them, are followed, and the bytes behind them are hashed.
    """

    def __init__(self, library: Any, names: list[str]) -> None:
        self.names = names
        self.hashed: Any = None
        """The manifest of the files. The library asks for it once it has found the signature itself good."""
        # The bundle records these files, which may be edited, so that other tools skip them. zoo does not read that.
        free = [name for name in LIMITS if name not in SIGNED]
        self.config = library.hashing.Config().set_allow_symlinks(True).set_ignored_paths(paths=free)

    def hash(self, model_path: Path, *, files_to_hash: Iterable[Path] | None = None) -> Any:
        """Called by the library. files_to_hash: when checking, the files in a bundle whose signature is good."""
        here = {model_path / name for name in self.names}
        if files_to_hash is not None:
            _compare(model_path, here, set(files_to_hash))
        self.hashed = self.config.hash(model_path, files_to_hash=here)
        return self.hashed

    def add_ignored_paths(self, *, model_path: Path, paths: Iterable[str]) -> None:
        """Called by the library with the paths that a bundle wants to leave out. They are not left out."""


def _compare(folder: Path, here: set[Path], signed: set[Path]) -> None:
    """FormatError unless the files here and the signed files are the same."""
    removed = (signed - here) & {folder / name for name in SIGNED}
    if removed:
        raise FormatError(f"{_all_of(removed)}: in the signature, but not in the folder", AGAIN)
    if signed - here:
        other = str(min(signed - here))
        raise FormatError(f"{folder / SIGNATURE}: covers {other[:200]!r}, which is no file of a card", AGAIN)
    if here - signed:
        raise FormatError(f"{_all_of(here - signed)}: in the folder, but not in the signature", AGAIN)


def _changed(folder: Path, hashed: Any, bundle: Any) -> list[Path]:
    """The files whose hash is not that of the bundle; all files if it has no hash for each of them."""
    try:
        payload = parse_json(base64.b64decode(bundle["dsseEnvelope"]["payload"]), SIGNATURE)
        said = {file["name"]: file["digest"] for file in payload["predicate"]["resources"]}
    except (LookupError, TypeError, ValueError):
        said = {}
    here = {file.identifier: file.digest.digest_hex for file in hashed.resource_descriptors()}
    return [folder / name for name in here if here[name] != said.get(name)] or [folder / name for name in here]


def _all_of(paths: Iterable[Path]) -> str:
    return ", ".join(str(path) for path in sorted(paths))


def _library() -> Any:
    """The package model_signing, which takes a third of a second to import. ZooError without the extra `sign`."""
    try:
        import model_signing
    except ImportError as error:  # of pyOpenSSL too, which the library imports and does not ask for
        message = f"signatures need packages that are not installed: {error}"
        raise MissingExtraError(message, install(extra="sign")) from error
    return model_signing


def _present(folder: Path, hint: str) -> list[str]:
    """The files to sign that the folder has. FormatError if one is missing that every card needs."""
    names = [name for name in SIGNED if (folder / name).is_file()]
    for name in NEEDED:
        if name not in names:
            raise FormatError(f"{folder / name}: no such file", hint)
    return names


def _read_bundle(signature: Path) -> tuple[Any, str]:
    """A bundle, and the key that it names. Without that name the library would only warn and go on."""
    if not signature.is_file():
        raise FormatError(f"{signature}: no such file, the card is not signed", AGAIN)
    try:
        bundle = read_json(signature, LIMITS[SIGNATURE])
        return bundle, str(bundle["verificationMaterial"]["publicKey"]["hint"])
    except FormatError as error:
        raise FormatError(error.message, AGAIN) from error
    except (LookupError, TypeError) as error:
        raise FormatError(f"{signature}: not a signature with an EC key", AGAIN) from error


def _fingerprint(key: Path) -> str:
    """The name by which a bundle knows this public key. Raises InputError or NotFoundError for the key."""
    from cryptography.hazmat.primitives import serialization

    pem = _read_pem(key, "PUBLIC KEY", PUBLIC, EXTRACT)
    loaded = _ec_key(key, lambda: serialization.load_pem_public_key(pem), EXTRACT)
    same = loaded.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(same).hexdigest()


def _password(key: Path) -> bytes | None:
    """The password of this private key, after a try; None if it has none. Raises InputError or NotFoundError."""
    from cryptography.hazmat.primitives import serialization

    pem = _read_pem(key, "PRIVATE KEY", GENERATE, GENERATE)
    password = os.fsencode(os.environ.get(PASSWORD, "")) if b"ENCRYPTED" in pem else None
    if password == b"":
        raise InputError(f"{key}: locked with a password", f"Put the password into the variable {PASSWORD}.")
    hint = f"Is {PASSWORD} its password?" if password else GENERATE
    _ec_key(key, lambda: serialization.load_pem_private_key(pem, password), hint)
    return password


def _read_pem(key: Path, kind: str, hint: str, other: str) -> bytes:
    """A PEM file that holds a key of this kind. No error quotes more of it than its label.

    hint: what to do without such a file. other: what to do with a key of another kind.
    """
    try:
        with key.open("rb") as file:
            pem = file.read(KEY_LIMIT + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"{key}: no such file, expected a {kind.lower()} (PEM)", hint) from error
    except OSError as error:
        raise InputError(f"{key}: cannot be read: {error.strerror}", hint) from error
    labels = [label.decode() for label in re.findall(rb"^-----BEGIN ([A-Z0-9 ]{1,40})-----", pem, re.MULTILINE)]
    if len(pem) > KEY_LIMIT or not labels:
        raise InputError(f"{key}: not a PEM file, expected a {kind.lower()}", hint)
    if not any(label.endswith(kind) for label in labels):
        raise InputError(f"{key}: {labels[0].lower()}, expected a {kind.lower()}", other)
    return pem


def _ec_key(key: Path, load: Callable[[], Any], hint: str) -> Any:
    """The key that `load` returns. InputError if it cannot be opened, or is no EC key on a curve that zoo uses."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        loaded = load()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{key}: does not open as a key", hint) from error
    curve = getattr(loaded, "curve", None)
    if curve is None or curve.name not in CURVES:
        raise InputError(f"{key}: not an EC key on one of the curves {', '.join(CURVES)}", GENERATE)
    return loaded
