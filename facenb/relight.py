"""Turn the face of a photo, and light it anew (book: *From a photograph to a face*).

A fit takes the photo's light off; what stays is the skin's own colour, pores and all. Where the photo cannot know it,
on the far side of a turned head or under the hair, the model's albedo fills in. The result is a face that wears its
own skin and can be drawn from anywhere, in any light.

Colours are display values in [0, 1]; lights are regular (not inverse) and multiply in linear light, as in `pictures`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.ndimage import label
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, normalize

from facenb.camera import Camera
from facenb.colour import to_srgb
from facenb.fit_result import PortraitFit
from facenb.flatten import Flattening
from facenb.lighting import shade
from facenb.morphable_model import MorphableModel
from facenb.normals import vertex_normals
from facenb.photometry_layer import model_albedo
from facenb.pictures import Background, Picture
from facenb.portrait_fit import face_map, inside_hull, photo_albedo
from facenb.texture import texture_from_photo, textured_picture
from facenb.uv_model import UVModel

# The photo's texture fades out between these cosines of the angle to the line of sight: beyond about 75 degrees a pixel
# smears over centimetres of skin.
FADE = (0.25, 0.60)
LIP_RINGS = 5  # rings of vertices around the open mouth that may belong to the inside of the lips
SOFTENING = 16  # rounds of `soft_normals`: the better part of a centimetre on the open model


@dataclass(frozen=True)
class SkinnedFace:
    """A face with a lid on its mouth, ready to be turned and lit.

    Attributes:
        vertices, normals: mm and unit length, model coordinates; the normals are softened ones.
        uv: of the vertices, in the square on which `texture` lies.
        texture: albedo, display values.
        from_photo: in [0, 1], how much of each texel is the photo's; the rest is the model's.
    """

    vertices: Float[Tensor, "W 3"]
    normals: Float[Tensor, "W 3"]
    triangles: Int[Tensor, "T 3"]
    uv: Float[Tensor, "W 2"]
    texture: Float[Tensor, "3 R R"]
    from_photo: Float[Tensor, "R R"]


def skinned_face(
    photo: Float[Tensor, "3 H W"],
    fit: PortraitFit,
    model: MorphableModel,
    tables: UVModel,
    *,
    hair: bool = False,
    resolution: int = 512,
) -> SkinnedFace:
    """The fitted face in its own skin.

    Args:
        photo: the one that was fitted.
        tables: `uv_model(model)`.
        hair: keep whatever the photo shows in front of the face; otherwise only what lies between the landmarks and
            what the model can explain, so that a fringe gives way to a forehead.
        resolution: texels on each side of the texture.
    """
    flattening = tables.flattening
    X, T = model.vertices(fit.identity, fit.expression), flattening.triangles.to(photo.device)
    closed = flattening.extend(X)
    normals = _mouth_forward(soft_normals(vertex_normals(closed, T), T), T, flattening)
    face = face_map(X, model, flattening, fit.camera, *photo.shape[1:], closed=True, normals=normals)
    skin = photo_albedo(photo, face, fit.lighting, tables, model)
    trust = torch.ones_like(face.facing) if hair else _is_face(photo, skin, fit, tables, face.uv)
    layers = torch.cat([skin, trust[None]])
    texture, facing = texture_from_photo(
        layers, fit.camera, X, model.triangles, flattening, resolution, through_holes=True
    )
    low, high = FADE
    fade = ((facing - low) / (high - low)).clamp(0, 1)
    weight = fade * fade * (3 - 2 * fade) * texture[3]
    square = (torch.arange(resolution).to(X) + 0.5) / resolution
    uv = torch.stack(torch.meshgrid(square, square, indexing="xy"), -1).reshape(1, -1, 2)
    albedo = model_albedo(tables, uv, fit.albedo[None])[0].T.reshape(3, resolution, resolution)
    albedo = (albedo if model.colour_space == "sRGB" else to_srgb(albedo.clamp(min=0))).clamp(0, 1)
    return SkinnedFace(
        vertices=closed,
        normals=normals,
        triangles=T,
        uv=flattening.uv.to(X),
        texture=weight * texture[:3] + (1 - weight) * albedo,
        from_photo=weight,
    )


def relit_picture(
    face: SkinnedFace,
    camera: Camera,
    height: int,
    width: int,
    light: Float[Tensor, "3 9"],
    *,
    background: Background = 1.0,
    antialias: int = 1,
) -> Picture:
    """The face in a regular light (`facenb.lighting.lamp`), from any camera: a picture and its coverage."""
    s = shade(light[None], face.normals)[0].T  # W 3, linear
    return textured_picture(
        face.vertices,
        face.triangles,
        face.uv,
        face.texture,
        camera,
        height,
        width,
        # a display curve is nearly a power law, so that display values of a product are products of display values
        shading=to_srgb(s.clamp(min=0)),
        background=background,
        antialias=antialias,
    )


def soft_normals(
    normals: Float[Tensor, "W 3"], triangles: Int[Tensor, "T 3"], rounds: int = SOFTENING
) -> Float[Tensor, "W 3"]:
    """Unit normals that forget the finest folds: `rounds` times each becomes the mean of the triangles around it.

    The folds of a smile and of the lids are never exactly where the photo has them. Light that is taken off by wrong
    folds leaves bright seams; the photo's own folds may stay in the texture.
    """
    corners = triangles.flatten()
    for _ in range(rounds):
        of_triangle = normals[triangles].sum(1)  # T 3
        total = torch.zeros_like(normals).index_add(0, corners, of_triangle.repeat_interleave(3, 0))
        normals = normalize(total, dim=-1)
    return normals


def _mouth_forward(
    normals: Float[Tensor, "W 3"], triangles: Int[Tensor, "T 3"], flattening: Flattening
) -> Float[Tensor, "W 3"]:
    """The normals, but lids and the inside of the lips face forward, as do the teeth that the photo paints on them."""
    inside = torch.zeros(len(normals), dtype=torch.bool, device=normals.device)
    inside[triangles[flattening.source.to(triangles.device) < 0]] = True
    for _ in range(LIP_RINGS):
        inside[triangles[inside[triangles].any(1)]] = True
    inside &= normals[:, 2] < 0.7  # the outside of the lips keeps its own
    inside[triangles[flattening.source.to(triangles.device) < 0]] = True
    return torch.where(inside[:, None], normals.new_tensor([0.0, 0.0, 1.0]), normals)


def _is_face(
    photo: Float[Tensor, "3 H W"],
    skin: Float[Tensor, "3 H W"],
    fit: PortraitFit,
    tables: UVModel,
    uv: Float[Tensor, "H W 2"],
) -> Float[Tensor, "H W"]:
    """In [0, 1]: 1 between the landmarks and where the skin is as the model expects, with soft borders."""
    _, H, W = photo.shape
    expected = model_albedo(tables, uv.reshape(1, -1, 2), fit.albedo[None])[0].T.reshape(3, H, W)
    distance = (skin - expected).square().mean(0).sqrt()
    inside = inside_hull(fit.landmarks68, H, W).to(photo.device)
    size = fit.landmarks68.amax(0) - fit.landmarks68.amin(0)
    blur = 2 * max(round(size.max().item() / 40), 1) + 1
    # Some strands of hair have the colour of skin, but among their neighbours there are others that have not.
    strange = (distance > 3 * max(fit.residuals["colour_median"], 0.02)).to(photo)[None]
    explained = max_pool2d(strange, 2 * blur + 1, stride=1, padding=blur)[0] == 0
    # A forehead is joined to the face; a patch that is not has its colour by chance.
    patch = torch.from_numpy(label((inside | explained).cpu().numpy())[0]).to(photo.device)
    mask = torch.isin(patch, patch[inside].unique()).to(photo)[None]
    for _ in range(3):  # three box filters are nearly a Gaussian
        mask = avg_pool2d(mask, blur, stride=1, padding=blur // 2, count_include_pad=False)
    return mask[0]
