"""Bounded types of fields that many configs and loops share: cards come from strangers, so every number has bounds."""

from typing import Annotated

from pydantic import Field

Channels = Annotated[int, Field(ge=1, le=4)]
"""Of an image, 1 to 4."""
Width = Annotated[int, Field(ge=1, le=256)]
"""Feature maps of a layer, 1 to 256; others are multiples of it."""
LatentDim = Annotated[int, Field(ge=1, le=1024)]
"""Of a latent, 1 to 1024."""
Share = Annotated[float, Field(ge=0, le=1)]
"""Of a whole, 0 to 1."""
Weight = Annotated[float, Field(ge=0)]
"""Of a term in a loss, 0 or more."""
