"""The files of a card, by name. A card is a folder, byte for byte a model repository on the Hugging Face Hub."""

import re

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
FACTS = "evaluation.json"
README = "README.md"
PICTURE = "samples.png"
STATISTICS = "statistics.safetensors"
"""Of a judge: what its features of real images come to."""
SIGNATURE = "model.sig"
PLAN = "run.json"
"""Of a run, which is a card in the making: what it was told to do."""

LIMITS = {
    CONFIG: 1 << 16,
    FACTS: 1 << 20,
    README: 1 << 20,
    PICTURE: 1 << 26,
    STATISTICS: 1 << 28,
    SIGNATURE: 1 << 20,
    WEIGHTS: (4 << 30) + (1 << 20),
}
"""All that a card may hold, and the bytes each file may have. No other file of a folder is read, sent or fetched."""
NEEDED = (CONFIG, WEIGHTS)
"""What loading cannot do without."""
SIGNED = (CONFIG, WEIGHTS, PICTURE, STATISTICS)
"""What a signature speaks for: not the words about a card, which may be mended on its web page."""

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
"""Owner and name of a repository on the Hub."""
