"""The spec of StarGAN for zoo: plain data, without torch."""

import zoo

HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair")
ATTRIBUTES = (*HAIR, "Male", "Young")


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="stargan",
            title="StarGAN",
            summary="one generator for all attributes, trained on labels alone against a critic that also classifies",
            paper="https://arxiv.org/abs/1711.09020",
            citation="""@inproceedings{choi2018stargan,
  title={StarGAN: Unified Generative Adversarial Networks for Multi-Domain Image-to-Image Translation},
  author={Choi, Yunjey and Choi, Minje and Kim, Munyoung and Ha, Jung-Woo and Kim, Sunghun and Choo, Jaegul},
  booktitle={Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition},
  year={2018}
}""",
            tags=("gan",),
            task="image-to-image",
            module="zoo_stargan.model:StarGAN",
            train="zoo_stargan.train:train",
            capabilities=("translate", "infer"),
            batch="attributes",
            evaluation="zoo_stargan.evaluate:evaluate",
            tiny={"image_size": 16, "width": 4, "blocks": 1, "classifier_width": 4, "exclusive": list(HAIR)},
            tiny_train={"n_critic": 2, "d_width": 4, "d_layers": 3},
            imports=(
                zoo.Converter(
                    name="pytorch-StarGAN",
                    code="https://github.com/yunjey/stargan",
                    convert="zoo_stargan.imports:convert",
                    parts=("G", "D"),
                    needed=2,
                    asks={"names": list(ATTRIBUTES)},
                ),
            ),
            recipes=(
                zoo.Recipe(
                    name="stargan-celeba",
                    summary="Hair colour, sex and age of faces changed at 64x64, from a StarGAN.",
                    data="flwrlabs/celeba",
                    # Three eighths of the paper's width and two thirds of its blocks, for training on a CPU.
                    config={
                        "image_size": 64,
                        "width": 24,
                        "blocks": 4,
                        "upsampling": "nearest",
                        "classifier_width": 16,
                        "names": list(ATTRIBUTES),
                        "exclusive": list(HAIR),
                    },
                    preparation=zoo.Preparation(size=64, crop=148 / 178),
                    columns={"image": "image", "attributes": ",".join(ATTRIBUTES)},
                    train={
                        "steps": 40_000,
                        "batch_size": 8,
                        # In the paper D makes five steps for each of G's. In such a short run G would learn too slowly.
                        "n_critic": 2,
                        # Twice the paper's rate: the run is a fifth as long.
                        "lr": 2e-4,
                        # Half the width; one layer less for half the side, so that D ends in 2x2 patches as at 128.
                        "d_width": 32,
                        "d_layers": 5,
                        "flip": True,
                        "ema": 0.999,
                        "weights": "float16",
                    },
                    step_seconds=0.44,
                    inputs="dcgan-celeba",
                    shown=(
                        {"Black_Hair": True},
                        {"Blond_Hair": True},
                        {"Brown_Hair": True},
                        {"Male": True},
                        {"Male": False},
                        {"Young": False},
                    ),
                    judge="judge-celeba",
                    license="other",
                    larger="--set width=64 --set blocks=6 --batch-size 16 --steps 100000",
                    limits=(
                        "A small budget on a CPU: colours change, shapes hardly do, and fine detail is lost; of the "
                        "translations to blond hair the judge takes half for blond.",
                        "Faces only, 64x64, aligned as CelebA aligns them.",
                        "The attributes are CelebA's labels, as its annotators saw them. Changing one may change what "
                        "goes with it in CelebA: 'Male' is tied to hair and make-up, 'Young' to greying.",
                        "It repeats the biases of CelebA: young, smiling, light-skinned people are over-represented.",
                    ),
                ),
            ),
        )
    ]
