"""The spec of InfoGAN for zoo: plain data, without torch."""

import zoo


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="infogan",
            title="InfoGAN",
            summary="a GAN that finds categories and styles by itself and reads them from images",
            paper="https://arxiv.org/abs/1606.03657",
            citation="""@article{chen2016infogan,
  title={InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets},
  author={Chen, Xi and Duan, Yan and Houthooft, Rein and Schulman, John and Sutskever, Ilya and Abbeel, Pieter},
  journal={arXiv preprint arXiv:1606.03657},
  year={2016}
}""",
            tags=("gan",),
            task="unconditional-image-generation",
            module="zoo_infogan.model:InfoGAN",
            train="zoo_infogan.train:train",
            evaluation="zoo_infogan.evaluate:evaluate",
            capabilities=("sample", "latents", "decode", "infer"),
            batch="images",
            smallest_batch=2,
            tiny={"image_size": 8, "latent_dim": 4, "width": 4, "hidden": 8},
            recipes=(
                zoo.Recipe(
                    name="infogan-mnist",
                    summary="Handwritten digits at 28x28 whose categories and styles were found without labels.",
                    data="ylecun/mnist",
                    # Half the paper's width and hidden units: for training on a CPU and a small file.
                    config={"width": 32, "hidden": 512},
                    preparation=zoo.Preparation(size=28, mode="L"),
                    columns={"image": "image", "label": "label"},
                    train={
                        "steps": 12_000,
                        "batch_size": 128,
                        # Of three, the one whose categories fell out best; seeds differ by 17 points.
                        "seed": 1,
                        # With the trunk informed, categories settle on strokes before there are digits to tell apart.
                        "inform_trunk": False,
                        "lambda_style": 0.1,
                        "ema": 0.999,
                        "weights": "float16",
                    },
                    step_seconds=0.11,
                    shown=tuple({"category": str(number)} for number in range(10)),
                    published={"category_accuracy_one_to_one": "the paper: 0.95"},
                    license="cc-by-sa-3.0",
                    judge="judge-mnist",
                    larger="--set width=64 --set hidden=1024 --steps 20000",
                    limits=(
                        "4 and 9 share two categories: as a classifier it is right on seven digits of eight, where the "
                        "paper's best run is on nineteen of twenty. The seed was the best of three.",
                        "Categories have numbers, not names: which digit one draws is seen from its samples, and "
                        "differs between trainings.",
                        "What the two styles change was found by training, not chosen.",
                    ),
                ),
            ),
        )
    ]
