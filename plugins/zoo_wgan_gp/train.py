"""Algorithm 1: n_critic steps of the critic, each with new images, latents and points between, then one step of G."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

import zoo
from zoo_wgan_gp.model import WGANGP, Critic


def train(
    model: WGANGP,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 200_000,
    n_critic: Annotated[int, Field(ge=1)] = 5,
    penalty: float = 10.0,
    lr: float = 1e-4,
    beta1: float = 0.5,
    beta2: float = 0.9,
    decay: zoo.Share = 0.0,
    layer_norm: bool = False,
    dequantize: bool = False,
) -> None:
    """Train G against a critic. `steps` counts G's steps. lr, beta1 and beta2 are Adam's, for both nets (appendix E).

    penalty: the paper's lambda. decay: the share of the run, at its end,
    over which lr falls linearly to 0; 1 in appendix F. layer_norm: in the critic.
    dequantize: add U[0, 1/128) to real images in [-1, 1], fresh each time, as the authors' ResNet script does.
    """
    G, D = model, Critic(model.config, layer_norm=layer_norm)
    opt_G = torch.optim.Adam(G.parameters(), lr, (beta1, beta2), fused=True)
    opt_D = torch.optim.Adam(D.parameters(), lr, (beta1, beta2), fused=True)
    schedules = [zoo.constant_then_linear(optimizer, steps, decay) for optimizer in (opt_G, opt_D)]
    run.prepare(
        model=G, D=D, opt_G=opt_G, opt_D=opt_D, schedule_G=schedules[0], schedule_D=schedules[1], batches=batches
    )
    run.settle(lambda G, noise: G(noise.normal(model.config.latent_dim)))

    for _ in run.steps(steps):
        for _ in range(n_critic):
            x = 2 * next(batches) - 1
            noise = run.noise(len(x))
            if dequantize:
                x = x + noise.uniform(*x.shape[1:]) / 128
            with run.autocast():
                with torch.no_grad():
                    x_tilde = G(noise.normal(model.config.latent_dim)).float()
                real, fake = D(torch.cat([x, x_tilde])).float().chunk(2)
            norm = gradient_norm(D, x, x_tilde, noise.uniform(1, 1, 1))
            distance, excess = real.mean() - fake.mean(), (norm - 1).square().mean()
            run.minimize(penalty * excess - distance, opt_D)
            run.log(wasserstein=distance, penalty=penalty * excess, gradient_norm=norm.mean())

        with run.autocast():
            loss_G = -D(G(run.noise(len(x)).normal(model.config.latent_dim))).float().mean()
        run.minimize(loss_G, opt_G)
        for schedule in schedules:
            schedule.step()


def gradient_norm(D: nn.Module, x: Tensor, x_tilde: Tensor, epsilon: Tensor) -> Tensor:
    """||grad D|| at a point between each real and generated image, (n,), in float32, differentiable in D's weights.

    epsilon: (n, 1, 1, 1) in (0, 1), one for each image (section 4).
    """
    x_hat = (epsilon * x + (1 - epsilon) * x_tilde).detach().float().requires_grad_()
    with torch.autocast(x_hat.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(D(x_hat).sum(), x_hat, create_graph=True)
    return (gradient.flatten(1).square().sum(1) + EPSILON).sqrt()


EPSILON = 1e-12
"""Added inside the root, whose slope at 0 is infinite."""
