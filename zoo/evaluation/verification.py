"""Verifies a card: runs all its checks and reports them."""

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
    """Check that what a card says is true. A fault of the card is a failed check, never an exception.

    Without `data` it checks that the card loads and its hashes match, that its README follows from its facts, that no
    other file is in its folder, that its picture and golden numbers come out again, and that its size is as recorded.
    If the card of the scoring classifier has the moments of the real images, it checks the Fréchet distance too. No
    file in the folder changes.

    data: a data set, a Hub name or a folder. All figures are measured again on its test split. judge: the card of the
    scoring classifier, if it is not bundled. key: the publisher's public key (PEM), if the signature is to be checked.
    Raises NotFoundError for an unknown card, InputError for an unknown device, DataError for a data set that is not
    there, and MissingExtraError if `data` or `key` needs an extra. Other checks that need a missing extra are skipped.
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
    # This comes before the rest, so that a wrong name of a data set is reported at once.
    measured = checks.untouched(card) if data is None else guarded("figures", partial(checks.again, card, data))
    return found + [check for what, part in PARTS.items() for check in guarded(what, partial(part, card))] + measured


def _signature(folder: Path, key: str | Path | None) -> list[Check]:
    """The check of the signature. Without a key there is a line for a signed card, which says that it was skipped."""
    if key is None:
        why = "the card is signed. To check it give the publisher's public key: --signature KEY"
        return [Check("signature", "skipped", why=why)] if (folder / SIGNATURE).is_file() else []
    from zoo.hub.signing import check_signature

    try:
        check_signature(folder, Path(key))
    except MissingExtraError:  # a check that was asked for must not be skipped
        raise
    except Exception as error:
        return [failed("signature", error)]
    return [Check("signature", "pass")]
