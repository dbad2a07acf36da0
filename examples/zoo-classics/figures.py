"""Draw the two figures of the README and print what it quotes: python figures.py [--seed 0] [--out docs]

Made with the losses of this package on two toys, drawn with Pillow. A minute or two on one core.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from zoo_classics.gan import discriminator_loss, minimax_loss, non_saturating_loss
from zoo_classics.lsgan import least_squares
from zoo_classics.nets import mlp
from zoo_classics.wgan import clip, critic_gap

Curve = tuple[str, Tensor, Tensor]

# --- two bars that move apart

CELLS = 100
"""To a unit of length; a bar is one unit long and full of points, one to a cell."""


def bars(theta: float) -> tuple[Tensor, Tensor]:
    """In which cells the points of the real bar [0, 1] and of the made one [theta, theta + 1] lie."""
    real = torch.arange(CELLS)
    return real, real + round(theta * CELLS)


def shares(theta: float) -> tuple[Tensor, Tensor]:
    """p_r / (p_r + p_g), the best D, at the points of the real and of the made bar."""
    real, made = bars(theta)
    return 1 / (1 + torch.isin(real, made).double()), torch.isin(made, real).double() / 2


def jensen_shannon(theta: float) -> float:
    """From the value of the original game at the best D, which is 2 JS - 2 log 2."""
    real, made = (share.logit().clamp(-50, 50) for share in shares(theta))
    return (2 * math.log(2) - discriminator_loss(real, made).item()) / 2


def pearson(theta: float) -> float:
    """What LSGAN's G minimises at the best D, with codes -1, 1, 0: half of chi^2(p_r + p_g || 2 p_g)."""
    real, made = (2 * share - 1 for share in shares(theta))
    return (least_squares(real, 0) + least_squares(made, 0)).item()


def wasserstein(theta: float) -> float:
    """On a line the points are carried in their order."""
    real, made = bars(theta)
    return ((made - real).abs().double().mean() / CELLS).item()


def clipped_critic(theta: float, seed: int) -> float:
    """The gap that a clipped critic finds when it is trained on the bars."""
    torch.manual_seed(seed)
    f = mlp(1, 64, 1)
    optimizer = torch.optim.RMSprop(f.parameters(), 0.01)
    real, made = (cells[:, None] / CELLS for cells in bars(theta))
    for _ in range(200):
        step(optimizer, -critic_gap(f(real), f(made)))
        clip(f, 0.1)
    return critic_gap(f(real), f(made)).item()


def slopes(x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Of a curve between its points: what G could follow."""
    return (x[1:] + x[:-1]) / 2, values.diff() / x.diff()


def draw_bars(seed: int) -> Image.Image:
    theta = torch.arange(1, 13).double() / 4
    critic = torch.tensor([clipped_critic(t, seed) for t in theta.tolist()])
    critic = critic / critic[3]  # the unknown constant, so that it is 1 at a distance of 1
    exact = torch.linspace(0.05, 3, 60).double()
    named = {"Jensen-Shannon (GAN)": jensen_shannon, "Pearson (LSGAN)": pearson, "Wasserstein": wasserstein}
    values = [(name, exact, torch.tensor([of(t) for t in exact.tolist()])) for name, of in named.items()]
    values.append(("clipped critic (WGAN), scaled", theta, critic))
    print("bars at theta = 0.5, 1, 2, 3:")
    for name, of in named.items():
        print(f"  {name}: " + ", ".join(f"{of(t):.4f}" for t in (0.5, 1, 2, 3)))
    print("  clipped critic, scaled: " + ", ".join(f"{critic[round(4 * t) - 1]:.4f}" for t in (0.5, 1, 2, 3)))

    t = torch.linspace(-6, 6, 121, dtype=torch.float64)
    losses = {
        "minimax": minimax_loss,
        "non-saturating": non_saturating_loss,
        "least squares": lambda score: least_squares(score, 1.0),
        "Wasserstein": lambda score: -score.mean(),
    }
    of_score = [(name, t, torch.stack([loss(score[None]) for score in t])) for name, loss in losses.items()]
    print("slope of G's loss where D says -5, 5:")
    for name, loss in losses.items():
        print(f"  {name}: " + ", ".join(f"{slope_at(loss, at):.4f}" for at in (-5.0, 5.0)))
    panels = [
        chart("Two bars, theta apart: the value at the best D", values, (0, 3), (0, 4)),
        chart("Its slope in theta: what G can follow", [(n, *slopes(x, y)) for n, x, y in values], (0, 3), (-0.2, 1.8)),
        chart("G's loss of a sample for which D says t", of_score, (-6, 6), (-7, 16)),
        chart("Its slope in t: how hard the sample is pulled", slopes_of(losses, t), (-6, 6), (-4, 8)),
    ]
    return sheet(panels, 2)


def slope_at(loss: Callable[[Tensor], Tensor], score: float) -> float:
    at = torch.tensor([score], dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss(at), at)[0].item()


def slopes_of(losses: dict[str, Callable[[Tensor], Tensor]], t: Tensor) -> list[Curve]:
    return [(n, t, torch.tensor([slope_at(loss, at) for at in t.tolist()])) for n, loss in losses.items()]


# --- eight Gaussians on a ring

SPREAD, RADIUS, SAMPLES = 0.1, 2.0, 2000
STEPS = (300, 1_000, 3_000)
"""Of G."""
D_STEPS = 5
"""For each of G, in every game: a D near its best is what the theory is about, and what WGAN asks for."""
CENTRES = RADIUS * torch.stack([torch.arange(8) * math.pi / 4, torch.arange(8) * math.pi / 4 + math.pi / 2]).cos().T


@dataclass(frozen=True)
class Game:
    """What D and G minimise, and by which optimizer."""

    name: str
    d_loss: Callable[[Tensor, Tensor], Tensor]
    g_loss: Callable[[Tensor], Tensor]
    clipped: float = 0.0

    def optimizer(self, net: nn.Module) -> torch.optim.Optimizer:
        if self.clipped:
            return torch.optim.RMSprop(net.parameters(), 1e-3)
        return torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.999))


GAMES = (
    Game("GAN, minimax", discriminator_loss, minimax_loss),
    Game("GAN", discriminator_loss, non_saturating_loss),
    Game(
        "LSGAN", lambda real, made: least_squares(real, 1) + least_squares(made, 0), lambda made: least_squares(made, 1)
    ),
    Game("WGAN", lambda real, made: -critic_gap(real, made), lambda made: -made.mean(), clipped=0.2),
)


def play(game: Game, seed: int) -> Iterator[Tensor]:
    """2,000 samples (n, 2) after each of STEPS."""
    torch.manual_seed(seed)
    G, D = mlp(16, 128, 128, 2), mlp(2, 128, 128, 1)
    opt_G, opt_D = game.optimizer(G), game.optimizer(D)
    shown = torch.randn(SAMPLES, 16)
    for done in range(1, STEPS[-1] + 1):
        for _ in range(D_STEPS):
            real = CENTRES[torch.randint(8, (256,))] + SPREAD * torch.randn(256, 2)
            step(opt_D, game.d_loss(D(real)[:, 0], D(G(torch.randn(256, 16)).detach())[:, 0]))
            if game.clipped:
                clip(D, game.clipped)
        step(opt_G, game.g_loss(D(G(torch.randn(256, 16)))[:, 0]))
        if done in STEPS:
            yield G(shown).detach()


def covered(samples: Tensor) -> tuple[int, float]:
    """Modes with at least one in a hundred samples within 3 deviations, and the share of all samples that are."""
    distance, nearest = torch.cdist(samples, CENTRES).min(1)
    good = distance < 3 * SPREAD
    counts = nearest[good].bincount(minlength=8)
    return int((counts >= len(samples) / 100).sum()), good.float().mean().item()


def draw_ring(seed: int) -> Image.Image:
    panels = []
    print("ring, modes covered and share of good samples after " + ", ".join(f"{n:,}" for n in STEPS) + " steps of G:")
    for game in GAMES:
        found = []
        for done, samples in zip(STEPS, play(game, seed), strict=True):
            modes, good = covered(samples)
            found.append(f"{modes} of 8, {good:.0%}")
            panels.append(scatter(f"{game.name}, {done:,} steps: {found[-1]}", samples))
        print(f"  {game.name}: " + "; ".join(found))
    return sheet(panels, len(STEPS))


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


# --- drawing: every panel is made at twice its size and halved, for smooth lines

COLOURS = ("#c23b22", "#2a6f97", "#2d8a4e", "#7d3c98")
SCALE, MARGIN = 2, 34


def pen(width: int, height: int, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    panel = Image.new("RGB", (width * SCALE, height * SCALE), "white")
    draw = ImageDraw.Draw(panel)
    draw.text((MARGIN * SCALE, 6 * SCALE), title, "black", ImageFont.load_default(12 * SCALE))
    return panel, draw


def chart(title: str, curves: list[Curve], x: tuple[float, float], y: tuple[float, float]) -> Image.Image:
    """Lines over a frame with the ends of both axes, and their names."""
    width, height = 440, 300
    panel, draw = pen(width, height, title)
    font = ImageFont.load_default(11 * SCALE)

    def place(a: float, b: float) -> tuple[float, float]:
        right, down = (a - x[0]) / (x[1] - x[0]), (y[1] - b) / (y[1] - y[0])
        return SCALE * (MARGIN + right * (width - 2 * MARGIN)), SCALE * (MARGIN + down * (height - 2 * MARGIN))

    draw.rectangle([place(x[0], y[1]), place(x[1], y[0])], outline="#888888", width=SCALE)
    if y[0] < 0:
        draw.line([place(x[0], 0), place(x[1], 0)], fill="#cccccc", width=SCALE)
    for at in x:
        a, b = place(at, y[0])
        draw.text((a, b + 4 * SCALE), f"{at:g}", "#555555", font, anchor="ma")
    for at in y:
        a, b = place(x[0], at)
        draw.text((a - 4 * SCALE, b), f"{at:g}", "#555555", font, anchor="rm")
    for i, (name, across, up) in enumerate(curves):
        inside = [(a, b) for a, b in zip(across.tolist(), up.tolist(), strict=True) if y[0] <= b <= y[1]]
        draw.line([place(a, b) for a, b in inside], fill=COLOURS[i], width=2 * SCALE, joint="curve")
        a, b = (width / 2 - 60) * SCALE, (MARGIN + 8 + 15 * i) * SCALE
        draw.text((a, b), name, COLOURS[i], font)
    return panel.resize((width, height), Image.Resampling.LANCZOS)


def scatter(title: str, samples: Tensor) -> Image.Image:
    """Samples over circles of three deviations around the centres, in a square that reaches half a radius further."""
    side, top, reach = 240, 24, 1.5 * RADIUS
    panel, draw = pen(side, side + top, "")
    draw.text((6 * SCALE, 6 * SCALE), title, "black", ImageFont.load_default(11 * SCALE))

    def dot(point: Tensor, radius: float, **style: Any) -> None:
        a, b = ((point * torch.tensor([1.0, -1.0]) + reach) / (2 * reach) * side * SCALE).tolist()
        b += top * SCALE
        draw.ellipse([a - radius, b - radius, a + radius, b + radius], **style)

    for point in samples[(samples.abs() < reach).all(1)]:
        dot(point, 1.5, fill=COLOURS[1])
    for centre in CENTRES:
        dot(centre, 3 * SPREAD / (2 * reach) * side * SCALE, outline=COLOURS[0], width=SCALE)
    draw.rectangle([0, top * SCALE, side * SCALE - 1, (side + top) * SCALE - 1], outline="#cccccc")
    return panel.resize((side, side + top), Image.Resampling.LANCZOS)


def sheet(panels: list[Image.Image], columns: int) -> Image.Image:
    width, height = panels[0].size
    whole = Image.new("RGB", (columns * width, math.ceil(len(panels) / columns) * height), "white")
    for i, panel in enumerate(panels):
        whole.paste(panel, (i % columns * width, i // columns * height))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "docs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    draw_bars(given.seed).save(given.out / "bars.png", optimize=True)
    draw_ring(given.seed).quantize(64).save(given.out / "ring.png", optimize=True)


if __name__ == "__main__":
    main()
