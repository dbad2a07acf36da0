"""Algorithm 1: C and D learn by cross-entropy, E and G by the bound and by matching features of C and D (section 3).

For all squared distances, the sum over pixels or features is divided by their number, and features are divided by their
root mean square over real images. So a weight means the same for every image size, every layer and the whole training.
The paper's weights belong to other scales, and are replaced here.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from zoo_cvae_gan.model import CVAEGAN, FeatureNet, kl_to_prior


def train(
    model: CVAEGAN,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 10_000,
    lr: float = 5e-4,
    beta1: float = 0.5,
    kl: float = 0.05,
    pixels: float = 2.0,
    features: float = 1.0,
    mean_D: float = 0.5,
    mean_C: float = 0.5,
    matching: Literal["features", "logits"] = "features",
    adversarial: bool = True,
) -> None:
    """Train E, G, C and a new D together.

    kl: the paper's lambda 1. pixels, features: its lambda 2, for the pixel term of L_G and for the two feature terms.
    mean_D, mean_C: its lambda 3 and 4. matching: "logits" is the symmetric variant, for comparison: G then minimises
    -log D(x_p) and the cross-entropy of C instead of the distances of means.
    adversarial: False leaves a plain CVAE of the same E and G, which sees neither D nor C.
    """
    E, G, C, D = model.E, model.G, model.C, FeatureNet(model.config, 1)
    d, k = model.config.latent_dim, len(model.config.names)
    opt_EG, opt_C, opt_D = (
        torch.optim.Adam(parameters, lr, (beta1, 0.999), fused=True)
        for parameters in ([*E.parameters(), *G.parameters()], C.parameters(), D.parameters())
    )
    real, made = Centres(k, model.config.hidden), Centres(k, model.config.hidden)
    run.prepare(model=model, D=D, real=real, made=made, opt_EG=opt_EG, opt_C=opt_C, opt_D=opt_D, batches=batches)

    def settle(module: CVAEGAN, noise: zoo.Noise) -> None:
        module.sample(noise)

    run.settle(settle)

    for _ in run.steps(steps):
        x_r, c_r = next(batches)
        x_r, noise = 2 * x_r - 1, run.noise(len(c_r))
        c_p = noise.categorical(k)

        # x_f is generated from the posterior of x_r, in the class of x_r; x_p from the prior, in any class.
        with run.autocast():
            mu, log_var = E(x_r, model.one_hot(c_r))
            x_f = G(mu + (0.5 * log_var).exp() * noise.normal(d), model.one_hot(c_r))
            x_p = G(noise.normal(d), model.one_hot(c_p))

        # C learns from real images only.
        with run.autocast():
            loss_C = F.cross_entropy(C(x_r)[1], c_r)
        run.minimize(loss_C, opt_C)

        # D learns from real images and from both kinds of generated ones, each in a pass of its own.
        if adversarial:
            with run.autocast():
                logits = [D(x)[1] for x in (x_r, x_f.detach(), x_p.detach())]
            loss_D = discriminator_loss(*logits)
            run.minimize(loss_D, opt_D)
            run.log(L_D=loss_D)

        # E and G: KL changes E alone, L_G changes both. L_GD and L_GC change G alone, since x_p does not come from E.
        loss_KL, loss_pixels = kl_to_prior(mu, log_var).mean(), distance(x_r, x_f)
        loss = kl * loss_KL + pixels * loss_pixels
        if adversarial:
            with run.autocast():
                D_r, D_f, D_p = features_of(D, x_r, x_f, x_p)
                C_r, C_f, C_p = features_of(C, x_r, x_f, x_p)
            loss_features = distance(D_r, D_f) + distance(C_r, C_f)
            if matching == "features":
                loss_GD, loss_GC = distance(D_r.mean(0), D_p.mean(0)), centre_distance(real, made, C_r, c_r, C_p, c_p)
            else:
                with run.autocast():
                    loss_GD, loss_GC = zoo.log_loss_real(D(x_p)[1]), F.cross_entropy(C(x_p)[1], c_p)
            loss = loss + features * loss_features + mean_D * loss_GD + mean_C * loss_GC
            run.log(features=loss_features, L_GD=loss_GD, L_GC=loss_GC, spread_D=D_r.var(0).mean())
        run.minimize(loss, opt_EG)
        run.log(L_C=loss_C, L_KL=loss_KL, pixels=loss_pixels)


def discriminator_loss(real: Tensor, *made: Tensor) -> Tensor:
    """L_D = -E log D(x_r) - sum over kinds of made images of E log(1 - D(x)), from logits in float32."""
    return sum((zoo.log_loss_fake(logits) for logits in made), zoo.log_loss_real(real))


def features_of(net: FeatureNet, real: Tensor, *made: Tensor) -> list[Tensor]:
    """f of real and of made images, each batch in a pass of its own, in units of the root mean square of f(x_r).

    The scale of f is not fixed, and changes while D and C learn. In these units the weights of the losses keep their
    meaning, and no net can make a loss smaller by making its features smaller. No gradient flows through f(x_r).
    """
    with torch.no_grad():
        f_r = net(real)[0]
        scale = f_r.square().mean().sqrt().clamp_min(1e-6)
    return [f_r / scale, *(net(x)[0] / scale for x in made)]


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Half the squared Euclidean distance divided by the number of dimensions, mean over rows."""
    return 0.5 * F.mse_loss(a.float(), b.float())


class Centres(nn.Module):
    """The mean features of each class over recent batches: moving averages, corrected for their start at 0.

    A batch rarely has enough images of each class. A class that is not in it keeps its centre. The centres are buffers
    of a module, so they are part of a checkpoint.
    """

    sums: Tensor
    weights: Tensor

    def __init__(self, classes: int, features: int, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("sums", torch.zeros(classes, features))
        self.register_buffer("weights", torch.zeros(classes, 1))

    def forward(self, f: Tensor, label: Tensor) -> Tensor:
        """Centres (k, features) after f (n, features) is added. Gradients flow through the part of this batch only."""
        member = F.one_hot(label, len(self.sums)).float()
        counts = member.sum(0)[:, None]
        rate = (1 - self.decay) * (counts > 0)
        sums = self.sums.lerp(member.T @ f / counts.clamp_min(1), rate)
        self.weights.lerp_(torch.ones_like(self.weights), rate)
        self.sums.copy_(sums.detach())
        return sums / self.weights.clamp_min(1e-12)


def centre_distance(real: Centres, made: Centres, f_r: Tensor, c_r: Tensor, f_p: Tensor, c_p: Tensor) -> Tensor:
    """L_GC: the distances between real and generated centres, summed over the classes that both have."""
    gaps = (real(f_r, c_r) - made(f_p, c_p)).square().mean(1, keepdim=True)
    return 0.5 * (gaps * (real.weights * made.weights > 0)).sum()
