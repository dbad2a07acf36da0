"""A data set as endless batches on the device, with augmentation."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo.data.columns import LABELS
from zoo.data.source import Dataset
from zoo.errors import DataError
from zoo.family.spec import Preparation

Filter = Callable[[Tensor], Tensor]


class Batches:
    """Endless shuffled batches on the device, with values in [0, 1].

    Batch number k depends on the seed and k alone, so a resumed run sees the batches that it would have seen without
    the stop. Several processes share each batch, and `batch_size` counts the images of all of them.
    What `next()` gives depends on the kind. images: x. labelled: (x, y). attributes: (x, a). pairs: (x, y), the input
    first. unpaired: (a, b), one batch of each domain, and each domain is shuffled by itself.
    Raises DataError if the data set does not have what the kind needs, or not enough images for a batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        kind: str,
        batch_size: int,
        *,
        preparation: Preparation,
        seed: int = 0,
        flip: bool = False,
        jitter: bool = False,
        filter: Filter | None = None,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if kind == "pairs" and filter is None and dataset.inputs is None:
            raise DataError(
                f"{dataset.source}: pairs need a column with the inputs, or an input filter",
                "Say which column holds the inputs: --column input=NAME",
            )
        if kind in LABELS and dataset.labels is None:
            raise DataError(
                f"{dataset.source}: {kind} batches need a column of the kind {LABELS[kind]!r}",
                f"Say which column it is: --column {LABELS[kind]}=NAME",
            )
        self._domains = domain_rows(dataset, kind)
        available = min(len(rows) for rows in self._domains)
        if not 1 <= batch_size <= available:
            whose = "which has" if len(self._domains) == 1 else "whose smaller domain has"
            counted = f"{available:,} {'image' if available == 1 else 'images'}"
            hint = f"Give a smaller batch, --batch-size {available}, or a data set with more images."
            found = f"the batch size {batch_size} does not fit {dataset.source}, {whose} {counted}"
            raise DataError(found, hint if available else "Give a data set with images in both domains.")
        if batch_size % world:
            raise DataError(
                f"{world} processes cannot share a batch of {batch_size} images equally",
                f"Give a multiple of {world}: --batch-size {world * (batch_size // world + 1)}",
            )
        self.dataset, self.kind, self.batch_size, self.preparation = dataset, kind, batch_size, preparation
        self.seed, self.flip, self.jitter, self.filter, self.device = seed, flip, jitter, filter, torch.device(device)
        self.rank, self.world = rank, world
        self.consumed = 0
        fits = self.device.type != "cuda" or dataset.images.numel() < torch.cuda.mem_get_info(self.device)[0] // 4
        self._images = dataset.images.to(self.device if fits else "cpu")
        self._inputs = None if dataset.inputs is None else dataset.inputs.to(self._images.device)
        self._labels = None if dataset.labels is None else dataset.labels.to(self._images.device)
        self._orders: dict[int, tuple[int, Tensor]] = {}

    def __len__(self) -> int:
        """Number of batches in one pass over the data, or over the larger domain. A last, smaller batch is left out."""
        return max(len(rows) for rows in self._domains) // self.batch_size

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        number, self.consumed = self.consumed, self.consumed + 1
        return self.at(number)

    def state_dict(self) -> dict[str, Any]:
        return {"consumed": self.consumed, "images": len(self.dataset), "data": self.dataset.fingerprint}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. DataError if the images are not those that the state belongs to."""
        if state.get("data", self.dataset.fingerprint) != self.dataset.fingerprint:
            raise DataError(
                f"{self.dataset.source}: the run was begun with other data. It had {state['images']} images then, and "
                f"has {len(self.dataset)} now, with another content",
                "Resume with the same data, or begin a new run in another folder: --out FOLDER",
            )
        self.consumed = int(state["consumed"])

    def at(self, number: int) -> Any:
        """Batch `number` of the endless stream."""
        # Every process augments the whole batch and keeps its share, so the draws do not depend on their number.
        draws = torch.Generator().manual_seed(_mix(self.seed, number, 0))
        mine = slice(self.rank, None, self.world)
        rows = [self._rows(number, domain) for domain in range(len(self._domains))]
        x, *others = [self._augmented(part, draws)[mine] for part in rows]
        if self.kind == "unpaired":
            return x, others[0]
        if self.kind == "pairs":
            c = self.preparation.channels
            return (x[:, :c], x[:, c:]) if self._inputs is not None else (self.filter(x), x)  # type: ignore[misc]
        if self.kind in LABELS:
            return x, moved(self._labels[rows[0][mine]], self.device)  # type: ignore[index]
        return x

    def _augmented(self, rows: Tensor, draws: torch.Generator) -> Tensor:
        x = self._images[rows]
        if self._inputs is not None:
            # Both images of a pair get the same augmentation, so that they still fit together.
            x = torch.cat([self._inputs[rows], x], dim=1)
        x = augment(moved(x, self.device).float() / 255, draws, flip=self.flip, jitter=self.jitter)
        if self.preparation.binarize:
            x = (moved(torch.rand(x.shape, generator=draws), self.device) < x).float()
        return x.contiguous(memory_format=torch.channels_last)

    def _rows(self, number: int, domain: int) -> Tensor:
        """Indices of a batch, from a new permutation of the domain in each pass."""
        rows = self._domains[domain]
        epoch, place = divmod(number, len(rows) // self.batch_size)
        if self._orders.get(domain, (-1,))[0] != epoch:
            draws = torch.Generator().manual_seed(_mix(self.seed, epoch, -1 - domain))
            order = rows[torch.randperm(len(rows), generator=draws)]
            self._orders[domain] = (epoch, moved(order, self._images.device))
        return self._orders[domain][1][place * self.batch_size : (place + 1) * self.batch_size]


def moved(x: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device. The host does not wait: a GPU copies from pinned memory while the host goes on."""
    if device.type == "cuda" and x.device.type == "cpu":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


def domain_rows(dataset: Dataset, kind: str) -> list[Tensor]:
    """Indices of the images of each domain. Without unpaired batches all images are one domain."""
    if kind != "unpaired" or dataset.labels is None:
        return [torch.arange(len(dataset))]
    return [(dataset.labels == domain).nonzero().flatten() for domain in (0, 1)]


def _mix(*numbers: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence([n % 2**32 for n in numbers]).generate_state(1, np.uint64)[0]) >> 1


def augment(x: Tensor, draws: torch.Generator, *, flip: bool, jitter: bool) -> Tensor:
    """Augment each image by itself. flip: mirror half of the images. jitter: shift each by up to 15/256 of the side,
    the reach of the random crop in pix2pix (appendix 6.2).

    The paper enlarges an image and cuts it. Here it is only shifted: an enlarged image is blurred, and the model would
    learn to make blurred images.
    """
    n, _, height, width = x.shape
    if flip:
        mirrored = moved(torch.rand(n, generator=draws) < 0.5, x.device)
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    if jitter:
        rows, columns = (moved(_shifted(n, side, draws), x.device) for side in (height, width))
        image = torch.arange(n, device=x.device)[:, None, None]
        x = x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return x


def _shifted(n: int, side: int, draws: torch.Generator) -> Tensor:
    """(n, side): for each image, which pixels along one side a random shift takes. They are reflected at the border."""
    reach = min(round(side * 15 / 256), side - 1)
    places = (torch.arange(side) + torch.randint(-reach, reach + 1, (n, 1), generator=draws)).abs()
    return torch.where(places < side, places, 2 * (side - 1) - places)
