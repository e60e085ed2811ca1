"""The open model's geometry: mesh, identity and expression components (book: *Morphable models*).

Everything follows from the files in the wheel and one seed. Units mm; x to the subject's left, y up, z forward; the
origin is the centroid of the mean's vertices, in the middle of the face mask a little in front of the ears.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from facenb.open_model.components import Components, principal_components
from facenb.open_model.expression import read_actions, sample_expressions
from facenb.open_model.identity import align, average_adult, read_targets, sample_people
from facenb.open_model.landmarks import find_landmarks
from facenb.open_model.lips import Lips
from facenb.open_model.makehuman import read_base_mesh
from facenb.open_model.mesh import FaceMesh
from facenb.open_model.regions import find_regions
from facenb.open_model.topology import Topology, build_topology

SEED = 2017
N_SAMPLES = 1500  # and as many mirror images
N_IDENTITY, N_EXPRESSION = 199, 100
N_STEPS = 6
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Shape:
    """The mean face with its landmarks and regions, who people are, and what faces do.

    `actions` are the ARKit actions at full strength, as coefficients of the expression components (least squares).
    """

    mesh: FaceMesh
    identity: Components
    expression: Components
    actions: dict[str, Float[np.ndarray, " K"]]


def build_shape(progress: Progress = lambda step: None, n_samples: int = N_SAMPLES) -> Shape:
    """Everything but colour; `progress` is called with the name of each step as it begins (N_STEPS in all)."""
    progress("mesh")
    base = read_base_mesh()
    adult = average_adult(base.vertices)
    topology = build_topology(base, adult)
    parted = topology.refine(adult[None, topology.rows])[0]
    lips = Lips(parted, topology.links, topology.contact, topology.inner_lips)

    progress("people")
    rng = np.random.default_rng(SEED)
    people = sample_people(base.vertices[topology.rows], read_targets(topology.rows), topology.on_face, n_samples, rng)
    X = align(lips.close(topology.refine(people)), topology.mirror, parted)
    mean = X.mean(0)
    X = mean + lips.carry(X - mean)
    progress("identity components")
    identity = principal_components(X, topology.mirror, N_IDENTITY)
    del X

    progress("expressions")
    neutral = adult[topology.rows].astype(np.float32)
    actions = read_actions(topology.rows)
    heights = adult[np.concatenate(base.eyeballs), 1].mean(), parted[topology.contact, 1].mean()
    moves = sample_expressions(actions, neutral, *heights, n_samples, rng)
    still = topology.refine(neutral[None])
    progress("expression components")
    moves = lips.carry(topology.refine(neutral + moves) - still)
    expression = principal_components(moves, topology.mirror, N_EXPRESSION, centred=False)
    arkit = slice(actions.n_arkit)
    full_strength = lips.carry(topology.refine(neutral + actions.displacement[arkit]) - still)

    progress("landmarks and regions")
    return Shape(
        mesh=_face_mesh(identity.mean, topology),
        identity=identity,
        expression=expression,
        actions=dict(zip(actions.names[arkit], _coefficients(full_strength, expression.basis), strict=True)),
    )


def _face_mesh(mean: Float[np.ndarray, "V 3"], topology: Topology) -> FaceMesh:
    mesh = FaceMesh(
        vertices=mean,
        triangles=topology.triangles,
        mirror=topology.mirror,
        outer=topology.outer,
        mouth=topology.mouth,
        contact=topology.contact,
        lids=topology.lids,
        eyes=topology.eyes,
    )
    mesh = replace(mesh, landmarks68=find_landmarks(mesh, topology.painted["lips"]))
    regions = find_regions(
        mesh, topology.painted["lips"], topology.painted["eyelids"], topology.inner_lips, topology.links
    )
    return replace(mesh, regions=regions)


def _coefficients(moves: Float[np.ndarray, "N V 3"], basis: Float[np.ndarray, "V 3 K"]) -> Float[np.ndarray, "N K"]:
    """Least-squares coefficients of displacements (mm) in an orthogonal basis."""
    B = basis.reshape(-1, basis.shape[-1])
    return moves.reshape(len(moves), -1) @ B / (B**2).sum(0)
