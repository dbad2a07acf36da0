"""How weights begin."""

from torch import nn


def normal_weights(module: nn.Module) -> None:
    """Weights N(0, 0.02), gains of norms N(1, 0.02), biases 0: for `self.apply(zoo.normal_weights)`.

    What has no weight, or no bias, is passed over. Weights as in Radford et al. 2015 (section 4), Isola et al. 2017
    (appendix 6.2) and Zhu et al. 2017 (appendix 7.1); the gains as in the code of the first two.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d) and module.affine:
        nn.init.normal_(module.weight, 1.0, 0.02)
    bias = getattr(module, "bias", None)
    if bias is not None:
        nn.init.zeros_(bias)
