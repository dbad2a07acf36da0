"""The spec of RealNVP for zoo: plain data, without torch."""

import zoo


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="realnvp",
            title="RealNVP",
            summary="an invertible net with an exact density: every image has a latent, and every latent an image",
            paper="https://arxiv.org/abs/1605.08803",
            citation="""@inproceedings{dinh2017density,
  title={Density estimation using Real {NVP}},
  author={Dinh, Laurent and Sohl-Dickstein, Jascha and Bengio, Samy},
  booktitle={International Conference on Learning Representations},
  year={2017}
}""",
            tags=("normalizing-flow",),
            task="unconditional-image-generation",
            module="zoo_realnvp.model:RealNVP",
            train="zoo_realnvp.train:train",
            capabilities=("sample", "latents", "encode", "decode", "log_prob", "elbo"),
            batch="images",
            evaluation="zoo_realnvp.evaluate:evaluate",
            tiny={"image_size": 8, "scales": 2, "width": 4, "blocks": 1},
            recipes=(
                zoo.Recipe(
                    name="realnvp-mnist",
                    summary="Handwritten digits at 28x28 from a RealNVP: exact densities, exact reconstruction.",
                    data="ylecun/mnist",
                    config={"image_size": 28, "channels": 1, "scales": 3, "width": 16, "blocks": 1},
                    preparation=zoo.Preparation(size=28, mode="L"),
                    train={"steps": 30_000, "batch_size": 32, "ema": 0.999},
                    step_seconds=0.24,
                    license="cc-by-sa-3.0",
                    judge="judge-mnist",
                    larger="--set width=32 --set blocks=4 --batch-size 64 --steps 50000",
                    limits=(
                        "A small net and a small budget on a CPU: many samples are broken digits.",
                        "Its densities do not tell digits from other images: flows give simple images high ones too.",
                    ),
                ),
                zoo.Recipe(
                    name="realnvp-celeba",
                    summary="Faces at 32x32 from a RealNVP: exact densities, exact reconstruction.",
                    data="flwrlabs/celeba",
                    config={"scales": 3, "width": 16, "blocks": 2},
                    preparation=zoo.Preparation(size=32, crop=148 / 178),
                    train={"steps": 20_000, "batch_size": 32, "flip": True, "ema": 0.999},
                    step_seconds=0.51,
                    published={"bits_per_dim_bound": "the paper: 3.02 at 64x64 on all of CelebA"},
                    license="other",
                    judge="judge-celeba",
                    larger="--image-size 64 --set scales=4 --set width=32 --set blocks=4 --steps 50000",
                    limits=(
                        "32x32 where the paper has 64x64, half its width, and a small budget on a CPU: its bits per "
                        "dimension do not compare with the paper's, and many samples are distorted faces.",
                        "It repeats the biases of CelebA: young, smiling, light-skinned people are over-represented.",
                    ),
                ),
            ),
        )
    ]
