"""A card is data: whatever its two files hold, loading gives a model or one clear refusal, and runs nothing."""

import io
import json
import os
import pickle
import random
import re
import shutil
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from conftest import Isolated
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import zoo
from zoo.card import weights
from zoo.card.config import CardConfig, read_config
from zoo.card.facts import conditions_of, write_config
from zoo.errors import ConfigError, FormatError, InputError, ZooError
from zoo.family.conditions import Condition, declared
from zoo.family.registry import registry
from zoo.family.spec import ModelSpec, Preparation

FUZZ = int(os.environ.get("ZOO_FUZZ", "20000"))
EXAMPLES = int(os.environ.get("ZOO_EXAMPLES", "100"))


def pack(header: bytes | dict[str, Any], data: bytes = b"") -> bytes:
    """A safetensors file: length, header, data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape: list[Any], *offsets: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def edit_config(folder: Path, **changes: Any) -> None:
    """Set keys of config.json; `weights__sha256=x` reaches into `weights`."""
    config = json.loads((folder / "config.json").read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = config
        for parent in parents:
            place = place[parent]
        place[last] = value
    (folder / "config.json").write_text(json.dumps(config))


def write_state(folder: Path, state: dict[str, Tensor]) -> None:
    """Other weights for a card, with the hash to match."""
    data = safetensors.torch.save(state)
    (folder / "model.safetensors").write_bytes(data)
    edit_config(folder, weights__sha256=sha256(data).hexdigest())


def make_card(folder: Path, spec: ModelSpec, dtype: str = "float32") -> nn.Module:
    """An untrained card of any family, in a new folder."""
    folder.mkdir(parents=True)
    module = weights.build(spec, dict(spec.tiny))
    config = module.config.model_dump(mode="json")  # type: ignore[operator, union-attr]
    facts = weights.save_weights(module, folder, dtype)
    fits = Preparation(size=config.get("image_size", 16), mode="L" if config.get("channels") == 1 else "RGB")
    takes = declared(module)
    card = CardConfig(name="x-tiny", family=spec.name, config=config, preparation=fits, conditions=takes, weights=facts)
    write_config(folder, card)
    return module


# The container: what a safetensors file may be.

ONE = entry([2], 0, 8)
EIGHT = bytes(8)
W = json.dumps({"w": ONE}).encode()
LONG = b'{"w":{"dtype":"F32","shape":[%b1],"data_offsets":[0,8]}}' % ((b"9" * 4000 + b",") * 7)
SURROGATE = b'{"__metadata__":{"a":"\\ud800"},' + W[1:]
EMPTY = b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
FILES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "short": lambda: b"\x02\0\0\0\0\0\0\0{",
    "header over the limit": lambda: pack(b"{" + b" " * weights.MAX_HEADER + b"}"),
    "header of 2^63 bytes": lambda: struct.pack("<Q", 2**63) + b"{}" + EIGHT,
    "header longer than the file": lambda: struct.pack("<Q", 1000) + b"{}" + EIGHT,
    "header of 0 bytes": lambda: pack(b"", EIGHT),
    "header is a list": lambda: pack(b"[]", EIGHT),
    "header is not UTF-8": lambda: pack(b'{"\xff": 1}', EIGHT),
    "header starts with a space": lambda: pack(b" " + W, EIGHT),
    "header ends early": lambda: pack(W[:-1], EIGHT),
    "no tensors": lambda: pack({}),
    "data cut short": lambda: pack({"w": ONE}, EIGHT[:-1]),
    "a byte too many": lambda: pack({"w": ONE}, EIGHT + b"\0"),
    "a hole": lambda: pack({"w": entry([2], 4, 12)}, EIGHT + EIGHT[:4]),
    "a hole between tensors": lambda: pack({"w": ONE, "v": entry([1], 12, 16)}, EIGHT * 2),
    "an overlap": lambda: pack({"w": ONE, "v": entry([1], 4, 8)}, EIGHT),
    "two tensors in one place": lambda: pack({"w": ONE, "v": ONE}, EIGHT),
    "shape of 2^80": lambda: pack({"w": entry([2**80], 0, 8)}, EIGHT),
    "shape that overflows 64 bits": lambda: pack({"w": entry([2**32, 2**32, 2], 0, 8)}, EIGHT),
    "shape of eight 4000-digit numbers": lambda: pack(LONG, EIGHT),
    "shape larger than its bytes": lambda: pack({"w": entry([3], 0, 8)}, EIGHT),
    "negative shape": lambda: pack({"w": entry([-1, -2], 0, 8)}, EIGHT),
    "negative offsets": lambda: pack({"w": entry([2], -8, 0)}, EIGHT),
    "offsets the wrong way round": lambda: pack({"w": entry([2], 8, 0)}, EIGHT),
    "offset of minus zero": lambda: pack(b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[-0,8]}}', EIGHT),
    "three offsets": lambda: pack({"w": entry([2], 0, 8, 8)}, EIGHT),
    "fractional shape": lambda: pack({"w": entry([2.0], 0, 8)}, EIGHT),
    "boolean shape": lambda: pack({"w": entry([2, True], 0, 8)}, EIGHT),
    "nine dimensions": lambda: pack({"w": entry([2, *[1] * 8], 0, 8)}, EIGHT),
    "zero-size tensor with a dimension of 10^12": lambda: pack({"w": ONE, "v": entry([0, 10**12], 8, 8)}, EIGHT),
    "unknown dtype": lambda: pack({"w": entry([1], 0, 8, dtype="F99")}, EIGHT),
    "dtype the zoo does not use": lambda: pack({"w": entry([1], 0, 8, dtype="F64")}, EIGHT),
    "dtype is a list": lambda: pack({"w": entry([2], 0, 8, dtype=["F32"])}, EIGHT),
    "a field missing": lambda: pack({"w": {"dtype": "F32", "shape": [2]}}, EIGHT),
    "a field more": lambda: pack({"w": ONE | {"url": "https://example.org"}}, EIGHT),
    "entry is text": lambda: pack({"w": "x" * 1000}, EIGHT),
    "metadata of numbers": lambda: pack({"w": ONE, "__metadata__": {"a": 1}}, EIGHT),
    "metadata is a list": lambda: pack({"w": ONE, "__metadata__": ["a"]}, EIGHT),
    "metadata is no Unicode": lambda: pack(SURROGATE, EIGHT),
    "metadata of 50 MB": lambda: pack({"w": ONE, "__metadata__": {"a": "x" * 50_000_000}}, EIGHT),
    "lists 100,000 deep": lambda: pack(b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}", EIGHT),
    "lists 60 deep": lambda: pack({"w": entry(json.loads("[" * 60 + "]" * 60), 0, 8)}, EIGHT),
    "the same tensor twice": lambda: pack(b'{"w":%b,"w":%b}' % ((json.dumps(ONE).encode(),) * 2), EIGHT),
    "NaN in the header": lambda: pack(b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', EIGHT),
    "name with ../": lambda: pack({"../../w": ONE}, EIGHT),
    "name with a null byte": lambda: pack({"w\0": ONE}, EIGHT),
    "name with a terminal's escape codes": lambda: pack({"\x1b[2Jw": ONE}, EIGHT),
    "name of 10,000 letters": lambda: pack({"w" * 10_000: ONE}, EIGHT),
    "10,001 tensors": lambda: pack({f"{i}": entry([1], i, i + 1, dtype="U8") for i in range(10_001)}, bytes(10_001)),
    "10^6 empty tensors": lambda: pack(b"{" + b",".join(EMPTY % i for i in range(10**6)) + b"}"),
    "NaN": lambda: pack({"w": ONE}, struct.pack("<2f", 1, float("nan"))),
    "infinity": lambda: pack({"w": ONE}, struct.pack("<2f", float("-inf"), 1)),
}  # fmt: skip


def facts_of(path: Path) -> weights.WeightsFacts:
    """The right hash, so that a refusal has another reason."""
    return weights.WeightsFacts(dtype="float32", sha256=sha256(path.read_bytes()).hexdigest())


EXPECTED = {"w": (torch.float32, (2,))}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_safetensors_file_is_refused_by_name_and_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(FILES[name]())
    facts, started = facts_of(path), time.process_time()
    with pytest.raises(FormatError) as refusal:
        weights.read_weights(path, EXPECTED, facts)
    seconds = time.process_time() - started
    print(f"{seconds * 1000:7.2f} ms  {name}: {refusal.value.message}")
    assert seconds < 1
    assert str(path) in refusal.value.message
    assert len(refusal.value.message) < len(str(path)) + 400
    assert refusal.value.message.isprintable()  # a name in the file must not reach the terminal as control characters


@pytest.mark.parametrize("name", [name for name in FILES if "hole" in name or "overlap" in name])
def test_data_that_is_not_covered_exactly_once_is_told_where(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(FILES[name]())
    with pytest.raises(FormatError, match=r"a hole or an overlap at byte \d+ of the data"):
        weights.read_weights(path, EXPECTED, facts_of(path))


def test_an_honest_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(pack({"w": ONE, "__metadata__": {"format": "pt"}}, struct.pack("<2f", 1.5, -2)))
    assert weights.read_weights(path, EXPECTED, facts_of(path))["w"].tolist() == [1.5, -2]


def mutated(header: bytes, draws: random.Random) -> bytes:
    """A few random changes of the kinds that confuse readers: bytes, spans, numbers, pieces of the format itself."""
    tokens = [b"{", b"}", b"[", b"]", b",", b'"', b"0", b"-1", b"1e9", b"9" * 30, b"null", b"NaN", b'"w"']
    for _ in range(draws.randint(1, 4)):
        i, j = sorted(draws.randrange(len(header) + 1) for _ in range(2))
        kind = draws.randrange(5)
        if kind == 0:
            header = header[:i] + bytes([draws.randrange(256)]) + header[i + 1 :]
        elif kind == 1:
            header = header[:i] + draws.choice(tokens) + header[i:]
        elif kind == 2:
            header = header[:i] + header[min(j, i + 12) :]
        elif kind == 3:
            header = header[:j] + header[i:j] + header[j:]
        elif numbers := list(re.finditer(rb"\d+", header)):
            found = draws.choice(numbers)
            value = str(draws.choice([0, 1, 2, 4, 8, 16, 255, 2**31, 2**63, 2**64])).encode()
            header = header[: found.start()] + value + header[found.end() :]
    return header


def test_a_mutated_header_is_refused_or_means_what_the_library_reads(tmp_path: Path) -> None:
    """Set ZOO_FUZZ to try more of them."""
    draws, path = random.Random(0), tmp_path / "x.safetensors"
    half, count = torch.zeros(4, dtype=torch.float16), torch.zeros((), dtype=torch.int64)
    packed = safetensors.torch.save({"w": torch.zeros(2, 3), "v.weight": half, "n": count}, {"format": "pt"})
    header = packed[8 : 8 + struct.unpack("<Q", packed[:8])[0]]
    data = packed[8 + len(header) :]
    accepted = 0
    for _ in range(FUZZ):
        changed = mutated(header, draws)
        try:
            layout = weights._check_header(changed, 8 + len(changed) + len(data), path)
        except FormatError:
            continue
        accepted += 1
        try:
            found = safetensors.torch.load(pack(changed, data))
        except safetensors.SafetensorError:
            continue
        assert layout == {key: (value.dtype, tuple(value.shape)) for key, value in found.items()}
    print(f"{FUZZ} mutated headers, {accepted} accepted")
    assert 0 < accepted < FUZZ / 2


def test_every_single_byte_flip_and_every_cut_of_a_card_is_refused(tiny_card: Path) -> None:
    path = tiny_card / "model.safetensors"
    data, draws = path.read_bytes(), random.Random(0)
    layout = weights.layout(weights.load_module(tiny_card)[0])
    facts = read_config(tiny_card).weights
    for _ in range(200):
        i = draws.randrange(len(data))
        path.write_bytes(data[:i] + bytes([data[i] ^ (1 << draws.randrange(8))]) + data[i + 1 :])
        with pytest.raises(FormatError, match=re.escape(str(path))):
            weights.read_weights(path, layout, facts)
        path.write_bytes(data[:i])
        with pytest.raises(FormatError, match=re.escape(str(path))):
            weights.read_weights(path, layout, facts)


# The fit of weights and config.


def drop(state: dict[str, Tensor], key: str) -> list[str]:
    del state[key]
    return [f"missing {key} (float32"]


def add(state: dict[str, Tensor], key: str) -> list[str]:
    state["layers.9.extra"] = torch.zeros(3)
    return ["unexpected layers.9.extra (float32 [3])"]


def rename(state: dict[str, Tensor], key: str) -> list[str]:
    state[f"{key}s"] = state.pop(key)
    return [f"missing {key} (", f"unexpected {key}s ("]


def retype(state: dict[str, Tensor], key: str) -> list[str]:
    state[key] = state[key].half()
    return [f"{key}: expected float32 [", "found float16 ["]


def transpose(state: dict[str, Tensor], key: str) -> list[str]:
    before = list(state[key].shape)
    state[key] = state[key].transpose(0, 1).contiguous()
    return [f"{key}: expected float32 {before}, found float32 {list(state[key].shape)}"]


@pytest.mark.parametrize("change", [drop, add, rename, retype, transpose])
def test_weights_that_do_not_fit_the_config_are_refused_with_every_difference(tiny_card: Path, change: Any) -> None:
    path = tiny_card / "model.safetensors"
    state = safetensors.torch.load(path.read_bytes())
    key = next(key for key, value in state.items() if value.ndim == 2 and value.shape[0] != value.shape[1])
    expected = change(state, key)
    write_state(tiny_card, state)
    with pytest.raises(FormatError) as refusal:
        zoo.load(tiny_card)
    for text in (str(path), *expected):
        assert text in refusal.value.message


def test_all_differences_come_in_one_error(tiny_card: Path) -> None:
    state = safetensors.torch.load((tiny_card / "model.safetensors").read_bytes())
    keys = [key for key, value in state.items() if value.ndim == 2 and value.shape[0] != value.shape[1]]
    expected = [*add(state, ""), *drop(state, next(key for key in state if key not in keys)), *retype(state, keys[0])]
    write_state(tiny_card, state)
    with pytest.raises(FormatError) as refusal:
        zoo.load(tiny_card)
    for text in expected:
        assert text.removesuffix(" (float32") in refusal.value.message


def test_a_dtype_other_than_the_config_states_is_refused(tiny_card: Path) -> None:
    edit_config(tiny_card, weights__dtype="float16")
    with pytest.raises(FormatError, match=r"expected float16 \[.*found float32 \["):
        zoo.load(tiny_card)


def test_a_hash_other_than_the_config_promises_is_refused_with_both(tiny_card: Path) -> None:
    path = tiny_card / "model.safetensors"
    promised = sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    found = sha256(path.read_bytes()).hexdigest()
    with pytest.raises(FormatError, match=f"{path}.*{found}.*{promised}"):
        zoo.load(tiny_card)


# Saving and loading.

FAMILIES = sorted(registry().specs)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path, family: str) -> None:
    module = make_card(tmp_path / "card", registry().spec(family))
    loaded, spec, card = weights.load_module(tmp_path / "card")
    assert (spec.name, card.weights.dtype, loaded.training) == (family, "float32", False)
    before, after = module.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) and before[key].dtype == after[key].dtype for key in before)
    assert [p.requires_grad for p in loaded.parameters()] == [True] * len(list(module.parameters()))


@pytest.mark.parametrize(("dtype", "tag", "digits"), [("float16", "F16", 11), ("bfloat16", "BF16", 8)])
def test_half_precision_halves_the_file_and_loads_close_as_float32(
    tmp_path: Path, dtype: str, tag: str, digits: int
) -> None:
    module = make_card(tmp_path / "card", registry().spec("dcgan"), dtype)
    data = (tmp_path / "card" / "model.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + struct.unpack("<Q", data[:8])[0]])
    assert {item["dtype"] for key, item in header.items() if key != "__metadata__"} == {tag, "I64"}
    loaded = weights.load_module(tmp_path / "card")[0]
    for key, value in module.state_dict().items():
        assert loaded.state_dict()[key].dtype == value.dtype
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=2.0**-digits, atol=2.0**-24)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e5])
def test_a_value_that_cannot_be_stored_is_refused_and_nothing_is_written(tmp_path: Path, value: float) -> None:
    module = weights.build(registry().spec("dcgan"), dict(registry().spec("dcgan").tiny))
    key, parameter = next(iter(module.named_parameters()))
    with torch.no_grad():
        parameter[0, 0] = value
    (tmp_path / "model.safetensors").write_bytes(b"the old one")
    with pytest.raises(FormatError, match=rf"{tmp_path}.*{key}.*NaN or infinite values as float16"):
        weights.save_weights(module, tmp_path, "float16")
    assert (tmp_path / "model.safetensors").read_bytes() == b"the old one"
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize("tensor", [torch.zeros(0), torch.zeros(2, dtype=torch.int32), torch.zeros([1] * 9)])
def test_a_tensor_that_would_not_load_is_not_saved(tmp_path: Path, tensor: Tensor) -> None:
    module = nn.Module()
    module.register_buffer("odd", tensor)
    with pytest.raises(FormatError, match=r"tensor 'odd': expected"):
        weights.save_weights(module, tmp_path)
    assert os.listdir(tmp_path) == []


def test_an_unknown_storage_dtype_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'float8'; expected one of float32, float16, bfloat16"):
        weights.save_weights(nn.Linear(1, 1), tmp_path, "float8")
    assert os.listdir(tmp_path) == []


def test_building_and_loading_leave_every_global_random_state_alone(tiny_card: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    zoo.load(tiny_card)
    for family in FAMILIES:
        weights.build(registry().spec(family), dict(registry().spec(family).tiny))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]
    assert random.getstate() == before[2]


def test_weights_are_matched_before_a_large_model_takes_memory(
    tiny_card: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The widest config of the schema against the small file: the refusal comes from the model without memory."""
    devices = []
    monkeypatch.setattr(nn.Module, "apply", lambda module, f: devices.append(next(module.parameters()).device.type))
    edit_config(tiny_card, config={"image_size": 128, "width": 256, "latent_dim": 1024})
    with pytest.raises(FormatError, match="does not fit the model of config"):
        zoo.load(tiny_card)
    assert devices == ["meta"]


# The conditions: what the card says and what the model takes are one thing.


@pytest.mark.parametrize("family", FAMILIES)
def test_a_card_says_what_its_model_takes(tmp_path: Path, family: str) -> None:
    module = make_card(tmp_path / "card", registry().spec(family))
    assert read_config(tmp_path / "card").conditions == declared(module)
    assert zoo.load(tmp_path / "card").conditions == declared(module)


def test_every_kind_of_condition_comes_back_from_a_card_as_it_was(tiny_card: Path) -> None:
    takes: dict[str, Condition] = {
        "größe": zoo.Continuous(-0.1, 2, size=3),
        "label": zoo.Categorical(["T-shirt / top", "Größe"]),  # type: ignore[arg-type]
        "looks": zoo.Flags(("Blond_Hair", "Young")),
    }
    write_config(tiny_card, read_config(tiny_card).model_copy(update={"conditions": takes}))
    assert read_config(tiny_card).conditions == takes


@pytest.mark.parametrize(
    ("family", "said", "words"),
    [
        ("cvae", {}, "the card says none; the model has label (one of"),
        ("dcgan", {"to": {"kind": "categorical", "names": ["a", "b"]}}, "says to (one of a, b); the model has none"),
        ("stargan", {"attributes": {"kind": "flags", "names": ["Male"]}}, "true or false for any of Male); the model"),
        ("infogan", {"style": {"kind": "continuous", "low": -1, "high": 1}}, "says style (a number from -1 to 1); the"),
    ],
)
def test_a_card_that_says_other_conditions_than_its_model_has_is_refused(
    tmp_path: Path, family: str, said: dict[str, Any], words: str
) -> None:
    make_card(tmp_path / "card", registry().spec(family))
    edit_config(tmp_path / "card", conditions=said)
    with pytest.raises(ConfigError, match=r"config\.json: card 'x-tiny': conditions: ") as refusal:
        zoo.load(tmp_path / "card")
    assert words in refusal.value.message
    assert "pip install --upgrade genzoo, or fetch the card again" in str(refusal.value.hint)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"label": {"names": ["a"]}}, "kind"),
        ({"label": {"kind": "os:system", "names": ["a"]}}, "kind"),
        ({"label": {"kind": "categorical", "names": []}}, "one or more different names"),
        ({"label": {"kind": "categorical", "names": ["a"], "more": 1}}, "more"),
        ({"a label": {"kind": "categorical", "names": ["a"]}}, "a label"),
        ({"style": {"kind": "continuous", "low": 1, "high": -1}}, "low < high"),
    ],
)
def test_conditions_that_are_none_are_refused(tiny_card: Path, said: dict[str, Any], complaint: str) -> None:
    edit_config(tiny_card, conditions=said)
    with pytest.raises(ConfigError, match=complaint):
        read_config(tiny_card)


@pytest.mark.parametrize("family", ["dcgan", "cvae", "infogan"])
def test_a_card_from_before_conditions_were_written_asks_its_model(tmp_path: Path, family: str) -> None:
    """And says them once it is saved anew."""
    module = make_card(tmp_path / "card", registry().spec(family))
    config = json.loads((tmp_path / "card" / "config.json").read_text())
    del config["conditions"]
    (tmp_path / "card" / "config.json").write_text(json.dumps(config))
    old = read_config(tmp_path / "card")
    assert old.conditions is None
    assert conditions_of(old) == zoo.load(tmp_path / "card").conditions == declared(module)
    zoo.load(tmp_path / "card").save_pretrained(tmp_path / "new")
    assert read_config(tmp_path / "new").conditions == declared(module)


# The config: any JSON is a model or a refusal.

TEXT = st.sampled_from(["", "__class__", "os:system", "../../x", "https://example.org", "RGB", "dcgan", "float16", "1"])
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.integers(-5, 300) | st.sampled_from([10**18, -(10**40), 10**4000])
) | (st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10) | TEXT)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | TEXT, inner, max_size=4)
)


@pytest.fixture(scope="module", params=FAMILIES)
def card(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzzed") / "card"
    make_card(folder, registry().spec(request.param))
    weights.load_module(folder)
    with pytest.raises(ConfigError):  # what a refusal imports on first use is imported now
        weights.build(registry().spec(request.param), {"unknown": 1})
    return folder


def places(config: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every key of config.json, and of the objects in it, and one unknown key of each."""
    inner = [(outer, key) for outer, value in config.items() if isinstance(value, dict) for key in [*value, "auto_map"]]
    return [("_target_",), ("",), *((key,) for key in config), *inner]


@pytest.mark.usefixtures("socket_disabled")
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_json_for_any_key_is_a_model_or_a_refusal_and_imports_nothing(card: Path, data: st.DataObject) -> None:
    """Set ZOO_EXAMPLES to try more of them."""
    original = (card / "config.json").read_bytes()
    config = json.loads(original)
    for *parents, key in data.draw(st.lists(st.sampled_from(places(config)), min_size=1, max_size=2)):
        place = config[parents[0]] if parents else config
        if isinstance(place, dict):  # the first change may have put something else there
            place[key] = data.draw(JSON)
    modules = set(sys.modules)
    (card / "config.json").write_text(json.dumps(config))
    outcome = outcome_of(card)
    (card / "config.json").write_bytes(original)
    assert isinstance(outcome, nn.Module) or str(card) in outcome.message or "no family" in outcome.message
    assert set(sys.modules) == modules


def outcome_of(card: Path) -> nn.Module | ZooError:
    try:
        return weights.load_module(card)[0]
    except ZooError as error:
        return error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config__width": 10**9}, "width: Input should be less than or equal to 256, found 1000000000"),
        ({"config__witdh": 1}, "Did you mean 'width'"),
        ({"preparation__filter": "os:system"}, "family 'dcgan' has no filter 'os:system'"),
        ({"preparation__filters": "x"}, "preparation.filters: "),
        ({"family": "dcgen"}, "no family 'dcgen' is installed"),
        ({"format": 2}, "format: Input should be 1, found 2"),
        ({"_target_": "os.system"}, "_target_: Extra inputs are not permitted"),
        ({"\x1b[2J": 1}, r"'\x1b[2J': Extra inputs are not permitted"),
    ],
)
def test_a_refused_config_says_which_key_and_what_was_found(tiny_card: Path, changes: Any, message: str) -> None:
    edit_config(tiny_card, **changes)
    with pytest.raises(ZooError) as refusal:
        zoo.load(tiny_card)
    assert message in str(refusal.value)


def test_values_that_fail_inside_a_family_are_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from zoo_dcgan.model import DCGAN

    def broken(self: nn.Module, config: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(DCGAN, "__init__", broken)
    with pytest.raises(ConfigError, match="these values do not make a model: division by zero"):
        weights.build(registry().spec("dcgan"), {})


def test_a_model_of_more_than_a_billion_parameters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_PARAMETERS", 1000)
    with pytest.raises(ConfigError, match=r"\d+ parameters, at most 1000 are allowed"):
        weights.build(registry().spec("dcgan"), dict(registry().spec("dcgan").tiny))


# Memory and time.


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


NUMBERS = [-1, 0, 2**31, 2**63, 2**64, 10**18, 10**100, 10**4000, 1e308, "9" * 1000]
SHAPES = [[1] * 10_000, {str(i): i for i in range(2000)}, nested(50), "x" * 50_000, None, [[[]] * 1000] * 5]
BOMBS = (
    [{"config__width": value} for value in NUMBERS]
    + [{"config__latent_dim": value} for value in NUMBERS]
    + [{"preparation__size": value} for value in NUMBERS]
    + [{key: value} for key in ("config", "config__image_size", "preparation", "weights") for value in SHAPES]
    + [{"config": {"image_size": 128, "width": 256, "latent_dim": 1024}}]
)

MEASURE = """
import json, sys, time
from pathlib import Path
from zoo import ZooError
from zoo.card import weights

def memory(key):  # VmRSS: now, VmHWM: the most since it was reset; in kB
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(key))) << 10

def attempt(folder):
    Path("/proc/self/clear_refs").write_text("5")
    before, started = memory("VmRSS"), time.process_time()
    try:
        weights.load_module(folder)
        outcome = "loaded"
    except ZooError as error:
        outcome = type(error).__name__
    except Exception as error:
        outcome = f"leaked {error!r}"
    return [folder.name, outcome, time.process_time() - started, memory("VmHWM") - before]

root = Path(sys.argv[1])
warm = [attempt(root / name) for name in ("honest", "0")]
print(json.dumps([attempt(root / name) for name in sys.argv[2:]]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak of memory where Linux keeps it")
def test_50_hostile_configs_are_refused_fast_and_in_little_memory(
    tiny_card: Path, tmp_path: Path, isolated: Isolated
) -> None:
    assert len(BOMBS) >= 50
    shutil.copytree(tiny_card, tmp_path / "honest")
    for i, changes in enumerate(BOMBS):
        edit_config(Path(shutil.copytree(tiny_card, tmp_path / str(i))), **changes)
    rows = isolated(MEASURE, str(tmp_path), *map(str, range(len(BOMBS))))
    assert {outcome for _, outcome, _, _ in rows} <= {"ConfigError", "FormatError"}, rows
    slowest, largest = max(row[2] for row in rows), max(row[3] for row in rows)
    print(f"{len(rows)} hostile configs: at most {slowest * 1000:.1f} ms and {largest / 2**20:.1f} MB")
    assert slowest < 1
    assert largest < 50 << 20


@pytest.mark.parametrize("n", [10**9, 10**30, 2**63, -1, 0, 1.5, "16", True, None])
def test_a_count_of_samples_that_cannot_be_is_refused_before_anything_is_made(tiny_card: Path, n: Any) -> None:
    model = zoo.load(tiny_card, device="cpu")
    model.module.sample = None  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"n must be|images take"):
        model.sample(n)


# Code that wants to run.


class Runs:
    """Unpickling it creates the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def framed(payload: bytes) -> bytes:
    """A length that is right, followed by something that is no JSON."""
    return struct.pack("<Q", len(payload)) + payload


def malicious(canary: Path) -> dict[str, Callable[[Path], None]]:
    """Ways to have a card run code. Each changes an honest card."""
    code = f"__import__('os').mkdir({str(canary)!r})"
    payload = pickle.dumps(Runs(canary))
    archive = io.BytesIO()
    torch.save({"w": Runs(canary)}, archive)
    command = {"_target_": "os.mkdir", "args": [str(canary)]}

    def instead(name: str, data: bytes) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            (folder / "model.safetensors").unlink()
            (folder / name).write_bytes(data)

        return change

    def put(name: str, data: bytes) -> Callable[[Path], None]:
        return lambda folder: (folder / name).write_bytes(data) and None

    def config(**changes: Any) -> Callable[[Path], None]:
        return lambda folder: edit_config(folder, **changes)

    def remote(folder: Path) -> None:
        (folder / "modeling_evil.py").write_text(code)
        (folder / "__init__.py").write_text(code)
        edit_config(folder, auto_map={"AutoModel": "modeling_evil.Evil"}, trust_remote_code=True)

    def index(folder: Path) -> None:
        instead("shard.bin", payload)(folder)
        (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "shard.bin"}}')

    return {
        "a pickle as model.safetensors": instead("model.safetensors", payload),
        "an old pickle as model.safetensors": instead("model.safetensors", pickle.dumps(Runs(canary), 0)),
        "a pickle behind a good length": instead("model.safetensors", framed(payload)),
        "a torch archive as model.safetensors": instead("model.safetensors", archive.getvalue()),
        "a zip as model.safetensors": instead("model.safetensors", zipped("data.pkl", payload)),
        "a 7z archive as model.safetensors": instead("model.safetensors", b"7z\xbc\xaf\x27\x1c\0\4" + payload),
        "model.bin": instead("model.bin", payload),
        "pytorch_model.bin": instead("pytorch_model.bin", archive.getvalue()),
        "model.pt": instead("model.pt", archive.getvalue()),
        "model.ckpt": instead("model.ckpt", payload),
        "an index that names a pickle": index,
        "a pickle as config.json": put("config.json", payload),
        "YAML as config.json": put("config.json", b"!!python/object/apply:os.mkdir [%b]" % bytes(canary)),
        "a class to call": config(_target_="os.mkdir", _args_=[str(canary)]),
        "a class to call in the model's config": config(config=command),
        "a class to call as a value": config(config__width=command),
        "code as a value": config(config__width=code),
        "code from the repository": remote,
        "a module as family": config(family="os"),
        "an import string as family": config(family="os:mkdir"),
        "a path as family": config(family="../modeling_evil"),
        "an import string as filter": config(preparation__filter="os:mkdir"),
        "an address for the weights": config(weights__url="https://example.org/model.bin"),
        "a path for the weights": config(weights__file="../../model.bin"),
    }  # fmt: skip


WATCH = """
import json, sys
from pathlib import Path
import zoo
from zoo.card import weights

root, names = Path(sys.argv[1]), json.loads(sys.argv[2])
bad = ("exec", "compile", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.mkdir", "subprocess.Popen",
       "pickle.find_class", "marshal.loads", "socket.connect", "socket.getaddrinfo", "ctypes.dlopen", "import")
seen, watching = [], False

def hook(event, arguments):
    if watching and event in bad and not (event == "import" and arguments[0] in warm):
        seen.append(f"{event} {arguments[0]!r}"[:200])

def attempt(folder):
    try:
        zoo.load(folder, device="cpu")
        return ""
    except zoo.ZooError as error:
        return str(error)

attempt(root / "honest")
attempt(root / names[-1])  # what a refusal needs is imported before the watch begins
warm = set(sys.modules)
sys.addaudithook(hook)
watching = True
refusals = {name: attempt(root / name) for name in ["honest", *names]}
watching = False
print(json.dumps([refusals, seen]))
"""


def test_malicious_cards_are_refused_and_nothing_in_them_runs(
    tiny_card: Path, tmp_path: Path, isolated: Isolated
) -> None:
    canary = tmp_path / "canary"
    shutil.copytree(tiny_card, tmp_path / "honest")
    cards = malicious(canary)
    for name, change in cards.items():
        change(Path(shutil.copytree(tiny_card, tmp_path / name)))
    refusals, seen = isolated(WATCH, str(tmp_path), json.dumps(list(cards)))
    assert refusals.pop("honest") == ""
    assert not canary.exists()
    assert seen == []
    for name, message in refusals.items():
        assert str(tmp_path / name) in message or "no family" in message, f"{name}: {message or 'was loaded'}"


def test_the_canary_of_the_malicious_cards_is_alive(tmp_path: Path) -> None:
    """The payload works: were it ever unpickled, the test above would see it."""
    pickle.loads(pickle.dumps(Runs(tmp_path / "canary")))
    assert (tmp_path / "canary").is_dir()


def test_a_pickle_beside_honest_weights_is_not_looked_at(tiny_card: Path, tmp_path: Path) -> None:
    for name in ("model.bin", "pytorch_model.bin", "model.pt", "optimizer.pt"):
        (tiny_card / name).write_bytes(pickle.dumps(Runs(tmp_path / "canary")))
    zoo.load(tiny_card)
    assert not (tmp_path / "canary").exists()
