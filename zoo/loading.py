"""Loads a card into memory, and writes it back: the module, its spec and its card. The handle is built on it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MethodType
from typing import Any, Self, TypeVar, cast

import torch
from torch import nn

from zoo.card import facts as cards
from zoo.card import weights
from zoo.card.config import CardConfig, CardDraft, read_config
from zoo.card.names import CONFIG, FACTS, LIMITS, WEIGHTS
from zoo.devices import DTYPES, dtype_name, pick_device, warn_if_slow
from zoo.errors import CapabilityError, InputError
from zoo.export import engine
from zoo.export.folder import Exported, export
from zoo.family.conditions import Condition, declared
from zoo.family.registry import cards_of, registry
from zoo.family.spec import ModelSpec, Preparation
from zoo.files import write_atomically
from zoo.hub import places as hub
from zoo.hub import upload
from zoo.hub.places import Place

Method = TypeVar("Method", bound=Callable[..., Any])


class _Needs:
    """A method that exists only on models with these capabilities. On other models `hasattr` is False."""

    def __init__(self, capabilities: tuple[str, ...], method: Callable[..., Any]) -> None:
        self.capabilities, self.method = capabilities, method
        self.__doc__ = method.__doc__

    def __get__(self, model: "Loaded | None", owner: type) -> Any:
        if model is None:
            return self.method
        missing = [name for name in self.capabilities if name not in model.spec.capabilities]
        if missing:
            raise CapabilityError(
                f"{model.name} cannot {self.method.__name__}: its family {model.spec.name!r} has no {missing[0]}",
                f"It has: {', '.join(model.spec.capabilities)}. {_others(self.capabilities)}".strip(),
            )
        return MethodType(self.method, model)


def _others(capabilities: tuple[str, ...]) -> str:
    """A sentence that names a few installed cards with these capabilities."""
    able = [spec for spec in registry().specs.values() if {*capabilities} <= {*spec.capabilities}]
    names = sorted(hub.bundled().keys() & {name for spec in able for name in cards_of(spec)})
    return f"Cards that can: {', '.join(names[:4])}. 'zoo list' shows what each card can." if names else ""


def needs(*capabilities: str) -> Callable[[Method], Method]:
    """Mark a method of the handle that needs these methods of the module."""

    def mark(method: Method) -> Method:
        return cast(Method, _Needs(capabilities, method))

    return mark


class Loaded:
    """A card in memory. Its methods to load, save and upload have the names that libraries of the Hub use."""

    def __init__(
        self,
        module: nn.Module,
        spec: ModelSpec,
        card: CardDraft,
        *,
        device: str | torch.device | None = "auto",
        dtype: str | torch.dtype | None = "float32",
        place: Place | None = None,
    ) -> None:
        self.device = pick_device(device)
        self.dtype = DTYPES[dtype_name(dtype)]
        self.module: Any = module.eval().to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.spec, self.card, self.place = spec, card, place

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str | torch.device | None = "auto",
        dtype: str | torch.dtype | None = "float32",
        backend: str = "torch",
        verify: str = "hashes",
        key: str | os.PathLike[str] | None = None,
        **source: Any,
    ) -> Self:
        """The same as `zoo.load`, under the name that libraries of the Hub use. It takes the same options."""
        place = hub.find(name, **source)
        if verify not in ("hashes", "signed"):
            raise InputError(f"unknown way to verify: {verify!r}", "Give verify='hashes' or verify='signed'.")
        key = key or os.environ.get("ZOO_PUBLIC_KEY")
        if verify == "signed" and not key:
            raise InputError(
                "verify='signed' needs the public key of the publisher",
                "Give its file: key='FILE'. Or set the variable ZOO_PUBLIC_KEY to it.",
            )
        key = key if verify == "signed" else None
        return cls.from_place(place, device=device, dtype=dtype, backend=backend, key=key)

    @classmethod
    def from_place(
        cls,
        place: Place,
        *,
        device: str | torch.device | None = "auto",
        dtype: str | torch.dtype | None = "float32",
        backend: str = "torch",
        key: str | os.PathLike[str] | None = None,
    ) -> Self:
        """The model of a card whose place is known. With a public key, FormatError unless its owner signed the card."""
        device = engine.check(backend, device, dtype_name(dtype))
        if key is not None:
            from zoo.hub.signing import check_signature

            check_signature(place.folder, Path(key))
        module, spec, card = weights.load_module(place.folder)
        model = cls(module, spec, card, device=device, dtype=dtype, place=place)
        model.module = engine.run_by(backend, model.module, spec.capabilities)
        warn_if_slow(model.device, dtype_name(dtype), "Leave dtype out.")
        return model

    def save_pretrained(self, folder: str | os.PathLike[str]) -> Path:
        """Write the model as a card into a folder. Returns the folder.

        This writes config.json and the weights as they are now. The card's figures, picture and signature are copied
        only if the weights have not changed since the card was loaded. A card in the folder is replaced. A folder with
        other files raises an error, and nothing is written. A module that was compiled or wrapped for several devices
        is written as the one inside.
        """
        folder = Path(folder)
        if folder.is_dir() and any(folder.iterdir()):
            read_config(folder)  # raises for a folder that is not a card
        before = self.card.weights if isinstance(self.card, CardConfig) else None
        facts = weights.save_weights(self.module, folder, before.dtype if before else "float32")
        cards.write_config(folder, self.card.written(self.conditions, facts))
        same = self.place is not None and facts == before
        for name in LIMITS.keys() - {CONFIG, WEIGHTS}:
            source = self.place.folder / name if self.place and same else None
            if source and source.is_file():
                write_atomically(folder / name, partial(shutil.copyfile, source))
            else:
                (folder / name).unlink(missing_ok=True)
        return folder

    def export(
        self, folder: str | os.PathLike[str], *, dtype: str = "float32", only: Sequence[str] = ()
    ) -> list[Exported]:
        """Write the model as ONNX graphs into a new folder: one for each method, with a JSON file that describes them.

        dtype: how weights are stored, float32 or float16. The graphs compute in float32 either way.
        only: the methods to export, if not all.
        Each graph is run beside the method on the same noise. Returns what was written, with the largest difference.
        Raises ExportError, and writes nothing, if a difference is above 1e-4 (float16: 1/255) or if no method can be
        exported, MissingExtraError without the extra `export`, and InputError for a wrong dtype or method, or a folder
        with files.
        """
        facts = self.place.folder / FACTS if self.place else None
        known = cards.read_facts(facts.parent) if facts and facts.is_file() else None
        return export(engine.plain(self.module), self.spec, self.card, known, Path(folder), dtype, only)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        commit_message: str | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool = False,
    ) -> str:
        """Upload the card to a repository on the Hub, as one commit. Returns the commit, or with `create_pr` the
        address of the pull request.

        `zoo publish` does more: it verifies the card before and after, signs it and tags the commit.
        Raises InputError for a model whose weights have changed since its card was loaded, and HubError.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = self.save_pretrained(Path(temporary) / "card")
            cards.address(folder, repo_id)
            plan = upload.plan(folder, repo_id, private=private, token=token, branch=branch)
            return upload.carry_out(plan, token=token, message=commit_message, create_pr=create_pr)

    @property
    def name(self) -> str:
        return self.card.name

    @property
    def sha256(self) -> str:
        """Hash of the card's weights; empty for a model whose weights have not been written."""
        return self.card.weights.sha256 if isinstance(self.card, CardConfig) else ""

    @property
    def config(self) -> Any:
        """The module's checked `Config`."""
        return weights.unwrapped(self.module).config

    @property
    def preparation(self) -> Preparation:
        """How images are made into this model's input."""
        return self.card.preparation

    @property
    def conditions(self) -> Mapping[str, Condition]:
        """The conditions that this model takes, by name."""
        return declared(weights.unwrapped(self.module))
