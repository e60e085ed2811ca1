"""Files that other programs open: written, read back, and compared."""

import json
import struct

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from facenb.colour import to_linear
from facenb.export import ExportError, export_mesh
from facenb.flatten import flatten
from facenb.normals import vertex_normals
from facenb.texture import sample_texture


def read(path) -> trimesh.Trimesh:
    return trimesh.load(path, process=False, force="mesh")


def gltf(path) -> tuple[dict, bytes]:
    """JSON and binary chunk of a GLB, by the specification (12-byte header, then chunks of length, type, data)."""
    data = path.read_bytes()
    assert data[:4] == b"glTF" and struct.unpack("<I", data[8:12])[0] == len(data)
    n = struct.unpack("<I", data[12:16])[0]
    assert data[16:20] == b"JSON"
    return json.loads(data[20 : 20 + n]), data[28 + n :]


def accessor(tree: dict, blob: bytes, index: int) -> np.ndarray:
    a = tree["accessors"][index]
    assert a["componentType"] == 5126  # float32
    start = tree["bufferViews"][a["bufferView"]].get("byteOffset", 0) + a.get("byteOffset", 0)
    width = {"VEC2": 2, "VEC3": 3, "VEC4": 4}[a["type"]]
    return np.frombuffer(blob, np.float32, a["count"] * width, start).reshape(-1, width)


@pytest.mark.parametrize("ending", ["obj", "ply", "OBJ"])
def test_obj_and_ply_keep_millimetres_order_and_display_values(tiny_model, tmp_path, ending):
    colours = tiny_model.albedo_mean
    path = export_mesh(tmp_path / f"face.{ending}", tiny_model.shape_mean, tiny_model.triangles, colours)
    mesh = read(path)
    np.testing.assert_allclose(mesh.vertices, tiny_model.shape_mean, atol=1e-4)
    np.testing.assert_array_equal(mesh.faces, tiny_model.triangles)
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3] / 255, colours, atol=0.5 / 255 + 1e-3)


def test_obj_and_ply_hold_our_normals(tiny_model, tmp_path):
    """Read from the bytes: trimesh computes its own, with other weights."""
    X, T = tiny_model.shape_mean, tiny_model.triangles
    lines = export_mesh(tmp_path / "face.obj", X, T).read_text().splitlines()
    in_obj = [[float(x) for x in line.split()[1:]] for line in lines if line.startswith("vn ")]
    np.testing.assert_allclose(in_obj, vertex_normals(X, T), atol=1e-5)
    header, body = export_mesh(tmp_path / "face.ply", X, T).read_bytes().split(b"end_header\n", 1)
    header = header.split(b"element face")[0].splitlines()
    properties = [line.split()[1:] for line in header if line.startswith(b"property")]
    row = np.dtype([(name.decode(), {b"float": "<f4", b"uchar": "u1"}[kind]) for kind, name in properties])
    vertices = np.frombuffer(body, row, len(X))
    in_ply = np.stack([vertices[name] for name in ("nx", "ny", "nz")], -1)
    np.testing.assert_allclose(in_ply, vertex_normals(X, T), atol=1e-6)


def test_glb_is_in_metres_with_linear_vertex_colours_and_a_material_that_is_not_metal(tiny_model, tmp_path):
    """glTF 2.0: lengths in metres, COLOR_0 linear, and the default material is fully metallic."""
    path = export_mesh(tmp_path / "face.glb", tiny_model.shape_mean, tiny_model.triangles, tiny_model.albedo_mean)
    tree, blob = gltf(path)
    primitive = tree["meshes"][0]["primitives"][0]
    position = accessor(tree, blob, primitive["attributes"]["POSITION"])
    np.testing.assert_allclose(1000 * position, tiny_model.shape_mean, atol=1e-4)
    colour = accessor(tree, blob, primitive["attributes"]["COLOR_0"])
    np.testing.assert_allclose(colour, to_linear(tiny_model.albedo_mean), atol=1e-6)
    normal = accessor(tree, blob, primitive["attributes"]["NORMAL"])
    np.testing.assert_allclose(normal, vertex_normals(tiny_model.shape_mean, tiny_model.triangles), atol=1e-6)
    material = tree["materials"][primitive["material"]]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0 and material["doubleSided"]
    np.testing.assert_array_equal(read(path).faces, tiny_model.triangles)


def test_glb_stands_upright_and_looks_along_plus_z(tiny_model, tmp_path):
    """glTF: +Y up, the front of an asset faces +Z. No node may turn it."""
    tree, _ = gltf(export_mesh(tmp_path / "face.glb", tiny_model.shape_mean, tiny_model.triangles))
    for node in tree["nodes"]:
        matrix = np.array(node.get("matrix", np.eye(4).ravel())).reshape(4, 4)
        np.testing.assert_array_equal(matrix, np.eye(4))
        assert "rotation" not in node


@pytest.fixture(scope="module")
def textured(tiny_model):
    f = flatten(tiny_model)
    texture = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(0))
    return f.extend(tiny_model.shape_mean), f.triangles[f.source >= 0], f.uv, texture


def test_a_textured_glb_holds_the_picture_and_its_uv_are_ours(textured, tmp_path):
    """glTF's texture origin is the top left, v down: uv are written as they are."""
    X, T, uv, texture = textured
    path = export_mesh(tmp_path / "face.glb", X, T, uv=uv, texture=texture)
    tree, blob = gltf(path)
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    assert "COLOR_0" not in attributes
    np.testing.assert_allclose(accessor(tree, blob, attributes["TEXCOORD_0"]), uv, atol=1e-6)
    picture = np.asarray(read(path).visual.material.baseColorTexture.convert("RGB"))
    np.testing.assert_allclose(picture / 255, texture.movedim(0, -1), atol=0.51 / 255)


def test_a_textured_obj_shows_the_same_colours_at_the_vertices(textured, tmp_path):
    """OBJ's v grows upwards: trimesh, who knows, must find the colour that our sampling finds."""
    X, T, uv, texture = textured
    smooth = torch.nn.functional.interpolate(texture[None, :, :3, :3], (64, 64), mode="bilinear")[0]
    path = export_mesh(tmp_path / "a face.obj", X, T, uv=uv, texture=smooth)
    assert {p.name for p in tmp_path.iterdir()} == {"a face.obj", "a face.mtl", "a face.png"}
    mesh = read(path)
    used = T.unique()  # trimesh drops the others when it reads an OBJ
    np.testing.assert_allclose(mesh.vertices, X[used], atol=1e-4)
    seen = mesh.visual.to_color().vertex_colors[:, :3] / 255
    np.testing.assert_allclose(seen, sample_texture(smooth, uv[used].float()), atol=0.06)
    assert Image.open(tmp_path / "a face.png").size == (64, 64)


@pytest.mark.parametrize("ending", ["obj", "ply", "glb"])
def test_a_mesh_without_colours_and_with_a_lone_vertex_is_written_too(tiny_model, tmp_path, ending):
    X = torch.cat([tiny_model.shape_mean, torch.zeros(1, 3)]).float()
    path = export_mesh(tmp_path / "deep" / "folder" / f"face.{ending}", X, tiny_model.triangles)
    if ending == "obj":  # trimesh drops the lone vertex when it reads an OBJ
        lines = path.read_text().splitlines()
        assert sum(line.startswith("v ") for line in lines) == sum(line.startswith("vn ") for line in lines) == len(X)
    else:
        assert len(read(path).vertices) == len(X)


def test_a_failed_export_leaves_the_old_file_and_no_litter(tiny_model, tmp_path):
    path = tmp_path / "face.ply"
    path.write_bytes(b"precious")
    X = tiny_model.shape_mean.clone()
    X[3, 1] = torch.nan
    with pytest.raises(ExportError, match="not finite"):
        export_mesh(path, X, tiny_model.triangles)
    assert path.read_bytes() == b"precious" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_named(tiny_model, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match=r"cannot write .*face\.obj: .*; choose another folder"):
        export_mesh(tmp_path / "file" / "face.obj", tiny_model.shape_mean, tiny_model.triangles)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("face.stl", {}, r"face\.stl: no format is known for the ending '\.stl'; use \.obj, \.ply, \.glb"),
        ("face", {}, "ending ''"),
        ("face.obj", {"vertices": torch.zeros(3, 2)}, "vertices must be"),
        ("face.obj", {"triangles": torch.tensor([[0, 1, 5]])}, "do not exist: there are 3"),
        ("face.obj", {"triangles": torch.tensor([0, 1, 2])}, "triangles must be"),
        ("face.obj", {"colours": torch.zeros(4, 3)}, r"colours must be \(3, 3\)"),
        ("face.obj", {"colours": torch.full((3, 3), torch.inf)}, "some colours are not finite"),
        ("face.obj", {"uv": torch.zeros(3, 2)}, "uv a texture"),
        ("face.glb", {"uv": torch.zeros(3, 2), "texture": torch.zeros(4, 4)}, "texture must be"),
        ("face.ply", {"uv": torch.zeros(3, 2), "texture": torch.zeros(3, 4, 4)}, "holds no texture"),
        (
            "face.glb",
            {"uv": torch.zeros(3, 2), "texture": torch.zeros(3, 4, 4), "colours": torch.zeros(3, 3)},
            "multiply the two",
        ),
    ],
)
def test_wrong_input_is_named(tmp_path, name, change, message):
    mesh = {"vertices": torch.eye(3), "triangles": torch.tensor([[0, 1, 2]])}
    with pytest.raises(ExportError, match=message):
        export_mesh(tmp_path / name, **(mesh | change))
    assert not list(tmp_path.iterdir())
