"""Makes a card of a checkpoint that another implementation of a family has saved.

Only here is a pickle read, by torch's reader of tensors alone: it calls nothing that the file names.
"""

import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor

from zoo.card import facts as cards
from zoo.card import weights
from zoo.card.config import CardDraft
from zoo.card.names import PICTURE
from zoo.errors import FormatError, InputError, NotFoundError, ZooError, did_you_mean
from zoo.family.converter import Conversion, Converter
from zoo.family.registry import registry, resolve
from zoo.family.spec import ModelSpec, Preparation
from zoo.files import new_folder, sha256
from zoo.model import Model, load
from zoo.noise import Noise
from zoo.training import pictures

Tensors = dict[str, Tensor]

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Last words of the names of a norm's statistics. Old instance norms saved some that nobody uses."""
COUNT = "num_batches_tracked"
"""Of a batch norm: older torch did not save it, and nothing but training reads it."""
PREFIX = "module."
"""Stands before every name in a file that was saved from `DataParallel`."""
MODES: dict[int, Literal["L", "RGB"]] = {1: "L", 3: "RGB"}
TOLERANCE = 1e-5
"""Largest difference between what the card gives and what the imported weights give, on images in [0, 1]."""
REFUSED = re.compile(r"GLOBAL ([\w.]+)")
"""In what torch says of a pickle that it refuses: the function or class that the pickle names."""
SAFE = (
    "If you trust the file, open it where it was made, and save the tensors alone: "
    "safetensors.torch.save_file(net.state_dict(), 'G.safetensors'). zoo import takes that file too."
)


@dataclass(frozen=True)
class _Given:
    """What a user asks for."""

    converter: Converter
    files: tuple[Path, ...]
    out: Path
    license: str
    data: str
    name: str | None
    settings: Mapping[str, Any]

    @property
    def command(self) -> str:
        """The command line that makes this card again."""
        words = ["zoo", "import", self.converter.name, *(file.name for file in self.files), "--out", self.out.name]
        words += ["--license", self.license, "--data", self.data, *(["--name", self.name] if self.name else [])]
        for key, value in self.settings.items():
            words += ["--set", f"{key}={json.dumps(value)}"]
        return shlex.join(words)


def import_card(
    source: str,
    files: Sequence[str | Path],
    *,
    out: str | Path,
    license: str,
    data: str,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Model:
    """Make the card `out` of a checkpoint of another implementation, and return its model.

    source: the implementation, as docs/import.md lists them. files: the checkpoint, a file for each network: what
    `torch.save(net.state_dict(), file)` wrote, or safetensors. license: of the weights, a Hub licence id. data: what
    they were trained on. name: the card's; by default that of the folder. settings: fields of the config that the files
    do not tell, or that should be others.

    Raises NotFoundError for an unknown source or a file that is not there, InputError, ConfigError, and FormatError for
    a file that holds more than tensors, or whose tensors are not those of the model. No card is left then.
    """
    spec, converter = find(source)
    paths = tuple(Path(file) for file in files)
    given = _Given(converter, paths, Path(out).expanduser(), license, data, name, dict(settings or {}))
    _check(given)
    module, preparation = _taken_over(spec, given)
    draft = CardDraft(
        name=name or given.out.name,
        family=spec.name,
        package=registry().provider(spec.name).distribution,
        config=module.config.model_dump(mode="json"),
        preparation=preparation,
    )
    with new_folder(given.out) as folder:
        _write(folder, Model(module, spec, draft, device="cpu"), given)
    return load(given.out)


def find(source: str) -> tuple[ModelSpec, Converter]:
    """The converter of a source, with the spec of its family. NotFoundError, which lists them, if there is none."""
    known = {converter.name: (spec, converter) for spec in registry().specs.values() for converter in spec.imports}
    for name, found in known.items():
        if name.lower() == source.lower():
            return found
    raise NotFoundError(f"zoo cannot import checkpoints of {source!r}", did_you_mean(source, known))


def _check(given: _Given) -> None:
    """Raise for what can be seen to be wrong before a file is read."""
    parts, least, n = given.converter.parts, given.converter.needed, len(given.files)
    if not least <= n <= len(parts):
        counts = f"{least}" if least == len(parts) else f"{least} to {len(parts)}"
        raise InputError(
            f"{given.converter.name} takes {counts} file{'' if counts == '1' else 's'}, found {n}",
            f"Give a file for each of these networks, in this order: {', '.join(parts)}.",
        )
    for file in given.files:
        if not file.is_file():
            raise NotFoundError(f"there is no file {file}")
    asked = {key: example for key, example in given.converter.asks.items() if key not in given.settings}
    if asked:
        examples = (shlex.quote(f"{key}={json.dumps(example)}") for key, example in asked.items())
        raise InputError(
            f"a checkpoint of {given.converter.name} does not tell {', '.join(asked)}",
            f"Say it, for example: --set {' --set '.join(examples)}",
        )
    if given.out.exists():
        raise InputError(f"{given.out} exists already", "Give another --out.")


def _read(part: str, file: Path) -> list[tuple[str, Tensor]]:
    """The tensors of a file, each under its name with the part before it. FormatError if it holds anything else."""
    try:
        found = (
            safetensors.torch.load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, map_location="cpu", weights_only=True)
        )
    except Exception as error:  # torch has no error of its own for each fault that a file can have
        asked = REFUSED.search(str(error))
        reason = f": it asks for {asked[1]}" if asked else ""
        raise FormatError(f"{file} cannot be read as tensors alone{reason}", SAFE) from error
    if not isinstance(found, Mapping) or not all(isinstance(key, str) and _plain(found[key]) for key in found):
        raise FormatError(f"{file} holds something else than the dense tensors of one network", SAFE)
    wrapped = all(key.startswith(PREFIX) for key in found)
    return [(f"{part}.{key.removeprefix(PREFIX) if wrapped else key}", value) for key, value in found.items()]


def _plain(value: object) -> bool:
    """Whether it is a tensor whose numbers are all there, in a type that networks have."""
    if not isinstance(value, Tensor):
        return False
    typed = value.dtype in {*weights.DTYPES.values(), torch.float64}
    return typed and value.layout == torch.strided and value.device.type == "cpu"


def _taken_over(spec: ModelSpec, given: _Given) -> tuple[Any, Preparation]:
    """The family's module with the weights of the files, and how images become its input."""
    pairs = zip(given.converter.parts, given.files, strict=False)
    tensors = {key: value for part, file in pairs for key, value in _read(part, file)}
    conversion = _conversion(given, tensors)
    if conversion.channels not in MODES:
        raise FormatError(f"the model takes images of {conversion.channels} channels; a card's have 1 or 3")
    module: Any = weights.build(spec, {**conversion.config, **given.settings}, f"import of {given.converter.name}")
    module.load_state_dict(_state(module.state_dict(), tensors, conversion))
    return module, Preparation(module.config.image_size, MODES[conversion.channels])


def _conversion(given: _Given, tensors: Tensors) -> Conversion:
    """What the family's function says of these tensors. FormatError if they are of another network."""
    converter, shapes = given.converter, {key: tuple(value.shape) for key, value in tensors.items()}
    try:
        found: Conversion = resolve(converter.convert)(shapes)
    except (LookupError, ValueError) as error:
        if isinstance(error, ZooError):
            raise
        lacks = f"no tensor {error.args[0]}" if isinstance(error, KeyError) else "tensors of other shapes"
        holds = ", ".join(f"{key} {list(shape)}" for key, shape in [*shapes.items()][:10])
        raise FormatError(
            f"this is no checkpoint of {converter.name}: it has {lacks}. It begins with {holds}",
            f"To see what such a checkpoint holds: {converter.code}",
        ) from error
    return found


def _state(wanted: Tensors, tensors: Tensors, conversion: Conversion) -> Tensors:
    """The module's state, from the files. FormatError that lists what is missing, unexpected or of another shape."""
    state, faults = {}, []
    sources = {key: conversion.source(key) for key in wanted}
    for key, own in wanted.items():
        given = tensors.get(sources[key])
        if given is None and not key.endswith(COUNT):
            faults.append(f"missing {sources[key]} for {key} {list(own.shape)}")
        # Their number first: a few bytes of a file can stand for more numbers than the machine could hold.
        fits = given is not None and given.numel() == own.numel()
        state[key] = conversion.change(key, given).to(own.dtype) if given is not None and fits else own
        if given is not None and not (fits and state[key].shape == own.shape):
            faults.append(f"{sources[key]} {list(given.shape)} does not fit {key} {list(own.shape)}")
    left = tensors.keys() - {*sources.values(), *conversion.unused}
    faults += [f"unexpected {key}" for key in sorted(left) if key.rpartition(".")[2] not in STATISTICS]
    if faults:
        more = f"; and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise FormatError(
            f"the tensors are not those of the model: {'; '.join(faults[:10])}{more}",
            "If the network has a setting that its tensors do not show, give it by --set.",
        )
    return state


def _write(folder: Path, model: Model, given: _Given) -> None:
    """Write the card, load it, and compare what it gives with what the model gives."""
    config = model.card.written(model.conditions, weights.save_weights(model.module, folder))
    cards.write_config(folder, config)
    picture = pictures.picture(model, None)
    if picture is not None:
        picture.save(folder / PICTURE)
    cards.write_facts(folder, _facts(model, given))
    compare(model, Model.from_pretrained(folder, device="cpu"))


def _facts(model: Model, given: _Given) -> cards.Facts:
    size = model.preparation.size
    origin = cards.Origin(
        data=given.data,
        source=f"a checkpoint that the code of {given.converter.name} saved ({given.converter.code})",
        file=", ".join(file.name for file in given.files),
        sha256=", ".join(sha256(file) for file in given.files),
        command=given.command,
    )
    return cards.Facts(
        summary=f"{model.spec.title} at {size}x{size}: {model.spec.summary}.",
        license=given.license,
        data_terms=f"Trained on {given.data}; its terms are those of whoever gave it.",
        limits=["The weights were taken over as they were found. Nobody has measured them with zoo."],
        origin=origin,
        golden=pictures.golden(model),
    )


def compare(imported: Model, loaded: Model) -> None:
    """FormatError unless a card gives on fixed noise what the weights gave that it was made of."""
    before, after = _replies(imported), _replies(loaded)
    for method, reply in before.items():
        difference = (after[method] - reply).abs().max().item()
        if not math.isfinite(difference) or difference > TOLERANCE:
            raise FormatError(
                f"{imported.name}: {method} of the card differs by {difference:.2g} from the checkpoint's"
            )


def _replies(model: Model) -> Tensors:
    """What the methods give whose results are images, and golden numbers of the others."""
    p, can = model.preparation, model.spec.capabilities
    x = Noise(0, 0, 2).uniform(p.channels, p.size, p.size)
    found = {key: torch.tensor(values) for key, values in pictures.golden(model).items()}
    if "sample" in can:
        found["sample"] = model.sample(2, seed=0).tensor
    if "translate" in can:
        found["translate"] = model.translate(x, prepared=True).tensor
    return found
