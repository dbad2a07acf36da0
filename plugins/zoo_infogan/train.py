"""The information-regularised objective of section 4: min over G, Q and max over D of V(D, G) - lambda L_I(G, Q)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

import zoo
from zoo_infogan.model import Codes, InfoGAN, Posterior, real_head


def train(
    model: InfoGAN,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 5_000,
    lr_G: float = 1e-3,
    lr_D: float = 2e-4,
    beta1: float = 0.5,
    lambda_category: float = 1.0,
    lambda_style: float = 1.0,
    inform_trunk: bool = True,
) -> None:
    """Train G against D, and G and Q together on the codes. lr and beta1 are Adam's (appendix C).

    lambda_category, lambda_style: weights of the information about each kind of code. Q learns from generated images
    alone, since the codes of real ones are not known. inform_trunk: Q and the trunk learn to read the codes with D's
    optimizer, as in the authors' code. Otherwise the trunk learns only to tell real images from generated ones, and Q
    learns with G's optimizer.
    """
    G, trunk, D, Q = model.G, model.trunk, real_head(model.config), model.Q
    makers, readers = [*G.parameters()], [*trunk.parameters(), *D.parameters()]
    (readers if inform_trunk else makers).extend(Q.parameters())
    opt_G = torch.optim.Adam(makers, lr_G, (beta1, 0.999), fused=True)
    opt_D = torch.optim.Adam(readers, lr_D, (beta1, 0.999), fused=True)
    run.prepare(model=model, D=D, opt_G=opt_G, opt_D=opt_D, batches=batches)

    def settle(module: InfoGAN, noise: zoo.Noise) -> None:
        """G needs the statistics of generated images; the trunk and Q those of real ones, which `infer` reads."""
        module.generate(module.draw(noise))
        module.read(module.trunk(batches.at(int(noise.categorical(len(batches))[0]))))

    run.settle(settle)

    for _ in run.steps(steps):
        x = next(batches)
        codes = model.draw(run.noise(len(x)))

        # D gets a real batch and a fake batch, each in a pass of its own, so that batch norm does not mix them. Q gets
        # the fake batch.
        with run.autocast():
            fake = model.generate(codes)
            features = trunk(fake.detach())
            loss_D = zoo.log_loss_real(D(trunk(x))) + zoo.log_loss_fake(D(features))
            category, style = read_loss(model.read(features), codes)
        information = lambda_category * category + lambda_style * style
        run.minimize(loss_D + information if inform_trunk else loss_D, opt_D)

        # G gets the same latents, with the labels of real and fake exchanged.
        with run.autocast():
            features = trunk(fake)
            loss_G = zoo.log_loss_real(D(features))
            category, style = read_loss(model.read(features), codes)
        run.minimize(loss_G + lambda_category * category + lambda_style * style, opt_G)
        run.log(loss_D=loss_D, loss_G=loss_G, category=category, style=style)


def read_loss(posterior: Posterior, codes: Codes) -> tuple[Tensor, Tensor]:
    """-E log Q(c | x) of the category and of the styles, in nats; H(c) minus these is L_I (equation 5)."""
    category = F.cross_entropy(posterior.logits, codes.category)
    style = 0.5 * ((codes.style - posterior.mean).square() + math.log(2 * math.pi)).sum(1).mean()
    return category, style
