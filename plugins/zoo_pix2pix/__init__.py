"""The spec of pix2pix for zoo: plain data, without torch."""

import zoo


@zoo.hookimpl
def zoo_models() -> list[zoo.ModelSpec]:
    return [
        zoo.ModelSpec(
            name="pix2pix",
            title="pix2pix",
            summary="a U-Net trained on pairs against a discriminator of patches",
            paper="https://arxiv.org/abs/1611.07004",
            citation="""@inproceedings{isola2017image,
  title={Image-to-Image Translation with Conditional Adversarial Networks},
  author={Isola, Phillip and Zhu, Jun-Yan and Zhou, Tinghui and Efros, Alexei A.},
  booktitle={Proceedings of the IEEE Conference on Computer Vision and Pattern Recognition},
  year={2017}
}""",
            tags=("gan",),
            task="image-to-image",
            module="zoo_pix2pix.model:Pix2Pix",
            train="zoo_pix2pix.train:train",
            capabilities=("translate",),
            batch="pairs",
            tiny={"image_size": 16, "width": 4},
            tiny_train={"patch_layers": 1, "patch_width": 4},
            filters={"edges": "zoo_pix2pix.edges:edges"},
            imports=(
                zoo.Converter(
                    name="pytorch-pix2pix",
                    code="https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix",
                    convert="zoo_pix2pix.imports:convert",
                ),
            ),
            recipes=(
                zoo.Recipe(
                    name="pix2pix-edges2celeba",
                    summary="Line drawings of faces to photos at 64x64, from a pix2pix U-Net.",
                    data="flwrlabs/celeba",
                    # Half the paper's widths, and patches of 34 pixels for images of 64 instead of 70 for 256.
                    config={"image_size": 64, "width": 32},
                    preparation=zoo.Preparation(size=64, crop=148 / 178, filter="edges"),
                    train={
                        "steps": 40_000,
                        "batch_size": 8,
                        "patch_layers": 2,
                        "patch_width": 32,
                        "flip": True,
                        "jitter": True,
                        # Not in the paper: the mirror image, and averaged weights.
                        "ema": 0.999,
                        "weights": "float16",
                    },
                    step_seconds=0.17,
                    inputs="dcgan-celeba",
                    license="other",
                    judge="judge-celeba",
                    larger="--set width=64 --steps 100000",
                    limits=(
                        "A small budget on a CPU: textures are rough and colours patchy.",
                        "Drawings of faces only, 64x64, aligned as CelebA aligns them.",
                        "The lines do not tell the colours of hair, skin and background: the model guesses them.",
                        "It has seen black lines one pixel thin only; other styles of drawing may work less well.",
                        "It repeats the biases of CelebA: young, smiling, light-skinned people are over-represented.",
                    ),
                ),
                zoo.Recipe(
                    name="pix2pix-openmoji",
                    summary="Black outlines of emoji to coloured ones at 128x128, from a pix2pix U-Net.",
                    data="openmoji",
                    columns={"image": "color", "input": "outline"},
                    # Three eighths of the paper's widths; its patches of 70 pixels, of 128 instead of 256.
                    config={"image_size": 128, "width": 24},
                    preparation=zoo.Preparation(size=128),
                    train={
                        "steps": 12_000,
                        "batch_size": 4,
                        "patch_layers": 3,
                        "patch_width": 32,
                        "flip": True,
                        "jitter": True,
                        "ema": 0.999,
                        "weights": "float16",
                    },
                    step_seconds=0.42,
                    credit="OpenMoji, CC BY-SA 4.0",
                    license="cc-by-sa-4.0",
                    data_terms="Trained on OpenMoji 17.0.0, the open-source emoji project (openmoji.org), which is "
                    "under CC BY-SA 4.0: name OpenMoji and the licence beside what you show of it.",
                    limits=(
                        "Drawings as OpenMoji has them: black lines of an even width on white, one object that fills "
                        "the picture. Photos, grey shading and thin or sketchy lines are not what it has seen.",
                        "1,843 pairs without flags, brands and skin tones: what it has not seen it colours as what is "
                        "near, often yellow, blue or grey.",
                        "It colours what is drawn and adds no lines.",
                    ),
                ),
            ),
        )
    ]
