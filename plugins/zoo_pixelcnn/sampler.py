"""Sampling that computes nothing twice, in several rows at once. It draws the same pixels as a pass for each pixel.

Kept features. What a pixel needs of the others in a 3x3 layer is their inputs to that layer: three in the row above and
one to the left. They stay for as many steps as the row below takes to pass them, so the memory grows with
blocks x side x batch x h, and not with the pixels; a 1x1 layer needs nothing kept. Ramachandran et al. 2017,
arXiv:1704.06001, keep features likewise.

Rows together. In the row above, a pixel sees 3 columns to its right at most, by the first layer, and one more in each
row further up: the blind spot of the stack. So a row may follow the one above at a distance of LAG = 4 columns, and
step t draws the pixels (i, t - LAG i) of all the rows i that are under way.

Three channels. A step then takes three turns. Turn k computes the features of channel k, which are a slice of every
layer, from those of the channels up to k, which are a longer slice.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

REACH = 3
"""Reach of the first layer, which is 7x7."""
LAG = REACH + 1
KEPT = LAG + 2
"""Number of steps that are kept: the input above and to the left is LAG + 1 steps old."""


class Layer(NamedTuple):
    """A convolution with mask B."""

    kernel: Tensor
    """(outputs, inputs, rows, columns), masked. The last row is that of the centre."""
    bias: Tensor
    """(outputs,)."""


@dataclass(frozen=True)
class Network:
    """What the sampler needs of a PixelCNN, as plain tensors."""

    first: Tensor
    """Kernel of the 7x7 layer with mask A, (2h, c, 4, 7), masked."""
    bias: Tensor
    """Bias of that layer at each pixel, (2h, side, side)."""
    blocks: list[tuple[Layer, Layer, Layer]]
    """The 1x1, 3x3 and 1x1 layers of each residual block."""
    head: tuple[Layer, Layer]
    inputs: Tensor
    """Input of the first layer for each level, (levels,)."""

    @property
    def width(self) -> int:
        """h."""
        return len(self.bias) // 2


@torch.no_grad()
def draw(network: Network, u: Tensor, known: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """Levels (n, c, h, w): each is the quantile u (n, c, h, w) of its distribution, or known if mask (n, 1, h, w) is.

    It runs in float32 even under autocast, whose casts would take more time than they save.
    """
    with torch.autocast(u.device.type, enabled=False):
        n, c, side = u.shape[:3]
        u, levels = by_pixel(u), by_pixel(torch.zeros_like(u, dtype=torch.long))
        given = None if known is None or mask is None else (by_pixel(mask), by_pixel(known))
        windows, kept, biases = padded_windows(network, n), Kept(network, n), network.bias.permute(1, 2, 0)
        weights = [Weights(network, k) for k in range(c)]
        step = Step(weights, 0)
        for t in range(side + LAG * (side - 1)):
            rows = range(max(0, -(-(t - side + 1) // LAG)), min(side - 1, t // LAG) + 1)
            if rows:
                if step.size != n * len(rows):
                    step = Step(weights, n * len(rows))
                window, made, draws = (diagonal(x, t, rows) for x in (windows, levels, u))
                step.above = kept.shares(t, rows)
                step.bias = diagonal(biases, t, rows).repeat_interleave(n, 0)
                for k in range(c):
                    logits = step.logits(k, window.flatten(2).flatten(0, 1))
                    level = quantile(logits, draws[:, k].reshape(-1, 1)).view(-1, n)
                    if given is not None:
                        fixed, value = (diagonal(x, t, rows) for x in given)
                        level = torch.where(fixed[:, 0], value[:, k], level)
                    made[:, k] = level
                    window[:, :, REACH, REACH, k] = network.inputs[level]
            kept.add(t, rows, step.narrow)
    return levels.permute(3, 2, 0, 1)


def by_pixel(x: Tensor) -> Tensor:
    """(n, c, h, w) -> (h, w, c, n)."""
    return x.permute(2, 3, 1, 0).contiguous()


def diagonal(x: Tensor, t: int, rows: range) -> Tensor:
    """The pixels (i, t - LAG i) of x (h, w, ...), for i in rows, as a view (rows, ...)."""
    down, right = x.stride()[:2]
    start = x.storage_offset() + rows.start * down + (t - LAG * rows.start) * right
    stride = max(0, down - LAG * right)  # below 0 only if the image is too narrow for two rows at once
    return x.as_strided((len(rows), *x.shape[2:]), (stride, *x.stride()[2:]), start)


def padded_windows(network: Network, n: int) -> Tensor:
    """(h, w, n, 4, 7, c): what the first layer sees around each pixel, views of one canvas that is zero at first."""
    channels, side = network.first.shape[1], network.bias.shape[1]
    canvas = network.bias.new_zeros(n, side + REACH, side + 2 * REACH, channels)
    return canvas.unfold(1, REACH + 1, 1).unfold(2, 2 * REACH + 1, 1).permute(1, 2, 0, 4, 5, 3)


class Kept:
    """Inputs of the 3x3 layers that later steps need, (blocks, steps, 1 + h, n, maps), and the outputs for them.

    Step t is at t % KEPT, row i at i + 1. Values are 0 where the layers see padding: above the image and at its sides.
    """

    def __init__(self, network: Network, n: int) -> None:
        self.side = network.bias.shape[1]
        self.inputs = network.bias.new_zeros(len(network.blocks), KEPT, 1 + self.side, n, network.width)
        kernels, biases = zip(*(middle for _, middle, _ in network.blocks), strict=True)
        self.weight = torch.stack([torch.cat([as_matrix(k[:, :, :1]), as_matrix(k[:, :, 1:, :1])]) for k in kernels])
        self.bias = torch.stack(biases)[:, None]

    def shares(self, t: int, rows: range) -> tuple[Tensor, ...]:
        """For each block, the output of its 3x3 layer for the pixels above and to the left, (rows x n, maps)."""
        above, own = slice(rows.start, rows.stop), slice(rows.start + 1, rows.stop + 1)
        taps = [self.inputs[:, (t - LAG + right) % KEPT, above] for right in (-1, 0, 1)]
        inputs = torch.cat([*taps, self.inputs[:, (t - 1) % KEPT, own]], 3).flatten(1, 2)
        return torch.baddbmm(self.bias, inputs, self.weight).unbind()

    def add(self, t: int, rows: range, inputs: Tensor) -> None:
        """Keep the inputs of this step, (blocks, rows x n, maps), and zeros for the row that ended in the last step."""
        slot = self.inputs[:, t % KEPT]
        if rows:
            own = slot[:, rows.start + 1 : rows.stop + 1]
            own.copy_(inputs.view(own.shape))
        ended, rest = divmod(t - self.side, LAG)
        if ended >= 0 and not rest:
            slot[:, ended + 1] = 0


class Weights:
    """The weights for channel k of a pixel: matrices (inputs, outputs) of the first layer and of all centre taps."""

    def __init__(self, network: Network, k: int) -> None:
        self.k, self.c, self.network = k, network.first.shape[1], network
        seen = (REACH * (2 * REACH + 1) + REACH) * self.c + k  # what precedes a channel comes first in its window
        mine = self.share(len(network.first))
        self.first = as_matrix(network.first)[:seen, mine].contiguous()
        self.blocks = [
            (*self.of(down), self.of(middle)[1], torch.cat(self.of(up))) for down, middle, up in network.blocks
        ]
        self.head, self.out = (self.of(layer) for layer in network.head)

    def of(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """Bias (1, outputs) and centre tap of a layer with mask B, from the channels 0 to k to channel k."""
        outputs, inputs, _, columns = layer.kernel.shape
        centre = layer.kernel[:, :, -1, columns // 2]
        mine = self.share(outputs)
        return layer.bias[None, mine], centre[mine, : self.share(inputs).stop].T.contiguous()

    def share(self, maps: int) -> slice:
        """The feature maps of channel k among `maps`."""
        return slice(-(-self.k * maps // self.c), -(-(self.k + 1) * maps // self.c))


class Step:
    """The network on `size` pixels that are drawn at once: buffers for their features, with all views of them."""

    def __init__(self, weights: list[Weights], size: int) -> None:
        network = weights[0].network
        blocks, h, new = len(network.blocks), network.width, network.bias.new_zeros
        self.size, self.weights = size, weights
        self.above: tuple[Tensor, ...] = ()
        """For each block, the part that earlier pixels add in its 3x3 layer, (size, h)."""
        self.bias = new(size, 2 * h)
        """Bias of the first layer at the pixels, (size, 2h)."""
        self.stream, self.head = new(size, 2 * h), new(size, len(network.head[0].bias))
        self.wide, self.narrow = new(blocks + 1, size, 2 * h), new(blocks, size, h)
        self.middle = new(blocks, size, 1 + h)
        self.middle[:, :, 0] = 1  # carries the bias of the 1x1 layer that follows
        self.views = [self._cut(w) for w in weights]

    def _cut(self, w: Weights) -> list[tuple[Tensor, ...]]:
        wide, narrow = (w.share(maps) for maps in (self.stream.shape[1], self.narrow.shape[2]))
        return [
            (
                self.wide[b][:, wide],
                self.wide[b][:, : wide.stop],
                self.narrow[b][:, narrow],
                self.narrow[b][:, : narrow.stop],
                self.middle[b][:, 1 + narrow.start : 1 + narrow.stop],
                self.middle[b][:, : 1 + narrow.stop],
                *w.blocks[b],
            )
            for b in range(len(w.blocks))
        ]

    def logits(self, k: int, windows: Tensor) -> Tensor:
        """Logits (size, levels) of channel k. Its features stay for the channels after it."""
        w = self.weights[k]
        wide, narrow, head = (w.share(x.shape[-1]) for x in (self.stream, self.narrow, self.head))
        x = torch.addmm(self.bias[:, wide], windows[:, : len(w.first)], w.first, out=self.stream[:, wide])
        for views, above in zip(self.views[k], self.above, strict=True):
            new, relu, a, upto_a, m, upto_m, bias, down, centre, up = views
            torch.clamp_min(x, 0, out=new)
            torch.addmm(bias, relu, down, out=a).relu_()
            torch.addmm(above[:, narrow], upto_a, centre, out=m).relu_()
            torch.addmm(x, upto_m, up, out=x)
        torch.clamp_min(x, 0, out=self.wide[-1][:, wide])
        bias, matrix = w.head
        torch.addmm(bias, self.wide[-1][:, : wide.stop], matrix, out=self.head[:, head]).relu_()
        bias, matrix = w.out
        return torch.addmm(bias, self.head[:, : head.stop], matrix)


def as_matrix(kernel: Tensor) -> Tensor:
    """(outputs, inputs, rows, columns) -> (rows * columns * inputs, outputs): taps in raster order, then channels."""
    return kernel.permute(2, 3, 1, 0).flatten(0, 2)


def quantile(logits: Tensor, u: Tensor) -> Tensor:
    """(n,): the level in whose part of the CDF of softmax(logits), (n, levels), u (n, 1) is."""
    return (logits.softmax(1)[:, :-1].cumsum(1) < u).sum(1)
