"""Ways through the space of latents, and nearer to its middle. All take and give tensors, which `decode` takes."""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.errors import InputError


def lerp(a: Tensor, b: Tensor, steps: int = 8) -> Tensor:
    """`steps` points (steps, ...) on the straight line from one latent to another, with both ends.

    InputError for fewer than two steps, or for latents of different shapes.
    """
    t = _shares(a, b, steps)
    return (1 - t) * a + t * b


def slerp(a: Tensor, b: Tensor, steps: int = 8) -> Tensor:
    """`steps` points (steps, ...) on an arc from one latent to another, with both ends (White 2016, section 2.1).

    Latents of many dimensions drawn from N(0, I) lie near a sphere. The arc stays near it; the straight line passes
    inside, where few latents lie. Where the two point the same way or opposite ways, no arc is given, and the points
    lie on the straight line. InputError as in `lerp`.
    """
    t = _shares(a, b, steps)
    # In float64, since the cosine of a small angle is 1 in float32.
    one, other = a.flatten().double(), b.flatten().double()
    angle = torch.nn.functional.cosine_similarity(one, other, 0).clamp(-1, 1).arccos()
    if angle.sin() < 1e-4:
        return lerp(a, b, steps)
    points: Tensor = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    return points.to(a.dtype)


def truncate(latents: Tensor, limit: float) -> Tensor:
    """Latents drawn from N(0, I), each number moved so that it follows N(0, 1) cut to [-limit, limit].

    A smaller limit gives images that are more typical and less varied (Brock et al. 2018, section 3.1). There, numbers
    outside are drawn again. Here each keeps its rank, so a seed gives a similar image at every limit.
    This is for families whose latents are normal. InputError unless limit is above 0.
    """
    if not limit > 0:
        raise InputError(f"limit must be above 0, found {limit}", "Give, for example, limit=1.5.")
    below = torch.special.ndtr(torch.tensor(-float(limit), dtype=torch.float64))
    rank = torch.special.ndtr(latents.double())
    cut: Tensor = torch.special.ndtri(below + (1 - 2 * below) * rank)
    return cut.clamp(-limit, limit).to(latents.dtype)


def _shares(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """How far along each point is, from 0 to 1, (steps, 1, ...)."""
    if steps < 2:
        raise InputError(f"steps must be at least 2, found {steps}", "Give a larger number, for example steps=8.")
    if a.shape != b.shape:
        raise InputError(
            f"latents of shapes {tuple(a.shape)} and {tuple(b.shape)} have no way between them",
            "Give two latents of one model, without a batch: z[0] and z[1].",
        )
    return torch.linspace(0, 1, steps).reshape(-1, *[1] * a.ndim)


PATHS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {"lerp": lerp, "slerp": slerp}
"""The ways from one latent to another, by name."""
