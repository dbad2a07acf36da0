"""One loop trains both uses, each with its own loss and optimizer. No weight belongs to both.

Labels: the bound of a VAE that is told c. Completion, section 4: first the baseline; then, with the baseline frozen,
prior, recognition and generation nets together on the bound, on the Gaussian stochastic net's objective, or on a
mixture of the two.
"""

import torch

import zoo
from zoo_cvae.completion import draw_mask
from zoo_cvae.model import CVAE


def train(
    model: CVAE,
    batches: zoo.Batches,
    run: zoo.Run,
    *,
    steps: int = 50_000,
    baseline_steps: int = 10_000,
    lr: float = 1e-3,
    alpha: zoo.Share = 1.0,
) -> None:
    """Maximise the bounds with Adam at a constant step size. With averaged weights a run may end at any step.

    baseline_steps: how many steps train the baseline, at most half of all. alpha: weight of the CVAE's objective; the
    rest goes to that of the GSNN, which draws z as prediction does (hybrid objective, section 4).
    """
    completion, side = model.completion, model.config.image_size
    nets = (completion.prior, completion.recognition, completion.generation)
    opt_labels = torch.optim.Adam([*model.encoder.parameters(), *model.decoder.parameters()], lr, fused=True)
    opt_baseline = torch.optim.Adam(completion.baseline.parameters(), lr, fused=True)
    opt_completion = torch.optim.Adam([p for net in nets for p in net.parameters()], lr, fused=True)
    optimizers = {"opt_labels": opt_labels, "opt_baseline": opt_baseline, "opt_completion": opt_completion}
    run.prepare(model=model, **optimizers, batches=batches)
    baseline_steps = min(baseline_steps, steps // 2)

    for step in run.steps(steps):
        x, c = next(batches)
        mask = draw_mask(side, run.noise(len(x)))

        # p(x | c)
        with run.autocast():
            log_likelihood, kl = model.bound(x, run.noise(len(x)), c)
            loss = (kl - log_likelihood).mean()
        run.minimize(loss, opt_labels)
        run.log(bound=-loss, kl=kl.mean())

        # p(y | x): the baseline's guess
        if step < baseline_steps:
            with run.autocast():
                loss = -completion.baseline_log_prob(x, mask).mean()
            run.minimize(loss, opt_baseline)
            run.log(baseline=-loss)
            continue

        # p(y | x): alpha L_CVAE + (1 - alpha) L_GSNN
        loss = torch.zeros((), device=x.device)
        with run.autocast():
            if alpha > 0:
                log_likelihood, kl = completion.bound(x, mask, run.noise(len(x)))
                loss = loss - alpha * (log_likelihood - kl).mean()
                run.log(completion_bound=(log_likelihood - kl).mean(), completion_kl=kl.mean())
            if alpha < 1:
                gsnn = completion.gsnn(x, mask, run.noise(len(x))).mean()
                loss = loss - (1 - alpha) * gsnn
                run.log(gsnn=gsnn)
        run.minimize(loss, opt_completion)
