"""The spec of VAE for zoo: plain data, without torch."""

import zoo


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="vae",
            title="VAE",
            summary="an encoder and a decoder trained together on a lower bound of the likelihood",
            paper="https://arxiv.org/abs/1312.6114",
            citation="""@article{kingma2013auto,
  title={Auto-Encoding Variational Bayes},
  author={Kingma, Diederik P and Welling, Max},
  journal={arXiv preprint arXiv:1312.6114},
  year={2013}
}""",
            tags=("variational-autoencoder",),
            task="unconditional-image-generation",
            module="zoo_vae.model:VAE",
            train="zoo_vae.train:train",
            capabilities=("sample", "latents", "encode", "decode", "elbo"),
            batch="images",
            tiny={"image_size": 8, "latent_dim": 2, "widths": [4], "hidden": 8},
            recipes=(
                zoo.Recipe(
                    name="vae-mnist",
                    summary="Handwritten digits at 28x28 from a convolutional VAE of binary images.",
                    data="ylecun/mnist",
                    config={"latent_dim": 32, "widths": [32, 64], "hidden": 256},
                    preparation=zoo.Preparation(size=28, mode="L", binarize=True),
                    train={"steps": 40_000, "batch_size": 128, "ema": 0.999},
                    step_seconds=0.05,
                    license="cc-by-sa-3.0",
                    judge="judge-mnist",
                    limits=(
                        "Binary images: each training image is a fresh Bernoulli draw of its grey values (dynamic "
                        "binarisation), so its figures do not compare with those on grey values.",
                        "Samples are the means of the pixels' distributions; some lie between two digits.",
                    ),
                ),
                zoo.Recipe(
                    name="vae-celeba",
                    summary="Faces at 64x64 from a convolutional VAE that can also encode, reconstruct and "
                    "interpolate.",
                    data="flwrlabs/celeba",
                    config={
                        "image_size": 64,
                        "channels": 3,
                        "latent_dim": 64,
                        "widths": [32, 64, 128, 256],
                        "hidden": 256,
                        "likelihood": "gaussian",
                        "batch_norm": True,
                        "prior": "fitted",
                    },
                    preparation=zoo.Preparation(size=64, crop=148 / 178),
                    train={
                        "steps": 9_000,
                        "batch_size": 64,
                        "lr": 2e-3,
                        "flip": True,
                        "ema": 0.999,
                        "weights": "float16",
                    },
                    step_seconds=0.25,
                    license="other",
                    judge="judge-celeba",
                    larger="--steps 25000",
                    limits=(
                        "A small budget on a CPU: in some samples hair, face and background run into each other.",
                        "Samples are blurred, as those of a VAE with independent pixels are: it draws the mean of all "
                        "faces that fit a latent.",
                        "It repeats the biases of CelebA: young, smiling, light-skinned people are over-represented.",
                    ),
                ),
            ),
        )
    ]
