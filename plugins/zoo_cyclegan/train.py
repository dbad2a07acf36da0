"""The objective of section 3: both generators train against two discriminators, with the loss of the cycle."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

import zoo
from zoo_cyclegan.model import CycleGAN, PatchDiscriminator


def train(
    model: CycleGAN,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 200_000,
    lr: float = 2e-4,
    beta1: float = 0.5,
    decay: zoo.Share = 0.5,
    cycle: zoo.Weight = 10.0,
    identity: zoo.Weight = 0.5,
    pool: Annotated[int, Field(ge=0, le=1000)] = 50,
    patch_layers: Annotated[int, Field(ge=1, le=5)] = 3,
    patch_width: zoo.Width = 64,
) -> None:
    """Train G and F together against new D_X and D_Y; lr and beta1 are Adam's, for all nets (section 4).

    decay: the share of the run, at its end, over which lr falls linearly to 0 (appendix 7.1). cycle: lambda, the weight
    of the cycle loss (equation 3). identity: weight, relative to lambda, of the identity loss
    (section 5.2; on by default in the authors' code). pool: how many translations of each domain are kept to be shown
    to D again. patch_layers: how many layers of D halve the side; with 3, it scores patches of 70x70. patch_width:
    feature maps of D's first layer.
    """
    if model.F is None or model.config.norm == "batch":
        raise zoo.ConfigError(
            "directions='forward' and norm='batch' are for weights that were trained elsewhere",
            "Leave them out: the loop trains both directions, with norms of single images.",
        )
    config, smallest = model.config, 2 ** (patch_layers + 2)
    if config.image_size < smallest:
        raise zoo.ConfigError(
            f"patch_layers={patch_layers} needs images of at least {smallest} pixels, found {config.image_size}",
            "Give a smaller number: --set patch_layers=1",
        )
    G, F = model.G, model.F
    D_X, D_Y = (PatchDiscriminator(config.channels, patch_width, patch_layers) for _ in "XY")
    opt_G = torch.optim.Adam([*G.parameters(), *F.parameters()], lr, (beta1, 0.999), fused=True)
    opt_D = torch.optim.Adam([*D_X.parameters(), *D_Y.parameters()], lr, (beta1, 0.999), fused=True)
    schedules = [zoo.constant_then_linear(optimizer, steps, decay) for optimizer in (opt_G, opt_D)]
    pool_X, pool_Y = ImagePool(pool), ImagePool(pool)
    state = {"pool_X": pool_X, "pool_Y": pool_Y, "schedule_G": schedules[0], "schedule_D": schedules[1]}
    run.prepare(model=model, D_X=D_X, D_Y=D_Y, opt_G=opt_G, opt_D=opt_D, batches=batches, **state)

    for _ in run.steps(steps):
        x, y = (2 * image - 1 for image in next(batches))

        # G and F learn from the current translations. Each makes one pass, which translates and repeats what is in the
        # target domain already. That is allowed, since an instance norm treats each image of a batch by itself.
        with run.autocast():
            fake_y, same_y = G(torch.cat([x, y])).chunk(2)
            fake_x, same_x = F(torch.cat([y, x])).chunk(2)
            loss_GAN = real_loss(D_Y(fake_y)) + real_loss(D_X(fake_x))
            loss_cycle = l1_distance(F(fake_y), x) + l1_distance(G(fake_x), y)
        loss_identity = l1_distance(same_y, y) + l1_distance(same_x, x)
        run.minimize(loss_GAN + cycle * (loss_cycle + identity * loss_identity), opt_G)

        # Both D learn from real images and from old and new translations. Half the objective makes them learn slower.
        with run.autocast():
            loss_X = (real_loss(D_X(x)) + fake_loss(D_X(pool_X.query(fake_x)))) / 2
            loss_Y = (real_loss(D_Y(y)) + fake_loss(D_Y(pool_Y.query(fake_y)))) / 2
        run.minimize(loss_X + loss_Y, opt_D)
        for schedule in schedules:
            schedule.step()
        run.log(loss_X=loss_X, loss_Y=loss_Y, loss_GAN=loss_GAN, cycle=loss_cycle, identity=loss_identity)


class ImagePool:
    """Older translations that D sees again, so that it does not forget G's old faults (section 4, after Shrivastava et
    al. 2017).

    The first `capacity` images are kept and returned. After that, each image is returned itself with probability 1/2.
    Otherwise it replaces a random image of the pool, and that one is returned.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """As many images as are given (n, c, h, w), without gradients."""
        passed = [self._exchange(image) for image in images.detach()]
        return torch.stack(passed).contiguous(memory_format=torch.channels_last)

    def _exchange(self, image: Tensor) -> Tensor:
        if len(self.images) < self.capacity:
            self.images.append(image.clone())
            return image
        if self.capacity == 0 or torch.rand(()) < 0.5:
            return image
        place = int(torch.randint(self.capacity, ()))
        old, self.images[place] = self.images[place], image.clone()
        return old.to(image.device)

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.images = list(state["images"])


def real_loss(scores: Tensor) -> Tensor:
    """E (D(y) - 1)^2, the mean over images and patches, from scores in float32; for G of D(G(x)) (section 4)."""
    return (scores.float() - 1).square().mean()


def fake_loss(scores: Tensor) -> Tensor:
    """E D(G(x))^2, the mean over images and patches."""
    return scores.float().square().mean()


def l1_distance(a: Tensor, b: Tensor) -> Tensor:
    """|a - b|, the mean over images, channels and pixels. lambda = 10 is meant for this mean."""
    return (a.float() - b.float()).abs().mean()
