"""RealNVP: Dinh, Sohl-Dickstein, Bengio 2016, "Density estimation using Real NVP".

The model is a bijection f from images to latents of the same size. It is made of affine couplings with triangular
Jacobians. So log p(x) = log N(f(x); 0, I) + log |det df/dx| (section 3.1) is exact, and sampling is one pass of the
inverse.
"""

import math
from collections.abc import Iterator
from typing import Annotated, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import zoo


class RealNVP(nn.Module):
    """The multi-scale architecture of section 3.6. Each transform returns its result and log |det|, (n,) nats."""

    class Config(zoo.Config):
        image_size: Annotated[int, Field(ge=4, le=128)] = 32
        channels: zoo.Channels = 3
        scales: Annotated[int, Field(ge=1, le=6)] = 4
        """Number of scales. Each but the last halves the side, and then half of the variables are finished."""
        width: zoo.Width = 32
        """Feature maps of s and t at the full size of the image. Each halving of the side doubles them."""
        blocks: Annotated[int, Field(ge=1, le=16)] = 2
        """Residual blocks of each s, t net."""
        alpha: Annotated[float, Field(ge=1e-6, le=0.4)] = 0.05
        """Pixels become logit(alpha + (1 - 2 alpha) u), the form of the authors' code (section 4.1)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        halvings = config.scales - 1
        if config.image_size % 2**halvings:
            raise ValueError(f"image_size {config.image_size} cannot be halved {halvings} times")
        channels, side, width = config.channels, config.image_size, config.width
        scales: list[nn.Module] = []
        for _ in range(halvings):
            scales.append(Scale(channels, side, width, config.blocks))
            channels, side, width = 2 * channels, side // 2, 2 * width
        self.scales = nn.ModuleList(scales)
        self.last = nn.ModuleList(Coupling(checkerboard(channels, side, i), width, config.blocks) for i in range(4))

    def flow(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """f: u (n, c, h, w) in [0, 1] -> z (n, c h w), the parts of each scale one after the other; and log |det|."""
        x, log_det = self.logit(u)
        parts = []
        for scale in self.scales:
            x, part, change = scale(x)
            parts.append(part.flatten(1))
            log_det = log_det + change
        for coupling in self.last:
            x, change = coupling(x)
            log_det = log_det + change
        return torch.cat([*parts, x.flatten(1)], 1), log_det

    def inverse(self, z: Tensor) -> Tensor:
        """z (n, c h w) -> u (n, c, h, w). Some of p's mass is outside [0, 1], by up to alpha / (1 - 2 alpha)."""
        c, side = self.config.channels, self.config.image_size
        parts = []
        for _ in self.scales:
            c, side = 2 * c, side // 2
            part, z = z[:, : c * side * side], z[:, c * side * side :]
            parts.append(part.unflatten(1, (c, side, side)))
        x = z.unflatten(1, (c, side, side))
        for coupling in backwards(self.last):
            x = coupling.inverse(x)
        for scale in cast(Iterator[Scale], reversed(self.scales)):
            x = scale.inverse(x, parts.pop())
        return (x.sigmoid() - self.config.alpha) / (1 - 2 * self.config.alpha)

    def logit(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """y = logit(p), p = alpha + (1 - 2 alpha) u. The derivative is (1 - 2 alpha) / (p (1 - p)) (section 4.1)."""
        stretch = 1 - 2 * self.config.alpha
        y = (self.config.alpha + stretch * u).logit()
        return y, (math.log(stretch) + F.softplus(y) + F.softplus(-y)).flatten(1).sum(1)

    def log_density(self, u: Tensor) -> Tensor:
        """(n,) nats: log p(u) in units of the 8-bit grid, that is per cell of side 1/256 (section 3.1)."""
        z, log_det = self.flow(u)
        log_prior = -0.5 * (z.square() + LOG_2PI).sum(1)
        return log_prior + log_det - u[0].numel() * math.log(256)

    def log_prob(self, x: Tensor) -> Tensor:
        """(n,) nats: the exact density at the middle of each image's cell, times the cell's volume.

        It is deterministic. It estimates the probability of the 8-bit image, but does not bound it; `elbo` does.
        """
        return self.log_density(centre(x))

    def elbo(self, x: Tensor, noise: zoo.AnyNoise) -> Tensor:
        """(n,) nats: the exact density at one uniform draw from each cell. Its mean is at most log P(8-bit image).

        Bits per dimension are computed from it (section 4.1; Theis et al. 2016, section 3.1).
        """
        return self.log_density((255 * x + noise.uniform(*x.shape[1:])) / 256)

    def encode(self, x: Tensor) -> Tensor:
        """f of the middle of each image's cell: (n, c, h, w) in [0, 1] -> (n, c h w)."""
        return self.flow(centre(x))[0]

    def decode(self, z: Tensor) -> Tensor:
        """The image of z, (n, c, h, w) in [0, 1]: decode(encode(x)) = x. Rounded to 8 bits, it gives the cell of z."""
        return ((256 * self.inverse(z) - 0.5) / 255).clamp(0, 1)

    def latents(self, noise: zoo.AnyNoise) -> Tensor:
        """z ~ N(0, I), (n, c h w)."""
        return noise.normal(self.config.channels * self.config.image_size**2)

    def sample(self, noise: zoo.AnyNoise) -> Tensor:
        """Images (n, c, h, w) in [0, 1] of z ~ N(0, I)."""
        return self.decode(self.latents(noise))


LOG_2PI = math.log(2 * math.pi)


def centre(x: Tensor) -> Tensor:
    """Pixel values k / 255 -> (k + 1/2) / 256, the middle of level k's cell of [0, 1]."""
    return (255 * x + 0.5) / 256


def backwards(couplings: nn.ModuleList) -> "Iterator[Coupling]":
    """The couplings from the last to the first."""
    return cast(Iterator[Coupling], reversed(couplings))


class Scale(nn.Module):
    """Three checkerboard couplings, a squeeze and three channel couplings. Then half of the variables are finished."""

    def __init__(self, channels: int, side: int, width: int, blocks: int) -> None:
        super().__init__()
        fine = (checkerboard(channels, side, i) for i in range(3))
        coarse = (halves(4 * channels, side // 2, i) for i in range(3))
        self.fine = nn.ModuleList(Coupling(mask, width, blocks) for mask in fine)
        self.coarse = nn.ModuleList(Coupling(mask, 2 * width, blocks) for mask in coarse)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, c, h, w) -> the variables that go on, those that are finished, each (n, 2c, h/2, w/2), and log |det|."""
        log_det = x.new_zeros(len(x))
        for coupling in self.fine:
            x, change = coupling(x)
            log_det = log_det + change
        x = squeeze(x)
        for coupling in self.coarse:
            x, change = coupling(x)
            log_det = log_det + change
        x, done = diagonals(unsqueeze(x)).chunk(2, 1)
        return x, done, log_det

    def inverse(self, x: Tensor, done: Tensor) -> Tensor:
        x = squeeze(undo_diagonals(torch.cat([x, done], 1)))
        for coupling in backwards(self.coarse):
            x = coupling.inverse(x)
        x = unsqueeze(x)
        for coupling in backwards(self.fine):
            x = coupling.inverse(x)
        return x


class Coupling(nn.Module):
    """y = b x + (1 - b) (x exp(s(b x)) + t(b x)) (section 3.4), then batch norm of y (section 3.7)."""

    mask: Tensor

    def __init__(self, mask: Tensor, width: int, blocks: int) -> None:
        super().__init__()
        channels = len(mask)
        self.register_buffer("mask", mask, persistent=False)
        self.net = ResidualNet(2 * channels + 1, width, 2 * channels, blocks)
        self.input_norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Parameter(torch.zeros(channels, 1, 1))
        self.norm = RunningNorm(channels, affine=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.shifts(x)
        y, log_det = self.norm(x * s.exp() + t)
        return y, log_det + s.flatten(1).sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        y = self.norm.inverse(y)
        s, t = self.shifts(y)  # they are those of x, since y is x where b = 1
        return (y - t) * (-s).exp()

    def shifts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """s and t, both 0 where b = 1. They have x's precision, also under autocast. s = gamma tanh(.) is bounded."""
        h = self.input_norm(self.mask * x)
        h = F.relu(torch.cat([h, -h, self.mask[:1].expand(len(x), -1, -1, -1)], 1))
        s, t = self.net(h).to(x.dtype).chunk(2, 1)
        return (1 - self.mask) * self.scale * s.tanh(), (1 - self.mask) * t


class RunningNorm(nn.BatchNorm2d):
    """Batch norm as a bijection. It uses running averages in training too, with gradients through the part of the batch
    (appendix E)."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """(x - mean) / sqrt(var + eps), and log |det|."""
        if self.training:
            mean, var = self.update(x)
        else:
            mean, var = self.running_mean, self.running_var
        log_std = 0.5 * (var + self.eps).log()
        y = (x - mean[:, None, None]) * (-log_std).exp()[:, None, None]
        return y, -log_std.sum() * x[0, 0].numel()

    def inverse(self, y: Tensor) -> Tensor:
        std = (self.running_var + self.eps).sqrt()
        return y * std[:, None, None] + self.running_mean[:, None, None]

    def update(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Move the averages towards the batch. With a momentum of None they are plain means, as in torch."""
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        var, mean = torch.var_mean(x, (0, 2, 3), correction=0)
        mean, var = self.running_mean.lerp(mean, share), self.running_var.lerp(var, share)
        self.running_mean.copy_(mean.detach())
        self.running_var.copy_(var.detach())
        return mean, var


class ResidualNet(nn.Module):
    """Residual blocks between a 3x3 and a 1x1 convolution, with a 1x1 skip from each (section 3.7, the code)."""

    def __init__(self, inputs: int, width: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.first = Conv(inputs, width, 3)
        self.blocks = nn.ModuleList(block(width) for _ in range(blocks))
        self.skips = nn.ModuleList(Conv(width, width, 1) for _ in range(blocks + 1))
        self.last = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), Conv(width, outputs, 1, gain=0.1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        total = self.skips[0](x)
        for block, skip in zip(self.blocks, self.skips[1:], strict=True):
            x = x + block(x)
            total = total + skip(x)
        return self.last(total)


def block(width: int) -> nn.Sequential:
    layers = [[nn.BatchNorm2d(width), nn.ReLU(), Conv(width, width, 3)] for _ in range(2)]
    return nn.Sequential(*layers[0], *layers[1])


class Conv(nn.Module):
    """A convolution with weight normalisation, w = g v / ||v|| (section 3.7), that keeps the side."""

    def __init__(self, inputs: int, outputs: int, kernel: int, gain: float = 1.0) -> None:
        super().__init__()
        self.v = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.g = nn.Parameter(torch.full((outputs, 1, 1, 1), gain))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.normal_(self.v, std=0.05)

    def forward(self, x: Tensor) -> Tensor:
        w = self.g * self.v / self.v.square().sum((1, 2, 3), keepdim=True).sqrt()
        return F.conv2d(x, w, self.bias, padding=self.v.shape[-1] // 2)


def checkerboard(channels: int, side: int, turn: int) -> Tensor:
    """Mask (c, h, w): 1 where row + column + turn is odd (figure 3)."""
    board = [[float((row + column + turn) % 2) for column in range(side)] for row in range(side)]
    return torch.tensor([board] * channels)


def halves(channels: int, side: int, turn: int) -> Tensor:
    """Mask (c, h, w): 1 in the first half of the channels, or in the second half for odd turns."""
    values = [float((channel < channels // 2) == (turn % 2 == 0)) for channel in range(channels)]
    return torch.tensor([[[value] * side] * side for value in values])


def squeeze(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (n, 4c, h/2, w/2), colour by colour: halves of these channels mix both checkerboard colours."""
    return F.pixel_unshuffle(x, 2)


def unsqueeze(x: Tensor) -> Tensor:
    return F.pixel_shuffle(x, 2)


def diagonals(x: Tensor) -> Tensor:
    """A squeeze. Its first half is the main diagonal of each 2x2 block, in all colours; its second the other one."""
    return torch.cat([squeeze(x)[:, position::4] for position in DIAGONALS], 1)


def undo_diagonals(x: Tensor) -> Tensor:
    c = x.shape[1] // 4
    by_position = [x[:, c * DIAGONALS.index(position) : c * (DIAGONALS.index(position) + 1)] for position in range(4)]
    return unsqueeze(torch.stack(by_position, 2).flatten(1, 2))


DIAGONALS = (0, 3, 1, 2)
"""Positions (0, 0), (1, 1), (0, 1), (1, 0) of a 2x2 block, counted by rows."""
