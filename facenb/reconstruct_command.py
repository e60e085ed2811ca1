"""What `facenb reconstruct` does: photos in; camera, face, light, landmarks, mesh and pictures out, nothing marked.

For each photo NAME in which a face is found it writes NAME.png (the overlay beside the photo), NAME_panels.png,
NAME_maps.npz, NAME.glb and, last, NAME.json, so that where the JSON is, all is. Everything counts in the pixels of the
whole photo; the maps come with the similarity that leads there.

Photos of one person are gone through twice: crops and what the network said of them are kept, the photos are not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from facenb.atomic import atomic_path
from facenb.augment import invert, warp
from facenb.camera import Camera, resize
from facenb.config import ConfigError
from facenb.export_command import write_mesh
from facenb.face_finder import FinderOptions, FoundFace, box_similarities, cut_out, find_face, improve_crops
from facenb.face_judge import FaceJudge
from facenb.fit_command import side_by_side
from facenb.fit_result import FitFile, PortraitFit, write_fit
from facenb.model_source import OPEN, load_model
from facenb.morphable_model import MorphableModel
from facenb.photo import photo_size, read_photo, write_photo
from facenb.portrait_fit import face_map, fit_colours, inside_hull
from facenb.reconstruction import Reconstruction, ReconstructionOptions, reconstruct, reconstruction_tables
from facenb.refined_reconstruction import refine_reconstruction, refine_same_person, refinement_points
from facenb.result_files import demand_free_names, make_folder
from facenb.six_panels import SIDE, panel_sheet, six_panels
from facenb.uv_model import UVModel
from facenb.weights import load_weights, shipped_weights

ENDINGS = (".png", "_panels.png", "_maps.npz", ".glb", ".json")  # in the order of writing
FINDER, LEAST_SQUARES = FinderOptions(), ReconstructionOptions()
FAINT = 0.02  # confidence below which a pixel has no say in light and skin


@dataclass(frozen=True)
class Tools:
    """What every photo needs, loaded once."""

    net: nn.Module
    model: MorphableModel
    tables: UVModel


@dataclass(frozen=True)
class SeenFace:
    """A face as the network saw it: where, the crop it was shown, and what follows from that in the crop's pixels."""

    found: FoundFace
    crop: Float[Tensor, "1 3 S S"]
    reconstruction: Reconstruction  # a batch of one
    known: dict[str, Tensor] = field(default_factory=dict)  # focal length and principal point, px of the crop


def load_tools(weights: Path | None = None) -> Tools:
    """Network (the shipped one by default), open model and its tables."""
    net = load_weights(weights or shipped_weights()).to(memory_format=torch.channels_last)
    model = load_model(OPEN)
    return Tools(net, model, reconstruction_tables(model, LEAST_SQUARES))


def reconstruct_photos(
    photos: tuple[Path, ...],
    out: Path,
    weights: Path | None,
    box: tuple[float, float, float, float] | None,
    known_focal: float | None,
    refine: int,
    max_side: int,
    say: Callable[[str], None],
    complain: Callable[[str], None],
    same_person: bool = False,
) -> list[Path]:
    """Reconstruct every photo → the JSON files written. `complain` gets a line for each photo without a face.

    `box` (x, y, width, height) and `known_focal` count in pixels of the photo as it is on disk. `same_person` refines
    all photos together; they get the same identity and the same albedo.

    Raises ValueError (of the module that noticed) naming the file and the remedy; photos are checked before the first
    is worked on, as far as their headers tell.
    """
    sizes = _checked(photos, out, box)
    tools = load_tools(weights)
    make_folder(out)

    def look(path: Path, full: tuple[int, int]) -> tuple[Tensor, SeenFace | None]:
        photo = read_photo(path, max_side=max_side)  # 3 H W
        scale = photo.shape[2] / full[0]
        in_photo = None if box is None else tuple(scale * v for v in box)
        return photo, see_face(photo, tools, in_photo, None if known_focal is None else scale * known_focal)

    together = []
    if same_person and len(photos) > 1:
        together = refined([look(*each)[1] for each in zip(photos, sizes, strict=True)], tools, refine, True)
    skin = common_skin(photos, together, tools, max_side) if sum(face is not None for face in together) > 1 else None
    written = []
    for i, (path, full) in enumerate(zip(photos, sizes, strict=True)):
        if together:
            photo, face = read_photo(path, max_side=max_side), together[i]
        else:
            photo, seen = look(path, full)
            (face,) = refined([seen], tools, refine)
        for ending in ENDINGS[::-1]:  # what an earlier run left must not stand beside what this one finds
            (out / f"{path.stem}{ending}").unlink(missing_ok=True)
        if face is None:
            complain(f"{path}: no face found; give its place with --box X Y WIDTH HEIGHT if there is one")
            continue
        fit = photo_fit(photo, face, tools, skin)
        written.append(_write(path, photo, full, face, fit, tools.model, out))
        lost = refine > 0 and not bool(face.reconstruction.refined[0])
        note = "; refining it went astray, so it is as the network saw it" if lost else ""
        say(f"{path} -> {written[-1]}, .glb, .png, _panels.png, _maps.npz (score {face.found.score:.2f}{note})")
    return written


def refined(faces: list[SeenFace | None], tools: Tools, steps: int, same_person: bool = False) -> list[SeenFace | None]:
    """The faces after `steps` of photometric refinement, each by itself or all as one person's."""
    seen = [face for face in faces if face is not None]
    if not steps or not seen:
        return faces
    points = refinement_points(tools.model, tools.tables, LEAST_SQUARES)
    rs, crops = [face.reconstruction for face in seen], [face.crop for face in seen]
    if same_person and len(seen) > 1:
        better = refine_same_person(rs, crops, points, tools.tables, steps, LEAST_SQUARES.n_identity)
    else:
        better = [
            refine_reconstruction(r, crop, points, tools.tables, steps, **face.known)
            for r, crop, face in zip(rs, crops, seen, strict=True)
        ]
    left = iter(better)
    return [None if face is None else replace(face, reconstruction=next(left)) for face in faces]


def see_face(
    photo: Float[Tensor, "3 H W"], tools: Tools, box: tuple[float, ...] | None = None, focal: float | None = None
) -> SeenFace | None:
    """Find the face and reconstruct its crop; None: no face.

    Pixels of `photo` throughout. With a `focal` length the principal point is the photo's middle; without, the face's.
    """
    if box is None:
        found = find_face(tools.net, tools.tables, photo, FINDER)
    else:  # whoever gives a box knows that there is a face
        judge = FaceJudge(tools.tables, FINDER)
        found = improve_crops(tools.net, judge, photo, box_similarities(*box, FINDER))
    if found is None:
        return None
    crop = cut_out(photo, found.theta[None], found.size)
    known = {}
    if focal is not None:
        middle = photo.new_tensor([(photo.shape[2] - 1) / 2, (photo.shape[1] - 1) / 2])
        A, b = found.theta[:, :2], found.theta[:, 2]
        principal = torch.linalg.solve(A, middle - b)
        known = {"focal": photo.new_tensor([focal * found.size / found.side]), "principal_point": principal[None]}
    r = reconstruct(tools.net, tools.tables, crop, LEAST_SQUARES, **known)
    if not bool(r.found[0]):
        return None
    return SeenFace(found, crop, r, known)


def photo_camera(camera: Camera, theta: Float[Tensor, "2 3"]) -> Camera:
    """The camera of the photo from that of a crop θ. Exact for square pixels, which a turn keeps square.

    θ K = K' R_z: what θ scales and moves goes into K, what it turns into R and t.
    """
    A = theta[:, :2].to(camera.K)
    s = torch.linalg.det(A).sqrt()
    turn = torch.eye(3).to(A)
    turn[:2, :2] = A / s
    K = camera.K.clone()
    K[..., :2, :2] = s * camera.K[..., :2, :2]
    K[..., :2, 2] = camera.K[..., :2, 2] @ A.T + theta[:, 2].to(A)
    return Camera(K, turn @ camera.R, camera.t @ turn.T)


def photo_confidence(seen: SeenFace, height: int, width: int) -> Float[Tensor, "H W"]:
    """How sure the network is that a pixel of the photo shows the face, in [0, 1]; 0 outside the crop."""
    confidence, theta = seen.reconstruction.maps.confidence[:, None], seen.found.theta[None]
    return warp(confidence, invert(theta), (height, width))[0, 0]


def common_skin(
    photos: Sequence[Path], faces: Sequence[SeenFace | None], tools: Tools, max_side: int
) -> Float[Tensor, " Nal"]:
    """The albedo of somebody in several photos: the mean of what each says.

    Not that of the joint refinement: on few crops light and albedo trade with each other, and shapes do not mind.
    """
    seen = [(path, face) for path, face in zip(photos, faces, strict=True) if face is not None]
    return torch.stack([photo_fit(read_photo(p, max_side=max_side), face, tools).albedo for p, face in seen]).mean(0)


def photo_fit(photo: Tensor, seen: SeenFace, tools: Tools, skin: Float[Tensor, " Nal"] | None = None) -> PortraitFit:
    """The face in the pixels of the photo, whose full resolution tells light and albedo better than the crop does.

    `skin`: the albedo, if it is known; then only the light is fitted.
    """
    found, r = seen.found, seen.reconstruction
    model, (_, H, W) = tools.model, photo.shape
    n = LEAST_SQUARES.n_identity
    identity, expression = r.shape[0, :n], r.shape[0, n:]
    camera = photo_camera(r.camera[0], found.theta)
    A, b = found.theta[:, :2], found.theta[:, 2]
    landmarks68, direct = (points[0] @ A.T + b for points in (r.landmarks68, r.landmarks68_direct))
    face = face_map(model.vertices(identity, expression), model, tools.tables.flattening, camera, H, W)
    sure = photo_confidence(seen, H, W)  # hair, caps and hands have another colour than skin, and no vote
    face = replace(face, facing=face.facing * sure, mask=face.mask & (sure > FAINT))
    residuals = {"correspondence_median_px": r.residual_px[0].item() * found.side / found.size}
    try:
        inside = inside_hull(landmarks68, H, W)
        generator = torch.Generator().manual_seed(0)
        tables = tools.tables if skin is None else tools.tables.of_skin(skin)
        photometry, colour, inliers = fit_colours(photo, face, inside, tables, model, generator)
        residuals |= {"colour_median": colour, "colour_inliers_percent": 100 * inliers}
    except ValueError:  # too dark or too small for that: what the crop's pixels said must do
        photometry = r.photometry
    return PortraitFit(
        camera=camera,
        identity=identity,
        expression=expression,
        albedo=photometry.h[0] if skin is None else skin,
        lighting=photometry.l[0],
        landmarks68=landmarks68,
        residuals=residuals,
        landmarks68_direct=direct,
    )


def _write(
    path: Path,
    photo: Tensor,
    full: tuple[int, int],
    face: SeenFace,
    fit: PortraitFit,
    model: MorphableModel,
    out: Path,
) -> Path:
    small = (photo.shape[2], photo.shape[1])
    enlarge = torch.tensor(full, dtype=torch.float32) / torch.tensor(small)  # both axes alike but for rounding
    found, maps = face.found, face.reconstruction.maps
    theta = torch.cat([found.theta[:, :2], found.theta[:, 2:] + 0.5], 1) * enlarge[:, None]
    theta[:, 2] -= 0.5  # borders coincide, not pixel centres

    sharp = found.theta.clone()  # the same crop with more pixels
    k = found.size / SIDE
    sharp[:, 2] += sharp[:, :2] @ sharp.new_full((2,), (k - 1) / 2)
    sharp[:, :2] *= k
    crop = cut_out(photo, sharp[None], SIDE)[0]
    camera = resize(face.reconstruction.camera[0], (found.size,) * 2, (SIDE, SIDE))
    sheet = panel_sheet(six_panels(crop, maps, fit, camera, model))

    stem = str(out / path.stem)
    cover = photo_confidence(face, *photo.shape[1:])
    write_photo(side_by_side(photo, fit, model, cover), stem + ".png")
    write_photo(sheet, stem + "_panels.png")
    with atomic_path(stem + "_maps.npz") as unfinished:
        arrays = {
            "uv": maps.uv[0].movedim(0, -1),
            "depth": maps.depth[0],
            "confidence": maps.confidence[0],
            "crop_to_photo": theta,
        }
        np.savez_compressed(unfinished, **{name: x.numpy().astype(np.float32) for name, x in arrays.items()})
    write_mesh(Path(stem + ".glb"), model, fit.identity, fit.expression, fit.albedo)
    in_full = replace(
        fit,
        camera=resize(fit.camera, small, full),
        landmarks68=(fit.landmarks68 + 0.5) * enlarge - 0.5,
        landmarks68_direct=(fit.landmarks68_direct + 0.5) * enlarge - 0.5,
        residuals={k: v * float(enlarge.mean()) if k.endswith("_px") else v for k, v in fit.residuals.items()},
    )
    result = Path(stem + ".json")
    write_fit(FitFile(path.name, *full, OPEN, in_full), result)
    return result


def _checked(
    photos: tuple[Path, ...], out: Path, box: tuple[float, float, float, float] | None
) -> list[tuple[int, int]]:
    """(width, height) of every photo."""
    demand_free_names(photos, out, ENDINGS)
    sizes = [photo_size(photo) for photo in photos]
    if box is not None:
        if len(photos) > 1:
            raise ConfigError(f"--box belongs to one photo, but there are {len(photos)}; run each by itself")
        if len(box) != 4 or not all(map(np.isfinite, box)) or min(box[2:]) <= 0:
            raise ConfigError("--box takes four numbers: left, top, width and height of the face, in pixels")
        (W, H), (x, y, w, h) = sizes[0], box
        if x + w <= 0 or y + h <= 0 or x >= W or y >= H:
            raise ConfigError(f"--box lies outside the photo, which has {W} × {H} pixels")
    return sizes
