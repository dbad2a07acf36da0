"""What stands in for a trained model, where a test must know what it makes or says."""

from torch import Tensor, nn

import zoo
from zoo.card.facts import Training

TRAINING = Training(
    recipe="dcgan-celeba",
    data="somebody/faces",
    split="train",
    images=12_345,
    steps=6_789,
    batch_size=48,
    passes=26.4,
    seconds=5_400,
    device="CPU (Abacus, 2 threads)",
    precision="bfloat16",
    seed=77,
    settings={"lr": 3e-4, "augmentation": "color,cutout", "policy": "", "flip": True},
    software={"zoo": "0.1.0", "torch": "9.8.7"},
)
"""How some card came to be."""


class Shows(nn.Module):
    """A "generator" that only ever shows what it was given."""

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.register_buffer("images", images)

    def sample(self, noise: zoo.Noise) -> Tensor:
        return self.images[noise.start : noise.stop]
