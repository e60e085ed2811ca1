"""One type for every 3D morphable face model (book: *Morphable models*).

A morphable model is a mean face plus directions in which faces vary. A person is a short vector of coefficients, each
of unit variance, so that "one" always means one standard deviation:

    X = a + B m,   m = [identity; expression]        shape, mm
    A = c + D h                                      albedo, [0, 1]

Conventions: millimetres; x to the subject's left, y up, z out of the face; triangles counterclockwise seen from
outside; indices count from 0. Colours are in the model's own `colour_space`, "sRGB" (display values) or "linear".
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

ColourSpace = Literal["sRGB", "linear"]


@dataclass(frozen=True)
class MorphableModel:
    """Mean, unit-variance bases, triangles, landmarks and regions of a morphable face model.

    Symbols of the papers: `shape_mean` is a (mm), `shape_basis` is B (mm per standard deviation), `albedo_mean` is c
    and `albedo_basis` is D (colour per standard deviation). Section A of the supplement of Koizumi & Smith 2020 scales
    every basis vector to unit variance; every loader of this package has done so.

    Attributes:
        name: what to call it in messages and captions.
        colour_space: "sRGB" or "linear": the space in which albedo is a linear combination.
        landmarks68: vertex of each Multi-PIE landmark, from the subject's right jaw; or empty if the source has none.
        regions: vertex weights in [0, 1] by name ("eyes", "lips", "nose", ...).
    """

    shape_mean: Float[Tensor, "V 3"]
    identity_basis: Float[Tensor, "V 3 Nid"]
    expression_basis: Float[Tensor, "V 3 Nex"]
    albedo_mean: Float[Tensor, "V 3"]
    albedo_basis: Float[Tensor, "V 3 Nal"]
    triangles: Int[Tensor, "T 3"]
    landmarks68: Int[Tensor, " 68"]
    regions: dict[str, Float[Tensor, " V"]] = field(default_factory=dict)
    colour_space: ColourSpace = "sRGB"
    name: str = "model"

    @property
    def n_vertices(self) -> int:
        return self.shape_mean.shape[0]

    @property
    def n_identity(self) -> int:
        return self.identity_basis.shape[-1]

    @property
    def n_expression(self) -> int:
        return self.expression_basis.shape[-1]

    @property
    def n_shape(self) -> int:
        """Length of m = [identity; expression]."""
        return self.n_identity + self.n_expression

    @property
    def n_albedo(self) -> int:
        return self.albedo_basis.shape[-1]

    @property
    def shape_basis(self) -> Float[Tensor, "V 3 Ns"]:
        """B = [identity basis, expression basis], mm per standard deviation."""
        return torch.cat([self.identity_basis, self.expression_basis], dim=-1)

    def vertices(
        self,
        identity: Float[Tensor, "*batch Nid"] | None = None,
        expression: Float[Tensor, "*batch Nex"] | None = None,
    ) -> Float[Tensor, "*batch V 3"]:
        """Vertex positions a + B m in mm.

        A missing coefficient vector means zero, a short one is padded with zeros.

        Raises ValueError if there are more coefficients than basis vectors.
        """
        X = self.shape_mean  # V 3
        for what, basis, m in (
            ("identity", self.identity_basis, identity),
            ("expression", self.expression_basis, expression),
        ):
            if m is not None:
                X = X + _combine(what, basis, m)  # *batch V 3
        return X

    def colours(self, albedo: Float[Tensor, "*batch Nal"] | None = None) -> Float[Tensor, "*batch V 3"]:
        """Vertex albedo c + D h in the model's colour space. Not clamped: the linear problems need it linear."""
        return self.albedo_mean if albedo is None else self.albedo_mean + _combine("albedo", self.albedo_basis, albedo)

    def sample(
        self, n: int, generator: torch.Generator, scale: float = 1.0
    ) -> tuple[Float[Tensor, "n Nid"], Float[Tensor, "n Nex"], Float[Tensor, "n Nal"]]:
        """n random (identity, expression, albedo) coefficients, normal with standard deviation `scale`."""

        def draw(size: int) -> Tensor:
            z = torch.randn(n, size, generator=generator, dtype=self.shape_mean.dtype, device=generator.device)
            return scale * z.to(self.shape_mean.device)

        return draw(self.n_identity), draw(self.n_expression), draw(self.n_albedo)

    def truncate(
        self, identity: int | None = None, expression: int | None = None, albedo: int | None = None
    ) -> MorphableModel:
        """The same model with only its leading components (None keeps all)."""
        return replace(
            self,
            identity_basis=self.identity_basis[..., :identity],
            expression_basis=self.expression_basis[..., :expression],
            albedo_basis=self.albedo_basis[..., :albedo],
        )

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> MorphableModel:
        """Copy on another device or in another floating-point type; index tensors keep their type."""

        def move(x: Tensor) -> Tensor:
            return x.to(device=device, dtype=dtype if x.is_floating_point() else None)

        return replace(
            self,
            shape_mean=move(self.shape_mean),
            identity_basis=move(self.identity_basis),
            expression_basis=move(self.expression_basis),
            albedo_mean=move(self.albedo_mean),
            albedo_basis=move(self.albedo_basis),
            triangles=move(self.triangles),
            landmarks68=move(self.landmarks68),
            regions={k: move(v) for k, v in self.regions.items()},
        )


def _combine(what: str, basis: Tensor, coefficients: Tensor) -> Tensor:
    """basis (V, 3, K) times coefficients (*batch, k ≤ K) → (*batch, V, 3)."""
    k = coefficients.shape[-1]
    V, _, K = basis.shape
    if k > K:
        raise ValueError(f"{k} {what} coefficients, but this model has {K}")
    flat = basis[..., :k].reshape(3 * V, k)  # 3V k
    return (coefficients @ flat.T).reshape(*coefficients.shape[:-1], V, 3)
