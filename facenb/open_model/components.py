"""Principal components that know left from right (book: *Morphable models*).

Faces come in mirror pairs: if X is a face, so is its reflection M X. Counting both, the mean is exactly symmetric and
the covariance commutes with M, so each component is either symmetric (a wider nose) or antisymmetric (a nose to the
left). That allows to treat the two families apart, each on one half of the face:

    s = (X + M X) / 2,   a = (X − M X) / 2,   covariance of all 2N faces = (Σ s sᵀ + Σ a aᵀ) / N.

With fewer samples than coordinates the eigenvectors of the small matrix of inner products (N × N) give those of the
large one. Units mm, x to the subject's left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

FLIP = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Components:
    """Mean (mm), basis of unit variance (mm per standard deviation, strongest first) and what the samples are in it.

    Attributes:
        is_symmetric: which components are symmetric; the others are antisymmetric.
        coefficients: of the N samples; their mirror images have the antisymmetric ones negated. Over all 2N faces the
            second moment of the coefficients is the identity matrix.
        explained: share of the variance in the components.
    """

    mean: Float[np.ndarray, "V 3"]
    basis: Float[np.ndarray, "V 3 K"]
    is_symmetric: Bool[np.ndarray, " K"]
    coefficients: Float[np.ndarray, "N K"]
    explained: float


def mirrored(X: Float[np.ndarray, "*N V 3"], mirror: Int[np.ndarray, " V"]) -> Float[np.ndarray, "*N V 3"]:
    """M X: every face (or displacement) reflected in the plane x = 0."""
    return X[..., mirror, :] * FLIP.astype(X.dtype)


def principal_components(
    X: Float[np.ndarray, "N V 3"],
    mirror: Int[np.ndarray, " V"],
    n: int,
    centred: bool = True,
    flip: Float[np.ndarray, " 3"] = FLIP,
) -> Components:
    """The n strongest components of the faces X (mm) and their mirror images.

    With `centred=False` the mean is zero and the components describe the second moment about zero: for displacements,
    where zero must stay zero. `flip` are the signs that reflection gives the three channels: ones for colours.
    """
    N, V, _ = X.shape
    half = np.flatnonzero(mirror >= np.arange(V))  # one of each pair, and the midline
    pair = np.where(mirror[half] == half, 1.0, 2.0)  # how often each counts in an inner product
    here = X[:, half].astype(np.float64)
    there = X[:, mirror[half]] * flip
    s, a = (here + there) / 2, (here - there) / 2  # N H 3
    del here, there
    mean = s.mean(0) if centred else np.zeros((len(half), 3))
    s -= mean

    variances, coefficients, bases = [], [], []
    for part in (s, a):
        flat = (part * np.sqrt(pair)[:, None]).reshape(N, -1)
        variance, u = np.linalg.eigh(flat @ flat.T / N)
        variance, u = variance[::-1][:n], u[:, ::-1][:, :n]
        variances.append(variance)
        coefficients.append(np.sqrt(N) * u)  # N n, of unit variance
        bases.append(np.tensordot(part, u, (0, 0)) / np.sqrt(N))  # H 3 n
    total = ((s**2).sum((0, 2)) @ pair + (a**2).sum((0, 2)) @ pair) / N

    is_symmetric = np.repeat([True, False], [len(variance) for variance in variances])
    strongest = np.argsort(-np.concatenate(variances), kind="stable")[:n]
    explained = np.concatenate(variances)[strongest].sum() / total
    is_symmetric = is_symmetric[strongest]
    basis_half = np.concatenate(bases, axis=-1)[..., strongest]
    sign = _signs(basis_half)
    basis = np.empty((V, 3, len(strongest)))
    basis[mirror[half]] = np.where(is_symmetric, 1.0, -1.0) * flip[:, None] * sign * basis_half
    basis[half] = sign * basis_half
    full_mean = np.empty((V, 3))
    full_mean[mirror[half]] = mean * flip
    full_mean[half] = mean
    return Components(
        full_mean, basis, is_symmetric, sign * np.concatenate(coefficients, axis=-1)[:, strongest], float(explained)
    )


def _signs(basis: Float[np.ndarray, "H 3 n"]) -> Float[np.ndarray, " n"]:
    """±1 that make the largest entry of each component positive: eigenvectors have no sign of their own."""
    flat = basis.reshape(-1, basis.shape[-1])
    return np.sign(flat[np.abs(flat).argmax(0), np.arange(flat.shape[1])])
