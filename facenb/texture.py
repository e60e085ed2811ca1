"""Pictures on the flattened face: draw a mesh with a UV texture, and take a texture from a photo.

The flattening is the map between the two worlds: every texel of the unit square is a point of the surface, and a camera
says which pixel of the photo shows that point, if any.

Conventions: u to the right (the subject's left), v *down*, both in [0, 1]; the texel in row r, column c has its
centre at ((c + ½) / W, (r + ½) / H). Textures are (3, H, W) display values. Model coordinates in mm.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample, normalize
from torch.nn.functional import interpolate as resize_picture

from facenb.camera import Camera, project
from facenb.flatten import Flattening
from facenb.normals import vertex_normals
from facenb.pictures import Background, Picture, resolve, see
from facenb.rasterise import Fragments, interpolate, rasterise

Texture = Float[Tensor, "C H W"] | Callable[[Float[Tensor, "N 2"]], Float[Tensor, "N 3"]]

# How much deeper (mm) than the nearest surface a point may lie and still count as seen: less than the depth of a
# nostril.
_DEPTH_TOLERANCE = 1.0


def textured_picture(
    vertices: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    uv: Float[Tensor, "V 2"],
    texture: Texture,
    camera: Camera,
    height: int,
    width: int,
    *,
    shading: Float[Tensor, "V 3"] | None = None,
    background: Background = 1.0,
    antialias: int = 1,
) -> Picture:
    """A mesh wearing a texture: a picture (3, h, w), or a function of uv (N, 2) that returns display colours (N, 3).

    No light is added, for what a photo's texture shows is lit already. A pattern wants some: `shading` multiplies the
    display colours, for instance `clay_colours(...)` divided by their maximum. With a `Flattening` f, draw the vertices
    `f.extend(X)` and the triangles `f.triangles[f.source >= 0]` with `f.uv`.
    """
    fragments = see(vertices, triangles, camera, height, width, antialias)
    values = uv.to(vertices) if shading is None else torch.cat([uv.to(vertices), shading.to(vertices)], -1)
    values = interpolate(fragments, triangles, values)[0]  # sH sW 2 or sH sW 5
    seen, uv = fragments.mask[0], values[..., :2]
    if callable(texture):
        colours = values.new_zeros(*seen.shape, 3).index_put((seen,), texture(uv[seen]))
    else:  # sampling the background, too, is faster than picking the pixels that see the face
        colours = _sample(texture.to(vertices), uv).movedim(0, -1) * seen[..., None]
    picture = colours if shading is None else colours * values[..., 2:]
    return resolve(picture, fragments, background, antialias)


def sample_texture(texture: Float[Tensor, "C H W"], uv: Float[Tensor, "N 2"]) -> Float[Tensor, "N C"]:
    """Bilinear samples of a texture; differentiable in both. Beyond the outer texel centres the border goes on.

    grid_sample's own coordinates run from −1 to 1 between the *borders* of the picture if `align_corners` is False,
    which is exactly our convention stretched by two.
    """
    return _sample(texture, uv[:, None])[:, :, 0].T


def _sample(texture: Float[Tensor, "C H W"], uv: Float[Tensor, "h w 2"]) -> Float[Tensor, "C h w"]:
    return grid_sample(texture[None], (2 * uv - 1)[None], padding_mode="border", align_corners=False)[0]


def texture_from_photo(
    photo: Float[Tensor, "C H W"],
    camera: Camera,
    vertices: Float[Tensor, "V 3"],
    triangles: Int[Tensor, "T 3"],
    flattening: Flattening,
    resolution: int = 512,
    through_holes: bool = False,
) -> tuple[Float[Tensor, "C R R"], Float[Tensor, "R R"]]:
    """The photo's colours on the flattened face, and how far to trust them.

    Each texel's surface point is projected into the photo and the colour there is picked. The weight is the cosine
    between the surface normal and the line of sight, and 0 for points that turn away, lie outside the photo, touch the
    background or hide behind another part of the face; there the texture is black. Blend: weight · texture + (1 −
    weight) · another.

    Args:
        vertices, triangles: the fitted face in model coordinates (mm), all that can hide or be seen.
        flattening: of the same vertices.
        through_holes: give full weight to whatever shows in an open mouth, seen from the front: a hole has no slant,
            and lips that curl inwards do not hide it.
    """
    X, uv = flattening.extend(vertices), flattening.uv.to(vertices)  # W 3, W 2
    T = flattening.triangles
    N = vertex_normals(X, T) if through_holes else flattening.extend(vertex_normals(vertices, triangles))
    square = torch.cat([uv * resolution - 0.5, torch.ones_like(uv[:, :1])], -1)  # the UV square as a picture
    texels = rasterise(square[None], flattening.triangles, resolution, resolution)
    point, normal = interpolate(texels, flattening.triangles, torch.cat([X, N], -1))[0][texels.mask[0]].split(3, -1)

    camera = camera.to(vertices.device, vertices.dtype)
    pixel, depth = project(camera, point)  # N 2, N
    towards = normalize(camera.centre - point, dim=-1)
    cosine = (normalize(normal, dim=-1) * towards).sum(-1).clamp(0, 1)  # N
    H, W = photo.shape[1:]
    if through_holes:
        n, fans = flattening.n_vertices, flattening.triangles[flattening.source < 0].to(triangles)
        triangles = torch.cat([triangles, torch.where(fans < n, fans, fans - n + len(vertices))])
        vertices = torch.cat([vertices, X[n:]])
    fragments = see(vertices, triangles, camera, H, W)
    uv_photo = (pixel + 0.5) / pixel.new_tensor([W, H])
    inner = sample_texture(fragments.mask.to(vertices), uv_photo)[:, 0] > 0.999  # no background in the bilinear mix
    weight = cosine * (inner & _visible(fragments, pixel, depth, cosine, camera))  # N
    if through_holes:
        in_hole = (flattening.source < 0).to(inner.device)[texels.triangle[0][texels.mask[0]]]  # N
        weight = torch.where(in_hole, inner.to(weight), weight)
    colours = sample_texture(photo.to(vertices), uv_photo)  # N C
    texture = photo.new_zeros(resolution, resolution, len(photo) + 1).to(vertices)
    texture[texels.mask[0]] = torch.cat([colours * (weight > 0)[:, None], weight[:, None]], -1)
    return texture[..., :-1].movedim(-1, 0), texture[..., -1]


def fill_texture(
    texture: Float[Tensor, "3 H W"], weight: Float[Tensor, "H W"], mirror: bool = True
) -> Float[Tensor, "3 H W"]:
    """The texture without gaps: what has no weight takes colour from the face's other half, then from around.

    From around: pull-push. Weighted means are pulled up a pyramid of ever coarser pictures, until every pixel knows
    some colour, and pushed down again wherever the finer picture knows nothing. `mirror` expects a flattening that is
    symmetric about u = ½; the other half counts half as much, because its light is another's.
    """
    w = weight[None, None].clamp(0, 1)  # 1 1 H W
    c = texture[None]
    if mirror:
        other = 0.5 * w.flip(-1) * (1 - w)
        c, w = (w * c + other * c.flip(-1)) / (w + other).clamp(min=1e-6), w + other
    return _pull_push(c, w)[0]


def _pull_push(c: Float[Tensor, "1 3 H W"], w: Float[Tensor, "1 1 H W"]) -> Float[Tensor, "1 3 H W"]:
    H, W = c.shape[-2:]
    if max(H, W) == 1:
        return c
    half = (-(-H // 2), -(-W // 2))
    coarse_w = resize_picture(w, half, mode="area")
    coarse_c = resize_picture(w * c, half, mode="area") / coarse_w.clamp(min=1e-6)
    around = _pull_push(coarse_c, (2 * coarse_w).clamp(max=1))  # a coarse pixel that is half known is known
    return w * c + (1 - w) * resize_picture(around, (H, W), mode="bilinear")


def checker(resolution: int = 1024, squares: int = 16) -> Float[Tensor, "3 R R"]:
    """A chessboard to judge a flattening by: red grows with u, green with v, so every square can be found again."""
    i = (torch.arange(resolution) + 0.5) / resolution
    v, u = torch.meshgrid(i, i, indexing="ij")
    base = torch.stack([0.35 + 0.6 * u, 0.35 + 0.6 * v, 0.75 - 0.3 * (u + v) / 2])
    dark = ((u * squares).long() + (v * squares).long()) % 2 == 1
    return torch.where(dark, 0.55 * base, base)


def _visible(
    fragments: Fragments,
    pixel: Float[Tensor, "N 2"],
    depth: Float[Tensor, " N"],
    cosine: Float[Tensor, " N"],
    camera: Camera,
) -> Tensor:
    """True for points inside the image with nothing in front of them (shadow mapping with the camera as the lamp).

    The z-buffer knows the depth at pixel centres only. Between two of them a slanted surface changes its depth by a
    pixel's size in mm times the tangent of the slant, so much more must be tolerated.
    """
    H, W = fragments.depth.shape[1:]
    x, y = pixel.round().long().unbind(-1)
    inside = (x >= 0) & (x < W) & (y >= 0) & (y < H) & (depth > 0)
    surface = fragments.depth[0][y.clamp(0, H - 1), x.clamp(0, W - 1)]  # N
    tangent = (1 - cosine**2).sqrt() / cosine.clamp(min=0.1)
    tolerance = _DEPTH_TOLERANCE + depth / camera.K[0, 0] * tangent
    return inside & (depth < surface + tolerance)
