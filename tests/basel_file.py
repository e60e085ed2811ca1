"""Writes a small model in the layout of the Basel Face Model 2017, so that no test needs the licensed file."""

import json

import h5py
import numpy as np

from facenb.morphable_model import MorphableModel

NAMES = ("center.nose.tip", "right.eye.corner_outer", "left.eye.corner_outer", "right.lips.corner", "left.lips.corner")


def orthonormal(basis, seed=0):
    """Columns of a basis (V, 3, K) as U (3V, K) and λ (K), and the basis U √λ that they stand for."""
    V, _, K = basis.shape
    U, _, _ = np.linalg.svd(basis.reshape(3 * V, K).numpy(), full_matrices=False)
    variance = np.linspace(50.0, 0.5, K)
    return U, variance


def write_basel(path, model: MorphableModel, version=(0, 9), colour_scale=1.0, landmarks="string", names=None):
    """A file as Basel publishes it; returns the names of its landmarks and their vertices.

    The expression mean is a tenth of the shape mean, so forgetting it shows. Version 0.8 stores U √λ, 0.9 stores U.
    """
    V = model.n_vertices
    landmark_vertices = names or dict(zip(NAMES, model.landmarks68[: len(NAMES)].tolist(), strict=True))
    reference = model.shape_mean.numpy() * 1.02
    with h5py.File(path, "w") as file:
        parts = {
            "shape": (model.shape_mean * 0.9, model.identity_basis, 1.0),
            "expression": (model.shape_mean * 0.1, model.expression_basis, 1.0),
            "color": (model.albedo_mean, model.albedo_basis, 0.0002),
        }
        for group, (mean, basis, size) in parts.items():
            U, variance = orthonormal(basis)
            variance = variance * size
            factor = 1.0
            if group == "color":
                factor = colour_scale
                variance = variance * factor**2
            stored = U * np.sqrt(variance) if version == (0, 8) else U
            file[f"{group}/model/mean"] = (mean.reshape(-1).numpy() * factor).astype(np.float32)
            file[f"{group}/model/pcaBasis"] = stored.astype(np.float32)
            file[f"{group}/model/pcaVariance"] = variance.astype(np.float32)
            file[f"{group}/model/noiseVariance"] = np.zeros(1, np.float32)
            file[f"{group}/representer/points"] = reference.T.astype(np.float32)
            file[f"{group}/representer/cells"] = model.triangles.numpy().T.astype(np.int32)
            file[f"{group}/version/majorVersion"] = np.int32(version[0])
            file[f"{group}/version/minorVersion"] = np.int32(version[1])
        file["color/representer/colorspace"] = "RGB"
        entries = [{"id": k, "coordinates": (reference[v] + 0.01).tolist()} for k, v in landmark_vertices.items()]
        _write_landmarks(file, entries, landmarks)
    assert len(reference) == V
    return landmark_vertices


def _write_landmarks(file, entries, form):
    text = json.dumps(entries)
    if form == "string":
        file["metadata/landmarks/json"] = text
    elif form == "array":
        file["metadata/landmarks/json"] = np.array([text], dtype=h5py.string_dtype())
    elif form == "fixed string":
        file["metadata/landmarks/json"] = np.array([text.encode()], dtype=f"S{len(text) + 3}")
    elif form == "bytes":
        file["metadata/landmarks/json"] = np.frombuffer(text.encode() + b"\x00", dtype=np.int8)
    elif form == "text":
        lines = ["# name visible x y z"] + [f"{e['id']} 1 {' '.join(map(str, e['coordinates']))}" for e in entries]
        file["metadata/landmarks/text"] = "\n".join(lines)
