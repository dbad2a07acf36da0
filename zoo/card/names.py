"""The files of a card, by name. A card is a folder, byte for byte a model repository on the Hugging Face Hub."""

import re

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
FACTS = "evaluation.json"
README = "README.md"
PICTURE = "samples.png"
STATISTICS = "statistics.safetensors"
"""Only in a judge: mean and covariance of its features of real images."""
SIGNATURE = "model.sig"
PLAN = "run.json"
"""Only in the folder of a run: the recipe and settings that it was started with."""

LIMITS = {
    CONFIG: 1 << 16,
    FACTS: 1 << 20,
    README: 1 << 20,
    PICTURE: 1 << 26,
    STATISTICS: 1 << 28,
    SIGNATURE: 1 << 20,
    WEIGHTS: (4 << 30) + (1 << 20),
}
"""The files that a card may have, and their largest sizes in bytes. No other file is read, sent or downloaded."""
NEEDED = (CONFIG, WEIGHTS)
"""The files that loading needs."""
SIGNED = (CONFIG, WEIGHTS, PICTURE, STATISTICS)
"""The files that a signature covers. The texts about a card are not among them: they may be edited on the Hub."""

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""Owner and name of a repository on the Hub."""
