"""Losses that many games share: each is what one side pays, from logits of D, a mean over images and patches."""

import torch.nn.functional as F
from torch import Tensor


def log_loss_real(logits: Tensor) -> Tensor:
    """-E log D(x), what D pays for real images, from its logits of any shape, in float32.

    Of made images it is G's non-saturating loss, -E log D(G(z)): its slope in the logit is D - 1, strongest where D is
    sure that they are made (Goodfellow et al. 2014, section 3).
    """
    return F.softplus(-logits.float()).mean()


def log_loss_fake(logits: Tensor) -> Tensor:
    """-E log(1 - D(G(z))), what D pays for made images, from its logits of any shape, in float32 (as above)."""
    return F.softplus(logits.float()).mean()
