"""The specs of judges, which are classifiers that score images, and of backbones: plain data, without torch."""

import zoo

FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
ATTRIBUTES = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")
LIMITS = (
    "Made to score generated images of this data set against one fixed, public classifier; its mistakes limit what "
    "such scores can tell, and it is sure of itself on images of anything else.",
)


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="judge",
            title="Judge",
            summary="a classifier, independent of the generators it judges",
            paper="https://arxiv.org/abs/1512.03385",
            citation="""@article{he2015deep,
  title={Deep Residual Learning for Image Recognition},
  author={He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian},
  journal={arXiv preprint arXiv:1512.03385},
  year={2015}
}""",
            task="image-classification",
            module="zoo_judge.model:Judge",
            train="zoo_judge.train:train",
            evaluation="zoo_judge.evaluate:evaluate",
            capabilities=("infer", "features"),
            batch="labelled",
            smallest_batch=2,
            tiny={"image_size": 16, "channels": 1, "widths": [4, 4, 8, 8], "names": list("abcdefghij")},
            recipes=(
                zoo.Recipe(
                    name="judge-mnist",
                    summary="Tells the ten handwritten digits apart, to judge generated ones.",
                    data="ylecun/mnist",
                    columns={"image": "image", "label": "label"},
                    preparation=zoo.Preparation(size=28, mode="L"),
                    config={"image_size": 28, "channels": 1, "stride": 8, "names": list("0123456789")},
                    train={
                        "steps": 2_000,
                        "batch_size": 128,
                        "jitter": True,
                        "weights": "float16",
                    },
                    step_seconds=0.16,
                    license="cc-by-sa-3.0",
                    limits=LIMITS,
                ),
                zoo.Recipe(
                    name="judge-fashion",
                    summary="Tells the ten classes of Fashion-MNIST apart, to judge generated clothes.",
                    data="zalando-datasets/fashion_mnist",
                    columns={"image": "image", "label": "label"},
                    preparation=zoo.Preparation(size=28, mode="L"),
                    config={"image_size": 28, "channels": 1, "stride": 8, "names": list(FASHION)},
                    train={
                        "steps": 4_000,
                        "batch_size": 128,
                        "flip": True,
                        "weights": "float16",
                    },
                    step_seconds=0.16,
                    license="mit",
                    limits=LIMITS,
                ),
                zoo.Recipe(
                    name="judge-celeba",
                    summary="Tells hair colour, Male and Young on faces at 64x64, to judge generated and edited ones.",
                    data="flwrlabs/celeba",
                    columns={"image": "image", "attributes": ",".join(ATTRIBUTES)},
                    batch="attributes",
                    preparation=zoo.Preparation(size=64, crop=148 / 178),
                    config={
                        "image_size": 64,
                        "task": "attributes",
                        "names": list(ATTRIBUTES),
                    },
                    train={
                        "steps": 6_000,
                        "batch_size": 64,
                        "varied": True,
                        "mixed": 0.2,
                        "flip": True,
                        "ema": 0.99,
                        "weights": "float16",
                    },
                    step_seconds=0.28,
                    license="other",
                    limits=(*LIMITS, "The attributes are CelebA's labels, as its annotators saw them."),
                ),
            ),
        ),
        zoo.ModelSpec(
            name="backbone",
            title="Backbone",
            summary="a network without its classifier, whose features compare sets of images or start a judge",
            paper="https://arxiv.org/abs/1905.11946",
            citation="""@inproceedings{tan2019efficientnet,
  title={{EfficientNet}: Rethinking Model Scaling for Convolutional Neural Networks},
  author={Tan, Mingxing and Le, Quoc},
  booktitle={International Conference on Machine Learning},
  year={2019}
}""",
            task="image-feature-extraction",
            module="zoo_judge.model:Backbone",
            train="zoo_judge.train:train_backbone",
            capabilities=("features",),
            batch="labelled",
            smallest_batch=2,
            tiny={"image_size": 16, "channels": 1, "widths": [4, 4, 8, 8]},
            converted={
                "imagenet-lite0": "Features of EfficientNet-Lite0, trained on ImageNet by its authors: they compare "
                "sets of images.",
            },
        ),
    ]
