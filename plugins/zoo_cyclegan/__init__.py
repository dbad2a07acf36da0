"""The spec of CycleGAN for zoo: plain data, without torch."""

import zoo


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="cyclegan",
            title="CycleGAN",
            summary="two translators between two unpaired sets of images, each trained to undo the other",
            paper="https://arxiv.org/abs/1703.10593",
            citation="""@inproceedings{zhu2017unpaired,
  title={Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks},
  author={Zhu, Jun-Yan and Park, Taesung and Isola, Phillip and Efros, Alexei A.},
  booktitle={Proceedings of the IEEE International Conference on Computer Vision},
  year={2017}
}""",
            tags=("gan",),
            task="image-to-image",
            module="zoo_cyclegan.model:CycleGAN",
            train="zoo_cyclegan.train:train",
            evaluation="zoo_cyclegan.evaluate:evaluate",
            capabilities=("translate",),
            batch="unpaired",
            tiny={"image_size": 16, "width": 4, "blocks": 1},
            # A pool so small that it is full after two tiny batches, and gives old images from then on.
            tiny_train={"patch_layers": 1, "patch_width": 4, "pool": 10},
            imports=(
                zoo.Converter(
                    name="pytorch-CycleGAN",
                    code="https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix",
                    convert="zoo_cyclegan.imports:convert",
                    parts=("G", "F"),
                ),
                zoo.Converter(
                    name="PyTorch-GAN-CycleGAN",
                    code="https://github.com/eriklindernoren/PyTorch-GAN",
                    convert="zoo_cyclegan.imports:convert_repeated",
                    parts=("G", "F"),
                ),
            ),
            recipes=(
                zoo.Recipe(
                    name="cyclegan-celeba-blond",
                    summary="Black hair to blond and back in photos of faces at 64x64, learnt without pairs.",
                    data="flwrlabs/celeba",
                    columns={"image": "image", "domain": "Black_Hair,Blond_Hair"},
                    # Three eighths of the paper's widths, 4 blocks instead of 6, patches of 34 pixels instead of 70:
                    # for images of 64 pixels, and for training on a CPU.
                    config={"image_size": 64, "width": 24, "blocks": 4, "domains": ["black_hair", "blond_hair"]},
                    preparation=zoo.Preparation(size=64, crop=148 / 178),
                    train={
                        "steps": 40_000,
                        "batch_size": 1,
                        "patch_layers": 2,
                        "patch_width": 32,
                        "flip": True,
                        "jitter": True,
                        # Not in the paper: averaged weights.
                        "ema": 0.999,
                        "weights": "float16",
                    },
                    step_seconds=0.16,
                    inputs="dcgan-celeba",
                    shown=({"to": "black_hair"}, {"to": "blond_hair"}),
                    judge="judge-celeba",
                    license="other",
                    larger="--set width=64 --set blocks=6 --steps 100000",
                    limits=(
                        "A small net and a small budget on a CPU, 14,000 steps of one image a side: blurred, and "
                        "of the translations to black hair the judge takes a third for black.",
                        "Faces only, 64x64, aligned as CelebA aligns them, with black or blond hair.",
                        "It changes colours and hardly any shape; backgrounds and skin may take on some of the hair's "
                        "new colour.",
                        "Black and blond hair are not spread alike over men and women in CelebA, so that a translation "
                        "may change more than hair. It repeats the other biases of CelebA too.",
                    ),
                ),
            ),
        )
    ]
