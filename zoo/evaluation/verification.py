"""Whether a card is what it says it is: every check of it, in one report."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from zoo.card import facts as cards
from zoo.card.names import PICTURE, README, SIGNATURE
from zoo.devices import pick_device
from zoo.errors import MissingExtraError
from zoo.evaluation import checks
from zoo.evaluation.report import Card, Check, failed, guarded
from zoo.extras import require
from zoo.hub import places as hub
from zoo.model import load

PARTS: dict[str, Callable[[Card], list[Check]]] = {
    "files": checks.files,
    README: checks.readme,
    PICTURE: checks.picture,
    "golden": checks.golden,
    "cost": checks.cost,
    "statistics": checks.shipped,
    "reference": checks.references,
}


def verify(
    name: str | Path,
    *,
    data: str | Path | None = None,
    judge: str | Path | None = None,
    key: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
) -> list[Check]:
    """Hold a card against what it says of itself. A fault of the card is a check that failed, never an exception.

    Without `data`: the card loads and its hashes hold, its README follows from its facts, no other file is in its
    folder, its picture and golden numbers come out again, its size is as recorded, and its Fréchet distance too, where
    the judge's card ships the moments of the real images. Nothing in the folder is changed.

    data: a data set, by Hub name or folder, on whose test split all figures are measured again. judge: the card of the
    judge, where it is not bundled. key: a publisher's public key (PEM), whose signature the card must bear.
    Raises NotFoundError for an unknown card, InputError for a device, DataError for a data set that is not there, and
    MissingExtraError for `data` or `key` without the extra; any other check that an extra is missing for is skipped.
    """
    if data is not None:
        require("evaluate", "measuring again")
    pick_device(device)
    folder = hub.locate(name)
    found: list[Check] = _signature(folder, key)
    model = None
    try:
        model = load(folder, device=device)
        digest = model.sha256[:12]
        found.append(Check("weights", "pass", digest, digest))
        facts = cards.read_facts(folder)
    except Exception as error:  # a family's own code may raise anything
        return [*found, failed("facts" if model else "weights", error)]
    card = Card(str(name), folder, model, facts, None if judge is None else hub.locate(judge), progress)
    # Before the rest, so that a mistyped data set is told at once.
    measured = checks.untouched(card) if data is None else guarded("figures", partial(checks.again, card, data))
    return found + [check for what, part in PARTS.items() for check in guarded(what, partial(part, card))] + measured


def _signature(folder: Path, key: str | Path | None) -> list[Check]:
    """Whose the card is; of a signed card it is said that nobody looked."""
    if key is None:
        why = "the card is signed: --signature KEY tells whether by that key"
        return [Check("signature", "skipped", why=why)] if (folder / SIGNATURE).is_file() else []
    from zoo.hub.signing import check_signature

    try:
        check_signature(folder, Path(key))
    except MissingExtraError:  # who asks for a signature must not take silence for one
        raise
    except Exception as error:
        return [failed("signature", error)]
    return [Check("signature", "pass")]
