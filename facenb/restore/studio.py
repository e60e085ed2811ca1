"""Faces in the second system's own world, with everything about them known (book: *Depth, light and a pinhole*).

The protocol follows Wu et al. 2020, who rendered a morphable model to measure what no photo can tell: a pinhole
of 10°, a head that turns up to 40° to the sides and 20° up and down, one lamp and an ambient term, no shadows. One unit
is 1000 mm and the middle of the head lies at depth 1. Skin is the open model's; two thirds of the faces get a painted
hair line, because a bald world would be too easy for a symmetric albedo.

Face number i of a seed depends on (seed, i) alone. Truth is taken at pixel centres, colours are means over 2 × 2
samples. The open model is a mask without ears and neck, so its relief is shallower than a head's: errors here are not
those of published tables, and should be read against the baselines of the same faces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from scipy.ndimage import zoom
from torch import Tensor

from facenb.camera import intrinsics_from_fov
from facenb.depth_light import FIELD_OF_VIEW, DepthLight, lambertian
from facenb.flatten import flatten
from facenb.morphable_model import MorphableModel
from facenb.normals import vertex_normals
from facenb.rasterise import Fragments, interpolate, rasterise
from facenb.restore.view import MIDDLE, Viewpoint
from facenb.rotation import FRONTAL

UNIT = 1000.0  # mm
HEAD = (0.0, 5.0, -10.0)  # mm, the point of the model that lies in the middle
SAMPLES = 2  # to a pixel, each way
BEHIND = 1.1  # depth of the background
YAW, PITCH, ROLL = (np.radians(degrees) for degrees in (40, 20, 5))  # largest, uniformly drawn
SHIFT = 0.004
IDENTITY, EXPRESSION, ALBEDO = 60, 30, 60  # components that vary
IDENTITY_SD, EXPRESSION_SD, ALBEDO_SD = 0.8, 0.6, 0.8
HAIR = 0.7  # share of faces with a hair line
MOUTH, MOUTH_DEPTH = (0.14, 0.06, 0.06), 6.0  # colour and depth (mm) of the dark between open lips
GRAIN = 0.005  # standard deviation of the sensor's noise


@dataclass(frozen=True)
class StudioFaces:
    """N faces and the truth about them, S × S pixels. Depths in units of 1000 mm.

    Attributes:
        image: the photos, sRGB bytes.
        depth, mask, albedo: what the photo's camera sees; depth is `BEHIND` outside the mask.
        canonical_depth, canonical_mask, canonical_albedo: the same, seen from the front.
        angles, shift: the view, as in `facenb.restore.view`.
        ambient, diffuse, lamp: the light; `lamp` is a unit vector in model coordinates.
        identity: the open model's coefficients, for whoever wants the mesh.
    """

    image: UInt8[Tensor, "N 3 S S"]
    depth: Float[Tensor, "N S S"]
    mask: Bool[Tensor, "N S S"]
    albedo: UInt8[Tensor, "N 3 S S"]
    canonical_depth: Float[Tensor, "N S S"]
    canonical_mask: Bool[Tensor, "N S S"]
    canonical_albedo: UInt8[Tensor, "N 3 S S"]
    angles: Float[Tensor, "N 3"]
    shift: Float[Tensor, "N 3"]
    ambient: Float[Tensor, " N"]
    diffuse: Float[Tensor, " N"]
    lamp: Float[Tensor, "N 3"]
    identity: Float[Tensor, "N k"]
    expression: Float[Tensor, "N e"]

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index: slice) -> StudioFaces:
        return StudioFaces(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    @property
    def photos(self) -> Float[Tensor, "N 3 S S"]:
        """The photos as numbers in [0, 1]."""
        return self.image.float() / 255

    @property
    def view(self) -> Viewpoint:
        return Viewpoint(self.angles, self.shift)

    @staticmethod
    def joined(parts: Iterable[StudioFaces]) -> StudioFaces:
        """Several sets as one."""
        parts = list(parts)
        return StudioFaces(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(StudioFaces)})


@dataclass(frozen=True)
class Studio:
    """The open model, or another, as the studio draws it: with the mouth closed by a dark membrane.

    Attributes:
        triangles: of the model's vertices and the added ones.
        extend: vertex values (V, …) → (W, …), the added vertices' being means of their rims'.
        inside: True for the added vertices in the middle of a hole.
    """

    model: MorphableModel
    triangles: Int[Tensor, "T 3"]
    extend: Callable[[Tensor], Tensor]
    inside: Bool[Tensor, " W"]


def open_studio(model: MorphableModel) -> Studio:
    """A studio for faces of this model. Raises MeshError for meshes that `facenb.flatten` cannot lay out."""
    closed = flatten(model, "uniform")
    holes = [len(rim) > 2 for rim in closed.parents]
    inside = torch.tensor([False] * model.n_vertices + holes)
    model = model.truncate(IDENTITY, EXPRESSION, ALBEDO)
    return Studio(model, closed.triangles, closed.extend, inside)


@dataclass(frozen=True)
class Subject:
    """A head without view and light.

    Attributes:
        X: vertices in the canonical camera, units of 1000 mm.
        normals: model coordinates.
        colours: sRGB, in [0, 1].
        triangles: front faces are seen.
        skin: vertices of the face itself, not of a membrane that closes a hole.
        identity, expression: coefficients, if the subject comes from a model.
    """

    X: Float[Tensor, "V 3"]
    normals: Float[Tensor, "V 3"]
    colours: Float[Tensor, "V 3"]
    triangles: Int[Tensor, "T 3"]
    skin: Bool[Tensor, " V"]
    identity: Float[Tensor, " k"]
    expression: Float[Tensor, " e"]


def studio_faces(studio: Studio, seed: int, indices: Iterable[int], size: int = 64) -> StudioFaces:
    """Faces `indices` of `seed`: each another person, in another view and light."""
    faces = []
    for i in indices:
        rng = np.random.default_rng([seed, i])
        subject = random_subject(studio, rng)
        faces.append(photograph(subject, random_view(rng), random_lamp(rng), rng, size))
    return StudioFaces.joined(faces)


def random_subject(studio: Studio, rng: np.random.Generator) -> Subject:
    """A random person."""
    model = studio.model
    k, e, h = (
        torch.from_numpy(sd * rng.standard_normal(n)).to(model.shape_mean.dtype)
        for sd, n in (
            (IDENTITY_SD, model.n_identity),
            (EXPRESSION_SD, model.n_expression),
            (ALBEDO_SD, model.n_albedo),
        )
    )
    colours = model.colours(h)  # V 3
    if rng.random() < HAIR:
        colours = _with_hair(colours, model.shape_mean, rng)
    return pose_subject(studio, k, e, colours)


def pose_subject(
    studio: Studio, identity: Float[Tensor, " k"], expression: Float[Tensor, " e"], colours: Float[Tensor, "V 3"]
) -> Subject:
    """The person with these coefficients and this skin, before the canonical camera."""
    vertices = studio.extend(studio.model.vertices(identity, expression))  # W 3, mm
    deep = vertices.new_tensor([0.0, 0.0, MOUTH_DEPTH]) * studio.inside[:, None]
    vertices = vertices - deep
    colours = torch.where(studio.inside[:, None], colours.new_tensor(MOUTH), studio.extend(colours)).clamp(0.02, 1)
    normals = vertex_normals(vertices, studio.triangles)
    return Subject(canonical(vertices), normals, colours, studio.triangles, ~studio.inside, identity, expression)


def canonical(vertices: Float[Tensor, "V 3"]) -> Float[Tensor, "V 3"]:
    """Model coordinates, mm → the canonical camera's, units of 1000 mm."""
    return (vertices - vertices.new_tensor(HEAD)) / UNIT * vertices.new_tensor(FRONTAL) + vertices.new_tensor(MIDDLE)


def random_view(rng: np.random.Generator) -> Viewpoint:
    angles = rng.uniform(-1, 1, 3) * (YAW, PITCH, ROLL)
    shift = np.append(rng.uniform(-SHIFT, SHIFT, 2), 0)
    return Viewpoint(*(torch.from_numpy(a.astype(np.float32))[None] for a in (angles, shift)))


def random_lamp(rng: np.random.Generator) -> tuple[float, float, Float[Tensor, " 3"]]:
    """Ambient and diffuse part, and the direction towards a lamp on the camera's side (camera's axes, y up, z back)."""
    x, y = rng.uniform(-1, 1, 2)
    direction = np.array([x, y + 0.2, 1.0])
    return rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.7), torch.from_numpy(direction / np.linalg.norm(direction)).float()


def photograph(
    subject: Subject,
    view: Viewpoint,
    lamp: tuple[float, float, Float[Tensor, " 3"]],
    rng: np.random.Generator,
    size: int = 64,
) -> StudioFaces:
    """One photo of a subject, and its truth. `rng` draws the background and the sensor's noise."""
    ambient, diffuse, direction = lamp
    axes = subject.X.new_tensor(FRONTAL)
    turned = turn(subject.X, view)  # V 3
    R = view.rotation[0]
    seen_normals = ((subject.normals * axes) @ R.T) * axes  # V 3: turned with the head, model's axes
    attributes = torch.cat([subject.colours, seen_normals], 1)
    fine = draw(turned, subject.triangles, size * SAMPLES)
    values = interpolate(fine, subject.triangles, attributes)[0]  # 2S 2S 6
    albedo, n = values[..., :3], torch.nn.functional.normalize(values[..., 3:], dim=-1)
    light = DepthLight(torch.tensor([ambient]), torch.tensor([diffuse]), direction[None, :2] / direction[2])
    shading = lambertian(n[None].float(), light)[0]  # 2S 2S
    behind = torch.from_numpy(_background(rng, size * SAMPLES)).to(albedo)
    hit = fine.mask[0][..., None]
    photo = _reduced(torch.where(hit, (albedo * shading[..., None]).clamp(0, 1), behind))
    photo = photo + torch.from_numpy(rng.normal(0, GRAIN, photo.shape)).to(photo)
    coarse = draw(turned, subject.triangles, size)
    front = draw(subject.X, subject.triangles, size)
    front_fine = draw(subject.X, subject.triangles, size * SAMPLES)
    front_albedo = _covered_mean(front_fine, interpolate(front_fine, subject.triangles, subject.colours)[0])
    world = ((direction * axes) @ R) * axes  # the lamp, seen from the head
    return StudioFaces(
        image=_bytes(photo),
        depth=torch.where(coarse.mask, coarse.depth, BEHIND).float(),
        mask=coarse.mask,
        albedo=_bytes(_covered_mean(fine, albedo)),
        canonical_depth=torch.where(front.mask, front.depth, BEHIND).float(),
        canonical_mask=front.mask,
        canonical_albedo=_bytes(front_albedo),
        angles=view.angles,
        shift=view.shift,
        ambient=torch.tensor([ambient], dtype=torch.float32),
        diffuse=torch.tensor([diffuse], dtype=torch.float32),
        lamp=world[None],
        identity=subject.identity[None],
        expression=subject.expression[None],
    )


def turn(X: Float[Tensor, "V 3"], view: Viewpoint) -> Float[Tensor, "V 3"]:
    """Vertices of the canonical camera, moved into a view."""
    e = X.new_tensor(MIDDLE)
    return (X - e) @ view.rotation[0].to(X).T + e + view.shift[0].to(X)


def draw(X: Float[Tensor, "V 3"], triangles: Tensor, size: int) -> Fragments:
    """What the 10° camera sees of a mesh in its coordinates."""
    K = intrinsics_from_fov(FIELD_OF_VIEW, size, size, dtype=X.dtype)
    pixels = X[:, :2] / X[:, 2:] * K[0, 0] + K[:2, 2]
    return rasterise(torch.cat([pixels, X[:, 2:]], 1)[None], triangles, size, size, cull="back")


def _with_hair(colours: Tensor, mean: Tensor, rng: np.random.Generator) -> Tensor:
    """Everything above a hair line in one colour, with some texture."""
    x, y = mean[:, 0], mean[:, 1]
    hair = y > rng.uniform(55, 95) - (x / 70) ** 2 * rng.uniform(0, 30)  # mm
    shade = np.clip(np.array([0.35, 0.25, 0.18]) * rng.uniform(0.2, 1.6) + rng.normal(0, 0.03, 3), 0.03, 0.9)
    texture = 1 + 0.1 * torch.from_numpy(rng.standard_normal((len(y), 1)))
    return torch.where(hair[:, None], (torch.from_numpy(shade) * texture).to(colours), colours)


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A soft pattern of a few blots of colour."""
    n = int(rng.integers(2, 7))
    blots = 0.9 * rng.random(3) + rng.uniform(0.02, 0.2) * rng.standard_normal((n, n, 3))
    return np.clip(zoom(blots, (size / n, size / n, 1), order=1, grid_mode=True, mode="nearest"), 0, 1)


def _reduced(picture: Float[Tensor, "2S 2S C"]) -> Float[Tensor, "C S S"]:
    """The mean of each pixel's samples."""
    S = len(picture) // SAMPLES
    return picture.reshape(S, SAMPLES, S, SAMPLES, -1).mean((1, 3)).permute(2, 0, 1)


def _covered_mean(fragments: Fragments, colours: Float[Tensor, "2S 2S 3"]) -> Float[Tensor, "3 S S"]:
    """The mean over those samples of a pixel that see the face; 0 where none does."""
    covered = fragments.mask[0][..., None].to(colours)
    return _reduced(colours * covered) / _reduced(covered).clamp(min=1e-6)


def _bytes(picture: Float[Tensor, "C S S"]) -> UInt8[Tensor, "1 C S S"]:
    return (255 * picture.clamp(0, 1)).round().to(torch.uint8)[None]
