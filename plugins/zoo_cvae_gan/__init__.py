"""The spec of CVAE-GAN for zoo: plain data, without torch."""

import zoo

FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
DIGITS = tuple("0123456789")

TRAIN = {"batch_size": 64, "ema": 0.999, "weights": "float16"}


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="cvae-gan",
            title="CVAE-GAN",
            summary="an encoder, a generator, a discriminator and a classifier; the generator matches their features, "
            "never their log losses",
            paper="https://arxiv.org/abs/1703.10155",
            citation="""@inproceedings{bao2017cvae,
  title={CVAE-GAN: Fine-Grained Image Generation through Asymmetric Training},
  author={Bao, Jianmin and Chen, Dong and Wen, Fang and Li, Houqiang and Hua, Gang},
  booktitle={IEEE International Conference on Computer Vision},
  year={2017}
}""",
            tags=("gan", "variational-autoencoder", "class-conditional"),
            task="unconditional-image-generation",
            module="zoo_cvae_gan.model:CVAEGAN",
            train="zoo_cvae_gan.train:train",
            evaluation="zoo_cvae_gan.evaluate:evaluate",
            capabilities=("sample", "latents", "encode", "decode", "infer"),
            batch="labelled",
            smallest_batch=2,
            tiny={"image_size": 8, "latent_dim": 4, "names": ["a", "b", "c"], "widths": [4, 8], "hidden": 8},
            recipes=(
                zoo.Recipe(
                    name="cvae-gan-fashion",
                    summary="Clothes at 28x28 by class from a CVAE-GAN; the same latent can change its class.",
                    data="zalando-datasets/fashion_mnist",
                    config={"names": list(FASHION), "latent_dim": 8},
                    preparation=zoo.Preparation(size=28, mode="L"),
                    columns={"image": "image", "label": "label"},
                    train={"steps": 20_000, **TRAIN},
                    step_seconds=0.13,
                    shown=tuple({"label": name} for name in FASHION),
                    judge="judge-fashion",
                    license="mit",
                    larger="--steps 60000",
                    limits=(
                        "A small budget on a CPU: textures are grainy, and sandals often in pieces.",
                        "Ten kinds of clothes on black, 28x28 grey pixels; prints and writing come out as texture.",
                        "Shirts, coats, pullovers and T-shirts overlap in the data, and so do the samples.",
                    ),
                ),
                zoo.Recipe(
                    name="cvae-gan-mnist",
                    summary="Handwritten digits at 28x28 by class from a CVAE-GAN; the same hand can write another "
                    "digit.",
                    data="ylecun/mnist",
                    config={"names": list(DIGITS), "latent_dim": 8},
                    preparation=zoo.Preparation(size=28, mode="L"),
                    columns={"image": "image", "label": "label"},
                    train={"steps": 20_000, **TRAIN},
                    step_seconds=0.13,
                    shown=tuple({"label": name} for name in DIGITS),
                    judge="judge-mnist",
                    license="cc-by-sa-3.0",
                    larger="--steps 60000",
                    limits=(
                        "A small budget on a CPU: strokes are ragged.",
                        "Digits only, 28x28 grey pixels, centred as MNIST centres them.",
                    ),
                ),
            ),
        )
    ]
