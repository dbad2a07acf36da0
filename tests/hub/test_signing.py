"""Signatures: what the owner of a key signed is accepted, and nothing else, whoever made the bundle."""

import base64
import copy
import hashlib
import json
import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("model_signing", reason='needs the extra: pip install "genzoo[sign]"')
pytest.importorskip("OpenSSL", reason='needs the extra: pip install "genzoo[sign]"')

import model_signing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from zoo.card.names import CONFIG, FACTS, LIMITS, PICTURE, README, SIGNATURE, SIGNED, STATISTICS, WEIGHTS
from zoo.errors import FormatError, InputError, NotFoundError, ZooError
from zoo.hub.signing import check_signature, sign

PAYLOAD_TYPE = "application/vnd.in-toto+json"
SECRET = "correct horse battery"
Change = Callable[[Path], object]


def save_keys(folder: Path, name: str, key: Any, password: str = "", style: Any = PrivateFormat.PKCS8) -> Path:
    """Write NAME.pem and NAME.pub; returns the path of the first."""
    lock = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    (folder / f"{name}.pem").write_bytes(key.private_bytes(Encoding.PEM, style, lock))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.pub").write_bytes(public)
    return folder / f"{name}.pem"


@pytest.fixture(scope="session")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_keys(tmp_path_factory.mktemp("keys"), "key", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="session")
def public(private: Path) -> Path:
    return private.with_suffix(".pub")


@pytest.fixture(scope="session")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The private key of someone else."""
    return save_keys(tmp_path_factory.mktemp("others"), "other", ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def card(tiny_card: Path) -> Path:
    (tiny_card / PICTURE).write_bytes(b"a picture")
    (tiny_card / README).write_text("# A card\n")
    (tiny_card / FACTS).write_text("{}\n")
    return tiny_card


@pytest.fixture
def signed(card: Path, private: Path) -> Path:
    sign(card, private)
    return card


def digests(card: Path) -> dict[str, str]:
    return {n: hashlib.sha256((card / n).read_bytes()).hexdigest() for n in SIGNED if (card / n).is_file()}


def statement(files: dict[str, str], **serialization: Any) -> dict[str, Any]:
    """What is signed, as the format has it: names with digests, and a digest over all of them."""
    root = hashlib.sha256(b"".join(bytes.fromhex(files[name]) for name in files)).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "card", "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": True} | serialization,
            "resources": [{"name": n, "algorithm": "sha256", "digest": d} for n, d in files.items()],
        },
    }


def envelope(payload: bytes) -> bytes:
    """The bytes under the signature of a DSSE envelope."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def write_bundle(card: Path, payload: Any, key: Path, owner: Path | None = None) -> None:
    """A bundle made by hand: any payload, signed with `key`, and said to be of the key pair of `owner`."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    secret = load_pem_private_key(key.read_bytes(), None)
    assert isinstance(secret, ec.EllipticCurvePrivateKey)
    signature = secret.sign(envelope(raw), ec.ECDSA(hashes.SHA256()))
    hint = hashlib.sha256((owner or key).with_suffix(".pub").read_bytes()).hexdigest()
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(raw).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    (card / SIGNATURE).write_text(json.dumps(bundle))


def bundle_of(card: Path) -> Any:
    return json.loads((card / SIGNATURE).read_text())


def payload_of(card: Path) -> bytes:
    return base64.b64decode(bundle_of(card)["dsseEnvelope"]["payload"])


def flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


# What is signed


def test_a_signed_card_is_accepted_and_nothing_but_the_signature_is_written(card: Path, private: Path) -> None:
    before = {path.name: path.read_bytes() for path in card.iterdir()}
    assert sign(card, private) == card / SIGNATURE
    check_signature(card, private.with_suffix(".pub"))
    after = {path.name: path.read_bytes() for path in card.iterdir()}
    assert after.pop(SIGNATURE)
    assert after == before


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_keys_on_each_curve_sign(card: Path, tmp_path: Path, curve: ec.EllipticCurve) -> None:
    key = save_keys(tmp_path, "key", ec.generate_private_key(curve))
    sign(card, key)
    check_signature(card, key.with_suffix(".pub"))
    flip(card / WEIGHTS)
    with pytest.raises(FormatError, match=WEIGHTS):
        check_signature(card, key.with_suffix(".pub"))


def test_a_signature_is_a_dsse_envelope_over_the_sha256_of_each_file(signed: Path, public: Path) -> None:
    payload = json.loads(payload_of(signed))
    assert {r["name"]: r["digest"] for r in payload["predicate"]["resources"]} == digests(signed)
    assert digests(signed).keys() == {CONFIG, WEIGHTS, PICTURE}
    key = load_pem_public_key(public.read_bytes())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    raw = base64.b64decode(bundle_of(signed)["dsseEnvelope"]["signatures"][0]["sig"])
    key.verify(raw, envelope(payload_of(signed)), ec.ECDSA(hashes.SHA256()))


def test_a_bundle_made_by_hand_to_the_letter_of_the_format_is_accepted(card: Path, private: Path, public: Path) -> None:
    write_bundle(card, statement(digests(card)), private)
    check_signature(card, public)


def test_the_library_alone_accepts_what_was_signed_here(signed: Path, public: Path) -> None:
    verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    verifier.verify(signed, signed / SIGNATURE)
    (signed / README).write_text("mended")
    verifier.verify(signed, signed / SIGNATURE)
    flip(signed / CONFIG)
    with pytest.raises(ValueError, match=CONFIG):
        verifier.verify(signed, signed / SIGNATURE)


def test_words_about_a_card_and_files_that_are_none_of_it_may_change(signed: Path, public: Path) -> None:
    (signed / README).write_text("# Mended on the web page\n")
    (signed / FACTS).unlink()
    (signed / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (signed / ".eval_results").mkdir()
    (signed / ".eval_results" / CONFIG).write_text("another config")
    check_signature(signed, public)


def test_a_card_signed_again_is_accepted_as_it_now_is(signed: Path, private: Path, public: Path) -> None:
    (signed / STATISTICS).write_bytes(b"moments")
    (signed / PICTURE).unlink()
    sign(signed, private)
    check_signature(signed, public)
    (signed / STATISTICS).unlink()
    with pytest.raises(FormatError, match=STATISTICS):
        check_signature(signed, public)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_folder_that_is_not_a_card_is_not_signed(card: Path, private: Path, name: str) -> None:
    (card / name).unlink()
    with pytest.raises(FormatError, match=name):
        sign(card, private)
    assert not (card / SIGNATURE).exists()


# What was changed

TAMPERING: dict[str, tuple[str, Change]] = {
    "a byte of the config": (CONFIG, lambda card: flip(card / CONFIG)),
    "the first byte of the weights": (WEIGHTS, lambda card: flip(card / WEIGHTS, 0)),
    "the last byte of the weights": (WEIGHTS, lambda card: flip(card / WEIGHTS)),
    "a byte of the samples": (PICTURE, lambda card: flip(card / PICTURE)),
    "a byte more": (WEIGHTS, lambda card: (card / WEIGHTS).write_bytes((card / WEIGHTS).read_bytes() + b"\0")),
    "a byte less": (CONFIG, lambda card: (card / CONFIG).write_bytes((card / CONFIG).read_bytes()[:-1])),
    "emptied": (PICTURE, lambda card: (card / PICTURE).write_bytes(b"")),
    "added": (STATISTICS, lambda card: (card / STATISTICS).write_bytes(b"moments")),
    "samples removed": (PICTURE, lambda card: (card / PICTURE).unlink()),
    "config removed": (CONFIG, lambda card: (card / CONFIG).unlink()),
    "weights removed": (WEIGHTS, lambda card: (card / WEIGHTS).unlink()),
    "samples renamed": (PICTURE, lambda card: (card / PICTURE).rename(card / "sample.png")),
    "weights renamed": (WEIGHTS, lambda card: (card / WEIGHTS).rename(card / "weights.safetensors")),
    "renamed to what may be there": (PICTURE, lambda card: (card / PICTURE).rename(card / STATISTICS)),
    "a copy under a name that may be there": (STATISTICS, lambda card: shutil.copy(card / PICTURE, card / STATISTICS)),
    "a folder in its place": (PICTURE, lambda card: ((card / PICTURE).unlink(), (card / PICTURE).mkdir())),
    "a pipe in its place": (PICTURE, lambda card: ((card / PICTURE).unlink(), os.mkfifo(card / PICTURE))),
    "the signature removed": (SIGNATURE, lambda card: (card / SIGNATURE).unlink()),
}


@pytest.mark.parametrize("case", TAMPERING)
def test_tampering_is_refused_naming_the_file(signed: Path, public: Path, case: str) -> None:
    name, change = TAMPERING[case]
    check_signature(signed, public)
    change(signed)
    with pytest.raises(FormatError) as caught:
        check_signature(signed, public)
    assert str(signed / name) in caught.value.message
    assert "again" in (caught.value.hint or "")


def test_each_of_several_changed_files_is_named_and_no_other(signed: Path, public: Path) -> None:
    flip(signed / CONFIG)
    flip(signed / PICTURE)
    with pytest.raises(FormatError) as caught:
        check_signature(signed, public)
    assert CONFIG in caught.value.message
    assert PICTURE in caught.value.message
    assert WEIGHTS not in caught.value.message


def test_files_that_changed_places_are_refused(signed: Path, public: Path) -> None:
    (signed / PICTURE).rename(signed / "aside")
    (signed / CONFIG).rename(signed / PICTURE)
    (signed / "aside").rename(signed / CONFIG)
    with pytest.raises(FormatError, match=CONFIG):
        check_signature(signed, public)


def test_signatures_of_two_cards_cannot_be_exchanged(signed: Path, private: Path, public: Path, tmp_path: Path) -> None:
    second = Path(shutil.copytree(signed, tmp_path / "second"))
    flip(second / WEIGHTS)
    sign(second, private)
    first_signature, second_signature = (signed / SIGNATURE).read_bytes(), (second / SIGNATURE).read_bytes()
    check_signature(second, public)
    for card, foreign in ((signed, second_signature), (second, first_signature)):
        (card / SIGNATURE).write_bytes(foreign)
        with pytest.raises(FormatError, match=WEIGHTS):
            check_signature(card, public)


# Who signed


def test_another_key_than_the_publishers_is_refused(signed: Path, strangers: Path) -> None:
    with pytest.raises(FormatError, match="another key"):
        check_signature(signed, strangers.with_suffix(".pub"))


def test_a_stranger_who_signs_in_the_publishers_name_is_refused(
    card: Path, private: Path, public: Path, strangers: Path
) -> None:
    write_bundle(card, statement(digests(card)), strangers, owner=private)
    with pytest.raises(FormatError, match="forged"):
        check_signature(card, public)


def test_a_payload_that_the_signature_is_not_of_is_refused(signed: Path, public: Path) -> None:
    (signed / WEIGHTS).write_bytes(b"other weights")
    bundle = bundle_of(signed)
    payload = json.dumps(statement(digests(signed))).encode()
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    (signed / SIGNATURE).write_text(json.dumps(bundle))
    with pytest.raises(FormatError, match="forged"):
        check_signature(signed, public)


def test_a_good_signature_beside_the_forged_one_does_not_help(
    signed: Path, private: Path, public: Path, strangers: Path
) -> None:
    good = bundle_of(signed)["dsseEnvelope"]["signatures"]
    (signed / WEIGHTS).write_bytes(b"other weights")
    write_bundle(signed, statement(digests(signed)), strangers, owner=private)
    bundle = bundle_of(signed)
    bundle["dsseEnvelope"]["signatures"] += good
    (signed / SIGNATURE).write_text(json.dumps(bundle))
    with pytest.raises(FormatError, match="forged"):
        check_signature(signed, public)


# What a bundle says does not weaken the check, not even one that is rightly signed


@pytest.mark.parametrize("left_out", [CONFIG, WEIGHTS, PICTURE])
def test_a_signature_that_leaves_out_a_file_is_refused(card: Path, private: Path, public: Path, left_out: str) -> None:
    files = digests(card)
    del files[left_out]
    write_bundle(card, statement(files), private)
    with pytest.raises(FormatError, match=left_out):
        check_signature(card, public)
    write_bundle(card, statement(files, ignore_paths=[left_out]), private)
    with pytest.raises(FormatError, match=left_out):
        check_signature(card, public)


@pytest.mark.parametrize("needed", [CONFIG, WEIGHTS])
def test_a_folder_without_what_every_card_has_is_refused_though_signed_as_it_is(
    card: Path, private: Path, public: Path, needed: str
) -> None:
    (card / needed).unlink()
    write_bundle(card, statement(digests(card)), private)
    with pytest.raises(FormatError, match=needed):
        check_signature(card, public)


@pytest.mark.parametrize("ignored", [[WEIGHTS], ["."], [""], [".."], ["/"], [WEIGHTS, CONFIG, PICTURE]])
def test_paths_to_ignore_are_not_ignored(card: Path, private: Path, public: Path, ignored: list[str]) -> None:
    write_bundle(card, statement(digests(card), ignore_paths=ignored), private)
    check_signature(card, public)
    flip(card / WEIGHTS)
    with pytest.raises(FormatError, match=WEIGHTS):
        check_signature(card, public)


def test_a_signature_that_speaks_for_no_file_is_refused(card: Path, private: Path, public: Path) -> None:
    write_bundle(card, statement({}, ignore_paths=["."]), private)
    with pytest.raises(FormatError, match=f"{CONFIG}.*{WEIGHTS}"):
        check_signature(card, public)


@pytest.mark.parametrize("name", [README, "../key.pem", "/etc/hostname", f"sub/../{CONFIG}", "\x1b[2J"])
def test_a_signature_that_speaks_for_other_files_is_refused(card: Path, private: Path, public: Path, name: str) -> None:
    write_bundle(card, statement(digests(card) | {name: "00" * 32}), private)
    with pytest.raises(FormatError, match="no file of a card") as caught:
        check_signature(card, public)
    assert "\x1b" not in str(caught.value), "names go to a terminal"


def in_shards(card: Path) -> dict[str, Any]:
    sizes = {name: (card / name).stat().st_size for name in digests(card)}
    files = {f"{name}:0:{sizes[name]}": digest for name, digest in digests(card).items()}
    return statement(files, method="shards", shard_size=1 << 30)


def with_blake2(card: Path) -> dict[str, Any]:
    files = {name: hashlib.blake2b((card / name).read_bytes()).hexdigest() for name in digests(card)}
    payload = statement(files, hash_type="blake2")
    for file in payload["predicate"]["resources"]:
        file["algorithm"] = "blake2b"
    return payload


def said_to_be_blake2(card: Path) -> dict[str, Any]:
    payload = statement(digests(card))
    for file in payload["predicate"]["resources"]:
        file["algorithm"] = "blake2b"
    return payload


@pytest.mark.parametrize("otherwise", [in_shards, with_blake2, said_to_be_blake2])
def test_files_hashed_in_another_way_are_refused(
    card: Path, private: Path, public: Path, otherwise: Callable[[Path], dict[str, Any]]
) -> None:
    write_bundle(card, otherwise(card), private)
    with pytest.raises(FormatError, match=CONFIG):
        check_signature(card, public)


def test_a_statement_of_the_librarys_first_kind_must_cover_all_too(card: Path, private: Path, public: Path) -> None:
    files = digests(card)
    del files[WEIGHTS]
    old = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://model_signing/Digests/v0.1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()],
    }
    write_bundle(card, old, private)
    with pytest.raises(FormatError, match=WEIGHTS):
        check_signature(card, public)


# A card of the Hub's cache


@pytest.fixture
def snapshot(signed: Path, tmp_path: Path) -> Path:
    """The signed card as the Hub's client stores it: links from a commit's folder to blobs named by their hash."""
    cache = tmp_path / "cache" / "models--zoo--dcgan-tiny"
    folder = cache / "snapshots" / ("c" * 40)
    folder.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for path in signed.iterdir():
        blob = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copy(path, cache / "blobs" / blob)
        (folder / path.name).symlink_to(f"../../blobs/{blob}")
    return folder


def test_a_snapshot_of_links_is_accepted(snapshot: Path, public: Path) -> None:
    assert all(path.is_symlink() for path in snapshot.iterdir())
    check_signature(snapshot, public)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, PICTURE])
def test_a_changed_blob_behind_a_link_is_refused(snapshot: Path, public: Path, name: str) -> None:
    flip((snapshot / name).resolve())
    with pytest.raises(FormatError, match=name):
        check_signature(snapshot, public)


def test_a_link_to_other_bytes_is_refused_and_to_the_same_bytes_accepted(
    snapshot: Path, public: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.copy(snapshot / WEIGHTS, elsewhere)
    (snapshot / WEIGHTS).unlink()
    (snapshot / WEIGHTS).symlink_to(elsewhere)
    check_signature(snapshot, public)
    flip(elsewhere)
    with pytest.raises(FormatError, match=WEIGHTS):
        check_signature(snapshot, public)


@pytest.mark.parametrize("name", [WEIGHTS, PICTURE, SIGNATURE])
def test_a_link_that_leads_nowhere_or_round_in_circles_is_refused(snapshot: Path, public: Path, name: str) -> None:
    for target in ("nowhere", name):
        (snapshot / name).unlink()
        (snapshot / name).symlink_to(target)
        with pytest.raises(FormatError, match=name):
            check_signature(snapshot, public)


def test_signing_a_snapshot_leaves_its_blobs_alone(snapshot: Path, strangers: Path) -> None:
    blobs = {path: path.read_bytes() for path in (snapshot.parent.parent / "blobs").iterdir()}
    sign(snapshot, strangers)
    check_signature(snapshot, strangers.with_suffix(".pub"))
    assert {path: path.read_bytes() for path in (snapshot.parent.parent / "blobs").iterdir()} == blobs


# A signature that is none

NONE = {
    "empty": b"",
    "spaces": b" \n",
    "not text": b"\xff\xfe\x00",
    "not JSON": b"MEUCIQD",
    "a number": b"3",
    "null": b"null",
    "a string": b'"sig"',
    "a list": b"[]",
    "an empty object": b"{}",
    "no key": b'{"verificationMaterial": {}}',
    "a certificate": b'{"verificationMaterial": {"certificate": {"rawBytes": "AAAA"}}}',
    "deep lists": b"[" * 50_000 + b"]" * 50_000,
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a key twice": b'{"mediaType": "a", "mediaType": "b"}',
    "NaN": b'{"mediaType": NaN}',
    "huge": b" " * (LIMITS[SIGNATURE] + 1),
    "a long number": b"1" * 100_000,
}


@pytest.mark.parametrize("case", NONE)
def test_what_is_no_signature_is_refused_naming_it(card: Path, public: Path, case: str) -> None:
    (card / SIGNATURE).write_bytes(NONE[case])
    with pytest.raises(FormatError, match=SIGNATURE) as caught:
        check_signature(card, public)
    assert caught.value.hint
    assert len(str(caught.value)) < 1000


def test_a_good_signature_that_is_too_large_is_refused(signed: Path, public: Path) -> None:
    good = (signed / SIGNATURE).read_bytes()
    (signed / SIGNATURE).write_bytes(good.ljust(LIMITS[SIGNATURE]))
    check_signature(signed, public)
    (signed / SIGNATURE).write_bytes(good.ljust(LIMITS[SIGNATURE] + 1))
    with pytest.raises(FormatError, match="bytes"):
        check_signature(signed, public)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


def without(document: Any, path: tuple[Any, ...], *instead: Any) -> Any:
    """A copy with one value left out, or another in its place."""
    changed = copy.deepcopy(document)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    if instead:
        parent[path[-1]] = instead[0]
    else:
        del parent[path[-1]]
    return changed


def refused(card: Path, key: Path) -> bool:
    """Whether the signature is refused, in the one way that it may be."""
    try:
        check_signature(card, key)
    except FormatError:
        return True
    return False


def test_a_bundle_with_any_part_missing_or_of_another_kind_is_refused(signed: Path, public: Path) -> None:
    bundle = bundle_of(signed)
    # Neither says anything about who signed what.
    unused = {("verificationMaterial", "tlogEntries"), ("dsseEnvelope", "signatures", 0, "keyid")}
    for path in set(places(bundle)) - unused:
        for instead in ((), (None,), (0,), (True,), ("",), ("other",), ([],), ({},), ([{}],), ({"hint": {}},)):
            (signed / SIGNATURE).write_text(json.dumps(without(bundle, path, *instead)))
            assert refused(signed, public), (path, instead)


def test_a_rightly_signed_payload_with_any_part_missing_or_of_another_kind_is_refused(
    signed: Path, private: Path, public: Path
) -> None:
    payload = statement(digests(signed))
    # Informative, or not looked at: how the files were hashed follows from what a card is.
    unused = {("subject", 0, "name"), ("predicate", "serialization", "allow_symlinks")}
    unused.add(("predicate", "serialization", "hash_type"))
    for path in places(payload):
        for instead in ((), (None,), (0,), ("",), ("other",), ([],), ({},), ([{}],)):
            write_bundle(signed, without(payload, path, *instead), private)
            assert refused(signed, public) or path in unused, (path, instead)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff", b"none", b"[]", b"3", b"null", b"[" * 50_000 + b"]" * 50_000, b'{"_type": ' + b"1" * 9_000 + b"}"],
    ids=["empty", "not text", "not JSON", "list", "number", "null", "deep", "long"],
)
def test_a_rightly_signed_payload_that_is_no_statement_is_refused(
    card: Path, private: Path, public: Path, payload: bytes
) -> None:
    write_bundle(card, payload, private)
    with pytest.raises(FormatError, match=SIGNATURE):
        check_signature(card, public)


def test_another_payload_type_is_refused(signed: Path, public: Path) -> None:
    bundle = bundle_of(signed)
    bundle["dsseEnvelope"]["payloadType"] = "text/plain\x1b[2J"
    (signed / SIGNATURE).write_text(json.dumps(bundle))
    with pytest.raises(FormatError, match="text/plain") as caught:
        check_signature(signed, public)
    assert "\x1b" not in str(caught.value), "what a bundle says goes to a terminal"


# Keys


def certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "zoo")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def misfits(folder: Path) -> dict[str, Path]:
    """Files that are not the key to sign or check with."""
    good = ec.generate_private_key(ec.SECP256R1())
    save_keys(folder, "good", good)
    save_keys(folder, "rsa", rsa.generate_private_key(65537, 2048))
    save_keys(folder, "ed25519", ed25519.Ed25519PrivateKey.generate())
    save_keys(folder, "other-curve", ec.generate_private_key(ec.SECP256K1()))
    (folder / "certificate.pem").write_bytes(certificate(good))
    (folder / "empty.pem").write_bytes(b"")
    (folder / "text.pem").write_bytes(b"my key")
    (folder / "der.pem").write_bytes(good.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "huge.pem").write_bytes((folder / "good.pem").read_bytes() + b"\n" * (1 << 17))
    for name in ("good.pem", "good.pub"):
        pem = (folder / name).read_bytes()
        (folder / f"cut-{name}").write_bytes(pem[: len(pem) // 2])
        (folder / f"holed-{name}").write_bytes(pem[:60] + b"\n" + pem[-60:])
    (folder / "folder.pem").mkdir()
    return {path.name: path for path in folder.iterdir()}


def test_files_that_are_not_the_right_key_are_refused_without_quoting_them(signed: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    files = misfits(tmp_path / "keys")
    before = (signed / SIGNATURE).read_bytes()
    for use, fits in ((sign, "good.pem"), (check_signature, "good.pub")):
        for name in files.keys() - {fits}:
            with pytest.raises(InputError) as caught:
                use(signed, files[name])
            assert str(files[name]) in caught.value.message, (use, name)
            assert caught.value.hint, (use, name)
            if files[name].is_file():
                told = "".join(traceback.format_exception(caught.value))
                body = files[name].read_bytes().decode(errors="replace").split("-----")[2::4]
                assert not any(line and line in told for part in body for line in part.splitlines()), (use, name)
    assert (signed / SIGNATURE).read_bytes() == before


def test_a_private_key_or_a_certificate_is_called_so_where_a_public_key_is_needed(
    signed: Path, private: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"private key, expected a public key(?s:.*)-pubout"):
        check_signature(signed, private)
    own = load_pem_private_key(private.read_bytes(), None)
    assert isinstance(own, ec.EllipticCurvePrivateKey)
    (tmp_path / "own.crt").write_bytes(certificate(own))
    with pytest.raises(InputError, match="certificate, expected a public key"):
        check_signature(signed, tmp_path / "own.crt")
    with pytest.raises(InputError, match="public key, expected a private key"):
        sign(signed, private.with_suffix(".pub"))


def test_a_key_that_is_not_there_is_not_found(signed: Path, tmp_path: Path) -> None:
    """One side may make a key; the other must be told where it gets one."""
    for use, hint in ((sign, "openssl genpkey"), (check_signature, "public key of the publisher")):
        with pytest.raises(NotFoundError, match=rf"nowhere\.pem(?s:.*){hint}"):
            use(signed, tmp_path / "nowhere.pem")


def test_an_ec_key_as_openssl_writes_it_signs(card: Path, public: Path, private: Path, tmp_path: Path) -> None:
    """`openssl ecparam -genkey` puts the curve's name in a block of its own before the key."""
    key = load_pem_private_key(private.read_bytes(), None)
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    old_style = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (tmp_path / "key.pem").write_bytes(parameters + old_style)
    sign(card, tmp_path / "key.pem")
    check_signature(card, public)


@pytest.mark.parametrize("style", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL], ids=["PKCS8", "traditional"])
def test_a_locked_key_opens_with_its_password_and_with_no_other(
    card: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: PrivateFormat
) -> None:
    key = save_keys(tmp_path, "locked", ec.generate_private_key(ec.SECP256R1()), SECRET, style)
    monkeypatch.delenv("ZOO_KEY_PASSWORD", raising=False)
    with pytest.raises(InputError, match=r"locked(?s:.*)ZOO_KEY_PASSWORD"):
        sign(card, key)
    monkeypatch.setenv("ZOO_KEY_PASSWORD", "wrong horse")
    with pytest.raises(InputError, match="ZOO_KEY_PASSWORD") as caught:
        sign(card, key)
    assert "horse" not in "".join(traceback.format_exception(caught.value))
    assert not (card / SIGNATURE).exists()
    monkeypatch.setenv("ZOO_KEY_PASSWORD", SECRET)
    sign(card, key)
    check_signature(card, key.with_suffix(".pub"))


def test_a_password_for_a_key_that_is_not_locked_is_not_used(
    card: Path, private: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_KEY_PASSWORD", SECRET)
    sign(card, private)
    check_signature(card, public)


# The library


def test_nothing_is_printed_not_even_for_a_bundle_of_the_librarys_first_kind(
    signed: Path, public: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check_signature(signed, public)
    bundle = bundle_of(signed)
    for hint in ({}, {"hint": None}, {"hint": ""}, {"rawBytes": "AAAA"}):
        bundle["verificationMaterial"]["publicKey"] = hint
        (signed / SIGNATURE).write_text(json.dumps(bundle))
        with pytest.raises(FormatError, match=SIGNATURE):
            check_signature(signed, public)
    assert capfd.readouterr() == ("", "")


WATCHED = """
import json, sys
from pathlib import Path

calls = []
sys.addaudithook(lambda event, _: calls.append(event) if event.startswith("socket.") else None)
from zoo.hub.signing import check_signature, sign
loaded = [name for name in ("model_signing", "cryptography", "OpenSSL", "torch") if name in sys.modules]
sign(Path(sys.argv[1]), Path(sys.argv[2]))
check_signature(Path(sys.argv[1]), Path(sys.argv[3]))
reached = [call for call in calls if call in ("socket.connect", "socket.getaddrinfo", "socket.sendto")]
print(json.dumps([loaded, reached]))
"""


def test_a_fresh_process_warns_of_nothing_and_reaches_for_no_network(
    card: Path, private: Path, public: Path, isolated: Callable[..., Any]
) -> None:
    loaded, reached = isolated(WATCHED, str(card), str(private), str(public))
    assert loaded == [], "the library comes when something is signed or checked"
    assert reached == []


BARE = """
import json, sys
from pathlib import Path

sys.modules[sys.argv[4]] = None  # an import of it fails
from zoo.errors import ZooError
from zoo.hub.signing import check_signature, sign

told = []
for use, key in ((sign, sys.argv[2]), (check_signature, sys.argv[3])):
    try:
        use(Path(sys.argv[1]), Path(key))
    except ZooError as error:
        told.append([error.message, error.hint])
print(json.dumps(told))
"""


@pytest.mark.parametrize("package", ["model_signing", "OpenSSL", "cryptography"])
def test_without_the_extra_it_is_said_how_to_get_it(
    card: Path, private: Path, public: Path, isolated: Callable[..., Any], package: str
) -> None:
    told = isolated(BARE, str(card), str(private), str(public), package)
    assert len(told) == 2
    for message, hint in told:
        assert package in message
        assert hint == "pip install 'genzoo[sign]'"


def test_a_signature_that_cannot_be_written_leaves_the_old_one(
    signed: Path, private: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (signed / SIGNATURE).read_bytes()
    monkeypatch.setenv("ZOO_KEY_PASSWORD", "")
    locked = save_keys(signed.parent, "locked", ec.generate_private_key(ec.SECP256R1()), SECRET)
    with pytest.raises(ZooError):
        sign(signed, locked)
    assert (signed / SIGNATURE).read_bytes() == before
    check_signature(signed, public)
