"""Pictures of faces: lit, turned, in clay, as normals, over a photo (every chapter's figures are made here).

A picture is made in three steps. `see` projects the mesh and finds what each pixel sees; some rule gives the pixels
their colour; `resolve` averages the samples of a pixel and lays the face over a background. All is torch, and
differentiable in colours, light and (at fixed visibility) in vertices and camera.

Conventions: model coordinates and pixels as everywhere in this package; what comes out are display (sRGB) values
(3, H, W) and the face's coverage (H, W), both in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from facenb.camera import Camera, intrinsics, project, resize
from facenb.colour import to_linear, to_srgb
from facenb.lighting import shade
from facenb.mesh_topology import boundary_loops, loop_length
from facenb.morphable_model import ColourSpace, MorphableModel
from facenb.normals import vertex_normals
from facenb.rasterise import Fragments, interpolate, rasterise
from facenb.rotation import rotation_from_angles

Background = float | Sequence[float] | Tensor
Picture = tuple[Float[Tensor, "3 H W"], Float[Tensor, "H W"]]

# An inverse light that (almost) vanishes would make the picture infinitely bright; 1/0.05 = 20 times is bright enough.
DARKEST_RECIPROCAL = 0.05
DARK_MOUTH = (0.22, 0.08, 0.07)  # display values

# Clay in a studio; lamps in the viewer's coordinates (x right, y up, z towards the viewer), linear colours.
_CLAY = (0.66, 0.46, 0.36)
_LAMPS = (  # direction, colour
    ((-0.65, 0.70, 0.70), (0.95, 0.90, 0.83)),  # key, warm, from the upper left
    ((0.90, 0.10, 0.55), (0.17, 0.19, 0.22)),  # fill, cool, from the right
    ((0.75, 0.45, -0.65), (0.30, 0.30, 0.32)),  # rim, from behind
)
_SKY, _GROUND = (0.13, 0.14, 0.16), (0.05, 0.045, 0.04)


def render_face(
    model: MorphableModel,
    camera: Camera,
    height: int,
    width: int,
    *,
    identity: Float[Tensor, " Nid"] | None = None,
    expression: Float[Tensor, " Nex"] | None = None,
    albedo: Float[Tensor, " Nal"] | None = None,
    light: Float[Tensor, "3 9"] | Float[Tensor, "1 3 9"] | None = None,
    inverse: bool = False,
    mouth: Sequence[float] | None = None,
    background: Background = 1.0,
    antialias: int = 1,
) -> Picture:
    """A picture of the model's face with the given coefficients, and its coverage (1 inside, 0 outside).

    `light` and `inverse` as in `lit_colours`; without a light the picture shows albedo. Through an open mouth one sees
    the background, or, if `mouth` is a colour such as `DARK_MOUTH`, a cavity of that colour (see `close_holes`).
    `antialias` = s takes s × s samples a pixel.
    """
    X, T = model.vertices(identity, expression), model.triangles  # V 3
    colours = lit_colours(model.colours(albedo), vertex_normals(X, T), light, inverse, model.colour_space)
    if mouth is not None:
        X, T, colours = close_holes(X, T, colours, mouth)
    return render_mesh(X, T, colours, camera, height, width, background=background, antialias=antialias)


def close_holes(
    vertices: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    colours: Float[Tensor, "V 3"],
    colour: Sequence[float],
    depth: float = 12.0,
) -> tuple[Float[Tensor, "W 3"], Int[Tensor, "U 3"], Float[Tensor, "W 3"]]:
    """The mesh with a cavity of one colour behind every hole: a fan that meets `depth` mm behind the hole's middle.

    For the eye only; the model knows nothing about the inside of a mouth. The longest boundary is the face's outer rim
    and stays open.
    """
    rims = sorted(boundary_loops(triangles), key=lambda rim: float(loop_length(rim, vertices)))
    for rim in rims[:-1]:
        middle = vertices[rim].mean(0, keepdim=True) - vertices.new_tensor([[0.0, 0.0, depth]])
        n, L = len(vertices), len(rim)
        i = n + torch.arange(L, device=triangles.device)  # a copy of the rim, so that the lips keep their colour
        fan = torch.stack([i.roll(-1), i, torch.full_like(i, n + L)], -1)  # the mesh lies on the left of its rim
        vertices = torch.cat([vertices, vertices[rim], middle])
        triangles = torch.cat([triangles, fan.to(triangles)])
        colours = torch.cat([colours, colours.new_tensor(colour).expand(L + 1, 3)])
    return vertices, triangles, colours


def lit_colours(
    albedo: Float[Tensor, "V 3"],
    normals: Float[Tensor, "V 3"],
    light: Float[Tensor, "3 9"] | Float[Tensor, "1 3 9"] | None,
    inverse: bool = False,
    colour_space: ColourSpace = "sRGB",
) -> Float[Tensor, "V 3"]:
    """Display colours of vertices of the given albedo (in `colour_space`) and unit normals (model coordinates).

    A regular light is physical: linear colour = linear albedo × shading. An inverse light lives where the photometric
    problem (39) was solved, in the model's colour space: colour = albedo / (F l), with F l kept above
    `DARKEST_RECIPROCAL`. Colours are computed at vertices, not at pixels: SH light varies less across a 2 mm triangle
    than an eye can tell, and there are far fewer of them.
    """
    if light is None:
        return albedo if colour_space == "sRGB" else to_srgb(albedo.clamp(min=0))
    s = shade(light.reshape(1, -1, 9).to(normals), normals)[0].T  # V 3
    if inverse:
        colours = albedo / s.clamp(min=DARKEST_RECIPROCAL)
        return colours if colour_space == "sRGB" else to_srgb(colours.clamp(min=0))
    linear = albedo.clamp(min=0)
    if colour_space == "sRGB":
        linear = to_linear(linear)
    return to_srgb(linear * s.clamp(min=0))


def render_mesh(
    vertices: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    colours: Float[Tensor, "V 3"],
    camera: Camera,
    height: int,
    width: int,
    *,
    background: Background = 1.0,
    antialias: int = 1,
) -> Picture:
    """A mesh (mm, model coordinates) with display colours at its vertices, just as they are: no light."""
    fragments = see(vertices, triangles, camera, height, width, antialias)
    return resolve(interpolate(fragments, triangles, colours)[0], fragments, background, antialias)


def normals_picture(
    vertices: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    camera: Camera,
    height: int,
    width: int,
    *,
    background: Background = 1.0,
    antialias: int = 1,
) -> Picture:
    """Unit normals in model coordinates as colours: (n + 1) / 2, so red grows to the subject's left, green upwards."""
    fragments = see(vertices, triangles, camera, height, width, antialias)
    n = interpolate(fragments, triangles, vertex_normals(vertices, triangles))[0]  # sH sW 3
    colours = (normalize(n, dim=-1) + 1) / 2 * fragments.mask[0, ..., None]
    return resolve(colours, fragments, background, antialias)


def shaded_picture(
    vertices: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    camera: Camera,
    height: int,
    width: int,
    *,
    mouth: Sequence[float] | None = None,
    background: Background = 1.0,
    antialias: int = 2,
) -> Picture:
    """The bare geometry in clay, lit by studio lamps that stay with the camera; `mouth` as in `render_face`."""
    X, T, colours = vertices, triangles, clay_colours(vertices, triangles, camera)
    if mouth is not None:
        X, T, colours = close_holes(X, T, colours, mouth)
    return render_mesh(X, T, colours, camera, height, width, background=background, antialias=antialias)


def clay_colours(vertices: Float[Tensor, "V 3"], triangles: Int[Tensor, "T 3"], camera: Camera) -> Float[Tensor, "V 3"]:
    """Display colours of clay vertices under a key, a fill and a rim lamp, placed relative to the viewer.

    The lamps are true clamped cosines, sharper than any SH light: every dent shows.
    """
    viewer = camera.R.to(vertices) * vertices.new_tensor([[1.0], [-1.0], [-1.0]])  # model → right, up, to the viewer
    n = vertex_normals(vertices, triangles) @ viewer.T  # V 3
    up = (n[:, 1:2] + 1) / 2
    s = up * n.new_tensor(_SKY) + (1 - up) * n.new_tensor(_GROUND)  # V 3
    for direction, colour in _LAMPS:
        cosine = n @ normalize(n.new_tensor(direction), dim=0)  # V
        s = s + cosine.clamp(min=0)[:, None] * n.new_tensor(colour)
    return to_srgb(n.new_tensor(_CLAY) * s)


def wireframe(
    vertices: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    camera: Camera,
    height: int,
    width: int,
    *,
    thickness: float = 0.6,
    antialias: int = 3,
) -> Float[Tensor, "H W"]:
    """How much of each pixel the visible edges cover, in [0, 1]; `thickness` in pixels. A mask for `overlay`."""
    fragments = see(vertices, triangles, camera, height, width, antialias)
    pixels, _ = project(_supersampled(camera, height, width, antialias, vertices), vertices)
    y, x = fragments.mask[0].nonzero(as_tuple=True)  # N
    corner = pixels[triangles[fragments.triangle[0, y, x]]]  # N 3 2
    edge = corner.roll(-1, 1) - corner
    to_pixel = torch.stack([x, y], -1)[:, None] - corner
    cross = edge[..., 0] * to_pixel[..., 1] - edge[..., 1] * to_pixel[..., 0]
    distance = (cross.abs() / edge.norm(dim=-1).clamp(min=1e-9)).amin(-1)  # N, to the nearest edge
    line = vertices.new_zeros(height * antialias, width * antialias)
    line[y, x] = (antialias * thickness / 2 + 0.5 - distance).clamp(0, 1)
    return _average(line, antialias)


def overlay(
    photo: Float[Tensor, "3 H W"],
    rendering: Float[Tensor, "3 H W"] | Sequence[float],
    mask: Float[Tensor, "H W"],
    alpha: float = 1.0,
) -> Float[Tensor, "3 H W"]:
    """The rendering (or one colour) laid over the photo where `mask` is 1, with opacity `alpha`."""
    rendering = torch.as_tensor(rendering, dtype=photo.dtype, device=photo.device)
    if rendering.ndim == 1:
        rendering = rendering[:, None, None]
    opacity = alpha * mask.to(photo)
    return photo + opacity * (rendering - photo)


def portrait_camera(
    model: MorphableModel | Float[Tensor, "V 3"],
    height: int,
    width: int,
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    distance: float = 700.0,
    margin: float = 0.08,
) -> Camera:
    """A camera `distance` mm from the middle of the face, which fills the picture but for a `margin` on each side.

    Angles (radians) turn the head as in `facenb.rotation`: yaw > 0 to the subject's left, pitch > 0 bows it. They do
    not change the scale, so that a row of turned heads matches. `model` is a morphable model (its mean counts) or
    vertices.
    """
    X = model.shape_mean if isinstance(model, MorphableModel) else model
    low, high = X.amin(0), X.amax(0)  # mm
    focal = (1 - 2 * margin) * distance * torch.minimum(width / (high - low)[0], height / (high - low)[1])
    R = rotation_from_angles(yaw, pitch, roll, dtype=X.dtype).to(X.device)
    t = X.new_tensor([0.0, 0.0, distance]) - R @ ((low + high) / 2)
    return Camera(intrinsics(focal, width, height), R, t)


def soft_background(height: int, width: int, dtype: torch.dtype = torch.float32) -> Float[Tensor, "3 H W"]:
    """A photographer's grey paper: light behind the head, darker towards the corners."""
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=dtype) for n in (height, width)), indexing="ij")
    fall = torch.exp(-0.5 * (x**2 + (y + 0.15) ** 2))
    grey = torch.tensor([0.62, 0.64, 0.67], dtype=dtype)[:, None, None]
    return grey + 0.28 * (fall - 0.35)


def see(
    vertices: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    camera: Camera,
    height: int,
    width: int,
    antialias: int = 1,
) -> Fragments:
    """What the (single) camera sees of the mesh, with `antialias` squared samples a pixel: fragments (1, sH, sW)."""
    pixels, depth = project(_supersampled(camera, height, width, antialias, vertices), vertices)
    on_screen = torch.cat([pixels, depth[:, None]], -1)  # V 3
    return rasterise(on_screen[None], triangles, height * antialias, width * antialias)


def resolve(
    colours: Float[Tensor, "sH sW 3"], fragments: Fragments, background: Background = 1.0, antialias: int = 1
) -> Picture:
    """Average the samples of each pixel and lay them over the background (grey value, colour or picture (3, H, W)).

    `colours` are 0 where nothing is seen, as `interpolate` leaves them.
    """
    image = _average(colours, antialias).movedim(-1, 0)  # 3 H W
    coverage = _average(fragments.mask[0].to(colours), antialias)  # H W
    behind = torch.as_tensor(background, dtype=image.dtype, device=image.device)
    if behind.ndim == 1:
        behind = behind[:, None, None]
    return (image + (1 - coverage) * behind).clamp(0, 1), coverage


def _average(samples: Float[Tensor, "sH sW ..."], s: int) -> Float[Tensor, "H W ..."]:
    """Means of s × s blocks. Adding s² strided views is several times faster than a pooling layer on (sH, sW, 3)."""
    if s == 1:
        return samples
    return sum(samples[i::s, j::s] for i in range(s) for j in range(s)) / s**2


def _supersampled(camera: Camera, height: int, width: int, s: int, like: Tensor) -> Camera:
    """The camera of the s times larger image, in the type and on the device of `like`."""
    camera = camera.to(like.device, like.dtype)
    return camera if s == 1 else resize(camera, (width, height), (s * width, s * height))
