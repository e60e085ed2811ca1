"""Several photos of one person, for *Many photos of one person*: another view, light and expression in each."""

from __future__ import annotations

import numpy as np
import torch

from facenb.restore.studio import (
    EXPRESSION_SD,
    Studio,
    StudioFaces,
    photograph,
    pose_subject,
    random_lamp,
    random_subject,
    random_view,
)


def person_photo(studio: Studio, seed: int, person: int, number: int, size: int = 64) -> StudioFaces:
    """Photo `number` of a person: the subject `person` of `seed`, in a mood of this photo."""
    model = studio.model
    subject = random_subject(studio, np.random.default_rng([seed, person]))
    rng = np.random.default_rng([seed, person, number + 1])
    mood = torch.from_numpy(EXPRESSION_SD * rng.standard_normal(model.n_expression)).to(model.shape_mean.dtype)
    moved = pose_subject(studio, subject.identity, mood, subject.colours[: model.n_vertices])
    return photograph(moved, random_view(rng), random_lamp(rng), rng, size)


def studio_people(studio: Studio, seed: int, people: int, photos: int, size: int = 64) -> StudioFaces:
    """So many photos of each of persons 0 … people − 1, one person after the other."""
    return StudioFaces.joined(
        [person_photo(studio, seed, person, number, size) for person in range(people) for number in range(photos)]
    )
