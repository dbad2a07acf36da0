"""Who made a card: an OpenSSF model signature over its config, weights and samples, made and checked offline.

The signature is `model.sig` in the folder, a Sigstore bundle that OpenSSF's own tool reads as well. It is made with an
EC private key (P-256, P-384 or P-521) and checked with the public half, both PEM files. Needs the extra `sign`.
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
AGAIN = "Do not use it: get the card again from its publisher. If it is yours: zoo publish --sign KEY"
GENERATE = "Make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem"
EXTRACT = "Ask the publisher for it, or take it out of your own: openssl pkey -in key.pem -pubout -out key.pub"


def sign(folder: Path, key: Path) -> Path:
    """Sign the config, weights and samples of the card in `folder`; returns the path of the signature written there.

    key: an EC private key (PEM). If it is locked, $ZOO_KEY_PASSWORD opens it.
    Raises InputError or NotFoundError for the key, FormatError for a folder that is not a card.
    """
    library = _library()
    password = _password(key)
    covered = _Covered(library, _present(folder, "Only a card can be signed: the folder that zoo train --out wrote."))
    signer = library.signing.Config().set_hashing_config(covered)
    signer.use_elliptic_key_signer(private_key=key, password=password)
    signature = folder / SIGNATURE
    write_atomically(signature, lambda temporary: signer.sign(folder, temporary))
    return signature


def check_signature(folder: Path, key: Path) -> None:
    """Raise FormatError unless the card in `folder` is, byte for byte, what the owner of `key` signed.

    key: the publisher's EC public key (PEM). The files of `zoo.card.names.SIGNED` must be what they were: none changed,
    added, removed or renamed. Others, such as README.md, are not spoken for. Nor is the folder's name: what a card is
    called stands in its config, and any card, or older state of one, that this publisher signed has a good signature.
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
    # Ignores nothing: it is how the signed names come to `covered`, which wants them to be those of the folder.
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
    """In place of the library's own `hashing.Config`: the SHA-256 of these files and no others, whatever a bundle says.

    Left alone, the library takes from the bundle how to hash, and which paths to leave out. Files are read through
    symbolic links, as the Hub's cache has them: what they lead to does not matter, its bytes are hashed.
    """

    def __init__(self, library: Any, names: list[str]) -> None:
        self.names = names
        self.hashed: Any = None
        """The manifest of the files, from when the library asked for it: after it found the signature itself good."""
        # Recorded in the bundle for other tools, which then pass over the files that may be edited; ignored here.
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
        """Called by the library with what a bundle wants to have left out, which is not listened to."""


def _compare(folder: Path, here: set[Path], signed: set[Path]) -> None:
    """FormatError unless just the files that are here are signed."""
    removed = (signed - here) & {folder / name for name in SIGNED}
    if removed:
        raise FormatError(f"{_all_of(removed)}: signed, but not there", AGAIN)
    if signed - here:
        other = str(min(signed - here))
        raise FormatError(f"{folder / SIGNATURE}: speaks for {other[:200]!r}, which is no file of a card", AGAIN)
    if here - signed:
        raise FormatError(f"{_all_of(here - signed)}: there, but not signed", AGAIN)


def _changed(folder: Path, hashed: Any, bundle: Any) -> list[Path]:
    """Which files are not what a bundle says; all of them when it does not say it file by file."""
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
    """The package model_signing, which takes a third of a second to import. Any: it is there only with the extra."""
    try:
        import model_signing
    except ImportError as error:  # of pyOpenSSL too, which the library imports and does not ask for
        message = f"signatures need packages that are not installed: {error}"
        raise MissingExtraError(message, install(extra="sign")) from error
    return model_signing


def _present(folder: Path, hint: str) -> list[str]:
    """Those of the files to sign that are there; FormatError if one is missing that every card has."""
    names = [name for name in SIGNED if (folder / name).is_file()]
    for name in NEEDED:
        if name not in names:
            raise FormatError(f"{folder / name}: no such file", hint)
    return names


def _read_bundle(signature: Path) -> tuple[Any, str]:
    """A bundle and the key it says it is of. If it does not say, the library would print a warning and go on."""
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
    """The name that a bundle has for this public key."""
    from cryptography.hazmat.primitives import serialization

    pem = _read_pem(key, "PUBLIC KEY", EXTRACT)
    loaded = _ec_key(key, lambda: serialization.load_pem_public_key(pem), EXTRACT)
    same = loaded.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(same).hexdigest()


def _password(key: Path) -> bytes | None:
    """What opens this private key, which is tried; None if it is not locked."""
    from cryptography.hazmat.primitives import serialization

    pem = _read_pem(key, "PRIVATE KEY", GENERATE)
    password = os.fsencode(os.environ.get(PASSWORD, "")) if b"ENCRYPTED" in pem else None
    if password == b"":
        raise InputError(f"{key}: locked with a password", f"Set {PASSWORD} to it.")
    hint = f"Is {PASSWORD} its password?" if password else GENERATE
    _ec_key(key, lambda: serialization.load_pem_private_key(pem, password), hint)
    return password


def _read_pem(key: Path, kind: str, hint: str) -> bytes:
    """A PEM file that holds a key of this kind. No error ever quotes more of it than its label."""
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
        raise InputError(f"{key}: {labels[0].lower()}, expected a {kind.lower()}", hint)
    return pem


def _ec_key(key: Path, load: Callable[[], Any], hint: str) -> Any:
    """What `load` makes of a PEM, if it is an EC key that can be used here."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        loaded = load()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{key}: does not open as a key", hint) from error
    curve = getattr(loaded, "curve", None)
    if curve is None or curve.name not in CURVES:
        raise InputError(f"{key}: not an EC key on one of the curves {', '.join(CURVES)}", GENERATE)
    return loaded
