"""The spec of PixelCNN for zoo: plain data, without torch."""

import zoo


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="pixelcnn",
            title="PixelCNN",
            summary="masked convolutions that predict each pixel from those above it and to its left",
            paper="https://arxiv.org/abs/1601.06759",
            citation="""@inproceedings{oord2016pixel,
  title={Pixel Recurrent Neural Networks},
  author={van den Oord, A{\\"a}ron and Kalchbrenner, Nal and Kavukcuoglu, Koray},
  booktitle={International Conference on Machine Learning},
  year={2016}
}""",
            tags=("autoregressive",),
            task="unconditional-image-generation",
            module="zoo_pixelcnn.model:PixelCNN",
            train="zoo_pixelcnn.train:train",
            capabilities=("sample", "log_prob", "complete"),
            batch="images",
            tiny={"image_size": 8, "channels": 3, "n_levels": 4, "width": 4, "blocks": 2, "head": 6},
            recipes=(
                zoo.Recipe(
                    name="pixelcnn-mnist",
                    summary="Handwritten digits at 28x28, binary, pixel by pixel; with exact likelihoods.",
                    data="ylecun/mnist",
                    config={"width": 32, "blocks": 12, "position": True},
                    preparation=zoo.Preparation(size=28, mode="L", binarize=True),
                    train={
                        "steps": 40_000,
                        "batch_size": 16,
                        "lr": 1e-3,
                        "ema": 0.9995,
                    },
                    step_seconds=0.2,
                    published={"log_likelihood": "the paper: -81.30, trained and measured on one fixed draw"},
                    license="cc-by-sa-3.0",
                    judge="judge-mnist",
                    larger="--set width=128 --set blocks=15 --steps 100000",
                    limits=(
                        "A small net and a small budget on a CPU: some nats short of the paper's, and many samples are "
                        "strokes that make no digit.",
                        "Binary images: each training image is a fresh Bernoulli draw of its grey values (dynamic "
                        "binarisation), so its figures do not compare with those of fixed draws or of grey values.",
                        "Sampling goes pixel by pixel: it takes longer than with families that draw an image at once.",
                        "Completion is exact where the given pixels come first in raster order; of other given pixels, "
                        "a drawn pixel heeds only those above it and to its left.",
                    ),
                ),
            ),
        )
    ]
