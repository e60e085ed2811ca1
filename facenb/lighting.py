"""Light on a Lambertian surface, forwards and inverse (book: *Light on a face*).

A light is nine spherical-harmonic coefficients per colour channel. It describes *shading* s, the number by which albedo
is multiplied: image = albedo ⊙ s, s = F(n) l. A white sky of radiance 1 all around gives s = 1. In physical terms
s = E / π with E the irradiance (a Lambertian surface of albedo a sends out a E / π): the π of "albedo / π" is inside s.
An *inverse* light g describes the reciprocal: albedo = image ⊙ F(n) g.

Conventions: real orthonormal spherical harmonics in the order (0,0) (1,-1) (1,0) (1,1) (2,-2) (2,-1) (2,0) (2,1) (2,2),
no Condon-Shortley sign; unit normals in model coordinates (x to the subject's left, y up, z out of the face);
directions point *from* the surface *towards* the lamp. Light multiplies linear RGB; the photometric problem uses the
same functions in a display space, where the product stays a product (see the chapter).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi, sqrt
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Weight = Literal["plain", "shading", "intensity"]

SH_CONSTANTS = (  # makes each polynomial of `sh_basis` orthonormal over the unit sphere
    sqrt(1 / (4 * pi)),  # 1
    sqrt(3 / (4 * pi)),  # y, z, x
    sqrt(15 / (4 * pi)),  # xy, yz, xz
    sqrt(5 / (16 * pi)),  # 3z² - 1
    sqrt(15 / (16 * pi)),  # x² - y²
)
CLAMPED_COSINE = (pi, 2 * pi / 3, pi / 4)  # A₀, A₁, A₂: what convolution with max(0, cos θ) does to each order
ORDERS = (0, 1, 1, 1, 2, 2, 2, 2, 2)  # the order of each of the nine coefficients


def sh_basis(n: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9"]:
    """The nine real orthonormal spherical harmonics up to order 2 at unit vectors n: ∫ Y_i Y_j over the sphere is δ_ij.

    One row of F of equation (39) for one channel. The vectors are taken to be of unit length.
    """
    x, y, z = n.unbind(-1)  # *batch each
    c0, c1, c2, c20, c22 = SH_CONSTANTS
    Y = [
        c0 * torch.ones_like(x),
        c1 * y,
        c1 * z,
        c1 * x,
        c2 * x * y,
        c2 * y * z,
        c20 * (3 * z * z - 1),
        c2 * x * z,
        c22 * (x * x - y * y),
    ]
    return torch.stack(Y, dim=-1)


def sh_gradient(n: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 9 3"]:
    """∂Y_i/∂n of the polynomials of `sh_basis`, for coordinates that move freely; unit vectors move across n only."""
    x, y, z = n.unbind(-1)  # *batch each
    _, c1, c2, c20, c22 = SH_CONSTANTS
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    rows = [
        (zero, zero, zero),
        (zero, c1 * one, zero),
        (zero, zero, c1 * one),
        (c1 * one, zero, zero),
        (c2 * y, c2 * x, zero),
        (zero, c2 * z, c2 * y),
        (zero, zero, 6 * c20 * z),
        (c2 * z, zero, c2 * x),
        (2 * c22 * x, -2 * c22 * y, zero),
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def irradiance(radiance: Float[Tensor, "*batch 9"]) -> Float[Tensor, "*batch 9"]:
    """Coefficients of the irradiance E(n) = ∫ L(ω) max(0, n·ω) dω from those of the radiance L: E_lm = A_l L_lm.

    Divide by π for the shading that `shade` and the renderer use. Source: Ramamoorthi & Hanrahan 2001.
    """
    _check_nine(radiance)
    return radiance * radiance.new_tensor([CLAMPED_COSINE[order] for order in ORDERS])


def lamp(
    direction: Float[Tensor, "*batch 3"] | Sequence[float],
    colour: Float[Tensor, "*batch 3"] | Sequence[float] | float = 1.0,
    ambient: Float[Tensor, "*batch 3"] | Sequence[float] | float = 0.0,
) -> Float[Tensor, "*batch 3 9"]:
    """A distant lamp plus a uniform sky: the order-2 projection of the shading  ambient + colour · max(0, n·direction).

    `direction` points from the face towards the lamp, in model coordinates, any length; (0, 0, 1) lights from the
    front. `colour` is the shading that the lamp gives a surface facing it (the projection overshoots it by 1/16),
    `ambient` the shading of the sky alone. On the side away from the lamp the projection dips to -0.04 · colour: add
    ambient if the light is to have a reciprocal.

    Raises ValueError for a direction of length zero.
    """
    d = torch.as_tensor(direction)
    d = d if d.is_floating_point() else d.to(torch.get_default_dtype())  # *batch 3
    length = d.norm(dim=-1, keepdim=True)
    if not (length > 0).all():
        raise ValueError("a lamp needs a direction of non-zero length, such as (0, 0, 1) for light from the front")
    c = torch.as_tensor(colour, dtype=d.dtype, device=d.device).expand(*d.shape)  # *batch 3
    a = torch.as_tensor(ambient, dtype=d.dtype, device=d.device).expand(*d.shape)  # *batch 3
    sun = irradiance(sh_basis(d / length))  # *batch 9, max(0, n·d)
    sky = torch.zeros_like(sun)
    sky[..., 0] = 1 / SH_CONSTANTS[0]  # *batch 9, the constant 1
    return c[..., :, None] * sun[..., None, :] + a[..., :, None] * sky[..., None, :]


def shade(
    light: Float[Tensor, "*batch C 9"], directions: Float[Tensor, "S 3"] | Float[Tensor, "*batch S 3"]
) -> Float[Tensor, "*batch C S"]:
    """Shading s = F l of each light at unit normals; image = albedo ⊙ s. May be negative where the light is extreme."""
    _check_nine(light)
    return torch.einsum("...ck,...sk->...cs", light, sh_basis(directions))


def shade_inverse(
    inverse: Float[Tensor, "*batch C 9"],
    directions: Float[Tensor, "S 3"] | Float[Tensor, "*batch S 3"],
    floor: float | None = None,
) -> Float[Tensor, "*batch C S"]:
    """Shading s = 1 / (F g) of inverse lights, so that image = albedo ⊙ s, as for `shade`.

    An inverse light fitted to the visible half of a face may reach zero on the other half, where shading then is
    infinite or negative. With `floor` F g is clamped from below, which limits the shading to 1 / floor.

    Raises ValueError where F g ≤ 0 and no floor is given.
    """
    s = shade(inverse, directions)  # *batch C S
    if floor is not None:
        s = s.clamp(min=floor)
    elif not (s > 0).all():
        raise ValueError(f"the inverse light reaches {s.min():.3g}, so shading is not finite there; give a floor")
    return 1 / s


def fit_inverse(
    shading: Float[Tensor, "*batch C S"], directions: Float[Tensor, "S 3"], weight: Weight = "shading"
) -> Float[Tensor, "*batch C 9"]:
    """Inverse light g whose F g is the best reciprocal of the given positive shading s at S unit normals.

    With weight w minimises ‖w (F g - 1/s)‖²:
      "plain"      w = 1   error of the reciprocal itself (section D of the supplement),
      "shading"    w = s   relative error ‖s (F g) - 1‖², the one that the photometric problem (39) sees,
      "intensity"  w = s²  to first order the error of the shading, 1/(F g) - s ≈ -s² (F g - 1/s).

    Solved by normal equations, nine by nine: orthonormal columns make them as well conditioned as the light is even.
    Raises ValueError where s ≤ 0 (no reciprocal) or if the directions do not determine nine coefficients.
    """
    if not (shading > 0).all():  # catches NaN, too
        raise ValueError(
            f"shading reaches {shading.min():.3g}: a light that goes dark has no reciprocal; add ambient light"
        )
    F = sh_basis(directions)  # S 9
    match weight:  # w² and w² / s
        case "plain":
            w2, w2_over_s = torch.ones_like(shading), 1 / shading
        case "shading":
            w2, w2_over_s = shading**2, shading
        case "intensity":
            w2, w2_over_s = shading**4, shading**3
        case _:
            choices = '"plain", "shading" or "intensity"'
            raise ValueError(f"weight {weight!r}; choose {choices}")
    products = (F[:, :, None] * F[:, None, :]).flatten(1)  # S 81
    normal = (w2 @ products).unflatten(-1, (9, 9))  # *batch C 9 9, F' W² F
    right = w2_over_s @ F  # *batch C 9
    return _solve_nine(normal, right)


def inverse_light(
    light: Float[Tensor, "*batch C 9"], directions: Float[Tensor, "S 3"], weight: Weight = "shading"
) -> Float[Tensor, "*batch C 9"]:
    """Coefficients g of the *reciprocal* of the shading s = F·light, so that image ⊙ (F·g) ≈ albedo.

    `directions` are the unit normals at which the reciprocal is to be good: `sphere_points(n)`, or the normals of the
    visible half. `weight` is explained at `fit_inverse`; "plain" is section D of the supplement.

    Raises ValueError where s ≤ 0 somewhere: such a light has no reciprocal. Add ambient light.
    Source: Koizumi & Smith 2020, supplement D; equation (39) uses the result.
    """
    return fit_inverse(shade(light, directions), directions, weight)


def rotate_light(
    light: Float[Tensor, "*batch C 9"], rotation: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch C 9"]:
    """The light turned by R: shade(rotate_light(l, R), R n) = shade(l, n). For regular and inverse lights alike.

    To keep the lamps of the room where they are while a head turns by R, turn its light by Rᵀ: normals live in the
    head. The nine-by-nine matrix D_ij = ∫ Y_i(R n) Y_j(n) dn (Wigner's, in real form) is summed over the twelve corners
    of an icosahedron. That is exact: they are a spherical 5-design, and the integrand has degree 4.
    """
    _check_nine(light)
    corners = _icosahedron().to(light)  # 12 3
    turned = torch.einsum("...ij,qj->...qi", rotation, corners)  # *batch 12 3
    Y_turned, Y = sh_basis(turned), sh_basis(corners)  # *batch 12 9 and 12 9
    D = 4 * pi / 12 * torch.einsum("...qi,qj->...ij", Y_turned, Y)  # *batch 9 9
    return torch.einsum("...ij,...cj->...ci", D, light)


def sphere_points(
    n: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Float[Tensor, "n 3"]:
    """n unit vectors, uniform over the sphere: random ones with a generator, otherwise the even Fibonacci spiral.

    Averages over the spiral converge much faster than those over random points. Raises ValueError for n < 1.
    """
    if n < 1:
        raise ValueError(f"{n} points on the sphere; ask for at least one")
    if generator is not None:
        points = torch.randn(n, 3, generator=generator, dtype=torch.float64, device=generator.device)
        points = torch.nn.functional.normalize(points, dim=-1)  # a Gaussian has no preferred direction
    else:
        i = torch.arange(n, dtype=torch.float64)
        z = 1 - (2 * i + 1) / n  # equal steps in height are equal areas (Archimedes)
        angle = i * pi * (3 - sqrt(5))  # the golden angle never lines up with itself
        r = (1 - z * z).sqrt()
        points = torch.stack([r * torch.cos(angle), r * torch.sin(angle), z], -1)
    return points.to(device=device, dtype=dtype or torch.get_default_dtype())


def _solve_nine(
    normal: Float[Tensor, "*batch C 9 9"], right: Float[Tensor, "*batch C 9"]
) -> Float[Tensor, "*batch C 9"]:
    factor, failed = torch.linalg.cholesky_ex(normal)
    pivots = factor.diagonal(dim1=-2, dim2=-1).detach()  # *batch C 9
    smallest = torch.finfo(normal.dtype).eps ** 0.5 * pivots.amax(-1)
    if failed.any() or (pivots.amin(-1) < smallest).any():
        raise ValueError("these directions do not determine nine coefficients; spread more of them over the sphere")
    return torch.cholesky_solve(right[..., None], factor)[..., 0]


def _icosahedron() -> Float[Tensor, "12 3"]:
    """Unit corners of a regular icosahedron: (0, ±1, ±φ) and its cyclic permutations."""
    golden = (1 + sqrt(5)) / 2
    corner = [(0.0, i, j * golden) for i in (-1, 1) for j in (-1, 1)]
    corners = torch.tensor([c[k:] + c[:k] for c in corner for k in range(3)], dtype=torch.float64)
    return torch.nn.functional.normalize(corners, dim=-1)


def _check_nine(light: Tensor) -> None:
    if light.shape[-1] != 9:
        raise ValueError(
            f"a light has nine coefficients in its last dimension; this one has shape {tuple(light.shape)}"
        )
