"""The spec of WGAN-GP for zoo: plain data, without torch."""

import zoo


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="wgan-gp",
            title="WGAN-GP",
            summary="a generator trained on the Wasserstein distance, whose critic is held 1-Lipschitz by a penalty",
            paper="https://arxiv.org/abs/1704.00028",
            citation="""@inproceedings{gulrajani2017improved,
  title={Improved Training of {Wasserstein} {GANs}},
  author={Gulrajani, Ishaan and Ahmed, Faruk and Arjovsky, Martin and Dumoulin, Vincent and Courville, Aaron},
  booktitle={Advances in Neural Information Processing Systems},
  year={2017}
}""",
            tags=("gan",),
            task="unconditional-image-generation",
            module="zoo_wgan_gp.model:WGANGP",
            train="zoo_wgan_gp.train:train",
            capabilities=("sample", "latents", "decode"),
            batch="images",
            tiny={"image_size": 16, "width": 4, "latent_dim": 8, "architecture": "resnet"},
            tiny_train={"layer_norm": True, "dequantize": True, "decay": 1.0},
            recipes=(
                zoo.Recipe(
                    name="wgan-gp-celeba",
                    summary="Faces at 64x64 from a WGAN-GP.",
                    data="flwrlabs/celeba",
                    # Three eighths of the width of the authors' net and 4x4 kernels: for training on a CPU.
                    config={"width": 24, "kernel": 4},
                    preparation=zoo.Preparation(size=64, crop=148 / 178),
                    train={
                        "steps": 20_000,
                        "batch_size": 24,
                        "lr": 2e-4,
                        "decay": 0.5,
                        "flip": True,
                        "ema": 0.999,
                        "weights": "float16",
                    },
                    step_seconds=0.59,
                    license="other",
                    judge="judge-celeba",
                    larger="--set width=64 --batch-size 64 --steps 60000",
                    limits=(
                        "A small net and a small budget on a CPU (the paper trains 200,000 steps): some faces are "
                        "misshapen or blotchy.",
                        "Faces only, 64x64, aligned as CelebA aligns them; backgrounds and accessories are vague.",
                        "It repeats the biases of CelebA: young, smiling, light-skinned people are over-represented.",
                    ),
                ),
            ),
        )
    ]
