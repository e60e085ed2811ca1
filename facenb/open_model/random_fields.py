"""Random patterns on the skin: smooth blotches, fine mottle, scattered spots (book: *Morphable models*).

Blotches are Gaussian processes in the eigenfunctions of the Laplace–Beltrami operator, the sines and cosines of a
curved surface: few waves come first. The first 150 reach down to a wavelength of about 33 mm. What is finer than that
(mottle, freckles, hair strokes) would need thousands, so it comes from banks of a few dozen fixed patterns instead,
which people share in different amounts: that is all that 199 principal components can hold anyway.

Conventions: patterns are rows, shape (n, V); lengths in mm; randomness only from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Float, Int
from numpy import ndarray

from facenb.open_model.mesh import FaceMesh


def laplace_beltrami(
    X: Float[ndarray, "V 3"], triangles: Int[ndarray, "T 3"]
) -> tuple[sp.csc_matrix, Float[ndarray, " V"]]:
    """Stiffness matrix (V, V) and vertex areas (V,) in mm²: L f ≈ −area · Δf (cotangent weights)."""
    V = len(X)
    i, j, w = [], [], []
    for a in range(3):
        o, p, q = triangles[:, a], triangles[:, (a + 1) % 3], triangles[:, (a + 2) % 3]
        u, v = X[p] - X[o], X[q] - X[o]
        double_area = np.linalg.norm(np.cross(u, v), axis=1).clip(1e-9)
        i += [p, q]
        j += [q, p]
        w += [(u * v).sum(1) / double_area / 2] * 2
    W = sp.coo_matrix((np.concatenate(w), (np.concatenate(i), np.concatenate(j))), (V, V)).tocsc()
    L = sp.diags(np.asarray(W.sum(1)).ravel()) - W
    area = np.bincount(triangles.ravel(), np.repeat(double_area / 6, 3), V)
    return L.tocsc(), area


@dataclass(frozen=True)
class RandomFields:
    """The operators of one mesh from which patterns are made; see the methods."""

    wavelength: Float[ndarray, " K"]
    waves: Float[ndarray, "K V"]
    laplacian: sp.csc_matrix
    area: Float[ndarray, " V"]
    mirror: Int[ndarray, " V"]

    @staticmethod
    def on(mesh: FaceMesh, count: int = 150) -> RandomFields:
        """Find the `count` longest waves of the mesh (a few seconds); each has mean square 1 over the area."""
        L, area = laplace_beltrami(mesh.vertices, mesh.triangles)
        # ARPACK starts from a random vector unless given one: a fixed one keeps the model the same on every machine
        start = np.random.default_rng(0).standard_normal(len(area))
        value, wave = spla.eigsh(L, count + 1, sp.diags(area).tocsc(), sigma=-1e-6, v0=start)
        wave = wave[:, 1:] * np.sqrt(area.sum())  # the first one is constant
        return RandomFields(2 * np.pi / np.sqrt(value[1:]), wave.T, L, area, mesh.mirror)

    def blotches(
        self, n: int, size: float, rng: np.random.Generator, likeness: float = 0.5, roughness: float = 2.0
    ) -> Float[ndarray, "n V"]:
        """n smooth fields of unit variance, features of about `size` mm and larger, independent of each other.

        Their power falls like (wavelength / size)^roughness below `size`. `likeness` in [0, 1] makes the two halves of
        a face resemble each other: 0 not at all, 1 exactly.
        """
        power = 1 / (1 + (size / self.wavelength) ** roughness)
        f = (rng.standard_normal((n, len(power))) * np.sqrt(power / power.sum())) @ self.waves
        return (f + likeness * f[:, self.mirror]) / np.sqrt(1 + likeness**2)

    def smooth(self, f: Float[ndarray, "n V"], radius: float) -> Float[ndarray, "n V"]:
        """Blur by one implicit step of heat flow whose kernel has a standard deviation of about `radius` mm."""
        M = sp.diags(self.area)
        return spla.splu((M + radius**2 / 2 * self.laplacian).tocsc()).solve(M @ f.T).T

    def mottle(self, n: int, radius: float, rng: np.random.Generator) -> Float[ndarray, "n V"]:
        """n patterns of fine noise, zero mean and unit variance, blurred to features of `radius` mm."""
        f = self.smooth(rng.standard_normal((n, len(self.area))) / np.sqrt(self.area), radius)
        f -= f.mean(1, keepdims=True)
        return f / f.std(1, keepdims=True)

    def spots(
        self, n: int, density: Float[ndarray, " V"], radius: float, rng: np.random.Generator
    ) -> Float[ndarray, "n V"]:
        """n patterns of round spots: each vertex starts one with probability `density`; blurred, peaks near 1."""
        f = self.smooth((rng.random((n, len(density))) < density) * rng.uniform(0.4, 1, (n, len(density))), radius)
        peak = np.quantile(f, 0.995)
        return np.clip(f / peak, 0, 1.5)
