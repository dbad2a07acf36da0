"""An MLP as the generator, trained by WGAN-GP and by the DCGAN's loss (Gulrajani et al. 2017, section 5.1, figure 2).

    python benchmarks/hard_architecture.py --data ylecun/mnist --out hard.png

G has four layers of 512 ReLU and no notion of an image, D is a small convolutional net; there is no batch norm. Both
arms start from the same weights and make as many steps of D: WGAN-GP five for each step of G, the DCGAN one, so that
its G makes five times as many. Adam's learning rate is 2e-4 in both, its betas are (0.5, 0.9) and (0.5, 0.999).
The picture holds generated images only: WGAN-GP's on the left, the DCGAN's on the right.
"""

import argparse
import copy
import time
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from zoo_dcgan.train import fake_loss, real_loss
from zoo_wgan_gp.model import glorot, he
from zoo_wgan_gp.train import gradient_norm

import zoo
from zoo.data.batches import Batches
from zoo.data.source import load_dataset
from zoo.evaluation.figures import sliced_wasserstein

MNIST_32 = zoo.Preparation(size=32, mode="L")
LATENT, BATCH, LR, N_CRITIC, PENALTY = 128, 32, 2e-4, 5, 10.0
STEPS = 4000
"""Of D, in each arm."""
JUDGED = 1000
"""Samples, and test images, that a figure compares."""
COLLAPSED = 0.5
"""An arm whose samples differ less than this share of what test images do has lost most of the modes."""


SPLITS = (("train", 10_000), ("test", JUDGED))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="ylecun/mnist", help="Hub name or folder")
    parser.add_argument("--out", required=True, help="PNG for generated images of both arms")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of D in each arm")
    given = parser.parse_args()
    train, test = (load_dataset(given.data, MNIST_32, split=split, limit=limit) for split, limit in SPLITS)
    torch.manual_seed(0)
    nets, z, panels = (generator(), discriminator()), torch.randn(JUDGED, LATENT), []
    real, floor = (dataset.images[:JUDGED].float() / 255 for dataset in (test, train))
    print(f"{'':15}  diversity  sliced W1 x 1000  processor s")
    print(f"{'training images':15}  {figures(floor, real)}")
    for name, arm in (("WGAN-GP", wgan_gp), ("DCGAN", dcgan)):
        G, D = copy.deepcopy(nets)
        torch.manual_seed(1)
        started = time.process_time()
        arm(G, D, endless(Batches(train, "images", BATCH, preparation=MNIST_32)), given.steps)
        seconds = time.process_time() - started
        with torch.no_grad():
            made = (G(z) + 1) / 2
        panels.append(made[:64])
        verdict = "collapsed" if diversity(made) < COLLAPSED * diversity(real) else ""
        print(f"{name:15}  {figures(made, real)}  {seconds:11.0f}  {verdict}", flush=True)
    rows = [torch.cat([panel[8 * i : 8 * i + 8] for panel in panels]) for i in range(8)]
    zoo.Images(torch.cat(rows)).save(given.out, columns=16)


def wgan_gp(G: nn.Module, D: nn.Module, images: Iterator[Tensor], steps: int) -> None:
    """The family's algorithm, on nets of our own."""
    opt_G, opt_D = (torch.optim.Adam(net.parameters(), LR, (0.5, 0.9)) for net in (G, D))
    for step in range(steps):
        x, x_tilde = next(images), G(torch.randn(BATCH, LATENT)).detach()
        norm = gradient_norm(D, x, x_tilde, torch.rand(BATCH, 1, 1, 1))
        minimize(D(x_tilde).mean() - D(x).mean() + PENALTY * (norm - 1).square().mean(), opt_D)
        if (step + 1) % N_CRITIC == 0:
            minimize(-D(G(torch.randn(BATCH, LATENT))).mean(), opt_G)


def dcgan(G: nn.Module, D: nn.Module, images: Iterator[Tensor], steps: int) -> None:
    """The non-saturating game, one step each."""
    opt_G, opt_D = (torch.optim.Adam(net.parameters(), LR, (0.5, 0.999)) for net in (G, D))
    for _ in range(steps):
        minimize(real_loss(D(next(images))) + fake_loss(D(G(torch.randn(BATCH, LATENT)).detach())), opt_D)
        minimize(real_loss(D(G(torch.randn(BATCH, LATENT)))), opt_G)


def minimize(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss, inputs=optimizer.param_groups[0]["params"])
    optimizer.step()


def endless(batches: Batches) -> Iterator[Tensor]:
    return (2 * x - 1 for x in batches)


def generator() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((LATENT, 512, 512, 512, 512)):
        layers += [he(nn.Linear(inputs, outputs)), nn.ReLU()]
    return nn.Sequential(*layers, glorot(nn.Linear(512, 32 * 32)), nn.Tanh(), nn.Unflatten(1, (1, 32, 32)))


def discriminator() -> nn.Sequential:
    """(n, 1, 32, 32) -> (n,)."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((1, 16, 32, 64)):
        layers += [he(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Flatten(), glorot(nn.Linear(64 * 4 * 4, 1)), nn.Flatten(0))


def figures(x: Tensor, real: Tensor) -> str:
    distance = sliced_wasserstein(x, real, seed=0, patches=32, directions=128)
    return f"{diversity(x) / diversity(real):9.3f}  {1000 * distance:16.1f}"


def diversity(x: Tensor) -> float:
    """Mean Euclidean distance between two images of a set."""
    return torch.pdist(x.flatten(1)).mean().item()


if __name__ == "__main__":
    main()
