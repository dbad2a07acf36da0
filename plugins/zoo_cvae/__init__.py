"""The spec of CVAE for zoo: plain data, without torch."""

import zoo


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="cvae",
            title="CVAE",
            summary="a VAE told the label, which leaves the style to its latent; and one that completes images",
            paper="https://papers.nips.cc/paper/2015/hash/8d55a249e6baa5c06772297520da2051-Abstract.html",
            citation="""@inproceedings{sohn2015learning,
  title={Learning Structured Output Representation using Deep Conditional Generative Models},
  author={Sohn, Kihyuk and Lee, Honglak and Yan, Xinchen},
  booktitle={Advances in Neural Information Processing Systems},
  year={2015}
}""",
            tags=("variational-autoencoder", "class-conditional"),
            task="unconditional-image-generation",
            module="zoo_cvae.model:CVAE",
            train="zoo_cvae.train:train",
            evaluation="zoo_cvae.evaluate:evaluate",
            capabilities=("sample", "latents", "encode", "decode", "elbo", "complete"),
            batch="labelled",
            tiny={
                "image_size": 8,
                "latent_dim": 2,
                "widths": [4],
                "hidden": 8,
                "completion_latent_dim": 2,
                "completion_hidden": 8,
            },
            recipes=(
                zoo.Recipe(
                    name="cvae-mnist",
                    summary="Handwritten digits at 28x28 by label, in a style that stays when the digit is changed; "
                    "and digits completed from a part.",
                    data="ylecun/mnist",
                    columns={"image": "image", "label": "label"},
                    # Completion nets narrower than the default's 500 units: for training on a CPU, and a small file.
                    config={"latent_dim": 16, "widths": [32, 64], "hidden": 128, "completion_hidden": 320},
                    preparation=zoo.Preparation(size=28, mode="L", binarize=True),
                    train={
                        "steps": 30_000,
                        "baseline_steps": 2_000,
                        "batch_size": 128,
                        "ema": 0.999,
                        "weights": "float16",
                    },
                    step_seconds=0.061,
                    shown=tuple({"label": digit} for digit in "0123456789"),
                    license="cc-by-sa-3.0",
                    judge="judge-mnist",
                    limits=(
                        "Binary images: each training image is a fresh Bernoulli draw of its grey values (dynamic "
                        "binarisation), so its figures do not compare with those on grey values.",
                        "Samples and completions are the means of the pixels' distributions: grey where the model is "
                        "in doubt.",
                        "Completion was trained with one, two or three quadrants given; other masks are taken, but "
                        "were not trained.",
                    ),
                ),
            ),
        )
    ]
