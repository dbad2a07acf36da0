"""What is RealNVP's own to measure: how exact the inverse is, and bits per dimension on images it was trained on."""

import math

import zoo


def evaluate(bench: zoo.Bench) -> list[zoo.Metric]:
    """The inverse's largest error over test images, and the bound on training images (in brackets in table 1)."""
    x = bench.images(bench.test)
    error = (bench.model.reconstruct(x, batch_size=256).tensor - x).abs().max().item()
    seen = bench.images(bench.train)[bench.some(bench.train, len(x))]
    bits = -bench.model.elbo(seen, seed=bench.seed, batch_size=256) / (seen[0].numel() * math.log(2))
    return [
        bench.metric(
            "inverse_error",
            error,
            "lower",
            "largest |decode(encode(x)) - x| over all pixels of all test images, pixels in [0, 1]; float32",
            n=len(x),
        ),
        bench.metric(
            "bits_per_dim_bound_train",
            bits,
            "lower",
            f"{len(seen)} random training images, one uniform dequantisation each; less than on test images by "
            "what was learnt by heart",
            unit="bits/dim",
        ),
    ]
