"""Points that stay where they are on the face (book: *Learning from residuals*).

What a face looks like in a photo is summed over a fixed set of points of the model, whose every property is tabulated
once: position and normal, linear in the shape m, and albedo, linear in h. The points are either all vertices, to draw
with, or some hundreds drawn evenly over the surface, to measure with.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import normalize

from facenb.ambient_occlusion import neck_and_chest, sky_share
from facenb.flatten import Flattening
from facenb.morphable_model import MorphableModel
from facenb.normals import vertex_normals

INNER_WIDTH = 0.8  # of the jaw's width
ABOVE_BROWS = 0.06  # of the height from chin to brows
LOOKS_DOWN = -0.3  # vertical part of a normal
BLUR = 1.5  # mm, half a pixel of a face that is 80 px wide or so
HOLLOW = 0.5  # power of the share of the sky: ambient light is dimmed by all of it, lamps by none


@dataclass(frozen=True)
class FacePoints:
    """K points of a morphable model.

    Attributes:
        mean, shape: a and B, mm.
        normal, normal_basis: normal of the mean, unit length, and its change with m to first order: a smile turns the
            cheeks' normals, and so their shading.
        albedo_mean, albedo: c and D.
        uv: places on the flattened face.
    """

    mean: Float[Tensor, "K 3"]
    shape: Float[Tensor, "K 3 Ns"]
    normal: Float[Tensor, "K 3"]
    normal_basis: Float[Tensor, "K 3 Ns"]
    albedo_mean: Float[Tensor, "K 3"]
    albedo: Float[Tensor, "K 3 Na"]
    uv: Float[Tensor, "K 2"]

    @property
    def n(self) -> int:
        return self.mean.shape[0]

    @property
    def n_shape(self) -> int:
        return self.shape.shape[-1]

    @property
    def n_albedo(self) -> int:
        return self.albedo.shape[-1]

    @property
    def centre(self) -> Float[Tensor, " 3"]:
        """X₀, the mean of the points, mm."""
        return self.mean.mean(0)

    def at(self, m: Float[Tensor, "B Ns"]) -> Float[Tensor, "B K 3"]:
        """a + B m, mm."""
        return self.mean + _combined(self.shape, m)

    def normals(self, m: Float[Tensor, "B Ns"]) -> Float[Tensor, "B K 3"]:
        """Unit normals of the shape m, right to first order."""
        return normalize(self.normal + _combined(self.normal_basis, m), dim=-1)

    def normal_gradient(self, m: Float[Tensor, "B Ns"], g: Float[Tensor, "B K C 3"]) -> Float[Tensor, "B K C 3"]:
        """g ∂n/∂n′ for C row vectors g at each point, with n = n′/‖n′‖ and n′ = normal + normal_basis m."""
        raw = self.normal + _combined(self.normal_basis, m)
        length = raw.norm(dim=-1, keepdim=True)  # B K 1
        n = (raw / length)[:, :, None]
        return (g - (g * n).sum(-1, keepdim=True) * n) / length[..., None]

    def colours(self, h: Float[Tensor, "B Na"]) -> Float[Tensor, "B K 3"]:
        """c + D h, in the model's colour space."""
        return self.albedo_mean + _combined(self.albedo, h)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> FacePoints:
        """Copy on another device or in another type."""
        return FacePoints(**{f.name: getattr(self, f.name).to(device=device, dtype=dtype) for f in fields(self)})


def vertices_as_points(model: MorphableModel, flattening: Flattening) -> FacePoints:
    """All vertices, in the model's order. `flattening` is the model's own, for uv.

    The change of normals is a difference of ± one standard deviation of each component: what m usually is.
    """
    T, X, B = model.triangles, model.shape_mean, model.shape_basis
    slopes = [(vertex_normals(X + b, T) - vertex_normals(X - b, T)) / 2 for b in B.unbind(-1)]
    return FacePoints(
        mean=X,
        shape=B,
        normal=vertex_normals(X, T),
        normal_basis=torch.stack(slopes, -1),
        albedo_mean=model.albedo_mean,
        albedo=model.albedo_basis,
        uv=flattening.uv[: model.n_vertices].to(X),
    )


def as_photographed(
    model: MorphableModel, flattening: Flattening, blur: float = BLUR, hollow: float = HOLLOW
) -> FacePoints:
    """All vertices, with albedo as a photo shows it: darker in the hollows, and no sharper than its pixels.

    Spherical harmonics light a point by its normal alone, as if it stood alone. In a face the eyes' sockets and the
    sides of the nose see less of the sky, are darker for it, and a fit that does not know so moves the brows down to
    explain the shadow, and turns the face.

    Args:
        blur: of the albedo, mm; 0 leaves it sharp.
        hollow: albedo is multiplied by this power of the share of the sky that a vertex of the mean face sees.
    """
    surface = vertices_as_points(model, flattening)
    if hollow:
        light = torch.from_numpy(_sky(model)).to(model.shape_mean)[:, None] ** hollow
        surface = replace(surface, albedo_mean=surface.albedo_mean * light, albedo=surface.albedo * light[..., None])
    return blurred(surface, model.triangles, blur) if blur else surface


def _sky(model: MorphableModel) -> Float[np.ndarray, " V"]:
    """Share of the sky that the vertices of the mean face see, which has a neck below it."""
    X, T = model.shape_mean.cpu().double().numpy(), model.triangles.cpu().numpy()
    if not len(model.landmarks68):
        return sky_share(X, T)
    neck, its_triangles = neck_and_chest(X[model.landmarks68.cpu().numpy()])
    return sky_share(np.concatenate([X, neck]), np.concatenate([T, its_triangles + len(X)]))[: len(X)]


def blurred(surface: FacePoints, triangles: Int[Tensor, "T 3"], width: float) -> FacePoints:
    """The same vertices with albedo averaged over their neighbourhood, as a pixel does that is larger than an iris.

    Gaussian of `width` mm (standard deviation) in straight distance on the mean face, weighted by surface area.
    """
    X = surface.mean.detach().cpu().double().numpy()
    T = triangles.cpu().numpy()
    sides = X[T[:, 1:]] - X[T[:, :1]]  # T 2 3
    third = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=-1) / 6
    area = np.bincount(T.ravel(), np.repeat(third, 3), len(X))  # of the surface around each vertex, mm²
    tree = cKDTree(X)
    near = tree.sparse_distance_matrix(tree, 3 * width, output_type="coo_matrix")
    weight = sp.coo_matrix((np.exp(-((near.data / width) ** 2) / 2), (near.row, near.col)), near.shape)
    weight = weight @ sp.diags(area)
    mean = sp.diags(1 / np.asarray(weight.sum(1)).ravel()) @ weight

    def average(values: Float[Tensor, "V ..."]) -> Float[Tensor, "V ..."]:
        flat = mean @ values.detach().cpu().double().reshape(len(X), -1).numpy()
        return torch.from_numpy(flat).reshape(values.shape).to(values)

    return replace(surface, albedo_mean=average(surface.albedo_mean), albedo=average(surface.albedo))


def random_points(
    surface: FacePoints,
    triangles: Int[Tensor, "T 3"],
    n: int,
    generator: torch.Generator,
    keep: Bool[Tensor, " V"] | None = None,
) -> FacePoints:
    """n points, even over the surface of the mean face; `surface` are all its vertices.

    `keep`: draw only from triangles all of whose vertices are kept.
    """
    if keep is not None:
        triangles = triangles[keep[triangles].all(1)]
    corner = surface.mean[triangles]  # T 3 3
    area = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]).norm(dim=-1)
    chosen = triangles[torch.multinomial(area, n, replacement=True, generator=generator)]  # n 3
    s = torch.rand(n, 2, generator=generator, dtype=area.dtype, device=area.device)
    s = torch.where(s.sum(-1, keepdim=True) > 1, 1 - s, s)  # the other half of the parallelogram
    weight = torch.cat([1 - s.sum(-1, keepdim=True), s], -1)  # n 3: barycentric

    def at(values: Float[Tensor, "V ..."]) -> Float[Tensor, "n ..."]:
        return torch.einsum("kj,kj...->k...", weight, values[chosen])

    points = {f.name: at(getattr(surface, f.name)) for f in fields(surface)}
    return FacePoints(**points | {"normal": normalize(points["normal"], dim=-1)})


def inner_face(model: MorphableModel) -> Bool[Tensor, " V"]:
    """Vertices from brows to chin and away from the sides of the jaw; all of a model without landmarks.

    What lies outside often hides under hair, and at the silhouette its pixels are half background: both pull a fit
    towards a smaller face. Under the chin lies the head's own shadow, which pulls the chin up: what looks down below
    the mouth is left out, too.
    """
    X = model.shape_mean
    if not len(model.landmarks68):
        return torch.ones(len(X), dtype=torch.bool, device=X.device)
    landmarks = X[model.landmarks68]
    half_width = landmarks[[0, 16], 0].abs().mean()  # of the jaw at the ears
    brow, chin = landmarks[17:27, 1].amax(), landmarks[8, 1]
    up = vertex_normals(X, model.triangles)[:, 1]
    below = (X[:, 1] < landmarks[57, 1]) & (up < LOOKS_DOWN)
    return (X[:, 0].abs() < INNER_WIDTH * half_width) & (X[:, 1] < brow + ABOVE_BROWS * (brow - chin)) & ~below


def _combined(basis: Float[Tensor, "K 3 N"], coefficients: Float[Tensor, "B N"]) -> Float[Tensor, "B K 3"]:
    K, _, N = basis.shape
    return (coefficients @ basis.reshape(3 * K, N).T).reshape(-1, K, 3)
