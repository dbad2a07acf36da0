"""The first GANs for zoo: four families in one package. Plain data, no torch."""

from typing import Any

import zoo

SMALL = (
    "A fully connected net, trained for minutes on one core: some digits are broken, speckled or between two classes."
)
ONLY_DIGITS = "Grey handwritten digits at 28x28, centred as MNIST centres them; nothing else."


def recipe(
    family: str, summary: str, *, limits: tuple[str, ...] = (), train: dict[str, Any], **more: Any
) -> zoo.Recipe:
    """What the four cards have in common: MNIST, small nets, and who judges."""
    return zoo.Recipe(
        name=f"{family}-mnist",
        summary=summary,
        data="ylecun/mnist",
        preparation=zoo.Preparation(size=28, mode="L"),
        config={"widths": [256, 512]},
        train={"batch_size": 64, "ema": 0.999, "weights": "float16", **train},
        license="cc-by-sa-3.0",
        judge="judge-mnist",
        limits=(SMALL, ONLY_DIGITS, *limits),
        **more,
    )


GAN = zoo.ModelSpec(
    name="gan",
    title="GAN",
    summary="the original: a generator against a discriminator that tells real from made",
    paper="https://arxiv.org/abs/1406.2661",
    citation="""@inproceedings{goodfellow2014generative,
  title={Generative Adversarial Nets},
  author={Goodfellow, Ian and Pouget-Abadie, Jean and Mirza, Mehdi and Xu, Bing and Warde-Farley, David and Ozair,
    Sherjil and Courville, Aaron and Bengio, Yoshua},
  booktitle={Advances in Neural Information Processing Systems},
  year={2014}
}""",
    tags=("gan",),
    task="unconditional-image-generation",
    module="zoo_classics.nets:Generator",
    train="zoo_classics.gan:train",
    capabilities=("sample",),
    batch="images",
    tiny={"image_size": 8, "latent_dim": 4, "widths": [8, 8]},
    recipes=(recipe("gan", "Handwritten digits from the original GAN.", train={"steps": 30_000}),),
)

LSGAN = zoo.ModelSpec(
    name="lsgan",
    title="LSGAN",
    summary="a GAN whose discriminator regresses instead of classifying",
    paper="https://arxiv.org/abs/1611.04076",
    citation="""@inproceedings{mao2017least,
  title={Least Squares Generative Adversarial Networks},
  author={Mao, Xudong and Li, Qing and Xie, Haoran and Lau, Raymond Y. K. and Wang, Zhen and Smolley, Stephen Paul},
  booktitle={International Conference on Computer Vision},
  year={2017}
}""",
    tags=("gan",),
    task="unconditional-image-generation",
    module="zoo_classics.nets:Generator",
    train="zoo_classics.lsgan:train",
    capabilities=("sample",),
    batch="images",
    tiny={"image_size": 8, "latent_dim": 4, "widths": [8, 8]},
    recipes=(recipe("lsgan", "Handwritten digits from a least-squares GAN.", train={"steps": 30_000}),),
)

WGAN = zoo.ModelSpec(
    name="wgan",
    title="WGAN",
    summary="a generator trained on the Wasserstein distance, whose critic is held Lipschitz by clipping its weights",
    paper="https://arxiv.org/abs/1701.07875",
    citation="""@inproceedings{arjovsky2017wasserstein,
  title={{Wasserstein} Generative Adversarial Networks},
  author={Arjovsky, Martin and Chintala, Soumith and Bottou, L{\\'e}on},
  booktitle={International Conference on Machine Learning},
  year={2017}
}""",
    tags=("gan",),
    task="unconditional-image-generation",
    module="zoo_classics.nets:Generator",
    train="zoo_classics.wgan:train",
    capabilities=("sample",),
    batch="images",
    tiny={"image_size": 8, "latent_dim": 4, "widths": [8, 8]},
    tiny_train={"n_critic": 2},
    recipes=(
        recipe(
            "wgan",
            "Handwritten digits from a Wasserstein GAN with weight clipping.",
            # Four times the paper's learning rate, with which this many steps only make blots.
            train={"steps": 10_000, "lr": 2e-4},
            limits=("Many digits are blunt, as if cut from cloth: the clipped critic had few steps to see detail.",),
        ),
    ),
)

CGAN = zoo.ModelSpec(
    name="cgan",
    title="Conditional GAN",
    summary="a GAN both of whose nets are told the label",
    paper="https://arxiv.org/abs/1411.1784",
    citation="""@article{mirza2014conditional,
  title={Conditional Generative Adversarial Nets},
  author={Mirza, Mehdi and Osindero, Simon},
  journal={arXiv preprint arXiv:1411.1784},
  year={2014}
}""",
    tags=("gan", "class-conditional"),
    task="unconditional-image-generation",
    module="zoo_classics.cgan:ConditionalGenerator",
    train="zoo_classics.cgan:train",
    capabilities=("sample",),
    batch="labelled",
    tiny={"image_size": 8, "latent_dim": 4, "widths": [8, 8], "names": ["a", "b", "c"]},
    recipes=(
        recipe(
            "cgan",
            "Handwritten digits by label from a conditional GAN.",
            train={"steps": 80_000},
            columns={"image": "image", "label": "label"},
            shown=tuple({"label": digit} for digit in "0123456789"),
        ),
    ),
)


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [GAN, LSGAN, WGAN, CGAN]
