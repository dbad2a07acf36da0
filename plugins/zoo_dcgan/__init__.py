"""The spec of DCGAN for zoo: plain data, without torch."""

import zoo


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="dcgan",
            title="DCGAN",
            summary="a convolutional generator trained against a discriminator",
            paper="https://arxiv.org/abs/1511.06434",
            citation="""@article{radford2015unsupervised,
  title={Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks},
  author={Radford, Alec and Metz, Luke and Chintala, Soumith},
  journal={arXiv preprint arXiv:1511.06434},
  year={2015}
}""",
            tags=("gan",),
            task="unconditional-image-generation",
            module="zoo_dcgan.model:DCGAN",
            train="zoo_dcgan.train:train",
            capabilities=("sample", "latents", "decode"),
            batch="images",
            tiny={"image_size": 16, "width": 4, "latent_dim": 8},
            tiny_train={"augmentation": "color,translation,cutout"},
            imports=(
                zoo.Converter(
                    name="pytorch-dcgan",
                    code="https://github.com/pytorch/examples/tree/main/dcgan",
                    convert="zoo_dcgan.imports:convert",
                ),
            ),
            recipes=(
                zoo.Recipe(
                    name="dcgan-celeba",
                    summary="Faces at 64x64 from a DCGAN.",
                    data="flwrlabs/celeba",
                    # Three eighths of the paper's width, and 4x4 kernels as in the popular port: for training on a CPU.
                    config={"width": 48, "kernel": 4},
                    preparation=zoo.Preparation(size=64, crop=148 / 178),
                    train={
                        "steps": 8_000,
                        "batch_size": 64,
                        "augmentation": "color,translation",
                        "flip": True,
                        "ema": 0.999,
                        "weights": "float16",
                    },
                    step_seconds=0.97,
                    license="other",
                    judge="judge-celeba",
                    larger="--set width=128 --batch-size 128 --steps 50000",
                    limits=(
                        "Faces only, 64x64, aligned as CelebA aligns them; backgrounds and accessories are vague.",
                        "It repeats the biases of CelebA: young, smiling, light-skinned people are over-represented.",
                    ),
                ),
                zoo.Recipe(
                    name="dcgan-celeba-tutorial",
                    summary="Faces at 64x64 from a DCGAN with the settings of PyTorch's own tutorial: a baseline.",
                    data="flwrlabs/celeba",
                    config={"width": 64, "kernel": 4},
                    preparation=zoo.Preparation(size=64, crop=148 / 178),
                    # As published there: no augmentation, no averaging, the raw weights. A fifth of its images.
                    train={"steps": 1_600, "batch_size": 128},
                    step_seconds=2.97,
                    license="other",
                    judge="judge-celeba",
                    limits=("A baseline to measure others by, not a model to use.",),
                ),
            ),
        )
    ]
