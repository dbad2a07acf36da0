"""Takes over G and D of the authors' PyTorch code. D's class head says what an image has."""

from collections.abc import Mapping

import zoo


def convert(shapes: Mapping[str, tuple[int, ...]]) -> zoo.Conversion:
    """G has the same places as ours. D's head for real and fake is left out."""
    layers = len({name for name in shapes if name.startswith("D.main.") and name.endswith(".weight")})
    classifier_width, channels = shapes["D.main.0.weight"][:2]
    config = {
        "image_size": shapes["D.conv2.weight"][2] * 2**layers,
        "channels": channels,
        "width": shapes["G.main.0.weight"][0],
        "blocks": len({name.split(".")[2] for name in shapes if name.startswith("G.") and name.count("main.") == 2}),
        "classifier": "critic",
        "classifier_width": classifier_width,
        "classifier_layers": layers,
    }

    def source(name: str) -> str:
        if name.startswith("generator."):
            return name.replace("generator.", "G.").replace("layers.", "main.")
        place, rest = name.removeprefix("classifier.").split(".")
        return f"D.conv2.{rest}" if int(place) == 2 * layers else f"D.main.{place}.{rest}"

    return zoo.Conversion(config, channels, source, unused=("D.conv1.weight",))
