"""The handle that `zoo.load` returns. Users give names and pictures; the module inside works with tensors."""

import dataclasses
import math
import os
import secrets
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from zoo.calling import Caller, batches, check_size
from zoo.errors import InputError
from zoo.family import conditions
from zoo.family.registry import resolve
from zoo.images.batch import Images
from zoo.images.prepare import binary, is_binary, prepare
from zoo.latents import PATHS
from zoo.loading import needs
from zoo.noise import Noise
from zoo.telling import track
from zoo.values import as_tensor, whole


class Model(Caller):
    """A loaded model. `prepare` checks and converts the images given. Methods return `Images`, or tensors on the CPU.

    A method that the model's family does not have raises CapabilityError, and `hasattr` is False for it. Images that
    cannot be used raise what `prepare` raises, and a wrong condition raises InputError.
    """

    def __repr__(self) -> str:
        return f"<zoo.Model {self.name} ({self.spec.title}) on {self.device}: {', '.join(self.spec.capabilities)}>"

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if hasattr(self, name)]

    @needs("sample")
    def sample(
        self,
        n: int = 1,
        *,
        seed: int | None = None,
        start: int = 0,
        batch_size: int = 64,
        progress: bool = False,
        **given: Any,
    ) -> Images:
        """n new images, (n, c, h, w) in [0, 1].

        Sample i of a seed is the same for every n, batch size and device. `start` is the number of the first sample:
        `sample(4, seed=0, start=4)` continues `sample(4, seed=0)`. Without a seed a new one is drawn, and stands in
        `.info["seed"]`. Conditions are given by name: `label="7"`, or a list with one value for each sample.
        InputError for a wrong n, start, seed or condition, and for images that take more than 4 GiB.
        """
        seed, n, start = fresh_seed(seed), whole("n", n, 1), whole("start", start)
        check_size(n, self.preparation)
        parts = self.stream(n, seed=seed, start=start, batch_size=batch_size, **given)
        if progress:
            parts = iter(track(parts, math.ceil(n / batch_size), f"sampling {self.name}"))
        return Images(torch.cat([images.tensor for images in parts]), self.info_of(seed, given), start)

    @needs("sample")
    def stream(
        self, n: int, *, seed: int | None = None, start: int = 0, batch_size: int = 64, **given: Any
    ) -> Iterator[Images]:
        """The same n new images as `sample` makes, in batches of `batch_size`, each made when it is asked for.

        Only one batch is in memory, so n has no limit. InputError, at once, for a wrong n, start, seed or condition.
        """
        seed, n, start = fresh_seed(seed), whole("n", n, 1), whole("start", start)
        taken = self.conditions_of("sample")
        values = conditions.tensors(taken, given, n)

        def batch(rows: range) -> Images:
            noise = Noise(seed, start + rows.start, start + rows.stop, self.device)
            with self._inference():
                made = self.module.sample(noise, **self._rows(values, rows))
            return Images(made, self.info_of(seed, conditions.part(taken, given, rows, n)), start + rows.start)

        return map(batch, batches(n, batch_size))

    @needs("latents")
    def latents(self, n: int = 1, *, seed: int | None = None, start: int = 0) -> Tensor:
        """The latents (n, ...) that `sample(n, seed=seed, start=start)` makes images of.

        So `decode` makes the same images of them, if it is given the same conditions.
        """
        n, start = whole("n", n, 1), whole("start", start)
        with self._inference():
            drawn: Tensor = self.module.latents(Noise(fresh_seed(seed), start, start + n, self.device))
        return drawn.float().cpu()

    @needs("encode")
    def encode(self, images: Any, *, batch_size: int = 64, **given: Any) -> Tensor:
        """Latents (n, ...) of images. Nothing is drawn: if the model has a posterior, this is its mean."""
        return cast(Tensor, self._map("encode", self.prepare(images), given, batch_size))

    @needs("decode")
    def decode(self, latents: Tensor, *, batch_size: int = 64, **given: Any) -> Images:
        """Images (n, c, h, w) in [0, 1] of latents (n, ...), as `encode` or `latents` gives them.

        InputError for another shape.
        """
        z = as_tensor(latents).float()
        try:
            return Images(self._map("decode", z, given, batch_size), self.info_of(None, given))
        except (RuntimeError, IndexError) as error:
            message = f"latents of shape {tuple(z.shape)} do not fit {self.name}: {str(error).splitlines()[0]}"
            hint = "Give latents with the shape that encode(images) or latents(n) returns: a row for each image."
            raise InputError(message, hint) from error

    @needs("encode", "decode")
    def reconstruct(self, images: Any, *, batch_size: int = 64, **given: Any) -> Images:
        """The images that come back from their latents: decode(encode(images)), (n, c, h, w) in [0, 1]."""
        return self.decode(self.encode(images, batch_size=batch_size, **given), batch_size=batch_size, **given)

    @needs("encode", "decode")
    def interpolate(self, first: Any, second: Any, steps: int = 8, *, path: str = "lerp", **given: Any) -> Images:
        """`steps` images between two images, with both ends. Their latents lie on a straight line, or with
        `path="slerp"` on an arc: see `zoo.slerp`."""
        steps = whole("steps", steps, 2, hint="Give a larger number, for example steps=8.")
        if path not in PATHS:
            raise InputError(f"unknown path {path!r}", "Give path='lerp' or path='slerp'.")
        a, b = (self.encode(image, **given)[0] for image in (first, second))
        return self.decode(PATHS[path](a, b, steps), **given)

    @needs("encode", "decode")
    def traverse(self, image: Any, dim: int, values: Any = (-3, -2, -1, 0, 1, 2, 3), **given: Any) -> Images:
        """An image for each of `values`: number `dim` of the image's flattened latent is set to that value."""
        z = self.encode(image, **given)[:1]
        points = as_tensor(values, dtype=z.dtype)
        dim = whole("dim", dim, 0, z[0].numel() - 1)
        flat = z.reshape(1, -1).repeat(len(points), 1)
        flat[:, dim] = points
        return self.decode(flat.reshape(-1, *z.shape[1:]), **given)

    @needs("encode", "decode")
    def swap(
        self, images: Any, *, source: Mapping[str, Any] | None = None, batch_size: int = 64, **given: Any
    ) -> Images:
        """The images with other conditions: encoded with `source`, their own conditions, and decoded with those given.

        InputError for a model that takes no conditions.
        """
        if not self.conditions:
            raise InputError(
                f"{self.name} takes no conditions, so there is nothing to swap",
                f"To see what a card takes: zoo info {self.name}",
            )
        latents = self.encode(images, batch_size=batch_size, **dict(source or {}))
        return self.decode(latents, batch_size=batch_size, **given)

    @needs("log_prob")
    def log_prob(self, images: Any, *, batch_size: int = 64, **given: Any) -> Tensor:
        """Exact log-probability of each image on its grid of levels (256, or 2 for binary images), (n,) in nats.

        For a model of continuous images: the exact log-density per cell of that grid. For a model of binary images, a
        grey image has no probability. It is cut at 1/2, with a warning.
        """
        return cast(Tensor, self._map("log_prob", self._on_levels(images), given, batch_size))

    @needs("log_prob")
    def bits_per_dim(self, images: Any, *, batch_size: int = 64, **given: Any) -> Tensor:
        """Bits per dimension, (n,): -log_prob / (dimensions x ln 2)."""
        x = self._on_levels(images)
        return -self.log_prob(x, batch_size=batch_size, **given) / (x[0].numel() * math.log(2))

    @needs("elbo")
    def elbo(self, images: Any, *, seed: int = 0, start: int = 0, batch_size: int = 64, **given: Any) -> Tensor:
        """Estimate of each image's evidence lower bound from one draw, (n,) in nats. Its mean is at most log_prob.

        Image i has the noise of sample `start` + i of the seed, so images may be given in parts.

        For a model of binary images, grey images are cut at 1/2, with a warning, as in `log_prob`.
        """
        return cast(Tensor, self._map("elbo", self._on_levels(images), given, batch_size, seed, start))

    @needs("translate")
    def translate(
        self,
        images: Any,
        *,
        prepared: bool = False,
        seed: int | None = 0,
        start: int = 0,
        batch_size: int = 64,
        **given: Any,
    ) -> Images:
        """Each image in the other domain, (n, c, h, w) in [0, 1].

        With `prepared=True` the card's input filter is left out, because the images are in the model's input domain
        already, like drawings for edges2celeba. `seed=None` turns off the model's noise, if it has any.
        Image i has the noise of sample `start` + i of the seed, so images may be given in parts.
        """
        x, seed = self.prepare(images, filtered=not prepared), None if seed is None else whole("seed", seed)
        return Images(self._map("translate", x, given, batch_size, seed, start), self.info_of(seed, given), start)

    @needs("complete")
    def complete(
        self,
        images: Any,
        mask: Any,
        *,
        seed: int | None = None,
        start: int = 0,
        batch_size: int = 64,
        **given: Any,
    ) -> Images:
        """The images with their missing pixels filled in, (n, c, h, w) in [0, 1].

        mask: (h, w) or (n, h, w), true for the pixels that are kept. InputError if it does not fit the images.
        Image i has the noise of sample `start` + i of the seed, so images may be given in parts.
        """
        x, seed = self.prepare(images), fresh_seed(seed)
        kept = as_tensor(mask, dtype=torch.bool)
        try:
            kept = kept.expand(len(x), *x.shape[2:])[:, None]
        except RuntimeError as error:
            found = f"a mask of shape {tuple(kept.shape)} does not fit images of shape {tuple(x.shape)}"
            hint = f"Give a mask of shape {tuple(x.shape[2:])}, or one mask for each image."
            raise InputError(found, hint) from error
        made = self._map("complete", x, given, batch_size, seed, start, kept)
        return Images(made, self.info_of(seed, given), start)

    @needs("infer")
    def infer(self, images: Any, *, batch_size: int = 64, **given: Any) -> Any:
        """What the model reads from each image: codes or probabilities. The page of its family says which."""
        return self._map("infer", self.prepare(images), given, batch_size)

    @needs("features")
    def features(self, images: Any, *, batch_size: int = 64) -> Tensor:
        """Features (n, d) of images. Sets of images are compared by the distribution of their features."""
        return cast(Tensor, self._map("features", self.prepare(images), {}, batch_size))

    def prepare(self, images: Any, *, filtered: bool = False) -> Tensor:
        """Any images as this model's input, (n, c, size, size) in [0, 1]. `filtered` applies the card's filter too.

        Takes a path, a PIL image, an array, a tensor, `Images`, or a list of these. Raises NotFoundError, FormatError
        or InputError for images that cannot be used.
        """
        x = prepare(images, self.preparation)
        name = self.preparation.filter
        return resolve(self.spec.filters[name])(x) if filtered and name is not None else x

    def _on_levels(self, images: Any) -> Tensor:
        """The images as input for `log_prob` and `elbo`. For a model of binary images, grey ones are cut at 1/2."""
        x = prepare(images, dataclasses.replace(self.preparation, binarize=False))
        if not self.preparation.binarize or is_binary(x):
            return x
        warnings.warn(
            f"{self.name} is a model of binary images, so the grey values given were cut at 1/2. In training each "
            "pixel was drawn: it was white with its grey value as the probability. To choose the pixels yourself, "
            "give images of 0 and 1.",
            stacklevel=4,
        )
        return binary(x)


def load(
    name: str | os.PathLike[str],
    *,
    device: str | torch.device | None = "auto",
    dtype: str | torch.dtype | None = "float32",
    backend: str = "torch",
    verify: str = "hashes",
    key: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Model:
    """Load the model of a card.

    name: a name that `zoo.list_models()` shows; or a folder that `zoo.train` wrote; or a repository on the Hub,
    `org/name` or `org/name@revision`. `zoo info NAME --where` says where a name leads.
    device: auto (cuda, else mps, else cpu), or a torch device. dtype: float32, or bfloat16 / float16 for autocast, by
    name or as torch's own; `log_prob` and `elbo` are computed in float32 with any. None stands for the default of both.
    backend: what runs the model. `torch`; `compile` for torch's compiler; or `onnxruntime` for ONNX Runtime, on the CPU
    and in float32. The last two take seconds for the first call of each method, and less than torch for the next ones.
    verify: `hashes` compares the files with the commit's listing and with config.json. `signed` also checks the card's
    signature with `key`, a public key (PEM file; $ZOO_PUBLIC_KEY by default).
    revision, token, cache_dir, force_download, local_files_only: for a repository, the options of the Hub's client.
    Raises NotFoundError with suggestions, HubError if a repository cannot be downloaded, InputError for a wrong option,
    and FormatError or ConfigError for a card that is broken or hostile.
    """
    return Model.from_pretrained(
        name,
        device=device,
        dtype=dtype,
        backend=backend,
        verify=verify,
        key=key,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        force_download=force_download,
        local_files_only=local_files_only,
    )


def fresh_seed(seed: int | None) -> int:
    """The seed itself, or a new one. No global random state changes."""
    return secrets.randbits(48) if seed is None else whole("seed", seed)
